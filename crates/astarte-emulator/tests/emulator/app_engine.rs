//! AppEngine over HTTP: status, lists, groups, attributes, values, and what is not permitted.

use std::collections::BTreeSet;

use crate::support::mqtt::Paired;
use crate::support::{
    Api, BASE_IMAGE, OTA_EVENT, OTA_REQUEST, REALM, SETTINGS, answer, device, start,
};
use bson::{bson, doc};
use chrono::TimeDelta;
use hedgerow_astarte_emulator::{Emulator, RealmKeys};
use reqwest::Method;
use serde_json::{Value, json};

fn detail(body: &Value) -> &str {
    body["errors"]["detail"].as_str().unwrap_or_default()
}

async fn with_devices(number: u8) -> (Emulator, Api) {
    let (emulator, api) = start().await;
    for index in 1..=number {
        emulator.register_device(REALM, device(index)).expect("a secret");
    }
    (emulator, api)
}

#[tokio::test]
async fn tokens_are_checked_and_claims_are_obeyed() {
    let (emulator, api) = with_devices(1).await;
    let keys = emulator.realm_keys(REALM).expect("the realm");
    let (status, body) = api.with_token("").get("devices").await;
    assert_eq!((status, detail(&body)), (401, "Missing authorization token"));
    let foreign = RealmKeys::generate().expect("keys").all_access_token().expect("a token");
    let (status, body) = api.with_token(&foreign).get("devices").await;
    assert_eq!((status, detail(&body)), (401, "Invalid JWT token"));

    let path = format!("devices/{}", device(1));
    let claims = json!({"a_aea": [format!("GET::{path}")], "a_rma": ["GET::interfaces"]});
    let limited = api.with_token(&keys.token(&claims).expect("a token"));
    assert_eq!(limited.get(&path).await.0, 200);
    let (status, body) = limited.get("devices").await;
    assert_eq!(status, 403);
    assert_eq!(detail(&body), "Unauthorized access to GET devices. Please verify your permissions");
    assert_eq!(limited.manage(Method::GET, "interfaces", None).await.0, 200);
    assert_eq!(limited.manage(Method::GET, "triggers", None).await.0, 403);

    let expired = json!({"a_aea": [".*::.*"], "exp": emulator.now().timestamp() - 1});
    let expired = api.with_token(&keys.token(&expired).expect("a token"));
    assert_eq!(expired.get("devices").await.0, 401);
}

#[tokio::test]
async fn the_status_of_a_device_has_all_its_fields() {
    let (emulator, api) = with_devices(1).await;
    let (status, body) = api.get(&format!("devices/{}", device(1))).await;
    assert_eq!(status, 200);
    let keys: BTreeSet<&str> =
        body["data"].as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = [
        "aliases",
        "attributes",
        "connected",
        "credentials_inhibited",
        "deletion_in_progress",
        "first_credentials_request",
        "first_registration",
        "groups",
        "id",
        "introspection",
        "last_connection",
        "last_credentials_request_ip",
        "last_disconnection",
        "last_seen_ip",
        "previous_interfaces",
        "total_received_bytes",
        "total_received_msgs",
    ];
    assert_eq!(keys, BTreeSet::from(expected));
    assert_eq!(
        (&body["data"]["connected"], &body["data"]["last_connection"]),
        (&json!(false), &Value::Null)
    );

    let paired = Paired::new(&emulator, &api, device(2)).await;
    let mut connection = paired.connect(true).await;
    connection.introduce().await;
    let (_, body) = api.get(&format!("devices/{}", device(2))).await;
    assert_eq!(
        (&body["data"]["connected"], &body["data"]["last_seen_ip"]),
        (&json!(true), &json!("127.0.0.1"))
    );
    assert!(body["data"]["last_connection"].as_str().is_some_and(|time| time.ends_with('Z')));
    let (_, stats) = api.get("stats/devices").await;
    assert_eq!(stats["data"], json!({"total_devices": 2, "connected_devices": 1}));
}

#[tokio::test]
async fn paths_that_do_not_exist_are_told_as_astarte_does() {
    let (_emulator, api) = with_devices(1).await;
    let other = device(9);
    for (path, status, text) in [
        ("devices/notanid".to_owned(), 400, "Bad request"),
        (format!("devices/{other}"), 404, "Device not found"),
        (
            format!("devices/{}/interfaces/{OTA_EVENT}", device(1)),
            404,
            "Interface not found in device introspection",
        ),
        ("groups/none".to_owned(), 404, "Group not found"),
        ("groups/none/devices".to_owned(), 404, "Group not found"),
        ("nowhere".to_owned(), 400, "Endpoint not found"),
    ] {
        let (found, body) = api.get(&path).await;
        assert_eq!((found, detail(&body)), (status, text), "{path}");
    }
    assert_eq!(api.get("devices?limit=0").await.0, 422);
    assert_eq!(api.get("devices?from_token=x").await.0, 422);
}

