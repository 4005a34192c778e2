//! The directory: the devices of a channel's groups with their System Model (D2), and who is online.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{Fake, data, device, error, status, tenant};
use hedgerow_astarte::{AstarteFleet, SystemModelSource};
use hedgerow_core::{Channel, DeviceId, Presence, SystemModelHandle, Timestamp};
use hedgerow_engine::Sighting;
use hedgerow_engine::ports::FleetDirectory;
use serde_json::{Value, json};

fn channel(groups: &[&str]) -> Channel {
    let groups: Vec<_> = groups.iter().map(|group| group.parse().expect("a group")).collect();
    Channel::new("stable".parse().expect("a channel"), groups).expect("groups")
}

fn gateway() -> SystemModelHandle {
    "gateway".parse().expect("a handle")
}

fn online() -> Presence {
    // 2026-08-21T10:00:00Z
    Presence::Online { since: Timestamp::from_millis(1_787_306_400_000) }
}

fn listed(devices: &[u8], next: Option<&str>) -> Value {
    let devices: Vec<_> = devices.iter().map(|&byte| status(device(byte))).collect();
    json!({
        "data": devices,
        "links": { "self": "/v1/realm/groups/g/devices", "next": next },
    })
}

fn presences(seen: &[Sighting]) -> Vec<Option<Presence>> {
    seen.iter().map(|seen| seen.presence).collect()
}

fn ids(targets: &[(DeviceId, Sighting)]) -> Vec<DeviceId> {
    targets.iter().map(|(device, _)| *device).collect()
}

#[tokio::test]
async fn targets_are_the_union_of_the_groups_page_by_page_each_device_once() {
    let fake = Fake::start(|asked| match (asked.path.as_str(), asked.query.as_str()) {
        ("appengine/groups/east%2F1%20a/devices", query) if query.contains("from_token=5%2B6") => {
            (200, listed(&[3], None))
        }
        ("appengine/groups/east%2F1%20a/devices", _) => {
            let next = "/v1/realm/groups/east%2F1%20a/devices?details=true&from_token=5%2B6";
            (200, listed(&[1, 2], Some(next)))
        }
        ("appengine/groups/west/devices", _) => (200, listed(&[2, 4], None)),
        ("appengine/groups/empty/devices", _) => (404, error("Group not found")),
        other => panic!("{other:?}"),
    })
    .await;
    let fleet = AstarteFleet::new(fake.astarte(), SystemModelSource::attribute("model"));
    let channel = channel(&["east/1 a", "empty", "west"]);
    let targets = fleet.targets(&tenant(), &channel, &gateway()).await.expect("targets");
    assert_eq!(ids(&targets), [1, 2, 3, 4].map(device));
    assert!(targets.iter().all(|(_, seen)| seen.presence == Some(online())), "{targets:?}");
    let other = "router".parse().expect("a handle");
    assert_eq!(fleet.targets(&tenant(), &channel, &other).await, Ok(Vec::new()));
}

#[tokio::test]
async fn the_system_model_can_be_a_property_that_stands_for_a_handle() {
    let failing = AtomicUsize::new(2);
    let fake = Fake::start(move |asked| {
        let first = device(1).to_string();
        match asked.path.split('/').collect::<Vec<_>>()[..] {
            ["appengine", "groups", _, "devices"] => (200, listed(&[1, 2, 3, 4], None)),
            ["appengine", "devices", id, "interfaces", "com.example.Hardware"] => {
                if id == first && failing.fetch_sub(1, Ordering::Relaxed) > 0 {
                    return (503, error("database error"));
                }
                let device: DeviceId = id.parse().expect("a device");
                match device.as_bytes()[0] {
                    1 => (200, data(&json!({"board": {"part": "PN-1"}}))),
                    2 => (200, data(&json!({"board": {"part": "gateway"}}))),
                    3 => (200, data(&json!({"board": {"part": "PN-2"}}))),
                    _ => (404, error("Interface not found in device introspection")),
                }
            }
            ref other => panic!("{other:?}"),
        }
    })
    .await;
    let source = SystemModelSource::property("com.example.Hardware", "/board/part")
        .with_handles([("PN-1".to_owned(), gateway())]);
    let told: Arc<Mutex<Vec<_>>> = Arc::default();
    let tell = Arc::clone(&told);
    let fleet = AstarteFleet::new(fake.astarte(), source)
        .on_progress(move |progress| tell.lock().expect("no panic").push(progress));
    let targets = fleet.targets(&tenant(), &channel(&["g"]), &gateway()).await.expect("targets");
    assert_eq!(ids(&targets), [1, 2].map(device));
    let told = told.lock().expect("no panic");
    let last = told.last().expect("progress is told");
    assert_eq!((last.found, last.read, last.selected), (4, 4, 2));
}

