//! Rows that questions are answered from, in a SQLite file of their own beside the log.
//!
//! A file of its own, as it has other needs: what it holds follows from the log, so nothing waits for
//! the disk (`synchronous=NORMAL`: after a power cut it is whole, and perhaps a step behind), a
//! damaged one is thrown away, and a page that is read does not wait for an append.

mod open;
mod sum;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use hedgerow_core::Checksum;
use hedgerow_engine::view::{
    Direction, Reached, Row, RowKey, Step, StepError, ViewError, ViewStore,
};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

pub use self::open::ViewsError;
use self::open::{connect, failed, of_sqlite, open};
use crate::open::{beside, located};

/// How many questions are answered at once, each by a thread of its own.
const READERS: usize = 2;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The threads, each with a connection, and the ways to them: one writes, the others read meanwhile.
struct Workers {
    writer: Sender<Job>,
    writing: JoinHandle<()>,
    readers: Sender<Job>,
    reading: Vec<JoinHandle<()>>,
}

/// Rows in one SQLite file.
pub struct SqliteViews {
    path: PathBuf,
    workers: Mutex<Option<Workers>>,
}

impl fmt::Debug for SqliteViews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteViews").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteViews {
    /// Opens a file of rows, and makes one if there is none, in a folder that exists.
    ///
    /// # Errors
    /// [`ViewsError`]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ViewsError> {
        let path = located(path.as_ref())?;
        let failed = |error: rusqlite::Error| of_sqlite(&path, &error);
        let writer = open(&path)?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            readers.push(connect(&path).map_err(failed)?);
        }
        match workers(writer, readers) {
            Ok(workers) => Ok(Self { path, workers: Mutex::new(Some(workers)) }),
            Err(error) => Err(ViewsError::Unusable { path, detail: error.to_string() }),
        }
    }

    /// Opens a file of rows and throws away what is in it, also where it is damaged: a file that is
    /// damaged is removed, so nobody may be using it.
    ///
    /// # Errors
    /// [`ViewsError`]. A file of something else is left alone.
    pub fn open_anew(path: impl AsRef<Path>) -> Result<Self, ViewsError> {
        let path = located(path.as_ref())?;
        open::empty(&path)?;
        Self::open(&path)
    }

    /// Where the rows of a log lie if nobody says otherwise: beside it, with `.views` behind its
    /// name.
    #[must_use]
    pub fn beside(log: impl AsRef<Path>) -> PathBuf {
        beside(log.as_ref(), ".views")
    }

    /// The file, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finishes what was asked for and closes the file. Dropping it does the same.
    pub fn close(&self) {
        let Some(workers) = self.workers().take() else { return };
        let Workers { writer, writing, readers, reading } = workers;
        drop(readers);
        for thread in reading {
            // One that panicked has nothing left to finish.
            drop(thread.join());
        }
        // The writer goes last and alone: of two that close at the same time SQLite may take neither
        // for the last, and then what was written stays in the file's write-ahead log.
        drop(writer);
        drop(writing.join());
    }

    fn workers(&self) -> MutexGuard<'_, Option<Workers>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work<T: Send + 'static>(
        &self,
        which: fn(&Workers) -> &Sender<Job>,
        work: impl FnOnce(&mut Connection) -> Result<T, StepError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StepError>> {
        let (answer, answered) = oneshot::channel();
        // Whoever asked may be gone by then.
        let job: Job = Box::new(move |connection| drop(answer.send(work(connection))));
        if let Some(workers) = &*self.workers() {
            // If it cannot be sent, nobody answers.
            drop(which(workers).send(job));
        }
        answered.map(|answer| answer.unwrap_or(Err(ViewError::Closed.into()))).boxed()
    }

    fn write_with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<Result<T, StepError>> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StepError>> {
        let path = self.path.clone();
        self.work(
            |workers| &workers.writer,
            move |connection| {
                work(connection).unwrap_or_else(|error| Err(failed(&path, &error).into()))
            },
        )
    }

    fn read_with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, ViewError>> {
        let path = self.path.clone();
        self.work(
            |workers| &workers.readers,
            move |connection| work(connection).map_err(|error| failed(&path, &error).into()),
        )
        .map(|answer| answer.map_err(only_rows))
        .boxed()
    }
}

impl Drop for SqliteViews {
    fn drop(&mut self) {
        self.close();
    }
}

fn only_rows(error: StepError) -> ViewError {
    match error {
        StepError::Rows(error) => error,
        error => ViewError::Unavailable { detail: error.to_string() },
    }
}

