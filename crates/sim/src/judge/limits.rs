//! The rollout settings of a campaign in the course of time: as created, and as updated by commands
//! that were accepted.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::values::{
    Judged, Key, Unusable, compare, elements, is, member, members, optional, same,
};
use super::view::entries;

/// The settings that an update of a campaign can change while it runs.
const CHANGEABLE: [&str; 6] = [
    "max_failure_percentage",
    "max_in_progress_operations",
    "request_retries",
    "request_timeout_seconds",
    "stall_timeout_seconds",
    "reboot_timeout_seconds",
];

const DEFAULT_REQUEST_RETRIES: i64 = 3;

/// The settings from an instant on.
struct Step {
    from: Value,
    rollout: Map<String, Value>,
}

pub(super) struct Limits {
    steps: Vec<Step>,
}

impl Limits {
    /// Follows the accepted commands about a campaign.
    pub(super) fn new(scenario: &Value, definition: &Value, log: &[Value]) -> Judged<Self> {
        let campaign = member(definition, "id")?;
        let mut rollout = Map::new();
        rollout.insert("request_retries".to_owned(), DEFAULT_REQUEST_RETRIES.into());
        extend(&mut rollout, Some(member(definition, "rollout")?))?;
        let accepted = accepted_commands(log)?;

        let start = || Value::from(-1);
        let mut limits = Self { steps: vec![Step { from: start(), rollout: rollout.clone() }] };
        for (index, stimulus) in elements(Some(member(scenario, "stimuli")?))?.iter().enumerate() {
            let is_about_campaign =
                optional(stimulus, "campaign")?.is_none_or(|about| same(about, campaign));
            let index = i128::try_from(index).unwrap_or(i128::MAX);
            if !is_about_campaign || !accepted.contains(&Key::Whole(index)) {
                continue;
            }
            let command = member(stimulus, "do")?;
            if is(command, "create_campaign") {
                let mut created = rollout.clone();
                if let Some(definition) = optional(stimulus, "override")? {
                    extend(&mut created, optional(definition, "rollout")?)?;
                }
                limits.steps = vec![Step { from: start(), rollout: created }];
            } else if is(command, "update_campaign") {
                let mut updated =
                    limits.steps.last().map_or_else(Map::new, |step| step.rollout.clone());
                for (key, value) in members(Some(member(stimulus, "set")?))? {
                    if CHANGEABLE.contains(&key.as_str()) {
                        updated.insert(key.clone(), value.clone());
                    }
                }
                limits
                    .steps
                    .push(Step { from: member(stimulus, "at_ms")?.clone(), rollout: updated });
            }
        }
        Ok(limits)
    }

    /// The values of a setting that are in force at an instant: two or more in the instant of a
    /// change, when either may be meant.
    pub(super) fn in_force(&self, key: &'static str, instant: &Value) -> Judged<Vec<&Value>> {
        let mut values = Vec::new();
        for (position, step) in self.steps.iter().enumerate() {
            if compare(&step.from, instant)?.is_gt() {
                continue;
            }
            let lasts = match self.steps.get(position + 1) {
                Some(next) => compare(&next.from, instant)?.is_ge(),
                None => true,
            };
            if lasts {
                let value = step.rollout.get(key);
                values.push(value.ok_or_else(|| missing(key, instant))?);
            }
        }
        Ok(values)
    }

    /// The most generous value of a setting that is in force at an instant.
    pub(super) fn highest(&self, key: &'static str, instant: &Value) -> Judged<&Value> {
        let mut values = self.in_force(key, instant)?.into_iter();
        let mut highest = values.next().ok_or_else(|| missing(key, instant))?;
        for value in values {
            if compare(value, highest)? == Ordering::Greater {
                highest = value;
            }
        }
        Ok(highest)
    }
}

fn missing(key: &'static str, instant: &Value) -> Unusable {
    Unusable::NoSetting { key, at: instant.to_string() }
}

fn extend(rollout: &mut Map<String, Value>, settings: Option<&Value>) -> Judged<()> {
    for (key, value) in members(settings)? {
        rollout.insert(key.clone(), value.clone());
    }
    Ok(())
}

fn accepted_commands(log: &[Value]) -> Judged<BTreeSet<Key>> {
    let mut accepted = BTreeSet::new();
    for entry in entries(log) {
        if entry.has_kind("command")? && is(entry.get("result")?, "ok") {
            accepted.insert(Key::of(entry.get("stimulus")?)?);
        }
    }
    Ok(accepted)
}
