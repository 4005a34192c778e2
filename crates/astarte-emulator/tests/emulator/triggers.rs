//! How events reach a backend: shapes, filters, policies, and faults on the way.

use std::time::Duration;

use crate::support::mqtt::{Connection, Paired};
use crate::support::{
    Api, BASE_IMAGE, OTA_EVENT, OTA_REQUEST, REALM, Receiver, builder, device, incoming, on_device,
    start, started,
};
use bson::{bson, doc};
use chrono::TimeDelta;
use hedgerow_astarte_emulator::{
    Api as FaultyApi, EventFault, EventKind, EventRule, Frequency, RequestFault, RequestRule,
};
use reqwest::Method;
use serde_json::{Value, json};

async fn install_policy(api: &Api, name: &str, handlers: Value, more: Value) {
    let mut policy = json!({"name": name, "maximum_capacity": 100, "error_handlers": handlers});
    for (key, value) in more.as_object().expect("an object") {
        policy[key] = value.clone();
    }
    let (status, body) = api.manage(Method::POST, "policies", Some(policy)).await;
    assert_eq!(status, 201, "{body}");
}

/// A connected device whose versions trigger events.
async fn reporting(
    emulator: &hedgerow_astarte_emulator::Emulator,
    api: &Api,
    receiver: &Receiver,
    policy: Option<&str>,
) -> Connection {
    api.install("image", &receiver.url, incoming(BASE_IMAGE, 0), policy).await;
    let mut connection = Paired::new(emulator, api, device(1)).await.connect(true).await;
    connection.introduce().await;
    connection
}

async fn report(connection: &mut Connection, versions: &[&str]) {
    for version in versions {
        connection.set(&format!("{BASE_IMAGE}/version"), bson!(version)).await;
    }
}

fn versions(receiver: &mut Receiver) -> Vec<String> {
    let versions = receiver.all().into_iter().map(|received| received.event()["value"].clone());
    versions.map(|value| value.as_str().expect("a version").to_owned()).collect()
}

#[tokio::test]
async fn the_life_of_a_device_is_told_in_order() {
    let (emulator, api) = start().await;
    let mut receiver = Receiver::start(&[]).await;
    for kind in [
        "device_registered",
        "device_connected",
        "device_disconnected",
        "device_deletion_started",
        "device_deletion_finished",
    ] {
        api.install(kind, &receiver.url, on_device(kind), None).await;
    }
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(true).await;
    connection.send(&mqttbytes::v4::Packet::Disconnect).await;
    connection.closed().await;
    let _connection = paired.connect(true).await;
    let deleted = format!("devices/{}", device(1));
    assert_eq!(api.manage(Method::DELETE, &deleted, None).await.0, 204);
    assert_eq!(api.get(&deleted).await.0, 404);
    let mut seen = Vec::new();
    for _ in 0..7 {
        let received = receiver.next().await;
        assert_eq!(received.realm, REALM);
        assert_eq!(received.body["device_id"], json!(device(1)));
        assert_eq!(received.body["trigger_name"], received.event()["type"]);
        seen.push(received.event()["type"].as_str().expect("a type").to_owned());
    }
    assert_eq!(
        seen,
        [
            "device_registered",
            "device_connected",
            "device_disconnected",
            "device_connected",
            "device_deletion_started",
            "device_disconnected",
            "device_deletion_finished",
        ]
    );
}

#[tokio::test]
async fn a_property_tells_every_receipt_and_each_change() {
    let (emulator, api) = start().await;
    let mut receiver = Receiver::start(&[]).await;
    let mut connection = reporting(&emulator, &api, &receiver, None).await;
    for on in ["value_change", "value_change_applied", "path_created", "value_stored"] {
        let mut simple = incoming(BASE_IMAGE, 0);
        simple["on"] = json!(on);
        simple["match_path"] = json!("/version");
        api.install(on, &receiver.url, simple, None).await;
    }
    report(&mut connection, &["1", "1", "2"]).await;
    emulator.deliveries_idle().await;
    let seen: Vec<Value> = receiver
        .all()
        .iter()
        .map(|received| {
            let event = received.event();
            let value = event.get("value").or(event.get("new_value"));
            json!([event["type"], event.get("old_value"), value])
        })
        .collect();
    let expected = json!([
        ["incoming_data", null, "1"],
        ["value_change", null, "1"],
        ["value_stored", null, "1"],
        ["path_created", null, "1"],
        ["value_change_applied", null, "1"],
        ["incoming_data", null, "1"],
        ["value_stored", null, "1"],
        ["incoming_data", null, "2"],
        ["value_change", "1", "2"],
        ["value_stored", null, "2"],
        ["value_change_applied", "1", "2"],
    ]);
    assert_eq!(json!(seen), expected);
}

