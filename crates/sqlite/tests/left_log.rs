//! A write-ahead log that lies beside a file and is not its own: the database alone would fold it in, and
//! events that were removed would come back.

use std::fs;
use std::path::{Path, PathBuf};

use hedgerow_core::StoredEvent;
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::conformance::{append, block_on, event, stream};
use hedgerow_sqlite::{OpenError, SqliteStore};
use tempfile::TempDir;

/// A folder, and the path of a file in it.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    (folder, path)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn add(store: &SqliteStore, number: u128, version: u64, events: u64) {
    let events = (version..version + events).map(event).collect();
    block_on(store.append(vec![append(stream(number), version, events)])).expect("appended");
}

/// A closed store with events of stream `number`.
fn closed(path: &Path, number: u128, events: u64) {
    add(&SqliteStore::open(path).expect("opens"), number, 0, events);
}

fn copy(from: &Path, to: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        fs::copy(beside(from, suffix), beside(to, suffix)).expect("copied");
    }
}

/// What a process that is killed leaves, after it added events to a store: file, log and index.
fn killed(path: &Path, number: u128, version: u64, events: u64) {
    let (_running, elsewhere) = place();
    if path.exists() {
        copy(path, &elsewhere, &[""]);
    }
    let store = SqliteStore::open(&elsewhere).expect("opens");
    add(&store, number, version, events);
    copy(&elsewhere, path, &["", "-wal", "-shm", ".lock"]);
}

fn log(path: &Path) -> Vec<StoredEvent> {
    let store = SqliteStore::open_read_only(path).expect("opens");
    block_on(store.read_all(0, 1_000_000)).expect("readable")
}

/// Refused to readers and writers, with everything left as it is, until the log is removed.
fn refused(path: &Path, what: &str) {
    let before = fs::read(beside(path, "-wal")).expect("a log");
    let reading = SqliteStore::open_read_only(path).err().unwrap_or_else(|| panic!("{what}: read"));
    let writing = SqliteStore::open(path).err().unwrap_or_else(|| panic!("{what}: written"));
    for error in [reading, writing] {
        assert!(matches!(error, OpenError::LeftLog { .. }), "{what}: {error}");
        assert!(error.to_string().contains("store.db-wal"), "{what}: {error}");
    }
    assert_eq!(fs::read(beside(path, "-wal")).expect("a log"), before, "{what}");
    fs::remove_file(beside(path, "-wal")).expect("as the error says");
    fs::remove_file(beside(path, "-shm")).expect("as the error says");
    drop(SqliteStore::open(path).unwrap_or_else(|error| panic!("{what}: {error}")));
}

#[test]
fn what_a_killed_process_left_belongs_together() {
    // Also of a file that was just created, and of one that was opened many times.
    for sessions in [0, 1, 5] {
        let (_folder, path) = place();
        for version in 0..sessions {
            add(&SqliteStore::open(&path).expect("opens"), 1, version, 1);
        }
        killed(&path, 1, sessions, 7);
        assert_eq!(log(&path).len() as u64, sessions + 7);
        drop(SqliteStore::open(&path).expect("opens"));
        assert_eq!(log(&path).len() as u64, sessions + 7, "folded in");
        // Killed once more before anything is written.
        killed(&path, 2, 0, 0);
        assert_eq!(log(&path).len() as u64, sessions + 7);
    }
}

#[test]
fn a_log_beside_no_file_is_not_taken_for_that_of_a_new_one() {
    let (_folder, path) = place();
    killed(&path, 1, 0, 5);
    fs::remove_file(&path).expect("removed");
    refused(&path, "the file was removed");
    assert_eq!(log(&path), []);
    killed(&path, 1, 0, 5);
    fs::write(&path, "").expect("emptied");
    fs::remove_file(beside(&path, ".lock")).expect("removed");
    refused(&path, "the file was emptied");
}

