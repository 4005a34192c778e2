//! Runs that once did not come to an end.

use std::sync::Arc;

use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_sim::scenario::format::Scenario;
use hedgerow_sim::scenario::runner::run;
use serde_json::{Value, json};

fn scenario(devices: &Value, stimuli: &Value) -> Scenario {
    let scenario = json!({
        "format": "ota-campaign-scenario/1", "id": "ends", "requires": [],
        "fleet": {"devices": devices},
        "campaigns": [{
            "id": "c1", "name": "ends",
            "base_image": {
                "system_model": "sm", "version": "2.0.0", "url": "https://images.example/x"
            },
            "channel": {"groups": ["g"]},
            "rollout": {
                "max_failure_percentage": 0, "max_in_progress_operations": 2,
                "request_timeout_seconds": 60, "stall_timeout_seconds": 600
            }
        }],
        "stimuli": stimuli,
        "run_until_ms": 3_000_000
    });
    Scenario::from_value(&scenario).expect("a scenario")
}

fn device(id: &str, more: Value) -> Value {
    let mut device = json!({"id": id, "system_model": "sm", "groups": ["g"], "version": "1.0.0"});
    if let (Some(device), Value::Object(more)) = (device.as_object_mut(), more) {
        device.extend(more);
    }
    device
}

#[test]
fn a_campaign_that_failed_looks_no_more_at_a_device_whose_request_was_deferred() {
    let unreachable = json!({"api_update": ["timeout"]});
    let devices = json!([device("d0", json!({})), device("d1", unreachable)]);
    // The failure settles the campaign; d1 turns out to be updating, which is late.
    let stimuli = json!([
        {"at_ms": 0, "do": "create_campaign", "campaign": "c1"},
        {"at_ms": 1_000, "do": "remove_device", "device": "d0"},
        {"at_ms": 1_000, "do": "ota_event", "device": "d1", "operation": "current",
         "status": "Deployed"}
    ]);
    let log =
        run(&scenario(&devices, &stimuli), Arc::new(MemoryStore::new())).expect("it ends").log;
    let last = log.last().expect("an entry");
    assert_eq!((&last["status"], &last["outcome"]), (&json!("finished"), &json!("failure")));
}

#[test]
fn an_engine_that_dies_again_while_it_reads_what_was_queued_goes_on_after_that() {
    let script = json!({"on_request": [[
        {"after_ms": 10_000, "status": "Acknowledged"},
        {"after_ms": 20_000, "status": "Success", "set_version": "2.0.0"}
    ]]});
    let stimuli = json!([
        {"at_ms": 0, "do": "create_campaign", "campaign": "c1"},
        {"at_ms": 0, "do": "crash_on", "down_ms": 1_000,
         "match": {"kind": "operation", "status": "acknowledged"}},
        {"at_ms": 0, "do": "restart", "down_ms": 70_000}
    ]);
    let devices = json!([device("d0", script)]);
    let log =
        run(&scenario(&devices, &stimuli), Arc::new(MemoryStore::new())).expect("it ends").log;
    let last = log.last().expect("an entry");
    assert_eq!((&last["status"], &last["outcome"]), (&json!("finished"), &json!("success")));
}
