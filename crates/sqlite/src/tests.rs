//! What only the writer's own connection can be made to believe, such as a disk that is full, and what
//! only it can tell.

use futures::future::join;
use hedgerow_core::NewEvent;
use hedgerow_engine::store::conformance::{append, block_on, event, stream, tenant};
use hedgerow_engine::store::retention::conformance::{ended, import, operation, removal};
use hedgerow_engine::store::{AppendError, EventStore, StateSnapshot, StoreError};

use crate::writer::Write;
use crate::{SqliteStore, sweep};

fn large(number: u64) -> NewEvent {
    NewEvent { data: vec![7; 1_000_000], ..event(number) }
}

#[test]
fn a_full_disk_is_told_and_the_store_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(folder.path().join("hedgerow.db")).expect("opens");
    block_on(store.append(vec![append(stream(1), 0, vec![event(1)])])).expect("there is room");
    store.write(Write::Limit { pages: 60 }).expect("sent");

    let too_large = vec![append(stream(1), 1, vec![event(2), large(3)])];
    let refused = block_on(store.append(too_large.clone()));
    assert!(matches!(&refused, Err(AppendError::Store(StoreError::Full { .. }))), "{refused:?}");
    let snapshot = StateSnapshot { version: 1, format: 1, data: vec![7; 1_000_000] };
    let refused = block_on(store.save_snapshot(&tenant(), stream(1), snapshot));
    assert!(matches!(&refused, Err(StoreError::Full { .. })), "{refused:?}");
    let read = block_on(store.read_stream(&tenant(), stream(1), 0, 10)).expect("still readable");
    assert_eq!(read.len(), 1, "nothing of what was refused is there");
    block_on(store.append(vec![append(stream(2), 0, vec![event(1)])])).expect("a small one fits");

    store.write(Write::Limit { pages: 1_000_000 }).expect("sent");
    block_on(store.append(too_large)).expect("there is room again");
    let read = block_on(store.read_all(0, 10)).expect("readable");
    assert_eq!(read.len(), 4);
}

#[test]
fn the_writers_connection_keeps_what_is_promised_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hedgerow.db");
    drop(SqliteStore::open(&path).expect("a new file"));
    for opened in ["anew", "again"] {
        let writer = crate::open::to_write(&path).expect("opens").connection;
        let number = |pragma: &str| {
            writer.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).expect("a number")
        };
        // FULL: a commit is on the disk when it returns, also in the log (E8).
        assert_eq!(number("synchronous"), 2, "{opened}");
        let mode = writer.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
        assert_eq!(mode.as_deref(), Ok("wal"), "{opened}");
        assert_eq!(number("cell_size_check"), 1, "{opened}");
        assert_eq!(number("foreign_keys"), 0, "{opened}");
        assert_eq!(number("wal_autocheckpoint"), 4_000, "{opened}");
        assert_eq!(number("busy_timeout"), 200, "less than in use, where it is five seconds");
        assert_eq!(number("ignore_check_constraints"), 0, "{opened}");
        assert_eq!(number("read_uncommitted"), 0, "{opened}");
    }
    let reader = crate::open::to_read(&path).expect("opens");
    let checks = reader.pragma_query_value(None, "cell_size_check", |row| row.get::<_, i64>(0));
    assert_eq!(checks, Ok(1));
    assert!(reader.is_readonly("main").expect("it has a main file"));
}

