//! Sets of windows, less their exclusions: whether they are open at an instant, and until when (P13).
//!
//! Everything is half-open: a window of an hour that opens at 02:00 is closed at 03:00. Windows that
//! follow each other without a gap count as one. Whoever waits is never told a time that is too late:
//! where there is more to look at than is worth it, the time that is told is one to ask again at.

use std::time::Duration;

use super::starts::Starts;
use super::zone::{WindowZone, Zone, ZoneName};
use super::{Window, WindowSet};
use crate::time::Timestamp;

const SECOND: i64 = 1_000;
const DAY: i64 = 24 * 60 * 60 * SECOND;
/// How far it is looked for one set's next opening, as a set that does not open as soon is refused.
const FIVE_YEARS: i64 = (5 * 365 + 2) * DAY;
/// How far it is looked for a time at which several sets are open together.
const ONE_YEAR: i64 = 366 * DAY;
/// How many starts are looked at for one answer: those of ten weeks with one every minute.
const MOST_LOOKS: u32 = 100_000;
/// When it is asked again, if the looks are used up at once.
const MINUTE: i64 = 60 * SECOND;

/// Whether windows are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowState {
    /// They are.
    Open {
        /// The first instant at which they are not. One that is more than a day away, beside what must
        /// fit, is not looked for: they are open until this instant at least.
        until: Timestamp,
    },
    /// They are not.
    Closed {
        /// When they open next. `None`: not within five years, or several sets not together within
        /// one. Where there are very many starts to look at, it is an instant before that, to ask
        /// again at.
        until: Option<Timestamp>,
    },
}

impl WindowState {
    /// Whether all of some sets are open at `now`, and stay so for as long as `fits`, of at most seven
    /// days. Sets that open too seldom together are as closed as those that never do.
    ///
    /// ```
    /// use std::time::Duration;
    /// use hedgerow_core::{Timestamp, WindowSet, WindowState, ZoneName};
    ///
    /// let nightly = r#"{"windows": [{"start": "0 1 * * *", "length_ms": 7200000, "zone": "UTC"}]}"#;
    /// let later = r#"{"windows": [{"start": "0 2 * * *", "length_ms": 7200000, "zone": "UTC"}]}"#;
    /// let [nightly, later] = [nightly, later].map(|json| serde_json::from_str::<WindowSet>(json));
    /// let (nightly, later) = (nightly?, later?);
    /// let [nightly, later] = [nightly, later].map(|set| set.in_zone(None, &ZoneName::utc()));
    ///
    /// let state = WindowState::of_all(&[&nightly, &later], Duration::ZERO, Timestamp::from_millis(0));
    /// let until = Some(Timestamp::from_millis(7_200_000));
    /// assert_eq!(state, WindowState::Closed { until });
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn of_all(sets: &[&Calendar], fits: Duration, now: Timestamp) -> Self {
        let now = now.as_millis();
        let fits = i64::try_from(fits.as_millis()).unwrap_or(i64::MAX);
        let far = fits.saturating_add(DAY);
        let years = if sets.len() > 1 { ONE_YEAR } else { FIVE_YEARS };
        let mut search = Search { horizon: now.saturating_add(years), looks: MOST_LOOKS };
        let mut at = now;
        while at <= search.horizon && search.looks > 0 {
            // What fits is looked for first; the end of it matters only where the answer is that it is
            // open.
            let enough = at.saturating_add(fits);
            match search.end_of_all(sets, at, enough) {
                Ok(end) if end >= enough && at == now => {
                    let end = search.end_of_all(sets, at, at.saturating_add(far)).unwrap_or(end);
                    return Self::Open { until: Timestamp::from_millis(end) };
                }
                Ok(end) if end >= enough => {
                    return Self::Closed { until: Some(Timestamp::from_millis(at)) };
                }
                // Too short: on to whatever comes after it.
                Ok(end) => at = end,
                Err(Some(opening)) => at = opening,
                Err(None) => return Self::Closed { until: None },
            }
        }
        let again = at.max(now.saturating_add(MINUTE));
        let until = (at <= search.horizon).then(|| Timestamp::from_millis(again));
        Self::Closed { until }
    }

