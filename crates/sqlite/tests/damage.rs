//! Files that were damaged in many places and ways: whatever is read of them is what was written,
//! or an error that names the file; nothing runs for ever, and nothing is left out.
//!
//! The damages follow from a seed, so that a failure can be looked at again.

use std::fs;
use std::path::Path;

use hedgerow_core::{DeviceId, OperationId, StoredEvent, StreamId, TenantId};
use hedgerow_engine::store::checksum::{Chain, LogReader};
use hedgerow_engine::store::conformance::{append, block_on, event, stream, tenant};
use hedgerow_engine::store::retention::conformance::{events_of, removal, sweep};
use hedgerow_engine::store::{
    Activity, Claim, EventStore, HeldClaim, StateSnapshot, StoreError, StreamAppend, StreamSummary,
};
use hedgerow_sqlite::{OpenError, SqliteStore};
use rusqlite::Connection;
use uuid::Uuid;

/// How many damages are tried.
const DAMAGES: u64 = 400;
const PAGE: usize = 4_096;

/// Everything that a store says.
#[derive(Debug, PartialEq)]
struct Contents {
    streams: Vec<StreamSummary>,
    claims: Vec<HeldClaim>,
    operations: Vec<Option<StreamId>>,
    log: Vec<StoredEvent>,
    by_stream: Vec<StoredEvent>,
}

fn other() -> TenantId {
    "meadow".parse().expect("a tenant")
}

fn operation(number: u64) -> OperationId {
    OperationId::from_uuid(Uuid::from_u128(u128::from(number) | 7 << 100))
}

/// Writes a store with several streams, tenants, claims, operations and a state snapshot.
fn write(path: &Path) {
    let store = SqliteStore::open(path).expect("a new store");
    for round in 0..40_u64 {
        let device = |number: u64| {
            Claim::Device(DeviceId::from_bytes((u128::from(number) | 5 << 90).to_be_bytes()))
        };
        let first = StreamAppend {
            claims_taken: vec![device(round)],
            operations: vec![operation(round)],
            ..append(stream(1), round * 20, (0..20).map(|n| event(round * 20 + n)).collect())
        };
        let second = StreamAppend {
            tenant: other(),
            claims_taken: vec![device(round)],
            ..append(stream(2), round * 10, (0..10).map(|n| event(round * 10 + n)).collect())
        };
        let third = StreamAppend {
            activity: Activity::Settled,
            ..append(stream(100 + u128::from(round)), 0, vec![event(round)])
        };
        block_on(store.append(vec![first, second, third])).expect("appended");
    }
    let snapshot = StateSnapshot { version: 800, format: 1, data: vec![3; 9_000] };
    block_on(store.save_snapshot(&tenant(), stream(1), snapshot)).expect("saved");
    // Streams that were removed: one of which nothing is left, one whose events are there still.
    for number in [105, 111] {
        let events = block_on(events_of(&store, stream(number)));
        let removed = block_on(store.remove(vec![removal(stream(number), &events)]));
        assert_eq!(removed, Ok(vec![Ok(())]));
        if number == 105 {
            block_on(sweep(&store));
        }
    }
}

fn read(path: &Path) -> Result<Contents, String> {
    let store = SqliteStore::open_read_only(path).map_err(|error| {
        assert!(error.to_string().contains("store.db"), "{error}");
        error.to_string()
    })?;
    block_on(contents(&store)).map_err(|error| {
        // Nothing that was damaged gets better by trying again.
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        error.to_string()
    })
}

