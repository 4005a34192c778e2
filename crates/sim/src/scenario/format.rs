//! The scenario file, `ota-campaign-scenario/1`, as data.
//!
//! Reading is strict about what a run needs and lenient about the rest: unknown keys are ignored,
//! as the format demands, and values that no campaign can have are kept, because how the engine
//! refuses them is what some scenarios are about. Only what would change what a run means is not
//! passed over: abilities that the runner lacks, and rollout policies.

mod abilities;
mod device;
mod read;
mod stimulus;

use serde::Deserialize;
use serde_json::{Map, Value};

pub use self::device::{Api, ApiAnswers, Device, Script, Step};
pub use self::read::{MOST_BYTES, ScenarioError};
pub use self::stimulus::{Action, OtaEvent, Stimulus};

/// The `format` of every scenario file.
pub const FORMAT: &str = "ota-campaign-scenario/1";

/// A scenario: a fleet, campaigns, what happens to them in virtual time, and what must be seen.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Scenario {
    /// Its name; the observation repeats it.
    pub id: String,
    /// What it shows, in a line.
    #[serde(default)]
    pub title: Option<String>,
    /// What it shows, at length.
    #[serde(default)]
    pub about: Option<String>,
    /// The group of scenarios that it belongs to.
    #[serde(default)]
    pub group: Option<String>,
    /// Where it comes from: `upstream-test` or `boundary`.
    #[serde(default)]
    pub origin: Option<String>,
    /// Optional abilities that a program needs to run it.
    #[serde(default, deserialize_with = "or_default")]
    pub requires: Vec<String>,
    /// The devices at the beginning.
    pub fleet: Fleet,
    /// The definitions of campaigns; stimuli create them.
    pub campaigns: Vec<CampaignDefinition>,
    /// What happens, as the file lists it: by time, equal times in this order.
    pub stimuli: Vec<Stimulus>,
    /// When it ends; everything that is due at this very time still happens.
    pub run_until_ms: i64,
    /// What must be seen. It stays as it stands in the file: only the judge reads it, and it
    /// judges what is there.
    #[serde(default)]
    pub expect: Option<Value>,
    /// The rules that it is about.
    #[serde(default, deserialize_with = "or_default")]
    pub rules: Vec<String>,
    /// Where its expectations come from; for people.
    #[serde(default)]
    pub provenance: Option<Value>,
}

/// The fleet at the beginning.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Fleet {
    /// The devices, in order where an order is needed.
    pub devices: Vec<Device>,
}

/// The definition of a campaign.
///
/// Everything that the `override` of a stimulus can replace is kept as JSON, because overrides are
/// merged by key and may name what does not exist. Numbers of a rollout are JSON numbers for
/// another reason: a percentage means its shortest decimal text (`33.3` is 333/10), which
/// [`serde_json::Number`] gives back exactly, and negative, fractional or huge values must reach
/// the engine to be refused there.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct CampaignDefinition {
    /// Its id in the scenario.
    pub id: String,
    /// Its limits and how it goes about.
    pub rollout: Map<String, Value>,
    /// Every other key: `name`, `base_image`, `channel`, `schedule_at_ms`.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl CampaignDefinition {
    /// The whole definition as one object, with an `override` merged into it: objects by key,
    /// anything else replaces.
    #[must_use]
    pub fn merged(&self, changes: &Map<String, Value>) -> Map<String, Value> {
        let mut whole = self.other.clone();
        whole.insert("id".to_owned(), Value::from(self.id.as_str()));
        whole.insert("rollout".to_owned(), Value::Object(self.rollout.clone()));
        merge(&mut whole, changes);
        whole
    }
}

/// Merges by key: objects into objects, anything else replaces.
pub(crate) fn merge(into: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (key, change) in changes {
        match (into.get_mut(key), change) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            _ => {
                into.insert(key.clone(), change.clone());
            }
        }
    }
}

/// `null` means absent.
fn or_default<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::deserialize(from).map(Option::unwrap_or_default)
}
