//! The engine on several real threads, with a real store: what the simulation, which has one
//! thread, cannot play. Bounded; `HEDGEROW_ROUNDS` plays the larger ones more often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fleet::{Fleet, definition, device, tenant};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use hedgerow_core::{
    CampaignId, OperationId, OperationReport, Reaction, ReportStatus, StoredEvent, StreamId,
    TenantId,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::store::{
    AppendError, EventStore, StateSnapshot, StoreError, StoreLayer, StreamAppend,
};
use hedgerow_engine::{Engine, EngineBuilder, EngineError, Observation};
use hedgerow_sqlite::SqliteStore;

mod fleet;

/// Longer than anything here takes, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn id(number: u128) -> CampaignId {
    CampaignId::from_uuid(uuid::Uuid::from_u128(number))
}

async fn start(store: Arc<dyn EventStore>, fleet: &Fleet) -> Engine {
    let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    let (transport, directory) = (Arc::new(fleet.clone()), Arc::new(fleet.clone()));
    let builder = EngineBuilder::new(store, transport, directory, runtime.clone(), runtime);
    builder.start().await.expect("the store can be read")
}

fn on_threads<T>(threads: usize, test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(threads).enable_all().build().expect("a runtime");
    let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await });
    runtime.shutdown_background();
    ended.expect("it ends")
}

fn rounds() -> u32 {
    std::env::var("HEDGEROW_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// Waits until it is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    while !is_so().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_finished(engine: &Engine, number: u128) -> bool {
    let progress = engine.progress(&tenant(), id(number)).await.expect("it can be looked at");
    progress.outcome.is_some()
}

#[test]
fn d14_a_device_that_is_freed_just_when_another_campaign_is_told_it_is_busy_is_not_forgotten() {
    for _ in 0..rounds() {
        on_threads(4, async {
            // All are up to date: three campaigns look at the same devices, as fast as they can.
            let fleet = Fleet::new(10_000, "2.0.0");
            let engine = start(Arc::new(MemoryStore::new()), &fleet).await;
            for number in 1..=3 {
                let definition = definition(&format!("c{number}"), 500);
                let created = engine.create(&tenant(), id(number), definition, None).await;
                created.expect("it is created");
            }
            for number in 1..=3 {
                until(async || is_finished(&engine, number).await).await;
            }
            engine.shutdown().await;
        });
    }
}

#[test]
fn d7_d14_several_campaigns_and_manual_updates_share_devices_on_a_real_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("threads.db");
    on_threads(4, async {
        let fleet = Fleet::new(60, "1.0.0");
        let store = Arc::new(SqliteStore::open(&path).expect("a new store"));
        let engine = start(store.clone(), &fleet).await;
        for number in 1..=3 {
            let definition = definition(&format!("c{number}"), 20);
            let created = engine.create(&tenant(), id(number), definition, None).await;
            created.expect("it is created");
        }
        // Every device answers every request at once, from wherever it comes.
        let reports = async {
            loop {
                let open = engine.operations_in_progress(&tenant()).await.expect("it runs");
                if open.is_empty() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                let answers = open.into_iter().map(|open| {
                    let id = open.operation.id;
                    let report = OperationReport::new(open.device, id, ReportStatus::Success);
                    let engine = engine.clone();
                    async move { engine.observe(&tenant(), Observation::Report(report)).await }
                });
                for answer in join_all(answers).await {
                    answer.expect("it is taken");
                }
            }
        };
        let finished = async {
            for number in 1..=3 {
                until(async || is_finished(&engine, number).await).await;
            }
        };
        futures::future::select(Box::pin(reports), Box::pin(finished)).await;
        assert_eq!(fleet.sent(), 3 * 60, "each device once for each campaign");
        let log = EventStore::read_all(&*store, 0, usize::MAX).await.expect("it can be read");
        one_at_a_time(&log, 20);
        engine.shutdown().await;
    });
}

/// Never two operations of one device, never more in progress in a campaign than the limit.
fn one_at_a_time(log: &[StoredEvent], at_once: usize) {
    use hedgerow_core::event::CampaignEvent as Event;
    let mut active = std::collections::BTreeMap::new();
    for stored in log {
        match Event::from_stored(stored).expect("it can be read") {
            Event::OperationStarted(started) => {
                let before = active.insert(started.device, stored.stream);
                assert_eq!(before, None, "D14");
                let own = active.values().filter(|stream| **stream == stored.stream).count();
                assert!(own <= at_once, "D7");
            }
            Event::OperationSucceeded(ended) => drop(active.remove(&ended.device)),
            Event::OperationFailed(ended) => drop(active.remove(&ended.device)),
            _ => {}
        }
    }
    assert!(active.is_empty());
}

#[test]
fn e8_a_campaign_whose_creator_goes_away_while_the_file_is_busy_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("busy.db");
    on_threads(2, async {
        let fleet = Fleet::new(1, "1.0.0");
        let store = Arc::new(SqliteStore::open(&path).expect("a new store"));
        let engine = start(store.clone(), &fleet).await;
        // Another program (a backup, say) holds the file.
        let other = rusqlite::Connection::open(&path).expect("it can be opened");
        other.execute_batch("BEGIN IMMEDIATE").expect("it is free");
        let of = tenant();
        let call = engine.create(&of, id(1), definition("stable", 1), None);
        let waited = tokio::time::timeout(Duration::from_millis(300), call).await;
        assert!(waited.is_err(), "the append waits for the file");
        other.execute_batch("COMMIT").expect("it gives the file back");
        until(async || fleet.sent() == 1).await;
        let streams = store.streams().await.expect("they can be listed");
        assert_eq!(streams.len(), 1);
        engine.shutdown().await;
    });
}

