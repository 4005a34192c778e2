//! The writer thread: everything that waits is committed in one transaction, so that the number
//! of commits stays flat while the load grows.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use hedgerow_core::{StreamId, TenantId};
use hedgerow_engine::store::{AppendError, StateSnapshot, StoreError, StreamAppend};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use crate::OpenError;
use crate::append::{Names, append, save_snapshot};
use crate::error::store_error;
use crate::left_log;
use crate::sweep::Sweep;

/// The most requests of one transaction.
const REQUESTS: usize = 1_024;
/// With this many events a transaction takes no further request: the first of a group would wait
/// too long for the last.
const EVENTS: usize = 20_000;

/// How much longer a writer beside another process leaves the lock free than it had it: who waits for it
/// only asks again from time to time, at last ten times a second.
const REST: u32 = 2;
/// And that is long enough for everybody who waits.
const LONGEST_REST: Duration = Duration::from_secs(2);

/// Something that is done in transactions of its own.
pub(crate) type Alone = Box<dyn FnOnce(&mut Writer) + Send>;

/// What the writer can be asked.
pub(crate) enum Write {
    Alone(Alone),
    Append {
        batch: Vec<StreamAppend>,
        answer: oneshot::Sender<Result<(), AppendError>>,
    },
    Snapshot {
        tenant: TenantId,
        stream: StreamId,
        snapshot: StateSnapshot,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Lets the file grow to so many pages only.
    #[cfg(test)]
    Limit {
        pages: u32,
    },
}

impl Write {
    fn events(&self) -> usize {
        match self {
            Self::Append { batch, .. } => batch.iter().map(|append| append.events.len()).sum(),
            Self::Snapshot { .. } | Self::Alone(_) => 1,
            #[cfg(test)]
            Self::Limit { .. } => 1,
        }
    }

    fn answer(self, result: Result<(), AppendError>) {
        // Whoever asked may be gone.
        match self {
            Self::Append { answer, .. } => drop(answer.send(result)),
            Self::Snapshot { answer, .. } => {
                let result = match result {
                    Err(AppendError::Store(error)) => Err(error),
                    _ => Ok(()),
                };
                drop(answer.send(result));
            }
            // It answers itself.
            Self::Alone(_) => {}
            #[cfg(test)]
            Self::Limit { .. } => {}
        }
    }
}

/// Starts the thread. It ends when every sender is gone and everything was done.
pub(crate) fn spawn(
    connection: Connection,
    path: &Path,
    is_beside: bool,
) -> Result<(Sender<Write>, JoinHandle<()>), OpenError> {
    let (sender, receiver) = channel();
    let writer = Writer {
        connection,
        path: path.to_owned(),
        names: Names::default(),
        sweep: Sweep::default(),
        is_beside,
        held: Duration::ZERO,
        #[cfg(test)]
        rests: Vec::new(),
    };
    let thread = std::thread::Builder::new()
        .name("hedgerow-sqlite-writer".to_owned())
        .spawn(move || writer.run(&receiver))
        .map_err(|error| OpenError::of_system(path, &error))?;
    Ok((sender, thread))
}

pub(crate) struct Writer {
    connection: Connection,
    path: PathBuf,
    names: Names,
    sweep: Sweep,
    /// Another process may have the file: it folds the log in, and needs its lock more than this one.
    is_beside: bool,
    /// How long the last transaction of its own had the lock.
    held: Duration,
    /// How long each had it, and how long it was left free afterwards.
    #[cfg(test)]
    pub(crate) rests: Vec<(Duration, Duration)>,
}

impl Writer {
    fn run(mut self, requests: &Receiver<Write>) {
        while let Ok(first) = requests.recv() {
            let first = match first {
                Write::Alone(alone) => {
                    alone(&mut self);
                    self.rest();
                    continue;
                }
                other => other,
            };
            let mut alone = None;
            let mut events = first.events();
            let mut group = vec![first];
            while group.len() < REQUESTS
                && events < EVENTS
                && let Ok(next) = requests.try_recv()
            {
                if let Write::Alone(next) = next {
                    alone = Some(next);
                    break;
                }
                events += next.events();
                group.push(next);
            }
            self.commit(group);
            if let Some(alone) = alone {
                alone(&mut self);
                self.rest();
            }
        }
        if self.is_beside {
            return;
        }
        // So that the file stands alone when nobody uses it; if it fails, the log beside it has all.
        if let Err(error) = left_log::fold_in(&self.connection) {
            tracing::warn!(path = %self.path.display(), %error, "the log could not be folded in");
        }
    }

