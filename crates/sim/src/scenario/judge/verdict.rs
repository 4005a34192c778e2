//! What the judge says.

use std::fmt;

use super::log::Record;
use super::loose::Unusable;

/// Whether expectations about side matters, `soft` in a scenario, count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// They are reported but do not fail the run.
    #[default]
    Lenient,
    /// They count like all others.
    Strict,
}

/// What the judge says about a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// What fails the run.
    pub failures: Vec<Finding>,
    /// Side matters that do not agree; if the judge was strict they are among the failures too.
    pub soft: Vec<Finding>,
    /// Why the program skipped the scenario: then nothing was judged.
    pub skipped: Option<String>,
}

impl Verdict {
    /// Whether the run was judged and nothing failed.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.failures.is_empty() && self.skipped.is_none()
    }
}

/// What was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// An expectation of the scenario: which, such as `final: status`.
    Expectation(String),
    /// An invariant of every run, by its I-number.
    Invariant(u8),
    /// The log or the expectation lacks what a check needs, so judging stopped there.
    Usable,
}

impl Rule {
    /// The rule as a sentence; nothing for an expectation, whose name says it.
    #[must_use]
    pub fn sentence(&self) -> &'static str {
        match self {
            Self::Expectation(_) => "",
            Self::Usable => "a log has what its checks need",
            Self::Invariant(number) => match number {
                0 => "the log is in the order of time and ends in time",
                1 => "a campaign takes one snapshot, without duplicates, and has no other targets",
                2 => "a campaign goes only from a status to those that may follow it",
                3 => "a finished campaign never changes, and only it has an outcome",
                4 => {
                    "success is within the failure limit and leaves nothing open, failure is beyond"
                }
                5 => "a settled target never changes, and an open one goes back only if refused",
                6 => "no more targets and operations are open than the limit in force allows",
                7 => "a settled target gets no request",
                8 => "a target gets a new operation only if the former one came to nothing",
                9 => "an operation is not requested more often than retries allow",
                10 => "a first request is sent only while its campaign is in progress",
                11 => "a first request is sent only to a device that is online",
                12 => "a device is not called twice in one instant, nor in a busy loop",
                13 => "a device never has two open operations",
                14 => "a Cancel request is asked for, and for an open operation",
                _ => "",
            },
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expectation(what) => out.write_str(what),
            Self::Invariant(number) => write!(out, "I{number}"),
            Self::Usable => out.write_str("unusable"),
        }
    }
}

/// One thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What was checked.
    pub rule: Rule,
    /// The campaign that it is about.
    pub campaign: Option<String>,
    /// What must be.
    pub expected: String,
    /// What is.
    pub seen: String,
    /// When, if it happened at some time.
    pub at_ms: Option<i64>,
    /// The log entries that show it, by index; a report prints them with those around.
    pub entries: Vec<usize>,
}

impl Finding {
    pub(super) fn expectation(
        campaign: Option<&str>,
        what: impl Into<String>,
        expected: impl fmt::Display,
        seen: impl fmt::Display,
    ) -> Self {
        Self::new(Rule::Expectation(what.into()), campaign, &expected, &seen)
    }

    pub(super) fn invariant(
        number: u8,
        campaign: Option<&str>,
        expected: impl fmt::Display,
        seen: impl fmt::Display,
    ) -> Self {
        Self::new(Rule::Invariant(number), campaign, &expected, &seen)
    }

    pub(super) fn unusable(reason: &Unusable) -> Self {
        Self::new(Rule::Usable, None, &"a log that can be judged", &reason.0)
    }

    fn new(
        rule: Rule,
        campaign: Option<&str>,
        expected: &dyn fmt::Display,
        seen: &dyn fmt::Display,
    ) -> Self {
        Self {
            rule,
            campaign: campaign.map(str::to_owned),
            expected: expected.to_string(),
            seen: seen.to_string(),
            at_ms: None,
            entries: Vec::new(),
        }
    }

    /// Shown by this entry, if there is one.
    pub(super) fn near(mut self, entry: Option<&Record<'_>>) -> Self {
        if let Some(entry) = entry {
            self.at_ms = entry.at_ms().as_i64().or(self.at_ms);
            self.entries.push(entry.index);
        }
        self
    }

    pub(super) fn at(self, entry: &Record<'_>) -> Self {
        self.near(Some(entry))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.rule)?;
        if let Some(campaign) = &self.campaign {
            write!(out, " of {campaign}")?;
        }
        if let Some(at_ms) = self.at_ms {
            write!(out, " at {at_ms} ms")?;
        }
        write!(out, ": expected {}, seen {}", self.expected, self.seen)
    }
}
