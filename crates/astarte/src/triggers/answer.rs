//! What the sender of a trigger is told, and how often each was told: Astarte sends again what is
//! answered 5xx, and forgets everything else.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TriggerAnswer {
    /// What follows from it is durable (E8).
    Taken,
    /// It means nothing to the engine: something else, or overtaken by something newer.
    Passed,
    /// The secret is missing or wrong.
    Unauthorized,
    /// It is not of a realm that was configured, or names none.
    Foreign(String),
    /// It cannot be read.
    Malformed(String),
    /// It is larger than the limit.
    TooLarge,
    /// The engine refused it for good (D11): an operation that it does not know, say.
    Refused(String),
    /// The engine cannot take it now.
    NotNow(String),
    /// Too many deliveries at once.
    Overloaded,
}

impl TriggerAnswer {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Taken | Self::Passed => 200,
            Self::Malformed(_) => 400,
            Self::Unauthorized => 401,
            Self::Foreign(_) => 404,
            Self::TooLarge => 413,
            Self::Refused(_) => 422,
            Self::NotNow(_) | Self::Overloaded => 503,
        }
    }

    /// The text for people.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Taken => "taken",
            Self::Passed => "nothing to do",
            Self::Unauthorized => "the secret header is missing or wrong: look at the trigger",
            Self::TooLarge => "the body is larger than this endpoint takes",
            Self::Overloaded => "too many deliveries at once: send it again",
            Self::Foreign(text)
            | Self::Malformed(text)
            | Self::Refused(text)
            | Self::NotNow(text) => text,
        }
    }
}

/// How often each answer was given since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TriggerCounts {
    /// See [`TriggerAnswer::Taken`].
    pub taken: u64,
    /// See [`TriggerAnswer::Passed`].
    pub passed: u64,
    /// See [`TriggerAnswer::Unauthorized`].
    pub unauthorized: u64,
    /// See [`TriggerAnswer::Foreign`].
    pub foreign: u64,
    /// See [`TriggerAnswer::Malformed`] and [`TriggerAnswer::TooLarge`].
    pub malformed: u64,
    /// See [`TriggerAnswer::Refused`].
    pub refused: u64,
    /// See [`TriggerAnswer::NotNow`].
    pub not_now: u64,
    /// See [`TriggerAnswer::Overloaded`].
    pub overloaded: u64,
    /// Connections and disconnections, told or read, that Astarte stamped more than a minute ahead
    /// of our clock: one of the two is wrong. They are taken for "now".
    pub stamped_ahead: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; 8]);

impl Counters {
    pub(super) fn count(&self, answer: &TriggerAnswer) {
        let place = match answer {
            TriggerAnswer::Taken => 0,
            TriggerAnswer::Passed => 1,
            TriggerAnswer::Unauthorized => 2,
            TriggerAnswer::Foreign(_) => 3,
            TriggerAnswer::Malformed(_) | TriggerAnswer::TooLarge => 4,
            TriggerAnswer::Refused(_) => 5,
            TriggerAnswer::NotNow(_) => 6,
            TriggerAnswer::Overloaded => 7,
        };
        self.0[place].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> TriggerCounts {
        let [taken, passed, unauthorized, foreign, malformed, refused, not_now, overloaded] =
            std::array::from_fn(|place| self.0[place].load(Ordering::Relaxed));
        TriggerCounts {
            taken,
            passed,
            unauthorized,
            foreign,
            malformed,
            refused,
            not_now,
            overloaded,
            stamped_ahead: 0,
        }
    }
}
