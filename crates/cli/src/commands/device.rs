//! `hedgerow device`: the operations of a device, of all campaigns and manual updates.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hedgerow_core::{DeviceId, StreamId, TenantId};
use hedgerow_engine::view::{Cursor, OperationEnd, OperationEntry};
use hedgerow_sim::runtime::wait;
use serde_json::{Value, json};

use super::reading::{ReadError, finish};
use super::rows::{self, Log, Printed, all_readable};
use super::times::time;

/// List the operations of a device, of all campaigns and manual updates
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow device hedgerow-demo.db f0VMRgIBAQAAAAAAAAAAAA
  hedgerow device hedgerow-demo.db f0VMRgIBAQAAAAAAAAAAAA --json

Beside a log of many events, `hedgerow views FILE` makes each of these questions quick.

Exit status: 0 printed, 1 the log is empty or has no such tenant, 2 wrong usage, 3 the file cannot be read.")]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct DeviceArgs {
    #[cfg(feature = "serve")]
    #[command(subcommand)]
    of_a_service: Option<super::client::devices::DeviceAction>,
    /// The file of the log
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// The device
    // One id in 64 begins with a hyphen.
    #[arg(required = true, allow_hyphen_values = true)]
    device: Option<DeviceId>,
    /// Whose device; needed if the log has several tenants
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    tenant: Option<TenantId>,
    /// At most so many, from 1 to 1,000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Those behind this place: what the page before said is next
    #[arg(long, visible_alias = "page", value_name = "PLACE")]
    after: Option<Cursor>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `hedgerow device`.
pub(crate) fn device(args: &DeviceArgs) -> ExitCode {
    #[cfg(feature = "serve")]
    if let Some(action) = &args.of_a_service {
        return super::client::devices::device(action);
    }
    // The parser asks for both.
    match (&args.file, args.device) {
        (Some(file), Some(device)) => finish(list(args, file, device)),
        _ => ExitCode::from(2),
    }
}

fn list(args: &DeviceArgs, file: &Path, device: DeviceId) -> Result<(), ReadError> {
    let log = Log::open(file)?;
    let tenant = log.tenant(file, args.tenant.as_ref())?;
    let views = log.views()?;
    let limit = usize::from(args.limit);
    let asked = views.operations(&tenant, device, args.after.as_ref(), limit);
    let page = wait(asked)?;
    let next = rows::next(page.next.as_ref());
    let so_far = if args.after.is_some() { " before that" } else { "" };
    let none = format!("device {device} has had no operation{so_far}");
    Printed { what: "operations", entries: &page.entries, next, none }
        .print(args.json, as_json, line)?;
    let mut campaigns = Vec::new();
    for entry in &page.entries {
        if let StreamId::Campaign(id) = entry.stream {
            campaigns.extend(wait(views.campaign(&tenant, id))?);
        }
    }
    all_readable(&campaigns)
}

fn line(entry: &OperationEntry, out: &mut dyn Write) -> std::io::Result<()> {
    let from = entry.from_version.as_deref().unwrap_or("?");
    let to = entry.version.as_deref().unwrap_or("?");
    let how = match &entry.ended {
        None => format!("{} {} %", entry.phase.name(), entry.progress),
        Some((at, end)) => format!("{} at {at}", in_words(end)),
    };
    writeln!(
        out,
        "{}  {from} to {to}  {how}, {} resends, {}",
        entry.began_at, entry.resends, entry.stream
    )
}

fn in_words(end: &OperationEnd) -> String {
    match end {
        OperationEnd::Succeeded(_) => "successful".to_owned(),
        OperationEnd::Failed(failure) => format!("failed, {},", failure.reason().name()),
        OperationEnd::Refused => "refused, the device was busy,".to_owned(),
        _ => "given up with its campaign".to_owned(),
    }
}

/// An operation as JSON has it.
pub(super) fn as_json(entry: &OperationEntry) -> Value {
    json!({
        "operation": entry.operation,
        "stream": entry.stream,
        "device": entry.device,
        "version": entry.version,
        "from_version": entry.from_version,
        "began_at": time(entry.began_at),
        "phase": entry.phase,
        "progress": entry.progress,
        "resends": entry.resends,
        "reported_at": entry.reported_at.map(time),
        "ended_at": entry.ended.as_ref().map(|(at, _)| time(*at)),
        "end": entry.ended.as_ref().map(|(_, end)| end),
        "late_report": entry.late_report.as_ref().map(|(at, status)| json!({
            "at": time(*at),
            "status": status,
        })),
    })
}