#[test]
fn another_program_that_holds_the_file_is_waited_for_and_then_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hedgerow.db");
    let store = SqliteStore::open(&path).expect("opens");
    let other = rusqlite::Connection::open(&path).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("begun");
    let refused = block_on(store.append(vec![append(stream(1), 0, vec![event(1)])]));
    let Err(AppendError::Store(StoreError::Unavailable { detail })) = refused else {
        panic!("{refused:?}")
    };
    assert!(detail.contains("another program holds the file"), "{detail}");
    let read = block_on(store.read_all(0, 10));
    assert_eq!(read, Ok(vec![]), "reading is not hindered");
    other.execute_batch("ROLLBACK").expect("ended");
    block_on(store.append(vec![append(stream(1), 0, vec![event(1)])])).expect("it goes on");
    store.close();
    other.execute_batch("BEGIN IMMEDIATE").expect("begun");
    let refused = SqliteStore::open(&path).err().expect("held");
    assert!(matches!(refused, crate::OpenError::Held { .. }), "{refused}");
    other.execute_batch("ROLLBACK").expect("ended");
    SqliteStore::open(&path).expect("opens again");
}

#[test]
fn one_append_that_is_too_large_does_not_harm_the_others_of_its_group() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(folder.path().join("hedgerow.db")).expect("opens");
    store.write(Write::Limit { pages: 60 }).expect("sent");
    // The first keeps the writer busy while the others come to wait together.
    let slow = store.append(vec![append(stream(9), 0, (0..300).map(event).collect())]);
    let small = store.append(vec![append(stream(1), 0, vec![event(1)])]);
    let too_large = store.append(vec![append(stream(2), 0, vec![large(2)])]);
    let late = store.append(vec![append(stream(3), 0, vec![event(3)])]);
    let ((slow, small), (too_large, late)) =
        block_on(join(join(slow, small), join(too_large, late)));
    assert_eq!((slow, small, late), (Ok(()), Ok(()), Ok(())));
    assert!(matches!(too_large, Err(AppendError::Store(StoreError::Full { .. }))));
    assert_eq!(block_on(store.streams()).expect("readable").len(), 3);
}

/// Steps until nothing is left, and the rows that each looked at.
fn sweep_counted(store: &SqliteStore) -> Vec<usize> {
    let mut steps = Vec::new();
    loop {
        let step = block_on(store.write_alone::<_, StoreError>(|writer| {
            let step = writer.alone(|transaction, _, sweep| sweep::sweep(transaction, sweep));
            step.map_err(|error| writer.failed(&error))
        }));
        let Some(rows) = step.expect("swept") else { return steps };
        steps.push(rows);
        assert!(steps.len() < 1_000, "it comes to an end");
    }
}

fn removed(store: &SqliteStore, streams: std::ops::Range<u128>, events: u64) {
    for number in streams {
        let all = block_on(ended(store, number, events));
        let removals = vec![removal(stream(number), &all)];
        assert_eq!(block_on(store.remove(removals)), Ok(vec![Ok(())]));
    }
}

#[test]
fn a_sweep_looks_at_each_row_a_few_times_however_many_streams_were_removed_and_never_at_many_at_once()
 {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(folder.path().join("hedgerow.db")).expect("opens");
    // Many small ones, and one that is larger than a step.
    removed(&store, 1..1_001, 3);
    removed(&store, 2_000..2_001, 5_000);
    let steps = sweep_counted(&store);
    assert!(steps.iter().all(|rows| *rows <= sweep::STEP + 2), "{steps:?}");
    let (streams, events) = (1_001, 8_000);
    let rows: usize = steps.iter().sum();
    assert!(rows <= 5 * streams + events + steps.len(), "{rows} rows in {} steps", steps.len());
    assert_eq!(sweep_counted(&store), [0; 0], "nothing is left");
    // Ten times the steps would be ten times the rows, not a hundred times.
    assert!(steps.len() < 12, "{steps:?}");
}

