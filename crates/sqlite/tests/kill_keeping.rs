//! `kill -9` in the middle of removing, sweeping and importing, by a process beside the one that
//! appends: each stream is there as a whole or not at all, and nobody else notices.
//!
//! As in `kill.rs` the test runs itself again as a child.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hedgerow_core::StoredEvent;
use hedgerow_engine::store::checksum::LogReader;
use hedgerow_engine::store::conformance::{append, block_on, event, stream, tenant};
use hedgerow_engine::store::retention::conformance::{
    ended, events_of, import, operation, removal, sweep,
};
use hedgerow_engine::store::retention::{ImportError, NotRemoved};
use hedgerow_engine::store::{AppendError, EventStore, StoreError};
use hedgerow_sqlite::{OpenError, SqliteStore};

/// Tells the child its file.
const FILE: &str = "HEDGEROW_SQLITE_KEEPING_TEST_FILE";
/// Streams that come and go, of so many events each: more than one step of a sweep.
const STREAMS: u128 = 4;
const EVENTS: u64 = 4_000;

/// The events of the streams, as a store has them that nobody touches.
fn originals() -> Vec<Vec<StoredEvent>> {
    let store = hedgerow_engine::store::memory::MemoryStore::new();
    (1..=STREAMS).map(|number| block_on(ended(&store, number, EVENTS))).collect()
}

/// The child: removes, sweeps and imports for ever.
#[test]
fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let store = SqliteStore::open_to_keep(path).expect("it may be used beside another process");
    let originals = originals();
    loop {
        for (number, events) in (1..).zip(&originals) {
            let removed = block_on(store.remove(vec![removal(stream(number), events)]));
            let removed = removed.expect("it can be written");
            assert!(matches!(removed[..], [Ok(()) | Err(NotRemoved::Absent)]), "{removed:?}");
        }
        block_on(sweep(&store));
        for (number, events) in (1..).zip(&originals) {
            let imported = store.import(import(stream(number), events, operation(number)));
            let imported = block_on(imported);
            assert!(matches!(imported, Ok(()) | Err(ImportError::Present)), "{imported:?}");
        }
    }
}

fn start_child(path: &Path) -> Child {
    let this = std::env::current_exe().expect("this test is a file");
    Command::new(this)
        .args(["--exact", "child", "--nocapture"])
        .env(FILE, path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test runs")
}

/// A number that is another one each time.
fn random_below(bound: u64) -> u64 {
    RandomState::new().build_hasher().finish() % bound
}

/// Whether each stream is as it was or gone; how many are gone.
fn check(store: &SqliteStore, originals: &[Vec<StoredEvent>]) -> usize {
    let mut gone = 0;
    let plain = |events: &[StoredEvent]| -> Vec<StoredEvent> {
        events.iter().map(|stored| StoredEvent { position: 0, ..stored.clone() }).collect()
    };
    for (number, events) in (1..).zip(originals) {
        let found = block_on(events_of(store, stream(number)));
        let indexed = block_on(store.stream_of_operation(&tenant(), operation(number)));
        let note = block_on(store.removed(&tenant(), stream(number))).expect("readable");
        if found.is_empty() {
            gone += 1;
            assert!(note.is_some(), "a stream that is gone has a note");
            assert_eq!(indexed, Ok(None));
        } else {
            assert!(plain(&found) == plain(events), "stream {number} is there by half");
            assert_eq!((indexed, note), (Ok(Some(stream(number))), None));
        }
    }
    let mut reader = block_on(LogReader::new(store)).expect("readable");
    while !block_on(reader.page(5_000)).expect("every event fits").is_empty() {}
    gone
}

#[test]
fn whoever_removes_and_imports_may_be_killed_and_whoever_appends_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hedgerow.db");
    let originals = originals();
    let store = SqliteStore::open(&path).expect("a new file");
    for number in 1..=STREAMS {
        block_on(ended(&store, number, EVENTS));
    }
    let (mut gone, mut appended, appending) = (0, 0, AtomicBool::new(true));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut version = 0;
            while appending.load(Ordering::Relaxed) {
                let next = vec![append(stream(99), version, vec![event(version)])];
                assert_eq!(block_on(store.append(next)), Ok(()), "nobody hinders it");
                version += 1;
            }
            version
        });
        for _ in 0..12 {
            let mut child = start_child(&path);
            std::thread::sleep(Duration::from_millis(150 + random_below(400)));
            child.kill().expect("it runs for ever");
            child.wait().expect("it was killed");
            let reader = SqliteStore::open_read_only(&path).expect("readable");
            gone += check(&reader, &originals);
        }
        appending.store(false, Ordering::Relaxed);
        appended = writing.join().expect("it goes on to the end");
    });
    println!("{gone} streams were gone, {appended} events were appended meanwhile");
    check(&store, &originals);
    store.close();
    // What was left behind is cleared by the next one.
    let store = SqliteStore::open_to_keep(&path).expect("nobody has it");
    block_on(sweep(&store));
    check(&store, &originals);
    // Meanwhile somebody starts to run campaigns on it, and goes on when it ends.
    let engine = SqliteStore::open(&path).expect("it has not got the lock");
    let next = |version| vec![append(stream(99), version, vec![event(version)])];
    assert_eq!(block_on(engine.append(next(appended))), Ok(()));
    for (number, events) in (1..).zip(&originals) {
        let imported = block_on(store.import(import(stream(number), events, operation(number))));
        assert!(matches!(imported, Ok(()) | Err(ImportError::Present)), "{imported:?}");
    }
    store.close();
    assert_eq!(block_on(engine.append(next(appended + 1))), Ok(()));
    engine.close();
    let log = folder.path().join("hedgerow.db-wal");
    assert!(!log.exists(), "whoever closes last leaves the file alone");
    let reader = SqliteStore::open_read_only(&path).expect("readable");
    assert_eq!(check(&reader, &originals), 0);
}

#[test]
fn beside_a_process_that_appends_nothing_is_appended_and_nothing_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hedgerow.db");
    assert!(matches!(SqliteStore::open_to_keep(&path), Err(OpenError::NoFile { .. })));
    assert!(!path.exists());
    let store = SqliteStore::open(&path).expect("a new file");
    let beside = SqliteStore::open_to_keep(&path).expect("it may be used beside");
    let append = || vec![append(stream(1), 0, vec![event(1)])];
    let refused = block_on(beside.append(append()));
    assert!(matches!(refused, Err(AppendError::Store(StoreError::ReadOnly { .. }))), "{refused:?}");
    drop(beside);
    assert_eq!(block_on(store.append(append())), Ok(()));
    assert!(matches!(SqliteStore::open(&path), Err(OpenError::InUse { .. })), "the lock stays");
}

#[test]
fn an_older_version_that_runs_is_not_made_to_read_what_it_does_not_know() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hedgerow.db");
    drop(SqliteStore::open(&path).expect("a new file"));
    let connection = rusqlite::Connection::open(&path).expect("it opens");
    connection.execute_batch("PRAGMA user_version = 2; DROP INDEX unswept_streams").expect("older");
    drop(connection);
    let lock = std::fs::File::open(folder.path().join("hedgerow.db.lock")).expect("there");
    lock.lock().expect("as an older process has it");
    let refused = SqliteStore::open_to_keep(&path);
    assert!(matches!(refused, Err(OpenError::Older { found: 2, newest: 3, .. })));
    drop(lock);
    drop(SqliteStore::open_to_keep(&path).expect("nobody runs on it: it is brought up to date"));
    let connection = rusqlite::Connection::open(&path).expect("it opens");
    let schema = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    assert_eq!(schema, Ok(3));
}
