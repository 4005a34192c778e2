//! The trigger endpoint: what is taken, what is turned away and how, and that an answer of 2xx means
//! durable (E8).

mod common;

use std::num::NonZeroU32;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use common::world::{World, campaign, eventually, operation, started};
use common::{device, tenant};
use hedgerow_astarte::TriggerReceiver;
use hedgerow_astarte::triggers::TriggerSettings;
use hedgerow_core::{OperationId, Outcome, StreamId, TargetStatus};
use hedgerow_engine::Engine;
use hedgerow_engine::store::EventStore;
use serde_json::{Value, json};
use tower::ServiceExt;

/// Later than the start of any test.
const AT: &str = "2100-01-01T00:00:10.000Z";

fn trigger(byte: u8, at: &str, event: &Value) -> String {
    json!({"timestamp": at, "device_id": device(byte), "trigger_name": "t", "event": event})
        .to_string()
}

fn report(byte: u8, operation: OperationId, status: &str) -> String {
    let value = json!({
        "requestUUID": operation, "status": status, "statusProgress": 10, "statusCode": "",
        "message": "",
    });
    trigger(byte, AT, &data_of("io.edgehog.devicemanager.OTAEvent", "/event", &value))
}

fn data_of(interface: &str, path: &str, value: &Value) -> Value {
    json!({"type": "incoming_data", "interface": interface, "path": path, "value": value})
}

async fn post(receiver: &TriggerReceiver, body: impl Into<Body>) -> (u16, String) {
    let request = Request::post("/triggers").header("Astarte-Realm", "realm");
    send(receiver, request.body(body.into()).expect("a request")).await
}

