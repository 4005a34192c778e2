//! What campaigns and manual updates at work are told: commands of people, what the world shows,
//! answers to effects.

use serde::Deserialize;

use crate::answer::{BaseImageAnswer, ReadPurpose, RequestAnswer};
use crate::edit::CampaignEdit;
use crate::id::{DeviceId, OperationId};
use crate::operation::OperationReport;
use crate::question::Question;
use crate::rollout::{DeviceFact, PolicyFact};
use crate::time::Timestamp;

/// Something that a campaign at work is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// A person wants something.
    Command(Command),
    /// Part of the snapshot that [`Effect::TakeSnapshot`](crate::Effect::TakeSnapshot) asked for.
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
    /// Something was found out about a device that bears on whether it may start now, such as that the
    /// operation that kept it busy has ended (D14).
    DeviceFact {
        /// The device.
        device: DeviceId,
        /// What.
        fact: DeviceFact,
    },
    /// A device reports about an operation (D11).
    Report(OperationReport),
    /// The answer to [`Effect::ReadBaseImage`](crate::Effect::ReadBaseImage) or
    /// [`Effect::PrepareStart`](crate::Effect::PrepareStart).
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
    /// The answer to [`Effect::SendUpdate`](crate::Effect::SendUpdate).
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
    /// The answer to [`Effect::SendCancel`](crate::Effect::SendCancel).
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
    /// Record what a policy of the rollout goes by, such as the answer of a device's user (P15).
    Record {
        /// The device that it is about.
        device: DeviceId,
        /// What.
        fact: PolicyFact,
    },
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
            Self::Record { .. } => "record",
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
