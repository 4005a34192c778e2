//! `hedgerow prune`: removes from a store what is in archives.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use hedgerow_engine::archive::{self as archives, ArchiveIndex, Pruned};
use hedgerow_engine::store::EventStore;
use hedgerow_sim::runtime::wait;
use hedgerow_sqlite::SqliteStore;
use serde_json::json;

use super::archive::named;
use super::bar;
use super::keeping::{KeepError, add, age, ago, finish, keep, now, run};
use super::output;

/// What ended more recently may still be contradicted (D22), and twice that is on the safe side.
const LEAST: Duration = Duration::from_secs(2 * 86_400);

/// Remove what is archived from a store
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow archive hedgerow.db 2026.jsonl.gz --older-than 90d
  hedgerow prune hedgerow.db --older-than 90d --archive 2026.jsonl.gz

Reads each archive through and checks it, and removes every campaign and manual update that it holds
exactly as the store does, event for event, and that ended so long ago. What has not ended, holds a
device, or went on since it was archived stays. The store may be in use, here by another process.

A removed campaign is gone for pages and lists, and a report about it is refused; its id is never
used again. `hedgerow import` brings it back. The file does not become smaller: its space is used
again. docs/keeping.md is the guide.

Exit status: 0 done, 1 something that is archived differs and stays, 2 wrong usage, 3 a file cannot
be read or written.")]
pub(crate) struct PruneArgs {
    /// The file of the store
    file: PathBuf,
    /// Only what ended so long ago, such as 90d, 36h or 10m
    #[arg(long, value_name = "AGE", value_parser = age, default_value = "90d")]
    older_than: Duration,
    /// An archive that holds what is to be removed; may be given several times
    #[arg(long = "archive", value_name = "ARCHIVE", required = true)]
    archives: Vec<PathBuf>,
    /// Also what ended less than two days ago
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `hedgerow prune`.
pub(crate) fn prune(args: &PruneArgs) -> ExitCode {
    finish(remove(args), 1)
}

fn remove(args: &PruneArgs) -> Result<bool, KeepError> {
    if args.older_than < LEAST && !args.force {
        return Err(KeepError::TooRecent);
    }
    let mut index = ArchiveIndex::default();
    let mut read = Vec::new();
    for path in &args.archives {
        read.push(add(&mut index, path)?);
    }
    let store = SqliteStore::open_to_keep(&args.file)?;
    for (file, path) in read.iter().zip(&args.archives) {
        keep(file, path)?;
    }
    let streams = wait(store.streams())?;
    let bar = bar::of(streams.len() as u64);
    bar.set_message("campaigns and manual updates looked at");
    let now = now();
    let before = ago(now, args.older_than);
    let progress = &mut |streams| bar.set_position(streams);
    let pruned = wait(archives::prune(&store, &index, before, run(now), progress))?;
    bar.finish_and_clear();
    for (tenant, stream, why) in &pruned.reasons {
        eprintln!("warning: {stream} of tenant {tenant} stays: {why}");
    }
    output::print(|out| print(args, &pruned, out))?;
    Ok(pruned.refused == 0)
}

fn print(args: &PruneArgs, pruned: &Pruned, out: &mut dyn Write) -> std::io::Result<()> {
    let Pruned { removed, events, kept, refused, .. } = pruned;
    if args.json {
        let reasons: Vec<_> = pruned.reasons.iter().map(named).collect();
        let line = json!({
            "removed": removed,
            "events": events,
            "kept": {
                "active": kept.active,
                "not_archived": kept.not_archived,
                "recent": kept.recent,
            },
            "refused": refused,
            "reasons": reasons,
        });
        return writeln!(out, "{line}");
    }
    writeln!(out, "{}: {removed} removed with {events} events", args.file.display())?;
    writeln!(
        out,
        "stay: {} that have not ended, {} that are in no archive, {} that ended too recently, {refused} that differ",
        kept.active, kept.not_archived, kept.recent
    )
}
