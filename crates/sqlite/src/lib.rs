//! The embedded event store of Hedgerow: one SQLite file.
//!
//! Appends go through one writer thread that commits everything that waits in one transaction
//! (WAL, `synchronous=FULL`: what was answered survives a power cut), reads through a few reader
//! threads. One process at a time runs campaigns on a file; others may read it meanwhile, and remove
//! or import what has ended.
//!
//! ```
//! use hedgerow_sqlite::{OpenError, SqliteStore};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("hedgerow.db");
//! let store = SqliteStore::open(&path)?;
//! assert!(matches!(SqliteStore::open(&path), Err(OpenError::InUse { .. })));
//! let reader = SqliteStore::open_read_only(&path)?;
//! # drop(reader);
//! store.close();
//! let store = SqliteStore::open(&path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`SqliteViews`] keeps the rows of the read side, in a file beside the log.

// SQLite is a name here, not code.
#![allow(clippy::doc_markdown)]

mod append;
mod back_up;
mod error;
mod found;
mod keep;
mod left_log;
mod open;
mod reader;
mod schema;
mod seal;
mod source;
mod sweep;
#[cfg(test)]
mod tests;
mod views;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use hedgerow_core::{OperationId, StoredEvent, StreamId, TenantId, Timestamp};
use hedgerow_engine::store::retention::{ImportError, NotRemoved, StreamImport, StreamRemoval};
use hedgerow_engine::store::{
    AppendError, EventStore, HeldClaim, StateSnapshot, StoreError, StreamAppend, StreamSummary,
};

pub use error::OpenError;
pub use views::{SqliteViews, ViewsError};

use crate::keep::Halt;
use crate::open::Opened;
use crate::reader::{Read, Reader};
use crate::source::Source;
use crate::writer::Write;

/// How many reads are done at once beside a writer: streams are loaded side by side after a start.
const READERS: usize = 2;

/// An event store in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    reads: Sender<Read>,
    readers: Vec<JoinHandle<()>>,
    writer: Option<Writer>,
}

struct Writer {
    writes: Sender<Write>,
    thread: JoinHandle<()>,
    /// Held as long as the thread runs: no other process may run campaigns meanwhile. None: another
    /// one may, and this one only removes and imports.
    lock: Option<File>,
}

