//! An OTA operation, of a campaign or started by hand.

use std::sync::Arc;

use futures::future::FutureExt;
use hedgerow_core::event::{Confirmation, OperationFailure};
use hedgerow_core::{CampaignId, DeviceId, Phase, StatusCode, StreamId};
use hedgerow_engine::view::{OperationEnd, OperationEntry};

use super::campaign::Campaign;
use super::plain::Plain;
use super::target::{self, Target};
use crate::errors::Failure;
use crate::record::{Answer, Ask, Call, Found, Object, Record};

/// How many operations are read at once.
const READ: usize = 1_000;

/// An operation.
#[derive(Clone)]
pub(crate) struct Operation {
    pub(crate) entry: Arc<OperationEntry>,
    /// The target that it was found with.
    target: Option<Target>,
}

impl Operation {
    pub(crate) fn new(entry: OperationEntry) -> Self {
        Self { entry: Arc::new(entry), target: None }
    }

    /// An operation of a target that is at hand, so that nobody has to look it up again for each.
    pub(crate) fn of(target: &Target, entry: OperationEntry) -> Self {
        Self { entry: Arc::new(entry), target: Some(target.clone()) }
    }

    fn campaign(&self) -> Option<CampaignId> {
        match self.entry.stream {
            StreamId::Campaign(campaign) => Some(campaign),
            _ => None,
        }
    }
}

fn status(entry: &OperationEntry) -> &'static str {
    match (&entry.ended, entry.phase) {
        (Some((_, OperationEnd::Succeeded(_))), _) | (None, Phase::Success) => "SUCCESS",
        (Some(_), _) | (None, Phase::Failure) => "FAILURE",
        (None, Phase::Pending) => "PENDING",
        (None, Phase::Acknowledged) => "ACKNOWLEDGED",
        (None, Phase::Downloading) => "DOWNLOADING",
        (None, Phase::Deploying) => "DEPLOYING",
        (None, Phase::Deployed) => "DEPLOYED",
        (None, Phase::Rebooting) => "REBOOTING",
        (None, Phase::Error) => "ERROR",
    }
}

/// The code, as Edgehog names it; its enum is closed, so that what it does not know has none.
fn code(code: &StatusCode) -> Option<&'static str> {
    Some(match code {
        StatusCode::RequestTimeout => "REQUEST_TIMEOUT",
        StatusCode::InvalidRequest => "INVALID_REQUEST",
        StatusCode::UpdateAlreadyInProgress => "UPDATE_ALREADY_IN_PROGRESS",
        StatusCode::NetworkError => "NETWORK_ERROR",
        StatusCode::IoError => "IO_ERROR",
        StatusCode::InternalError => "INTERNAL_ERROR",
        StatusCode::InvalidBaseImage => "INVALID_BASE_IMAGE",
        StatusCode::SystemRollback => "SYSTEM_ROLLBACK",
        StatusCode::Canceled => "CANCELED",
        _ => return None,
    })
}

fn end_code(end: &OperationEnd) -> Option<&'static str> {
    match end {
        OperationEnd::Refused => Some("UPDATE_ALREADY_IN_PROGRESS"),
        OperationEnd::Abandoned => Some("CANCELED"),
        OperationEnd::Failed(failure) => match failure {
            // What has no code at Edgehog gets the one that comes nearest; `failure` has the truth.
            OperationFailure::Stalled => Some("REQUEST_TIMEOUT"),
            OperationFailure::RequestRejected { .. } => Some("INVALID_REQUEST"),
            failure => failure.status_code().as_ref().and_then(code),
        },
        _ => None,
    }
}

/// Why an operation failed, as a sentence.
pub(crate) fn described(failure: &OperationFailure) -> String {
    match failure {
        OperationFailure::RequestTimeout => {
            "no report came in time, and the request was sent as often as it may be".to_owned()
        }
        OperationFailure::Stalled => "the device reported nothing more for too long".to_owned(),
        OperationFailure::RequestRejected { detail } => {
            format!("the request was refused: {detail}")
        }
        OperationFailure::Reported { code, message } => {
            let code = code.as_ref().map_or("no code", StatusCode::as_wire);
            let separator = if message.is_empty() { "" } else { ": " };
            format!("the device reported a failure, {code}{separator}{message}")
        }
        OperationFailure::SystemRollback { version: Some(version) } => {
            format!("the device restarted and went back to {version}")
        }
        OperationFailure::SystemRollback { version: None } => {
            "the device restarted and went back to what it had".to_owned()
        }
        OperationFailure::UpdateAlreadyInProgress => {
            "the device was busy with another update each time".to_owned()
        }
        OperationFailure::DeviceRemoved => "the device does not exist any more".to_owned(),
    }
}