#[test]
fn a_stream_that_came_back_and_went_again_during_a_sweep_is_swept_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hedgerow.db");
    let store = SqliteStore::open(&path).expect("opens");
    let all = block_on(ended(&store, 1, 3));
    let remove = || block_on(store.remove(vec![removal(stream(1), &all)]));
    assert_eq!(remove(), Ok(vec![Ok(())]));
    // At each of its steps.
    for step in 0..4 {
        for _ in 0..step {
            block_on(store.sweep()).expect("swept");
        }
        let import = import(stream(1), &all, operation(1));
        assert_eq!(block_on(store.import(import)), Ok(()));
        assert_eq!(remove(), Ok(vec![Ok(())]));
        sweep_counted(&store);
        let found = rusqlite::Connection::open(&path).expect("opens");
        let count = |table: &str| {
            let count = format!("SELECT count(*) FROM {table}");
            found.query_row(&count, [], |row| row.get::<_, i64>(0)).expect("a number")
        };
        let left = ["events", "operations", "streams WHERE active = 2"].map(count);
        assert_eq!(left, [1, 0, 0], "the note alone, after step {step}");
    }
}

#[test]
fn whoever_keeps_a_store_beside_another_process_leaves_its_lock_free_most_of_the_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hedgerow.db");
    let store = SqliteStore::open(&path).expect("opens");
    let all: Vec<_> = (1..4).map(|number| block_on(ended(&store, number, 3))).collect();
    let beside = SqliteStore::open_to_keep(&path).expect("opens");
    for (number, all) in (1..).zip(&all) {
        assert_eq!(block_on(beside.remove(vec![removal(stream(number), all)])), Ok(vec![Ok(())]));
    }
    let steps = sweep_counted(&beside).len();
    for (number, all) in (1..).zip(&all) {
        let import = import(stream(number), all, operation(number));
        assert_eq!(block_on(beside.import(import)), Ok(()));
    }
    let rests = block_on(beside.write_alone::<_, StoreError>(|writer| Ok(writer.rests.clone())));
    let rests = rests.expect("told");
    assert_eq!(rests.len(), 3 + steps + 1 + 3, "after each that had it");
    for (held, rest) in rests {
        assert!(rest >= held.min(std::time::Duration::from_secs(1)) * 2, "{held:?}, {rest:?}");
    }
    // Whoever has the file for itself keeps nobody waiting.
    block_on(store.sweep()).expect("swept");
    let rests = block_on(store.write_alone::<_, StoreError>(|writer| Ok(writer.rests.clone())));
    assert_eq!(rests, Ok(Vec::new()));
}

#[test]
fn whoever_starts_while_somebody_reads_goes_on_with_the_log_that_was_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hedgerow.db");
    let add = |store: &SqliteStore, version| {
        let next = vec![append(stream(1), version, vec![event(version)])];
        assert_eq!(block_on(store.append(next)), Ok(()));
    };
    let store = SqliteStore::open(&path).expect("opens");
    add(&store, 0);
    // As long as a copy is made, which may take minutes.
    let copying = rusqlite::Connection::open(&path).expect("opens");
    copying.execute_batch("BEGIN; SELECT count(*) FROM events").expect("read");
    add(&store, 1);
    store.close();
    for version in 2..4 {
        let store = SqliteStore::open(&path).expect("nobody writes");
        add(&store, version);
        let beside = SqliteStore::open_to_keep(&path).expect("opens");
        assert_eq!(block_on(beside.sweep()), Ok(false));
        // Killed here: what lies beside the file is its own.
        let killed = tempfile::tempdir().expect("a folder");
        let left = killed.path().join("hedgerow.db");
        for suffix in ["", "-wal"] {
            let [from, to] = [&path, &left].map(|path| crate::open::beside(path, suffix));
            std::fs::copy(from, to).expect("copied");
        }
        for _ in 0..2 {
            let reader = SqliteStore::open_read_only(&left).expect("it belongs together");
            let all = block_on(reader.read_all(0, 100)).expect("readable");
            assert_eq!(all.len() as u64, version + 1);
            drop(reader);
            drop(SqliteStore::open(&left).expect("opens"));
        }
    }
    copying.execute_batch("COMMIT").expect("read");
    drop(SqliteStore::open(&path).expect("opens"));
    drop(copying);
    drop(SqliteStore::open(&path).expect("opens"));
    assert!(!crate::open::beside(&path, "-wal").exists());
}