#[tokio::test]
async fn triggers_fire_only_for_their_device_group_path_and_value() {
    let (emulator, api) = start().await;
    let mut receiver = Receiver::start(&[]).await;
    let with = |more: Value| {
        let mut simple = incoming(BASE_IMAGE, 0);
        for (key, value) in more.as_object().expect("an object") {
            simple[key] = value.clone();
        }
        simple
    };
    let paired = [1, 2].map(device);
    let mut connections = Vec::new();
    for id in paired {
        let mut connection = Paired::new(&emulator, &api, id).await.connect(true).await;
        connection.introduce().await;
        connections.push(connection);
    }
    api.post("groups", json!({"group_name": "second", "devices": [device(2)]})).await;
    for (name, simple) in [
        ("first", with(json!({"device_id": device(1)}))),
        ("second", with(json!({"group_name": "second"}))),
        ("name", with(json!({"match_path": "/name"}))),
        ("new", with(json!({"value_match_operator": ">=", "known_value": "2"}))),
        (
            "any",
            json!({"type": "data_trigger", "on": "incoming_data", "interface_name": "*",
                       "match_path": "/*", "value_match_operator": "contains", "known_value": "eta"}),
        ),
    ] {
        api.install(name, &receiver.url, simple, None).await;
    }
    report(&mut connections[0], &["1"]).await;
    report(&mut connections[1], &["2-beta"]).await;
    connections[0].set(&format!("{BASE_IMAGE}/name"), bson!("0")).await;
    emulator.deliveries_idle().await;
    let seen: Vec<(String, String)> = receiver
        .all()
        .iter()
        .map(|received| {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            (text(&received.body["trigger_name"]), text(&received.event()["value"]))
        })
        .collect();
    let expected = [
        ("first", "1"),
        ("any", "2-beta"),
        ("new", "2-beta"),
        ("second", "2-beta"),
        ("first", "0"),
        ("name", "0"),
    ];
    assert_eq!(seen, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn the_time_of_an_event_is_the_devices_own_or_that_of_reception() {
    let (emulator, api) = start().await;
    let mut receiver = Receiver::start(&[]).await;
    api.install("report", &receiver.url, incoming(OTA_EVENT, 0), None).await;
    let mut connection = reporting(&emulator, &api, &receiver, None).await;
    emulator.set_clock_offset(TimeDelta::days(10_000));
    emulator.set_device_clock_offset(REALM, device(1), TimeDelta::days(-365)).expect("the device");
    report(&mut connection, &["1"]).await;
    let time = receiver.next().await.body["timestamp"].clone();
    let time: chrono::DateTime<chrono::Utc> =
        time.as_str().expect("a time").parse().expect("a time");
    assert!(time > emulator.now() - TimeDelta::minutes(5));

    let event =
        doc! {"v": {"status": "Success"}, "t": bson::DateTime::from_millis(1_700_000_000_000)};
    let topic = format!("{}/{OTA_EVENT}/event", connection.prefix);
    connection.publish(&topic, event.to_vec().expect("BSON")).await;
    let received = receiver.next().await;
    assert_eq!(received.body["timestamp"], "2022-11-14T22:13:20.000Z");
    assert_eq!(received.event()["value"], json!({"status": "Success"}));
}

#[tokio::test]
async fn without_a_policy_an_event_that_is_refused_is_gone() {
    let (emulator, api) = start().await;
    let mut receiver = Receiver::start(&[500, 302, 404]).await;
    let mut connection = reporting(&emulator, &api, &receiver, None).await;
    report(&mut connection, &["1", "2", "3", "4"]).await;
    emulator.deliveries_idle().await;
    assert_eq!(versions(&mut receiver), ["1", "2", "3", "4"], "each was tried once");
    let counts = emulator.deliveries();
    // A redirect is not followed, and counts as delivered.
    assert_eq!((counts.delivered, counts.discarded, counts.retried), (2, 2, 0));
}

#[tokio::test]
async fn a_policy_retries_as_often_as_it_says_and_only_what_it_says() {
    let (emulator, api) = start().await;
    let handlers = json!([
        {"on": "server_error", "strategy": "retry"}, {"on": "client_error", "strategy": "discard"},
    ]);
    install_policy(&api, "edgehog", handlers, json!({"retry_times": 3, "prefetch_count": 1})).await;
    let mut receiver = Receiver::start(&[503, 500, 200, 500, 502, 503, 400]).await;
    let mut connection = reporting(&emulator, &api, &receiver, Some("edgehog")).await;
    report(&mut connection, &["1", "2", "3", "4"]).await;
    emulator.deliveries_idle().await;
    assert_eq!(versions(&mut receiver), ["1", "1", "1", "2", "2", "2", "3", "4"]);
    let counts = emulator.deliveries();
    assert_eq!((counts.delivered, counts.discarded, counts.retried), (2, 2, 4));
}

#[tokio::test]
async fn a_receiver_that_cannot_be_reached_counts_as_503() {
    let (emulator, api) = start().await;
    let handlers = json!([{"on": [503], "strategy": "retry"}]);
    install_policy(&api, "patient", handlers, json!({"retry_times": 4})).await;
    let mut unreachable = Receiver::start(&[]).await;
    unreachable.url = "http://127.0.0.1:1/triggers".to_owned();
    let mut connection = reporting(&emulator, &api, &unreachable, Some("patient")).await;
    report(&mut connection, &["1"]).await;
    emulator.deliveries_idle().await;
    let counts = emulator.deliveries();
    assert_eq!((counts.delivered, counts.discarded, counts.retried), (0, 1, 3));
}

#[tokio::test]
async fn a_receiver_that_answers_late_gets_the_event_again() {
    let (emulator, api) =
        started(builder().trigger_timeouts(Duration::from_secs(8), Duration::from_millis(100)))
            .await;
    let handlers = json!([{"on": "any_error", "strategy": "retry"}]);
    install_policy(&api, "patient", handlers, json!({"retry_times": 2})).await;
    // It accepts connections and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut silent = Receiver::start(&[]).await;
    silent.url = format!("http://{}/", listener.local_addr().expect("an address"));
    let mut connection = reporting(&emulator, &api, &silent, Some("patient")).await;
    report(&mut connection, &["1"]).await;
    emulator.deliveries_idle().await;
    assert_eq!((emulator.deliveries().retried, emulator.deliveries().discarded), (1, 1));
}

#[tokio::test]
async fn a_policys_capacity_has_an_effect_only_if_it_is_enforced() {
    for enforced in [false, true] {
        let (emulator, api) = started(builder().enforce_policy_limits(enforced)).await;
        let handlers = json!([{"on": "any_error", "strategy": "discard"}]);
        install_policy(&api, "tiny", handlers, json!({"maximum_capacity": 2})).await;
        let mut receiver = Receiver::start(&[]).await;
        let mut connection = reporting(&emulator, &api, &receiver, Some("tiny")).await;
        // All copies come at once, so that the queue is longer than its capacity.
        let rule = EventRule::new(EventFault::Duplicate { copies: 9 });
        emulator.add_event_rule(rule).expect("a rule");
        report(&mut connection, &["1"]).await;
        emulator.deliveries_idle().await;
        let counts = emulator.deliveries();
        assert_eq!(counts.delivered + counts.overflowed, 10);
        assert_eq!(counts.overflowed > 0, enforced, "{counts:?}");
        assert_eq!(versions(&mut receiver).len() as u64, counts.delivered);
    }
}

#[tokio::test]
async fn events_are_dropped_doubled_delayed_and_reordered_on_demand() {
    let (emulator, api) = start().await;
    let mut receiver = Receiver::start(&[]).await;
    let mut connection = reporting(&emulator, &api, &receiver, None).await;
    for fault in [
        EventFault::Drop,
        EventFault::Duplicate { copies: 2 },
        EventFault::Reorder { behind: 2, milliseconds: 60_000 },
    ] {
        let rule = EventRule { frequency: Frequency::ONCE, ..EventRule::new(fault) };
        emulator.add_event_rule(rule).expect("a rule");
    }
    report(&mut connection, &["dropped", "doubled", "late", "a", "b", "c"]).await;
    emulator.deliveries_idle().await;
    assert_eq!(versions(&mut receiver), ["doubled", "doubled", "doubled", "a", "b", "late", "c"]);
    assert_eq!(emulator.deliveries().dropped_by_fault, 1);

    for milliseconds in [3_600_000, 0] {
        let delayed = EventRule {
            frequency: Frequency::ONCE,
            events: vec![EventKind::IncomingData],
            ..EventRule::new(EventFault::Delay { milliseconds })
        };
        emulator.add_event_rule(delayed).expect("a rule");
    }
    report(&mut connection, &["not today", "soon", "at once"]).await;
    let two = [receiver.next().await, receiver.next().await];
    let mut two = two.map(|received| received.event()["value"].clone());
    two.sort_by_key(ToString::to_string);
    assert_eq!(two, ["at once", "soon"]);
    assert_eq!(receiver.all(), []);
    emulator.shutdown().await;
}

#[tokio::test]
async fn requests_fail_on_demand() {
    let (emulator, api) = start().await;
    let mut connection = Paired::new(&emulator, &api, device(1)).await.connect(true).await;
    connection.introduce().await;
    let path = format!("devices/{}/interfaces/{OTA_REQUEST}/request", device(1));
    let request = |uuid: &str| json!({"operation": "Update", "url": "u", "uuid": uuid});
    let rule = |fault| RequestRule {
        api: Some(FaultyApi::AppEngine),
        method: Some("POST".to_owned()),
        frequency: Frequency::ONCE,
        ..RequestRule::new(fault)
    };
    emulator.add_request_rule(rule(RequestFault::Status { code: 503 })).expect("a rule");
    emulator.add_request_rule(rule(RequestFault::LoseMessage)).expect("a rule");
    emulator.add_request_rule(rule(RequestFault::Delay { milliseconds: 1 })).expect("a rule");
    assert_eq!(api.post(&path, request("refused")).await.0, 503);
    assert_eq!(api.post(&path, request("lost")).await.0, 200);
    assert_eq!(api.post(&path, request("late")).await.0, 200);
    let message = connection.message().await;
    let document = bson::Document::from_reader(message.payload.as_ref()).expect("BSON");
    assert_eq!(document, doc! {"v": {"operation": "Update", "url": "u", "uuid": "late"}});

    // The request is performed, but nobody hears of it.
    emulator.add_request_rule(rule(RequestFault::LoseAnswer)).expect("a rule");
    let unheard = api.request(Method::POST, "appengine", &path);
    let unheard = tokio::spawn(crate::support::with_data(unheard, request("unheard")).send());
    let message = connection.message().await;
    let document = bson::Document::from_reader(message.payload.as_ref()).expect("BSON");
    assert_eq!(document, doc! {"v": {"operation": "Update", "url": "u", "uuid": "unheard"}});
    assert!(!unheard.is_finished());
    unheard.abort();
    emulator.shutdown().await;
}

#[tokio::test]
async fn the_admin_endpoint_does_what_the_library_does() {
    let (emulator, api) = started(builder().admin_endpoint(true)).await;
    let mut receiver = Receiver::start(&[]).await;
    let mut connection = reporting(&emulator, &api, &receiver, None).await;
    let put = |method, path: &str, data: Value| {
        crate::support::answer(crate::support::with_data(api.emulator(method, path), data))
    };
    let rule = json!({"events": ["incoming_data"], "times": 1, "fault": "drop"});
    assert_eq!(put(Method::POST, "faults/events", rule).await.0, 201);
    report(&mut connection, &["1", "2"]).await;
    emulator.deliveries_idle().await;
    assert_eq!(versions(&mut receiver), ["2"]);
    let (_, counts) = crate::support::answer(api.emulator(Method::GET, "deliveries")).await;
    assert_eq!(
        (&counts["data"]["delivered"], &counts["data"]["dropped_by_fault"]),
        (&json!(1), &json!(1))
    );

    let rule = json!({"api": "app_engine", "fault": {"status": {"code": 502}}});
    assert_eq!(put(Method::POST, "faults/requests", rule).await.0, 201);
    assert_eq!(api.get("devices").await.0, 502);
    assert_eq!(crate::support::answer(api.emulator(Method::DELETE, "faults")).await.0, 204);
    assert_eq!(api.get("devices").await.0, 200);

    let one = format!("realms/{REALM}/devices/{}", device(1));
    let (_, body) =
        crate::support::answer(api.emulator(Method::DELETE, &format!("{one}/connection"))).await;
    assert_eq!(body["data"]["was_connected"], true);
    connection.closed().await;
    for (method, path, data, status) in [
        (Method::DELETE, format!("{one}/session"), Value::Null, 204),
        (Method::PUT, format!("{one}/clock-offset-milliseconds"), json!(-1000), 204),
        (Method::PUT, "clock-offset-milliseconds".to_owned(), json!(1000), 204),
        (Method::PUT, "broker-down".to_owned(), json!(true), 204),
        (Method::PUT, "broker-down".to_owned(), json!("x"), 400),
        (Method::PUT, "seed".to_owned(), json!(7), 204),
        (Method::PUT, "seed".to_owned(), json!("x"), 400),
        (Method::POST, "faults/events".to_owned(), json!({"fault": "explode"}), 422),
        (
            Method::POST,
            "faults/requests".to_owned(),
            json!({"fault": {"status": {"code": 7}}}),
            422,
        ),
        (Method::GET, "other".to_owned(), Value::Null, 400),
    ] {
        assert_eq!(put(method, &path, data).await.0, status, "{path}");
    }

    // Without having been asked for, it is not there.
    let (_emulator, api) = start().await;
    assert_eq!(crate::support::answer(api.emulator(Method::GET, "deliveries")).await.0, 400);
}
