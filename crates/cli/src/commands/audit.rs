//! `hedgerow audit`: the judge of the simulation over the log of a real store, also while a process
//! writes to it.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use hedgerow_core::StreamId;
use hedgerow_engine::store::{EventStore, StoreError};
use hedgerow_sim::runtime::wait;
use hedgerow_sim::simulate::{Audit, Evidence, Finding, Invariant, Subject, audit};
use hedgerow_sqlite::{OpenError, SqliteStore};
use indicatif::ProgressBar;
use serde::Serialize;

use super::bar::{self, clock};
use super::output;

/// Findings that people are shown.
const SHOWN: usize = 20;

/// Check that a log keeps every rule that a log can show
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow audit hedgerow-demo.db            is everything in it as it should be?
  hedgerow audit hedgerow-demo.db --json | jq '.findings[] | .invariant'

Reads every event of every campaign and manual update, compares it with its checksum, follows it by
the rules alone, and compares claims, state snapshots and the index of operations with it.
docs/audit.md says what is looked at.
Changes nothing; the log can be audited while a process writes to it.

Exit status: 0 everything holds, 1 something does not, 2 wrong usage, 3 the file, or a part of it,
cannot be read.")]
pub(crate) struct AuditArgs {
    /// The file of the log
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum AuditError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

/// Runs `hedgerow audit`.
pub(crate) fn run(args: &AuditArgs) -> ExitCode {
    match look(args) {
        Ok(audited) if !audited.findings.is_empty() => ExitCode::from(1),
        Ok(audited) if !audited.unread.is_empty() => ExitCode::from(3),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}

fn look(args: &AuditArgs) -> Result<Audit, AuditError> {
    let began = Instant::now();
    let store = SqliteStore::open_read_only(&args.file)?;
    let bar = if std::io::stderr().is_terminal() { bar(&store)? } else { ProgressBar::hidden() };
    let audited = audit(&store, &mut |events| {
        bar.set_position(events);
        let (all, left) = (bar.length().unwrap_or(0), clock(bar.eta()));
        bar.set_message(format!("{events} of {all} events, {left} left"));
    });
    bar.finish_and_clear();
    let audited = audited?;
    // What is found in the events says more than that some page is damaged.
    if let Err(damage) = wait(store.look_at_all()) {
        if audited.findings.is_empty() {
            return Err(damage.into());
        }
        eprintln!("error: {damage}");
    }
    let seconds = began.elapsed().as_secs_f64();
    let file = &args.file;
    output::print(|out| {
        if args.json {
            print_json(file, &audited, out)
        } else {
            print(file, &audited, seconds, out)
        }
    })?;
    Ok(audited)
}

fn bar(store: &SqliteStore) -> Result<ProgressBar, StoreError> {
    let streams = wait(store.streams())?;
    Ok(bar::of(streams.iter().map(|stream| stream.version).sum()))
}

/// The invariants that a log can show, in their order.
fn looked_at() -> impl Iterator<Item = Invariant> {
    Invariant::ALL.iter().copied().filter(|invariant| invariant.evidence() == Evidence::Log)
}

#[derive(Serialize)]
struct Looked {
    invariant: Invariant,
    rule: &'static str,
    holds: bool,
}

#[derive(Serialize)]
struct Output<'a> {
    log: &'a Path,
    holds: bool,
    #[serde(flatten)]
    audit: &'a Audit,
    invariants: Vec<Looked>,
}

fn print_json(file: &Path, audit: &Audit, out: &mut dyn Write) -> std::io::Result<()> {
    let invariants = looked_at()
        .map(|invariant| {
            let rule = invariant.rule();
            let holds = !audit.findings.iter().any(|finding| finding.invariant == invariant);
            Looked { invariant, rule, holds }
        })
        .collect();
    let output = Output { log: file, holds: audit.findings.is_empty(), audit, invariants };
    serde_json::to_writer_pretty(&mut *out, &output)?;
    writeln!(out)
}

fn print(file: &Path, audit: &Audit, seconds: f64, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{}: {}, {}, {}; {} in {}, read in {seconds:.1} s",
        file.display(),
        counted(audit.campaigns, "campaign"),
        counted(audit.manual_updates, "manual update"),
        counted(audit.operations, "operation"),
        counted(audit.events, "event"),
        counted(audit.appends, "append")
    )?;
    for finding in audit.findings.iter().take(SHOWN) {
        print_finding(file, finding, out)?;
    }
    if audit.events_without_checksum > 0 {
        writeln!(
            out,
            "\nnote: {} without a checksum, recorded by a version that had none",
            counted(audit.events_without_checksum, "event")
        )?;
    }
    if audit.removed + audit.imported > 0 {
        writeln!(
            out,
            "\nnote: {} archived and removed, {} imported from an archive",
            counted(audit.removed, "stream"),
            counted(audit.imported, "stream")
        )?;
    }
    let more = audit.findings.len().saturating_sub(SHOWN) as u64 + audit.more_findings;
    if more > 0 {
        writeln!(out, "\nand {more} more findings; --json prints them")?;
    }
    for remark in &audit.unread {
        writeln!(out, "\nnot looked at: {}", remark.message)?;
    }
    for remark in &audit.remarks {
        let stream = remark.stream.map(|stream| format!("{stream}: ")).unwrap_or_default();
        writeln!(out, "\nnote: {stream}{}", remark.message)?;
    }
    let count = looked_at().count();
    match audit.findings.len() as u64 + audit.more_findings {
        0 if audit.unread.is_empty() => {
            writeln!(out, "all {count} invariants that a log can show hold")
        }
        0 => writeln!(
            out,
            "all {count} invariants that a log can show hold in what could be looked at"
        ),
        many => writeln!(out, "\n{}", counted(many, "finding")),
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn print_finding(file: &Path, finding: &Finding, out: &mut dyn Write) -> std::io::Result<()> {
    let log = output::to_paste(file);
    let invariant = finding.invariant;
    writeln!(out, "\n{} ({}): {}", invariant.name(), finding.rule, finding.message)?;
    writeln!(out, "  rule    {}", invariant.describe())?;
    write!(out, "  where   ")?;
    if let Some(stream) = finding.stream {
        write!(out, "{stream} of tenant {}", finding.tenant)?;
    } else {
        write!(out, "tenant {}", finding.tenant)?;
    }
    if let Some(version) = finding.version {
        write!(out, ", event {version}")?;
    }
    if let (Some(position), Some(at)) = (finding.position, finding.at) {
        write!(out, ", position {position} of the log, recorded at {at}")?;
    }
    writeln!(out)?;
    if let Some(device) = finding.device {
        writeln!(out, "  look    hedgerow log {log} --device {device}")?;
    } else if let Some(StreamId::Campaign(campaign)) = finding.stream {
        writeln!(out, "  look    hedgerow log {log} --campaign {campaign}")?;
    }
    writeln!(out, "  do      {}", advice(finding))
}

/// What somebody can do about a finding.
fn advice(finding: &Finding) -> &'static str {
    match (finding.subject, finding.invariant) {
        (Subject::Snapshot, _) => {
            "the events are whole; stop the process that uses the file, remove its state snapshots (sqlite3 FILE 'DELETE FROM snapshots'), and they are made anew"
        }
        (
            Subject::Event,
            Invariant::ExpectedVersion | Invariant::StateIsFold | Invariant::Checksums,
        ) => {
            "the log was damaged or changed: keep a copy of it, and restore the file from a backup"
        }
        (Subject::Event, _) => {
            "the log was changed, or the engine that wrote it is wrong: pause the campaign, keep a copy of the file, and report it with this text"
        }
        _ => {
            "the events are whole, what the store keeps beside them is not: keep a copy of the file, and restore it from a backup"
        }
    }
}
