//! How long an engine takes to recover a campaign of 1,000,000 targets that is half done, from a
//! SQLite file that is in the page cache: from the full log, beside a state snapshot with the
//! longest tail that an engine leaves behind it by default.
//!
//! Both are started by `EngineBuilder::start` as in a service. The second figure of each also has
//! the presence of every device asked and told, all of them offline.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use hedgerow_benches::log::{tenant, write};
use hedgerow_benches::measure::{in_turns, thousands, timed};
use hedgerow_benches::{MAX_PENDING, NOW, NoFleet, Script, campaign_id};
use hedgerow_core::event::{CampaignEvent, OperationSucceeded};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::{Engine, EngineBuilder};
use hedgerow_sim::runtime::{Executor, VirtualClock};
use hedgerow_sqlite::SqliteStore;

const TARGETS: u32 = 1_000_000;
/// After so many events an engine saves a state snapshot, if nothing else is said.
const SNAPSHOT_EVERY: usize = 50_000;
const ROUNDS: usize = 5;

fn main() {
    let script = Script::new(TARGETS, TARGETS, MAX_PENDING);
    let mut events = script.events();
    events.truncate(half(&events));
    events.insert(0, script.created.clone());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (full, short) = (folder.path().join("full.db"), folder.path().join("snapshot.db"));
    write_log(&full, &events);
    write_log_with_snapshot(&short, &events);

    let (mut full_told, mut short_told) = (Vec::new(), Vec::new());
    let sides: [&mut dyn FnMut() -> Duration; 2] =
        [&mut || start(&full, &mut full_told), &mut || start(&short, &mut short_told)];
    let [full, short] = in_turns(ROUNDS, sides);
    assert!(short < full, "the state snapshot was used");
    println!("| {} targets, half done | Loaded | Presence told |", thousands(TARGETS as usize));
    println!("|---|---:|---:|");
    let rows = [
        (format!("full log of {} events", thousands(events.len())), full, full_told),
        (format!("snapshot and {} events", thousands(SNAPSHOT_EVERY - 1)), short, short_told),
    ];
    for (name, loaded, told) in rows {
        let told = hedgerow_benches::measure::median(told);
        println!("| {name} | {} ms | {} ms |", loaded.as_millis(), told.as_millis());
    }
}

/// How many events there are until half of the targets are successful.
fn half(events: &[CampaignEvent]) -> usize {
    let is_success = |event: &CampaignEvent| {
        matches!(event, CampaignEvent::OperationSucceeded(OperationSucceeded { .. }))
    };
    let successes = events.iter().enumerate().filter(|(_, event)| is_success(event));
    successes.skip(TARGETS as usize / 2 - 1).map(|(place, _)| place + 1).next().expect("it ends")
}

fn write_log(path: &Path, events: &[CampaignEvent]) {
    let store = SqliteStore::open(path).expect("it opens");
    write(&store, 0, events);
    store.close();
}

/// An engine saves the snapshot, as it does in a service, when it is made to record something.
fn write_log_with_snapshot(path: &Path, events: &[CampaignEvent]) {
    let (front, tail) = events.split_at(events.len() - (SNAPSHOT_EVERY - 1));
    write_log(path, front);
    let store = Arc::new(SqliteStore::open(path).expect("it opens"));
    let mut executor = Executor::default();
    let builder = builder(&store, &executor).snapshot_every(2);
    let engine = executor.run(builder.start()).expect("it ends").expect("it starts");
    let steered = engine.clone();
    executor
        .run(async move {
            steered.pause(&tenant(), campaign_id()).await.expect("it is paused");
            steered.resume(&tenant(), campaign_id()).await.expect("it goes on");
        })
        .expect("it ends");
    let stream = block_on(store.streams()).expect("it is read").remove(0);
    let snapshot = block_on(store.load_snapshot(&stream.tenant, stream.stream));
    let snapshot = snapshot.expect("it is read").expect("the engine saved one");
    assert_eq!(snapshot.version, stream.version, "it is of the whole log so far");
    write(&*store, stream.version, tail);
    store.close();
}

/// The time until the campaign is loaded; and the time until nothing is left to do.
fn start(path: &Path, told: &mut Vec<Duration>) -> Duration {
    let store = Arc::new(SqliteStore::open(path).expect("it opens"));
    let mut executor = Executor::default();
    let builder = builder(&store, &executor);
    let (whole, (loaded, engine)) = timed(|| {
        let begin = Instant::now();
        let start = async move { builder.start().await.map(|e| (begin.elapsed(), e)) };
        executor.run(start).expect("it ends").expect("it starts")
    });
    told.push(whole);
    check(&mut executor, &engine);
    store.close();
    loaded
}

fn check(executor: &mut Executor, engine: &Engine) {
    let engine = engine.clone();
    let progress = executor.run(async move { engine.progress(&tenant(), campaign_id()).await });
    let counts = progress.expect("it ends").expect("it is loaded").targets;
    assert_eq!((counts.total, counts.successful), (TARGETS, TARGETS / 2), "it is half done");
}

fn builder(store: &Arc<SqliteStore>, executor: &Executor) -> EngineBuilder {
    let store: Arc<dyn EventStore> = Arc::clone(store) as _;
    // The store works on threads of its own; this executor's tasks wait for it in place.
    let store = Arc::new(hedgerow_sim::blocking::BlockingStore::new(store));
    EngineBuilder::new(
        store,
        Arc::new(NoFleet),
        Arc::new(NoFleet),
        Arc::new(VirtualClock::new(NOW)),
        Arc::new(executor.spawner()),
    )
}
