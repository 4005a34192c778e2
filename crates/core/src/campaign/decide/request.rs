//! What the transport said to an Update request (D10).

use crate::campaign::input::RequestAnswer;
use crate::campaign::{Campaign, backoff};
use crate::event::{
    CampaignEvent, OperationDeferred, OperationFailed, OperationFailure, RequestAccepted,
    ResendFailed,
};
use crate::{Cancellation, Operation, Timestamp};

pub(in crate::campaign) fn answered(
    campaign: &Campaign,
    target: u32,
    operation: &Operation,
    answer: &RequestAnswer,
    now: Timestamp,
) -> CampaignEvent {
    let device = campaign.targets.device(target);
    // The first request is one of which no earlier call can have been accepted. A report proves
    // that one was.
    let is_only_request = operation.resends == 0 && !operation.is_reported();
    let is_first = is_only_request && !operation.reissued;
    // The one before a restart may have left, and failed for all that is known: an outage fails
    // nothing. If it arrived its device will say so, unless it is to be told to stop.
    // One that is kept back waits already.
    let may_wait = is_only_request && operation.cancellation == Cancellation::NotWanted;
    match answer {
        RequestAnswer::Accepted => RequestAccepted { device }.into(),
        RequestAnswer::Temporary(error) if (is_first || may_wait) && !operation.kept_back => {
            let delay = backoff::delay(campaign.id, device, campaign.targets.deferrals(target));
            OperationDeferred { device, not_before: now + delay, detail: error.short() }.into()
        }
        RequestAnswer::Permanent(error) if is_first => {
            let reason = OperationFailure::RequestRejected { detail: error.short() };
            OperationFailed { device, reason }.into()
        }
        RequestAnswer::Temporary(error) | RequestAnswer::Permanent(error) => {
            ResendFailed { device, detail: error.short() }.into()
        }
    }
}