#[tokio::test]
async fn devices_are_listed_page_by_page() {
    let (_emulator, api) = with_devices(25).await;
    let (_, all) = api.get("devices").await;
    assert_eq!(all["data"].as_array().map(Vec::len), Some(25));
    assert_eq!(all["links"], json!({"self": "/v1/test/devices"}));

    let mut path = "devices?limit=10&details=true".to_owned();
    let mut seen = Vec::new();
    let mut pages = 0;
    loop {
        let (_, page) = api.get(&path).await;
        pages += 1;
        let devices = page["data"].as_array().expect("a list");
        seen.extend(devices.iter().map(|device| device["id"].clone()));
        let Some(next) = page["links"]["next"].as_str() else { break };
        path = next.trim_start_matches("/v1/test/").to_owned();
    }
    assert_eq!(pages, 3);
    assert_eq!(json!(seen), all["data"]);
}

#[tokio::test]
async fn groups_are_made_extended_listed_and_end_with_their_last_member() {
    let (_emulator, api) = with_devices(5).await;
    let group = json!({"group_name": "first floor/α", "devices": [device(1), device(2)]});
    let (status, body) = api.post("groups", group.clone()).await;
    assert_eq!((status, &body["data"]), (201, &group));
    assert_eq!(api.post("groups", group).await.0, 409);
    for group in [
        json!({"group_name": "~x", "devices": [device(1)]}),
        json!({"group_name": "x", "devices": []}),
        json!({"group_name": "x", "devices": [device(9)]}),
        json!({"devices": [device(1)]}),
    ] {
        assert_eq!(api.post("groups", group.clone()).await.0, 422, "{group}");
    }
    assert_eq!(api.get("groups").await.1["data"], json!(["first floor/α"]));

    let path = "groups/first%20floor%2F%CE%B1";
    assert_eq!(api.get(path).await.1["data"]["group_name"], "first floor/α");
    for index in 3..=5 {
        let (status, body) =
            api.post(&format!("{path}/devices"), json!({"device_id": device(index)})).await;
        assert_eq!((status, body), (201, Value::Null));
    }
    let (status, body) =
        api.post(&format!("{path}/devices"), json!({"device_id": device(3)})).await;
    assert_eq!((status, detail(&body)), (409, "Device already in group"));

    let (_, page) = api.get(&format!("{path}/devices?limit=3")).await;
    assert_eq!(page["data"], json!([device(1), device(2), device(3)]));
    let next = page["links"]["next"].as_str().expect("another page");
    let token = next.split("from_token=").nth(1).and_then(|rest| rest.split('&').next());
    let token: uuid::Uuid = token.expect("a token").parse().expect("a UUID");
    assert_eq!(token.get_version_num(), 1);
    let (_, page) = api.get(&format!("{path}/devices?limit=3&from_token={token}")).await;
    assert_eq!(page["data"], json!([device(4), device(5)]));
    assert_eq!(page["links"].get("next"), None);

    // A member can be reached through its group.
    let (_, member) = api.get(&format!("{path}/devices/{}", device(5))).await;
    assert_eq!(member["data"]["groups"], json!(["first floor/α"]));
    for index in 1..=5 {
        assert_eq!(api.delete(&format!("{path}/devices/{}", device(index))).await.0, 204);
    }
    assert_eq!(api.get(path).await.0, 404);
}

#[tokio::test]
async fn aliases_and_attributes_are_merged() {
    let (_emulator, api) = with_devices(2).await;
    let path = format!("devices/{}", device(1));
    let patch = json!({"aliases": {"name": "kitchen"}, "attributes": {"model": "m1", "site": "a"}});
    let (status, body) = api.patch(&path, patch).await;
    assert_eq!((status, &body["data"]["aliases"]), (200, &json!({"name": "kitchen"})));
    let (_, body) = api.patch(&path, json!({"attributes": {"site": null, "model": "m2"}})).await;
    assert_eq!(body["data"]["attributes"], json!({"model": "m2"}));
    assert_eq!(api.get("devices-by-alias/kitchen").await.1["data"]["id"], json!(device(1)));

    let other = format!("devices/{}", device(2));
    assert_eq!(api.patch(&other, json!({"aliases": {"name": "kitchen"}})).await.0, 409);
    assert_eq!(api.patch(&other, json!({"aliases": {"": "x"}})).await.0, 400);
    let plain = api.request(Method::PATCH, "appengine", &other);
    assert_eq!(answer(crate::support::with_data(plain, json!({}))).await.0, 415);

    let (_, body) = api.patch(&path, json!({"credentials_inhibited": true})).await;
    assert_eq!(body["data"]["credentials_inhibited"], true);
}

