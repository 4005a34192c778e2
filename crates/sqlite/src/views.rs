//! Rows that questions are answered from, in a SQLite file of their own beside the log.
//!
//! A file of its own, as it has other needs: what it holds follows from the log, so nothing waits for
//! the disk (`synchronous=NORMAL`: after a power cut it is whole, and perhaps a step behind), a
//! damaged one is thrown away, and a page that is read does not wait for an append.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use hedgerow_core::Checksum;
use hedgerow_engine::store::StoreError;
use hedgerow_engine::view::{Direction, Reached, Row, RowKey, Step, StepError, ViewStore};
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use crate::open::{BUSY, beside, located};

/// Marks a file of rows: "Hdgv".
const APPLICATION_ID: i32 = 0x4864_6776;
/// Its tables, as this version has them. A file of other tables is made anew.
const SCHEMA: i32 = 1;
const TABLES: &str = "
    CREATE TABLE rows (key BLOB PRIMARY KEY, row BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE reached (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        format INTEGER NOT NULL,
        position INTEGER NOT NULL,
        checksum BLOB
    ) STRICT;";

/// Why a file of rows could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewsError {
    /// It is a file of something else.
    #[error("{} is a file of something else: give another path", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be made or used.
    #[error(
        "{} cannot be used ({detail}): look at its folder and its disk; what it holds is made anew from the log, so it may be removed", path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system or SQLite said.
        detail: String,
    },
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A thread with a connection, which does one thing after the other.
struct Worker {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

/// Rows in one SQLite file.
pub struct SqliteViews {
    path: PathBuf,
    /// One writes, the other one reads meanwhile.
    workers: Mutex<Option<[Worker; 2]>>,
}

impl fmt::Debug for SqliteViews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteViews").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SqliteViews {
    /// Opens a file of rows, and makes one if there is none. One that is damaged, or that another
    /// version made, is emptied: its rows are made anew.
    ///
    /// # Errors
    /// [`ViewsError`]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ViewsError> {
        let given = path.as_ref();
        let unusable = |detail: String| ViewsError::Unusable { path: given.to_owned(), detail };
        let path = located(given).map_err(|error| unusable(error.to_string()))?;
        let writer = match open(&path) {
            Ok(writer) => writer,
            Err(Refusal::Foreign) => return Err(ViewsError::Foreign { path }),
            Err(Refusal::Other(error)) => return Err(unusable(error.to_string())),
            Err(Refusal::Anew(error)) => {
                tracing::warn!(path = %path.display(), error, "a file of rows is made anew");
                for suffix in ["", "-wal", "-shm"] {
                    match std::fs::remove_file(beside(&path, suffix)) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(unusable(error.to_string()));
                        }
                        _ => {}
                    }
                }
                open(&path).map_err(|refusal| unusable(refusal.to_string()))?
            }
        };
        let reader = connect(&path).map_err(|error| unusable(error.to_string()))?;
        let workers = [worker(writer), worker(reader)];
        let [Ok(writer), Ok(reader)] = workers else {
            return Err(unusable("no thread could be started".to_owned()));
        };
        Ok(Self { path, workers: Mutex::new(Some([writer, reader])) })
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
        for Worker { jobs, thread } in self.workers().take().into_iter().flatten() {
            drop(jobs);
            // A thread that panicked has nothing left to finish.
            drop(thread.join());
        }
    }

    fn workers(&self) -> MutexGuard<'_, Option<[Worker; 2]>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work<T: Send + 'static>(
        &self,
        which: usize,
        work: impl FnOnce(&mut Connection) -> Result<T, StepError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StepError>> {
        let (answer, answered) = oneshot::channel();
        // Whoever asked may be gone by then.
        let job: Job = Box::new(move |connection| drop(answer.send(work(connection))));
        if let Some(workers) = &*self.workers() {
            // If it cannot be sent, nobody answers.
            drop(workers[which].jobs.send(job));
        }
        answered.map(|answer| answer.unwrap_or(Err(StoreError::Closed.into()))).boxed()
    }

    fn write_with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<Result<T, StepError>> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StepError>> {
        let path = self.path.clone();
        self.work(0, move |connection| {
            work(connection).unwrap_or_else(|error| Err(failed(&path, &error).into()))
        })
    }

    fn read_with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let path = self.path.clone();
        self.work(1, move |connection| {
            work(connection).map_err(|error| failed(&path, &error).into())
        })
        .map(|answer| answer.map_err(only_store))
        .boxed()
    }
}

