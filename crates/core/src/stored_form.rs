//! The parts of definitions as events hold them. They look as they do outside, but what is not known is passed
//! over: a log must go on being read by versions that know fewer keys than its writer (E6), while
//! whoever gives a definition must be told of a key that nobody knows.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use semver::Version;
use serde::{Deserialize, Deserializer};

use crate::fleet::{BaseImage, Channel, ChannelName, GroupName, ImageUrl, SystemModelHandle};
use crate::gate::GatePolicy;
use crate::percentage::Percentage;
use crate::rollout::{self, OperationLimits, PushRollout, RolloutLimits, RolloutMechanism};
use crate::version_requirement::VersionRequirement;

/// For a field of an event that is the limits of a rollout.
pub(crate) fn rollout_limits<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<RolloutLimits, D::Error> {
    StoredLimits::deserialize(from)
}

/// For a field of an event that is the limits of one operation.
pub(crate) fn operation_limits<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<OperationLimits, D::Error> {
    StoredOperationLimits::deserialize(from)
}

#[derive(Deserialize)]
#[serde(remote = "BaseImage")]
pub(crate) struct StoredImage {
    system_model: SystemModelHandle,
    version: Version,
    url: ImageUrl,
    starting_version_requirement: Option<VersionRequirement>,
}

#[derive(Deserialize)]
#[serde(remote = "Channel")]
pub(crate) struct StoredChannel {
    name: ChannelName,
    groups: BTreeSet<GroupName>,
}

#[derive(Deserialize)]
#[serde(remote = "RolloutMechanism", rename_all = "snake_case")]
pub(crate) enum StoredMechanism {
    Push(#[serde(with = "StoredPush")] PushRollout),
}

#[derive(Deserialize)]
#[serde(remote = "PushRollout")]
struct StoredPush {
    #[serde(with = "StoredLimits")]
    limits: RolloutLimits,
    #[serde(with = "StoredGates")]
    gates: GatePolicy,
    minimum_targets: u32,
}

#[derive(Deserialize)]
#[serde(remote = "GatePolicy")]
struct StoredGates {
    #[serde(default)]
    force_downgrade: bool,
    #[serde(default)]
    enforce_version_requirement: bool,
}

#[derive(Deserialize)]
#[serde(remote = "RolloutLimits")]
struct StoredLimits {
    max_pending_operations: NonZeroU32,
    max_failure_percentage: Percentage,
    #[serde(with = "StoredOperationLimits")]
    operation: OperationLimits,
}

#[derive(Deserialize)]
#[serde(remote = "OperationLimits")]
struct StoredOperationLimits {
    request_retries: u16,
    #[serde(with = "rollout::millis", rename = "request_timeout_ms")]
    request_timeout: Duration,
    #[serde(with = "rollout::optional_millis", rename = "stall_timeout_ms")]
    stall_timeout: Option<Duration>,
    #[serde(with = "rollout::millis", rename = "reboot_timeout_ms")]
    reboot_timeout: Duration,
    #[serde(with = "rollout::millis", rename = "progress_interval_ms")]
    progress_interval: Duration,
}
