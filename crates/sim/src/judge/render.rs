//! A verdict for people: each finding with its rule, what was expected, what was seen, and the log
//! entries around it.

use std::fmt::Write as _;

use serde_json::Value;

use super::findings::{Finding, Verdict};

impl Verdict {
    /// Writes the verdict about an observation out for people to read.
    #[must_use]
    pub fn render(&self, observation: &Value) -> String {
        let mut text = String::new();
        if self.failures.is_empty() {
            text.push_str("passed\n");
        }
        for finding in &self.failures {
            render_finding("failed", finding, observation, &mut text);
        }
        for finding in self.soft.iter().filter(|finding| !self.failures.contains(finding)) {
            render_finding("side matter", finding, observation, &mut text);
        }
        text
    }
}

fn render_finding(heading: &str, finding: &Finding, observation: &Value, text: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{heading}: {}", finding.rule);
    if let Some(at) = finding.at_ms {
        let _ = write!(text, " at {at} ms");
    }
    let _ = writeln!(text, "\n  expected: {}\n  actual:   {}", finding.expected, finding.actual);
    for index in &finding.entries {
        if let Some(entry) = observation.get("log").and_then(|log| log.get(index)) {
            let _ = writeln!(text, "  log[{index}] {}", render_entry(entry));
        }
    }
}

/// One entry on one line, its time and kind first.
fn render_entry(entry: &Value) -> String {
    let Some(fields) = entry.as_object() else { return entry.to_string() };
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let field = |key: &str| fields.get(key).map(plain).unwrap_or_default();
    let mut line = format!("{} ms {}", field("at_ms"), field("kind"));
    let mut others: Vec<_> =
        fields.iter().filter(|(key, _)| *key != "at_ms" && *key != "kind").collect();
    // The order of a JSON object's keys says nothing, and depends on how it was read.
    others.sort_by_key(|(key, _)| *key);
    for (key, value) in others {
        let _ = write!(line, " {key}={}", plain(value));
    }
    line
}
