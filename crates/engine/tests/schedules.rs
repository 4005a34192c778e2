//! The engine under a schedule explorer: tasks run on threads of their own, and which of them goes
//! on whenever a lock is taken or given back is tried in many orders. No time passes, so that
//! whatever waits for a wake-up that was lost waits for ever, which the explorer notices.
//!
//! `cargo test -p hedgerow-engine --features schedules --test schedules`;
//! `HEDGEROW_SCHEDULES` is how many orders of each story are tried.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, pending, ready};
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, DeviceId, GatePolicy, ImageUrl,
    OperationId, OperationLimits, OperationReport, Presence, PushRollout, ReportStatus,
    RequestAnswer, RequestId, RolloutLimits, RolloutMechanism, SystemModelHandle, TenantId,
    Timestamp, TransportError, WhenRunning,
};
use hedgerow_engine::ports::{Clock, DeviceTransport, FleetDirectory, Spawner};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::{
    Engine, EngineBuilder, EngineError, ManualUpdateRequest, Observation, Sighting,
};
use shuttle::future::block_on;

const DEVICES: u8 = 2;

/// Devices that are online and show this version.
#[derive(Clone)]
struct Fleet {
    version: &'static str,
    sent: Arc<AtomicUsize>,
}

impl Fleet {
    fn showing(version: &'static str) -> Self {
        Self { version, sent: Arc::default() }
    }
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

const ONLINE: Presence = Presence::Online { since: Timestamp::from_millis(0) };

fn online() -> Sighting {
    Sighting::now(Some(ONLINE))
}

impl DeviceTransport for Fleet {
    fn send_update(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        self.sent.fetch_add(1, Ordering::SeqCst);
        ready(RequestAnswer::Accepted).boxed()
    }

    fn send_cancel(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        ready(RequestAnswer::Accepted).boxed()
    }

    fn base_image_version(
        &self,
        _: &TenantId,
        _: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        ready(Ok(Some(self.version.to_owned()))).boxed()
    }
}

impl FleetDirectory for Fleet {
    fn targets(
        &self,
        _: &TenantId,
        _: &Channel,
        _: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        ready(Ok((1..=DEVICES).map(|number| (device(number), online())).collect())).boxed()
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        ready(Ok(devices.iter().map(|_| online()).collect())).boxed()
    }
}

/// Time stands still; each task is a thread of the explorer.
struct Standstill;

impl Clock for Standstill {
    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}

impl Spawner for Standstill {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        shuttle::future::spawn(task);
    }
}

fn tenant() -> TenantId {
    "acme".parse().expect("a tenant")
}

fn id(number: u128) -> CampaignId {
    CampaignId::from_uuid(uuid::Uuid::from_u128(number))
}

fn definition(channel: &str) -> CampaignDefinition {
    let at_once = NonZeroU32::new(1).expect("not zero");
    CampaignDefinition {
        name: "spring".parse().expect("a name"),
        base_image: BaseImage {
            system_model: "gateway".parse().expect("a handle"),
            version: "2.0.0".parse().expect("a version"),
            url: "https://images.example/2.bin".parse().expect("a URL"),
            starting_version_requirement: None,
        },
        channel: Channel::new(channel.parse().expect("a name"), ["all".parse().expect("a name")])
            .expect("a channel"),
        rollout: RolloutMechanism::Push(PushRollout {
            limits: RolloutLimits::new(at_once, "100".parse().expect("a percentage")),
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    }
}

async fn start(store: &MemoryStore, fleet: &Fleet) -> Engine {
    let ports = (Arc::new(fleet.clone()), Arc::new(fleet.clone()));
    let (clock, spawner) = (Arc::new(Standstill), Arc::new(Standstill));
    let store = Arc::new(store.clone());
    let builder = EngineBuilder::new(store, ports.0, ports.1, clock, spawner);
    builder.writer(uuid::Uuid::from_u128(1)).start().await.expect("memory can be read")
}

fn explore(story: impl Fn() + Send + Sync + 'static) {
    let orders = std::env::var("HEDGEROW_SCHEDULES").ok().and_then(|orders| orders.parse().ok());
    let orders: usize = orders.unwrap_or(2_000);
    let story = Arc::new(story);
    let again = Arc::clone(&story);
    shuttle::check_random(move || story(), orders / 2);
    shuttle::check_pct(move || again(), orders / 2, 3);
}

/// Whether the log has so many events of that type.
async fn has(store: &MemoryStore, event_type: &str, count: usize) -> bool {
    let log = store.read_all(0, usize::MAX).await.expect("memory can be read");
    log.iter().filter(|stored| stored.event.event_type == event_type).count() == count
}

/// Lets others go on until it is so. Whatever waits for a wake-up that was lost makes this go round
/// for longer than any story needs, and the explorer gives up.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    while !is_so().await {
        shuttle::future::yield_now().await;
    }
}

