//! How far the log of a store is that another process writes.

use std::path::Path;

use hedgerow_engine::store::EventStore;
use hedgerow_sim::runtime::wait;
use hedgerow_sqlite::SqliteStore;

/// The place of the newest event; 0 while there is no log yet.
pub(crate) fn newest(db: &Path, after: u64) -> u64 {
    let Ok(store) = SqliteStore::open_read_only(db) else { return after };
    let mut newest = after;
    while let Ok(page) = wait(store.read_all(newest, 5_000)) {
        match page.last() {
            Some(last) => newest = last.position,
            None => break,
        }
    }
    newest
}
