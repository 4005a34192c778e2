//! What follows from what a device shows (D12, D22), and from its removal (D15).

use crate::campaign::Campaign;
use crate::event::{
    CampaignEvent, ContradictionSeen, OperationFailed, OperationFailure, TargetFailed,
    TargetFailure,
};
use crate::fleet::BaseImage;
use crate::status::{CampaignStatus, TargetStatus};
use crate::version::parse_version;

/// Whether `version` is the campaign's own, build metadata included.
pub(in crate::campaign) fn shows(image: &BaseImage, version: Option<&str>) -> bool {
    version
        .and_then(|text| parse_version(text).ok())
        .is_some_and(|version| version == image.version)
}

/// What a device shows contradicts how its target ended: another version after a success, the
/// campaign's own after a failure (D22). A device that shows none contradicts nothing.
pub(in crate::campaign) fn contradicted(
    campaign: &Campaign,
    target: u32,
    version: Option<&str>,
) -> Option<CampaignEvent> {
    let failed = campaign.targets.status(target) == TargetStatus::Failed;
    let contradicts = shows(&campaign.definition.base_image, version) == failed;
    let version = version.filter(|_| contradicts)?.chars().take(256).collect();
    Some(ContradictionSeen { device: campaign.targets.device(target), version }.into())
}

/// The device is gone. A finished campaign keeps its idle targets as they are; one whose snapshot
/// is not complete is told only once of what it has recorded already.
pub(in crate::campaign) fn removed(campaign: &Campaign, target: u32) -> Option<CampaignEvent> {
    let device = campaign.targets.device(target);
    if campaign.operations.contains(target) {
        return Some(OperationFailed { device, reason: OperationFailure::DeviceRemoved }.into());
    }
    let open = campaign.targets.status(target) == TargetStatus::Idle
        && campaign.status != CampaignStatus::Finished;
    open.then(|| TargetFailed { device, reason: TargetFailure::DeviceRemoved }.into())
}