#[test]
fn a_log_beside_another_file_is_refused() {
    let (_folder, path) = place();
    let (_other_folder, other) = place();
    closed(&other, 2, 3);
    let theirs = log(&other);
    killed(&path, 1, 0, 5);
    copy(&other, &path, &[""]);
    refused(&path, "another store was put in its place");
    assert_eq!(log(&path), theirs);
    // One that is killed itself, and the log of which is another one's.
    killed(&other, 2, 3, 4);
    killed(&path, 1, 0, 5);
    copy(&other, &path, &[""]);
    refused(&path, "another store that has a log of its own");
    assert_eq!(log(&path), theirs);
}

#[test]
fn a_log_that_was_written_after_a_backup_is_refused_beside_the_backup() {
    let (_folder, path) = place();
    let (_other_folder, backup) = place();
    closed(&path, 1, 3);
    copy(&path, &backup, &[""]);
    let before = log(&backup);
    // The backup is that of the very session before, and of one long ago.
    for sessions in 0..3 {
        let newest = 3 + sessions;
        killed(&path, 1, newest, 1);
        copy(&backup, &path, &[""]);
        refused(&path, "a backup was restored");
        assert_eq!(log(&path), before);
        copy(&backup, &path, &[""]);
        for version in 3..=newest {
            add(&SqliteStore::open(&path).expect("opens"), 1, version, 1);
        }
    }
}

#[test]
fn a_log_that_is_older_than_its_file_is_refused() {
    let (_folder, path) = place();
    let (_other_folder, other) = place();
    let store = SqliteStore::open(&other).expect("opens");
    add(&store, 1, 0, 5);
    let old = fs::read(beside(&other, "-wal")).expect("a log");
    add(&store, 1, 5, 5);
    let fold = rusqlite::Connection::open(&other).expect("opens");
    fold.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())).expect("folded in");
    copy(&other, &path, &["", "-shm"]);
    fs::write(beside(&path, "-wal"), old).expect("written");
    refused(&path, "an old log");
    assert_eq!(log(&path).len(), 10);
}

#[test]
fn two_writers_whose_lock_somebody_removed_leave_a_log_that_belongs_to_the_file() {
    let (_folder, path) = place();
    let (_running, elsewhere) = place();
    let first = SqliteStore::open(&elsewhere).expect("opens");
    add(&first, 1, 0, 2);
    fs::remove_file(beside(&elsewhere, ".lock")).expect("removed");
    let second = SqliteStore::open(&elsewhere).expect("nobody is in its way");
    add(&first, 1, 2, 2);
    add(&second, 2, 0, 2);
    add(&first, 1, 4, 2);
    copy(&elsewhere, &path, &["", "-wal", "-shm"]);
    assert_eq!(log(&path).len(), 8);
    drop(SqliteStore::open(&path).expect("opens"));
    assert_eq!(log(&path).len(), 8);
}

#[test]
fn an_index_a_torn_log_or_one_of_other_bytes_is_no_hindrance() {
    for bytes in [&b""[..], b"short", &[7; 10_000]] {
        let (_folder, path) = place();
        closed(&path, 1, 3);
        fs::write(beside(&path, "-wal"), bytes).expect("written");
        fs::write(beside(&path, "-shm"), vec![9; 32_768]).expect("written");
        assert_eq!(log(&path).len(), 3);
        drop(SqliteStore::open(&path).expect("opens"));
        assert_eq!(log(&path).len(), 3);
    }
    let (_folder, path) = place();
    killed(&path, 1, 0, 3);
    let mut torn = fs::read(beside(&path, "-wal")).expect("a log");
    torn.truncate(torn.len() - 100);
    fs::write(beside(&path, "-wal"), torn).expect("written");
    assert_eq!(log(&path), [], "what was not written to its end was not acknowledged");
}

#[test]
fn a_journal_that_would_be_played_back_into_the_file_is_refused() {
    let (_folder, path) = place();
    closed(&path, 1, 3);
    let before = fs::read(&path).expect("readable");
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    journal.resize(2_000, 1);
    fs::write(beside(&path, "-journal"), journal).expect("written");
    for error in [SqliteStore::open(&path).err(), SqliteStore::open_read_only(&path).err()] {
        assert!(matches!(error, Some(OpenError::LeftLog { .. })), "{error:?}");
    }
    assert_eq!(fs::read(&path).expect("readable"), before);
}

