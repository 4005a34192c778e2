//! Who is online: what was just read is newer than what was told before, and what is told while
//! something is read is newer than that. Nobody misses what another saw first (D4).

mod common;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};

use axum::http::{HeaderName, HeaderValue};
use common::world::{World, campaign, definition, eventually, started, stored};
use common::{Fake, data, device, status, tenant};
use hedgerow_astarte::triggers::TriggerSettings;
use hedgerow_astarte::{Astarte, AstarteFleet, Reconciler, SystemModelSource, TriggerReceiver};
use hedgerow_core::{CampaignId, Channel, DeviceId, Presence};
use hedgerow_engine::ports::FleetDirectory;
use hedgerow_engine::{Engine, Moment, Sighting};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// So many seconds from now, as Astarte writes it.
/// A stamp. One of this very millisecond would be doubtful: what is known begins with the test.
fn in_seconds(seconds: i64) -> String {
    let at = chrono::Utc::now() + chrono::TimeDelta::seconds(seconds);
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

async fn told(receiver: &TriggerReceiver, byte: u8, at: &str, kind: &str) -> String {
    let event = json!({"type": kind});
    let body = json!({"timestamp": at, "device_id": device(byte), "event": event});
    let realm = HeaderName::from_static("astarte-realm");
    let headers = [(realm, HeaderValue::from_static("realm"))].into_iter().collect();
    receiver.receive(&headers, body.to_string().as_bytes()).await.text().to_owned()
}

fn receiver(astarte: &Astarte, engine: &Engine) -> TriggerReceiver {
    TriggerReceiver::new(astarte.clone(), engine.clone(), TriggerSettings::default())
}

/// What Astarte knows of a device from now on.
fn now_is(world: &World, byte: u8, is_online: bool, at: &str) {
    let mut devices = world.devices();
    let shown = &mut devices.get_mut(&device(byte)).expect("a device").status;
    shown["connected"] = json!(is_online);
    let stamp = if is_online { "last_connection" } else { "last_disconnection" };
    shown[stamp] = json!(at);
}

/// An engine whose campaign has started while its one device is offline.
async fn waiting_for_its_device() -> (World, Engine) {
    let world = World::with_devices(1).await;
    now_is(&world, 1, false, &in_seconds(-7_200));
    let engine = world.start(world.fleet()).await;
    engine.create(&tenant(), campaign(), definition(), None).await.expect("a new campaign");
    eventually(|| async {
        let progress = engine.progress(&tenant(), campaign()).await.expect("the campaign");
        progress.started_at.is_some()
    })
    .await;
    (world, engine)
}

#[tokio::test]
async fn a_connection_that_another_campaigns_snapshot_saw_first_is_told_to_all() {
    let (world, engine) = waiting_for_its_device().await;
    let at = in_seconds(1);
    now_is(&world, 1, true, &at);
    // For another System Model, whose devices are in the same group.
    let mut other = definition();
    other.base_image.system_model = "router".parse().expect("a handle");
    other.channel = Channel::new("beta".parse().expect("c"), ["g".parse().expect("g")]).expect("c");
    let id: CampaignId = "6f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa".parse().expect("a UUID");
    engine.create(&tenant(), id, other, None).await.expect("a new campaign");
    eventually(|| async {
        engine.progress(&tenant(), id).await.expect("the campaign").outcome.is_some()
    })
    .await;
    let receiver = receiver(&world.astarte, &engine);
    assert_eq!(told(&receiver, 1, &at, "device_connected").await, "taken");
    world.wait_for_updates(1).await;
    assert_eq!(told(&receiver, 1, &at, "device_connected").await, "nothing to do", "a repetition");
}

#[tokio::test]
async fn each_of_two_engines_over_one_astarte_is_told() {
    let (world, first) = waiting_for_its_device().await;
    let second = World::with_devices(1).await;
    let second = second.start(world.fleet()).await;
    let at = in_seconds(1);
    for engine in [&first, &second] {
        let receiver = receiver(&world.astarte, engine);
        assert_eq!(told(&receiver, 1, &at, "device_connected").await, "taken");
        assert_eq!(told(&receiver, 1, &at, "device_connected").await, "nothing to do");
    }
}

#[tokio::test]
async fn a_reconnection_that_somebody_else_looked_at_first_is_still_found_by_a_round() {
    let world = World::with_devices(1).await;
    let engine = started(&world).await;
    let reconciler = Reconciler::new(world.astarte.clone(), engine);
    assert_eq!(reconciler.round().await.moved, 0);
    now_is(&world, 1, true, &in_seconds(1));
    world.fleet().presence(&tenant(), vec![device(1)]).await.expect("presence");
    assert_eq!(reconciler.round().await.moved, 1);
    assert_eq!(reconciler.round().await.moved, 0);
}

#[tokio::test]
async fn a_reboot_that_a_failing_round_heard_of_is_told_by_the_next() {
    let world = World::with_devices(1).await;
    let engine = started(&world).await;
    world.devices().get_mut(&device(1)).expect("a device").stored =
        vec![stored(1, "2026-08-21T10:00:00.000Z", "Rebooting", "")];
    let reconciler = Reconciler::new(world.astarte.clone(), engine);
    world.statuses_fail.store(true, Ordering::SeqCst);
    let failing = reconciler.round().await;
    assert_eq!((failing.reports, failing.moved), (1, 0));
    world.statuses_fail.store(false, Ordering::SeqCst);
    assert_eq!(reconciler.round().await.moved, 1);
    assert_eq!(reconciler.round().await.moved, 0);
}

#[tokio::test]
async fn what_a_round_reads_is_newer_than_a_stamp_far_ahead() {
    let (world, engine) = waiting_for_its_device().await;
    let receiver = receiver(&world.astarte, &engine);
    assert_eq!(receiver.counts().stamped_ahead, 0);
    assert_eq!(told(&receiver, 1, &in_seconds(3_600), "device_disconnected").await, "taken");
    assert_eq!(receiver.counts().stamped_ahead, 1);
    now_is(&world, 1, true, &in_seconds(-60));
    let reconciler = Reconciler::new(world.astarte.clone(), engine.clone());
    assert_eq!(reconciler.round().await.moved, 1);
    world.wait_for_updates(1).await;
    // From here on the clock is right again, and every notice counts.
    assert_eq!(told(&receiver, 1, &in_seconds(-30), "device_disconnected").await, "taken");
}

#[tokio::test]
async fn notices_are_heard_although_astarte_s_clock_was_put_back() {
    let (world, engine) = waiting_for_its_device().await;
    let receiver = receiver(&world.astarte, &engine);
    now_is(&world, 1, false, &in_seconds(1));
    assert_eq!(told(&receiver, 1, &in_seconds(1), "device_disconnected").await, "taken");
    let put_back = in_seconds(-3_600);
    now_is(&world, 1, true, &put_back);
    assert_eq!(told(&receiver, 1, &put_back, "device_connected").await, "taken");
    world.wait_for_updates(1).await;
    assert_eq!(told(&receiver, 1, &put_back, "device_connected").await, "nothing to do");
}

#[tokio::test]
async fn a_doubtful_notice_is_believed_while_astarte_cannot_be_asked() {
    let (world, engine) = waiting_for_its_device().await;
    let receiver = receiver(&world.astarte, &engine);
    assert_eq!(told(&receiver, 1, &in_seconds(1), "device_disconnected").await, "taken");
    world.statuses_fail.store(true, Ordering::SeqCst);
    assert_eq!(told(&receiver, 1, &in_seconds(-3_600), "device_connected").await, "taken");
    world.wait_for_updates(1).await;
}

#[tokio::test]
async fn a_notice_that_was_overtaken_tells_what_astarte_says_now() {
    let (world, engine) = waiting_for_its_device().await;
    let receiver = receiver(&world.astarte, &engine);
    let (before, after) = (in_seconds(-20), in_seconds(-10));
    now_is(&world, 1, true, &after);
    assert_eq!(told(&receiver, 1, &after, "device_connected").await, "taken");
    world.wait_for_updates(1).await;
    let answer = told(&receiver, 1, &before, "device_disconnected").await;
    assert_eq!(answer, "nothing to do", "it is online, as was told");
}

/// Keeps an answer back until it is opened.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().expect("no panic") = true;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let is_open = self.is_open.lock().expect("no panic");
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).expect("no panic"));
    }
}

