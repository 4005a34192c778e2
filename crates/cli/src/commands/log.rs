//! `hedgerow log` and `hedgerow show`: reading what was recorded, also while a process writes.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hedgerow_core::event::{CampaignEvent, EventError};
use hedgerow_core::{
    Campaign, CampaignId, CampaignStatus, DeviceId, StoredEvent, StreamId, TargetStatus, TenantId,
};
use hedgerow_engine::store::checksum::{Chain, LogReader};
use hedgerow_engine::store::{EventStore, StoreError, StreamSummary};
use hedgerow_engine::{LoadError, campaign_at, manual_update_at};
use hedgerow_sim::runtime::wait;
use hedgerow_sqlite::{OpenError, SqliteStore};
use serde_json::{Value, json};

/// Events read at once.
const PAGE: usize = 10_000;
/// The most characters of an event's data in a line for people.
const LONGEST: usize = 300;
/// Targets that `show` lists of each status.
const SHOWN: usize = 10;

/// Print the events of a log
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow log hedgerow-demo.db
  hedgerow log hedgerow-demo.db --device f0VMRgIBAQAAAAAAAAAAAA
  hedgerow log hedgerow-demo.db --campaign 5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa --json | jq .type

With --json each line is one event. A log can be read while a process writes to it. The checksum of
each event is compared; at the first event that is damaged, changed or missing it stops and says so.

