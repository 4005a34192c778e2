//! The broker, with a device that sends single packets.

use crate::support::mqtt::Paired;
use crate::support::{
    BASE_IMAGE, COMMANDS, OTA_EVENT, OTA_REQUEST, REALM, Receiver, SETTINGS, device, incoming,
    on_device, start,
};
use bson::{bson, doc};
use mqttbytes::QoS;
use mqttbytes::v4::{ConnectReturnCode, Packet, Publish, SubscribeReasonCode};
use serde_json::json;

#[tokio::test]
async fn a_device_is_the_one_of_its_certificate_whatever_it_calls_itself() {
    let (emulator, api) = start().await;
    Paired::new(&emulator, &api, device(2)).await;
    let first = Paired::new(&emulator, &api, device(1)).await;
    for client_id in ["", "anything", &format!("{REALM}/{}", device(2))] {
        let (_connection, answer) = first.try_connect(client_id, false).await;
        assert_eq!(answer.code, ConnectReturnCode::Success, "{client_id:?}");
        assert_eq!(emulator.is_connected(REALM, device(1)), Ok(true), "{client_id:?}");
        assert_eq!(emulator.is_connected(REALM, device(2)), Ok(false), "{client_id:?}");
    }
    let (_, answer) = first.try_connect("", true).await;
    assert_eq!(answer.code, ConnectReturnCode::BadClientId, "a session needs a name");
}

#[tokio::test]
async fn a_client_with_a_foreign_certificate_or_none_at_all_gets_no_connection() {
    let (emulator, api) = start().await;
    let (other, other_api) = start().await;
    let foreign = Paired::new(&other, &other_api, device(1)).await;
    let mut intruder = Paired::new(&emulator, &api, device(1)).await;
    intruder.impersonate(&foreign);
    // With TLS 1.3 a client learns of the refusal when it reads.
    let stream = intruder.tls().await;
    if let Ok(stream) = stream {
        crate::support::mqtt::Connection::new(stream, "x").closed().await;
    }
    assert!(!emulator.is_connected(REALM, device(1)).expect("the device"));
}

#[tokio::test]
async fn a_device_that_was_deleted_is_refused() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let connection = paired.connect(true).await;
    let path = format!("devices/{}", device(1));
    assert_eq!(api.manage(reqwest::Method::DELETE, &path, None).await.0, 204);
    connection.closed().await;
    let (_, answer) = paired.try_connect(&paired.prefix(), true).await;
    assert_eq!(answer.code, ConnectReturnCode::NotAuthorized);
}

#[tokio::test]
async fn the_first_packet_must_be_connect() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let stream = paired.tls().await.expect("a TLS connection");
    let mut connection = crate::support::mqtt::Connection::new(stream, &paired.prefix());
    connection.send(&Packet::PingReq).await;
    connection.closed().await;
}

#[tokio::test]
async fn packets_that_are_too_long_or_malformed_end_the_connection() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    for bytes in [&[0x30, 0x80, 0x80, 0x04][..], &[0xF0, 0x00], &[0x30, 0xFF, 0xFF, 0xFF, 0xFF]] {
        let mut connection = paired.connect(false).await;
        connection.send_bytes(bytes).await;
        connection.closed().await;
    }
}

#[tokio::test]
async fn a_device_uses_its_own_topics_only() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(false).await;
    let own = connection.prefix.clone();
    connection.prefix = format!("{REALM}/{}", device(2));
    let Packet::SubAck(answer) = connection.subscribe("/#").await else { panic!("no SUBACK") };
    assert_eq!(answer.return_codes, [SubscribeReasonCode::Failure]);
    connection.prefix = own;
    let Packet::SubAck(answer) = connection.subscribe("/#").await else { panic!("no SUBACK") };
    assert_eq!(answer.return_codes, [SubscribeReasonCode::Success(QoS::ExactlyOnce)]);
    connection.publish_blindly(&format!("{REALM}/{}", device(2)), b"a.b:1:0".to_vec()).await;
    connection.closed().await;
}

