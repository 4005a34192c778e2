//! Trying many seeds at once, each on one thread; the lowest that fails is the one that is told.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hedgerow_sim::simulate::{Coverage, Report, Setup, simulate};
use indicatif::ProgressBar;

use super::{CommandError, storage};
use crate::commands::bar::{self, clock};

/// What is to be tried.
pub(super) struct Plan {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) jobs: usize,
    pub(super) twice: bool,
    pub(super) sqlite: bool,
    pub(super) quiet: bool,
}

/// What stands against a seed.
pub(super) enum Failure {
    /// An invariant did not hold.
    Broken(Box<Report>),
    /// Two runs gave two logs.
    Differs { seed: u64, hashes: [String; 2] },
}

impl Failure {
    fn seed(&self) -> u64 {
        match self {
            Self::Broken(report) => report.seed,
            Self::Differs { seed, .. } => *seed,
        }
    }
}

/// What was tried.
pub(super) struct Tried {
    pub(super) seeds: u64,
    pub(super) runs: u64,
    pub(super) events: u64,
    pub(super) coverage: Coverage,
    /// The report of the seed, where there was only one.
    pub(super) kept: Vec<Report>,
    pub(super) failure: Option<Failure>,
    /// How long it took, and how long all threads together worked.
    pub(super) took: Duration,
    pub(super) worked: Duration,
}

pub(super) fn run(
    plan: &Plan,
    setup: &(impl Fn(u64) -> Setup + Sync),
) -> Result<Tried, CommandError> {
    let began = Instant::now();
    let next = AtomicU64::new(plan.from);
    // No seed beyond the lowest that failed is of interest.
    let last = AtomicU64::new(plan.to);
    let bar = bar(plan);
    let tried = Mutex::new(Tried {
        seeds: 0,
        runs: 0,
        events: 0,
        coverage: Coverage::default(),
        kept: Vec::new(),
        failure: None,
        took: Duration::ZERO,
        worked: Duration::ZERO,
    });
    let work = || -> Result<(), CommandError> {
        let mut storage = storage::of(plan.sqlite)?;
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= last.load(Ordering::SeqCst) {
                return Ok(());
            }
            let began = Instant::now();
            let setup = setup(seed);
            let report = simulate(&setup, &mut *storage)?;
            let again = if plan.twice { Some(simulate(&setup, &mut *storage)?) } else { None };
            let mut tried = tried.lock().unwrap_or_else(PoisonError::into_inner);
            tried.worked += began.elapsed();
            tried.seeds += 1;
            for report in again.iter().chain([&report]) {
                tried.runs += 1;
                tried.events += report.events;
                tried.coverage.add(&report.coverage);
            }
            if let Some(bar) = &bar {
                bar.inc(1);
                let (done, all) = (bar.position(), plan.to - plan.from);
                let (rate, left) = (bar.per_sec(), clock(bar.eta()));
                bar.set_message(format!("{done}/{all} seeds, {rate:.1}/s, {left} left"));
            }
            let failure = match again {
                _ if report.violation.is_some() => Some(Failure::Broken(Box::new(report.clone()))),
                Some(again) if again.log_hash != report.log_hash => {
                    let hashes = [report.log_hash.clone(), again.log_hash];
                    Some(Failure::Differs { seed, hashes })
                }
                _ => None,
            };
            if let Some(failure) = failure {
                last.fetch_min(seed, Ordering::SeqCst);
                let lowest = tried.failure.as_ref().is_none_or(|other| other.seed() > seed);
                if lowest {
                    tried.failure = Some(failure);
                }
            }
            if plan.to - plan.from == 1 {
                tried.kept.push(report);
            }
        }
    };
    let jobs = plan.jobs.max(1);
    let ends: Vec<Result<(), CommandError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(end) => end,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    ends.into_iter().collect::<Result<(), _>>()?;
    let mut tried = tried.into_inner().unwrap_or_else(PoisonError::into_inner);
    tried.took = began.elapsed();
    Ok(tried)
}

fn bar(plan: &Plan) -> Option<ProgressBar> {
    if plan.quiet || !std::io::stderr().is_terminal() || plan.to - plan.from < 2 {
        return None;
    }
    Some(bar::of(plan.to - plan.from))
}
