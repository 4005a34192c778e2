//! What a campaign or a manual OTA update is to do. Their events embed it whole (E10).

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::fleet::{BaseImage, CampaignName, Channel, ImageUrl};
use crate::id::DeviceId;
use crate::request_id::RequestId;
use crate::rollout::{OperationLimits, RolloutMechanism};
use crate::version::parse_version;

/// What happens when the campaign starts while an older one for the same System Model and channel
/// is started and unfinished (D18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenRunning {
    /// The older one is superseded.
    #[default]
    Supersede,
    /// The newer one is refused, or, if it was scheduled, waits for the older one to finish.
    Refuse,
}

/// What a campaign is to do. Events embed it whole (E10). An unknown key is refused when it is read
/// from outside, and passed over in an event (E6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignDefinition {
    /// Its name, for people.
    pub name: CampaignName,
    /// The image that it distributes.
    pub base_image: BaseImage,
    /// The channel whose devices it targets.
    pub channel: Channel,
    /// How it proceeds.
    pub rollout: RolloutMechanism,
    /// What happens to an older one.
    #[serde(default)]
    pub when_running: WhenRunning,
}

/// What a manual OTA update is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManualUpdateDefinition {
    /// The caller's id for it.
    pub request_id: RequestId,
    /// The device.
    pub device: DeviceId,
    /// The image's URL.
    pub url: ImageUrl,
    /// The version that the device is to show afterwards. Without it no outcome is inferred (D12).
    pub expected_version: Option<Version>,
    /// The version that the device showed before, as it reports it; `None`: unknown.
    pub version_before: Option<String>,
    /// Its retries and time-outs.
    #[serde(deserialize_with = "crate::stored_form::read")]
    pub limits: OperationLimits,
}

impl ManualUpdateDefinition {
    /// Whether what the device shows can tell the outcome: the expected version is given and is
    /// another than the one before.
    #[must_use]
    pub fn can_be_reconciled(&self) -> bool {
        let before = self.version_before.as_deref().map(parse_version);
        match (&self.expected_version, before) {
            (Some(expected), Some(Ok(before))) => *expected != before,
            (Some(_), Some(Err(_))) => true,
            _ => false,
        }
    }

    pub(crate) fn is_shown_by(&self, version: Option<&str>) -> bool {
        let shown = version.and_then(|text| parse_version(text).ok());
        self.can_be_reconciled() && shown.is_some() && shown == self.expected_version
    }
}
