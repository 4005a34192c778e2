//! Realm Management over HTTP: interfaces, triggers and policies, and what each rule refuses.

use crate::support::mqtt::Paired;
use crate::support::{
    Api, BASE_IMAGE, INTERFACES, OTA_EVENT, OTA_REQUEST, device, incoming, on_device, start,
};
use reqwest::Method;
use serde_json::{Value, json};

fn detail(body: &Value) -> &str {
    body["errors"]["detail"].as_str().unwrap_or_default()
}

fn interface(minor: i32) -> Value {
    json!({
        "interface_name": "org.example.Sensor", "version_major": 0, "version_minor": minor,
        "type": "datastream", "ownership": "device",
        "mappings": [
            {"endpoint": "/%{id}/value", "type": "double", "reliability": "unreliable"},
            {"endpoint": "/%{id}/unit", "type": "string", "explicit_timestamp": true},
        ],
    })
}

async fn get(api: &Api, path: &str) -> (u16, Value) {
    api.manage(Method::GET, path, None).await
}

async fn post(api: &Api, path: &str, data: Value) -> (u16, Value) {
    api.manage(Method::POST, path, Some(data)).await
}

async fn put(api: &Api, path: &str, data: Value) -> (u16, Value) {
    api.manage(Method::PUT, path, Some(data)).await
}

async fn delete(api: &Api, path: &str) -> (u16, Value) {
    api.manage(Method::DELETE, path, None).await
}

#[tokio::test]
async fn an_interface_is_installed_read_updated_and_deleted() {
    let (_emulator, api) = start().await;
    assert_eq!(post(&api, "interfaces", interface(1)).await, (201, Value::Null));
    assert_eq!(detail(&post(&api, "interfaces", interface(1)).await.1), "Interface already exists");
    let (_, names) = get(&api, "interfaces").await;
    assert_eq!(names["data"].as_array().map(Vec::len), Some(INTERFACES.len() + 1));
    assert_eq!(get(&api, "interfaces/org.example.Sensor").await.1["data"], json!([0]));
    assert_eq!(get(&api, "interfaces/org.example.Sensor/0").await.1["data"], interface(1));

    // What a minor version may change, and an endpoint more.
    let mut newer = interface(2);
    newer["mappings"][0]["retention"] = json!("stored");
    newer["mappings"][0]["reliability"] = json!("unreliable");
    newer["mappings"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"endpoint": "/%{id}/new", "type": "boolean"}));
    assert_eq!(put(&api, "interfaces/org.example.Sensor/0", newer.clone()).await.0, 204);
    assert_eq!(get(&api, "interfaces/org.example.Sensor/0").await.1["data"], newer);

    assert_eq!(delete(&api, "interfaces/org.example.Sensor/0").await.0, 204);
    let (status, body) = get(&api, "interfaces/org.example.Sensor/0").await;
    assert_eq!((status, detail(&body)), (404, "Interface not found"));
}

#[tokio::test]
async fn an_update_that_breaks_a_rule_is_refused() {
    let (_emulator, api) = start().await;
    post(&api, "interfaces", interface(1)).await;
    let with = |key: &str, value: Value| {
        let mut definition = interface(2);
        definition[key] = value;
        definition
    };
    let mapping = |key: &str, value: Value| {
        let mut definition = interface(2);
        definition["mappings"][0][key] = value;
        definition
    };
    let mut fewer = interface(2);
    fewer["mappings"].as_array_mut().expect("a list").pop();
    for (definition, status, text) in [
        (interface(1), 409, "Interface minor version was not increased"),
        (interface(0), 422, ""),
        (with("version_minor", json!(0)), 422, ""),
        (with("version_major", json!(1)), 409, "Interface major doesn't match"),
        (with("interface_name", json!("org.example.Other")), 409, "Interface name doesn't match"),
        (with("ownership", json!("server")), 409, "Invalid update"),
        (fewer, 409, "Interface update has missing endpoints"),
        (mapping("type", json!("string")), 409, "Interface update contains incompatible"),
        (mapping("reliability", json!("unique")), 409, "Interface update contains incompatible"),
    ] {
        let (found, body) = put(&api, "interfaces/org.example.Sensor/0", definition.clone()).await;
        assert_eq!(found, status, "{definition} {body}");
        assert!(detail(&body).starts_with(text), "{body}");
    }
    let mut second = interface(5);
    second["interface_name"] = json!("org.example.Second");
    post(&api, "interfaces", second.clone()).await;
    second["version_minor"] = json!(4);
    let (_, body) = put(&api, "interfaces/org.example.Second/0", second).await;
    assert_eq!(detail(&body), "Interface downgrade not allowed");
    let (status, body) = put(&api, "interfaces/org.example.Sensor/7", interface(2)).await;
    assert_eq!((status, detail(&body)), (404, "Interface major not found"));
}

