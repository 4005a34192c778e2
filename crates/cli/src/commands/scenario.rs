//! `hedgerow scenario`: runs scenario files through the real engine in virtual time, and judges
//! what they expect.

#![expect(clippy::format_push_string, reason = "a line for people, put together in steps")]

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_sim::scenario::format::{MOST_BYTES, Scenario, ScenarioError};
use hedgerow_sim::scenario::judge::{Strictness, judge};
use hedgerow_sim::scenario::observation::Observation;
use hedgerow_sim::scenario::runner::{self, Played, RunError};
use hedgerow_sqlite::{OpenError, SqliteStore};
use serde_json::{Value, json};

/// Run scenario files through the real engine, in virtual time
#[derive(Args)]
pub(crate) struct ScenarioArgs {
    #[command(subcommand)]
    command: ScenarioCommand,
}

#[derive(Subcommand)]
enum ScenarioCommand {
    /// Run scenarios and print what happened
    #[command(after_help = "\
Examples:
  hedgerow scenario run crates/sim/tests/scenarios/d01-happy-path.json
  hedgerow scenario run FILE --json --store sqlite

Without --json it prints a timeline for people; with it, one observation of the format
ota-campaign-observation/1 for each file, a line each. It does not judge. A file that requires
what this program cannot do is skipped; its observation says why.

Exit status: 0 all were run, 2 a file is malformed, 3 a file or store failed, or a rule was broken, which
ends a run.")]
    Run {
        /// The scenario files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Print one observation a line
        #[arg(long)]
        json: bool,
        /// Where the engine keeps its events
        #[arg(long, value_enum, default_value_t = Store::Memory)]
        store: Store,
    },
    /// Run scenarios and judge whether their expectations hold and every rule was kept
    #[command(after_help = "\
Examples:
  hedgerow scenario test crates/sim/tests/scenarios/*.json
  hedgerow scenario test FILE --strict --store sqlite

The judge of `hedgerow simulate` looks on while a scenario runs, and the store is audited at its end.
A file that requires what this program cannot do is skipped; with --strict that counts as failed.

Exit status: 0 everything expected was seen, 1 something was not, 2 a file is malformed,
3 a file or store failed.")]
    Test {
        /// The scenario files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Let expectations about side matters count too
        #[arg(long)]
        strict: bool,
        /// Where the engine keeps its events
        #[arg(long, value_enum, default_value_t = Store::Memory)]
        store: Store,
    },
}

/// Where the engine keeps its events.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Store {
    /// In memory.
    Memory,
    /// In a `SQLite` file that is removed afterwards.
    Sqlite,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{} cannot be read ({source}): look at the path and its permissions", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Malformed { path: PathBuf, source: ScenarioError },
    #[error("{}: {source}", path.display())]
    Run { path: PathBuf, source: RunError },
    #[error("no SQLite file could be made for the run: {0}")]
    Folder(std::io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

impl Failure {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Malformed { .. } | Self::Run { source: RunError::Circles { .. }, .. } => 2,
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            _ => 3,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &ScenarioArgs) -> ExitCode {
    let result = match &args.command {
        ScenarioCommand::Run { files, json, store } => observe(files, *json, *store),
        ScenarioCommand::Test { files, strict, store } => {
            let strictness = if *strict { Strictness::Strict } else { Strictness::Lenient };
            test(files, strictness, *store)
        }
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            let status = failure.exit_status();
            if status != 0 {
                eprintln!("error: {failure}");
            }
            ExitCode::from(status)
        }
    }
}

/// Every file is done; the worst exit status is returned.
fn for_each(
    files: &[PathBuf],
    mut done: impl FnMut(&Path) -> Result<u8, Failure>,
) -> Result<u8, Failure> {
    let mut worst = 0;
    for file in files {
        match done(file) {
            Ok(status) => worst = worst.max(status),
            Err(failure @ Failure::Output(_)) => return Err(failure),
            Err(failure) => {
                eprintln!("error: {failure}");
                worst = worst.max(failure.exit_status());
            }
        }
    }
    Ok(worst)
}

fn observe(files: &[PathBuf], json: bool, store: Store) -> Result<u8, Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let worst = for_each(files, |file| {
        let scenario = match read(file)? {
            Read::Whole(scenario) => scenario,
            Read::Skipped { scenario, why } if json => {
                let skipped = Observation::skipped(scenario, why);
                writeln!(out, "{}", json!(skipped))?;
                return Ok(0);
            }
            Read::Skipped { scenario, why } => {
                writeln!(out, "{scenario}: skipped: {why}\n")?;
                return Ok(0);
            }
        };
        let Played { log, violation, .. } = play(file, &scenario, store)?;
        if let Some(violation) = &violation {
            let (file, invariant) = (file.display(), violation.invariant.name());
            eprintln!(
                "error: {file}: the run ends early, as a rule was broken ({invariant}, {}): \
                 `hedgerow scenario test` shows where",
                violation.rule
            );
        }
        if json {
            let observation = Observation::of_run(scenario.id, ENGINE.to_owned(), log);
            writeln!(out, "{}", json!(observation))?;
        } else {
            timeline(&scenario, &log, &mut out)?;
        }
        Ok(if violation.is_some() { 3 } else { 0 })
    })?;
    out.flush()?;
    Ok(worst)
}

fn test(files: &[PathBuf], strictness: Strictness, store: Store) -> Result<u8, Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let worst = for_each(files, |file| {
        let scenario = match read(file)? {
            Read::Whole(scenario) => scenario,
            Read::Skipped { scenario, why } => {
                writeln!(out, "skip  {scenario}: {why}")?;
                skipped += 1;
                return Ok(u8::from(strictness == Strictness::Strict));
            }
        };
        let played = play(file, &scenario, store)?;
        let verdict = judge(&scenario, &played, strictness);
        if verdict.passes() && verdict.soft.is_empty() {
            writeln!(out, "pass  {}", scenario.id)?;
        } else {
            write!(out, "{}", verdict.render(&scenario.id, &played.log))?;
        }
        let counted = if verdict.passes() { &mut passed } else { &mut failed };
        *counted += 1;
        Ok(u8::from(!verdict.passes()))
    })?;
    match skipped {
        0 => writeln!(out, "{passed} passed, {failed} failed")?,
        _ => writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")?,
    }
    out.flush()?;
    Ok(worst)
}

/// What was read of a file.
enum Read {
    Whole(Box<Scenario>),
    /// It requires what this program cannot do.
    Skipped {
        scenario: String,
        why: String,
    },
}

fn read(file: &Path) -> Result<Read, Failure> {
    let failed = |source| Failure::Unreadable { path: file.to_owned(), source };
    let malformed = |source| Failure::Malformed { path: file.to_owned(), source };
    let bytes = std::fs::metadata(file).map_err(failed)?.len();
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes > MOST_BYTES {
        return Err(malformed(ScenarioError::TooLarge { bytes, most: MOST_BYTES }));
    }
    match Scenario::read(std::fs::read(file).map_err(failed)?) {
        Ok(scenario) => Ok(Read::Whole(Box::new(scenario))),
        Err(ref lacks @ ScenarioError::Abilities { ref scenario, .. }) => {
            Ok(Read::Skipped { scenario: scenario.clone(), why: lacks.to_string() })
        }
        Err(source) => Err(malformed(source)),
    }
}

/// Name and version of the engine.
const ENGINE: &str = concat!("hedgerow ", env!("CARGO_PKG_VERSION"));

fn play(file: &Path, scenario: &Scenario, store: Store) -> Result<Played, Failure> {
    // Kept until the run has ended; then the file goes.
    let mut folder = None;
    let store: Arc<dyn EventStore> = match store {
        Store::Memory => Arc::new(MemoryStore::new()),
        Store::Sqlite => {
            let made = tempfile::tempdir().map_err(Failure::Folder)?;
            let store = SqliteStore::open(made.path().join("scenario.db"))?;
            folder = Some(made);
            Arc::new(store)
        }
    };
    let played = runner::run(scenario, store)
        .map_err(|source| Failure::Run { path: file.to_owned(), source })?;
    drop(folder);
    Ok(played)
}

fn timeline(scenario: &Scenario, log: &[Value], out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{}: {}", scenario.id, scenario.title.as_deref().unwrap_or("(no title)"))?;
    for entry in log {
        let seconds = entry["at_ms"].as_i64().unwrap_or(0);
        let text = |key: &str| entry[key].as_str().unwrap_or("");
        let about = match text("kind") {
            "snapshot" => {
                let devices = entry["devices"].as_array().map_or(0, Vec::len);
                format!("snapshot of {devices} devices")
            }
            "campaign" => match text("outcome") {
                "" => format!("campaign is {}", text("status")),
                outcome => format!("campaign is {}: {outcome}", text("status")),
            },
            "target" => {
                let mut line = format!("  target {} is {}", text("device"), text("status"));
                if !text("reason").is_empty() {
                    line += &format!(", {}", text("reason"));
                }
                if entry["retry_count"] != 0 {
                    line += &format!(", {} resends", entry["retry_count"]);
                }
                line
            }
            "request" => format!("  update sent to {}: {}", text("device"), text("result")),
            "cancel_request" => format!("  cancel sent to {}: {}", text("device"), text("result")),
            "operation" => {
                let mut line = format!("  operation of {} is {}", text("device"), text("status"));
                if !text("status_code").is_empty() {
                    line += &format!(", {}", text("status_code"));
                }
                if entry["inferred"] == true {
                    line += " (inferred)";
                }
                line
            }
            "command" => {
                let mut line = format!("command {}: {}", text("command"), text("result"));
                if !text("message").is_empty() {
                    line += &format!(" ({}: {})", text("field"), text("message"));
                }
                line
            }
            other => other.to_owned(),
        };
        let (whole, part) = (seconds / 1_000, seconds % 1_000);
        writeln!(out, "{whole:>8}.{part:03} s  {:<6} {about}", text("campaign"))?;
    }
    writeln!(out)
}