#[tokio::test]
async fn a_newer_connection_takes_the_session_over() {
    let (emulator, api) = start().await;
    let mut presence = Receiver::start(&[]).await;
    api.install("on", &presence.url, on_device("device_connected"), None).await;
    api.install("off", &presence.url, on_device("device_disconnected"), None).await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut older = paired.connect(true).await;
    older.introduce().await;
    let mut newer = paired.connect(true).await;
    assert!(newer.session_present);
    older.closed().await;
    newer.ping().await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(presence.next().await.event()["type"].as_str().expect("a type").to_owned());
    }
    assert_eq!(seen, ["device_connected", "device_disconnected", "device_connected"]);
}

#[tokio::test]
async fn a_message_of_qos_0_to_an_offline_device_is_gone_although_the_answer_is_200() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(true).await;
    connection.introduce().await;
    emulator.disconnect(REALM, device(1)).expect("the realm");
    connection.closed().await;

    let request = json!({"operation": "Update", "url": "http://localhost/a", "uuid": "u"});
    let path = format!("devices/{}/interfaces/{OTA_REQUEST}/request", device(1));
    assert_eq!(api.post(&path, request).await.0, 200);
    let path = format!("devices/{}/interfaces/{COMMANDS}", device(1));
    assert_eq!(api.post(&format!("{path}/blink"), json!(3)).await.0, 200);
    assert_eq!(api.post(&format!("{path}/beep"), json!(4)).await.0, 200);

    let mut connection = paired.connect(true).await;
    assert!(connection.session_present);
    let messages = [connection.message().await, connection.message().await];
    let topics = messages.each_ref().map(|message| message.topic.as_str());
    let prefix = paired.prefix();
    assert_eq!(topics, [format!("{prefix}/{COMMANDS}/blink"), format!("{prefix}/{COMMANDS}/beep")]);
    assert_eq!(
        messages.each_ref().map(|message| message.qos),
        [QoS::AtLeastOnce, QoS::ExactlyOnce]
    );
    connection.ping().await;
    // What was sent is stored all the same.
    let path = format!("devices/{}/interfaces/{OTA_REQUEST}/request", device(1));
    assert_eq!(api.get(&path).await.1["data"][0]["uuid"], "u");
}

#[tokio::test]
async fn a_message_that_was_not_acknowledged_comes_again_after_a_reconnect() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(true).await;
    connection.introduce().await;
    let path = format!("devices/{}/interfaces/{COMMANDS}/beep", device(1));
    assert_eq!(api.post(&path, json!(4)).await.0, 200);
    let Packet::Publish(first) = connection.next().await else { panic!("no PUBLISH") };
    drop(connection);
    let mut connection = paired.connect(true).await;
    let second = connection.message().await;
    assert_eq!(second, Publish { dup: true, ..first });
}

#[tokio::test]
async fn without_a_session_a_guaranteed_message_is_answered_with_503() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(true).await;
    connection.introduce().await;
    emulator.lose_session(REALM, device(1)).expect("the realm");
    connection.closed().await;
    let path = format!("devices/{}/interfaces/{COMMANDS}/beep", device(1));
    let (status, body) = api.post(&path, json!(4)).await;
    assert_eq!((status, &body["errors"]["detail"]), (503, &json!("Cannot push to device")));
    let connection = paired.connect(true).await;
    assert!(!connection.session_present);
}

#[tokio::test]
async fn a_repeated_message_of_qos_2_counts_once() {
    let (emulator, api) = start().await;
    let mut images = Receiver::start(&[]).await;
    api.install("image", &images.url, incoming(BASE_IMAGE, 0), None).await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(true).await;
    connection.introduce().await;
    let topic = format!("{}/{BASE_IMAGE}/version", paired.prefix());
    let payload = doc! {"v": "1.0.0"}.to_vec().expect("BSON");
    let mut publish = Publish::new(topic, QoS::ExactlyOnce, payload);
    publish.pkid = 77;
    for _ in 0..2 {
        connection.send(&Packet::Publish(publish.clone())).await;
        assert!(matches!(connection.next().await, Packet::PubRec(_)));
        publish.dup = true;
    }
    emulator.deliveries_idle().await;
    assert_eq!(images.all().len(), 1);
}

