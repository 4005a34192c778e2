//! What campaigns that have ended cost an engine that starts: those of the last day are loaded, as
//! what their devices show is still looked at (D22); of older ones only the end is read.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use hedgerow_benches::log::{append_of, encoded};
use hedgerow_benches::measure::{in_turns, thousands, timed};
use hedgerow_benches::{NOW, NoFleet, Script};
use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{CampaignId, StreamId, Timestamp};
use hedgerow_engine::EngineBuilder;
use hedgerow_engine::store::{Activity, EventStore};
use hedgerow_sim::blocking::BlockingStore;
use hedgerow_sim::runtime::{Executor, VirtualClock};
use hedgerow_sqlite::SqliteStore;
use uuid::Uuid;

const TARGETS: u32 = 100;
const CAMPAIGNS: [u128; 2] = [100, 1_000];
const ROUNDS: usize = 5;

fn main() {
    let script = Script::new(TARGETS, TARGETS, TARGETS);
    let mut events = script.events();
    events.insert(0, script.created.clone());
    let folder = tempfile::tempdir().expect("a temporary folder");
    println!("| Campaigns of {TARGETS} targets | Ended an hour ago | Ended two days ago |");
    println!("|---:|---:|---:|");
    for campaigns in CAMPAIGNS {
        let path = folder.path().join(format!("{campaigns}.db"));
        write(&path, campaigns, &events);
        let hours = |hours: u64| NOW + Duration::from_secs(hours * 3_600);
        let [lately, long_ago] =
            in_turns(ROUNDS, [&mut || start(&path, hours(1)), &mut || start(&path, hours(48))]);
        let campaigns = usize::try_from(campaigns).unwrap_or(usize::MAX);
        println!(
            "| {} | {} ms | {} ms |",
            thousands(campaigns),
            lately.as_millis(),
            long_ago.as_millis()
        );
    }
    println!("\n{} events each.", thousands(events.len()));
}

fn write(path: &Path, campaigns: u128, events: &[CampaignEvent]) {
    let store = SqliteStore::open(path).expect("it opens");
    for number in 0..campaigns {
        let mut append = append_of(0, events.iter().map(encoded).collect());
        append.stream = StreamId::Campaign(CampaignId::from_uuid(Uuid::from_u128(number + 1)));
        append.activity = Activity::Settled;
        block_on(store.append(vec![append])).expect("it is written");
    }
    store.close();
}

/// How long it takes until the engine has started, and nothing is left to do.
fn start(path: &Path, now: Timestamp) -> Duration {
    let file = Arc::new(SqliteStore::open(path).expect("it opens"));
    let mut executor = Executor::default();
    // The store works on threads of its own; this executor's tasks wait for it in place.
    let store = Arc::new(BlockingStore::new(Arc::clone(&file) as Arc<dyn EventStore>));
    let clock = Arc::new(VirtualClock::new(now));
    let spawner = Arc::new(executor.spawner());
    let builder = EngineBuilder::new(store, Arc::new(NoFleet), Arc::new(NoFleet), clock, spawner);
    let (time, engine) = timed(|| executor.run(builder.start()).expect("it ends"));
    drop(engine.expect("it starts"));
    file.close();
    time
}