async fn send(receiver: &TriggerReceiver, request: Request<Body>) -> (u16, String) {
    let response = receiver.router().oneshot(request).await.expect("infallible");
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

fn receiver(world: &World, engine: &Engine) -> TriggerReceiver {
    TriggerReceiver::new(world.astarte.clone(), engine.clone(), TriggerSettings::default())
}

async fn status_of(engine: &Engine, byte: u8) -> TargetStatus {
    let state = engine.state(&tenant(), campaign()).await.expect("an answer");
    state.expect("the campaign").target(device(byte)).expect("a target").status
}

#[tokio::test]
async fn reports_carry_a_campaign_to_its_end_and_are_durable_when_they_are_answered() {
    let world = World::with_devices(3).await;
    let engine = started(&world).await;
    let receiver = receiver(&world, &engine);
    for byte in 1..=3 {
        for status in ["Acknowledged", "Downloading", "Downloading", "Rebooting"] {
            assert_eq!(post(&receiver, report(byte, operation(byte), status)).await.0, 200);
        }
    }
    // The last in the legacy form.
    let value = json!({"uuid": operation(3), "status": "Error", "statusCode": "OTAErrorDeploy"});
    let legacy = data_of("io.edgehog.devicemanager.OTAResponse", "/response", &value);
    for (byte, body) in [
        (1, report(1, operation(1), "Success")),
        (2, report(2, operation(2), "Success")),
        (3, trigger(3, AT, &legacy)),
    ] {
        assert_eq!(post(&receiver, body.clone()).await.0, 200);
        let expected = if byte == 3 { TargetStatus::Failed } else { TargetStatus::Successful };
        assert_eq!(status_of(&engine, byte).await, expected, "when it is answered");
        assert_eq!(post(&receiver, body).await.0, 200, "a repetition is harmless");
    }
    let progress = engine.progress(&tenant(), campaign()).await.expect("the campaign");
    assert_eq!(progress.outcome, Some(Outcome::Success));
    assert_eq!((progress.targets.successful, progress.targets.failed), (2, 1));
    assert_eq!(receiver.counts().taken, 18);
}

#[tokio::test]
async fn the_log_keeps_no_signature_of_a_url_that_a_device_repeats() {
    let world = World::with_devices(1).await;
    let engine = started(&world).await;
    let value = json!({
        "requestUUID": operation(1), "status": "Failure", "statusCode": "NetworkError",
        "message": "cannot fetch https://images.example/2.0.0.bin?signature=secret",
    });
    let event = data_of("io.edgehog.devicemanager.OTAEvent", "/event", &value);
    let told = post(&receiver(&world, &engine), trigger(1, AT, &event)).await;
    assert_eq!(told.0, 200, "{}", told.1);
    let stream = StreamId::Campaign(campaign());
    let history = world.store.read_stream(&tenant(), stream, 0, usize::MAX).await.expect("a log");
    let failed = history.iter().find(|stored| stored.event.event_type == "operation_failed");
    let last = failed.expect("it failed").event.data.clone();
    let last = String::from_utf8_lossy(&last).into_owned();
    assert!(last.contains("cannot fetch") && !last.contains("secret"), "{last}");
}

#[tokio::test]
async fn what_cannot_be_read_is_turned_away_for_good_with_a_reason_and_counted() {
    let world = World::with_devices(1).await;
    let engine = started(&world).await;
    let receiver = receiver(&world, &engine);
    let ota_event = |value: &Value| {
        trigger(1, AT, &data_of("io.edgehog.devicemanager.OTAEvent", "/event", value))
    };
    let nested = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let deep = ota_event(&json!("nested")).replace("\"nested\"", &nested);
    let connected = json!({"type": "device_connected"});
    let unknown = json!({"requestUUID": operation(1), "status": "Exploded"});
    let no_uuid = json!({"requestUUID": "1", "status": "Success"});
    for (body, expected, says) in [
        (String::new(), 400, "not the JSON"),
        ("[]".to_owned(), 400, "not the JSON"),
        ("{\"timestamp\":".to_owned(), 400, "not the JSON"),
        (deep, 400, "recursion limit"),
        (trigger(1, "yesterday", &connected), 400, "yesterday"),
        (trigger(1, AT, &json!({})), 400, "type"),
        (trigger(1, AT, &connected).replace(&device(1).to_string(), "x"), 400, "device id"),
        (ota_event(&Value::Null), 400, "report cannot be read"),
        (ota_event(&json!({"status": "Success"})), 400, "requestUUID"),
        (ota_event(&json!({"requestUUID": operation(1), "status": 5})), 400, "string"),
        (ota_event(&no_uuid), 400, "not a UUID"),
        (ota_event(&unknown), 400, "Exploded"),
        ("x".repeat(300 * 1024), 413, "larger"),
        (report(1, operation(9), "Success"), 422, "unknown"),
        (report(2, operation(1), "Success"), 422, "device"),
    ] {
        let (status, text) = post(&receiver, body.clone()).await;
        let shown: String = body.chars().take(200).collect();
        assert_eq!(status, expected, "{shown}: {text}");
        assert!(text.contains(says), "{shown}: {text}");
    }
    let counts = receiver.counts();
    assert_eq!((counts.malformed, counts.refused, counts.taken), (13, 2, 0));
    assert_eq!(status_of(&engine, 1).await, TargetStatus::InProgress);
}

#[tokio::test]
async fn only_the_configured_realms_with_the_right_secret_are_let_in() {
    let world = World::with_devices(1).await;
    let engine = started(&world).await;
    let mut settings = TriggerSettings::default();
    let name = HeaderName::from_static("x-hedgerow-secret");
    settings.secret = Some((name, HeaderValue::from_static("s3cret")));
    let receiver = TriggerReceiver::new(world.astarte.clone(), engine, settings);
    for (realm, secret, expected) in [
        (Some("realm"), Some("s3cret"), 200),
        (Some("realm"), Some("s3creT"), 401),
        (Some("realm"), Some(""), 401),
        (Some("realm"), None, 401),
        (Some("other"), None, 401),
        (Some("other"), Some("s3cret"), 404),
        (Some("Realm"), Some("s3cret"), 404),
        (None, Some("s3cret"), 400),
    ] {
        let mut request = Request::post("/triggers");
        if let Some(realm) = realm {
            request = request.header("astarte-realm", realm);
        }
        if let Some(secret) = secret {
            request = request.header("x-hedgerow-secret", secret);
        }
        let body = trigger(1, AT, &json!({"type": "device_connected"}));
        let request = request.body(Body::from(body)).expect("a request");
        let (status, text) = send(&receiver, request).await;
        assert_eq!(status, expected, "{realm:?} {secret:?}: {text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
    assert!(!format!("{receiver:?}").contains("s3cret"));
    let counts = receiver.counts();
    assert_eq!((counts.unauthorized, counts.foreign, counts.malformed), (4, 2, 1));
    let request = Request::get("/triggers").body(Body::empty()).expect("a request");
    assert_eq!(send(&receiver, request).await.0, StatusCode::METHOD_NOT_ALLOWED.as_u16());
}

#[tokio::test]
async fn overload_and_shutdown_ask_for_another_delivery() {
    let world = World::with_devices(1).await;
    let engine = started(&world).await;
    let mut settings = TriggerSettings::default();
    settings.deliveries_per_second = NonZeroU32::new(2);
    let receiver = TriggerReceiver::new(world.astarte.clone(), engine.clone(), settings);
    let body = report(1, operation(1), "Acknowledged");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(post(&receiver, body.clone()).await.0);
    }
    assert_eq!(statuses[..2], [200, 200]);
    assert!(statuses.contains(&503), "{statuses:?}");
    assert!(receiver.counts().overloaded > 0);

    let receiver = self::receiver(&world, &engine);
    engine.shutdown().await;
    for body in [body, trigger(1, AT, &json!({"type": "device_connected"}))] {
        let (status, text) = post(&receiver, body).await;
        assert_eq!(status, 503, "{text}");
    }
    assert_eq!(receiver.counts().not_now, 2);
}

#[tokio::test]
async fn where_a_device_is_follows_the_stamps_and_not_the_order_of_arrival() {
    let world = World::with_devices(1).await;
    world.devices().values_mut().for_each(|shown| {
        shown.status["connected"] = json!(false);
        shown.status["last_disconnection"] = json!("2026-08-21T11:00:00.000Z");
    });
    let engine = world.start(world.fleet()).await;
    let definition = common::world::definition();
    engine.create(&tenant(), campaign(), definition, None).await.expect("a new campaign");
    eventually(|| async {
        let progress = engine.progress(&tenant(), campaign()).await.expect("the campaign");
        progress.started_at.is_some()
    })
    .await;
    let receiver = receiver(&world, &engine);
    let (connected, disconnected) =
        (json!({"type": "device_connected"}), json!({"type": "device_disconnected"}));
    let says = |text: &'static str| (200, format!(r#"{{"detail":"{text}"}}"#));
    let (taken, passed) = (says("taken"), says("nothing to do"));

    let told = post(&receiver, trigger(1, "2026-08-21T10:30:00.000Z", &connected)).await;
    assert_eq!(told, passed, "Astarte already said that it disconnected after that");
    assert!(world.updates().is_empty());
    assert_eq!(post(&receiver, trigger(1, AT, &connected)).await, taken);
    world.wait_for_updates(1).await;
    let told = post(&receiver, trigger(1, AT, &connected)).await;
    assert_eq!(told, passed, "a repetition");
    world.devices().values_mut().for_each(|shown| {
        shown.status["connected"] = json!(true);
        shown.status["last_connection"] = json!(AT);
    });
    let told = post(&receiver, trigger(1, "2100-01-01T00:00:09.000Z", &disconnected)).await;
    assert_eq!(told, passed, "overtaken");
    let told = post(&receiver, trigger(1, "2100-01-01T00:00:11.000Z", &disconnected)).await;
    assert_eq!(told, taken);

    // Nothing is known of this device, and the stamp is older than this process: Astarte is asked.
    let reads = || world.fake.asked().iter().filter(|asked| asked.method == "GET").count();
    let before = reads();
    let told = post(&receiver, trigger(9, "2026-08-21T10:30:00.000Z", &connected)).await;
    assert_eq!(told, passed, "there is no such device");
    assert_eq!(reads(), before + 1);
}

#[tokio::test]
async fn a_device_that_shows_its_base_image_is_online_whatever_became_of_the_connection_event() {
    let world = World::with_devices(1).await;
    world.devices().values_mut().for_each(|shown| shown.status["connected"] = json!(false));
    let engine = world.start(world.fleet()).await;
    let definition = common::world::definition();
    engine.create(&tenant(), campaign(), definition, None).await.expect("a new campaign");
    eventually(|| async {
        let progress = engine.progress(&tenant(), campaign()).await.expect("the campaign");
        progress.started_at.is_some()
    })
    .await;
    let receiver = receiver(&world, &engine);
    let shown = data_of("io.edgehog.devicemanager.BaseImage", "/version", &Value::Null);
    assert_eq!(post(&receiver, trigger(1, AT, &shown)).await.0, 200);
    world.wait_for_updates(1).await;
}

#[tokio::test]
async fn a_deleted_device_fails_its_target_and_what_is_of_no_use_is_passed_over() {
    let world = World::with_devices(1).await;
    let engine = started(&world).await;
    let receiver = receiver(&world, &engine);
    for event in [
        json!({"type": "device_registered"}),
        json!({"type": "device_error", "error_name": "x", "metadata": {}}),
        json!({"type": "something_new", "interface": "a"}),
        data_of("com.example.Sensor", "/value", &json!(1)),
        data_of("io.edgehog.devicemanager.OTARequest", "/request", &json!({})),
    ] {
        let (status, text) = post(&receiver, trigger(1, AT, &event)).await;
        assert_eq!(status, 200, "{event}: {text}");
    }
    let deleted = json!({"type": "device_deletion_finished"});
    assert_eq!(post(&receiver, trigger(1, AT, &deleted)).await.0, 200);
    assert_eq!(status_of(&engine, 1).await, TargetStatus::Failed);
}