#[tokio::test]
async fn definitions_that_break_a_rule_are_refused() {
    let (_emulator, api) = start().await;
    for definition in [json!({}), json!("x"), json!({"interface_name": "a"})] {
        assert_eq!(post(&api, "interfaces", definition.clone()).await.0, 422, "{definition}");
    }
    let mut colliding = interface(1);
    colliding["interface_name"] = json!("IO.edgehog.devicemanager.OTAEvent");
    assert_eq!(post(&api, "interfaces", colliding).await.0, 409);
}

#[tokio::test]
async fn an_interface_in_use_is_not_deleted() {
    let (emulator, api) = start().await;
    let mut connection = Paired::new(&emulator, &api, device(1)).await.connect(true).await;
    connection.introduce().await;
    for name in [OTA_EVENT, BASE_IMAGE] {
        assert_eq!(delete(&api, &format!("interfaces/{name}/0")).await.0, 403);
    }
    assert_eq!(delete(&api, &format!("interfaces/{OTA_REQUEST}/1")).await.0, 403);
}

fn trigger(simple: Value) -> Value {
    json!({
        "name": "mine",
        "action": {"http_url": "http://localhost:1/x", "http_method": "post"},
        "simple_triggers": [simple],
    })
}

fn with_action(action: Value) -> Value {
    let mut trigger = trigger(on_device("device_connected"));
    trigger["action"] = action;
    trigger
}

#[tokio::test]
async fn a_trigger_is_installed_read_and_deleted() {
    let (_emulator, api) = start().await;
    let definition = trigger(incoming(OTA_EVENT, 0));
    let (status, body) = post(&api, "triggers", definition.clone()).await;
    assert_eq!((status, &body["data"]), (201, &definition));
    let (status, body) = post(&api, "triggers", definition.clone()).await;
    assert_eq!((status, detail(&body)), (409, "Trigger already exists"));
    assert_eq!(get(&api, "triggers").await.1["data"], json!(["mine"]));
    assert_eq!(get(&api, "triggers/mine").await.1["data"], definition);
    assert_eq!(put(&api, "triggers/mine", definition).await.0, 400, "there is no update");
    assert_eq!(delete(&api, "triggers/mine").await.0, 204);
    let (status, body) = get(&api, "triggers/mine").await;
    assert_eq!((status, detail(&body)), (404, "Trigger not found"));
    let old_form = with_action(json!({"http_post_url": "https://example.com/x"}));
    assert_eq!(post(&api, "triggers", old_form).await.0, 201);
}

