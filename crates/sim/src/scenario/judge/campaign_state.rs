//! The state that a log shows of a campaign up to some time, and its comparison with the one that
//! is expected.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::log::Record;
use super::loose::{Key, NULL, Usable, count_fits, members, number, object, wanted};
use super::verdict::Finding;

static FALSE: Value = Value::Bool(false);

const TARGET_STATUSES: [&str; 5] = ["idle", "in_progress", "failed", "successful", "cancelled"];

/// The latest entry about each part of a campaign.
#[derive(Debug, Default)]
struct State<'a> {
    campaign: Option<Record<'a>>,
    targets: BTreeMap<Key, Record<'a>>,
    /// The newest operation of each device.
    operations: BTreeMap<Key, Record<'a>>,
}

impl<'a> State<'a> {
    /// The state after everything up to and including a time.
    fn at(log: &[Record<'a>], time: &Value) -> Usable<Self> {
        let mut state = Self::default();
        for entry in log {
            if entry.at > number(time)? {
                break;
            }
            match entry.kind {
                "campaign" => state.campaign = Some(*entry),
                "target" => {
                    state.targets.insert(entry.key("device")?, *entry);
                }
                "operation" => {
                    state.operations.insert(entry.key("device")?, *entry);
                }
                _ => continue,
            }
            entry.field("status")?;
        }
        Ok(state)
    }

    fn count(&self, name: &str) -> Option<usize> {
        if name == "total" {
            return Some(self.targets.len());
        }
        let is_counted = TARGET_STATUSES.contains(&name);
        is_counted.then(|| self.targets.values().filter(|e| e.get("status") == name).count())
    }
}

/// What an expectation of a target or an operation can ask for.
#[derive(Clone, Copy)]
enum Part {
    Target,
    Operation,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Operation => "operation of",
        }
    }

    fn value<'a>(self, entry: Record<'a>, key: &str) -> &'a Value {
        match (self, key) {
            (_, "status")
            | (Self::Target, "retry_count" | "reason")
            | (Self::Operation, "status_code") => entry.get(key),
            (Self::Operation, "inferred") => entry.field(key).unwrap_or(&FALSE),
            _ => &NULL,
        }
    }
}

/// Compares the state at a time with the expected one.
pub(super) struct StateCheck<'a> {
    campaign: &'a str,
    place: String,
    state: State<'a>,
    findings: &'a mut Vec<Finding>,
}

impl<'a> StateCheck<'a> {
    pub(super) fn new(
        campaign: &'a str,
        place: String,
        log: &[Record<'a>],
        time: &Value,
        findings: &'a mut Vec<Finding>,
    ) -> Usable<Self> {
        Ok(Self { campaign, place, state: State::at(log, time)?, findings })
    }

    pub(super) fn check(mut self, want: &Value) -> Usable<()> {
        let want = object(want)?;
        for key in ["status", "outcome"] {
            if let Some(want) = want.get(key) {
                let got = self.state.campaign.map_or(&NULL, |entry| entry.get(key));
                if !wanted(want, got) {
                    self.report(key, want, got, self.state.campaign);
                }
            }
        }
        for (name, want) in members(want, "counts")? {
            let got = self.state.count(name);
            if !count_fits(want, got)? {
                let got = got.map_or(Value::Null, Value::from);
                self.report(&format!("count of {name}"), want, &got, None);
            }
        }
        for (device, want) in members(want, "targets")? {
            let got = self.state.targets.get(&Key::Text(device.clone())).copied();
            self.check_part(Part::Target, device, want, got)?;
        }
        for (device, want) in members(want, "operations")? {
            let got = self.state.operations.get(&Key::Text(device.clone())).copied();
            match (want, got) {
                (Value::Null, None) => {}
                (Value::Null, Some(got)) => {
                    let status = got.get("status");
                    self.report(&format!("operation of {device}"), &NULL, status, Some(got));
                }
                (want, got) => self.check_part(Part::Operation, device, want, got)?,
            }
        }
        Ok(())
    }

    fn check_part(
        &mut self,
        part: Part,
        device: &str,
        want: &Value,
        got: Option<Record<'a>>,
    ) -> Usable<()> {
        let short;
        let want = if want.is_string() {
            short = Map::from_iter([("status".to_owned(), want.clone())]);
            &short
        } else {
            object(want)?
        };
        for (key, want) in want {
            let value = got.map_or(&NULL, |entry| part.value(entry, key));
            if got.is_none() || !wanted(want, value) {
                self.report(&format!("{} {device} {key}", part.name()), want, value, got);
            }
        }
        Ok(())
    }

    fn report(&mut self, what: &str, want: &Value, got: &Value, entry: Option<Record<'_>>) {
        let what = format!("{}: {what}", self.place);
        let finding = Finding::expectation(Some(self.campaign), what, want, got);
        self.findings.push(finding.near(entry.as_ref()));
    }
}