#[tokio::test]
async fn what_is_sent_must_fit_the_interface() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(true).await;
    connection.introduce().await;
    let base = format!("devices/{}/interfaces", device(1));
    for (path, value, status, text) in [
        (format!("{OTA_REQUEST}/request"), json!({"url": 1}), 422, "Unexpected value type"),
        (format!("{OTA_REQUEST}/request"), json!("x"), 422, "Unexpected value type"),
        (format!("{OTA_REQUEST}/request"), json!({"other": "x"}), 400, "Unexpected object key"),
        (format!("{OTA_REQUEST}/wrong"), json!({"url": "x"}), 500, "Internal server error"),
        (format!("{BASE_IMAGE}/version"), json!("2"), 405, "Cannot write to device owned resource"),
        (format!("{SETTINGS}/a"), json!(true), 405, "Cannot write to read-only resource"),
        (format!("{SETTINGS}/a/other"), json!(true), 404, "Mapping not found"),
        (format!("{SETTINGS}/limit"), json!("many"), 422, "Unexpected value type"),
    ] {
        let (found, body) = api.post(&format!("{base}/{path}"), value).await;
        assert_eq!((found, detail(&body)), (status, text), "{path}");
    }
    // Keys may be missing, unless they are required.
    let (status, _) =
        api.post(&format!("{base}/{OTA_REQUEST}/request"), json!({"operation": "Cancel"})).await;
    assert_eq!(status, 200);
    let huge = json!({"url": "a".repeat(70_000)});
    let (status, body) = api.post(&format!("{base}/{OTA_REQUEST}/request"), huge).await;
    assert_eq!((status, detail(&body)), (422, "Value size exceeds size limits"));
}

#[tokio::test]
async fn stored_events_are_read_from_a_time_on_until_they_expire() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(true).await;
    connection.introduce().await;
    let topic = format!("{}/{OTA_EVENT}/event", paired.prefix());
    let start_ms = 1_700_000_000_000;
    for (index, status) in ["Acknowledged", "Downloading", "Success"].into_iter().enumerate() {
        let time =
            bson::DateTime::from_millis(start_ms + 1000 * i64::try_from(index).expect("small"));
        let value = doc! {"requestUUID": "u", "status": status, "statusProgress": 0_i64};
        connection.publish(&topic, doc! {"v": value, "t": time}.to_vec().expect("BSON")).await;
    }
    let path = format!("devices/{}/interfaces/{OTA_EVENT}/event", device(1));
    let statuses = |body: &Value| -> Vec<String> {
        body["data"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|event| event["status"].as_str().expect("a status").to_owned())
            .collect()
    };
    let (_, body) = api.get(&format!("{path}?since=2023-11-14T22:13:20.000Z")).await;
    assert_eq!(statuses(&body), ["Acknowledged", "Downloading", "Success"]);
    assert_eq!(
        body["data"][0],
        json!({"requestUUID": "u", "status": "Acknowledged", "statusProgress": 0,
               "timestamp": "2023-11-14T22:13:20.000Z"})
    );
    let (_, body) = api.get(&format!("{path}?since_after=2023-11-14T22:13:20.000Z")).await;
    assert_eq!(statuses(&body), ["Downloading", "Success"]);
    let (_, body) = api.get(&format!("{path}?limit=1")).await;
    assert_eq!(statuses(&body), ["Success"], "without a start the newest come first");
    let (_, body) = api.get(&format!("{path}?limit=1&keep_milliseconds=true")).await;
    assert_eq!(body["data"][0]["timestamp"], start_ms + 2000);
    for query in
        ["since=now", "limit=x", "since=2023-11-14T22:13:20Z&since_after=2023-11-14T22:13:20Z"]
    {
        assert_eq!(api.get(&format!("{path}?{query}")).await.0, 422, "{query}");
    }
    // By the whole interface, too.
    let (_, body) = api.get(&format!("devices/{}/interfaces/{OTA_EVENT}?limit=2", device(1))).await;
    assert_eq!(statuses(&body), ["Success", "Downloading"]);

    emulator.set_clock_offset(TimeDelta::days(366));
    let (status, body) = api.get(&path).await;
    assert_eq!((status, detail(&body)), (404, "Path not found"));
}

#[tokio::test]
async fn properties_are_read_as_a_tree_or_one_by_one() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let mut connection = paired.connect(true).await;
    connection.introduce().await;
    let path = format!("devices/{}/interfaces/{BASE_IMAGE}", device(1));
    assert_eq!(api.get(&path).await.1["data"], json!({}));
    connection.set(&format!("{BASE_IMAGE}/version"), bson!("1.0.0")).await;
    assert_eq!(api.get(&path).await.1["data"], json!({"version": "1.0.0"}));
    assert_eq!(api.get(&format!("{path}/version")).await.1["data"], "1.0.0");
    assert_eq!(api.get(&format!("{path}/name")).await.0, 404);
    let (_, names) = api.get(&format!("devices/{}/interfaces", device(1))).await;
    assert_eq!(names["data"].as_array().map(Vec::len), Some(5));
}

#[tokio::test]
async fn requests_beyond_the_limits_are_refused() {
    let (_emulator, api) = with_devices(1).await;
    let path = format!("devices/{}", device(1));
    let (status, _) = api.patch(&path, json!({"attributes": {"a": "x".repeat(2 << 20)}})).await;
    assert_eq!(status, 413);
    assert_eq!(api.get(&format!("devices?limit={}", "1".repeat(9000))).await.0, 414);
    let deep = format!("{{\"data\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for body in [deep.as_str(), "", "{", "[]", "{\"data\"", "null"] {
        let request = api.request(Method::POST, "appengine", "groups").body(body.to_owned());
        assert_eq!(answer(request).await.0, 400);
    }
}
