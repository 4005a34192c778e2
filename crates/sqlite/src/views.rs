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
use hedgerow_engine::view::{
    Direction, Reached, Row, RowKey, Step, StepError, ViewError, ViewStore,
};
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use crate::OpenError;
use crate::open::{BUSY, beside, located};

/// Marks a file of rows: "Hdgv".
const APPLICATION_ID: i32 = 0x4864_6776;
/// Its tables, as this version has them.
const SCHEMA: i32 = 1;
const TABLES: &str = "
    CREATE TABLE rows (key BLOB PRIMARY KEY, row BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE reached (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        format INTEGER NOT NULL,
        position INTEGER NOT NULL,
        checksum BLOB
    ) STRICT;";

/// Why a file of rows could not be opened. What was found was left as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewsError {
    /// There is no such place, or it may not be used.
    #[error(transparent)]
    Place(#[from] OpenError),
    /// It is a file of something else.
    #[error("{} is a file of something else: move it away, or remove it", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version made it.
    #[error(
        "{} has schema {found}, this version knows up to {SCHEMA}: use the version of Hedgerow that made it", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i32,
    },
    /// Another program has it locked.
    #[error("{} is held by another program: let it end, then try again", path.display())]
    Held {
        /// The file.
        path: PathBuf,
    },
    /// It is damaged.
    #[error(
        "{} is damaged ({detail}): while nobody uses it, remove it and the files named like it with -wal and -shm behind; it is made anew from the log", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// It cannot be made or used.
    #[error("{} cannot be used ({detail}): look at its folder and its disk", path.display())]
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
    /// Opens a file of rows, and makes one if there is none, in a folder that exists.
    ///
    /// # Errors
    /// [`ViewsError`]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ViewsError> {
        let path = located(path.as_ref())?;
        let failed = |error: rusqlite::Error| of_sqlite(&path, &error);
        let writer = open(&path)?;
        let reader = connect(&path).map_err(failed)?;
        let [Ok(writer), Ok(reader)] = [writer, reader].map(worker) else {
            let detail = "no thread could be started".to_owned();
            return Err(ViewsError::Unusable { path, detail });
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
        let workers = self.workers().take();
        for Worker { jobs, thread } in workers.into_iter().flatten() {
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
        answered.map(|answer| answer.unwrap_or(Err(ViewError::Closed.into()))).boxed()
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
    ) -> BoxFuture<'_, Result<T, ViewError>> {
        let path = self.path.clone();
        self.work(1, move |connection| {
            work(connection).map_err(|error| failed(&path, &error).into())
        })
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

/// What an error of SQLite means for whoever follows or asks.
fn failed(path: &Path, error: &rusqlite::Error) -> ViewError {
    let detail = format!("{}: {error}", path.display());
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => ViewError::Full { detail },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => ViewError::ReadOnly { detail },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SystemIoFailure) => {
            ViewError::Unavailable { detail }
        }
        _ => ViewError::Damaged { detail },
    }
}

/// What an error of SQLite means for whoever opens a file.
fn of_sqlite(path: &Path, error: &rusqlite::Error) -> ViewsError {
    let (path, detail) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => ViewsError::Foreign { path },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ViewsError::Held { path },
        // The unknown is SQL that does not fit: a table is not there.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
            ViewsError::Damaged { path, detail }
        }
        _ => ViewsError::Unusable { path, detail },
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

fn open(path: &Path) -> Result<Connection, ViewsError> {
    let failed = |error: rusqlite::Error| of_sqlite(path, &error);
    let mut connection = connect(path).map_err(failed)?;
    let mark = |connection: &Connection, pragma| {
        connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0))
    };
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    let application = mark(&connection, "application_id").map_err(failed)?;
    if tables == 0 && application == 0 {
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        // Another process may have made it in between.
        if mark(&transaction, "application_id").map_err(failed)? == 0 {
            transaction.execute_batch(TABLES).map_err(failed)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
            transaction.pragma_update(None, "user_version", SCHEMA).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
    } else if application != APPLICATION_ID {
        return Err(ViewsError::Foreign { path: path.to_owned() });
    }
    let found = mark(&connection, "user_version").map_err(failed)?;
    if found > SCHEMA {
        return Err(ViewsError::Newer { path: path.to_owned(), found });
    }
    let look = |connection: &Connection| {
        connection
            .query_row("SELECT format, position, checksum FROM reached", [], |_| Ok(()))
            .optional()?;
        connection.query_row("SELECT key, row FROM rows", [], |_| Ok(())).optional()
    };
    look(&connection).map_err(failed)?;
    Ok(connection)
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
            keys.iter().map(|key| find.query_row([key], |row| row.get(0)).optional()).collect()
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
                Ok((row.get(0)?, row.get(1)?))
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
