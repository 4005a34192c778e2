//! Which claims go with an event: what must be unique over campaigns (D14, D18, E5).

use crate::campaign::Campaign;
use crate::effect::ClaimChange;
use crate::event::CampaignEvent;
use crate::status::TargetStatus;

/// Adds the claims that go with an event that is decided and not yet folded.
pub(in crate::campaign) fn of(
    campaign: &Campaign,
    event: &CampaignEvent,
    claims: &mut Vec<ClaimChange>,
) {
    match event {
        CampaignEvent::CampaignStarted(_) => claims.push(ClaimChange::TakeRollout),
        CampaignEvent::CampaignFinished(_) => {
            if campaign.started_at.is_some() {
                claims.push(ClaimChange::ReleaseRollout);
            }
            // The operations of idle targets end with their campaign (D14).
            let targets = campaign.operations.targets().into_iter();
            let idle = targets
                .filter(|target| campaign.targets.status(*target) == TargetStatus::Idle)
                .map(|target| of_ended(campaign, target));
            claims.extend(idle);
        }
        CampaignEvent::OperationStarted(started) => {
            claims.push(ClaimChange::TakeDevice(started.device, started.operation));
        }
        _ => {}
    }
}

/// What goes with the end of a target's operation.
pub(in crate::campaign) fn of_ended(campaign: &Campaign, target: u32) -> ClaimChange {
    ClaimChange::ReleaseDevice(campaign.targets.device(target))
}
