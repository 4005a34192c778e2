//! What a device reports about an operation (D11, D14).

use super::Rejection;
use crate::campaign::Campaign;
use crate::event::{
    CampaignEvent, Confirmation, LateReportReceived, OperationFailed, OperationFailure,
    OperationRefused, OperationReported, OperationSucceeded,
};
use crate::id::OperationId;
use crate::operation::{OperationReport, Phase, Verdict, backoff};
use crate::time::Timestamp;

/// A report about an operation that is not active: one that has ended, or none of ours. Nothing is
/// changed by it but that it is recorded (D11).
pub(in crate::campaign) fn late(
    campaign: &Campaign,
    report: &OperationReport,
) -> Result<(u32, CampaignEvent), Rejection> {
    let refused =
        Rejection::UnknownOperation { device: report.device, operation: report.operation };
    let Some(target) = campaign.targets.find(report.device) else { return Err(refused) };
    let series = campaign.targets.series(target);
    let is_former = (0..=series)
        .any(|n| OperationId::of_campaign(campaign.id, report.device, n) == report.operation);
    if !is_former || campaign.started_at.is_none() {
        return Err(refused);
    }
    let event = LateReportReceived {
        device: report.device,
        operation: report.operation,
        status: report.status,
        code: report.code.clone(),
    };
    Ok((target, event.into()))
}

/// What is recorded of a report about the active operation, if anything.
pub(in crate::campaign) fn active(
    campaign: &Campaign,
    target: u32,
    report: &OperationReport,
    verdict: Verdict,
    now: Timestamp,
) -> Option<CampaignEvent> {
    let device = report.device;
    Some(match verdict {
        // Progress that comes too soon is not recorded, and heard all the same (D9).
        Verdict::Unchanged | Verdict::TooSoon => return None,
        Verdict::Now(phase) => reported(report, phase),
        Verdict::Succeeded => {
            OperationSucceeded { device, confirmation: Confirmation::Reported }.into()
        }
        Verdict::Failed => {
            let code = report.code.clone();
            let reason = OperationFailure::Reported { code, message: report.short_message() };
            OperationFailed { device, reason }.into()
        }
        Verdict::Refused => refused(campaign, target, now),
    })
}

fn reported(report: &OperationReport, phase: Phase) -> CampaignEvent {
    OperationReported {
        device: report.device,
        phase,
        progress: report.progress.min(100),
        code: report.code.clone(),
        message: report.short_message(),
        observed_at: report.observed_at,
    }
    .into()
}

/// The device is busy with an update that is none of ours: the operation has failed, the target
/// not, unless that happened too often (D14).
fn refused(campaign: &Campaign, target: u32, now: Timestamp) -> CampaignEvent {
    let device = campaign.targets.device(target);
    let refusals = campaign.targets.series(target);
    if refusals >= campaign.limits().operation.request_retries {
        let reason = OperationFailure::UpdateAlreadyInProgress;
        return OperationFailed { device, reason }.into();
    }
    let delay = backoff::delay_of_busy(campaign.id.as_uuid(), device, refusals);
    OperationRefused { device, not_before: now + delay }.into()
}
