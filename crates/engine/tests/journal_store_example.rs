//! The store of the guide does what every store must do, and survives being cut off.

use std::path::Path;

use hedgerow_engine::store::conformance::{append, block_on, event, stream, tenant};
use hedgerow_engine::store::{EventStore, StoreError};

#[path = "../examples/journal_store.rs"]
#[allow(dead_code, reason = "its main lists what a file holds")]
mod journal_store;

use journal_store::JournalStore;

fn open(path: &Path) -> JournalStore {
    block_on(JournalStore::open(path)).expect("it opens")
}

// ANCHOR: conformance
fn new_store() -> (JournalStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder for a test");
    let store = open(&folder.path().join("store.jsonl"));
    (store, folder)
}

hedgerow_engine::store_conformance_tests!(new_store());
// ANCHOR_END: conformance

// ANCHOR: crash
#[test]
fn a_crash_in_the_middle_of_an_append_leaves_all_of_it_or_nothing() {
    let folder = tempfile::tempdir().expect("a folder for a test");
    let path = folder.path().join("store.jsonl");
    let store = open(&path);
    block_on(store.append(vec![append(stream(1), 0, vec![event(1)])])).expect("appended");
    let before = std::fs::read(&path).expect("read").len();
    let batch =
        vec![append(stream(1), 1, vec![event(2), event(3)]), append(stream(2), 0, vec![event(4)])];
    block_on(store.append(batch)).expect("appended");
    drop(store);
    let whole = std::fs::read(&path).expect("read");
    for end in (before..whole.len()).step_by(7).chain([whole.len()]) {
        std::fs::write(&path, &whole[..end]).expect("written");
        let store = open(&path);
        let all = block_on(store.read_all(0, 10)).expect("read").len();
        assert_eq!(all, if end == whole.len() { 4 } else { 1 }, "cut off after {end} bytes");
        // It goes on from there.
        block_on(store.append(vec![append(stream(3), 0, vec![event(5)])])).expect("appended");
        drop(store);
        assert_eq!(block_on(open(&path).read_all(0, 10)).expect("read").len(), all + 1);
    }
}
// ANCHOR_END: crash

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let (store, folder) = new_store();
    block_on(store.append(vec![append(stream(1), 0, vec![event(1), event(2)])])).expect("appended");
    drop(store);
    let store = open(&folder.path().join("store.jsonl"));
    let events = block_on(store.read_stream(&tenant(), stream(1), 0, 10)).expect("read");
    assert_eq!(
        events.into_iter().map(|stored| stored.event).collect::<Vec<_>>(),
        [event(1), event(2)]
    );
}

#[test]
fn a_second_writer_and_a_damaged_line_are_refused() {
    let (store, folder) = new_store();
    let path = folder.path().join("store.jsonl");
    let second = block_on(JournalStore::open(&path)).map(drop);
    assert!(matches!(second, Err(StoreError::Unavailable { .. })), "{second:?}");
    block_on(store.append(vec![append(stream(1), 0, vec![event(1)])])).expect("appended");
    drop(store);
    let line = std::fs::read_to_string(&path).expect("read");
    std::fs::write(&path, line.replace("thing_1_happened", "thing_2_happened")).expect("written");
    let changed = block_on(JournalStore::open(&path)).map(drop);
    assert!(
        matches!(&changed, Err(StoreError::Corrupt { detail }) if detail.contains("checksums")),
        "{changed:?}"
    );
    std::fs::write(&path, "[]\nno line of ours\n").expect("written");
    let damaged = block_on(JournalStore::open(&path)).map(drop);
    assert!(
        matches!(&damaged, Err(StoreError::Corrupt { detail }) if detail.starts_with("line 2")),
        "{damaged:?}"
    );
}
