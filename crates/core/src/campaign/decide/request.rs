//! What the transport said to an Update request (D10).

use crate::answer::RequestAnswer;
use crate::campaign::Campaign;
use crate::event::{
    CampaignEvent, OperationDeferred, OperationFailed, OperationFailure, RequestAccepted,
    ResendFailed,
};
use crate::operation::at_work::{Answered, request_answered};
use crate::operation::{Operation, backoff};
use crate::time::Timestamp;

pub(in crate::campaign) fn answered(
    campaign: &Campaign,
    target: u32,
    operation: &Operation,
    answer: &RequestAnswer,
    now: Timestamp,
) -> CampaignEvent {
    let device = campaign.targets.device(target);
    match request_answered(operation, answer) {
        Answered::Accepted => RequestAccepted { device }.into(),
        Answered::Refused { detail } => {
            let reason = OperationFailure::RequestRejected { detail };
            OperationFailed { device, reason }.into()
        }
        // One that is kept back waits already.
        Answered::Failed { detail, is_only } if is_only && !operation.kept_back => {
            let delay =
                backoff::delay(campaign.id.as_uuid(), device, campaign.targets.deferrals(target));
            OperationDeferred { device, not_before: now + delay, detail }.into()
        }
        Answered::Failed { detail, .. } => ResendFailed { device, detail }.into(),
    }
}
