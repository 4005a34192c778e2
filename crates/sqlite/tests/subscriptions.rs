//! Subscribers of engines on a real store, on real threads: two engines record into one file, others
//! append beside them, and subscribers are slow, are cut and come back.

use std::sync::Arc;
use std::time::Duration;

use fleet::{Fleet, definition};
use futures::future::join_all;
use hedgerow_core::{
    CampaignId, NewEvent, OperationId, StoredEvent, StreamId, TenantId, Timestamp,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::store::{Activity, EventStore, StreamAppend};
use hedgerow_engine::{Engine, EngineBuilder, Position};
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
    let event = NewEvent {
        event_type: "any".to_owned(),
        schema_version: 1,
        recorded_at: Timestamp::default(),
        correlation_id: Uuid::nil(),
        causation_id: Uuid::nil(),
        data: b"{}".to_vec(),
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