Exit status: 0 printed, 2 wrong usage, 3 the file cannot be read, or is damaged.")]
pub(crate) struct LogArgs {
    /// The file of the log
    file: PathBuf,
    /// Only the events of this campaign
    #[arg(long, value_name = "ID")]
    campaign: Option<CampaignId>,
    /// Only the events about this device
    // One id in 64 begins with a hyphen.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    device: Option<DeviceId>,
    /// Only the events of this tenant
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    tenant: Option<TenantId>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Print the state that a log leads to
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow show hedgerow-demo.db                     every campaign and manual update
  hedgerow show hedgerow-demo.db CAMPAIGN --at 500   one campaign as it was after its event 500
  hedgerow show hedgerow-demo.db CAMPAIGN --json     the whole state, every target

Exit status: 0 printed, 1 there is no such campaign or event, 2 wrong usage, 3 the file cannot be read.")]
pub(crate) struct ShowArgs {
    /// The file of the log
    file: PathBuf,
    /// The campaign; all of them if left out
    campaign: Option<CampaignId>,
    /// Only what this tenant has
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    tenant: Option<TenantId>,
    /// As of this event of the campaign, counted from 1
    #[arg(long, value_name = "N", requires = "campaign", value_parser = clap::value_parser!(u64).range(1..))]
    at: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error("the data of event {version} of {stream} is no JSON ({source}): it is damaged, restore {} from a backup", file.display())]
    Data { file: PathBuf, stream: StreamId, version: u64, source: serde_json::Error },
    #[error("there is no campaign {campaign} in {}: `hedgerow show {}` lists what there is", file.display(), file.display())]
    NoCampaign { file: PathBuf, campaign: CampaignId },
    #[error("campaign {campaign} exists in several tenants: give --tenant and one of {}", tenants.join(", "))]
    SeveralTenants { campaign: CampaignId, tenants: Vec<String> },
    #[error("campaign {campaign} has no event {at}, only {events}: give --at 1 to {events}")]
    NoEvent { campaign: CampaignId, at: u64, events: u64 },
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

fn finish(result: Result<(), ReadError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(ReadError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error @ (ReadError::NoCampaign { .. } | ReadError::NoEvent { .. })) => {
            eprintln!("error: {error}");
            ExitCode::from(1)
        }
        Err(error @ ReadError::SeveralTenants { .. }) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}

/// Runs `hedgerow log`.
pub(crate) fn log(args: &LogArgs) -> ExitCode {
    finish(print_log(args))
}

fn print_log(args: &LogArgs) -> Result<(), ReadError> {
    let store = SqliteStore::open_read_only(&args.file)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if let Some(campaign) = args.campaign {
        let stream = find(&store, &args.file, args.tenant.as_ref(), campaign)?;
        let mut chain = Chain::default();
        loop {
            let after = chain.version();
            let page = wait(store.read_stream(&stream.tenant, stream.stream, after, PAGE))?;
            if page.is_empty() {
                break;
            }
            for stored in &page {
                chain.check(stored)?;
                print_event(args, stored, &mut out)?;
            }
        }
    } else {
        let mut reader = wait(LogReader::new(&store))?;
        loop {
            let page = wait(reader.page(PAGE))?;
            if page.is_empty() {
                break;
            }
            for stored in &page {
                print_event(args, stored, &mut out)?;
            }
        }
    }
    Ok(out.flush()?)
}

fn print_event(
    args: &LogArgs,
    stored: &StoredEvent,
    out: &mut impl Write,
) -> Result<(), ReadError> {
    if args.device.is_some_and(|device| !is_about(stored, device))
        || args.tenant.as_ref().is_some_and(|tenant| stored.tenant != *tenant)
    {
        return Ok(());
    }
    let event = &stored.event;
    let data: Value = serde_json::from_slice(&event.data).map_err(|source| {
        let (file, stream, version) = (args.file.clone(), stored.stream, stored.version);
        ReadError::Data { file, stream, version, source }
    })?;
    if args.json {
        let line = json!({
            "position": stored.position,
            "tenant": stored.tenant,
            "stream": stored.stream,
            "version": stored.version,
            "recorded_at": event.recorded_at.to_string(),
            "type": event.event_type,
            "schema_version": event.schema_version,
            "correlation_id": event.correlation_id,
            "causation_id": event.causation_id,
            "checksum": stored.checksum.map(|checksum| checksum.to_string()),
            "data": data,
        });
        writeln!(out, "{line}")?;
    } else {
        let stream = stored.stream.to_string();
        let (kind, id) = stream.split_once('/').unwrap_or(("", &stream));
        let id = id.get(..8).unwrap_or(id);
        let data = if data.as_object().is_some_and(serde_json::Map::is_empty) {
            String::new()
        } else {
            shortened(&as_stored(&event.data, &data))
        };
        let (version, at) = (stored.version, event.recorded_at);
        writeln!(out, "{at}  {kind}/{id} {version:>6}  {:<22} {data}", event.event_type)?;
    }
    Ok(())
}

/// The data with its fields in the order in which they were stored; `read` is what it says.
fn as_stored(stored: &[u8], read: &Value) -> String {
    match str::from_utf8(stored) {
        Ok(text) if !text.contains(['\n', '\r']) => text.to_owned(),
        _ => read.to_string(),
    }
}

/// A snapshot of a million devices is no line for people; `--json` has all of it.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… (--json prints all)", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_about(stored: &StoredEvent, device: DeviceId) -> bool {
    match stored.stream {
        StreamId::Campaign(_) => match CampaignEvent::from_stored(stored) {
            Ok(CampaignEvent::SnapshotExtended(chunk)) => chunk.devices.contains(&device),
            Ok(event) => event.device() == Some(device),
            // An event of a newer version may well be about it.
            Err(_) => String::from_utf8_lossy(&stored.event.data).contains(&device.to_string()),
        },
        StreamId::ManualUpdate(_) => {
            String::from_utf8_lossy(&stored.event.data).contains(&device.to_string())
        }
    }
}

fn find(
    store: &SqliteStore,
    file: &Path,
    tenant: Option<&TenantId>,
    campaign: CampaignId,
) -> Result<StreamSummary, ReadError> {
    let stream = StreamId::Campaign(campaign);
    let mut found = wait(store.streams())?;
    found.retain(|of| of.stream == stream && tenant.is_none_or(|tenant| of.tenant == *tenant));
    if found.len() > 1 {
        let tenants = found.iter().map(|summary| summary.tenant.to_string()).collect();
        return Err(ReadError::SeveralTenants { campaign, tenants });
    }
    found.pop().ok_or_else(|| ReadError::NoCampaign { file: file.to_owned(), campaign })
}

