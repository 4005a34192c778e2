//! What a device reports about an operation (D11, D14).

use super::Rejection;
use crate::campaign::{Campaign, backoff};
use crate::event::{
    CampaignEvent, Confirmation, LateReportReceived, OperationFailed, OperationFailure,
    OperationRefused, OperationReported, OperationSucceeded,
};
use crate::{Operation, OperationId, OperationReport, Phase, Timestamp, Verdict};

/// What is to be recorded of a report, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::campaign) enum Judged {
    Event(CampaignEvent),
    Late(u32, CampaignEvent),
    Unchanged,
}

pub(in crate::campaign) fn judge(
    campaign: &Campaign,
    report: &OperationReport,
    now: Timestamp,
) -> Result<Judged, Rejection> {
    let refused =
        Rejection::UnknownOperation { device: report.device, operation: report.operation };
    let Some(target) = campaign.targets.find(report.device) else { return Err(refused) };
    if let Some(operation) = campaign.operations.get(target)
        && operation.id == report.operation
    {
        return Ok(active(campaign, target, operation, report, now));
    }
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
    Ok(Judged::Late(target, event.into()))
}

fn active(
    campaign: &Campaign,
    target: u32,
    operation: &Operation,
    report: &OperationReport,
    now: Timestamp,
) -> Judged {
    let device = report.device;
    let event = match operation.judge(report, now, campaign.limits().operation.progress_interval) {
        Verdict::Unchanged | Verdict::TooSoon => return Judged::Unchanged,
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
    };
    Judged::Event(event)
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
    if campaign.targets.series(target) >= campaign.limits().operation.request_retries {
        let reason = OperationFailure::UpdateAlreadyInProgress;
        return OperationFailed { device, reason }.into();
    }
    let delay = backoff::delay(campaign.id, device, campaign.targets.deferrals(target));
    OperationRefused { device, not_before: now + delay }.into()
}
