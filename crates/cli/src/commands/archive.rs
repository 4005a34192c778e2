//! `hedgerow archive` and `hedgerow import`: what has ended into a file, and back into a store.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use hedgerow_core::TenantId;
use hedgerow_engine::archive::{
    self as archives, ArchiveError, ArchiveIndex, ArchiveSelection, Imported,
};
use hedgerow_engine::store::EventStore;
use hedgerow_sim::runtime::wait;
use hedgerow_sqlite::SqliteStore;
use serde_json::json;

use super::bar::{self, clock};
use super::keeping::{Draft, KeepError, add, age, ago, finish, in_archive, now, opened, run};
use super::output;

/// Write what has ended into an archive
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow archive hedgerow.db 2026.jsonl.gz
  hedgerow archive hedgerow.db 2026.jsonl.gz --older-than 90d --tenant hedge
  zcat 2026.jsonl.gz | jq .name          what is in it

Writes every campaign and manual update that has ended, with all its events and their checksums, as
compressed JSON lines. Changes nothing in the store, which may be in use. The archive gets its name
when it is whole; a file that is there already is never touched. docs/keeping.md is the guide.

Exit status: 0 written, 2 wrong usage, 3 a file cannot be read or written, or something that is
damaged or too large was left out.")]
pub(crate) struct ArchiveArgs {
    /// The file of the store
    file: PathBuf,
    /// The archive to write
    archive: PathBuf,
    /// Only what ended so long ago, such as 90d, 36h or 10m
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Only what is of this tenant
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    tenant: Option<TenantId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `hedgerow archive`.
pub(crate) fn archive(args: &ArchiveArgs) -> ExitCode {
    finish(write(args), 3)
}

fn write(args: &ArchiveArgs) -> Result<bool, KeepError> {
    let store = SqliteStore::open_read_only(&args.file)?;
    let draft = Draft::begin(&args.archive, store.path())?;
    let now = now();
    let ended_before = args.older_than.map(|age| ago(now, age));
    let selection = ArchiveSelection { tenant: args.tenant.clone(), ended_before };
    let streams = wait(store.streams())?;
    let bar = bar::of(streams.iter().map(|stream| stream.version).sum());
    let progress = &mut |events| {
        bar.set_position(events);
        bar.set_message(format!("{events} events archived, {} left", clock(bar.eta())));
    };
    let place = |source| KeepError::Place { file: args.archive.clone(), source };
    let archived = loop {
        let mut to = BufWriter::new(&draft.file);
        let written = wait(archives::archive(&store, &mut to, &selection, now, progress));
        to.flush().map_err(place)?;
        drop(to);
        match written {
            // By another process: next time it is not there.
            Err(ArchiveError::Removed { .. }) => draft.begin_again().map_err(place)?,
            written => break written.map_err(in_archive(&args.archive))?,
        }
    };
    let bytes = draft.finish()?;
    bar.finish_and_clear();
    for (tenant, stream, error) in &archived.left_out {
        eprintln!("warning: {stream} of tenant {tenant} was left out: {error}");
    }
    let path = args.archive.display();
    output::print(|out| {
        if args.json {
            let left_out: Vec<_> = archived.left_out.iter().map(named).collect();
            let line = json!({
                "archive": path.to_string(),
                "campaigns": archived.campaigns,
                "manual_updates": archived.manual_updates,
                "events": archived.events,
                "bytes": bytes,
                "left_out": left_out,
            });
            return writeln!(out, "{line}");
        }
        let (campaigns, updates) = (archived.campaigns, archived.manual_updates);
        writeln!(
            out,
            "{path}: {campaigns} campaigns, {updates} manual updates, {} events, {bytes} bytes",
            archived.events
        )
    })?;
    Ok(archived.left_out.is_empty())
}

/// A stream and what is to be said of it, as JSON.
pub(super) fn named<E: std::fmt::Display>(
    (tenant, stream, why): &(TenantId, hedgerow_core::StreamId, E),
) -> serde_json::Value {
    json!({ "tenant": tenant, "stream": stream, "why": why.to_string() })
}

/// Put archived campaigns back into a store
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow import hedgerow.db 2026.jsonl.gz      back where they were
  hedgerow import old.db 2025.jsonl.gz 2026.jsonl.gz
  hedgerow show old.db                           what is in it

All archives are read through and checked first, then each campaign is put into the store as a whole,
with the times and checksums that it had. Of a campaign that several of them have, as it got a late
report, the longest is imported: give them together. What is in the store already is passed over, so that an
import that was killed can be called again; what differs from it is refused by name. A store that is
not there is made. docs/keeping.md is the guide.

Exit status: 0 imported, 1 something was refused, 2 wrong usage, 3 a file cannot be read or written.")]
pub(crate) struct ImportArgs {
    /// The file of the store
    file: PathBuf,
    /// The archives to read
    #[arg(required = true)]
    archives: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `hedgerow import`.
pub(crate) fn import(args: &ImportArgs) -> ExitCode {
    finish(read(args), 1)
}

fn read(args: &ImportArgs) -> Result<bool, KeepError> {
    let mut index = ArchiveIndex::default();
    for archive in &args.archives {
        add(&mut index, archive)?;
    }
    if !args.file.exists() {
        // Whoever makes a store has its lock, and is not to have it for as long as this takes.
        SqliteStore::open(&args.file)?.close();
    }
    let store = SqliteStore::open_to_keep(&args.file)?;
    let mut all = Imported::default();
    for archive in &args.archives {
        let bar = bar::of(0);
        let progress = &mut |events| {
            bar.set_length(events);
            bar.set_position(events);
            bar.set_message(format!("{events} events imported"));
        };
        let file = opened(archive)
            .map_err(|source| KeepError::Unopened { file: archive.clone(), source })?;
        let imported = wait(archives::import(&store, &index, Box::new(file), run(now()), progress));
        let imported = imported.map_err(in_archive(archive))?;
        bar.finish_and_clear();
        all.imported += imported.imported;
        all.events += imported.events;
        all.present += imported.present;
        all.shorter += imported.shorter;
        all.refused.extend(imported.refused);
    }
    for (tenant, stream, why) in &all.refused {
        eprintln!("error: {stream} of tenant {tenant} was not imported: {why}");
    }
    output::print(|out| {
        if args.json {
            let refused: Vec<_> = all.refused.iter().map(named).collect();
            let line = json!({
                "imported": all.imported,
                "events": all.events,
                "present": all.present,
                "shorter": all.shorter,
                "refused": refused,
            });
            return writeln!(out, "{line}");
        }
        writeln!(
            out,
            "{}: {} imported with {} events, {} there already, {} longer in another archive, {} refused",
            args.file.display(),
            all.imported,
            all.events,
            all.present,
            all.shorter,
            all.refused.len()
        )
    })?;
    Ok(all.refused.is_empty())
}