    /// Leaves the lock to the process that runs campaigns on the file: steps that follow each other at
    /// once would keep it waiting, as SQLite gives the lock to whoever asks first when it is free.
    fn rest(&mut self) {
        let held = std::mem::take(&mut self.held);
        if !self.is_beside || held.is_zero() {
            return;
        }
        let rest = held.saturating_mul(REST).min(LONGEST_REST);
        std::thread::sleep(rest);
        #[cfg(test)]
        self.rests.push((held, rest));
    }

    /// Does a group in one transaction, and answers.
    fn commit(&mut self, group: Vec<Write>) {
        match self.attempt(&group) {
            Ok(results) => {
                for (request, result) in group.into_iter().zip(results) {
                    request.answer(result);
                }
            }
            // One of them may be to blame: the others are not to suffer from it.
            Err(error) if group.len() > 1 && may_be_of_one(&error) => {
                for request in group {
                    self.commit(vec![request]);
                }
            }
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "a commit failed");
                let failure = store_error(&self.path, &error);
                for request in group {
                    request.answer(Err(failure.clone().into()));
                }
            }
        }
    }

    /// Does something in a transaction of its own, which an error takes back.
    pub(crate) fn alone<T, E: From<rusqlite::Error>>(
        &mut self,
        write: impl FnOnce(&Transaction<'_>, &mut Names, &mut Sweep) -> Result<T, E>,
    ) -> Result<T, E> {
        let result = (|| {
            let connection = &mut self.connection;
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let since = Instant::now();
            let written =
                write(&transaction, &mut self.names, &mut self.sweep).and_then(|result| {
                    left_log::mark(&transaction)?;
                    Ok(result)
                });
            let result = match written {
                Ok(result) => transaction.commit().map(|()| result).map_err(E::from),
                Err(error) => {
                    drop(transaction);
                    Err(error)
                }
            };
            self.held = since.elapsed();
            result
        })();
        if result.is_err() {
            // Names that were new in this transaction have gone with it.
            (self.names, self.sweep) = (Names::default(), Sweep::default());
        }
        result
    }

    /// What an error means for whoever called the store.
    pub(crate) fn failed(&self, error: &rusqlite::Error) -> StoreError {
        tracing::error!(path = %self.path.display(), %error, "a commit failed");
        store_error(&self.path, error)
    }

    fn attempt(&mut self, group: &[Write]) -> rusqlite::Result<Vec<Result<(), AppendError>>> {
        let result = write(&mut self.connection, &mut self.names, group);
        if result.is_err() {
            // Names that were new in this transaction have gone with it.
            self.names = Names::default();
        }
        result
    }
}

fn write(
    connection: &mut Connection,
    names: &mut Names,
    group: &[Write],
) -> rusqlite::Result<Vec<Result<(), AppendError>>> {
    #[cfg(test)]
    for request in group {
        if let Write::Limit { pages } = request {
            connection.pragma_update(None, "max_page_count", pages)?;
        }
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let results = group
        .iter()
        .map(|request| match request {
            Write::Append { batch, .. } => append(&transaction, names, batch),
            Write::Snapshot { tenant, stream, snapshot, .. } => {
                save_snapshot(&transaction, names, tenant, *stream, snapshot).map(Ok)
            }
            // Never in a group.
            Write::Alone(_) => Ok(Ok(())),
            #[cfg(test)]
            Write::Limit { .. } => Ok(Ok(())),
        })
        .collect::<rusqlite::Result<_>>()?;
    left_log::mark(&transaction)?;
    transaction.commit()?;
    Ok(results)
}

/// Whether an error can come from what one request holds, so that it makes sense to do each alone.
fn may_be_of_one(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code().is_none_or(|code| {
        matches!(
            code,
            ErrorCode::DiskFull
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::TooBig
                | ErrorCode::OutOfMemory
                | ErrorCode::ConstraintViolation
        )
    })
}