#[tokio::test]
async fn server_owned_properties_are_sent_after_an_empty_cache() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(false).await;
    connection.introduce().await;
    let path = format!("devices/{}/interfaces/{SETTINGS}", device(1));
    assert_eq!(api.post(&format!("{path}/limit"), json!("9007199254740993")).await.0, 200);
    assert_eq!(api.post(&format!("{path}/a/enabled"), json!(true)).await.0, 200);
    let prefix = paired.prefix();
    assert_eq!(connection.message().await.topic, format!("{prefix}/{SETTINGS}/limit"));
    assert_eq!(connection.message().await.topic, format!("{prefix}/{SETTINGS}/a/enabled"));
    drop(connection);

    let mut connection = paired.connect(false).await;
    connection.introduce().await;
    connection.publish_blindly(&format!("{prefix}/control/emptyCache"), b"1".to_vec()).await;
    let list = connection.message().await;
    assert_eq!(list.topic, format!("{prefix}/control/consumer/properties"));
    let topics = [connection.message().await.topic, connection.message().await.topic];
    assert_eq!(
        topics,
        [format!("{prefix}/{SETTINGS}/a/enabled"), format!("{prefix}/{SETTINGS}/limit")]
    );

    let (_, stored) = api.get(&path).await;
    assert_eq!(stored["data"], json!({"limit": "9007199254740993", "a": {"enabled": true}}));
    assert_eq!(api.delete(&format!("{path}/limit")).await.0, 422, "it may not be unset");
    assert_eq!(api.delete(&format!("{path}/a/enabled")).await.0, 204);
    let unset = connection.message().await;
    assert_eq!((unset.topic, unset.payload.len()), (format!("{prefix}/{SETTINGS}/a/enabled"), 0));
}

#[tokio::test]
async fn bad_data_is_told_and_ends_connection_and_session() {
    let (emulator, api) = start().await;
    let mut errors = Receiver::start(&[]).await;
    api.install("error", &errors.url, on_device("device_error"), None).await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let encode = |document: bson::Document| document.to_vec().expect("BSON");
    for (rest, payload, name) in [
        (format!("/{BASE_IMAGE}/version"), encode(doc! {"v": 1}), "unexpected_value_type"),
        (format!("/{BASE_IMAGE}/version"), b"garbage".to_vec(), "undecodable_bson_payload"),
        (format!("/{BASE_IMAGE}/version"), Vec::new(), "unset_not_allowed"),
        (format!("/{BASE_IMAGE}/other"), encode(doc! {"v": "1"}), "mapping_not_found"),
        (format!("/{OTA_EVENT}/event"), encode(doc! {"v": {"other": 1}}), "unexpected_object_key"),
        (
            format!("/{OTA_REQUEST}/request"),
            encode(doc! {"v": {}}),
            "write_on_server_owned_interface",
        ),
        ("/org.example.Unknown/a".to_owned(), encode(doc! {"v": 1}), "interface_loading_failed"),
        (String::new(), b"no version".to_vec(), "invalid_introspection"),
        ("/control/producer/properties".to_owned(), vec![0, 0, 0, 9, 1], "invalid_properties"),
        ("/control/other".to_owned(), vec![1], "unexpected_control_message"),
    ] {
        let mut connection = paired.connect(true).await;
        assert!(!connection.session_present, "{name}");
        connection.introduce().await;
        connection.publish_blindly(&format!("{}{rest}", paired.prefix()), payload).await;
        connection.closed().await;
        let error = errors.next().await;
        assert_eq!(error.event()["error_name"], name, "{error:?}");
    }
}