async fn contents(store: &SqliteStore) -> Result<Contents, StoreError> {
    let streams = store.streams().await?;
    let claims = store.claims().await?;
    let mut operations = Vec::new();
    for number in 0..41 {
        operations.push(store.stream_of_operation(&tenant(), operation(number)).await?);
    }
    let mut log = Vec::new();
    let mut reader = LogReader::new(store).await?;
    loop {
        let page = reader.page(100).await?;
        if page.is_empty() {
            break;
        }
        log.extend(page);
    }
    let last = store.last_recorded_at().await?;
    assert_eq!(last, log.last().map(|stored: &StoredEvent| stored.event.recorded_at));
    let mut by_stream = Vec::new();
    for StreamSummary { tenant, stream, .. } in &streams {
        let mut chain = Chain::default();
        loop {
            let page = store.read_stream(tenant, *stream, chain.version(), 100).await?;
            if page.is_empty() {
                break;
            }
            page.iter().try_for_each(|stored| chain.check(stored))?;
            by_stream.extend(page);
        }
    }
    Ok(Contents { streams, claims, operations, log, by_stream })
}

/// Numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % bound as u64).expect("below a usize")
    }
}

/// Damages a file in a way that follows from the seed, and says how.
fn damage(bytes: &mut Vec<u8>, seed: u64) -> String {
    let mut random = Random(seed);
    let pages = bytes.len() / PAGE;
    let (one, another) = (random.below(pages) * PAGE, random.below(pages) * PAGE);
    let at = random.below(bytes.len());
    match seed % 8 {
        0 | 1 => {
            bytes[at] ^= 1 << random.below(8);
            format!("a bit of byte {at} flipped")
        }
        2 => {
            // Where pages say what they are and where their cells stand.
            let at = one + random.below(60);
            bytes[at] = u8::try_from(random.below(256)).expect("a byte");
            format!("byte {at}, at the beginning of a page, written over")
        }
        3 => {
            let end = (at + 1 + random.below(300)).min(bytes.len());
            bytes[at..end].fill(0);
            format!("bytes {at} to {end} zeroed")
        }
        4 => {
            bytes[one..one + PAGE].fill(0);
            format!("page {} zeroed", one / PAGE + 1)
        }
        5 => {
            bytes.copy_within(another..another + PAGE, one);
            format!("page {} written over page {}", another / PAGE + 1, one / PAGE + 1)
        }
        6 => {
            let (a, b) = (bytes[one..one + PAGE].to_vec(), bytes[another..another + PAGE].to_vec());
            bytes[one..one + PAGE].copy_from_slice(&b);
            bytes[another..another + PAGE].copy_from_slice(&a);
            format!("pages {} and {} swapped", another / PAGE + 1, one / PAGE + 1)
        }
        _ => {
            bytes.truncate(at);
            format!("cut off after {at} bytes")
        }
    }
}

#[test]
fn whatever_is_damaged_is_told_or_changes_nothing_that_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    write(&path);
    let whole = fs::read(&path).expect("readable");
    let undamaged = read(&path).expect("it is whole");
    assert_eq!((undamaged.log.len(), undamaged.by_stream.len()), (1_240, 1_238));
    let (mut told, mut as_before) = (0, 0);
    for seed in 0..DAMAGES {
        let mut bytes = whole.clone();
        let what = damage(&mut bytes, seed);
        fs::write(&path, bytes).expect("written");
        match read(&path) {
            Err(_) => told += 1,
            Ok(contents) => {
                let same = [
                    contents.streams == undamaged.streams,
                    contents.claims == undamaged.claims,
                    contents.operations == undamaged.operations,
                    contents.log == undamaged.log,
                    contents.by_stream == undamaged.by_stream,
                ];
                assert_eq!(same, [true; 5], "seed {seed}: {what}: something else was read");
                as_before += 1;
            }
        }
    }
    assert!(told > DAMAGES / 3 && as_before > DAMAGES / 20, "{told} told, {as_before} as before");
}

#[test]
fn a_writer_on_a_damaged_file_comes_to_an_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    write(&path);
    let whole = fs::read(&path).expect("readable");
    for seed in 10_000..10_000 + DAMAGES / 5 {
        let mut bytes = whole.clone();
        let what = damage(&mut bytes, seed);
        for beside in ["-wal", "-shm", ".lock"] {
            drop(fs::remove_file(folder.path().join(format!("store.db{beside}"))));
        }
        fs::write(&path, bytes).expect("written");
        let Ok(store) = SqliteStore::open(&path) else { continue };
        for (stream, version) in [(stream(1), 800), (stream(500), 0)] {
            let append = vec![append(stream, version, vec![event(1)])];
            if let Err(error) = block_on(store.append(append)) {
                assert!(!error.to_string().contains("try again"), "{what}: {error}");
            }
        }
    }
}

