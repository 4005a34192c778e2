//! Opening files that are ours, somebody else's, damaged, or not there: each is told apart, and
//! nothing is overwritten.

use std::fs;
use std::path::{Path, PathBuf};

use hedgerow_core::StoredEvent;
use hedgerow_engine::store::checksum::Chain;
use hedgerow_engine::store::conformance::{append, block_on, event, stream, tenant};
use hedgerow_engine::store::{AppendError, EventStore, StateSnapshot, StoreError};
use hedgerow_sqlite::{OpenError, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A closed store with `events` events in one stream.
fn store_with(path: &Path, events: u64) {
    let store = SqliteStore::open(path).expect("a new store");
    add(&store, 0, events);
}

fn add(store: &SqliteStore, version: u64, events: u64) {
    let events = (version..version + events).map(event).collect();
    block_on(store.append(vec![append(stream(1), version, events)])).expect("appended");
}

fn count(store: &SqliteStore) -> usize {
    block_on(store.read_stream(&tenant(), stream(1), 0, usize::MAX)).expect("readable").len()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Opens in both ways, which must both fail and leave the folder as it is.
fn refused(path: &Path) -> (OpenError, OpenError) {
    let folder = path.parent().expect("in a folder");
    let contents = |names: Vec<String>| -> Vec<_> {
        names.into_iter().map(|name| (fs::read(folder.join(&name)).ok(), name)).collect()
    };
    let before = contents(names(folder));
    let writing = SqliteStore::open(path).err().expect("refused to write");
    let reading = SqliteStore::open_read_only(path).err().expect("refused to read");
    assert_eq!(contents(names(folder)), before, "something was changed or created");
    for error in [&writing, &reading] {
        assert!(error.to_string().contains(&*path.file_name().unwrap().to_string_lossy()));
    }
    (writing, reading)
}

#[test]
fn what_was_written_is_there_after_closing_and_nothing_but_the_lock_stays_beside_the_file() {
    let folder = folder();
    let path = folder.path().join("hedgerow.db");
    store_with(&path, 3);
    assert_eq!(names(folder.path()), ["hedgerow.db", "hedgerow.db.lock"]);
    let store = SqliteStore::open(&path).expect("opens again");
    assert_eq!(count(&store), 3);
    add(&store, 3, 1);
    assert_eq!(count(&store), 4);
}

#[test]
fn appends_that_nobody_waits_for_are_finished_by_closing() {
    let folder = folder();
    let path = folder.path().join("hedgerow.db");
    let store = SqliteStore::open(&path).expect("opens");
    for version in 0..50 {
        drop(store.append(vec![append(stream(1), version, vec![event(version)])]));
    }
    store.close();
    let closed = block_on(store.append(vec![append(stream(1), 50, vec![event(1)])]));
    assert_eq!(closed, Err(AppendError::Store(StoreError::Closed)));
    assert_eq!(block_on(store.streams()), Err(StoreError::Closed));
    let snapshot = StateSnapshot { version: 1, format: 1, data: vec![] };
    let closed = block_on(store.save_snapshot(&tenant(), stream(1), snapshot));
    assert_eq!(closed, Err(StoreError::Closed));
    assert_eq!(count(&SqliteStore::open(&path).expect("opens again")), 50);
}

#[test]
fn a_second_writer_is_told_who_is_in_its_way_until_the_first_one_closes() {
    let folder = folder();
    let path = folder.path().join("hedgerow.db");
    let first = SqliteStore::open(&path).expect("opens");
    let second = SqliteStore::open(&path).err().expect("refused");
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    #[cfg(unix)]
    {
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        let second = SqliteStore::open(&link).err().expect("refused by another name, too");
        assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    }
    first.close();
    SqliteStore::open(&path).expect("free again");
}

#[test]
fn a_reader_sees_what_a_writer_writes_and_may_not_write() {
    let folder = folder();
    let path = folder.path().join("hedgerow.db");
    let writer = SqliteStore::open(&path).expect("opens");
    add(&writer, 0, 2);
    let reader = SqliteStore::open_read_only(&path).expect("opens beside the writer");
    assert_eq!(count(&reader), 2);
    add(&writer, 2, 2);
    assert_eq!(count(&reader), 4);
    let refused = block_on(reader.append(vec![append(stream(2), 0, vec![event(1)])]));
    assert!(matches!(refused, Err(AppendError::Store(StoreError::ReadOnly { .. }))));
    let snapshot = StateSnapshot { version: 1, format: 1, data: vec![] };
    let refused = block_on(reader.save_snapshot(&tenant(), stream(1), snapshot));
    assert!(matches!(refused, Err(StoreError::ReadOnly { .. })));
    writer.close();
    assert_eq!(count(&reader), 4, "also when the writer has gone");
}

#[test]
fn a_reader_that_was_there_first_sees_what_writers_write_later() {
    let folder = folder();
    let path = folder.path().join("hedgerow.db");
    store_with(&path, 1);
    let reader = SqliteStore::open_read_only(&path).expect("opens");
    assert_eq!(count(&reader), 1);
    assert_eq!(names(folder.path()), ["hedgerow.db", "hedgerow.db.lock"], "it leaves no trace");
    for version in 1..20 {
        let writer = SqliteStore::open(&path).expect("a reader is in nobody's way");
        add(&writer, version, 1);
        assert_eq!(count(&reader) as u64, version + 1);
        drop(writer);
        assert_eq!(count(&reader) as u64, version + 1);
    }
}

#[test]
fn a_path_that_leads_nowhere_is_told_and_only_a_writer_creates_a_file() {
    let folder = folder();
    let missing = folder.path().join("missing.db");
    let error = SqliteStore::open_read_only(&missing).err().expect("nothing there");
    assert!(matches!(error, OpenError::NoFile { .. }), "{error}");
    assert_eq!(names(folder.path()), [""; 0]);
    let nowhere = folder.path().join("no/such.db");
    let error = SqliteStore::open(&nowhere).err().expect("no folder to create it in");
    assert!(matches!(error, OpenError::NoFolder { .. }), "{error}");
    let error = SqliteStore::open_read_only(&nowhere).err().expect("nothing there");
    assert!(matches!(error, OpenError::NoFile { .. }), "{error}");
    let odd = folder.path().join("a % odd? name#ä.db");
    store_with(&odd, 1);
    assert_eq!(count(&SqliteStore::open_read_only(&odd).expect("opens")), 1);
}

#[test]
fn a_folder_is_not_a_file() {
    let folder = folder();
    let inner = folder.path().join("hedgerow.db");
    fs::create_dir(&inner).expect("made");
    let (writing, reading) = refused(&inner);
    assert!(matches!(writing, OpenError::NotAFile { .. }), "{writing}");
    assert!(matches!(reading, OpenError::NotAFile { .. }), "{reading}");
}

#[test]
fn an_empty_file_becomes_a_store() {
    let folder = folder();
    let path = folder.path().join("hedgerow.db");
    fs::write(&path, "").expect("written");
    let error = SqliteStore::open_read_only(&path).err().expect("nothing to read");
    assert!(matches!(error, OpenError::Empty { .. }), "{error}");
    store_with(&path, 1);
}

#[test]
fn somebody_elses_file_is_left_as_it_is() {
    let folder = folder();
    for (name, contents) in [
        ("short.db", "x".to_owned()),
        ("text.db", "Dear diary, ".repeat(1_000)),
        ("nearly.db", format!("SQLite format 3\0{}", "nonsense".repeat(1_000))),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, contents).expect("written");
        let (writing, reading) = refused(&path);
        assert!(matches!(writing, OpenError::Foreign { .. }), "{writing}");
        assert!(matches!(reading, OpenError::Foreign { .. }), "{reading}");
    }
    for (name, mode) in [("plain.db", "DELETE"), ("wal.db", "WAL")] {
        let path = folder.path().join(name);
        let other = Connection::open(&path).expect("another program's");
        other.pragma_update(None, "journal_mode", mode).expect("set");
        other.execute_batch("CREATE TABLE diary (page TEXT)").expect("made");
        let (writing, reading) = refused(&path);
        assert!(matches!(writing, OpenError::Foreign { .. }), "{writing}");
        assert!(matches!(reading, OpenError::Foreign { .. }), "{reading}");
        other.execute_batch("INSERT INTO diary VALUES ('goes on')").expect("undisturbed");
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = folder();
    let path = folder.path().join("hedgerow.db");
    store_with(&path, 1);
    let newer = Connection::open(&path).expect("opens");
    // Every version marks each of its commits.
    let mut mark: Vec<u8> =
        newer.query_row("SELECT mark FROM session", [], |row| row.get(0)).expect("a mark");
    *mark.last_mut().expect("a number of commits") += 1;
    newer.execute_batch("BEGIN; PRAGMA user_version = 1000").expect("begun");
    newer.execute("UPDATE session SET mark = ?1", [mark]).expect("set");
    newer.execute_batch("COMMIT").expect("committed");
    for marks in ["in the log", "in the file"] {
        let (writing, reading) = refused_beside_a_lock(&path);
        for error in [&writing, &reading] {
            assert!(matches!(error, OpenError::Newer { found: 1_000, .. }), "{marks}: {error}");
        }
        newer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("folded in");
    }
}

#[test]
fn a_file_of_the_first_version_is_read_as_it_is_and_brought_up_to_date_by_a_writer() {
    let folder = folder();
    let path = folder.path().join("hedgerow.db");
    fs::write(&path, include_bytes!("first_schema.store")).expect("written");
    let whole = |store: &SqliteStore, events: usize| {
        let read = block_on(store.read_stream(&tenant(), stream(1), 0, usize::MAX));
        let read = read.expect("readable");
        let all = block_on(store.read_all(0, usize::MAX)).expect("readable");
        assert_eq!((read.len(), all.len()), (events, events + 1));
        let of_old: Vec<_> = read.iter().take(9).map(|stored| stored.event.clone()).collect();
        assert_eq!(of_old, (0..9).map(event).collect::<Vec<_>>());
        let mut chain = Chain::default();
        assert_eq!(read.iter().try_for_each(|stored| chain.check(stored)), Ok(()));
        let with = |stored: &StoredEvent| stored.checksum.is_some();
        assert_eq!(read.iter().filter(|stored| with(stored)).count(), events - 9);
        assert_eq!(block_on(store.claims()).expect("readable").len(), 1);
        assert_eq!(block_on(store.streams()).expect("readable").len(), 2);
        let snapshot = block_on(store.load_snapshot(&tenant(), stream(1))).expect("readable");
        assert_eq!(snapshot.map(|snapshot| snapshot.version), Some(9));
    };
    whole(&SqliteStore::open_read_only(&path).expect("opens"), 9);
    assert_eq!(fs::read(&path).expect("readable"), include_bytes!("first_schema.store"));
    let store = SqliteStore::open(&path).expect("opens");
    whole(&store, 9);
    add(&store, 9, 2);
    whole(&store, 11);
    drop(store);
    whole(&SqliteStore::open_read_only(&path).expect("opens"), 11);
}

/// As [`refused`], where the index of a log may change.
fn refused_beside_a_lock(path: &Path) -> (OpenError, OpenError) {
    let before = fs::read(path).expect("readable");
    let writing = SqliteStore::open(path).err().expect("refused to write");
    let reading = SqliteStore::open_read_only(path).err().expect("refused to read");
    assert_eq!(fs::read(path).expect("readable"), before);
    (writing, reading)
}

/// A store of many pages, damaged by `damage`.
fn damaged(folder: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let path = folder.join("hedgerow.db");
    store_with(&path, 5_000);
    let mut bytes = fs::read(&path).expect("readable");
    assert!(bytes.len() > 300_000, "{} bytes", bytes.len());
    damage(&mut bytes);
    fs::write(&path, bytes).expect("written");
    path
}

#[test]
fn pages_that_were_overwritten_in_the_middle_are_told_as_damage() {
    let folder = folder();
    let path = damaged(folder.path(), |bytes| {
        let middle = bytes.len() / 8192 * 4096;
        bytes[middle..middle + 40_960].fill(0xa5);
    });
    for store in [
        SqliteStore::open_read_only(&path).expect("its beginning is whole"),
        SqliteStore::open(&path).expect("its beginning is whole"),
    ] {
        let read = block_on(store.read_stream(&tenant(), stream(1), 0, usize::MAX));
        let Err(StoreError::Corrupt { detail }) = read else { panic!("read from damaged pages") };
        assert!(detail.contains("hedgerow.db"), "{detail}");
        assert!(matches!(block_on(store.read_all(0, 9_999)), Err(StoreError::Corrupt { .. })));
        assert_eq!(block_on(store.streams()).map(|streams| streams.len()), Ok(1), "goes on");
    }
}

#[test]
fn a_file_that_was_cut_off_is_damaged() {
    let folder = folder();
    let path = damaged(folder.path(), |bytes| bytes.truncate(bytes.len() / 2 + 100));
    match SqliteStore::open_read_only(&path) {
        Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "{error}"),
        Ok(store) => {
            let read = block_on(store.read_stream(&tenant(), stream(1), 0, usize::MAX));
            assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
        }
    }
}

#[test]
fn a_file_that_ends_within_its_last_page_is_damaged() {
    let folder = folder();
    let path = damaged(folder.path(), |bytes| bytes.truncate(bytes.len() - 100));
    let (writing, reading) = refused_beside_a_lock(&path);
    for error in [writing, reading] {
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("it was cut off"), "{error}");
    }
}

