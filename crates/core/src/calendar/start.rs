//! The five cron fields of a window's start (P13): which times of day, on which days.
//!
//! What is written is checked here, field by field, so that an error names the field; croner then
//! finds the next and the latest time that it names, on a clock that never jumps.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::WindowError;
use crate::id::excerpt;

/// A text that lists every number of every field is shorter.
const LONGEST: usize = 512;

/// Name, lowest and highest number of each field.
const FIELDS: [(&str, u8, u8); 5] = [
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    // Sunday has two numbers.
    ("day of week", 0, 7),
];

/// The days of each month, in a year that has the most.
const DAYS: [u16; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// When a window opens: minute, hour, day of month, month and day of week, 0 and 7 being Sunday. Each
/// is `*` or numbers, as a list, a range or with steps. Where day of month and day of week are both
/// given, a day that is either will do.
///
/// ```
/// use hedgerow_core::WindowStart;
///
/// let weekdays: WindowStart = "30 2 * * 1-5".parse()?;
/// assert_eq!(weekdays.to_string(), "30 2 * * 1-5");
/// let error = "0 25 * * *".parse::<WindowStart>().unwrap_err().to_string();
/// assert!(error.starts_with("the hour of a start is \"25\": give `*` or numbers from 0 to 23"));
/// # Ok::<(), hedgerow_core::WindowError>(())
/// ```
#[derive(Clone)]
pub struct WindowStart {
    text: String,
    /// The same, as croner reads it: some kilobytes, with a bit for each year.
    cron: Arc<Cron>,
}

impl PartialEq for WindowStart {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for WindowStart {}

impl Hash for WindowStart {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for WindowStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WindowStart").field(&self.text).finish()
    }
}

impl WindowStart {
    /// Whether it starts in both passes of an hour that the clock repeats (P13).
    pub(super) fn is_in_both_passes(&self) -> bool {
        self.text.split(' ').nth(1).is_some_and(|hour| hour.contains(['*', '/']))
    }

    /// The first time after `local` that it names.
    pub(super) fn after(&self, local: DateTime) -> Option<DateTime> {
        self.cron.find_next_occurrence(&local, false).ok()
    }

    /// The latest time up to `local` that it names.
    pub(super) fn latest(&self, local: DateTime) -> Option<DateTime> {
        self.cron.find_previous_occurrence(&local, true).ok()
    }

    /// Whether some year has such a day. Otherwise croner would look for it through the millennia.
    fn has_a_day(cron: &Cron) -> bool {
        let months = cron.pattern.months.values();
        let first = cron.pattern.days.values().into_iter().min().unwrap_or_default();
        let days = |month: u16| DAYS.get(usize::from(month.saturating_sub(1))).copied();
        !cron.pattern.is_dow_wildcard()
            || months.into_iter().filter_map(days).any(|days| first <= days)
    }
}

/// Whether one entry of a list is `*`, a number or a range, perhaps with steps.
fn is_entry(entry: &str, least: u8, most: u8) -> bool {
    let number = |text: &str| {
        let is_plain = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u8>().ok().filter(|_| is_plain)
    };
    let within = |text| number(text).filter(|number| (least..=most).contains(number));
    let (span, step) =
        entry.split_once('/').map_or((entry, None), |(span, step)| (span, Some(step)));
    // Steps from a single number would say nothing.
    let is_span = match span.split_once('-') {
        Some((from, to)) => within(from).zip(within(to)).is_some_and(|(from, to)| from <= to),
        None => span == "*" || (step.is_none() && within(span).is_some()),
    };
    is_span && step.is_none_or(|step| number(step).is_some_and(|step| (1..=most).contains(&step)))
}

impl FromStr for WindowStart {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        if text.len() > LONGEST {
            return Err(WindowError::StartTooLong { bytes: text.len(), most: LONGEST });
        }
        let given: Vec<&str> = text.split_ascii_whitespace().collect();
        if given.len() != FIELDS.len() {
            return Err(WindowError::StartFields { text: excerpt(text), fields: given.len() });
        }
        for (field, (name, least, most)) in given.iter().zip(FIELDS) {
            if !field.split(',').all(|entry| is_entry(entry, least, most)) {
                let text = excerpt(field);
                return Err(WindowError::StartField { field: name, text, least, most });
            }
        }
        let text = given.join(" ");
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let Ok(cron) = parser.parse(&text) else {
            return Err(WindowError::StartFields { text: excerpt(&text), fields: given.len() });
        };
        if !Self::has_a_day(&cron) {
            return Err(WindowError::NoSuchDay { text: excerpt(&text) });
        }
        Ok(Self { text, cron: Arc::new(cron) })
    }
}

impl fmt::Display for WindowStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for WindowStart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for WindowStart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
