//! `hedgerow show`: the state that a log leads to.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use hedgerow_core::{
    Campaign, CampaignStatus, DeviceId, Hold, Settlement, StreamId, TargetStatus, TenantId,
    Timestamp, Why,
};
use hedgerow_engine::store::{EventStore, StoreError, StreamSummary};
use hedgerow_engine::view::CampaignEntry;
use hedgerow_engine::{campaign_at, manual_update_at};
use hedgerow_sim::runtime::wait;
use hedgerow_sqlite::SqliteStore;
use serde_json::{Value, json};

use super::campaigns;
use super::naming::CampaignName;
use super::reading::{Found, ReadError, find, finish};
use super::rows::{Log, all_readable};
use super::times::{readable, time};

/// Targets that `show` lists of each status.
const SHOWN: usize = 10;

/// Print the state that a log leads to
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow show hedgerow-demo.db                     every campaign and manual update
  hedgerow show hedgerow-demo.db CAMPAIGN --at 500   one campaign as it was after its event 500
  hedgerow show hedgerow-demo.db CAMPAIGN --json     the whole state, every target
  hedgerow show hedgerow-demo.db CAMPAIGN --why DEVICE   what a device waits for, and until when

A log does not say who is online, nor which devices others keep busy: of a device that nothing else
holds, --why says just that.

