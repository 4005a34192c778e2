//! Which limits of a campaign were in force when. At the instant of an edit the old and the new
//! value both count: the order inside one instant is not the judge's business.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::log::Record;
use super::loose::{Decimal, Key, Unusable, Usable, compare, number, object, unusable};
use crate::scenario::format::{Action, CampaignDefinition, Scenario};

/// The keys of a rollout that an edit can change.
const LIMITS: [&str; 7] = [
    "max_failure_percentage",
    "max_in_progress_operations",
    "request_retries",
    "request_timeout_seconds",
    "stall_timeout_seconds",
    "reboot_timeout_seconds",
    "minimum_targets",
];

/// The settings of one campaign, each from some time on.
#[derive(Debug)]
pub(super) struct Settings {
    steps: Vec<(Decimal, Map<String, Value>)>,
    image: Option<String>,
}

impl Settings {
    /// The settings by the definition and by those commands that the log says were accepted.
    pub(super) fn new(
        scenario: &Scenario,
        definition: &CampaignDefinition,
        log: &[Record<'_>],
    ) -> Usable<Self> {
        let mut accepted = std::collections::BTreeSet::new();
        for entry in log {
            if entry.kind == "command" && entry.is("result", "ok")? {
                accepted.insert(entry.key("stimulus")?);
            }
        }
        let mut rollout = Map::new();
        rollout.insert("request_retries".to_owned(), Value::from(3));
        rollout.insert("request_timeout_seconds".to_owned(), Value::from(300));
        rollout.insert("minimum_targets".to_owned(), Value::from(0));
        rollout.extend(definition.rollout.clone());
        let beginning = Decimal::whole(-1);
        let mut steps = vec![(beginning, rollout.clone())];
        for (index, stimulus) in scenario.stimuli.iter().enumerate() {
            if !accepted.contains(&Key::Number(Decimal::whole(index))) {
                continue;
            }
            match &stimulus.action {
                Action::CreateCampaign { campaign, changes, .. } if *campaign == definition.id => {
                    let mut created = rollout.clone();
                    if let Some(changes) = changes.get("rollout") {
                        created.extend(object(changes)?.clone());
                    }
                    steps = vec![(beginning, created)];
                }
                Action::UpdateCampaign { campaign, set } if *campaign == definition.id => {
                    let latest = steps.last().map(|(_, settings)| settings.clone());
                    let mut edited = latest.unwrap_or_default();
                    let limits = set.iter().filter(|(key, _)| LIMITS.contains(&key.as_str()));
                    edited.extend(limits.map(|(key, value)| (key.clone(), value.clone())));
                    steps.push((Decimal::whole(stimulus.at_ms), edited));
                }
                _ => {}
            }
        }
        let changes_image = |changes: &Map<String, Value>| changes.contains_key("base_image");
        let changed = scenario.stimuli.iter().any(|stimulus| match &stimulus.action {
            Action::CreateCampaign { changes, .. } => changes_image(changes),
            Action::UpdateCampaign { set, .. } => changes_image(set),
            _ => false,
        });
        let image = definition.other.get("base_image").and_then(|image| image.get("version"));
        let image = image.and_then(Value::as_str).filter(|_| !changed).map(str::to_owned);
        Ok(Self { steps, image })
    }

    /// The version of the campaign's image, if no command changes an image.
    pub(super) fn image(&self) -> Option<&str> {
        self.image.as_deref()
    }

    /// The values of a setting that may have been in force at a time.
    pub(super) fn values(&self, key: &str, at: Decimal) -> Usable<Vec<&Value>> {
        let ends = self.steps.iter().skip(1).map(|(from, _)| Some(*from)).chain([None]);
        self.steps
            .iter()
            .zip(ends)
            .filter(|((from, _), end)| *from <= at && end.is_none_or(|end| end >= at))
            .map(|((_, settings), _)| {
                settings.get(key).ok_or_else(|| Unusable(format!("no {key} in the rollout")))
            })
            .collect()
    }

    /// The least and the greatest value that a setting ever has; one that is null is 0.
    pub(super) fn range(&self, key: &str) -> Usable<(Decimal, Decimal)> {
        let mut values = Vec::new();
        for (_, settings) in &self.steps {
            let value = settings.get(key).filter(|value| !value.is_null());
            values.push(value.map_or(Ok(Decimal::whole(0)), number)?);
        }
        let least = values.iter().min().copied().unwrap_or(Decimal::whole(0));
        Ok((least, values.into_iter().max().unwrap_or(least)))
    }

    /// The most generous value of a setting at a time.
    pub(super) fn largest(&self, key: &str, at: Decimal) -> Usable<&Value> {
        let mut values = self.values(key, at)?.into_iter();
        let Some(mut largest) = values.next() else {
            return unusable(format!("no {key} is in force before the campaign exists"));
        };
        for value in values {
            if compare(value, largest)? == Ordering::Greater {
                largest = value;
            }
        }
        Ok(largest)
    }
}
