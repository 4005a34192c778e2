//! Definitions and edits as people write them: what is not known is refused by its name. As events
//! hold them, the same is passed over (E6).

use std::num::NonZeroU32;
use std::time::Duration;

use hedgerow_core::event::{CampaignEvent, ManualUpdateEvent};
use hedgerow_core::{
    CampaignDefinition, CampaignEdit, CampaignId, GatePolicy, JsonError, LimitsEdit, NewEvent,
    OperationId, OperationLimits, RunningOperations, StreamId, Timestamp,
};
use serde_json::{Value, json};
use uuid::Uuid;

fn operation_limits() -> Value {
    json!({
        "request_retries": 3, "request_timeout_ms": 300_000, "stall_timeout_ms": null,
        "reboot_timeout_ms": 600_000, "progress_interval_ms": 60_000,
    })
}

fn definition() -> Value {
    json!({
        "name": "to 2.0.0",
        "base_image": {
            "system_model": "gateway", "version": "2.0.0", "url": "https://images.example/2.bin",
            "starting_version_requirement": ">= 1.0.0",
        },
        "channel": {"name": "stable", "groups": ["gardens"]},
        "rollout": {"push": {
            "limits": {
                "max_pending_operations": 10, "max_failure_percentage": "5",
                "operation": operation_limits(),
            },
            "gates": {"force_downgrade": false, "enforce_version_requirement": false},
        }},
        "when_running": "refuse",
    })
}

/// The places of all objects in which keys have names of their own: an enum's one key does not.
fn objects(value: &Value, at: &str) -> Vec<String> {
    let Value::Object(map) = value else { return Vec::new() };
    let own = (!at.ends_with("/rollout")).then(|| at.to_owned());
    let below = map.iter().flat_map(|(key, below)| objects(below, &format!("{at}/{key}")));
    own.into_iter().chain(below).collect()
}

/// With one key more, in that object.
fn with_unknown(value: &Value, at: &str) -> Value {
    let mut changed = value.clone();
    changed.pointer_mut(at).expect("it is there")["shiny"] = json!({"deep": [1, null]});
    changed
}

fn read(value: &Value) -> Result<CampaignDefinition, JsonError> {
    CampaignDefinition::from_json(value.to_string().as_bytes())
}

fn event(event_type: &str, schema_version: u16, data: &Value) -> NewEvent {
    NewEvent {
        event_type: event_type.to_owned(),
        schema_version,
        recorded_at: Timestamp::from_millis(0),
        correlation_id: Uuid::nil(),
        causation_id: Uuid::nil(),
        data: data.to_string().into_bytes(),
    }
}

#[test]
fn a_definition_is_read_and_written_alike() {
    let read = read(&definition()).expect("a definition");
    assert_eq!(serde_json::from_value::<CampaignDefinition>(definition()).unwrap(), read);
    let again = serde_json::to_vec(&read).unwrap();
    assert_eq!(CampaignDefinition::from_json(&again), Ok(read));
}

#[test]
fn an_unknown_key_at_any_depth_of_a_definition_is_refused_by_its_name() {
    let places = objects(&definition(), "");
    assert_eq!(places.len(), 7, "{places:?}");
    for at in places {
        let changed = with_unknown(&definition(), &at);
        let error = read(&changed).unwrap_err().to_string();
        assert!(error.contains("unknown field `shiny`, expected"), "{at}: {error}");
        let plain = serde_json::from_value::<CampaignDefinition>(changed);
        assert!(plain.is_err(), "{at}: also without `from_json`");
    }
}

#[test]
fn a_misspelt_requirement_is_refused_with_the_right_name() {
    let mut misspelt = definition();
    let image = misspelt["base_image"].as_object_mut().unwrap();
    let requirement = image.remove("starting_version_requirement").unwrap();
    image.insert("starting_version_requirment".to_owned(), requirement);
    let error = read(&misspelt).unwrap_err().to_string();
    assert!(error.contains("`starting_version_requirment`"), "{error}");
    assert!(error.contains("`starting_version_requirement`"), "{error}");
}

#[test]
fn e6_an_unknown_key_at_any_depth_of_an_event_is_passed_over() {
    let stream = StreamId::Campaign(CampaignId::from_uuid(Uuid::nil()));
    let limits = definition()["rollout"]["push"]["limits"].clone();
    for (kind, schema, data) in [
        ("campaign_created", 2, json!({"definition": definition(), "scheduled_at": null})),
        ("campaign_edited", 2, json!({"definition": definition(), "scheduled_at": 5})),
        ("limits_changed", 1, json!({"limits": limits})),
    ] {
        let plain = CampaignEvent::from_new(stream, &event(kind, schema, &data)).expect(kind);
        for at in objects(&data, "") {
            let changed = event(kind, schema, &with_unknown(&data, &at));
            assert_eq!(CampaignEvent::from_new(stream, &changed), Ok(plain.clone()), "{kind} {at}");
        }
    }
    let stream = StreamId::ManualUpdate(OperationId::from_uuid(Uuid::nil()));
    let data = json!({"definition": {
        "request_id": "r1", "device": "AAAAAAAAAAAAAAAAAAAAAQ", "url": "https://host/2.bin",
        "expected_version": null, "version_before": null, "limits": operation_limits(),
    }});
    let plain = event("manual_started", 1, &data);
    let plain = ManualUpdateEvent::from_new(stream, &plain).expect("it began");
    for at in objects(&data, "") {
        let changed = event("manual_started", 1, &with_unknown(&data, &at));
        assert_eq!(ManualUpdateEvent::from_new(stream, &changed), Ok(plain.clone()), "{at}");
    }
}

