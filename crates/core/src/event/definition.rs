//! A campaign's definition as its events hold it: see [`stored_form`](crate::stored_form).

use serde::{Deserialize, Deserializer};

use crate::definition::{CampaignDefinition, WhenRunning};
use crate::fleet::{BaseImage, CampaignName, Channel};
use crate::rollout::RolloutMechanism;
use crate::stored_form::{StoredChannel, StoredImage, StoredMechanism};

/// For a field of an event that is a whole definition.
pub(super) fn stored<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Box<CampaignDefinition>, D::Error> {
    StoredDefinition::deserialize(from).map(Box::new)
}

#[derive(Deserialize)]
#[serde(remote = "CampaignDefinition")]
struct StoredDefinition {
    name: CampaignName,
    #[serde(with = "StoredImage")]
    base_image: BaseImage,
    #[serde(with = "StoredChannel")]
    channel: Channel,
    #[serde(with = "StoredMechanism")]
    rollout: RolloutMechanism,
    #[serde(default)]
    when_running: WhenRunning,
}
