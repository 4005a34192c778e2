//! What the judge found: each deviation with its rule, and the log entries around it.

use serde_json::Value;

/// One deviation from what must be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The rule that is broken: an invariant such as `I6`, the place of an expectation such as
    /// `expect.campaigns.c1.final.status`, or `observation` if there is nothing to judge.
    pub rule: String,
    /// What should have been seen.
    pub expected: String,
    /// What was seen.
    pub actual: String,
    /// The time of the log entry that shows it.
    pub at_ms: Option<i64>,
    /// The indices of the log entries around it.
    pub entries: Vec<usize>,
}

/// Everything that was found about an observation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// What makes the observation fail.
    pub failures: Vec<Finding>,
    /// Unmet expectations about side matters. A strict judgement has them among the failures too.
    pub soft: Vec<Finding>,
}

impl Verdict {
    /// Whether nothing makes the observation fail.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    pub(super) fn unusable(expected: &str, actual: &str) -> Self {
        let finding = Finding {
            rule: "observation".to_owned(),
            expected: expected.to_owned(),
            actual: actual.to_owned(),
            at_ms: None,
            entries: Vec::new(),
        };
        Self { failures: vec![finding], soft: Vec::new() }
    }

    pub(super) fn with_soft_as_failures(mut self) -> Self {
        self.failures.extend(self.soft.iter().cloned());
        self
    }
}

/// How many related entries before the one in question are shown, and how many after it.
const ENTRIES_BEFORE: usize = 3;
const ENTRIES_AFTER: usize = 2;

/// Findings about one log.
pub(super) struct Findings<'a> {
    log: &'a [Value],
    list: Vec<Finding>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(log: &'a [Value]) -> Self {
        Self { log, list: Vec::new() }
    }

    pub(super) fn into_list(self) -> Vec<Finding> {
        self.list
    }

    /// Adds a deviation that the entry at `index` shows, if any entry does.
    pub(super) fn add(
        &mut self,
        rule: impl Into<String>,
        expected: impl Into<String>,
        actual: impl Into<String>,
        index: Option<usize>,
    ) {
        let entry = index.and_then(|index| self.log.get(index));
        self.list.push(Finding {
            rule: rule.into(),
            expected: expected.into(),
            actual: actual.into(),
            at_ms: entry.and_then(|entry| entry.get("at_ms")).and_then(Value::as_i64),
            entries: index.map_or_else(Vec::new, |index| self.around(index)),
        });
    }

    /// The entries next to `index` that are about the same device, or the same campaign if it is
    /// about no device.
    fn around(&self, index: usize) -> Vec<usize> {
        let Some(entry) = self.log.get(index) else { return Vec::new() };
        let key = if entry.get("device").is_some() { "device" } else { "campaign" };
        let related = |other: &usize| self.log[*other].get(key) == entry.get(key);
        let mut entries: Vec<usize> =
            (0..index).rev().filter(related).take(ENTRIES_BEFORE).collect();
        entries.reverse();
        entries.push(index);
        entries.extend((index + 1..self.log.len()).filter(related).take(ENTRIES_AFTER));
        entries
    }
}
