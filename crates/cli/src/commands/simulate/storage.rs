//! Where the logs of simulations are kept.

use std::path::PathBuf;
use std::sync::Arc;

use hedgerow_engine::store::{EventStore, StoreError};
use hedgerow_sim::simulate::{MemoryStorage, Storage};
use hedgerow_sqlite::SqliteStore;
use tempfile::TempDir;

use super::CommandError;

pub(super) fn of(sqlite: bool) -> Result<Box<dyn Storage>, CommandError> {
    if !sqlite {
        return Ok(Box::new(MemoryStorage::default()));
    }
    let folder = tempfile::tempdir()
        .map_err(|source| CommandError::File { path: std::env::temp_dir(), source })?;
    Ok(Box::new(SqliteStorage { folder, number: 0, store: None }))
}

/// A `SQLite` file, another one for each run.
struct SqliteStorage {
    folder: TempDir,
    number: u64,
    store: Option<Arc<SqliteStore>>,
}

impl SqliteStorage {
    fn path(&self) -> PathBuf {
        self.folder.path().join(format!("{}.db", self.number))
    }

    fn close(&mut self) {
        if let Some(store) = self.store.take() {
            store.close();
        }
    }
}

fn unavailable(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable { detail: error.to_string() }
}

impl Storage for SqliteStorage {
    /// After a crash the file is opened anew, as another process would.
    fn open(&mut self) -> Result<Arc<dyn EventStore>, StoreError> {
        self.close();
        let store = SqliteStore::open(self.path()).map_err(|error| unavailable(&error))?;
        let store = Arc::new(store);
        self.store = Some(Arc::clone(&store));
        Ok(store)
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        self.close();
        for ending in ["", "-wal", "-shm", ".lock"] {
            let mut path = self.path().into_os_string();
            path.push(ending);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(unavailable(&error));
                }
                _ => {}
            }
        }
        self.number += 1;
        Ok(())
    }
}
