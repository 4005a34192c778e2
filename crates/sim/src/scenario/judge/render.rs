//! A verdict as people read it: every finding with the rule behind it and the log around it.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use super::verdict::{Finding, Verdict};

/// How many entries before and after one are shown with it.
const AROUND: usize = 3;

impl Verdict {
    /// The verdict on a scenario in words, with the entries of the log around each finding.
    #[must_use]
    pub fn render(&self, scenario: &str, log: &[Value]) -> String {
        let mut text = String::new();
        let result = match self.failures.len() {
            0 => "pass".to_owned(),
            findings => format!("fail, {findings} findings"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{scenario}: {result}");
        for finding in &self.failures {
            describe(&mut text, "", finding, log);
        }
        for finding in self.soft.iter().filter(|finding| !self.failures.contains(finding)) {
            describe(&mut text, "(soft) ", finding, log);
        }
        text
    }
}

fn describe(text: &mut String, mark: &str, finding: &Finding, log: &[Value]) {
    let _ = writeln!(text, "\n{mark}{finding}");
    let sentence = finding.rule.sentence();
    if !sentence.is_empty() {
        let _ = writeln!(text, "  rule: {sentence}");
    }
    let mut shown = BTreeSet::new();
    for entry in &finding.entries {
        shown.extend(entry.saturating_sub(AROUND)..=entry.saturating_add(AROUND));
    }
    let mut former = None;
    for index in shown {
        let Some(entry) = log.get(index) else { continue };
        if former.is_some_and(|former| former + 1 != index) {
            let _ = writeln!(text, "          …");
        }
        let sign = if finding.entries.contains(&index) { '>' } else { ' ' };
        let _ = writeln!(text, "  {sign} {index:>5} {}", line(entry));
        former = Some(index);
    }
}

/// An entry in one line: its time, its kind, and what else it has.
fn line(entry: &Value) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let Some(fields) = entry.as_object() else { return entry.to_string() };
    let known = |name: &str| fields.get(name).map(plain).unwrap_or_default();
    let mut line = format!("{:>9} ms {}", known("at_ms"), known("kind"));
    for (name, value) in fields {
        if name != "at_ms" && name != "kind" && !value.is_null() {
            let _ = write!(line, " {name}={}", plain(value));
        }
    }
    line
}
