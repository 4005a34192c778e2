//! Subscribers of engines on a real store, on real threads: two engines record into one file, others
//! append beside them, and subscribers are slow, are cut and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleet::{Fleet, definition};
use futures::future::{BoxFuture, join_all};
use hedgerow_core::{
    CampaignId, NewEvent, OperationId, StoredEvent, StreamId, TenantId, Timestamp,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::store::{Activity, EventStore, StoreError, StoreLayer, StreamAppend};
use hedgerow_engine::view::{MemoryViews, Step, StepError, ViewLayer, ViewStore};
use hedgerow_engine::{Engine, EngineBuilder, Position, SubscriptionError};
use hedgerow_sqlite::SqliteStore;
use uuid::Uuid;

mod fleet;

const PATIENCE: Duration = Duration::from_secs(120);
/// How many streams are appended to beside the engines, and how many events each gets.
const STREAMS: u128 = 6;
const EVENTS: u64 = 60;
/// How many campaigns each engine creates.
const CAMPAIGNS: u128 = 6;

async fn start(store: Arc<SqliteStore>) -> Engine {
    let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    // Campaigns are over as soon as they begin.
    let fleet = Arc::new(Fleet::new(2, "2.0.0"));
    let builder = EngineBuilder::new(store, fleet.clone(), fleet, runtime.clone(), runtime);
    let builder = builder.kept_events(16).look_for_others(Some(Duration::from_millis(20)));
    builder.start().await.expect("the store can be read")
}

/// One of two tenants.
fn tenant(number: u128) -> TenantId {
    ["acme", "umbrella"][usize::from(number % 2 == 1)].parse().expect("a tenant")
}

async fn append(store: &SqliteStore, stream: u128, version: u64) {
    append_data(store, stream, version, b"{}".to_vec()).await;
}

async fn append_data(store: &SqliteStore, stream: u128, version: u64, data: Vec<u8>) {
    let event = NewEvent {
        event_type: "any".to_owned(),
        schema_version: 1,
        recorded_at: Timestamp::default(),
        correlation_id: Uuid::nil(),
        causation_id: Uuid::nil(),
        data,
    };
    let append = StreamAppend {
        tenant: tenant(stream),
        stream: StreamId::ManualUpdate(OperationId::from_uuid(Uuid::from_u128(stream))),
        expected_version: version,
        events: vec![event],
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity: Activity::Settled,
    };
    EventStore::append(store, vec![append]).await.expect("it is appended");
}

/// Follows a tenant until that is all; rests for `pause` behind each event, and goes and comes back
/// after every so many.
async fn follow(
    engine: Engine,
    of: TenantId,
    pause: Duration,
    cut_every: usize,
    all: impl Fn(&[StoredEvent]) -> bool,
) -> Vec<StoredEvent> {
    let mut seen: Vec<StoredEvent> = Vec::new();
    let mut events = engine.subscribe(&of, Position::Start).await.expect("there is room");
    while !all(&seen) {
        let told = tokio::time::timeout(PATIENCE / 4, events.next()).await;
        let told = told.unwrap_or_else(|_| panic!("{} events, and no more", seen.len()));
        seen.push(told.expect("the engine runs").expect("an event"));
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        if seen.len().is_multiple_of(cut_every) {
            let at = events.position();
            drop(events);
            tokio::task::yield_now().await;
            let back = engine.subscribe(&of, Position::After(at)).await;
            events = back.expect("there is room");
        }
    }
    seen
}

#[test]
fn two_engines_on_one_file_tell_every_subscriber_every_event_once_and_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("subscriptions.db");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(4).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Arc::new(SqliteStore::open(&path).expect("a new store"));
        let engines = [start(store.clone()).await, start(store.clone()).await];
        let mut followers = Vec::new();
        for engine in &engines {
            for (number, pause, cut_every) in
                [(0, 0, usize::MAX), (0, 2, 7), (1, 0, 13), (1, 1, usize::MAX)]
            {
                let done = move |seen: &[StoredEvent]| {
                    let of = |kind: &str| {
                        seen.iter().filter(|told| told.event.event_type == kind).count() as u128
                    };
                    of("campaign_finished") == CAMPAIGNS
                        && of("any") == STREAMS / 2 * u128::from(EVENTS)
                };
                let pause = Duration::from_millis(pause);
                let engine = engine.clone();
                let follower = follow(engine, tenant(number), pause, cut_every, done);
                followers.push((tenant(number), tokio::spawn(follower)));
            }
        }
        let writers = (0..STREAMS).map(|stream| {
            let store = store.clone();
            tokio::spawn(async move {
                for version in 0..EVENTS {
                    append(&store, stream, version).await;
                }
            })
        });
        let creators = (0..2 * CAMPAIGNS).map(|number| {
            let engine = engines[usize::from(number >= CAMPAIGNS)].clone();
            tokio::spawn(async move {
                let id = CampaignId::from_uuid(Uuid::from_u128(1_000 + number));
                engine
                    .create(&tenant(number), id, definition(&format!("c{number}"), 1), None)
                    .await
                    .map(drop)
            })
        });
        let (writers, creators) = (writers.collect::<Vec<_>>(), creators.collect::<Vec<_>>());
        for written in join_all(writers).await {
            written.expect("no panic");
        }
        for created in join_all(creators).await {
            created.expect("no panic").expect("it is created");
        }
        for (of, follower) in followers {
            let seen = follower.await.expect("no panic");
            let log = EventStore::read_all(&*store, 0, usize::MAX).await.expect("readable");
            let log: Vec<_> = log.into_iter().filter(|stored| stored.tenant == of).collect();
            assert_eq!(seen, log[..seen.len()], "{of}");
        }
        for engine in engines {
            engine.shutdown().await;
        }
    });
}

