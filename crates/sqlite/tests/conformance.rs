//! The suite that every store runs.

use std::sync::atomic::{AtomicU32, Ordering};

use hedgerow_engine::store::conformance;
use hedgerow_sqlite::SqliteStore;

#[test]
fn a_sqlite_file_does_what_a_store_must_do() {
    let folder = tempfile::tempdir().unwrap();
    let next = AtomicU32::new(0);
    futures::executor::block_on(conformance::run(|| async {
        let number = next.fetch_add(1, Ordering::Relaxed);
        SqliteStore::open(folder.path().join(format!("{number}.db"))).unwrap()
    }));
}
