//! Events per second when the log of a campaign of 3,000,000 events is folded: from memory, decoded
//! or as the bytes that a store keeps; and from a SQLite file through the store port, beside a bare
//! `rusqlite` loop that reads and decodes the same rows of the same file.
//!
//! The file was written just before, so it is read from the page cache: what is measured is the
//! work, in processor time of all threads, not the disk. `TMPDIR` says where the file lies.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use futures::executor::block_on;
use hedgerow_benches::log::{encoded, read_bare, stream, tenant, write};
use hedgerow_benches::measure::{in_turns, rate, thousands, worked};
use hedgerow_benches::{MAX_PENDING, NOW, Script};
use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{Campaign, NewEvent};
use hedgerow_engine::store::EventStore;
use hedgerow_sqlite::SqliteStore;

const TARGETS: u32 = 750_000;
const ROUNDS: usize = 5;
/// Events that the engine reads at once.
const PAGE: usize = 10_000;

fn main() {
    let script = Script::new(TARGETS, TARGETS, MAX_PENDING);
    let events = script.events();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).expect("it opens");
    write(&store, 0, std::slice::from_ref(&script.created));
    write(&store, 1, &events);

    let stored: Vec<_> = events.iter().map(encoded).collect();
    let sides: [&mut dyn FnMut() -> Duration; 5] = [
        &mut || worked(|| fold_events(&script, &events)).0,
        &mut || worked(|| fold_stored(&script, &stored)).0,
        &mut || worked(|| read_with_rusqlite(&path)).0,
        &mut || worked(|| read_through_port(&store)).0,
        &mut || worked(|| fold_through_port(&script, &store)).0,
    ];
    let times = in_turns(ROUNDS, sides);
    let [_, _, bare, ..] = times;
    println!(
        "| {} events | Processor time | Events/s | Beside bare rusqlite |",
        thousands(events.len())
    );
    println!("|---|---:|---:|---:|");
    let names = [
        "folded from memory, decoded",
        "decoded and folded from bytes in memory",
        "SQLite: read and decoded by bare `rusqlite`",
        "SQLite: read through the port and decoded",
        "SQLite: read through the port, decoded and folded",
    ];
    for (place, (name, time)) in names.into_iter().zip(times).enumerate() {
        let beside = match place {
            0 | 1 => String::new(),
            _ => format!("{:.0} %", 100.0 * bare.as_secs_f64() / time.as_secs_f64()),
        };
        let (millis, rate) = (time.as_millis(), rate(events.len(), time) / 1e6);
        println!("| {name} | {millis} ms | {rate:.2} M | {beside} |");
    }
}

fn fold_events(script: &Script, events: &[CampaignEvent]) -> Campaign {
    let mut campaign = script.begin();
    for event in events {
        campaign.apply(black_box(event), NOW).expect("it follows");
    }
    campaign
}

fn fold_stored(script: &Script, stored: &[NewEvent]) -> Campaign {
    let mut campaign = script.begin();
    for stored in stored {
        let event = CampaignEvent::from_new(stream(), black_box(stored)).expect("it decodes");
        campaign.apply(&event, stored.recorded_at).expect("it follows");
    }
    campaign
}

fn read_with_rusqlite(path: &Path) {
    let mut events = 0;
    read_bare(path, |event| {
        black_box(event);
        events += 1;
    })
    .expect("it is read");
    assert!(events > TARGETS, "all of the log is read");
}

fn read_through_port(store: &SqliteStore) {
    each_stored(store, |event| {
        black_box(event);
    });
}

fn fold_through_port(script: &Script, store: &SqliteStore) -> Campaign {
    let mut campaign = script.begin();
    each_stored(store, |event| campaign.apply(&event, NOW).expect("it follows"));
    assert!(campaign.is_settled());
    campaign
}

/// All events but the first, page by page as the engine does.
fn each_stored(store: &SqliteStore, mut take: impl FnMut(CampaignEvent)) {
    let mut version = 1;
    loop {
        let page = block_on(store.read_stream(&tenant(), stream(), version, PAGE));
        let page = page.expect("it is read");
        let Some(last) = page.last() else { return };
        version = last.version;
        for stored in &page {
            take(CampaignEvent::from_stored(stored).expect("it decodes"));
        }
    }
}