Exit status: 0 printed, 1 there is no such campaign, event or target, 2 wrong usage, 3 the file cannot be read.")]
pub(crate) struct ShowArgs {
    /// The file of the log
    file: PathBuf,
    /// The campaign, by its id or how it begins; all of them if left out
    campaign: Option<CampaignName>,
    /// Only what this tenant has
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    tenant: Option<TenantId>,
    /// As of this event of the campaign, counted from 1
    #[arg(long, value_name = "N", requires = "campaign", value_parser = clap::value_parser!(u64).range(1..))]
    at: Option<u64>,
    /// Only what this device waits for, and until when
    // One id in 64 begins with a hyphen.
    #[arg(long, value_name = "DEVICE", requires = "campaign", allow_hyphen_values = true)]
    why: Option<DeviceId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `hedgerow show`.
pub(crate) fn show(args: &ShowArgs) -> ExitCode {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let printed = print_state(args, &mut out);
    finish(printed.and(out.flush().map_err(ReadError::from)))
}

fn print_state(args: &ShowArgs, mut out: &mut impl Write) -> Result<(), ReadError> {
    match &args.campaign {
        Some(name) => {
            let store = SqliteStore::open_read_only(&args.file)?;
            let found = find(&wait(store.streams())?, &args.file, args.tenant.as_ref(), name)?;
            let (id, events) = (found.campaign, found.events);
            if let Some(at) = args.at.filter(|at| *at > events) {
                return Err(ReadError::NoEvent { campaign: id, at, events });
            }
            let campaign = wait(campaign_at(&store, &found.tenant, id, args.at))?;
            let campaign = campaign.ok_or_else(|| ReadError::NoCampaign {
                file: args.file.clone(),
                campaign: name.clone(),
            })?;
            if let Some(device) = args.why {
                let now = time_of(&store, &found, args.at)?;
                let why = campaign.why(device, now).ok_or_else(|| {
                    let (file, campaign) = (args.file.clone(), id);
                    match args.at {
                        Some(at) => ReadError::NoTargetThen { file, campaign, device, at },
                        None => ReadError::NoTarget { file, campaign, device },
                    }
                })?;
                print_why(args, &campaign, device, why, &mut out)?;
            } else if args.json {
                serde_json::to_writer_pretty(&mut out, &whole(&campaign))
                    .map_err(std::io::Error::from)?;
                writeln!(out)?;
            } else {
                describe(campaign.tenant(), &CampaignEntry::from(&campaign), &mut out)?;
                contradictions(&campaign, &mut out)?;
                for status in [TargetStatus::InProgress, TargetStatus::Failed] {
                    list(&campaign, status, &mut out)?;
                }
            }
        }
        None => print_all(args, out)?,
    }
    Ok(())
}

/// When that event was recorded; without one, the time now, which is not before the newest event.
fn time_of(store: &SqliteStore, found: &Found, at: Option<u64>) -> Result<Timestamp, ReadError> {
    let before = at.unwrap_or(found.events).saturating_sub(1);
    let page = wait(store.read_stream(&found.tenant, found.stream(), before, 1))?;
    let recorded = page.first().map(|stored| stored.event.recorded_at).unwrap_or_default();
    if at.is_some() {
        return Ok(recorded);
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(recorded.max(Timestamp::default() + since.unwrap_or_default()))
}

fn print_why(
    args: &ShowArgs,
    campaign: &Campaign,
    device: DeviceId,
    why: Why,
    out: &mut impl Write,
) -> std::io::Result<()> {
    if args.json {
        let mut value = json!(why);
        if let (Why::Held(Hold { until: Some(until), .. }), Some(object)) =
            (why, value.as_object_mut())
        {
            object.insert("until".to_owned(), time(until));
        }
        let all = json!({ "campaign": campaign.id(), "device": device, "why": value });
        serde_json::to_writer_pretty(&mut *out, &all)?;
        return writeln!(out);
    }
    let text = match why {
        Why::Settled { settlement: Settlement::Failed(reason) } => {
            format!("has failed: {}", reason.name())
        }
        Why::Settled { settlement: Settlement::GivenUp(reason) } => {
            format!("was cancelled: {}", reason.name())
        }
        Why::Settled { .. } => {
            let target = campaign.target(device);
            format!("is {}", target.map_or("settled", |target| target.status.name()))
        }
        Why::InProgress { phase } => format!("is in progress: {}", phase.name()),
        Why::Held(hold) => {
            let until = hold.until.map(|until| format!(", until {until}")).unwrap_or_default();
            format!("waits: {}{until}", hold.reason.describe())
        }
        _ => "is held by nothing that the log tells of: it waits for its device to be online, or \
              free of what others do with it"
            .to_owned(),
    };
    writeln!(out, "{device} {text}")
}

fn print_all(args: &ShowArgs, out: &mut impl Write) -> Result<(), ReadError> {
    let (mut all, mut entries) = (Vec::new(), Vec::new());
    let log = Log::open(&args.file)?;
    let store = Arc::clone(&log.store);
    let mut streams = log.streams.clone();
    streams.retain(|of| {
        let is_wanted = args.tenant.as_ref().is_none_or(|tenant| of.tenant == *tenant);
        is_wanted && of.stream != StreamId::Catalogue
    });
    if streams.is_empty() && !args.json {
        writeln!(out, "{} holds no campaign", args.file.display())?;
    }
    let views = log.views()?;
    for summary in streams {
        let tenant: &TenantId = &summary.tenant;
        match summary.stream {
            StreamId::Campaign(id) => {
                let entry = match wait(views.campaign(tenant, id))? {
                    Some(entry) => entry,
                    // Not even its first event can be read. Loading it says why.
                    None => match wait(campaign_at(&*store, tenant, id, None))? {
                        Some(campaign) => CampaignEntry::from(&campaign),
                        None => return Err(without_events(&summary)),
                    },
                };
                if args.json {
                    all.push(brief(tenant, &entry));
                } else {
                    describe(tenant, &entry, out)?;
                }
                entries.push(entry);
            }
            StreamId::ManualUpdate(id) => {
                let update = wait(manual_update_at(&*store, tenant, id, None))?;
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
            StreamId::Catalogue => {}
        }
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &all).map_err(std::io::Error::from)?;
        writeln!(out)?;
    }
    all_readable(&entries)
}

/// No stream is there without an event.
fn without_events(summary: &StreamSummary) -> ReadError {
    let StreamSummary { tenant, stream, .. } = summary;
    let detail =
        format!("{stream} of tenant {tenant} has no event; restore the file from a backup");
    StoreError::Corrupt { detail }.into()
}

fn brief(tenant: &TenantId, entry: &CampaignEntry) -> Value {
    let mut value = campaigns::as_json(entry);
    if let Some(object) = value.as_object_mut() {
        object.insert("tenant".to_owned(), json!(tenant));
    }
    value
}

fn whole(campaign: &Campaign) -> Value {
    let mut value = brief(campaign.tenant(), &CampaignEntry::from(campaign));
    if let Some(object) = value.as_object_mut() {
        let mut targets = json!(campaign.targets().collect::<Vec<_>>());
        readable(&mut targets);
        object.insert("targets".to_owned(), targets);
    }
    value
}

fn describe(tenant: &TenantId, entry: &CampaignEntry, out: &mut impl Write) -> std::io::Result<()> {
    let (definition, counts) = (&entry.definition, entry.targets);
    let outcome = entry.outcome.map(|outcome| format!(", {}", outcome.name()));
    writeln!(out, "campaign {} of tenant {tenant}", entry.campaign)?;
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
        entry.status.name(),
        outcome.unwrap_or_default(),
        entry.events
    )?;
    if let (CampaignStatus::Scheduled, Some(at)) = (entry.status, entry.scheduled_at) {
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
    let limits = definition.rollout.limits();
    writeln!(
        out,
        "  limits      at most {} in progress, at most {} % failed",
        limits.max_pending_operations, limits.max_failure_percentage
    )?;
    for (reason, count) in &entry.failures {
        writeln!(out, "  failed      {count:>6}  {}", reason.name())?;
    }
    if entry.misses_minimum() {
        let least = definition.rollout.minimum_targets();
        writeln!(out, "  missed      at least {least} targets were asked for")?;
    }
    if entry.contradictions > 0 {
        let count = entry.contradictions;
        writeln!(out, "  contradicted {count:>5}  by what their devices show since")?;
    }
    if let Some(unreadable) = &entry.unreadable {
        writeln!(out, "  all of it from before something that cannot be read: {unreadable}")?;
    }
    Ok(())
}

/// What devices show that contradicts how their targets ended (D22).
fn contradictions(campaign: &Campaign, out: &mut impl Write) -> std::io::Result<()> {
    let seen =
        campaign.targets().filter_map(|target| Some((target.contradiction.clone()?, target)));
    for (version, target) in seen.take(SHOWN) {
        writeln!(out, "  {:<11} {}  shows {version:?}", target.status.name(), target.device)?;
    }
    let more = campaign.contradictions().saturating_sub(SHOWN);
    if more > 0 {
        writeln!(out, "  and {more} more; --json prints all")?;
    }
    Ok(())
}

fn list(campaign: &Campaign, status: TargetStatus, out: &mut impl Write) -> std::io::Result<()> {
    let mut targets = campaign.targets().filter(|target| target.status == status);
    for target in targets.by_ref().take(SHOWN) {
        let what = match (&target.operation, target.settlement) {
            (Some(operation), _) => format!("{} {}%", operation.phase.name(), operation.progress),
            (None, Settlement::Failed(reason)) => reason.name().to_owned(),
            (None, Settlement::GivenUp(reason)) => reason.name().to_owned(),
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
