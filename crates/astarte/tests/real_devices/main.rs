//! From an empty realm to a finished campaign: devices on the real SDK, over TLS, MQTT and HTTP.
//!
//! `RUST_LOG=hedgerow_astarte=debug,hedgerow_engine=debug` shows what happens, with `--nocapture`.

// The modules of a test are nobody else's.
#![allow(unreachable_pub)]

mod clock;
mod faults;
mod outage;
mod recording;
mod world;

use std::time::Duration;

use world::{World, WorldSettings};

const PATIENCE: Duration = Duration::from_secs(120);

/// A number that the environment gives.
fn from_environment(name: &str) -> Option<u32> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_dozen_devices_of_three_kinds_get_their_update() {
    let world = World::start(WorldSettings { devices: 24, ..WorldSettings::default() }).await;
    let service = world.serve().await;
    service.create(16, "0").await;
    service.all_successful(PATIENCE).await;
    assert_eq!(service.progress().await.targets.total, 24);
    let counts = service.receiver.counts();
    assert_eq!((counts.malformed, counts.foreign, counts.refused), (0, 0, 0), "{counts:?}");
    service.stop().await;
    world.end().await;
}