impl Record for Operation {
    fn type_name(&self) -> &'static str {
        "OtaOperation"
    }

    fn at_hand(&self, field: &str, ask: &Ask) -> Option<Answer> {
        let entry = &self.entry;
        let end = entry.ended.as_ref().map(|(_, end)| end);
        let failed = match end {
            Some(OperationEnd::Failed(failure)) => Some(failure),
            _ => None,
        };
        Some(match field {
            "id" => Answer::id("ota_operation", entry.operation),
            "status" => Answer::value(status(entry)),
            "statusProgress" => {
                let is_over = matches!(end, Some(OperationEnd::Succeeded(_)));
                Answer::value(if is_over { 100 } else { entry.progress.min(100) })
            }
            "statusCode" => Answer::text(end.and_then(end_code)),
            "message" => Answer::text(failed.map(described)),
            "createdAt" => Answer::time(Some(entry.began_at)),
            "updatedAt" => {
                let ended = entry.ended.as_ref().map(|(at, _)| *at);
                Answer::time(ended.or(entry.reported_at).or(Some(entry.began_at)))
            }
            "device" => super::device(entry.device, ask),
            "campaignTarget" => match &self.target {
                Some(target) => Answer::object(target.clone()),
                None => Answer::maybe(
                    self.campaign().map(|campaign| TargetOf { campaign, device: entry.device }),
                ),
            },
            "fromVersion" => Answer::text(entry.from_version.as_deref()),
            "version" => Answer::text(entry.version.as_deref()),
            "resendCount" => Answer::value(entry.resends),
            "endedAt" => Answer::time(entry.ended.as_ref().map(|(at, _)| *at)),
            "isInferred" => Answer::value(
                matches!(end, Some(OperationEnd::Succeeded(Confirmation::BaseImage)))
                    || failed.is_some_and(OperationFailure::is_inferred),
            ),
            "wasRefused" => Answer::value(matches!(end, Some(OperationEnd::Refused))),
            "failure" => Answer::maybe(failed.map(|failure| {
                let details = serde_json::to_value(failure).unwrap_or_default();
                Plain::new("Failure")
                    .with("reason", failure.reason().name())
                    .with("description", described(failure))
                    .with("details", crate::record::from_json(details))
            })),
            _ => return None,
        })
    }

    fn look_up<'a>(&'a self, field: &'a str, call: Call<'a>) -> Option<Found<'a>> {
        match field {
            "baseImageUrl" => Some(self.url(call.ask).boxed()),
            _ => None,
        }
    }
}

impl Operation {
    async fn url(&self, ask: &Arc<Ask>) -> Result<Answer, Failure> {
        let url = if let Some(target) = &self.target {
            Some(target.campaign.definition.base_image.url.clone())
        } else if let Some(campaign) = self.campaign() {
            let campaign = ask.campaign(campaign).await?;
            campaign.map(|campaign| campaign.definition.base_image.url.clone())
        } else {
            let update = ask.engine().manual_update(ask.tenant(), self.entry.operation).await?;
            update.map(|update| update.definition().url.clone())
        };
        // Of one whose campaign was archived and removed nobody knows it any more.
        Ok(Answer::value(url.map_or_else(String::new, |url| url.as_str().to_owned())))
    }
}

/// The target of an operation: most ask only for its campaign.
struct TargetOf {
    campaign: CampaignId,
    device: DeviceId,
}

impl Record for TargetOf {
    fn type_name(&self) -> &'static str {
        "CampaignTarget"
    }

    fn at_hand(&self, field: &str, ask: &Ask) -> Option<Answer> {
        Some(match field {
            "id" => Answer::id("campaign_target", target::key(self.campaign, self.device)),
            "device" => super::device(self.device, ask),
            _ => return None,
        })
    }

    fn look_up<'a>(&'a self, field: &'a str, call: Call<'a>) -> Option<Found<'a>> {
        Some(
            async move {
                let missing = || Failure::not_found("id");
                let campaign = call.ask.campaign(self.campaign).await?.ok_or_else(missing)?;
                if field == "campaign" {
                    return Ok(Answer::object(Campaign(campaign)));
                }
                let (engine, tenant) = (call.ask.engine(), call.ask.tenant());
                let entry = engine.target(tenant, self.campaign, self.device).await?;
                let target = Target::new(campaign, entry.ok_or_else(missing)?);
                if let Some(answer) = target.at_hand(field, call.ask) {
                    return Ok(answer);
                }
                match target.look_up(field, call) {
                    Some(found) => found.await,
                    None => Ok(Answer::NULL),
                }
            }
            .boxed(),
        )
    }
}

/// All operations of a device, the latest first.
pub(crate) async fn all_of(device: DeviceId, ask: &Arc<Ask>) -> Result<Vec<Object>, Failure> {
    let (mut all, mut after): (Vec<Object>, _) = (Vec::new(), None);
    loop {
        let history = ask.engine().device_history(ask.tenant(), device, after.as_ref(), READ);
        let page = history.await?;
        ask.take(page.entries.len())?;
        all.extend(page.entries.into_iter().map(|entry| Arc::new(Operation::new(entry)) as Object));
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// An operation of a device, among its newest.
pub(crate) async fn found(
    device: DeviceId,
    operation: hedgerow_core::OperationId,
    ask: &Arc<Ask>,
) -> Result<Option<Operation>, Failure> {
    let page = ask.engine().device_history(ask.tenant(), device, None, 100).await?;
    let found = page.entries.into_iter().find(|entry| entry.operation == operation);
    Ok(found.map(Operation::new))
}