#[test]
fn d14_a_device_that_is_freed_at_any_moment_is_had_by_whoever_waits_for_it() {
    explore(|| {
        block_on(async {
            let (store, fleet) = (MemoryStore::new(), Fleet::showing("2.0.0"));
            let engine = start(&store, &fleet).await;
            for number in 1..=2 {
                let definition = definition(&format!("c{number}"));
                engine.create(&tenant(), id(number), definition, None).await.expect("created");
            }
            until(async || has(&store, "campaign_finished", 2).await).await;
            engine.shutdown().await;
        });
    });
}

#[test]
fn d14_a_manual_update_and_a_campaign_never_have_a_device_at_once() {
    explore(|| {
        block_on(async {
            let (store, fleet) = (MemoryStore::new(), Fleet::showing("1.0.0"));
            let engine = start(&store, &fleet).await;
            let other = engine.clone();
            let manual = shuttle::future::spawn(async move {
                let request = ManualUpdateRequest {
                    request_id: RequestId::new("r1").expect("an id"),
                    device: device(1),
                    url: "https://images.example/9.bin".parse().expect("a URL"),
                    expected_version: None,
                    limits: OperationLimits::default(),
                };
                other.start_manual_update(&tenant(), request).await
            });
            engine.create(&tenant(), id(1), definition("c"), None).await.expect("created");
            let manual = manual.await.expect("no panic");
            until(async || fleet.sent.load(Ordering::SeqCst) >= 1).await;
            let log = store.read_all(0, usize::MAX).await.expect("memory can be read");
            let of_campaign = OperationId::of_campaign(id(1), device(1), 0);
            let started = |stored: &&hedgerow_core::StoredEvent| {
                stored.event.event_type == "operation_started"
                    && String::from_utf8_lossy(&stored.event.data)
                        .contains(&of_campaign.to_string())
            };
            let campaign_has_it = log.iter().filter(started).count() == 1;
            match manual {
                Ok(_) => assert!(!campaign_has_it, "D14"),
                Err(EngineError::DeviceBusy { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            engine.shutdown().await;
        });
    });
}

#[test]
fn e8_what_is_told_while_a_campaign_ends_is_answered_and_what_was_acknowledged_is_recorded() {
    explore(|| {
        block_on(async {
            let (store, fleet) = (MemoryStore::new(), Fleet::showing("1.0.0"));
            let engine = start(&store, &fleet).await;
            engine.create(&tenant(), id(1), definition("c"), None).await.expect("created");
            until(async || has(&store, "request_accepted", 1).await).await;
            let reports = [ReportStatus::Acknowledged, ReportStatus::Success].map(|status| {
                let engine = engine.clone();
                shuttle::future::spawn(async move {
                    let operation = OperationId::of_campaign(id(1), device(1), 0);
                    let report = OperationReport::new(device(1), operation, status);
                    engine.observe(&tenant(), Observation::Report(report)).await
                })
            });
            let stopping = engine.clone();
            let stopping = shuttle::future::spawn(async move { stopping.shutdown().await });
            let mut acknowledged = Vec::new();
            for report in reports {
                match report.await.expect("no panic") {
                    Ok(_) => acknowledged.push(true),
                    Err(error) => {
                        assert!(error.is_retryable(), "{error}");
                        acknowledged.push(false);
                    }
                }
            }
            stopping.await.expect("no panic");
            assert!(!acknowledged[1] || has(&store, "operation_succeeded", 1).await, "E8");
        });
    });
}