impl SqliteStore {
    /// Opens a store to run campaigns on. Creates the file if there is none, in a folder that
    /// exists, and brings the file of an older version up to date. A file named like it with
    /// `.lock` behind stays beside it; it only says who may write.
    ///
    /// # Errors
    /// [`OpenError`]; what was found was left as it is.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::writing(open::to_write(path.as_ref())?)
    }

    fn writing(Opened { connection, path, lock }: Opened) -> Result<Self, OpenError> {
        let sources =
            (0..READERS).map(|_| Source::beside_writer(&path)).collect::<Result<Vec<_>, _>>()?;
        let (reads, readers) = reader::spawn(sources, &path)?;
        let (writes, thread) = writer::spawn(connection, &path, lock.is_none())?;
        let threads = Threads { reads, readers, writer: Some(Writer { writes, thread, lock }) };
        Ok(Self { path, threads: Mutex::new(Some(threads)) })
    }

    /// Opens a store to remove and to import streams, whether a process runs campaigns on it, begins to
    /// meanwhile, or none does. Appends are refused. Creates no file, and brings that of an older
    /// version up to date if nobody runs on it.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::Older`] if a process of an older version runs on it.
    pub fn open_to_keep(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = open::located(path.as_ref()).map_err(of_no_folder)?;
        if open::look_at(&path)?.is_none() {
            return Err(of_no_store(path));
        }
        Self::writing(open::to_keep(&path)?)
    }

    /// Opens a store to look at it, also while a process runs campaigns on it, and also on media
    /// that cannot be written to. Appends are refused. Creates and changes nothing; only where a
    /// process that was killed left a log does SQLite renew the log's index (`-shm`).
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = open::located(path.as_ref()).map_err(of_no_folder)?;
        if open::look_at(&path)?.is_none() {
            left_log::of_no_file(&path)?;
            return Err(of_no_store(path));
        }
        left_log::of_file(&path)?;
        let (reads, readers) = reader::spawn([Source::alone(&path)?], &path)?;
        Ok(Self { path, threads: Mutex::new(Some(Threads { reads, readers, writer: None })) })
    }

    /// The highest position of the log; 0: it is empty.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub fn last_position(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.read(Reader::last_position)
    }

    /// The file, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at every page of the file, also at those that reading passes by: for an audit. It reads
    /// the whole file.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the first damage; any [`StoreError`] if the file cannot be read.
    pub fn look_at_all(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.read(Reader::look_at_all)
    }

    /// Copies the store as it is at one moment to a file that is not there, or is empty, while whoever
    /// writes goes on. Until it returns the copy is none; afterwards it is still to be brought onto
    /// the disk, and under its name.
    ///
    /// # Errors
    /// [`StoreError`], also if the name is not UTF-8, or a file that is not empty is there; what was
    /// written of the copy stays there.
    pub fn back_up(&self, to: impl AsRef<Path>) -> BoxFuture<'_, Result<(), StoreError>> {
        let to = to.as_ref().to_owned();
        self.read(move |reader| reader.back_up(&to))
    }

    /// Finishes what was asked for, closes the file and lets another process have it. Blocks until
    /// then. Whoever uses the store afterwards is told [`StoreError::Closed`]. Dropping the store
    /// does the same.
    pub fn close(&self) {
        let Some(threads) = self.threads().take() else { return };
        // The last to close removes the log, which only the writer can.
        drop(threads.reads);
        for reader in threads.readers {
            // A thread that panicked has nothing left to finish.
            drop(reader.join());
        }
        if let Some(Writer { writes, thread, lock }) = threads.writer {
            drop(writes);
            drop(thread.join());
            drop(lock);
        }
    }

    fn threads(&self) -> MutexGuard<'_, Option<Threads>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let (answer, answered) = oneshot::channel();
        // Whoever asked may be gone by then.
        let job: Read = Box::new(move |reader| drop(answer.send(read(reader))));
        if let Some(threads) = &*self.threads() {
            // If it cannot be sent, nobody answers.
            drop(threads.reads.send(job));
        }
        answered.map(|answer| answer.unwrap_or(Err(StoreError::Closed))).boxed()
    }

    /// Writes something alone, and waits for what it came to.
    fn write_alone<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        write: impl FnOnce(&mut writer::Writer) -> Result<T, E> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, E>> {
        let (answer, answered) = oneshot::channel();
        // Whoever asked may be gone by then.
        let job: writer::Alone = Box::new(move |writer| drop(answer.send(write(writer))));
        let sent = self.write(Write::Alone(job));
        async move {
            sent?;
            answered.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
        }
        .boxed()
    }

    fn write(&self, write: Write) -> Result<(), StoreError> {
        match &*self.threads() {
            None => Err(StoreError::Closed),
            Some(Threads { writer: None, .. }) => {
                let detail = format!("{} was opened to read it", self.path.display());
                Err(StoreError::ReadOnly { detail })
            }
            Some(Threads { writer: Some(Writer { lock: None, .. }), .. })
                if !matches!(write, Write::Alone(_)) =>
            {
                let detail = format!(
                    "{} was opened to remove and to import streams, which another process may run campaigns beside",
                    self.path.display()
                );
                Err(StoreError::ReadOnly { detail })
            }
            Some(Threads { writer: Some(writer), .. }) => {
                writer.writes.send(write).map_err(|_| StoreError::Closed)
            }
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl EventStore for SqliteStore {
    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.write(Write::Append { batch, answer });
        async move {
            sent?;
            answered.await.unwrap_or(Err(StoreError::Closed.into()))
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

    fn last_recorded_at(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        self.read(Reader::last_recorded_at)
    }

    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        self.read(Reader::streams)
    }

    fn claims(&self) -> BoxFuture<'_, Result<Vec<HeldClaim>, StoreError>> {
        self.read(Reader::claims)
    }

    fn claim_holder(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        let (tenant, key) = (tenant.clone(), key.to_owned());
        self.read(move |reader| reader.claim_holder(&tenant, &key))
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
        let tenant = tenant.clone();
        let sent = self.write(Write::Snapshot { tenant, stream, snapshot, answer });
        async move {
            sent?;
            answered.await.unwrap_or(Err(StoreError::Closed))
        }
        .boxed()
    }

    fn remove(
        &self,
        batch: Vec<StreamRemoval>,
    ) -> BoxFuture<'_, Result<Vec<Result<(), NotRemoved>>, StoreError>> {
        self.write_alone(move |writer| {
            let removed =
                writer.alone(|transaction, names, _| keep::remove(transaction, names, &batch));
            removed.map_err(|error| writer.failed(&error))
        })
    }

    fn sweep(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.write_alone(|writer| {
            let swept = writer.alone(|transaction, _, sweep| sweep::sweep(transaction, sweep));
            swept.map(|rows| rows.is_some()).map_err(|error| writer.failed(&error))
        })
    }

    fn import(&self, import: StreamImport) -> BoxFuture<'_, Result<(), ImportError>> {
        self.write_alone(move |writer| {
            let imported =
                writer.alone(|transaction, names, _| keep::import(transaction, names, import));
            imported.map_err(|halt| match halt {
                Halt::Refused(error) => error,
                Halt::Failed(error) => writer.failed(&error).into(),
            })
        })
    }

    fn note(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StoredEvent>, StoreError>> {
        let tenant = tenant.clone();
        self.read(move |reader| reader.note(&tenant, stream))
    }
}

fn of_no_folder(error: OpenError) -> OpenError {
    match error {
        OpenError::NoFolder { path } => OpenError::NoFile { path },
        error => error,
    }
}

/// Where there is no store there is nothing, or an empty file.
fn of_no_store(path: PathBuf) -> OpenError {
    if path.exists() { OpenError::Empty { path } } else { OpenError::NoFile { path } }
}
