//! A disk that is full, which only the writer's own connection can be made to believe.

use futures::future::join;
use hedgerow_core::NewEvent;
use hedgerow_engine::store::conformance::{append, block_on, event, stream, tenant};
use hedgerow_engine::store::{AppendError, EventStore, StateSnapshot, StoreError};

use crate::SqliteStore;
use crate::writer::Write;

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
