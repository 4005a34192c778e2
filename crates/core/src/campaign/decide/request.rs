//! What the transport said to an Update request (D10), and to a Cancel (D17).

use crate::answer::RequestAnswer;
use crate::campaign::Campaign;
use crate::event::{
    CampaignEvent, CancelSent, OperationDeferred, OperationFailed, OperationFailure,
    RequestAccepted, ResendFailed,
};
use crate::operation::at_work::{Answered, CancelAnswered, request_answered};
use crate::operation::{Cancellation, Delivery, backoff};
use crate::time::Timestamp;

/// What is recorded of the answer, if that was not known already.
pub(in crate::campaign) fn answered(
    campaign: &Campaign,
    target: u32,
    answer: &RequestAnswer,
    now: Timestamp,
) -> Option<CampaignEvent> {
    let operation = campaign.operations.get(target)?;
    if operation.delivery != Delivery::Unanswered {
        return None;
    }
    let device = campaign.targets.device(target);
    Some(match request_answered(operation, answer) {
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
    })
}

/// The transport has taken a Cancel request, or refused it for good (D17).
pub(in crate::campaign) fn cancel_answered(
    campaign: &Campaign,
    target: u32,
    answered: CancelAnswered,
) -> CampaignEvent {
    let device = campaign.targets.device(target);
    CancelSent { device, refused: answered.refused }.into()
}

/// Whether the device is still to be told to cancel (D17).
pub(in crate::campaign) fn is_cancel_wanted(campaign: &Campaign, target: u32) -> bool {
    let operation = campaign.operations.get(target);
    operation.is_some_and(|operation| operation.cancellation == Cancellation::Wanted)
}
