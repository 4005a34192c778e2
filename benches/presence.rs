//! What it costs that campaigns run beside each other: presence told per second with 100,000 targets
//! in all, spread over 1, 10, 100 and 1,000 campaigns; and how long an engine takes to start on a
//! SQLite file with these campaigns, and to stop.
//!
//! The devices go offline and come back without their turn coming: the campaigns are paused. Who
//! tells does not wait for each answer before the next: a thousand are under way at a time.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all, ready};
use hedgerow_benches::log::tenant;
use hedgerow_benches::measure::{median, rate, thousands, timed};
use hedgerow_benches::{NOW, NoFleet, definition, device};
use hedgerow_core::{
    CampaignId, Channel, DeviceId, Presence, SystemModelHandle, TenantId, TransportError,
};
use hedgerow_engine::ports::FleetDirectory;
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::{Engine, EngineBuilder, Observation, Sighting};
use hedgerow_sqlite::SqliteStore;
use uuid::Uuid;

const TARGETS: u32 = 100_000;
const SIDES: [u32; 4] = [1, 10, 100, 1_000];
const ROUNDS: usize = 3;
const AT_ONCE: u32 = 1_000;

/// Campaign `n` has the devices from `n` times its share on.
#[derive(Clone, Copy)]
struct Shares {
    campaigns: u32,
}

fn offline() -> Sighting {
    Sighting::now(Some(Presence::Offline))
}

impl FleetDirectory for Shares {
    fn targets(
        &self,
        _: &TenantId,
        channel: &Channel,
        _: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        let name = channel.name().to_string();
        let number: u32 = name.trim_start_matches("ring-").parse().expect("its number");
        let share = TARGETS / self.campaigns;
        let devices = (number * share..(number + 1) * share).map(device);
        ready(Ok(devices.map(|device| (device, offline())).collect())).boxed()
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        ready(Ok(vec![offline(); devices.len()])).boxed()
    }
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut told = SIDES.map(|_| Vec::new());
    let mut starts = SIDES.map(|_| (Vec::new(), Vec::new()));
    for _ in 0..ROUNDS {
        for (side, campaigns) in SIDES.into_iter().enumerate() {
            told[side].push(presence_told(&runtime, campaigns));
            let (start, stop) = start_and_stop(&runtime, campaigns);
            starts[side].0.push(start);
            starts[side].1.push(stop);
        }
    }
    let told = told.map(median);
    println!(
        "| {} targets in | Presence told | Beside one campaign | Start | Stop |",
        thousands(TARGETS as usize)
    );
    println!("|---|---:|---:|---:|---:|");
    for (((campaigns, took), (start, stop)), one) in
        SIDES.into_iter().zip(told).zip(starts).zip([told[0]; SIDES.len()])
    {
        let per_second = rate(2 * TARGETS as usize, took) / 1e3;
        let beside = one.as_secs_f64() / took.as_secs_f64() * 100.0;
        let (start, stop) = (median(start).as_millis(), median(stop).as_millis());
        let plural = if campaigns == 1 { "" } else { "s" };
        println!(
            "| {} campaign{plural} | {per_second:.0} k/s | {beside:.0} % | {start} ms | {stop} ms |",
            thousands(campaigns as usize)
        );
    }
}

fn builder(
    runtime: &tokio::runtime::Runtime,
    store: Arc<dyn EventStore>,
    campaigns: u32,
) -> EngineBuilder {
    let tokio = Arc::new(TokioRuntime::new(runtime.handle().clone()));
    EngineBuilder::new(
        store,
        Arc::new(NoFleet),
        Arc::new(Shares { campaigns }),
        tokio.clone(),
        tokio,
    )
}

async fn create_and_pause(engine: &Engine, campaigns: u32) {
    for number in 0..campaigns {
        let id = CampaignId::from_uuid(Uuid::from_u128(u128::from(number) + 1));
        let mut definition = definition(NonZeroU32::MIN, "100");
        definition.channel = Channel::new(
            format!("ring-{number}").parse().expect("a name"),
            ["gardens".parse().expect("a name")],
        )
        .expect("a channel");
        engine.create(&tenant(), id, definition, None).await.expect("it is created");
        while engine.pause(&tenant(), id).await.is_err() {
            // Its snapshot is still being taken.
            tokio::task::yield_now().await;
        }
    }
}

/// Everybody goes offline, then everybody comes back.
fn presence_told(runtime: &tokio::runtime::Runtime, campaigns: u32) -> Duration {
    let builder = builder(runtime, Arc::new(MemoryStore::new()), campaigns);
    runtime.block_on(async {
        let engine = builder.start().await.expect("it starts");
        create_and_pause(&engine, campaigns).await;
        let all = async {
            for presence in [Presence::Online { since: NOW }, Presence::Offline] {
                for first in (0..TARGETS).step_by(AT_ONCE as usize) {
                    let tell = |number| {
                        let device = device(number);
                        let observation = Observation::Presence { device, presence };
                        let engine = &engine;
                        async move { engine.observe(&tenant(), observation).await }
                    };
                    for answer in join_all((first..first + AT_ONCE).map(tell)).await {
                        answer.expect("it is taken");
                    }
                }
            }
        };
        let begin = std::time::Instant::now();
        all.await;
        let took = begin.elapsed();
        engine.shutdown().await;
        took
    })
}

fn start_and_stop(runtime: &tokio::runtime::Runtime, campaigns: u32) -> (Duration, Duration) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.db");
    let open = |path: &Path| Arc::new(SqliteStore::open(path).expect("it opens"));
    let store = open(&path);
    runtime.block_on(async {
        let engine = builder(runtime, store.clone(), campaigns).start().await.expect("it starts");
        create_and_pause(&engine, campaigns).await;
        engine.shutdown().await;
    });
    store.close();
    let store = open(&path);
    let builder = builder(runtime, store.clone(), campaigns);
    let (start, engine) = timed(|| runtime.block_on(builder.start()).expect("it starts"));
    let (stop, ()) = timed(|| runtime.block_on(engine.shutdown()));
    store.close();
    (start, stop)
}