/// Runs `hedgerow show`.
pub(crate) fn show(args: &ShowArgs) -> ExitCode {
    finish(print_state(args))
}

fn print_state(args: &ShowArgs) -> Result<(), ReadError> {
    let store = SqliteStore::open_read_only(&args.file)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    match args.campaign {
        Some(id) => {
            let summary = find(&store, &args.file, args.tenant.as_ref(), id)?;
            if let Some(at) = args.at.filter(|at| *at > summary.version) {
                let events = summary.version;
                return Err(ReadError::NoEvent { campaign: id, at, events });
            }
            let campaign = wait(campaign_at(&store, &summary.tenant, id, args.at))?;
            let campaign = campaign
                .ok_or_else(|| ReadError::NoCampaign { file: args.file.clone(), campaign: id })?;
            if args.json {
                serde_json::to_writer_pretty(&mut out, &whole(&campaign))
                    .map_err(std::io::Error::from)?;
                writeln!(out)?;
            } else {
                describe(&campaign, true, &mut out)?;
            }
        }
        None => print_all(args, &store, &mut out)?,
    }
    Ok(out.flush()?)
}

fn print_all(args: &ShowArgs, store: &SqliteStore, out: &mut impl Write) -> Result<(), ReadError> {
    let mut all = Vec::new();
    let mut streams = wait(store.streams())?;
    streams.retain(|of| args.tenant.as_ref().is_none_or(|tenant| of.tenant == *tenant));
    if streams.is_empty() && !args.json {
        writeln!(out, "{} holds no campaign", args.file.display())?;
    }
    for summary in streams {
        let tenant: &TenantId = &summary.tenant;
        match summary.stream {
            StreamId::Campaign(id) => {
                let campaign = wait(campaign_at(store, tenant, id, None))?;
                match campaign {
                    Some(campaign) if args.json => all.push(brief(&campaign)),
                    Some(campaign) => describe(&campaign, false, out)?,
                    None => return Err(without_events(&summary)),
                }
            }
            StreamId::ManualUpdate(id) => {
                let update = wait(manual_update_at(store, tenant, id, None))?;
                let update = update.ok_or_else(|| without_events(&summary))?;
                let device = update.definition().device;
                if args.json {
                    all.push(json!({
                        "manual_update": id, "tenant": tenant, "device": device,
                        "status": update.status(),
                    }));
                } else {
                    let status = match update.operation() {
                        Some(operation) => operation.phase.name(),
                        None if *update.status() == hedgerow_core::ManualStatus::Successful => {
                            "successful"
                        }
                        None => "failed",
                    };
                    writeln!(
                        out,
                        "manual update {id} of tenant {tenant}: device {device}, {status}"
                    )?;
                }
            }
        }
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &all).map_err(std::io::Error::from)?;
        writeln!(out)?;
    }
    Ok(())
}

/// No stream is there without an event.
fn without_events(summary: &StreamSummary) -> ReadError {
    let StreamSummary { tenant, stream, .. } = summary;
    let detail =
        format!("{stream} of tenant {tenant} has no event; restore the file from a backup");
    StoreError::Corrupt { detail }.into()
}

fn brief(campaign: &Campaign) -> Value {
    json!({
        "campaign": campaign.id(),
        "tenant": campaign.tenant(),
        "events": campaign.version(),
        "status": campaign.status(),
        "outcome": campaign.outcome(),
        "created_at": campaign.created_at().to_string(),
        "scheduled_at": campaign.scheduled_at().map(|at| at.to_string()),
        "started_at": campaign.started_at().map(|at| at.to_string()),
        "finished_at": campaign.finished_at().map(|at| at.to_string()),
        "definition": campaign.definition(),
        "counts": campaign.counts(),
    })
}

