//! `hedgerow backup`: a copy of a store, also while it is used.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hedgerow_sim::runtime::wait;
use hedgerow_sqlite::SqliteStore;
use serde_json::json;

use super::bar;
use super::keeping::{Draft, KeepError, finish};
use super::output;

/// How often the bar is brought up to date.
const PAUSE: Duration = Duration::from_millis(100);

/// Copy a store that may be in use
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow backup hedgerow.db backups/2026-11-30.db
  hedgerow audit backups/2026-11-30.db               is it whole?

Copies the store as it is at one moment, while whoever uses it goes on. The copy is a store like any
other, without unused space. It gets its name when it is whole and on the disk; a file that is there
already is never touched. To restore it, stop the process that uses the store and put the copy in the
place of its file. docs/keeping.md is the guide, also to what devices have done since.

Exit status: 0 copied, 2 wrong usage, 3 a file cannot be read or written.")]
pub(crate) struct BackupArgs {
    /// The file of the store
    file: PathBuf,
    /// The copy to write
    copy: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `hedgerow backup`.
pub(crate) fn backup(args: &BackupArgs) -> ExitCode {
    finish(copy(args).map(|()| true), 3)
}

fn copy(args: &BackupArgs) -> Result<(), KeepError> {
    let store = SqliteStore::open_read_only(&args.file)?;
    let draft = Draft::begin(&args.copy, store.path())?;
    let length = std::fs::metadata(store.path()).map_or(0, |file| file.len());
    let bar = bar::of(length);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                let copied = draft.file.metadata().map_or(0, |copy| copy.len());
                bar.set_position(copied.min(length));
                bar.set_message(format!("{} MB copied", copied / 1_000_000));
                std::thread::sleep(PAUSE);
            }
        });
        let copied = wait(store.back_up(draft.written_to()));
        is_done.store(true, Ordering::Relaxed);
        copied
    })?;
    let bytes = draft.finish()?;
    bar.finish_and_clear();
    let (file, copy) = (args.file.display(), args.copy.display());
    output::print(|out| {
        if args.json {
            let line =
                json!({ "file": file.to_string(), "copy": copy.to_string(), "bytes": bytes });
            return writeln!(out, "{line}");
        }
        writeln!(out, "{copy}: a copy of {file}, {bytes} bytes")
    })?;
    Ok(())
}