#[test]
fn a_channel_without_a_group_is_refused_also_when_it_is_read() {
    let mut empty = definition();
    empty["channel"]["groups"] = json!([]);
    let error = read(&empty).unwrap_err().to_string();
    assert!(error.contains("has no group"), "{error}");
}

#[test]
fn text_from_outside_has_a_limit_of_size_and_of_depth() {
    let large = vec![b' '; 4 * 1_024 * 1_024 + 1];
    let refused = CampaignDefinition::from_json(&large).unwrap_err();
    assert!(matches!(refused, JsonError::TooLarge { size: 4_194_305, most: 4_194_304, .. }));
    for key in ["name", "base_image", "rollout", "shiny"] {
        let deep = format!("{{\"{key}\":{}", "[{\"push\":".repeat(100_000));
        assert!(CampaignDefinition::from_json(deep.as_bytes()).is_err(), "{key}");
        assert!(CampaignEdit::from_json(deep.as_bytes()).is_err(), "{key}");
    }
    let long = format!("{{\"{}\": 1}}", "k".repeat(1_000_000));
    let error = CampaignDefinition::from_json(long.as_bytes()).unwrap_err().to_string();
    assert!(error.len() < 1_000, "an error is not as long as what it is about");
    assert!(error.contains("line 1"), "{error}");
}

fn edit(value: &Value) -> Result<CampaignEdit, JsonError> {
    CampaignEdit::from_json(value.to_string().as_bytes())
}

#[test]
fn an_edit_changes_what_it_names_and_nothing_else() {
    assert_eq!(edit(&json!({})), Ok(CampaignEdit::default()));
    let limits = json!({
        "max_pending_operations": 7, "max_failure_percentage": "12.5", "request_retries": 1,
        "request_timeout_ms": 30_000, "stall_timeout_ms": null, "reboot_timeout_ms": 1_000,
        "progress_interval_ms": 0,
    });
    let wanted = LimitsEdit {
        max_pending_operations: NonZeroU32::new(7),
        max_failure_percentage: Some("12.5".parse().unwrap()),
        request_retries: Some(1),
        request_timeout: Some(Duration::from_secs(30)),
        stall_timeout: Some(None),
        reboot_timeout: Some(Duration::from_secs(1)),
        progress_interval: Some(Duration::ZERO),
    };
    let read = edit(&json!({
        "name": "new", "base_image": definition()["base_image"], "channel": definition()["channel"],
        "scheduled_at": null, "gates": {"force_downgrade": true}, "limits": limits,
    }))
    .expect("an edit");
    assert_eq!(read.limits, wanted);
    assert_eq!(read.scheduled_at, Some(None), "null: at once");
    assert_eq!(read.gates, Some(GatePolicy { force_downgrade: true, ..GatePolicy::default() }));
    assert!(read.name.is_some() && read.base_image.is_some() && read.channel.is_some());
    let at = edit(&json!({"scheduled_at": 5, "limits": {"stall_timeout_ms": 9}})).unwrap();
    assert_eq!(at.scheduled_at, Some(Some(Timestamp::from_millis(5))));
    assert_eq!(at.limits.stall_timeout, Some(Some(Duration::from_millis(9))));
    let nothing = json!({"name": null, "limits": {"request_timeout_ms": null}});
    assert_eq!(edit(&nothing), Ok(CampaignEdit::default()));
}

#[test]
fn an_unknown_key_at_any_depth_of_an_edit_is_refused() {
    let whole = json!({
        "base_image": definition()["base_image"], "channel": definition()["channel"],
        "gates": {}, "limits": {},
    });
    edit(&whole).expect("an edit");
    for at in objects(&whole, "") {
        let error = edit(&with_unknown(&whole, &at)).unwrap_err().to_string();
        assert!(error.contains("unknown field `shiny`, expected"), "{at}: {error}");
    }
}

#[test]
fn what_becomes_of_running_operations_is_read_from_its_name() {
    for (name, wanted) in [("finish", RunningOperations::Finish), ("stop", RunningOperations::Stop)]
    {
        assert_eq!(serde_json::from_value::<RunningOperations>(json!(name)).unwrap(), wanted);
    }
    assert!(serde_json::from_value::<OperationLimits>(json!({"retries": 1})).is_err());
}