#[test]
fn a_file_into_which_a_log_was_folded_only_halfway_is_whole_with_its_log() {
    let folder = folder();
    let path = folder.path().join("hedgerow.db");
    let copy = folder.path().join("copy.db");
    store_with(&path, 1);
    let small = fs::read(&path).expect("readable").len();
    let store = SqliteStore::open(&path).expect("opens");
    add(&store, 1, 2_000);
    let other = Connection::open(&path).expect("opens");
    fs::copy(folder.path().join("hedgerow.db-wal"), folder.path().join("copy.db-wal"))
        .expect("copied");
    other.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())).expect("folded in");
    // The first pages are those of afterwards, the later ones are not there yet.
    let bytes = fs::read(&path).expect("readable");
    assert!(bytes.len() > 2 * small);
    fs::write(&copy, &bytes[..small]).expect("written");
    assert_eq!(count(&SqliteStore::open_read_only(&copy).expect("opens")), 2_001);
    assert_eq!(count(&SqliteStore::open(&copy).expect("opens")), 2_001);
}

#[test]
fn a_file_whose_tables_are_damaged_is_refused() {
    let folder = folder();
    let path = damaged(folder.path(), |bytes| bytes[4_096..40_960].fill(0));
    let writing = SqliteStore::open(&path).err().expect("refused");
    assert!(matches!(writing, OpenError::Damaged { .. }), "{writing}");
    let reading = SqliteStore::open_read_only(&path).err().expect("refused");
    assert!(matches!(reading, OpenError::Damaged { .. }), "{reading}");
}

