//! What follows from the counts, or from the time, alone: the outcome (D3, D13), a completed pause
//! (D16), what a policy is due to record (P3).

use crate::campaign::Campaign;
use crate::event::{CampaignEvent, CampaignFinished, CampaignPaused, PolicyFactRecorded};
use crate::status::{CampaignStatus, Outcome};
use crate::time::Timestamp;

/// The event that is due now, if any. Asked again after every other event, and after a restart, so
/// that a crash between two of them loses nothing.
pub(in crate::campaign) fn follow_up(campaign: &Campaign, now: Timestamp) -> Option<CampaignEvent> {
    if !campaign.status.is_running() {
        return None;
    }
    let finished = |outcome| Some(CampaignFinished { outcome, stop_operations: false }.into());
    let counts = campaign.counts();
    if campaign.misses_minimum() || campaign.failure_limit_is_exceeded() {
        finished(Outcome::Failure)
    } else if let Some(fact) = campaign.policies.due(campaign.started_at, now) {
        Some(PolicyFactRecorded { device: None, fact }.into())
    } else if counts.idle == 0 && counts.in_progress == 0 {
        finished(Outcome::Success)
    } else if campaign.status == CampaignStatus::Pausing && counts.in_progress == 0 {
        Some(CampaignPaused {}.into())
    } else {
        None
    }
}