#[test]
fn a_reader_beside_a_writer_that_folds_its_log_in_again_and_again_is_never_refused() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path).expect("opens");
    let fold = rusqlite::Connection::open(&path).expect("opens");
    for version in 0..60 {
        add(&store, 1, version, 1);
        assert_eq!(log(&path).len() as u64, version + 1);
        if version % 3 == 0 {
            let mode = if version % 2 == 0 { "RESTART" } else { "PASSIVE" };
            let fold_in = format!("PRAGMA wal_checkpoint({mode})");
            fold.query_row(&fold_in, [], |_| Ok(())).expect("folded in");
        }
    }
}

/// Commits as whoever runs on a file does, or as somebody who begins to.
#[derive(Clone, Copy, Debug)]
enum Commit {
    GoesOn,
    Begins,
    /// As if a commit before it were missing.
    IsLate,
    /// Somebody who ran on another file before.
    BeginsElsewhere,
}

fn commit(connection: &rusqlite::Connection, commit: Commit, number: u8) {
    let mark = "SELECT mark FROM session WHERE id = 1";
    let mut mark: Vec<u8> = connection.query_row(mark, [], |row| row.get(0)).expect("a mark");
    let mut commits = u64::from_be_bytes(mark[48..].try_into().expect("eight bytes")) + 1;
    match commit {
        Commit::GoesOn => {}
        Commit::IsLate => commits += 1,
        Commit::Begins => mark.copy_within(32..48, 16),
        Commit::BeginsElsewhere => mark[16..32].fill(99),
    }
    if matches!(commit, Commit::Begins | Commit::BeginsElsewhere) {
        mark[32..48].fill(number);
    }
    mark[48..].copy_from_slice(&commits.to_be_bytes());
    connection.execute("UPDATE session SET mark = ?1", [mark]).expect("committed");
}

#[test]
fn a_log_that_several_wrote_belongs_to_its_file_if_each_commit_follows_on_the_one_before() {
    use Commit::{Begins, BeginsElsewhere, GoesOn, IsLate};
    let good: [&[Commit]; 5] = [
        // Whoever began left room for one beside it, before or after its own first commit.
        &[Begins, GoesOn],
        &[GoesOn, Begins],
        &[GoesOn, Begins, GoesOn, GoesOn, Begins, GoesOn],
        &[Begins, Begins],
        &[GoesOn],
    ];
    let bad: [&[Commit]; 6] = [
        &[BeginsElsewhere],
        &[BeginsElsewhere, GoesOn],
        &[GoesOn, BeginsElsewhere],
        &[IsLate],
        &[GoesOn, IsLate],
        &[Begins, GoesOn, IsLate, GoesOn],
    ];
    for (commits, belongs) in good.map(|of| (of, true)).into_iter().chain(bad.map(|of| (of, false)))
    {
        // The file may end with any of those that belong to it.
        for folded_in in 0..=if belongs { commits.len() } else { 0 } {
            let (_folder, path) = place();
            let (_running, elsewhere) = place();
            closed(&elsewhere, 1, 3);
            let connection = rusqlite::Connection::open(&elsewhere).expect("opens");
            let before = fs::read(&elsewhere).expect("readable");
            let mut file = before.clone();
            for (number, one) in (0..).zip(commits) {
                commit(&connection, *one, number);
                if usize::from(number) + 1 == folded_in {
                    // Into a copy, so that the log itself is not begun anew.
                    let (_copied, copied) = place();
                    copy(&elsewhere, &copied, &["", "-wal"]);
                    let fold = rusqlite::Connection::open(&copied).expect("opens");
                    fold.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                        .expect("folded in");
                    file = fs::read(&copied).expect("readable");
                }
            }
            fs::write(&path, file).expect("written");
            copy(&elsewhere, &path, &["-wal"]);
            let what = format!("{commits:?}, of which {folded_in} are folded in");
            if belongs {
                assert_eq!(log(&path).len(), 3, "{what}");
                drop(SqliteStore::open(&path).unwrap_or_else(|error| panic!("{what}: {error}")));
            } else {
                let reading = SqliteStore::open_read_only(&path).err();
                assert!(matches!(reading, Some(OpenError::LeftLog { .. })), "{what}: {reading:?}");
            }
        }
    }
}
