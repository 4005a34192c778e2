//! What comes of a target's turn, once its version is read (D4, D5, D7).

use super::fact;
use crate::answer::TransportError;
use crate::campaign::Campaign;
use crate::event::{
    AttemptDeferred, CampaignEvent, OperationReadmitted, OperationStarted, TargetFailed,
    TargetFailure, TargetUpToDate,
};
use crate::fleet::ImageUrl;
use crate::gate::{GateDecision, evaluate};
use crate::id::OperationId;
use crate::operation::at_work::{Fact, Reach, at_deadline};
use crate::operation::backoff;
use crate::status::{CampaignStatus, TargetStatus};
use crate::time::Timestamp;

/// What the gates say to the version that a device reports at this moment.
pub(in crate::campaign) fn gates(campaign: &Campaign, version: Option<&str>) -> GateDecision {
    let image = &campaign.definition.base_image;
    let requirement = image.starting_version_requirement.as_ref();
    evaluate(version, &image.version, requirement, campaign.definition.rollout.gates())
}

/// Whether a turn at which the gates say this ends with a request.
pub(in crate::campaign) fn starts(campaign: &Campaign, target: u32, gates: &GateDecision) -> bool {
    match kept_back(campaign, target, gates) {
        Some(fact) => fact == Fact::Resend,
        None => *gates == GateDecision::Start,
    }
}

/// The operation that a target's next turn may start (E3).
pub(in crate::campaign) fn next_operation(campaign: &Campaign, target: u32) -> OperationId {
    let series = campaign.targets.series(target);
    OperationId::of_campaign(campaign.id, campaign.targets.device(target), series)
}

/// What comes of a turn at which the device reports `version`, and the gates say this to it. `url` is
/// what is sent if an operation starts, unless it is the base image's (D23).
pub(in crate::campaign) fn version_read(
    campaign: &Campaign,
    target: u32,
    version: Option<&str>,
    gates: GateDecision,
    url: Option<ImageUrl>,
) -> CampaignEvent {
    if let Some(fact) = kept_back(campaign, target, &gates) {
        return fact::event(campaign, target, fact);
    }
    let device = campaign.targets.device(target);
    match gates {
        GateDecision::AlreadyUpToDate => TargetUpToDate { device }.into(),
        GateDecision::Refused(refusal) => {
            TargetFailed { device, reason: TargetFailure::Gate(refusal) }.into()
        }
        GateDecision::Start => {
            let operation = next_operation(campaign, target);
            let from_version = version.unwrap_or_default().chars().take(256).collect();
            OperationStarted { device, operation, from_version, url }.into()
        }
    }
}

/// What becomes of an operation whose resend was kept back, if that is what the turn is for: of the
/// gates only the third counts (D8).
fn kept_back(campaign: &Campaign, target: u32, gates: &GateDecision) -> Option<Fact> {
    let operation = campaign.operations.get(target).filter(|operation| operation.kept_back)?;
    Some(match gates {
        GateDecision::AlreadyUpToDate => Fact::Confirmed,
        _ => at_deadline(operation, &campaign.limits().operation, Reach::Online),
    })
}

/// The target of a device that turned out to be at the update already has a slot again (D10).
pub(in crate::campaign) fn readmitted(campaign: &Campaign, target: u32) -> CampaignEvent {
    OperationReadmitted { device: campaign.targets.device(target) }.into()
}

/// What a read for the gates that failed leads to.
pub(in crate::campaign) enum FailedRead {
    /// Nothing.
    Nothing,
    /// The attempt counts for the order, and the next one waits.
    Deferred(CampaignEvent),
    /// The same, but nothing of it is recorded, as the transport is known to be down (D10).
    Waits {
        /// For so long.
        until: Timestamp,
    },
}

/// The version could not be read. While the transport is known to be down, `unrecorded` says how many
/// attempts failed since it is.
pub(in crate::campaign) fn read_failed(
    campaign: &Campaign,
    target: u32,
    error: &TransportError,
    unrecorded: Option<u8>,
    now: Timestamp,
) -> FailedRead {
    // Turned away while its version was read (D14), it waits for that.
    let waits = campaign.not_before.get(target).is_some_and(|at| *at > now);
    let is_idle = campaign.targets.status(target) == TargetStatus::Idle;
    if campaign.status != CampaignStatus::InProgress || !is_idle || waits {
        return FailedRead::Nothing;
    }
    let device = campaign.targets.device(target);
    let failures = unrecorded.unwrap_or_else(|| campaign.targets.deferrals(target));
    let until = now + backoff::delay(campaign.id.as_uuid(), device, failures);
    if unrecorded.is_some() {
        return FailedRead::Waits { until };
    }
    let deferred = AttemptDeferred { device, not_before: until, detail: error.short() };
    FailedRead::Deferred(deferred.into())
}