fn workers(writer: Connection, readers: Vec<Connection>) -> std::io::Result<Workers> {
    let (to_writer, queue) = channel::<Job>();
    let writing = worker(writer, Arc::new(Mutex::new(queue)))?;
    let (to_readers, queue) = channel::<Job>();
    let queue = Arc::new(Mutex::new(queue));
    let reading = readers
        .into_iter()
        .map(|reader| worker(reader, Arc::clone(&queue)))
        .collect::<std::io::Result<_>>()?;
    Ok(Workers { writer: to_writer, writing, readers: to_readers, reading })
}

fn worker(
    mut connection: Connection,
    queue: Arc<Mutex<Receiver<Job>>>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("hedgerow-sqlite-views".to_owned()).spawn(move || {
        while let Some(job) = next(&queue) {
            job(&mut connection);
        }
    })
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// What a row holds, if its sum fits.
fn held(key: &[u8], row: Vec<u8>) -> rusqlite::Result<Vec<u8>> {
    sum::taken(key, row).ok_or_else(|| {
        let why = "the bytes of a row do not fit their sum".into();
        rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, why)
    })
}

fn reached(connection: &Connection) -> rusqlite::Result<Option<Reached>> {
    connection
        .prepare_cached("SELECT format, position, checksum FROM reached")?
        .query_row([], |row| {
            let checksum: Option<[u8; 32]> = row.get(2)?;
            let checksum = checksum.map(Checksum::from_bytes);
            Ok(Reached { format: row.get(0)?, position: row.get(1)?, checksum })
        })
        .optional()
}

fn write(connection: &mut Connection, step: &Step) -> rusqlite::Result<Result<(), StepError>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (expected, reached) = (step.from, reached(&transaction)?);
    if expected != reached {
        return Ok(Err(StepError::Moved { expected, reached }));
    }
    {
        let mut put =
            transaction.prepare_cached("INSERT OR REPLACE INTO rows (key, row) VALUES (?1, ?2)")?;
        let mut remove = transaction.prepare_cached("DELETE FROM rows WHERE key = ?1")?;
        let mut buffer = Vec::new();
        for (key, row) in &step.rows {
            match row {
                Some(row) => put.execute(params![key, sum::put(&mut buffer, key, row)])?,
                None => remove.execute([key])?,
            };
        }
        let Reached { format, position, checksum } = step.to;
        let checksum = checksum.as_ref().map(|checksum| &checksum.as_bytes()[..]);
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO reached (id, format, position, checksum)
                 VALUES (1, ?1, ?2, ?3)",
            )?
            .execute(params![format, position, checksum])?;
    }
    transaction.commit()?;
    Ok(Ok(()))
}

impl ViewStore for SqliteViews {
    fn reached(&self) -> BoxFuture<'_, Result<Option<Reached>, ViewError>> {
        self.read_with(reached)
    }

    fn write(&self, mut step: Step) -> BoxFuture<'_, Result<(), StepError>> {
        self.write_with(move |connection| {
            // As they lie in the file: those of a page are written together.
            step.rows.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            write(connection, &step)
        })
    }

    fn get(&self, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ViewError>> {
        self.read_with(move |connection| {
            // All of them as of one moment.
            let transaction = connection.unchecked_transaction()?;
            let mut find = transaction.prepare_cached("SELECT row FROM rows WHERE key = ?1")?;
            let find =
                |key: &RowKey| find.query_row([key], |row| held(key, row.get(0)?)).optional();
            keys.iter().map(find).collect()
        })
    }

    fn scan(
        &self,
        range: Range<RowKey>,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, ViewError>> {
        self.read_with(move |connection| {
            let mut scan = connection.prepare_cached(match direction {
                Direction::Forwards => {
                    "SELECT key, row FROM rows WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3"
                }
                Direction::Backwards => {
                    "SELECT key, row FROM rows WHERE key >= ?1 AND key < ?2 ORDER BY key DESC LIMIT ?3"
                }
            })?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = scan.query_map(params![range.start, range.end, limit], |row| {
                let key: RowKey = row.get(0)?;
                let row = held(&key, row.get(1)?)?;
                Ok((key, row))
            })?;
            rows.collect()
        })
    }

    fn clear(&self, from: Option<Reached>) -> BoxFuture<'_, Result<(), StepError>> {
        self.write_with(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let (expected, reached) = (from, reached(&transaction)?);
            if expected != reached {
                return Ok(Err(StepError::Moved { expected, reached }));
            }
            transaction.execute_batch("DELETE FROM rows; DELETE FROM reached")?;
            transaction.commit()?;
            Ok(Ok(()))
        })
    }
}