#[test]
fn a_missing_event_is_told_rather_than_passed_over() {
    for lost in [1, 5, 9] {
        let folder = folder();
        let path = folder.path().join("hedgerow.db");
        store_with(&path, 9);
        let other = Connection::open(&path).expect("opens");
        other.execute("DELETE FROM events WHERE version = ?1", [lost]).expect("deleted");
        drop(other);
        let store = SqliteStore::open_read_only(&path).expect("opens");
        let read = block_on(store.read_stream(&tenant(), stream(1), 0, usize::MAX));
        let Err(StoreError::Corrupt { detail }) = read else { panic!("read over a gap") };
        assert!(detail.contains(&format!("event {lost} of")), "{detail}");
    }
}

#[test]
fn a_writer_waits_for_another_program_that_holds_the_file_and_goes_on_afterwards() {
    let folder = folder();
    let path = folder.path().join("hedgerow.db");
    let store = SqliteStore::open(&path).expect("opens");
    add(&store, 0, 1);
    let other = Connection::open(&path).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("begun");
    let append = store.append(vec![append(stream(1), 1, vec![event(1)])]);
    std::thread::sleep(std::time::Duration::from_millis(100));
    other.execute_batch("ROLLBACK").expect("ended");
    assert_eq!(block_on(append), Ok(()));
}

