//! What a campaign at work is told: commands of people, what the world shows, answers to effects.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::CampaignDefinition;
use crate::rollout::optional_millis;
use crate::{
    BaseImage, CampaignName, Channel, DeviceId, GatePolicy, OperationId, OperationLimits,
    OperationReport, Percentage, Question, RolloutLimits, Timestamp,
};

/// Something that a campaign at work is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// A person wants something.
    Command(Command),
    /// Part of the snapshot that [`Effect::TakeSnapshot`](super::Effect::TakeSnapshot) asked for.
    SnapshotChunk {
        /// As in the effect.
        question: Question,
        /// Devices, in snapshot order; one that is a target already is passed over.
        devices: Vec<DeviceId>,
    },
    /// The snapshot is complete.
    SnapshotComplete {
        /// As in the effect.
        question: Question,
    },
    /// The snapshot could not be taken; it is asked for again later.
    SnapshotUnavailable {
        /// As in the effect.
        question: Question,
    },
    /// A device connected or disconnected, or its presence was looked up.
    Presence {
        /// The device.
        device: DeviceId,
        /// Where it is.
        presence: Presence,
    },
    /// The base image that a device shows may have changed.
    BaseImageChanged {
        /// The device.
        device: DeviceId,
    },
    /// The device ceased to exist (D15).
    DeviceRemoved {
        /// The device.
        device: DeviceId,
    },
    /// The operation that kept a device busy has ended (D14).
    DeviceFreed {
        /// The device.
        device: DeviceId,
    },
    /// A device reports about an operation (D11).
    Report(OperationReport),
    /// The answer to [`Effect::ReadBaseImage`](super::Effect::ReadBaseImage).
    BaseImageRead {
        /// The device.
        device: DeviceId,
        /// As in the effect.
        purpose: ReadPurpose,
        /// As in the effect.
        question: Question,
        /// What was read.
        answer: BaseImageAnswer,
    },
    /// The answer to [`Effect::SendUpdate`](super::Effect::SendUpdate).
    RequestAnswered {
        /// The device.
        device: DeviceId,
        /// The operation.
        operation: OperationId,
        /// As in the effect.
        question: Question,
        /// What the transport said.
        answer: RequestAnswer,
    },
    /// The answer to [`Effect::SendCancel`](super::Effect::SendCancel).
    CancelAnswered {
        /// The device.
        device: DeviceId,
        /// The operation.
        operation: OperationId,
        /// As in the effect.
        question: Question,
        /// What the transport said.
        answer: RequestAnswer,
    },
    /// The engine has loaded the campaign and told the presence of its devices: what may not have
    /// left is looked at again (E4), and so is what may have ended meanwhile (D12).
    Recovered,
    /// Time has passed.
    Tick,
}

impl Input {
    /// The question that it answers, if it is an answer (E11).
    #[must_use]
    pub fn question(&self) -> Option<Question> {
        match self {
            Self::SnapshotChunk { question, .. }
            | Self::SnapshotComplete { question }
            | Self::SnapshotUnavailable { question }
            | Self::BaseImageRead { question, .. }
            | Self::RequestAnswered { question, .. }
            | Self::CancelAnswered { question, .. } => Some(*question),
            _ => None,
        }
    }
}

/// What a person wants of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start no more operations (D16).
    Pause,
    /// Go on (D16).
    Resume,
    /// Finish at once (D17).
    Cancel {
        /// What happens to operations in progress.
        running: RunningOperations,
    },
    /// Make way for a newer campaign (D18).
    Supersede,
    /// Change something (D19).
    Edit(Box<CampaignEdit>),
    /// Delete the scheduled campaign (D19).
    Delete,
}

impl Command {
    /// The name, as a verb.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel { .. } => "cancel",
            Self::Supersede => "supersede",
            Self::Edit(_) => "edit",
            Self::Delete => "delete",
        }
    }
}

/// What happens to operations in progress when their campaign is cancelled (D17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunningOperations {
    /// They run to their end and are recorded.
    Finish,
    /// Each device is asked to cancel.
    Stop,
}

/// What is to change (D19); `None` leaves a thing as it is.
///
/// Read from outside, a key that is left out leaves a thing as it is, and one that is not known is
/// an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CampaignEdit {
    /// The name.
    pub name: Option<CampaignName>,
    /// The image.
    pub base_image: Option<BaseImage>,
    /// The channel.
    pub channel: Option<Channel>,
    /// When it starts; `Some(None)`, read from `null`: at once.
    #[serde(deserialize_with = "given")]
    pub scheduled_at: Option<Option<Timestamp>>,
    /// What the gates let pass.
    pub gates: Option<GatePolicy>,
    /// See [`PushRollout::minimum_targets`](crate::PushRollout::minimum_targets).
    pub minimum_targets: Option<u32>,
    /// The limits: the only things that may change while it runs.
    pub limits: LimitsEdit,
}

/// A key that is there, even if it is `null`.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

#[expect(clippy::option_option, reason = "left out, null and a number are three things")]
fn given_millis<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Duration>>, D::Error> {
    optional_millis::deserialize(from).map(Some)
}

