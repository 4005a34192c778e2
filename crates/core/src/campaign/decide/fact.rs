//! What has become of an operation (D8, D9, D12, D24), as the event that records it for a campaign.

use crate::campaign::Campaign;
use crate::event::{
    CampaignEvent, Confirmation, OperationFailed, OperationFailure, OperationSucceeded,
    RequestReissued, RequestResent, ResendKeptBack, ResendMissed,
};
use crate::operation::at_work::Fact;

/// The event for what has become of the target's operation.
pub(in crate::campaign) fn event(campaign: &Campaign, target: u32, fact: Fact) -> CampaignEvent {
    let device = campaign.targets.device(target);
    let failed = |reason| OperationFailed { device, reason }.into();
    match fact {
        Fact::Confirmed => {
            OperationSucceeded { device, confirmation: Confirmation::BaseImage }.into()
        }
        Fact::RolledBack { version } => failed(OperationFailure::SystemRollback { version }),
        Fact::Stalled => failed(OperationFailure::Stalled),
        Fact::RequestTimeout => failed(OperationFailure::RequestTimeout),
        Fact::Resend => RequestResent { device }.into(),
        // A finished campaign has no next turn.
        Fact::ResendWhileOffline if campaign.outcome.is_some() => ResendMissed { device }.into(),
        Fact::ResendWhileOffline => ResendKeptBack { device }.into(),
        Fact::Reissue => RequestReissued { device }.into(),
    }
}