/// An Astarte with three devices, all offline, that keeps back what comes last of a look.
struct Slow {
    fake: Fake,
    engine: Engine,
    gate: Arc<Gate>,
    reached: mpsc::UnboundedReceiver<()>,
}

impl Slow {
    async fn start(keeps_back: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        let gate = Arc::new(Gate::default());
        let (tell, reached) = mpsc::unbounded_channel();
        let held = Arc::clone(&gate);
        let offline = |id: DeviceId| {
            let mut status = status(id);
            status["connected"] = json!(false);
            status["last_disconnection"] = json!("2026-08-21T11:00:00.000Z");
            status
        };
        let fake = Fake::start(move |asked| {
            // What is answered is as of when it was asked for.
            let answer: Value = match asked.path.split('/').collect::<Vec<_>>()[..] {
                ["appengine", "groups", "g", "devices"] if asked.query.contains("from_token") => {
                    data(&json!([offline(device(3))]))
                }
                ["appengine", "groups", "g", "devices"] => json!({
                    "data": [offline(device(1)), offline(device(2))],
                    "links": {"next": "/v1/realm/groups/g/devices?from_token=2"},
                }),
                ["appengine", "devices", id] => data(&offline(id.parse().expect("an id"))),
                ref other => panic!("{other:?}"),
            };
            if keeps_back(&format!("{}?{}", asked.path, asked.query)) {
                tell.send(()).expect("the test runs");
                held.wait();
            }
            (200, answer)
        })
        .await;
        let world = World::with_devices(0).await;
        let engine = world.start(world.fleet()).await;
        Self { fake, engine, gate, reached }
    }
}