#[cfg(unix)]
mod permissions {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    }

    /// Whether permissions bind this user; they do not bind root.
    fn bind(folder: &Path) -> bool {
        let probe = folder.join("probe");
        fs::write(&probe, "").expect("written");
        set_mode(&probe, 0o000);
        let binds = fs::File::open(&probe).is_err();
        fs::remove_file(probe).expect("removed");
        binds
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_can_be_read_from_and_nothing_else() {
        let folder = folder();
        let path = folder.path().join("hedgerow.db");
        store_with(&path, 3);
        fs::remove_file(folder.path().join("hedgerow.db.lock")).expect("removed");
        if !bind(folder.path()) {
            return;
        }
        set_mode(&path, 0o444);
        set_mode(folder.path(), 0o555);
        let reader = SqliteStore::open_read_only(&path).expect("reading is enough");
        assert_eq!(count(&reader), 3);
        let error = SqliteStore::open(&path).err().expect("refused");
        assert!(matches!(error, OpenError::NotPermitted { .. }), "{error}");
        let new = SqliteStore::open(folder.path().join("new.db")).err().expect("refused");
        assert!(matches!(new, OpenError::NotPermitted { .. }), "{new}");
        set_mode(folder.path(), 0o755);
        let error = SqliteStore::open(&path).err().expect("refused by the file itself");
        assert!(matches!(error, OpenError::NotPermitted { .. }), "{error}");
        set_mode(&path, 0o000);
        let error = SqliteStore::open_read_only(&path).err().expect("refused");
        assert!(matches!(error, OpenError::NotPermitted { .. }), "{error}");
    }

    #[test]
    fn a_log_that_was_left_where_nobody_may_write_is_told_rather_than_passed_over() {
        let folder = folder();
        let path = folder.path().join("hedgerow.db");
        let store = SqliteStore::open(&path).expect("opens");
        add(&store, 0, 3);
        // What a kill would leave, on a copy without the index.
        let left = folder.path().join("left");
        fs::create_dir(&left).expect("made");
        for name in ["hedgerow.db", "hedgerow.db-wal"] {
            fs::copy(folder.path().join(name), left.join(name)).expect("copied");
        }
        if !bind(folder.path()) {
            return;
        }
        set_mode(&left, 0o555);
        let error = SqliteStore::open_read_only(left.join("hedgerow.db")).err().expect("refused");
        assert!(matches!(error, OpenError::NotClosed { .. }), "{error}");
        set_mode(&left, 0o755);
        let reader = SqliteStore::open_read_only(left.join("hedgerow.db")).expect("opens");
        assert_eq!(count(&reader), 3);
    }
}
