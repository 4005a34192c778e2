//! What can be wrong with windows that somebody gives, and what to give instead.

use std::time::Duration;

use crate::time::Timestamp;

/// Windows that were refused (P13).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// The start is longer than any that says something new.
    #[error("the start of a window has {bytes} bytes: give at most {most}, such as `0 2 * * 1-5`")]
    StartTooLong {
        /// Its length.
        bytes: usize,
        /// The longest.
        most: usize,
    },
    /// The start has not five fields.
    #[error(
        "the start {text:?} has {fields} fields: give five, minute, hour, day of month, month and day of week, such as `0 2 * * 1-5`"
    )]
    StartFields {
        /// What was given, cut after 64 characters.
        text: String,
        /// How many fields it has.
        fields: usize,
    },
    /// One field of the start is not understood.
    #[error(
        "the {field} of a start is {text:?}: give `*` or numbers from {least} to {most}, as a list (`1,3`), a range (`1-5`) or with steps (`*/2`, `1-9/2`)"
    )]
    StartField {
        /// Which.
        field: &'static str,
        /// What was given for it, cut after 64 characters.
        text: String,
        /// Its lowest number.
        least: u8,
        /// Its highest number.
        most: u8,
    },
    /// No year has such a day.
    #[error("no month of the start {text:?} has such a day: correct its day of month or its month")]
    NoSuchDay {
        /// What was given, cut after 64 characters.
        text: String,
    },
    /// The name is none that a zone could have.
    #[error(
        "the zone {text:?} is no name of the IANA database: give one such as `Europe/Rome`, of at most {most} letters, digits and `/_+-`"
    )]
    ZoneName {
        /// What was given, cut after 64 characters.
        text: String,
        /// The most characters.
        most: usize,
    },
    /// It is open for too short or too long a time.
    #[error("a window of {given:?}: give 1 minute to 7 days; for more, leave windows out")]
    Length {
        /// What was given.
        given: Duration,
    },
    /// The exclusion excludes nothing.
    #[error("an exclusion from {from} to {to} ends before it begins: give a later end")]
    ExclusionEndsBeforeItBegins {
        /// Its begin.
        from: Timestamp,
        /// Its end.
        to: Timestamp,
    },
    /// Too many windows.
    #[error("{given} windows: give at most {most}, with lists such as `0 2,14 * * *`")]
    TooManyWindows {
        /// How many.
        given: usize,
        /// The most.
        most: usize,
    },
    /// Too many exclusions.
    #[error("{given} exclusions: give at most {most}, and leave out those that are over")]
    TooManyExclusions {
        /// How many.
        given: usize,
        /// The most.
        most: usize,
    },
    /// The window does not open soon enough for anybody to wait for it.
    #[error("a window that starts at `{start}` does not open within five years: correct its day")]
    NeverOpens {
        /// Its start.
        start: String,
    },
    /// The exclusions leave nothing of the windows.
    #[error("the exclusions leave no time open within five years: shorten them")]
    NothingOpens,
}