#[tokio::test]
async fn the_interfaces_of_a_device_follow_its_introspection() {
    let (emulator, api) = start().await;
    let mut changes = Receiver::start(&[]).await;
    for kind in [
        "incoming_introspection",
        "interface_added",
        "interface_removed",
        "interface_minor_updated",
    ] {
        api.install(kind, &changes.url, on_device(kind), None).await;
    }
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(false).await;
    let prefix = paired.prefix();
    connection.publish(&prefix, b"org.example.A:0:1;org.example.B:1:0".to_vec()).await;
    connection.publish(&prefix, b"org.example.A:0:2;org.example.C:2:0;".to_vec()).await;
    emulator.deliveries_idle().await;
    let events: Vec<_> = changes.all().iter().map(|received| received.event().clone()).collect();
    let (a, b, c) = ("org.example.A", "org.example.B", "org.example.C");
    assert_eq!(
        events,
        [
            json!({"type": "incoming_introspection", "introspection_map":
                {a: {"major": 0, "minor": 1}, b: {"major": 1, "minor": 0}}}),
            json!({"type": "interface_added", "interface": a, "major_version": 0, "minor_version": 1}),
            json!({"type": "interface_added", "interface": b, "major_version": 1, "minor_version": 0}),
            json!({"type": "incoming_introspection", "introspection_map":
                {a: {"major": 0, "minor": 2}, c: {"major": 2, "minor": 0}}}),
            json!({"type": "interface_minor_updated", "interface": a, "major_version": 0,
                "old_minor_version": 1, "new_minor_version": 2}),
            json!({"type": "interface_added", "interface": c, "major_version": 2, "minor_version": 0}),
            json!({"type": "interface_removed", "interface": b, "major_version": 1}),
        ]
    );
    let (_, status) = api.get(&format!("devices/{}", device(1))).await;
    assert_eq!(status["data"]["previous_interfaces"][0]["name"], b);
}

#[tokio::test]
async fn properties_that_a_device_no_longer_lists_are_removed() {
    let (emulator, api) = start().await;
    let mut images = Receiver::start(&[]).await;
    api.install("image", &images.url, incoming(BASE_IMAGE, 0), None).await;
    let mut removed = incoming(BASE_IMAGE, 0);
    removed["on"] = json!("path_removed");
    api.install("removed", &images.url, removed, None).await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(false).await;
    connection.introduce().await;
    connection.set(&format!("{BASE_IMAGE}/name"), bson!("image")).await;
    connection.set(&format!("{BASE_IMAGE}/version"), bson!("1.0.0")).await;

    // The list with one property, as the SDK writes it.
    let list = format!("{BASE_IMAGE}/version");
    let mut payload = u32::try_from(list.len()).expect("short").to_be_bytes().to_vec();
    let mut encoder = flate2::write::ZlibEncoder::new(&mut payload, flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, list.as_bytes()).expect("bytes");
    encoder.finish().expect("bytes");
    let topic = format!("{}/control/producer/properties", paired.prefix());
    connection.publish(&topic, payload).await;

    emulator.deliveries_idle().await;
    let events: Vec<_> = images.all().iter().map(|received| received.event().clone()).collect();
    assert_eq!(
        events[2..],
        [json!({"type": "path_removed", "interface": BASE_IMAGE, "path": "/name"})]
    );
    let (_, image) = api.get(&format!("devices/{}/interfaces/{BASE_IMAGE}", device(1))).await;
    assert_eq!(image["data"], json!({"version": "1.0.0"}));
}

#[tokio::test]
async fn while_the_broker_is_down_nobody_connects_and_sessions_stay() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(true).await;
    connection.introduce().await;
    emulator.set_broker_down(true);
    connection.closed().await;
    assert!(paired.tls().await.is_err());
    assert!(!emulator.is_connected(REALM, device(1)).expect("the device"));
    emulator.set_broker_down(false);
    assert!(paired.connect(true).await.session_present);
}
