//! Rows from zero: how fast they are made from a log of many campaigns at once, and where the time
//! goes.
//!
//! Twenty campaigns at a time write to the log in turn, a hundred events at once, over a fleet of
//! 100,000 devices. How many there are may be said: `cargo bench --bench rows -- 1000`.

use std::sync::Arc;

use futures::executor::block_on;
use hedgerow_benches::log::{encoded, tenant};
use hedgerow_benches::measure::{rate, thousands, timed, whole, worked};
use hedgerow_benches::{MAX_PENDING, Script};
use hedgerow_core::{CampaignId, NewEvent, StreamId};
use hedgerow_engine::store::checksum::LogReader;
use hedgerow_engine::store::{Activity, EventStore, StreamAppend};
use hedgerow_engine::view::{Follower, MemoryViews, ViewStore};
use hedgerow_sqlite::{SqliteStore, SqliteViews};
use uuid::Uuid;

const CAMPAIGNS: u32 = 100;
/// That is 5,000 events and three.
const TARGETS: u32 = 1_250;
const DEVICES: u32 = 100_000;
const BESIDE_EACH_OTHER: u32 = 20;
const APPEND: usize = 100;

fn main() {
    let campaigns = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(CAMPAIGNS);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.db");
    let store = Arc::new(SqliteStore::open(&path).expect("it opens"));
    let total = write_campaigns(&*store, campaigns);
    println!(
        "| Rows of {} events of {} campaigns | Time | Events/s | Processor time for an event |",
        thousands(total),
        thousands(campaigns as usize)
    );
    println!("|---|---:|---:|---:|");
    told("read from SQLite, for comparison", total, || read_all(&store));
    told("read and compared with the checksums", total, || read_and_check(&store));
    told("made in memory", total, || follow(&store, Arc::new(MemoryViews::new())));
    let in_file = SqliteViews::open(SqliteViews::beside(&path)).expect("it opens");
    told("made in a SQLite file", total, || follow(&store, Arc::new(in_file)));
}

/// Tells how long the work takes, and how much processor time of all threads: what others do on the
/// machine plays a smaller part in that.
fn told(what: &str, events: usize, work: impl FnOnce()) {
    let (time, (spent, ())) = timed(|| worked(work));
    let rate = thousands(whole(rate(events, time)));
    let nanos = spent.as_nanos() / events.max(1) as u128;
    println!("| {what} | {:.2} s | {rate} | {nanos} ns |", time.as_secs_f64());
}

fn follow(store: &Arc<SqliteStore>, rows: Arc<dyn ViewStore>) {
    let log: Arc<dyn EventStore> = store.clone();
    block_on(Follower::new(log, rows).catch_up()).expect("it is followed");
}

fn read_all(store: &SqliteStore) {
    let mut position = 0;
    loop {
        let page = block_on(store.read_all(position, 10_000)).expect("it is read");
        let Some(last) = page.last() else { return };
        position = last.position;
    }
}

fn read_and_check(store: &SqliteStore) {
    block_on(async {
        let mut reader = LogReader::new(store).await.expect("it is read");
        while !reader.page(10_000).await.expect("every checksum fits").is_empty() {}
    });
}

/// Writes the logs of all campaigns, and says how many events they have.
fn write_campaigns(store: &dyn EventStore, campaigns: u32) -> usize {
    let mut total = 0;
    for first in (0..campaigns).step_by(BESIDE_EACH_OTHER as usize) {
        let numbers = first..campaigns.min(first + BESIDE_EACH_OTHER);
        let mut left: Vec<_> = numbers.map(log_of).collect();
        let mut version = 0;
        while !left.is_empty() {
            let batch: Vec<_> = left.iter_mut().map(|(id, log)| append(*id, version, log)).collect();
            total += batch.iter().map(|append| append.events.len()).sum::<usize>();
            block_on(store.append(batch)).expect("it is written");
            left.retain(|(_, log)| !log.is_empty());
            version += APPEND as u64;
        }
    }
    total
}

/// A campaign's id, and its events, the first one last.
fn log_of(number: u32) -> (CampaignId, Vec<NewEvent>) {
    let id = CampaignId::from_uuid(Uuid::from_u128((u128::from(number) + 1) << 64));
    let first = number * TARGETS % DEVICES;
    let script = Script::of(id, first, TARGETS, TARGETS, MAX_PENDING);
    let events = script.events();
    (id, events.iter().rev().chain([&script.created]).map(encoded).collect())
}

fn append(id: CampaignId, expected_version: u64, log: &mut Vec<NewEvent>) -> StreamAppend {
    let events: Vec<_> = log.drain(log.len().saturating_sub(APPEND)..).rev().collect();
    let activity = if log.is_empty() { Activity::Settled } else { Activity::Active };
    StreamAppend {
        tenant: tenant(),
        stream: StreamId::Campaign(id),
        expected_version,
        events,
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity,
    }
}
