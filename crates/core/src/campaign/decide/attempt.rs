//! What comes of a target's turn, once its version is read (D4, D5, D7).

use super::{fact, reconcile};
use crate::answer::TransportError;
use crate::campaign::Campaign;
use crate::event::{
    AttemptDeferred, CampaignEvent, OperationStarted, TargetFailed, TargetFailure, TargetUpToDate,
};
use crate::gate::{GateDecision, evaluate};
use crate::id::OperationId;
use crate::operation::at_work::{Fact, Reach, at_deadline};
use crate::operation::backoff;
use crate::time::Timestamp;

/// What comes of a turn at which the device reports `version`. Of one whose resend was kept back
/// only gate 3 is asked again (D8).
pub(in crate::campaign) fn version_read(
    campaign: &Campaign,
    target: u32,
    version: Option<&str>,
) -> CampaignEvent {
    let kept_back = campaign.operations.get(target).filter(|operation| operation.kept_back);
    let Some(operation) = kept_back else { return pass_gates(campaign, target, version) };
    let fact = if reconcile::shows(&campaign.definition.base_image, version) {
        Fact::Confirmed
    } else {
        let limits = &campaign.limits().operation;
        at_deadline(operation, limits, Reach::Online)
    };
    fact::event(campaign, target, fact)
}

/// The gates on the version that the device reports at this moment.
fn pass_gates(campaign: &Campaign, target: u32, version: Option<&str>) -> CampaignEvent {
    let device = campaign.targets.device(target);
    let image = &campaign.definition.base_image;
    let requirement = image.starting_version_requirement.as_ref();
    let gates = campaign.definition.rollout.gates();
    match evaluate(version, &image.version, requirement, gates) {
        GateDecision::AlreadyUpToDate => TargetUpToDate { device }.into(),
        GateDecision::Refused(refusal) => {
            TargetFailed { device, reason: TargetFailure::Gate(refusal) }.into()
        }
        GateDecision::Start => {
            let series = campaign.targets.series(target);
            let operation = OperationId::of_campaign(campaign.id, device, series);
            let from_version = version.unwrap_or_default().chars().take(256).collect();
            OperationStarted { device, operation, from_version }.into()
        }
    }
}

/// The version could not be read: the attempt counts for the order, and the next one waits.
pub(in crate::campaign) fn defer(
    campaign: &Campaign,
    target: u32,
    error: &TransportError,
    now: Timestamp,
) -> CampaignEvent {
    let device = campaign.targets.device(target);
    let delay = backoff::delay(campaign.id.as_uuid(), device, campaign.targets.deferrals(target));
    AttemptDeferred { device, not_before: now + delay, detail: error.short() }.into()
}
