//! The snapshot and the start (D1, D3, E9).

use std::collections::BTreeSet;

use super::Rejection;
use crate::campaign::Campaign;
use crate::event::{CampaignEvent, CampaignStarted, SnapshotExtended};
use crate::id::DeviceId;
use crate::status::CampaignStatus;
use crate::time::Timestamp;

/// The most targets of one campaign.
const MOST_TARGETS: u32 = 10_000_000;
/// The most devices of one event.
const CHUNK: usize = 10_000;

/// Whether the snapshot is to be taken at `now`.
pub(in crate::campaign) fn is_due(campaign: &Campaign, now: Timestamp) -> bool {
    match campaign.status {
        CampaignStatus::Idle => true,
        CampaignStatus::Scheduled => campaign.scheduled_at.is_none_or(|at| at <= now),
        _ => false,
    }
}

/// Adds those devices that are not targets yet: after a crash in the middle of a snapshot it is
/// taken again, and what was recorded stays.
pub(in crate::campaign) fn extend(
    campaign: &Campaign,
    devices: &[DeviceId],
) -> Result<Vec<CampaignEvent>, Rejection> {
    let mut seen = BTreeSet::new();
    let new: Vec<_> = devices
        .iter()
        .copied()
        .filter(|device| campaign.targets.find(*device).is_none() && seen.insert(*device))
        .collect();
    let total = usize::try_from(campaign.targets.len()).unwrap_or(usize::MAX);
    if total.saturating_add(new.len()) > usize::try_from(MOST_TARGETS).unwrap_or(usize::MAX) {
        return Err(Rejection::SnapshotTooLarge { campaign: campaign.id, most: MOST_TARGETS });
    }
    Ok(new.chunks(CHUNK).map(|chunk| SnapshotExtended { devices: chunk.to_vec() }.into()).collect())
}

/// All devices were told: the campaign starts.
pub(in crate::campaign) fn complete(campaign: &Campaign) -> CampaignEvent {
    CampaignStarted { targets: campaign.targets.len() }.into()
}
