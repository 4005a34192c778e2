//! The instants at which a window starts, over clocks that jump (P13).
//!
//! A start that the clock skips happens at the first instant after the gap. One that it repeats happens
//! at the first pass alone, unless its hour is `*` or has steps. croner can do this by itself, but with
//! another line between the two kinds: a list of minutes or hours is in both passes there, and what it
//! skips does not happen at all. So it is asked for times on a clock, and they become instants here.

use jiff::Timestamp as Instant;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::start::WindowStart;
use super::zone::{Stretch, Zone};

const MINUTE: i64 = 60;

/// The starts of one window on one clock. All instants are seconds since the epoch.
#[derive(Clone, Debug)]
pub(super) struct Starts {
    start: WindowStart,
    is_in_both_passes: bool,
    zone: Zone,
}

/// What a clock shows, which is `seconds` ahead of the epoch on a clock that never jumps.
fn shown(seconds: i64) -> Option<DateTime> {
    Instant::from_second(seconds).ok().map(|instant| Offset::UTC.to_datetime(instant))
}

fn seconds(shown: DateTime) -> Option<i64> {
    Offset::UTC.to_timestamp(shown).ok().map(Instant::as_second)
}

impl Starts {
    pub(super) fn new(start: WindowStart, zone: Zone) -> Self {
        let is_in_both_passes = start.is_in_both_passes();
        Self { start, is_in_both_passes, zone }
    }

    /// In a stretch that begins with a clock that is set back: the first time that was not shown
    /// before. What is earlier does not start again.
    fn first_new(&self, stretch: &Stretch) -> i64 {
        if !self.is_in_both_passes && stretch.before > stretch.offset {
            stretch.from.saturating_add(stretch.before)
        } else {
            i64::MIN
        }
    }

    /// The first start after `after`, if it is not later than `horizon`.
    pub(super) fn next(&self, after: i64, horizon: i64) -> Option<i64> {
        let mut stretch = self.zone.stretch(after)?;
        let mut after = after;
        loop {
            // Starts are on whole minutes of the clock.
            let local =
                after.checked_add(stretch.offset)?.max(self.first_new(&stretch).saturating_sub(1));
            let local = local.div_euclid(MINUTE) * MINUTE;
            let found = seconds(self.start.after(shown(local)?)?)?;
            let start = found - stretch.offset;
            if start < stretch.to {
                return Some(start).filter(|start| *start <= horizon);
            }
            if stretch.to > horizon {
                return None;
            }
            let following = self.zone.stretch(stretch.to)?;
            // The clock jumps over it.
            if found < following.from.saturating_add(following.offset) && start >= following.from {
                return Some(following.from);
            }
            after = following.from.checked_sub(1)?;
            stretch = following;
        }
    }

    /// The latest start up to `at`, if it is not earlier than `floor`.
    pub(super) fn latest(&self, at: i64, floor: i64) -> Option<i64> {
        let mut stretch = self.zone.stretch(at)?;
        let mut at = at;
        loop {
            let local = at.checked_add(stretch.offset)?.div_euclid(MINUTE) * MINUTE;
            let found = seconds(self.start.latest(shown(local)?)?)?;
            let start = found - stretch.offset;
            if start >= stretch.from && found >= self.first_new(&stretch) {
                return Some(start).filter(|start| *start >= floor);
            }
            // The clock has jumped over it.
            let is_skipped =
                start < stretch.from && found >= stretch.from.saturating_add(stretch.before);
            if is_skipped {
                return Some(stretch.from).filter(|start| *start >= floor);
            }
            if stretch.from <= floor {
                return None;
            }
            at = stretch.from.checked_sub(1)?;
            stretch = self.zone.stretch(at)?;
        }
    }
}
