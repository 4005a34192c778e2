//! What of a campaign is to change (D19).

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::definition::CampaignDefinition;
use crate::fleet::{BaseImage, CampaignName, Channel};
use crate::gate::GatePolicy;
use crate::percentage::Percentage;
use crate::rollout::{OperationLimits, RolloutLimits, optional_millis};
use crate::time::Timestamp;

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
    pub(crate) fn fixed_field(&self) -> Option<&'static str> {
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
    pub(crate) fn of(&self, definition: &CampaignDefinition) -> CampaignDefinition {
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
