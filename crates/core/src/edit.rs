//! What of a campaign is to change (D19).

use serde::{Deserialize, Deserializer};

use crate::definition::CampaignDefinition;
use crate::fleet::{BaseImage, CampaignName, Channel};
use crate::gate::GatePolicy;
use crate::rollout::LimitsEdit;
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