#[tokio::test]
async fn a_selection_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
    for told in [
        (500, error("Internal server error")),
        (403, error("Unauthorized access")),
        (404, json!("default backend - 404")),
        (200, json!("garbage")),
        (200, listed(&[1], Some("?from_token=7"))),
    ] {
        let fake = Fake::start(move |_| told.clone()).await;
        let fleet = AstarteFleet::new(fake.astarte(), SystemModelSource::attribute("model"));
        let targets = fleet.targets(&tenant(), &channel(&["g"]), &gateway()).await;
        assert!(targets.is_err(), "{targets:?}");
    }
}

#[tokio::test]
async fn presence_is_read_from_each_devices_status_and_a_missing_device_is_none() {
    let fake = Fake::start(|asked| {
        let id = asked.path.rsplit('/').next().unwrap_or_default();
        let device: DeviceId = id.parse().expect("a device");
        let mut shown = status(device);
        match device.as_bytes()[0] {
            1 => {}
            2 => shown["connected"] = Value::Null,
            3 => shown["deletion_in_progress"] = json!(true),
            _ => return (404, error("Device not found")),
        }
        (200, data(&shown))
    })
    .await;
    let fleet = AstarteFleet::new(fake.astarte(), SystemModelSource::attribute("model"));
    let seen = fleet.presence(&tenant(), [1, 2, 3, 4].map(device).to_vec()).await;
    let expected = vec![Some(online()), Some(Presence::Offline), Some(Presence::Offline), None];
    assert_eq!(presences(&seen.expect("presence")), expected);
}

#[tokio::test]
async fn the_presence_of_many_devices_is_read_from_the_list_of_all() {
    let many: Vec<DeviceId> =
        (0..1_500_u32).map(|n| DeviceId::from_bytes((u128::from(n) << 8).to_be_bytes())).collect();
    let all = many.clone();
    let fake = Fake::start(move |asked| match asked.path.as_str() {
        "appengine/devices" => {
            let page: usize = asked
                .query
                .split('&')
                .find_map(|pair| pair.strip_prefix("from_token=")?.parse().ok())
                .unwrap_or(0);
            // The last device is missing from the list, but exists.
            let devices =
                &all[page * 500..all.len().min(page * 500 + 500) - usize::from(page == 2)];
            let next = (page < 2).then(|| format!("/v1/realm/devices?from_token={}", page + 1));
            let devices: Vec<_> = devices.iter().map(|&device| status(device)).collect();
            (200, json!({"data": devices, "links": {"next": next}}))
        }
        _ => (200, data(&status(all[1_499]))),
    })
    .await;
    let fleet = AstarteFleet::new(fake.astarte(), SystemModelSource::attribute("model"));
    let presence = fleet.presence(&tenant(), many).await.expect("presence");
    assert_eq!(presence.len(), 1_500);
    assert!(presence.iter().all(|seen| seen.presence == Some(online())));
    assert_eq!(fake.asked().len(), 4, "three pages and one device");
}

#[tokio::test]
async fn presence_is_held_back_while_a_hold_is_kept() {
    let fake = Fake::start(|_| (200, data(&status(device(1))))).await;
    let fleet = AstarteFleet::new(fake.astarte(), SystemModelSource::attribute("model"));
    let (fleet, hold) = fleet.hold_presence();
    let asked = tokio::spawn(fleet.presence(&tenant(), vec![device(1)]));
    tokio::task::yield_now().await;
    assert!(!asked.is_finished() && fake.asked().is_empty());
    drop(hold);
    let seen = asked.await.expect("no panic").expect("presence");
    assert_eq!(presences(&seen), [Some(online())]);
}
