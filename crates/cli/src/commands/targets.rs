//! `hedgerow targets`: the targets of a campaign, by status and reason, page by page.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use hedgerow_core::event::{OperationFailure, TargetFailure};
use hedgerow_core::{FailureReason, Settlement, TargetStatus, TenantId};
use hedgerow_engine::view::{Failure, TargetDetails, TargetEntry, TargetQuery};
use hedgerow_sim::runtime::wait;
use serde_json::{Value, json};

use super::device;
use super::naming::CampaignName;
use super::reading::{ReadError, find, finish};
use super::rows::{Log, Printed, all_readable, one_of};
use super::times::time;

/// List the targets of a campaign, by status and reason, page by page
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow targets hedgerow-demo.db CAMPAIGN
  hedgerow targets hedgerow-demo.db CAMPAIGN --status in_progress
  hedgerow targets hedgerow-demo.db CAMPAIGN --reason network_error --json

Beside a log of many events, `hedgerow views FILE` makes each of these questions quick.

Exit status: 0 printed, 1 there is no such campaign, 2 wrong usage, 3 the file cannot be read.")]
pub(crate) struct TargetsArgs {
    /// The file of the log
    file: PathBuf,
    /// The campaign: its id, or how it begins
    campaign: CampaignName,
    /// Whose campaign; needed if several tenants have it
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    tenant: Option<TenantId>,
    /// Only those of this status
    #[arg(long, value_name = "STATUS", value_parser = one_of(&TargetStatus::ALL, TargetStatus::name))]
    status: Option<TargetStatus>,
    /// Only those that failed for this reason
    #[arg(long, value_name = "REASON", value_parser = one_of(&FailureReason::ALL, FailureReason::name))]
    reason: Option<FailureReason>,
    /// At most so many, from 1 to 1,000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Those behind this place of the snapshot: what the page before said is next
    #[arg(long, visible_alias = "page", value_name = "PLACE")]
    after: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `hedgerow targets`.
pub(crate) fn targets(args: &TargetsArgs) -> ExitCode {
    finish(list(args))
}

fn list(args: &TargetsArgs) -> Result<(), ReadError> {
    let log = Log::open(&args.file)?;
    // The only one that has it, if none was named.
    let found = find(&log.streams, &args.file, args.tenant.as_ref(), &args.campaign)?;
    let query = TargetQuery {
        status: args.status,
        reason: args.reason,
        after: args.after,
        limit: usize::from(args.limit),
    };
    let views = log.views()?;
    let page = wait(views.targets(&found.tenant, found.campaign, &query))?;
    let page = page.ok_or_else(|| ReadError::NoCampaign {
        file: args.file.clone(),
        campaign: args.campaign.clone(),
    })?;
    let (next, none) = (json!(page.next), "no such target".to_owned());
    Printed { what: "targets", entries: &page.targets, next, none }
        .print(args.json, as_json, line)?;
    all_readable(&wait(views.campaign(&found.tenant, found.campaign))?)
}

fn line(entry: &TargetEntry, out: &mut dyn Write) -> std::io::Result<()> {
    let mut what = entry.status.name().to_owned();
    if let Some(reason) = reason_of(entry.settlement) {
        what = format!("{what}: {reason}");
    }
    write!(out, "{}  {what}", entry.device)?;
    if let Some(details) = &entry.details {
        if let Some(words) = details.failure.as_ref().and_then(in_words) {
            write!(out, ", {words}")?;
        }
        if let Some(operation) = &details.operation {
            write!(out, ", {} {} %", operation.phase.name(), operation.progress)?;
        }
        if let Some(trouble) = details.trouble.as_ref().filter(|_| !entry.status.is_final()) {
            write!(out, ", the transport said {trouble:?}")?;
        }
        if let Some(until) = details.not_before {
            write!(out, ", not before {until}")?;
        }
        if let Some(version) = &details.contradiction {
            write!(out, ", but shows {version:?} since")?;
        }
        write!(out, ", {} resends, at {}", details.retry_count, details.changed_at)?;
    }
    writeln!(out)
}

/// Why it failed, or was given up.
fn reason_of(settlement: Settlement) -> Option<&'static str> {
    match settlement {
        Settlement::Failed(reason) => Some(reason.name()),
        Settlement::GivenUp(reason) => Some(reason.name()),
        _ => None,
    }
}

/// What is known of a failure beyond its reason.
fn in_words(failure: &Failure) -> Option<String> {
    match failure {
        Failure::Target(TargetFailure::Gate(refusal)) => Some(refusal.to_string()),
        Failure::Operation(OperationFailure::Reported { message, .. }) => {
            (!message.is_empty()).then(|| format!("{message:?}"))
        }
        Failure::Operation(OperationFailure::RequestRejected { detail }) => {
            Some(format!("{detail:?}"))
        }
        Failure::Operation(OperationFailure::SystemRollback { version: Some(version) }) => {
            Some(format!("it shows {version:?}"))
        }
        _ => None,
    }
}

fn as_json(entry: &TargetEntry) -> Value {
    json!({
        "place": entry.place,
        "device": entry.device,
        "status": entry.status,
        "reason": reason_of(entry.settlement),
        "details": entry.details.as_ref().map(details_as_json),
    })
}

fn details_as_json(details: &TargetDetails) -> Value {
    json!({
        "changed_at": time(details.changed_at),
        "retry_count": details.retry_count,
        "operation": details.operation.as_ref().map(|operation| json!({
            "id": operation.id,
            "phase": operation.phase,
            "progress": operation.progress,
            "reported_at": operation.reported_at.map(time),
            "deadline": operation.deadline.map(time),
        })),
        "not_before": details.not_before.map(time),
        "from_version": details.from_version,
        "failure": details.failure,
        "trouble": details.trouble,
        "contradiction": details.contradiction,
        "operations": details.operations.iter().map(device::as_json).collect::<Vec<_>>(),
    })
}