#[tokio::test]
async fn triggers_that_break_a_rule_are_refused() {
    let (_emulator, api) = start().await;
    let changed = |interface: &str, key: &str, value: Value| {
        let mut simple = incoming(interface, 0);
        simple[key] = value;
        trigger(simple)
    };
    let url = "http://localhost/x";
    for (definition, expected) in [
        (json!({}), 422),
        (trigger(json!({})), 422),
        (trigger(on_device("incoming_data")), 422),
        (trigger(json!({"type": "data_trigger", "on": "device_connected"})), 422),
        (trigger(incoming("org.example.Unknown", 0)), 422),
        (trigger(incoming(OTA_EVENT, 7)), 422),
        (changed(BASE_IMAGE, "value_match_operator", json!("~")), 422),
        (changed(BASE_IMAGE, "value_match_operator", json!("==")), 422),
        (changed(BASE_IMAGE, "match_path", json!("/nowhere")), 422),
        (changed(BASE_IMAGE, "device_id", json!("short")), 422),
        // Status 400, as in Astarte.
        (changed(OTA_EVENT, "on", json!("value_change")), 400),
        (changed(BASE_IMAGE, "on", json!("value_change")), 400),
        (changed(OTA_EVENT, "match_path", json!("/event")), 400),
        (with_action(json!({})), 422),
        (with_action(json!({"http_url": "ftp://x/y", "http_method": "post"})), 422),
        (with_action(json!({"http_url": url, "http_method": "send"})), 422),
        (
            with_action(
                json!({"http_url": format!("{url}{}", "y".repeat(9000)), "http_method": "post"}),
            ),
            422,
        ),
        (
            with_action(
                json!({"http_url": url, "http_method": "post", "http_static_headers": {"Host": "x"}}),
            ),
            422,
        ),
        (
            with_action(
                json!({"http_url": url, "http_method": "post", "http_static_headers": {"x": "y".repeat(9000)}}),
            ),
            422,
        ),
        (with_action(json!({"amqp_exchange": "x", "amqp_routing_key": "y"})), 422),
    ] {
        let (status, body) = post(&api, "triggers", definition.clone()).await;
        assert_eq!(status, expected, "{definition} {body}");
    }
    let mut two = trigger(incoming(OTA_EVENT, 0));
    two["simple_triggers"] = json!([incoming(OTA_EVENT, 0), incoming(OTA_EVENT, 0)]);
    assert_eq!(post(&api, "triggers", two).await.0, 422);
    let mut unknown_policy = trigger(incoming(OTA_EVENT, 0));
    unknown_policy["policy"] = json!("none");
    assert_eq!(post(&api, "triggers", unknown_policy).await.0, 404);
}

#[tokio::test]
async fn a_policy_is_installed_and_stays_while_a_trigger_uses_it() {
    let (_emulator, api) = start().await;
    let policy = json!({
        "name": "patient", "maximum_capacity": 100, "retry_times": 10, "event_ttl": 60,
        "error_handlers": [{"on": "any_error", "strategy": "retry"}],
    });
    let (status, body) = post(&api, "policies", policy.clone()).await;
    assert_eq!((status, &body["data"]), (201, &policy));
    assert_eq!(post(&api, "policies", policy.clone()).await.0, 409);
    assert_eq!(get(&api, "policies").await.1["data"], json!(["patient"]));
    assert_eq!(get(&api, "policies/patient").await.1["data"], policy);
    let mut trigger = trigger(incoming(OTA_EVENT, 0));
    trigger["policy"] = json!("patient");
    assert_eq!(post(&api, "triggers", trigger).await.0, 201);
    assert_eq!(delete(&api, "policies/patient").await.0, 409);
    assert_eq!(delete(&api, "triggers/mine").await.0, 204);
    assert_eq!(delete(&api, "policies/patient").await.0, 204);
    assert_eq!(get(&api, "policies/patient").await.0, 404);
    let (status, body) = post(&api, "policies", json!({"name": "@x"})).await;
    assert_eq!(status, 422);
    assert!(body["errors"]["maximum_capacity"].is_array(), "{body}");
}

#[tokio::test]
async fn the_version_is_told() {
    let (_emulator, api) = start().await;
    assert_eq!(get(&api, "version").await.1["data"], "1.3.0");
    assert_eq!(api.get("version").await.1["data"], "1.3.0");
}
