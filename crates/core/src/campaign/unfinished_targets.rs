//! Which targets are still to come to an end, and where their devices are as far as the campaign
//! knows: for adapters that compare this now and then with what their platform says.

use super::LiveCampaign;
use crate::id::DeviceId;
use crate::status::TargetStatus;

/// A target that is not final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenTarget {
    /// Its device.
    pub device: DeviceId,
    /// Whether the device is online, as far as the campaign was told (E7).
    pub is_online: bool,
    /// Whether an operation is in progress on it.
    pub is_in_progress: bool,
}

impl LiveCampaign {
    /// The targets that are not final, in snapshot order. Looks at every target.
    pub fn open_targets(&self) -> impl Iterator<Item = OpenTarget> + '_ {
        (0..self.campaign.targets.len()).filter_map(|target| {
            let status = self.campaign.targets.status(target);
            (!status.is_final()).then(|| OpenTarget {
                device: self.campaign.targets.device(target),
                is_online: self.observations.is_online(target),
                is_in_progress: status == TargetStatus::InProgress,
            })
        })
    }
}