    /// Whether they are open.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// A set of windows on the clock of one zone: all devices with the same windows in the same zone share
/// it.
#[derive(Clone, Debug)]
pub struct Calendar {
    windows: Vec<(Starts, i64)>,
    /// In order, and apart from each other.
    exclusions: Vec<(i64, i64)>,
    unknown_zones: Vec<String>,
}

impl Calendar {
    pub(super) fn new(set: &WindowSet, device_zone: Option<&str>, fallback: &ZoneName) -> Self {
        let mut unknown = Vec::new();
        let mut named = |name: &str| {
            let zone = Zone::named(name);
            if zone.is_none() && !unknown.iter().any(|known| known == name) {
                unknown.push(name.to_owned());
            }
            zone
        };
        let mut windows = Vec::with_capacity(set.windows.len());
        for Window { start, length, zone } in &set.windows {
            let asked = match zone {
                WindowZone::Device => device_zone,
                WindowZone::Named(name) => Some(name.as_str()),
            };
            let zone = asked.and_then(&mut named).or_else(|| named(fallback.as_str()));
            let starts = Starts::new(start.clone(), zone.unwrap_or_else(Zone::utc));
            windows.push((starts, i64::try_from(length.as_millis()).unwrap_or(i64::MAX)));
        }
        let mut given: Vec<_> =
            set.exclusions.iter().map(|one| (one.from.as_millis(), one.to.as_millis())).collect();
        given.sort_unstable();
        let mut exclusions: Vec<(i64, i64)> = Vec::with_capacity(given.len());
        for (from, to) in given {
            match exclusions.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                _ => exclusions.push((from, to)),
            }
        }
        Self { windows, exclusions, unknown_zones: unknown }
    }

    /// Whether it is open at `now`, and until when.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> WindowState {
        WindowState::of_all(&[self], Duration::ZERO, now)
    }

    /// The names of zones that the database does not know, in whose stead another zone is used, each
    /// once.
    pub fn unknown_zones(&self) -> impl Iterator<Item = &str> {
        self.unknown_zones.iter().map(String::as_str)
    }

    /// The end of the exclusion that `at` is in.
    fn excluded_until(&self, at: i64) -> Option<i64> {
        let later = self.exclusions.partition_point(|(from, _)| *from <= at);
        let (_, to) = *self.exclusions.get(later.checked_sub(1)?)?;
        Some(to).filter(|to| *to > at)
    }

    /// When the next exclusion begins after `at`.
    fn next_exclusion(&self, at: i64) -> Option<i64> {
        let later = self.exclusions.partition_point(|(from, _)| *from <= at);
        self.exclusions.get(later).map(|(from, _)| *from)
    }
}

/// A search for one answer, with its bounds.
struct Search {
    /// Nothing is looked for after it.
    horizon: i64,
    /// How many more starts are looked at.
    looks: u32,
}

impl Search {
    fn look(&mut self) -> bool {
        self.looks = self.looks.saturating_sub(1);
        self.looks > 0
    }

    /// When the first of the sets closes, if all are open at `at`; else when the one that is not opens
    /// next.
    fn end_of_all(&mut self, sets: &[&Calendar], at: i64, far: i64) -> Result<i64, Option<i64>> {
        if let Some(closed) = sets.iter().find(|set| !self.is_open(set, at)) {
            return Err(self.opening(closed, at));
        }
        Ok(sets.iter().fold(far, |first, set| self.end(set, at, first)))
    }

    fn is_open(&mut self, set: &Calendar, at: i64) -> bool {
        set.excluded_until(at).is_none()
            && (set.windows.is_empty() || self.reached(set, at).is_some())
    }

    /// When a set closes that is open at `at`; no later than `far`.
    fn end(&mut self, set: &Calendar, at: i64, far: i64) -> i64 {
        let latest = set.next_exclusion(at).map_or(far, |exclusion| exclusion.min(far));
        if set.windows.is_empty() {
            return latest;
        }
        let mut end = at;
        while end < latest && self.looks > 0 {
            match self.reached(set, end) {
                Some(later) => end = later,
                None => break,
            }
        }
        end.min(latest)
    }

    /// How far the windows reach that are open at `at`, whatever is excluded.
    fn reached(&mut self, set: &Calendar, at: i64) -> Option<i64> {
        let mut reached = None;
        for (starts, length) in &set.windows {
            self.look();
            let floor = at.saturating_sub(*length).div_euclid(SECOND);
            let start = starts.latest(at.div_euclid(SECOND), floor);
            let end = start.map(|start| start.saturating_mul(SECOND).saturating_add(*length));
            reached = reached.max(end.filter(|end| *end > at));
        }
        reached
    }

    /// When a set opens next that is closed at `at`.
    fn opening(&mut self, set: &Calendar, at: i64) -> Option<i64> {
        let mut at = at;
        loop {
            if let Some(end) = set.excluded_until(at) {
                // Exclusions do not touch each other, so none begins here.
                at = end;
                if self.is_open(set, at) {
                    return Some(at);
                }
            }
            let (second, horizon) = (at.div_euclid(SECOND), self.horizon.div_euclid(SECOND));
            let mut next: Option<i64> = None;
            for (starts, _) in &set.windows {
                // One that comes later than another is not looked for.
                let horizon = next.unwrap_or(horizon);
                next = starts.next(second, horizon).or(next);
                if !self.look() {
                    return Some(at);
                }
            }
            at = next?.saturating_mul(SECOND);
            if set.excluded_until(at).is_none() {
                return Some(at);
            }
        }
    }
}
