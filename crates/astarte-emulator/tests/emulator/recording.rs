//! What went over the wire can be compared with what went over it before.

use bson::bson;
use hedgerow_astarte_emulator::Recorded;
use serde_json::{Value, json};

use crate::support::mqtt::Paired;
use crate::support::{BASE_IMAGE, OTA_REQUEST, Receiver, builder, device, incoming, started};

#[tokio::test]
async fn requests_messages_and_triggers_are_recorded_in_their_order() {
    let (emulator, api) = started(builder().record(1000)).await;
    let receiver = Receiver::start(&[]).await;
    api.install("image", &receiver.url, incoming(BASE_IMAGE, 0), None).await;
    let mut connection = Paired::new(&emulator, &api, device(1)).await.connect(true).await;
    connection.introduce().await;
    connection.set(&format!("{BASE_IMAGE}/version"), bson!("1.0.0")).await;
    emulator.deliveries_idle().await;
    let path = format!("devices/{}/interfaces/{OTA_REQUEST}/request", device(1));
    api.post(&path, json!({"uuid": "u"})).await;
    connection.message().await;

    let recording: Vec<Value> = emulator
        .recording()
        .iter()
        .map(|recorded| match recorded {
            Recorded::Request { method, path, body, status, .. } => {
                json!([method, path.replace(&device(1).to_string(), "D"), body, status])
            }
            Recorded::FromDevice { topic, quality, .. } => json!(["from", quality, topic]),
            Recorded::ToDevice { topic, quality, payload, .. } => {
                json!(["to", quality, topic, payload])
            }
            Recorded::Trigger { body, status, .. } => json!(["trigger", body["event"], status]),
            other => panic!("{other:?}"),
        })
        .collect();
    let event = json!({"type": "incoming_data", "interface": BASE_IMAGE, "path": "/version",
                       "value": "1.0.0"});
    let request = json!({"uuid": "u"});
    assert_eq!(
        recording[1..],
        [
            json!(["POST", "devices/D/protocols/astarte_mqtt_v1/credentials", null, 201]),
            json!(["from", 2, ""]),
            json!(["from", 2, format!("{BASE_IMAGE}/version")]),
            json!(["trigger", event, 200]),
            json!(["POST", format!("devices/D/interfaces/{OTA_REQUEST}/request"), request, 200]),
            json!(["to", 0, format!("{OTA_REQUEST}/request"), {"v": request}]),
        ]
    );
    // What is recorded can be written to a file.
    let text = serde_json::to_string(&emulator.recording()).expect("JSON");
    assert!(text.contains("\"kind\":\"from_device\""));
}

#[tokio::test]
async fn a_request_is_recorded_with_its_query_headers_and_claims_but_without_its_token() {
    let (emulator, api) = started(builder().record(1000)).await;
    api.get("devices?details=true&limit=7").await;
    let recording = emulator.recording();
    let Some(Recorded::Request { query, headers, claims, .. }) = recording.last() else {
        panic!("{recording:?}");
    };
    assert_eq!(query, "details=true&limit=7");
    assert!(claims["a_aea"].is_array(), "{claims}");
    let text = serde_json::to_string(&recording).expect("JSON");
    assert!(!headers.contains_key("authorization") && !text.contains("eyJ"), "{text}");
    let again: Vec<Recorded> = serde_json::from_str(&text).expect("what was written");
    assert_eq!(again, recording);
}
