//! What a device reports about an operation (D11, D14).

use super::Rejection;
use crate::campaign::{Campaign, backoff};
use crate::event::{
    CampaignEvent, Confirmation, LateReportReceived, OperationFailed, OperationFailure,
    OperationRefused, OperationReported, OperationSucceeded,
};
use crate::{Heard, OperationId, OperationReport, Phase, Timestamp, Verdict};

/// What is to be recorded of a report, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::campaign) enum Judged {
    Event(CampaignEvent),
    Late(u32, CampaignEvent),
    /// Progress that is not recorded, and heard all the same (D9).
    TooSoon(u32),
    Unchanged,
}

/// `heard`: see [`Operation::judge`].
pub(in crate::campaign) fn judge(
    campaign: &Campaign,
    report: &OperationReport,
    heard: Option<Heard>,
    now: Timestamp,
) -> Result<Judged, Rejection> {
    let refused =
        Rejection::UnknownOperation { device: report.device, operation: report.operation };
    let Some(target) = campaign.targets.find(report.device) else { return Err(refused) };
    if let Some(operation) = campaign.operations.get(target)
        && operation.id == report.operation
    {
        let verdict = operation.judge(report, heard, now, &campaign.limits().operation);
        return Ok(active(campaign, target, report, verdict, now));
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
    report: &OperationReport,
    verdict: Verdict,
    now: Timestamp,
) -> Judged {
    let device = report.device;
    let event = match verdict {
        Verdict::Unchanged => return Judged::Unchanged,
        Verdict::TooSoon => return Judged::TooSoon(target),
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
    let refusals = campaign.targets.series(target);
    if refusals >= campaign.limits().operation.request_retries {
        let reason = OperationFailure::UpdateAlreadyInProgress;
        return OperationFailed { device, reason }.into();
    }
    let delay = backoff::delay_of_busy(campaign.id, device, refusals);
    OperationRefused { device, not_before: now + delay }.into()
}
