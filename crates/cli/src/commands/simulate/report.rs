//! What was tried and found, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use hedgerow_sim::simulate::{
    Coverage, FaultKind, Line, LineKind, Report, Setup, Storage, Transition, Violation,
    smallest_prefix,
};
use serde::Serialize;

use super::seeds::{Failure, Tried};
use super::{CommandError, SimulateArgs, Store};

/// The lines of a timeline that are printed.
const LINES: usize = 60;

/// A violation, brought to its smallest number of faults.
pub(super) struct Found {
    seed: u64,
    faults: u64,
    all_faults: u64,
    violation: Violation,
    timeline: Vec<Line>,
}

impl Found {
    /// Looks for the smallest prefix of faults that still fails.
    pub(super) fn look_for(
        setup: &Setup,
        failed: &Report,
        storage: &mut dyn Storage,
    ) -> Result<Self, CommandError> {
        let Some(violation) = &failed.violation else {
            unreachable!("only a run that failed is looked at")
        };
        let (faults, smallest) = smallest_prefix(setup, failed, violation, storage)?;
        Ok(Self {
            seed: failed.seed,
            faults,
            all_faults: failed.faults,
            violation: smallest.violation.unwrap_or_else(|| violation.clone()),
            timeline: smallest.timeline,
        })
    }

    /// What concerns the device and the stream of the violation.
    fn concerned(&self) -> Vec<&Line> {
        let Violation { device, stream, .. } = &self.violation;
        let concerns = |line: &&Line| match (device, line.device) {
            (Some(device), Some(of)) => *device == of,
            _ => line.stream.is_none() || line.stream == *stream,
        };
        let lines: Vec<&Line> = self.timeline.iter().filter(concerns).collect();
        let from = lines.len().saturating_sub(LINES);
        lines[from..].to_vec()
    }
}

/// The command that runs one seed again.
fn command(args: &SimulateArgs, seed: u64, faults: Option<u64>) -> String {
    let mut text = format!("hedgerow simulate --seed {seed}");
    let _ = write!(text, " --profile {}", args.profile);
    let _ = write!(text, " --devices {} --campaigns {}", args.devices, args.campaigns);
    if args.store == Store::Sqlite {
        text.push_str(" --store sqlite");
    }
    if let Some(faults) = faults.or(args.stop_faults_after) {
        let _ = write!(text, " --stop-faults-after {faults}");
    }
    text
}

pub(super) fn print(
    tried: &Tried,
    found: Option<&Found>,
    args: &SimulateArgs,
    out: &mut dyn Write,
) -> io::Result<()> {
    if let [report] = &tried.kept[..] {
        writeln!(
            out,
            "seed {}, profile {}: {} faults",
            report.seed, report.profile, report.faults
        )?;
        writeln!(out, "log: {} events, SHA-256 {}", report.events, report.log_hash)?;
    }
    print_coverage(tried, out)?;
    match (&tried.failure, found) {
        (None, _) => writeln!(out, "every invariant held")?,
        (Some(Failure::Differs { seed, hashes }), _) => {
            writeln!(out, "seed {seed} gave two logs: {} and {}", hashes[0], hashes[1])?;
            writeln!(out, "again: {} --twice", command(args, *seed, None))?;
        }
        (Some(Failure::Broken(_)), found) => {
            if let Some(found) = found {
                print_found(found, args, out)?;
            }
        }
    }
    Ok(())
}

fn print_found(found: &Found, args: &SimulateArgs, out: &mut dyn Write) -> io::Result<()> {
    let Violation { invariant, rule, message, at, device, stream, .. } = &found.violation;
    writeln!(out, "\nseed {} breaks `{}` ({rule})", found.seed, invariant.name())?;
    writeln!(out, "  {}", invariant.describe())?;
    writeln!(out, "  at {at}: {message}")?;
    if let Some(stream) = stream {
        writeln!(out, "  stream {stream}")?;
    }
    if let Some(device) = device {
        writeln!(out, "  device {device}")?;
    }
    writeln!(out, "  the first {} of {} faults are enough", found.faults, found.all_faults)?;
    writeln!(out, "\nwhat happened to it before:")?;
    for line in found.concerned() {
        writeln!(out, "{}", in_words(line))?;
    }
    writeln!(out, "\nagain: {}", command(args, found.seed, Some(found.faults)))
}