#[test]
fn d21_a_task_that_panics_puts_its_stream_out_of_service_and_whoever_asks_is_told() {
    on_threads(2, async {
        let fleet = Fleet::new(1, "1.0.0");
        let store = Arc::new(Panics { memory: MemoryStore::new(), on: AtomicBool::new(false) });
        let engine = start(store.clone(), &fleet).await;
        for number in 1..=2 {
            let definition = definition(&format!("c{number}"), 1);
            let created = engine.create(&tenant(), id(number), definition, None).await;
            created.expect("it is created");
        }
        // Until nothing is to be recorded by itself any more.
        let accepted = async || {
            let log = EventStore::read_all(&*store, 0, usize::MAX).await.expect("it can be read");
            let count = |kind| log.iter().filter(|stored| stored.event.event_type == kind).count();
            count("campaign_started") == 2 && count("request_accepted") == 1
        };
        until(accepted).await;
        store.on.store(true, Ordering::SeqCst);
        let mut told = engine.pause(&tenant(), id(1)).await;
        while let Err(EngineError::NotReady { .. }) = told {
            tokio::task::yield_now().await;
            told = engine.pause(&tenant(), id(1)).await;
        }
        store.on.store(false, Ordering::SeqCst);
        let Err(EngineError::Quarantined { stream, cause }) = told else { panic!("{told:?}") };
        assert_eq!(stream, StreamId::Campaign(id(1)));
        assert!(cause.to_string().contains("a defect of the store"), "{cause}");
        let asked = engine.progress(&tenant(), id(1)).await;
        assert!(matches!(asked, Err(EngineError::Quarantined { .. })), "{asked:?}");
        engine.pause(&tenant(), id(2)).await.expect("the others go on");
        engine.shutdown().await;
        // A restart loads it again; nothing is lost.
        let engine = start(store, &fleet).await;
        engine.pause(&tenant(), id(1)).await.expect("it is back");
        engine.shutdown().await;
    });
}

#[test]
fn d10_an_adapter_that_panics_has_not_answered_and_its_target_is_tried_again() {
    on_threads(2, async {
        let fleet = Fleet::new(1, "1.0.0");
        fleet.panics.store(true, Ordering::SeqCst);
        let store = Arc::new(MemoryStore::new());
        let engine = start(store.clone(), &fleet).await;
        let created = engine.create(&tenant(), id(1), definition("stable", 1), None).await;
        created.expect("it is created");
        let deferred = async || {
            let log = EventStore::read_all(&*store, 0, usize::MAX).await.expect("it can be read");
            log.iter().any(|stored| stored.event.event_type == "operation_deferred")
        };
        until(deferred).await;
        fleet.panics.store(false, Ordering::SeqCst);
        until(async || fleet.sent() == 1).await;
        engine.shutdown().await;
    });
}

#[test]
fn c1_late_reports_to_a_settled_campaign_do_not_write_its_whole_state() {
    let devices = 3_000;
    on_threads(2, async {
        let fleet = Fleet::new(devices, "1.0.0");
        let store = Arc::new(Counts { memory: MemoryStore::new(), saved: AtomicUsize::new(0) });
        let engine = start(store.clone(), &fleet).await;
        let created = engine.create(&tenant(), id(1), definition("stable", devices), None).await;
        created.expect("it is created");
        until(async || fleet.sent() == devices as usize).await;
        let report = |number: u32, status| {
            let operation = OperationId::of_campaign(id(1), device(number), 0);
            let report = OperationReport::new(device(number), operation, status);
            let engine = engine.clone();
            async move { engine.observe(&tenant(), Observation::Report(report)).await }
        };
        let all = (0..devices).map(|number| report(number, ReportStatus::Failure));
        for answer in join_all(all).await {
            answer.expect("it is taken");
        }
        until(async || store.saved.load(Ordering::SeqCst) >= 1).await;
        let before = store.saved.load(Ordering::SeqCst);
        for number in 0..100 {
            let late = report(number, ReportStatus::Success).await;
            assert_eq!(late, Ok(Reaction::Late));
        }
        engine.shutdown().await;
        assert_eq!(store.saved.load(Ordering::SeqCst) - before, 0, "its state was written anew");
    });
}

/// A store whose appends panic while it is switched on.
struct Panics {
    memory: MemoryStore,
    on: AtomicBool,
}

impl StoreLayer for Panics {
    fn inner(&self) -> &dyn EventStore {
        &self.memory
    }

    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        async move {
            assert!(!self.on.load(Ordering::SeqCst), "a defect of the store");
            self.memory.append(batch).await
        }
        .boxed()
    }
}

/// A store that counts how often a state was saved.
struct Counts {
    memory: MemoryStore,
    saved: AtomicUsize,
}

impl StoreLayer for Counts {
    fn inner(&self) -> &dyn EventStore {
        &self.memory
    }

    fn save_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        snapshot: StateSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.saved.fetch_add(1, Ordering::SeqCst);
        self.memory.save_snapshot(tenant, stream, snapshot)
    }
}
