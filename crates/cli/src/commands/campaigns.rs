//! `hedgerow campaigns`: the campaigns of a log, filtered, sorted and page by page.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use hedgerow_core::{CampaignStatus, Outcome, TenantId};
use hedgerow_engine::view::{CampaignEntry, CampaignOrder, CampaignQuery, Cursor};
use hedgerow_sim::runtime::wait;
use serde_json::{Value, json};

use super::reading::{ReadError, finish};
use super::rows::{self, Log, Printed, all_readable, one_of};
use super::times::time;

/// List campaigns, filtered, sorted and page by page
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow campaigns hedgerow-demo.db
  hedgerow campaigns hedgerow-demo.db --status in_progress --sort name
  hedgerow campaigns hedgerow-demo.db --outcome failure --json
  hedgerow campaigns hedgerow-demo.db --name gateways --sort name

Beside a log of many events, `hedgerow views FILE` makes each of these questions quick.

Exit status: 0 printed, 1 the log is empty or has no such tenant, 2 wrong usage, 3 the file cannot be read.")]
pub(crate) struct CampaignsArgs {
    /// The file of the log
    file: PathBuf,
    /// Whose campaigns; needed if the log has several tenants
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    tenant: Option<TenantId>,
    /// Only those of this status
    #[arg(long, value_name = "STATUS", value_parser = one_of(&CampaignStatus::ALL, CampaignStatus::name))]
    status: Option<CampaignStatus>,
    /// Only those that ended so
    #[arg(long, value_name = "OUTCOME", value_parser = one_of(&Outcome::ALL, Outcome::name))]
    outcome: Option<Outcome>,
    /// Only those of the channel with this name
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// Only those for devices of this System Model
    #[arg(long, value_name = "HANDLE")]
    model: Option<String>,
    /// Only those whose names begin so, without regard to capital letters
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    name: Option<String>,
    /// Their order
    #[arg(long, value_enum, default_value = "newest")]
    sort: Sort,
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

#[derive(Clone, Copy, clap::ValueEnum)]
enum Sort {
    /// Those that were created last first
    Newest,
    /// Those that were created first first
    Oldest,
    /// By name
    Name,
}

/// Runs `hedgerow campaigns`.
pub(crate) fn campaigns(args: &CampaignsArgs) -> ExitCode {
    finish(list(args))
}

fn list(args: &CampaignsArgs) -> Result<(), ReadError> {
    let log = Log::open(&args.file)?;
    let tenant = log.tenant(&args.file, args.tenant.as_ref())?;
    let query = CampaignQuery {
        status: args.status,
        outcome: args.outcome,
        channel: args.channel.clone(),
        system_model: args.model.clone(),
        name: args.name.clone(),
        order: match args.sort {
            Sort::Newest => CampaignOrder::Newest,
            Sort::Oldest => CampaignOrder::Oldest,
            Sort::Name => CampaignOrder::Name,
        },
        after: args.after.clone(),
        limit: usize::from(args.limit),
    };
    let page = wait(log.views()?.campaigns(&tenant, &query))?;
    let next = rows::next(page.next.as_ref());
    let none = "no such campaign".to_owned();
    Printed { what: "campaigns", entries: &page.entries, next, none }
        .print(args.json, as_json, line)?;
    all_readable(&page.entries)
}

fn line(entry: &CampaignEntry, out: &mut dyn Write) -> std::io::Result<()> {
    let how = entry.outcome.map_or(entry.status.name(), Outcome::name);
    let counts = entry.targets;
    let done = counts.successful + counts.failed + counts.cancelled;
    writeln!(
        out,
        "{}  {}  {how:<11} {done:>7} of {:<7} {:>6} failed  {}  {:?}",
        entry.campaign,
        entry.created_at,
        counts.total,
        counts.failed,
        entry.definition.base_image.version,
        entry.definition.name.to_string(),
    )?;
    if let Some(unreadable) = &entry.unreadable {
        writeln!(out, "    from before something that cannot be read: {unreadable}")?;
    }
    Ok(())
}

/// A campaign as JSON has it.
pub(super) fn as_json(entry: &CampaignEntry) -> Value {
    json!({
        "campaign": entry.campaign,
        "events": entry.events,
        "status": entry.status,
        "outcome": entry.outcome,
        "created_at": time(entry.created_at),
        "scheduled_at": entry.scheduled_at.map(time),
        "started_at": entry.started_at.map(time),
        "finished_at": entry.finished_at.map(time),
        "definition": entry.definition,
        "counts": entry.targets,
        "failures": entry.failures,
        "contradictions": entry.contradictions,
        "unreadable": entry.unreadable,
    })
}