fn whole(campaign: &Campaign) -> Value {
    let mut value = brief(campaign);
    let reasons: serde_json::Map<String, Value> = campaign
        .failure_reasons()
        .into_iter()
        .map(|(reason, count)| (reason.name().to_owned(), count.into()))
        .collect();
    if let Some(object) = value.as_object_mut() {
        object.insert("failure_reasons".to_owned(), Value::Object(reasons));
        object.insert("targets".to_owned(), json!(campaign.targets().collect::<Vec<_>>()));
    }
    value
}

fn describe(campaign: &Campaign, details: bool, out: &mut impl Write) -> std::io::Result<()> {
    let definition = campaign.definition();
    let counts = campaign.counts();
    let outcome = campaign.outcome().map(|outcome| format!(", {}", outcome.name()));
    writeln!(out, "campaign {} of tenant {}", campaign.id(), campaign.tenant())?;
    writeln!(out, "  name        {}", definition.name)?;
    writeln!(
        out,
        "  base image  {} {} from {}",
        definition.base_image.system_model,
        definition.base_image.version,
        definition.base_image.url.without_query()
    )?;
    writeln!(out, "  channel     {}", definition.channel.name())?;
    writeln!(
        out,
        "  status      {}{}, after {} events",
        campaign.status().name(),
        outcome.unwrap_or_default(),
        campaign.version()
    )?;
    if let (CampaignStatus::Scheduled, Some(at)) = (campaign.status(), campaign.scheduled_at()) {
        writeln!(out, "  starts      {at}")?;
    }
    writeln!(
        out,
        "  targets     {}: {} idle, {} in progress, {} successful, {} failed, {} cancelled",
        counts.total,
        counts.idle,
        counts.in_progress,
        counts.successful,
        counts.failed,
        counts.cancelled
    )?;
    writeln!(
        out,
        "  limits      at most {} in progress, at most {} % failed",
        campaign.limits().max_pending_operations,
        campaign.limits().max_failure_percentage
    )?;
    for (reason, count) in campaign.failure_reasons() {
        writeln!(out, "  failed      {count:>6}  {}", reason.name())?;
    }
    if campaign.misses_minimum() {
        let least = definition.rollout.push().minimum_targets;
        writeln!(out, "  missed      at least {least} targets were asked for")?;
    }
    contradictions(campaign, details, out)?;
    if details {
        for status in [TargetStatus::InProgress, TargetStatus::Failed] {
            list(campaign, status, out)?;
        }
    }
    Ok(())
}

/// What devices show that contradicts how their targets ended (D22).
fn contradictions(campaign: &Campaign, details: bool, out: &mut impl Write) -> std::io::Result<()> {
    let count = campaign.contradictions();
    if count == 0 {
        return Ok(());
    }
    writeln!(out, "  contradicted {count:>5}  by what their devices show since")?;
    let shown = if details { SHOWN } else { 0 };
    let seen =
        campaign.targets().filter_map(|target| Some((target.contradiction.clone()?, target)));
    for (version, target) in seen.take(shown) {
        writeln!(out, "  {:<11} {}  shows {version:?}", target.status.name(), target.device)?;
    }
    if count > shown && details {
        writeln!(out, "  and {} more; --json prints all", count - shown)?;
    }
    Ok(())
}

fn list(campaign: &Campaign, status: TargetStatus, out: &mut impl Write) -> std::io::Result<()> {
    let mut targets = campaign.targets().filter(|target| target.status == status);
    for target in targets.by_ref().take(SHOWN) {
        let what = match (&target.operation, target.settlement) {
            (Some(operation), _) => format!("{} {}%", operation.phase.name(), operation.progress),
            (None, hedgerow_core::Settlement::Failed(reason)) => reason.name().to_owned(),
            _ => String::new(),
        };
        writeln!(
            out,
            "  {:<11} {}  {what}, {} resends",
            status.name(),
            target.device,
            target.retry_count
        )?;
    }
    let more = targets.count();
    if more > 0 {
        writeln!(out, "  {:<11} and {more} more; --json prints all", status.name())?;
    }
    Ok(())
}
