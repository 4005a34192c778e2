//! The live display: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use hedgerow_core::Timestamp;
use hedgerow_engine::Progress;
use indicatif::ProgressBar;

use super::world_file::Settings;
use crate::commands::bar::{self, clock};

/// How often a line is printed where there is no terminal.
const EVERY: Duration = Duration::from_secs(1);

pub(super) enum Display {
    /// With `--json`, standard error stays quiet where nobody looks at it.
    Quiet,
    Bar {
        bar: ProgressBar,
        began: Instant,
        done_at_first: Option<u64>,
    },
    Lines {
        next: Instant,
        last: Option<u64>,
        began: Instant,
    },
}

/// Says that a demo goes on.
pub(super) fn say_it_goes_on(db: &Path, progress: &Progress) {
    let done = progress.targets.total - progress.targets.idle - progress.targets.in_progress;
    eprintln!(
        "{} holds this campaign already: going on, {done} of {} targets are final",
        db.display(),
        progress.targets.total
    );
}

impl Display {
    pub(super) fn new(json: bool, db: &Path, settings: &Settings) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        if json && !on_terminal {
            return Self::Quiet;
        }
        eprintln!(
            "rolling 2.0.0 out to {} simulated devices, at most {} at once, recorded in {}",
            settings.devices,
            settings.max_pending,
            db.display()
        );
        if !on_terminal {
            let now = Instant::now();
            return Self::Lines { next: now, last: None, began: now };
        }
        let bar = bar::of(u64::from(settings.devices));
        Self::Bar { bar, began: Instant::now(), done_at_first: None }
    }

    pub(super) fn show(&mut self, progress: &Progress, now: Timestamp) {
        let targets = progress.targets;
        let done = u64::from(targets.successful + targets.failed + targets.cancelled);
        match self {
            Self::Quiet => {}
            Self::Bar { bar, began, done_at_first } => {
                let first = *done_at_first.get_or_insert(done);
                bar.set_position(done);
                bar.set_message(format!(
                    "{}{}",
                    describe(progress, now),
                    pace(done - first, u64::from(targets.total) - done, began.elapsed())
                ));
            }
            Self::Lines { next, last, began } => {
                let at = Instant::now();
                if at >= *next && *last != Some(done) {
                    *next = at + EVERY;
                    *last = Some(done);
                    let elapsed = began.elapsed().as_secs_f64();
                    eprintln!(
                        "{elapsed:>6.1} s  {done}/{} done  {}",
                        targets.total,
                        describe(progress, now)
                    );
                }
            }
        }
    }

    pub(super) fn finish(&mut self, progress: &Progress) {
        if let Self::Bar { bar, .. } = self {
            let targets = progress.targets;
            bar.set_position(u64::from(targets.successful + targets.failed + targets.cancelled));
            bar.abandon_with_message("");
        }
    }
}

fn describe(progress: &Progress, now: Timestamp) -> String {
    let targets = progress.targets;
    let limits = &progress.limits;
    let passed = progress.started_at.map_or(Duration::ZERO, |started| now.since(started));
    format!(
        "{} ok, {} failed (limit {}%), {}/{} in flight, {} waiting, {} simulated",
        targets.successful,
        targets.failed,
        limits.max_failure_percentage,
        targets.in_progress,
        limits.max_pending_operations,
        targets.idle,
        clock(passed),
    )
}

fn pace(done: u64, left: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    if done == 0 || seconds == 0 {
        return String::new();
    }
    let rate = done / seconds.max(1);
    let eta = Duration::from_secs(left.saturating_mul(seconds) / done);
    format!(", {rate}/s, {} left", clock(eta))
}
