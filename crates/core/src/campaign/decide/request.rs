//! What the transport said to an Update request (D10).

use crate::campaign::input::RequestAnswer;
use crate::campaign::{Campaign, backoff};
use crate::event::{
    CampaignEvent, OperationDeferred, OperationFailed, OperationFailure, RequestAccepted,
    ResendFailed,
};
use crate::{Operation, Timestamp};

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
    let is_first = operation.resends == 0 && !operation.reissued && !operation.is_reported();
    match answer {
        RequestAnswer::Accepted => RequestAccepted { device }.into(),
        RequestAnswer::Temporary(error) if is_first => {
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
