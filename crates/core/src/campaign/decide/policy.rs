//! What people tell of targets that a policy of the rollout goes by, such as a user's consent (P15).

use super::Rejection;
use crate::campaign::Campaign;
use crate::event::{CampaignEvent, PolicyFactRecorded};
use crate::id::DeviceId;
use crate::rollout::PolicyFact;

/// What is recorded of it; nothing if it changes nothing.
pub(in crate::campaign) fn told(
    campaign: &Campaign,
    device: DeviceId,
    fact: &PolicyFact,
) -> Result<Option<CampaignEvent>, Rejection> {
    if !campaign.status.is_running() {
        return Err(Rejection::WrongStatus {
            campaign: campaign.id,
            what: "told of its targets",
            status: campaign.status,
            hint: "only one that has started and has no outcome can",
        });
    }
    let Some(target) = campaign.targets.find(device) else {
        return Err(Rejection::NoTarget { campaign: campaign.id, device });
    };
    let changes = campaign.policies.takes(target, fact)?;
    let recorded = || PolicyFactRecorded { device: Some(device), fact: fact.clone() }.into();
    Ok(changes.then(recorded))
}