/// Limits that are to change (D19); `None` leaves one as it is. Its keys are those of
/// [`RolloutLimits`] and [`OperationLimits`], side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsEdit {
    /// See [`RolloutLimits::max_pending_operations`].
    pub max_pending_operations: Option<NonZeroU32>,
    /// See [`RolloutLimits::max_failure_percentage`].
    pub max_failure_percentage: Option<Percentage>,
    /// See [`OperationLimits::request_retries`].
    pub request_retries: Option<u16>,
    /// See [`OperationLimits::request_timeout`].
    #[serde(rename = "request_timeout_ms", deserialize_with = "optional_millis::deserialize")]
    pub request_timeout: Option<Duration>,
    /// See [`OperationLimits::stall_timeout`]; `Some(None)`, read from `null`, disables it.
    #[serde(rename = "stall_timeout_ms", deserialize_with = "given_millis")]
    pub stall_timeout: Option<Option<Duration>>,
    /// See [`OperationLimits::reboot_timeout`].
    #[serde(rename = "reboot_timeout_ms", deserialize_with = "optional_millis::deserialize")]
    pub reboot_timeout: Option<Duration>,
    /// See [`OperationLimits::progress_interval`].
    #[serde(rename = "progress_interval_ms", deserialize_with = "optional_millis::deserialize")]
    pub progress_interval: Option<Duration>,
}

impl LimitsEdit {
    /// The limits with these changes.
    #[must_use]
    pub fn of(&self, limits: &RolloutLimits) -> RolloutLimits {
        let operation = &limits.operation;
        RolloutLimits {
            max_pending_operations: self
                .max_pending_operations
                .unwrap_or(limits.max_pending_operations),
            max_failure_percentage: self
                .max_failure_percentage
                .unwrap_or(limits.max_failure_percentage),
            operation: OperationLimits {
                request_retries: self.request_retries.unwrap_or(operation.request_retries),
                request_timeout: self.request_timeout.unwrap_or(operation.request_timeout),
                stall_timeout: self.stall_timeout.unwrap_or(operation.stall_timeout),
                reboot_timeout: self.reboot_timeout.unwrap_or(operation.reboot_timeout),
                progress_interval: self.progress_interval.unwrap_or(operation.progress_interval),
            },
        }
    }
}

impl CampaignEdit {
    /// The first thing beside the limits that it would change.
    pub(super) fn fixed_field(&self) -> Option<&'static str> {
        [
            ("name", self.name.is_some()),
            ("base_image", self.base_image.is_some()),
            ("channel", self.channel.is_some()),
            ("schedule", self.scheduled_at.is_some()),
            ("force_downgrade", self.gates.is_some()),
            ("minimum_targets", self.minimum_targets.is_some()),
        ]
        .into_iter()
        .find_map(|(field, changes)| changes.then_some(field))
    }

    /// The definition with these changes.
    pub(super) fn of(&self, definition: &CampaignDefinition) -> CampaignDefinition {
        let mut edited = definition.clone();
        edited.name = self.name.clone().unwrap_or(edited.name);
        edited.base_image = self.base_image.clone().unwrap_or(edited.base_image);
        edited.channel = self.channel.clone().unwrap_or(edited.channel);
        let rollout = &mut edited.rollout;
        *rollout.gates_mut() = self.gates.unwrap_or(rollout.gates());
        *rollout.minimum_targets_mut() = self.minimum_targets.unwrap_or(rollout.minimum_targets());
        *rollout.limits_mut() = self.limits.of(rollout.limits());
        edited
    }
}

/// Where a device is, as far as the platform knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Connected.
    Online {
        /// Since when. What it shows as its base image may be stale shortly after (D12).
        since: Timestamp,
    },
    /// Not connected.
    Offline,
}

/// What a base image is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadPurpose {
    /// The target's turn has come: the gates need it (D5). A device that another operation keeps
    /// busy is to be answered [`BaseImageAnswer::Busy`] (D14).
    Gate,
    /// A deadline passed: has the device updated in silence (D8, D9)?
    Deadline,
    /// It has settled after a connection, a change or a restart of the engine (D12).
    Settled,
    /// The device has been back long enough to judge a roll-back (D12).
    RebootTimeout,
    /// The device came back and has reported nothing since: it may have forgotten its operation
    /// (D24).
    Forgotten,
    /// Its target is final: does it show something else (D22)?
    Contradiction,
}

/// What reading a base image gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseImageAnswer {
    /// The version that the device reports, as it reports it; `None`: it reports none.
    Version(Option<String>),
    /// Another stream's operation keeps the device busy (D14).
    Busy,
    /// It could not be read. Always a temporary error (D5, D10).
    Failed(TransportError),
}

/// What the transport said to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestAnswer {
    /// It took it. The device may still never see it.
    Accepted,
    /// It failed for now (D10).
    Temporary(TransportError),
    /// It will not take it (D10).
    Permanent(TransportError),
}

impl RequestAnswer {
    /// What an HTTP status means (D10): a wrong or expired token (401, 403) is our fault, never
    /// the device's, and so temporary.
    #[must_use]
    pub fn of_http_status(status: u16, error: TransportError) -> Self {
        match status {
            200..=299 => Self::Accepted,
            401 | 403 | 408 | 429 => Self::Temporary(error),
            400..=499 => Self::Permanent(error),
            _ => Self::Temporary(error),
        }
    }
}

/// What went wrong in a transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TransportError {
    /// The transport's answer, for people; without the query of any URL. Cut after 500 characters
    /// where it is recorded.
    pub detail: String,
}

impl TransportError {
    /// An error with that detail.
    pub fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into() }
    }

    pub(crate) fn short(&self) -> String {
        self.detail.chars().take(500).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_of_a_long_error_is_its_beginning() {
        let error = TransportError::new("\u{e9}x".repeat(1_000));
        assert_eq!(error.short(), "\u{e9}x".repeat(250));
        assert_eq!(TransportError::new("HTTP 503").short(), "HTTP 503");
    }
}
