//! The service is down while devices finish their updates. When it is back, what Astarte kept of
//! their reports and what they show ends the campaign, and no device is asked for the same update
//! a second time.
//!
//! The everyday run is bounded. The whole of it, 500 devices and two minutes:
//!
//! ```text
//! HEDGEROW_OUTAGE_DEVICES=500 HEDGEROW_OUTAGE_SECONDS=120 \
//!     cargo test --release -p hedgerow-astarte --test real_devices outage -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hedgerow_astarte_emulator::Recorded;

use crate::from_environment;
use crate::world::{NEW_VERSION, World, WorldSettings};

const EVERYDAY_DEVICES: u32 = 50;

/// How many Update requests went out to each device.
fn updates_sent(world: &World) -> BTreeMap<String, usize> {
    let mut sent = BTreeMap::new();
    for recorded in world.emulator.recording() {
        if let Recorded::ToDevice { device, payload, .. } = recorded
            && payload["v"]["operation"] == "Update"
        {
            *sent.entry(device.to_string()).or_default() += 1;
        }
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_finish_during_an_outage_of_the_service_are_successful_after_it() {
    let devices = from_environment("HEDGEROW_OUTAGE_DEVICES").unwrap_or(EVERYDAY_DEVICES);
    let seconds = from_environment("HEDGEROW_OUTAGE_SECONDS").unwrap_or(0);
    let patience = Duration::from_secs(600);
    let settings = WorldSettings {
        devices,
        // So that few finish before the service goes down, and all before it is back.
        firmware_speed: if seconds >= 100 { 1 } else { 20 },
        recorded: 1_000_000,
        ..WorldSettings::default()
    };
    let world = World::start(settings).await;
    let service = world.serve().await;
    world.connected(patience).await;
    service.create(devices, "0").await;
    let asked = async {
        while updates_sent(&world).len() < devices as usize {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(patience, asked).await.expect("all devices have been asked");
    let before = service.progress().await.targets;
    service.stop().await;

    let outage = Instant::now();
    world.all_show(NEW_VERSION, patience).await;
    let least = Duration::from_secs(seconds.into());
    tokio::time::sleep(least.saturating_sub(outage.elapsed())).await;
    let outage = outage.elapsed();
    // What was told meanwhile had nobody to go to. Of many devices, the rest is still in the queue.
    if devices <= EVERYDAY_DEVICES {
        world.emulator.deliveries_idle().await;
    }
    let lost = world.emulator.deliveries().discarded;
    assert!(lost > u64::from(devices), "{lost} deliveries were lost");

    let back = Instant::now();
    let service = world.serve().await;
    service.all_successful(patience).await;
    println!(
        "{devices} devices, {} of them in progress as the service went down for {outage:.1?}, \
         {lost} deliveries lost, all successful {:.1?} after it was back",
        before.in_progress,
        back.elapsed()
    );
    let sent = updates_sent(&world);
    assert_eq!(sent.len(), devices as usize);
    assert!(sent.values().all(|times| *times == 1), "asked again: {sent:?}");
    service.stop().await;
    world.end().await;
}
