//! A connection that only reads, and leaves no trace where nobody writes.
//!
//! SQLite reads a WAL file only with an index beside it, which a reader would have to create. So a
//! file without a log is read as one that does not change; when it did change, because a writer
//! came meanwhile, what was read is read again in the way that writers know of.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hedgerow_engine::store::StoreError;
use rusqlite::Connection;

use crate::OpenError;
use crate::error::store_error;
use crate::open::{beside, to_read, to_read_alone};

/// How often a read is tried while writers come and go.
const TRIES: u32 = 10;

/// What a file looks like from outside while nobody writes.
#[derive(PartialEq, Eq)]
struct Mark {
    length: u64,
    modified: Option<SystemTime>,
}

/// Where a reader reads.
pub(crate) struct Source {
    path: PathBuf,
    connection: Connection,
    /// The mark of the file, if it is read as one that does not change.
    unchanged: Option<Mark>,
}

impl Source {
    /// Beside a writer of this process.
    pub(crate) fn beside_writer(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { path: path.to_owned(), connection: to_read(path)?, unchanged: None })
    }

    /// Whether or not there is a writer somewhere.
    pub(crate) fn alone(path: &Path) -> Result<Self, OpenError> {
        let mark = mark(path);
        let connection = match mark {
            Some(_) => to_read_alone(path)?,
            None => to_read(path).map_err(|error| match error {
                OpenError::NotPermitted { path, .. } => OpenError::NotClosed { path },
                error => error,
            })?,
        };
        Ok(Self { path: path.to_owned(), connection, unchanged: mark })
    }

    /// Reads, again if the file changed meanwhile.
    pub(crate) fn read<T>(
        &mut self,
        mut read: impl FnMut(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        for _ in 0..TRIES {
            if self.unchanged.is_none() || self.unchanged == mark(&self.path) {
                let result = read(&self.connection);
                if self.unchanged.is_none() || self.unchanged == mark(&self.path) {
                    return result.map_err(|error| store_error(&self.path, &error));
                }
            }
            let reopened = Self::alone(&self.path);
            *self = reopened.map_err(|error| match error {
                OpenError::Damaged { .. } | OpenError::Foreign { .. } => {
                    StoreError::Corrupt { detail: error.to_string() }
                }
                error => StoreError::Unavailable { detail: error.to_string() },
            })?;
        }
        let detail = format!("{} keeps being opened and closed: try again", self.path.display());
        Err(StoreError::Unavailable { detail })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The mark of a file without a log.
fn mark(path: &Path) -> Option<Mark> {
    let log = std::fs::metadata(beside(path, "-wal"));
    if log.is_ok_and(|log| log.len() > 0) {
        return None;
    }
    let metadata = std::fs::metadata(path).ok()?;
    Some(Mark { length: metadata.len(), modified: metadata.modified().ok() })
}
