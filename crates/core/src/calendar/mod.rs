//! When maintenance windows are open (P13): rules of a few lines, in the time of a zone, become
//! instants at which they open and close.
//!
//! It is arithmetic alone: nothing here knows of campaigns or devices, reads a clock or a file. Which
//! clock a zone has at which time is a constant of the build, so that two builds with one database
//! answer alike on any machine ([`zone_data_version`] says which it is).
//!
//! | Module | What it does |
//! |---|---|
//! | `start` | five cron fields: which times of day on which days |
//! | `zone` | stretches of time in which a zone's clock runs evenly |
//! | `starts` | both together: the instants of the starts, over clocks that jump |
//! | `state` | sets of windows, less exclusions: open or closed, and until when |

mod error;
mod start;
mod starts;
mod state;
mod zone;

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Timestamp;

pub use self::error::WindowError;
pub use self::start::WindowStart;
pub use self::state::{Calendar, WindowState};
pub use self::zone::{WindowZone, ZoneName, zone_data_version};

/// The most windows of a set.
const MOST_WINDOWS: usize = 64;
/// The most exclusions of a set.
const MOST_EXCLUSIONS: usize = 1_000;
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A time that comes again and again, and lasts for a while (P13).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// When it opens.
    pub start: WindowStart,
    /// For how long it is open, on a clock that never jumps: 1 minute to 7 days, in milliseconds as
    /// JSON.
    #[serde(rename = "length_ms", with = "millis")]
    pub length: Duration,
    /// Whose clock `start` is read on.
    pub zone: WindowZone,
}

/// A time during which a set is closed, whatever its windows say: from `from` until just before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
}

/// Windows that are open together: the set is open while any of them is, except during its exclusions.
/// A set without windows is always open, except during those (P13).
///
/// ```
/// use std::time::Duration;
/// use hedgerow_core::{Timestamp, Window, WindowSet, WindowState};
///
/// // At two in the morning, for an hour, wherever the device is.
/// let window = Window {
///     start: "0 2 * * *".parse()?,
///     length: Duration::from_secs(3_600),
///     zone: "device".parse()?,
/// };
/// let set = WindowSet { windows: vec![window], exclusions: Vec::new() };
/// let noon = Timestamp::from_millis(1_796_126_400_000); // 2026-12-01T12:00:00Z
/// set.validate(noon)?;
///
/// let rome = set.in_zone(Some("Europe/Rome"), &"UTC".parse()?);
/// let WindowState::Closed { until: Some(opening) } = rome.state(noon) else { panic!("at noon?") };
/// assert_eq!(opening.to_string(), "2026-12-02T01:00:00.000Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowSet {
    /// The windows: at most 64.
    pub windows: Vec<Window>,
    /// When it is closed all the same: at most 1,000, in any order.
    pub exclusions: Vec<Exclusion>,
}

impl WindowSet {
    /// Whether it says anything: without windows and exclusions it is always open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.exclusions.is_empty()
    }

    /// Checks it against its limits, and that each of its windows, and the set as a whole, opens
    /// again within five years from `now`. A zone that is not known is no error (P13): see
    /// [`Calendar::unknown_zones`].
    ///
    /// # Errors
    /// What is wrong first, with what to give instead.
    pub fn validate(&self, now: Timestamp) -> Result<(), WindowError> {
        let (windows, exclusions) = (self.windows.len(), self.exclusions.len());
        if windows > MOST_WINDOWS {
            return Err(WindowError::TooManyWindows { given: windows, most: MOST_WINDOWS });
        }
        if exclusions > MOST_EXCLUSIONS {
            return Err(WindowError::TooManyExclusions {
                given: exclusions,
                most: MOST_EXCLUSIONS,
            });
        }
        if let Some(window) =
            self.windows.iter().find(|window| !(SHORTEST..=LONGEST).contains(&window.length))
        {
            return Err(WindowError::Length { given: window.length });
        }
        if let Some(Exclusion { from, to }) = self.exclusions.iter().find(|one| one.from >= one.to)
        {
            return Err(WindowError::ExclusionEndsBeforeItBegins { from: *from, to: *to });
        }
        for window in &self.windows {
            let alone = Self { windows: vec![window.clone()], exclusions: Vec::new() };
            if alone.never_opens(now) {
                return Err(WindowError::NeverOpens { start: window.start.to_string() });
            }
        }
        if self.never_opens(now) {
            return Err(WindowError::NothingOpens);
        }
        Ok(())
    }

    /// The clock of a device is not known yet; where it is makes no difference of years.
    fn never_opens(&self, now: Timestamp) -> bool {
        let calendar = self.in_zone(None, &ZoneName::utc());
        calendar.state(now) == WindowState::Closed { until: None }
    }

    /// The set on the clock of a device: what asks for the device's zone has `device_zone`, or
    /// `fallback` if none is told; what asks for a zone that is not known has `fallback` too, or UTC
    /// if that is not known either (P13).
    #[must_use]
    pub fn in_zone(&self, device_zone: Option<&str>, fallback: &ZoneName) -> Calendar {
        Calendar::new(self, device_zone, fallback)
    }
}

/// A length as a whole number of milliseconds.
mod millis {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(super) fn serialize<S: Serializer>(length: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
