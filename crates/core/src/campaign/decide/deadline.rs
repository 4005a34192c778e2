//! Resends and time-outs: what is decided at an operation's deadline, once the device's base image
//! was read and is not the campaign's (D8, D9), and when a device may have forgotten it (D24).

use crate::campaign::Campaign;
use crate::event::{
    CampaignEvent, OperationFailed, OperationFailure, RequestResent, ResendKeptBack, ResendMissed,
};
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
    match reach {
        Reach::Online => RequestResent { device }.into(),
        // A finished campaign has no next turn.
        Reach::Offline if campaign.outcome.is_some() => ResendMissed { device }.into(),
        Reach::Offline => ResendKeptBack { device }.into(),
    }
}

/// The device came back, is online, and has reported nothing for as long as an answer to a request
/// is waited for: it may have forgotten its operation (D24).
pub(in crate::campaign) fn forgotten(
    campaign: &Campaign,
    target: u32,
    operation: &Operation,
) -> Option<CampaignEvent> {
    let left = operation.resends < campaign.limits().operation.request_retries;
    let device = campaign.targets.device(target);
    (left && operation.may_be_forgotten()).then(|| RequestResent { device }.into())
}