fn in_words(line: &Line) -> String {
    let mark = match line.kind {
        LineKind::Fault => '!',
        LineKind::Event => '*',
        LineKind::Note => ' ',
    };
    let device = line.device.map(|device| format!("{device} ")).unwrap_or_default();
    format!("  {} {mark} {device}{}", line.at, line.text)
}

/// Everything that happened, in order.
pub(super) fn print_timeline(reports: &[Report], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "! is a fault, * an event that became durable")?;
    for line in reports.iter().flat_map(|report| &report.timeline) {
        writeln!(out, "{}", in_words(line))?;
    }
    Ok(())
}

fn print_coverage(tried: &Tried, out: &mut dyn Write) -> io::Result<()> {
    let Coverage { inputs, steps, virtual_ms, faults, .. } = &tried.coverage;
    let runs =
        if tried.runs == tried.seeds { String::new() } else { format!(" in {} runs", tried.runs) };
    writeln!(
        out,
        "tried {} seeds{runs}: {inputs} inputs to the engine in {steps} steps",
        tried.seeds
    )?;
    writeln!(out, "  {} events recorded, {} virtual hours", tried.events, virtual_ms / 3_600_000)?;
    let injected: u64 = faults.values().sum();
    writeln!(out, "  {injected} faults:")?;
    for kind in FaultKind::ALL {
        if let Some(count) = faults.get(kind) {
            writeln!(out, "    {count:>9} {}", kind.name())?;
        }
    }
    print_transitions("operation", tried.coverage.operation_transitions(), out)?;
    print_transitions("campaign", tried.coverage.campaign_transitions(), out)?;
    let never = tried.coverage.never_taken();
    if !never.is_empty() {
        writeln!(out, "  never taken: {}", never.join(", "))?;
    }
    let rate = per_second(*inputs, tried.worked);
    writeln!(
        out,
        "  {:.1} s, {rate} inputs per second on each of the threads",
        tried.took.as_secs_f64()
    )
}

fn per_second(count: u64, time: std::time::Duration) -> u64 {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000) / ms
}

fn print_transitions(
    machine: &str,
    transitions: impl Iterator<Item = Transition>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let all: Vec<Transition> = transitions.collect();
    let taken = all.iter().filter(|transition| transition.taken > 0).count();
    writeln!(out, "  {taken} of {} transitions of the {machine} taken", all.len())
}

#[derive(Serialize)]
struct Json<'a> {
    seeds: u64,
    runs: u64,
    inputs: u64,
    steps: u64,
    events: u64,
    virtual_ms: u64,
    took_ms: u128,
    inputs_per_second_per_thread: u64,
    faults: &'a BTreeMap<FaultKind, u64>,
    events_by_type: &'a BTreeMap<&'static str, u64>,
    operation_transitions: Vec<Transition>,
    campaign_transitions: Vec<Transition>,
    never_taken: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    violation: Option<JsonViolation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<u64>,
}

#[derive(Serialize)]
struct JsonViolation<'a> {
    seed: u64,
    faults: u64,
    #[serde(flatten)]
    violation: &'a Violation,
    timeline: Vec<&'a Line>,
    again: String,
}

pub(super) fn print_json(
    tried: &Tried,
    found: Option<&Found>,
    args: &SimulateArgs,
    out: &mut dyn Write,
) -> io::Result<()> {
    let coverage = &tried.coverage;
    let differs = match &tried.failure {
        Some(Failure::Differs { seed, .. }) => Some(*seed),
        _ => None,
    };
    let json = Json {
        seeds: tried.seeds,
        runs: tried.runs,
        inputs: coverage.inputs,
        steps: coverage.steps,
        events: tried.events,
        virtual_ms: coverage.virtual_ms,
        took_ms: tried.took.as_millis(),
        inputs_per_second_per_thread: per_second(coverage.inputs, tried.worked),
        faults: &coverage.faults,
        events_by_type: &coverage.events,
        operation_transitions: coverage.operation_transitions().collect(),
        campaign_transitions: coverage.campaign_transitions().collect(),
        never_taken: coverage.never_taken(),
        report: tried.kept.first(),
        violation: found.map(|found| JsonViolation {
            seed: found.seed,
            faults: found.faults,
            violation: &found.violation,
            timeline: found.concerned(),
            again: command(args, found.seed, Some(found.faults)),
        }),
        differs,
    };
    serde_json::to_writer_pretty(&mut *out, &json)?;
    writeln!(out)
}
