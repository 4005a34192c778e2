//! What the judge says.

use std::fmt;

use hedgerow_core::{StreamId, Timestamp};

use super::log::Record;
use super::loose::Unusable;
use crate::scenario::format::Scenario;
use crate::scenario::runner::{self, Played};
use crate::simulate::{self as audit, Invariant, Violation};

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
}

impl Verdict {
    /// Whether nothing failed.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.failures.is_empty()
    }
}

/// What was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// An expectation of the scenario: which, such as `final: status`.
    Expectation(String),
    /// What holds in every run.
    Invariant(Invariant),
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
            Self::Invariant(invariant) => invariant.describe(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expectation(what) => out.write_str(what),
            Self::Invariant(invariant) => {
                write!(out, "{} ({})", invariant.name(), invariant.rule())
            }
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

    /// What the judge of the simulation and the audit of the store found in a run.
    pub(super) fn of_run(scenario: &Scenario, played: &Played) -> Vec<Self> {
        let seen = played.violation.iter().map(|violation| {
            let Violation { invariant, stream, device, at, message, .. } = violation;
            (*invariant, *stream, *device, Some(*at), message)
        });
        let audited = played.audit.findings.iter().map(|finding| {
            let audit::Finding { invariant, stream, device, at, message, .. } = finding;
            (*invariant, *stream, *device, *at, message)
        });
        let mut findings: Vec<Self> = seen
            .chain(audited)
            .map(|(invariant, stream, device, at, message)| {
                let campaigns = scenario.campaigns.iter();
                let campaign = campaigns
                    .map(|campaign| campaign.id.as_str())
                    .find(|name| stream == Some(StreamId::Campaign(runner::campaign_id(name))));
                let of = device.map(|device| format!("device {}: ", played.device_name(device)));
                let seen = format!("{}{message}", of.unwrap_or_default());
                let rule = Rule::Invariant(invariant);
                let mut finding = Self::new(rule, campaign, &"what the rule says", &seen);
                finding.at_ms = at.map(Timestamp::as_millis);
                finding.entries = played.entries_at(campaign, finding.at_ms);
                finding
            })
            .collect();
        let unread = played.audit.unread.iter();
        findings.extend(unread.map(|remark| Self::unusable(&Unusable(remark.message.clone()))));
        findings
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