/// A store whose log cannot be read without a panic, at times.
struct Panicking {
    store: Arc<SqliteStore>,
    panics: AtomicBool,
}

impl StoreLayer for Panicking {
    fn inner(&self) -> &dyn EventStore {
        &*self.store
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        assert!(!self.panics.load(Ordering::Relaxed), "the log panics");
        self.store.read_all(after, limit)
    }
}

/// Rows that cannot be written without a panic.
struct PanickingRows(MemoryViews);

impl ViewLayer for PanickingRows {
    fn inner(&self) -> &dyn ViewStore {
        &self.0
    }

    fn write(&self, _: Step) -> BoxFuture<'_, Result<(), StepError>> {
        panic!("rows panic");
    }
}

#[test]
fn nobody_waits_for_ever_for_a_task_that_has_panicked() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(folder.path().join("panics.db")).expect("a new store");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Arc::new(store);
        let panicking =
            Arc::new(Panicking { store: store.clone(), panics: AtomicBool::new(false) });
        let clock = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
        let fleet = Arc::new(Fleet::new(2, "2.0.0"));
        let ports = (panicking.clone(), fleet.clone(), fleet, clock.clone(), clock);
        let builder = EngineBuilder::new(ports.0, ports.1, ports.2, ports.3, ports.4);
        let builder = builder.look_for_others(Some(Duration::from_millis(20)));
        let builder = builder.views(Arc::new(PanickingRows(MemoryViews::new())));
        let engine = builder.start().await.expect("the store can be read");
        let mut events = engine.subscribe(&tenant(0), Position::Now).await.expect("there is room");
        panicking.panics.store(true, Ordering::Relaxed);
        append(&store, 0, 0).await;
        let told = tokio::time::timeout(PATIENCE / 4, events.next()).await.expect("it ends");
        assert!(matches!(told, Some(Err(SubscriptionError::Log(_)))), "{told:?}");
        assert!(events.next().await.is_none());
        panicking.panics.store(false, Ordering::Relaxed);
        let mut events =
            engine.subscribe(&tenant(0), Position::Start).await.expect("there is room");
        let told = tokio::time::timeout(PATIENCE / 4, events.next()).await.expect("it is told");
        assert!(matches!(told, Some(Ok(_))), "{told:?}");
        tokio::time::timeout(PATIENCE / 4, async {
            while engine.stats().rows.is_some_and(|rows| rows.failures == 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it is seen that rows are made no more");
        drop(events);
        tokio::time::timeout(PATIENCE / 4, engine.shutdown()).await.expect("it ends");
    });
}

#[test]
fn large_events_are_given_few_at_a_time_and_all_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(folder.path().join("large.db")).expect("a new store");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let store = Arc::new(store);
        let engine = start(store.clone()).await;
        let mut live = engine.subscribe(&tenant(0), Position::Now).await.expect("there is room");
        for version in 0..9 {
            append_data(&store, 0, version, vec![b' '; 400_000]).await;
            append(&store, 1, version).await;
        }
        // An engine that has read nothing yet reads all of it from the store.
        let other = start(store.clone()).await;
        let mut past = other.subscribe(&tenant(0), Position::Start).await.expect("there is room");
        for version in 1..=9 {
            for events in [&mut live, &mut past] {
                let told = tokio::time::timeout(PATIENCE / 4, events.next()).await;
                let told = told.expect("it is told").expect("the engine runs").expect("an event");
                assert_eq!(told.version, version);
            }
        }
        assert!(past.next_if_ready().is_none());
    });
}
