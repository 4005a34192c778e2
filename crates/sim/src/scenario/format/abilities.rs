//! What a scenario asks of the program that runs it, before anything else of it is read: a program
//! that lacks an ability skips the file, and says so.
//!
//! A file that uses a rollout policy without asking for it is refused. Played without the policy, it
//! would show a campaign that nobody asked for, and an outcome that means nothing.

use serde_json::{Map, Value};

use super::ScenarioError;

/// The optional abilities that the runner has.
const ABILITIES: [&str; 7] = [
    "api_errors",
    "consent",
    "crash_points",
    "device_identity",
    "multiple_campaigns",
    "queued_events",
    "version_read_errors",
];

/// Refuses a file that asks for more than the runner can do, or uses it without asking.
pub(super) fn check(scenario: &Value) -> Result<(), ScenarioError> {
    let asked = scenario.get("requires").and_then(Value::as_array).into_iter().flatten();
    let lacking: Vec<String> = asked
        .filter_map(Value::as_str)
        .filter(|ability| !ABILITIES.contains(ability))
        .map(str::to_owned)
        .collect();
    if !lacking.is_empty() {
        let scenario = scenario.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        return Err(ScenarioError::Abilities { scenario, lacking });
    }
    match policy_of(scenario) {
        None => Ok(()),
        Some(path) => Err(ScenarioError::Policy { path }),
    }
}

/// Where the file uses a policy: the first place.
fn policy_of(scenario: &Value) -> Option<String> {
    let tenant = set_key(scenario.get("tenant"), None).map(|key| format!("tenant.{key}"));
    tenant
        .or_else(|| first(scenario, "campaigns", of_campaign))
        .or_else(|| {
            first(scenario.get("fleet")?, "devices", of_device).map(|at| format!("fleet.{at}"))
        })
        .or_else(|| first(scenario, "stimuli", of_stimulus))
}

fn first(of: &Value, list: &str, find: fn(&Value) -> Option<String>) -> Option<String> {
    let mut items = of.get(list)?.as_array()?.iter().enumerate();
    items.find_map(|(index, item)| find(item).map(|at| format!("{list}[{index}].{at}")))
}

fn of_campaign(campaign: &Value) -> Option<String> {
    // Whether users are asked first is a matter of the mechanism, which the runner has.
    let mut policies = campaign.get("policies").cloned().unwrap_or_default();
    if let Some(object) = policies.as_object_mut() {
        object.remove("mechanism");
    }
    let policy = set_key(Some(&policies), None).map(|key| format!("policies.{key}"));
    policy.or_else(|| {
        let floors = set_key(campaign.get("base_image"), Some(&["floors"]));
        floors.map(|key| format!("base_image.{key}"))
    })
}

/// Labels, a zone and a standing consent are facts about a device; its windows hold by themselves.
fn of_device(device: &Value) -> Option<String> {
    set_key(Some(device), Some(&["windows", "exclusions"]))
}

fn of_stimulus(stimulus: &Value) -> Option<String> {
    ["override", "set"]
        .iter()
        .find_map(|&key| of_campaign(stimulus.get(key)?).map(|at| format!("{key}.{at}")))
        .or_else(|| of_device(stimulus.get("device")?).map(|at| format!("device.{at}")))
}

/// The first key with a value that means something, of those named or of all: `null`, `{}` and `[]`
/// mean that there is no such policy.
fn set_key(object: Option<&Value>, keys: Option<&[&str]>) -> Option<String> {
    let object: &Map<String, Value> = object?.as_object()?;
    let is_named = |key: &str| keys.is_none_or(|keys| keys.contains(&key));
    let mut set = object.iter().filter(|(key, value)| is_named(key) && !is_empty(value));
    set.next().map(|(key, _)| key.clone())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.values().all(is_empty),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenario::format::{FORMAT, Scenario};

    fn file() -> Value {
        json!({
            "format": FORMAT, "id": "a", "run_until_ms": 10,
            "fleet": {"devices": [{"id": "d1", "labels": {"site": "A"}, "zone": "Europe/Rome"}]},
            "campaigns": [{"id": "c1", "rollout": {}, "policies": {}, "base_image": {}}],
            "stimuli": [
                {"at_ms": 0, "do": "create_campaign", "campaign": "c1"},
                {"at_ms": 1, "do": "update_campaign", "campaign": "c1", "set": {"policies": {}}},
            ],
        })
    }

    #[test]
    fn a_file_that_asks_for_an_ability_that_the_runner_lacks_is_told_apart_from_a_malformed_one() {
        let mut file = file();
        file["requires"] = json!(["api_errors", "policies", "clocks"]);
        file["stimuli"][0]["do"] = json!("approve");
        let lacking = vec!["policies".to_owned(), "clocks".to_owned()];
        let expected = ScenarioError::Abilities { scenario: "a".to_owned(), lacking };
        assert_eq!(Scenario::from_value(&file), Err(expected.clone()));
        assert!(expected.to_string().contains("policies, clocks"), "{expected}");
    }

    #[test]
    fn empty_policies_and_facts_about_devices_are_no_policies() {
        let mut file = file();
        file["requires"] = json!(ABILITIES);
        file["campaigns"][0]["policies"] = json!({"phases": [], "rate": null, "budget": {}});
        file["tenant"] = json!({"max_pending_operations": null});
        Scenario::from_value(&file).expect("a scenario");
    }

    #[test]
    fn a_policy_that_is_used_without_asking_for_it_is_refused_with_its_place() {
        type Change = fn(&mut Value);
        let places: [(&str, Change); 7] = [
            ("tenant.max_pending_operations", |file| {
                file["tenant"] = json!({"max_pending_operations": 3});
            }),
            ("campaigns[0].policies.rate", |file| {
                file["campaigns"][0]["policies"] = json!({"rate": {"per_minute": 1}});
            }),
            ("campaigns[0].base_image.floors", |file| {
                file["campaigns"][0]["base_image"]["floors"] = json!([{"version": "1.0.0"}]);
            }),
            ("fleet.devices[0].exclusions", |file| {
                file["fleet"]["devices"][0]["exclusions"] = json!([{"from_ms": 0, "to_ms": 1}]);
            }),
            ("stimuli[0].override.policies.priority", |file| {
                file["stimuli"][0]["override"] = json!({"policies": {"priority": 1}});
            }),
            ("stimuli[1].set.policies.ends_at_ms", |file| {
                file["stimuli"][1]["set"] = json!({"policies": {"ends_at_ms": 5}});
            }),
            ("stimuli[1].device.windows", |file| {
                let device = json!({"id": "d2", "windows": [{"start": "0 2 * * *"}]});
                file["stimuli"][1] = json!({"at_ms": 1, "do": "add_device", "device": device});
            }),
        ];
        for (place, change) in places {
            let mut file = file();
            change(&mut file);
            let expected = ScenarioError::Policy { path: place.to_owned() };
            assert_eq!(Scenario::from_value(&file), Err(expected));
        }
    }
}
