//! `hedgerow views`: keeps what questions are answered from in a file beside the log.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use hedgerow_sqlite::SqliteViews;
use serde_json::json;

use super::output::print;
use super::reading::{ReadError, finish};
use super::rows::Log;

/// Keep what campaigns, targets and device answer from in a file beside the log
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow views hedgerow-demo.db             makes hedgerow-demo.db.views, or brings it up to date
  hedgerow views hedgerow-demo.db --rebuild   makes it anew from the whole log

The file follows from the log: it need not be backed up, and may be removed at any time. Without it
`hedgerow campaigns`, `targets` and `device` read the whole log for each question.

Exit status: 0 made, 2 wrong usage, 3 a file cannot be read or written.")]
pub(crate) struct ViewsArgs {
    /// The file of the log
    file: PathBuf,
    /// Throw away what is there first
    #[arg(long)]
    rebuild: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `hedgerow views`.
pub(crate) fn views(args: &ViewsArgs) -> ExitCode {
    finish(make(args))
}

fn make(args: &ViewsArgs) -> Result<(), ReadError> {
    let log = Log::open(&args.file)?;
    let beside = SqliteViews::beside(log.store.path());
    let open = if args.rebuild { SqliteViews::open_anew } else { SqliteViews::open };
    let rows = Arc::new(open(beside)?);
    let began = Instant::now();
    let events = log.follow(rows.clone())?;
    let (seconds, path) = (began.elapsed().as_secs_f64(), rows.path().display());
    print(|out| {
        if args.json {
            let path = path.to_string();
            return writeln!(
                out,
                "{}",
                json!({ "file": path, "events": events, "seconds": seconds })
            );
        }
        writeln!(out, "{path} is up to date, {events} events further, in {seconds:.1} s")
    })?;
    Ok(())
}