/// A store whose table of events somebody changed.
fn changed(change: &str) -> Result<Contents, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    write(&path);
    let connection = Connection::open(&path).expect("opens");
    connection.pragma_update(None, "foreign_keys", "OFF").expect("off");
    connection.execute_batch(change).expect("SQL");
    drop(connection);
    read(&path)
}

#[test]
fn what_was_changed_by_hand_is_told_with_its_place() {
    for (change, place) in [
        (
            "UPDATE events SET data = x'7b7d' WHERE stream = 1 AND version = 5",
            "event 5 of campaign",
        ),
        ("UPDATE events SET recorded_at = 0 WHERE stream = 1 AND version = 5", "event 5 of"),
        ("UPDATE events SET checksum = NULL WHERE stream = 1 AND version = 5", "event 5 of"),
        ("UPDATE events SET event_type = 1 + event_type % 3 WHERE position = 5", "event 5 of"),
        ("DELETE FROM events WHERE stream = 2 AND version = 400", "event 400 of"),
        ("DELETE FROM events WHERE stream = 3", "event 1 of"),
        ("DELETE FROM streams WHERE id = 42", "streams"),
        ("DELETE FROM streams WHERE id = 3", "streams"),
        ("DELETE FROM tenants WHERE id = 2", "streams"),
        ("UPDATE tenants SET name = 'other' WHERE id = 2", "event 1 of"),
        ("UPDATE streams SET active = 1 - active WHERE id = 3", "streams"),
        ("UPDATE streams SET version = version - 1 WHERE id = 1", "streams"),
        ("UPDATE claims SET key = key || 'x' WHERE tenant = 1", "claims"),
        ("UPDATE claims SET stream = 1", "claims"),
        ("UPDATE operations SET stream = 2", "store.db"),
    ] {
        let error = changed(change).map(drop).expect_err(change);
        assert!(error.contains(place), "{change}: {error}");
    }
}

#[test]
fn e12_a_damaged_stamp_of_the_newest_event_is_told_and_sets_no_clock() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    write(&path);
    let connection = Connection::open(&path).expect("opens");
    let last = "WHERE position = (SELECT max(position) FROM events)";
    let change = format!("UPDATE events SET recorded_at = 9000000000000000 {last}");
    connection.execute_batch(&change).expect("SQL");
    drop(connection);
    let store = SqliteStore::open(&path).expect("it opens");
    let told = block_on(store.last_recorded_at());
    assert!(matches!(told, Err(StoreError::Corrupt { .. })), "{told:?}");
}

#[test]
fn the_end_of_a_stream_that_was_cut_off_is_told_also_when_its_row_was_made_to_fit() {
    let cut = "DELETE FROM events WHERE stream = 1 AND version = 800;
               UPDATE streams SET version = 799, seal = NULL WHERE id = 1";
    let error = changed(cut).map(drop).expect_err("cut off");
    assert!(error.contains("event 799 of"), "{error}");
}

#[test]
fn an_emptied_file_is_called_what_it_is_and_is_not_taken_for_a_new_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    write(&path);
    fs::write(&path, "").expect("emptied");
    let reading = SqliteStore::open_read_only(&path).err().expect("refused");
    assert!(matches!(reading, OpenError::Empty { .. }), "{reading}");
    assert!(reading.to_string().contains("0 bytes"), "{reading}");
    let writing = SqliteStore::open(&path).err().expect("refused");
    assert!(matches!(writing, OpenError::Empty { .. }), "{writing}");
    assert_eq!(fs::read(&path).expect("there").len(), 0, "it was left as it is");
}