impl Drop for SqliteViews {
    fn drop(&mut self) {
        self.close();
    }
}

fn only_store(error: StepError) -> StoreError {
    match error {
        StepError::Store(error) => error,
        error => StoreError::Unavailable { detail: error.to_string() },
    }
}

/// What an error of SQLite means for whoever follows or asks.
fn failed(path: &Path, error: &rusqlite::Error) -> StoreError {
    let detail = format!("{}: {error}", path.display());
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { detail },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::ReadOnly { detail },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SystemIoFailure) => {
            StoreError::Unavailable { detail }
        }
        _ => StoreError::Corrupt {
            detail: format!(
                "{detail}; remove the file while nobody uses it, its rows are made anew from the log"
            ),
        },
    }
}

/// Why a file was not opened.
enum Refusal {
    Foreign,
    /// It is ours, and is to be made anew.
    Anew(String),
    Other(rusqlite::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("it is a file of something else"),
            Self::Anew(error) => f.write_str(error),
            Self::Other(error) => error.fmt(f),
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // Pages are found by keys from all over the file.
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // In pages: what is found by its device lies all over the file, and the more of it is folded in
    // at once the more shares a page.
    connection.pragma_update(None, "wal_autocheckpoint", 16_000)?;
    connection.set_prepared_statement_cache_capacity(8);
    Ok(connection)
}

fn open(path: &Path) -> Result<Connection, Refusal> {
    let of = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Refusal::Foreign,
        Some(ErrorCode::DatabaseCorrupt) => Refusal::Anew(error.to_string()),
        _ => Refusal::Other(error),
    };
    let mut connection = connect(path).map_err(of)?;
    let mark = |connection: &Connection, pragma| {
        connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0))
    };
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(of)?;
    let application = mark(&connection, "application_id").map_err(of)?;
    if tables == 0 && application == 0 {
        connection.pragma_update(None, "journal_mode", "WAL").map_err(of)?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(of)?;
        // Another process may have made it in between.
        if mark(&transaction, "application_id").map_err(of)? == 0 {
            transaction.execute_batch(TABLES).map_err(of)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(of)?;
            transaction.pragma_update(None, "user_version", SCHEMA).map_err(of)?;
        }
        transaction.commit().map_err(of)?;
        return Ok(connection);
    }
    if application != APPLICATION_ID {
        return Err(Refusal::Foreign);
    }
    let found = mark(&connection, "user_version").map_err(of)?;
    if found != SCHEMA {
        return Err(Refusal::Anew(format!("it has schema {found}")));
    }
    let looked = connection
        .query_row("SELECT format, position, checksum FROM reached", [], |_| Ok(()))
        .optional()
        .and_then(|_| connection.query_row("SELECT key, row FROM rows", [], |_| Ok(())).optional());
    match looked {
        Ok(_) => Ok(connection),
        Err(error) => Err(Refusal::Anew(error.to_string())),
    }
}

fn worker(mut connection: Connection) -> std::io::Result<Worker> {
    let (jobs, queue) = channel::<Job>();
    let thread =
        std::thread::Builder::new().name("hedgerow-sqlite-views".to_owned()).spawn(move || {
            while let Ok(job) = queue.recv() {
                job(&mut connection);
            }
        })?;
    Ok(Worker { jobs, thread })
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
        for (key, row) in &step.rows {
            match row {
                Some(row) => put.execute(params![key, row])?,
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
    fn reached(&self) -> BoxFuture<'_, Result<Option<Reached>, StoreError>> {
        self.read_with(reached)
    }

    fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>> {
        self.write_with(move |connection| write(connection, &step))
    }

    fn get(&self, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        self.read_with(move |connection| {
            // All of them as of one moment.
            let transaction = connection.unchecked_transaction()?;
            let mut find = transaction.prepare_cached("SELECT row FROM rows WHERE key = ?1")?;
            keys.iter().map(|key| find.query_row([key], |row| row.get(0)).optional()).collect()
        })
    }

    fn scan(
        &self,
        range: Range<RowKey>,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
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
                Ok((row.get(0)?, row.get(1)?))
            })?;
            rows.collect()
        })
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write_with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch("DELETE FROM rows; DELETE FROM reached")?;
            transaction.commit()?;
            Ok(Ok(()))
        })
        .map(|answer| answer.map_err(only_store))
        .boxed()
    }
}
