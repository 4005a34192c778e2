//! The embedded event store of Hedgerow: one SQLite file.
//!
//! Appends go through one writer thread that commits everything that waits in one transaction
//! (`WAL`, `synchronous=FULL`: what was answered survives a power cut), reads through one reader
//! thread. One process at a time may write to a file; others may read it meanwhile.
//!
//! ```
//! use hedgerow_sqlite::SqliteStore;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("hedgerow.db");
//! let store = SqliteStore::open(&path)?;
//! assert!(SqliteStore::open(&path).is_err(), "one writer at a time");
//! let reader = SqliteStore::open_read_only(&path)?;
//! # drop((store, reader));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod open;
mod reader;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use hedgerow_core::{OperationId, StoredEvent, StreamId, TenantId};
use hedgerow_engine::store::{
    AppendError, EventStore, StateSnapshot, StoreError, StreamAppend, StreamSummary,
};

pub use error::OpenError;

use crate::reader::Read;
use crate::writer::Write;

/// An event store in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    writes: Option<Sender<Write>>,
    reads: Option<Sender<Read>>,
    threads: Vec<JoinHandle<()>>,
    /// Held as long as the store is: no other process may write meanwhile.
    _lock: Option<std::fs::File>,
}

impl SqliteStore {
    /// Opens a store to run campaigns on, and creates the file if there is none.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let (connection, lock) = open::to_write(path)?;
        let reader = open::to_read(path)?;
        let (writes, writer) = writer::spawn(connection, path)?;
        let (reads, reader) = reader::spawn(reader, path)?;
        Ok(Self {
            path: path.to_owned(),
            writes: Some(writes),
            reads: Some(reads),
            threads: vec![writer, reader],
            _lock: Some(lock),
        })
    }

    /// Opens a store to look at, also while a process writes to it. Appends are refused.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed, and nothing is created.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let (reads, reader) = reader::spawn(open::to_read(path)?, path)?;
        Ok(Self {
            path: path.to_owned(),
            writes: None,
            reads: Some(reads),
            threads: vec![reader],
            _lock: None,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&reader::Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.reads.as_ref().map(|reads| {
            // Whoever asked may be gone by then.
            reads.send(Box::new(move |reader| drop(answer.send(read(reader)))))
        });
        async move {
            match sent {
                Some(Ok(())) => answered.await.unwrap_or(Err(StoreError::Closed)),
                _ => Err(StoreError::Closed),
            }
        }
        .boxed()
    }
}

impl Drop for SqliteStore {
    /// Finishes what was asked for, and closes the file.
    fn drop(&mut self) {
        self.writes = None;
        self.reads = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to finish.
            let _ = thread.join();
        }
    }
}

impl EventStore for SqliteStore {
    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        let (answer, answered) = oneshot::channel();
        let Some(writes) = &self.writes else {
            let detail = format!("{} was opened to be read", self.path.display());
            return async move { Err(StoreError::ReadOnly { detail }.into()) }.boxed();
        };
        let sent = writes.send(Write::Append { batch, answer });
        async move {
            match sent {
                Ok(()) => answered.await.unwrap_or(Err(StoreError::Closed.into())),
                Err(_) => Err(StoreError::Closed.into()),
            }
        }
        .boxed()
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let tenant = tenant.clone();
        self.read(move |reader| reader.stream(&tenant, stream, after, limit))
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        self.read(move |reader| reader.all(after, limit))
    }

    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        self.read(reader::Reader::streams)
    }

    fn claims(&self) -> BoxFuture<'_, Result<Vec<(TenantId, String, StreamId)>, StoreError>> {
        self.read(reader::Reader::claims)
    }

    fn stream_of_operation(
        &self,
        tenant: &TenantId,
        operation: OperationId,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        let tenant = tenant.clone();
        self.read(move |reader| reader.stream_of_operation(&tenant, operation))
    }

    fn load_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StateSnapshot>, StoreError>> {
        let tenant = tenant.clone();
        self.read(move |reader| reader.snapshot(&tenant, stream))
    }

    fn save_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        snapshot: StateSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let (answer, answered) = oneshot::channel();
        let Some(writes) = &self.writes else {
            let detail = format!("{} was opened to be read", self.path.display());
            return async move { Err(StoreError::ReadOnly { detail }) }.boxed();
        };
        let tenant = tenant.clone();
        let sent = writes.send(Write::Snapshot { tenant, stream, snapshot, answer });
        async move {
            match sent {
                Ok(()) => answered.await.unwrap_or(Err(StoreError::Closed)),
                Err(_) => Err(StoreError::Closed),
            }
        }
        .boxed()
    }
}
