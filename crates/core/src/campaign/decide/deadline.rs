//! Resends and time-outs: what is decided at an operation's deadline, once the device's base image
//! was read and is not the campaign's (D8, D9).

use crate::campaign::Campaign;
use crate::event::{CampaignEvent, OperationFailed, OperationFailure, RequestResent, ResendMissed};
use crate::{Cancellation, Operation};

/// Whether the device was there when the deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::campaign) enum Reach {
    Online,
    Offline,
}

pub(in crate::campaign) fn passed(
    campaign: &Campaign,
    target: u32,
    operation: &Operation,
    reach: Reach,
) -> CampaignEvent {
    let device = campaign.targets.device(target);
    let failed = |reason| OperationFailed { device, reason }.into();
    if operation.is_reported() {
        return failed(OperationFailure::Stalled);
    }
    // Once a Cancel is recorded, the Update is never sent again (D17).
    let cancelled = operation.cancellation != Cancellation::NotWanted;
    if cancelled || operation.resends >= campaign.limits().operation.request_retries {
        return failed(OperationFailure::RequestTimeout);
    }
    // A first request goes only to a device that is online, however often it was tried (D4).
    if !operation.accepted && reach == Reach::Offline {
        return ResendMissed { device }.into();
    }
    RequestResent { device }.into()
}