#[tokio::test]
async fn a_selection_that_an_earlier_call_began_is_as_of_when_each_page_was_asked_for() {
    let mut slow = Slow::start(|asked| asked.contains("from_token")).await;
    let fleet = AstarteFleet::new(slow.fake.astarte(), SystemModelSource::attribute("model"));
    let channel = Channel::new("c".parse().expect("c"), ["g".parse().expect("g")]).expect("c");
    let gateway = "gateway".parse().expect("a handle");
    // The engine gives its first call up, and the next gets what that one began.
    let began = Moment::now();
    let given_up = tokio::spawn(fleet.targets(&tenant(), &channel, &gateway));
    slow.reached.recv().await.expect("the second page is asked for");
    given_up.abort();
    let told_since = Moment::now();
    slow.gate.open();
    let targets = fleet.targets(&tenant(), &channel, &gateway).await.expect("targets");
    assert_eq!(targets.iter().map(|(of, _)| *of).collect::<Vec<_>>(), [1, 2, 3].map(device));
    let [first, second, third] = [0, 1, 2].map(|place| targets[place].1.as_of);
    assert!(began < first && first == second && second < third && third < told_since);
}

#[tokio::test]
async fn what_is_told_while_presence_is_looked_up_is_newer_than_what_is_read() {
    let mut slow = Slow::start(|asked| asked.starts_with("appengine/devices/")).await;
    let astarte = slow.fake.astarte();
    let fleet = AstarteFleet::new(astarte.clone(), SystemModelSource::attribute("model"));
    let looked_up = tokio::spawn(fleet.presence(&tenant(), vec![device(1), device(2)]));
    for _ in 0..2 {
        slow.reached.recv().await.expect("both are asked for");
    }
    let receiver = receiver(&astarte, &slow.engine);
    assert_eq!(told(&receiver, 1, &in_seconds(1), "device_connected").await, "taken");
    slow.gate.open();
    let presence = looked_up.await.expect("no panic").expect("presence");
    let online = |seen: &Sighting| seen.presence != Some(Presence::Offline);
    let online: Vec<_> = presence.iter().map(online).collect();
    assert_eq!(online, [true, false]);
}
