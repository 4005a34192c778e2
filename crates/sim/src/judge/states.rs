//! The state that a campaign's log shows at an instant, and whether it is the wanted one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::findings::Findings;
use super::values::{
    Judged, Key, amount_matches, compare, is, matches_wanted, member, members, optional, short,
};
use super::view::{Entry, View};

const TARGET_STATUSES: [&str; 5] = ["idle", "in_progress", "failed", "successful", "cancelled"];

/// The latest entries up to an instant: of the campaign, of each target, of each device's newest
/// operation.
struct State<'a> {
    campaign: Option<Entry<'a>>,
    targets: BTreeMap<Key, Entry<'a>>,
    operations: BTreeMap<Key, Entry<'a>>,
    latest: Option<usize>,
}

impl<'a> State<'a> {
    fn at(view: &View<'a>, instant: &Value) -> Judged<Self> {
        let mut state = Self {
            campaign: None,
            targets: BTreeMap::new(),
            operations: BTreeMap::new(),
            latest: None,
        };
        for entry in &view.entries {
            if compare(entry.at()?, instant)?.is_gt() {
                break;
            }
            state.latest = Some(entry.index);
            let kind = entry.get("kind")?;
            if is(kind, "campaign") {
                entry.get("status")?;
                state.campaign = Some(*entry);
            } else if is(kind, "target") {
                entry.get("status")?;
                state.targets.insert(Key::of(entry.get("device")?)?, *entry);
            } else if is(kind, "operation") {
                entry.get("status")?;
                state.operations.insert(Key::of(entry.get("device")?)?, *entry);
            }
        }
        Ok(state)
    }

    /// How many targets the key of `counts` speaks of; null if it is no key of `counts`.
    fn count(&self, key: &str) -> Value {
        if key == "total" {
            Value::from(self.targets.len())
        } else if TARGET_STATUSES.contains(&key) {
            let has_status =
                |entry: &&Entry| entry.value.get("status").is_some_and(|value| is(value, key));
            Value::from(self.targets.values().filter(has_status).count())
        } else {
            Value::Null
        }
    }
}

/// What a field of an entry says. Only the fields named here can be asked for.
fn field(entry: Entry, key: &str, fields: &[&str]) -> Value {
    match entry.value.get(key).filter(|_| fields.contains(&key)) {
        Some(value) => value.clone(),
        None if key == "inferred" && fields.contains(&key) => Value::Bool(false),
        None => Value::Null,
    }
}

/// Compares the state at `instant` with the wanted one.
pub(super) fn check(
    wanted: &Value,
    view: &View,
    instant: &Value,
    place: &str,
    findings: &mut Findings,
) -> Judged<()> {
    let state = State::at(view, instant)?;
    for key in ["status", "outcome"] {
        let Some(wanted) = optional(wanted, key)? else { continue };
        let actual =
            state.campaign.map_or(Value::Null, |entry| field(entry, key, &["status", "outcome"]));
        if !matches_wanted(wanted, &actual) {
            let index = state.campaign.map(|entry| entry.index).or(state.latest);
            findings.add(format!("{place}.{key}"), short(wanted), short(&actual), index);
        }
    }
    for (key, wanted) in members(optional(wanted, "counts")?)? {
        let actual = state.count(key);
        if !amount_matches(wanted, &actual)? {
            findings.add(
                format!("{place}.counts.{key}"),
                short(wanted),
                short(&actual),
                state.latest,
            );
        }
    }
    for (device, wanted) in members(optional(wanted, "targets")?)? {
        let target = state.targets.get(&Key::Text(device.clone()));
        let part = Part { entry: target.copied(), fields: &["status", "retry_count", "reason"] };
        part.check(wanted, &format!("{place}.targets.{device}"), state.latest, findings)?;
    }
    for (device, wanted) in members(optional(wanted, "operations")?)? {
        let operation = state.operations.get(&Key::Text(device.clone()));
        let place = format!("{place}.operations.{device}");
        if wanted.is_null() {
            if let Some(entry) = operation {
                findings.add(
                    place,
                    "no operation",
                    short(member(entry.value, "status")?),
                    Some(entry.index),
                );
            }
            continue;
        }
        let part =
            Part { entry: operation.copied(), fields: &["status", "status_code", "inferred"] };
        part.check(wanted, &place, state.latest, findings)?;
    }
    Ok(())
}

/// A target or an operation: its latest entry, if there is one.
struct Part<'a> {
    entry: Option<Entry<'a>>,
    fields: &'a [&'a str],
}

impl Part<'_> {
    fn check(
        &self,
        wanted: &Value,
        place: &str,
        latest: Option<usize>,
        findings: &mut Findings,
    ) -> Judged<()> {
        if wanted.is_string() {
            self.check_field("status", wanted, place, latest, findings);
            return Ok(());
        }
        for (key, wanted) in members(Some(wanted))? {
            self.check_field(key, wanted, place, latest, findings);
        }
        Ok(())
    }

    fn check_field(
        &self,
        key: &str,
        wanted: &Value,
        place: &str,
        latest: Option<usize>,
        findings: &mut Findings,
    ) {
        let rule = format!("{place}.{key}");
        let Some(entry) = self.entry else {
            return findings.add(rule, short(wanted), "nothing", latest);
        };
        let actual = field(entry, key, self.fields);
        if !matches_wanted(wanted, &actual) {
            findings.add(rule, short(wanted), short(&actual), Some(entry.index));
        }
    }
}
