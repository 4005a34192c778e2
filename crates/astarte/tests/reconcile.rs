//! Reports that nobody heard are fetched from what Astarte stored (D12).

mod common;

use common::world::{World, campaign, eventually, started, stored};
use common::{device, tenant};
use hedgerow_astarte::triggers::TriggerSettings;
use hedgerow_astarte::{Reconciler, TriggerReceiver};
use hedgerow_core::{FailureReason, Outcome, RolloutMechanism, Settlement};
use hedgerow_engine::Engine;
use serde_json::json;

async fn settlements(engine: &Engine) -> Vec<Settlement> {
    let state = engine.state(&tenant(), campaign()).await.expect("an answer");
    state.expect("the campaign").targets().map(|target| target.settlement).collect()
}

async fn is_finished(engine: &Engine) -> bool {
    let progress = engine.progress(&tenant(), campaign()).await.expect("the campaign");
    progress.outcome == Some(Outcome::Success)
}

#[tokio::test]
async fn a_round_tells_the_engine_what_was_reported_meanwhile() {
    let world = World::with_devices(2).await;
    let engine = started(&world).await;
    let reconciler = Reconciler::new(world.astarte.clone(), engine.clone());
    let round = reconciler.round().await;
    assert_eq!((round.devices, round.reports, round.unread), (2, 0, 0));

    for byte in 1..=2 {
        let mut devices = world.devices();
        let shown = devices.get_mut(&device(byte)).expect("a device");
        shown.stored = vec![
            stored(byte, "2026-08-21T10:00:00.000Z", "Acknowledged", ""),
            stored(byte, "2026-08-21T10:01:00.000Z", "Rebooting", ""),
            // Another update of the past, and a row of a future firmware.
            json!({"requestUUID": campaign(), "status": "Failure", "timestamp": "2025-01-01T00:00:00.000Z"}),
            json!({"requestUUID": campaign(), "status": "New", "timestamp": "2025-01-02T00:00:00.000Z"}),
        ];
    }
    let round = reconciler.round().await;
    assert_eq!((round.devices, round.reports), (2, 4));

    // The first ends as expected; the second's clock began anew in 1970.
    for (byte, at) in [(1, "2026-08-21T10:02:00.000Z"), (2, "1970-01-01T00:00:40.000Z")] {
        let mut devices = world.devices();
        let shown = devices.get_mut(&device(byte)).expect("a device");
        shown.stored.push(stored(byte, at, "Success", ""));
    }
    reconciler.round().await;
    assert!(is_finished(&engine).await, "{:?}", settlements(&engine).await);
    let asked = world.fake.asked();
    let after = asked.iter().filter(|asked| asked.query.starts_with("since_after=")).count();
    assert_eq!(after, 2, "only what came after the last report known is read first");
    assert_eq!(reconciler.round().await.devices, 0);
}

#[tokio::test]
async fn after_a_restart_nothing_is_sent_again_before_stored_reports_were_read() {
    let world = World::with_devices(1).await;
    let engine = started(&world).await;
    engine.shutdown().await;
    drop(engine);
    world.devices().get_mut(&device(1)).expect("a device").stored =
        vec![stored(1, "2026-08-21T10:00:00.000Z", "Failure", "InvalidBaseImage")];

    let (fleet, hold) = world.fleet().hold_presence();
    let engine = world.start(fleet).await;
    // Longer than the engine waits after a restart before it sends anything.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    Reconciler::new(world.astarte.clone(), engine.clone()).fetch_reports().await;
    drop(hold);
    let failed = Settlement::Failed(FailureReason::InvalidBaseImage);
    assert_eq!(settlements(&engine).await, [failed]);
    assert_eq!(world.updates().len(), 1, "the device would have done it all again");
}

#[tokio::test]
async fn who_is_online_is_compared_with_what_the_engine_was_told() {
    let world = World::with_devices(3).await;
    let connect = |byte: u8, is: bool| {
        let mut devices = world.devices();
        devices.get_mut(&device(byte)).expect("a device").status["connected"] = json!(is);
    };
    connect(1, false);
    connect(2, false);
    let engine = world.start(world.fleet()).await;
    let definition = common::world::definition();
    engine.create(&tenant(), campaign(), definition, None).await.expect("a new campaign");
    world.wait_for_updates(1).await;
    let reconciler = Reconciler::new(world.astarte.clone(), engine.clone());
    assert_eq!(reconciler.round().await.moved, 0);

    // One connects, one is deleted, and nobody tells.
    connect(1, true);
    world.devices().remove(&device(2));
    assert_eq!(reconciler.round().await.moved, 2);
    world.wait_for_updates(2).await;
    let removed = Settlement::Failed(FailureReason::DeviceRemoved);
    assert_eq!(settlements(&engine).await, [Settlement::Open, removed, Settlement::Open]);
    assert_eq!(reconciler.round().await.moved, 0);

    // One in progress connects anew.
    world.devices().get_mut(&device(3)).expect("a device").status["last_connection"] =
        json!("2100-01-01T00:00:00.000Z");
    assert_eq!(reconciler.round().await.moved, 1);
    assert_eq!(reconciler.round().await.moved, 0);
}

#[tokio::test]
async fn a_device_whose_reboot_was_heard_of_only_when_it_was_back_is_judged_by_it() {
    let world = World::with_devices(1).await;
    let engine = world.start(world.fleet()).await;
    let mut definition = common::world::definition();
    let RolloutMechanism::Push(rollout) = &mut definition.rollout else { panic!("a push") };
    rollout.limits.operation.reboot_timeout = std::time::Duration::from_secs(1);
    engine.create(&tenant(), campaign(), definition, None).await.expect("a new campaign");
    world.wait_for_updates(1).await;
    // It has rolled back, and could not say so.
    world.devices().get_mut(&device(1)).expect("a device").stored =
        vec![stored(1, "2026-08-21T10:00:00.000Z", "Rebooting", "")];
    let reconciler = Reconciler::new(world.astarte.clone(), engine.clone());
    assert_eq!(reconciler.round().await.moved, 1);
    let rolled_back = Settlement::Failed(FailureReason::SystemRollback);
    eventually(|| async { settlements(&engine).await == [rolled_back] }).await;
    assert_eq!(reconciler.round().await.moved, 0);
}

#[tokio::test]
async fn a_device_that_comes_back_is_asked_for_what_it_reported() {
    let world = World::with_devices(1).await;
    let engine = started(&world).await;
    let reconciler = Reconciler::new(world.astarte.clone(), engine.clone());
    let receiver =
        TriggerReceiver::new(world.astarte.clone(), engine.clone(), TriggerSettings::default())
            .with_reconciler(reconciler);
    world.devices().get_mut(&device(1)).expect("a device").stored =
        vec![stored(1, "2026-08-21T10:00:00.000Z", "Success", "")];
    let body = json!({
        "timestamp": "2100-01-01T00:00:00.000Z", "device_id": device(1),
        "event": {"type": "device_connected"},
    });
    let headers = [(
        axum::http::HeaderName::from_static("astarte-realm"),
        axum::http::HeaderValue::from_static("realm"),
    )];
    let headers = headers.into_iter().collect();
    let answer = receiver.receive(&headers, body.to_string().as_bytes()).await;
    assert_eq!(answer.status(), 200);
    eventually(|| is_finished(&engine)).await;
}
