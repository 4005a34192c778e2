//! The suite that every store runs.

use hedgerow_sqlite::SqliteStore;
use tempfile::TempDir;

fn new_store() -> (SqliteStore, TempDir) {
    let folder = tempfile::tempdir().expect("a folder for a test");
    let store = SqliteStore::open(folder.path().join("hedgerow.db")).expect("a new store");
    (store, folder)
}

hedgerow_engine::store_conformance_tests!(new_store());

mod retention {
    use super::new_store;

    hedgerow_engine::retention_conformance_tests!(new_store());
}
