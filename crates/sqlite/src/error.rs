//! What can go wrong, and what to do about it: opening a file, and SQLite's answers afterwards.

use std::io;
use std::path::{Path, PathBuf};

use hedgerow_engine::store::StoreError;
use rusqlite::{Error, ErrorCode};

/// Why a store could not be opened. What was found was left as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such file to read.
    #[error("{} does not exist: look at the path; it is created when campaigns are run on it", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// It has no bytes.
    #[error(
        "{} is empty (0 bytes): if it held a store it was emptied, restore it from a backup; to begin a new one, remove it and the file named like it with .lock behind", path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Beside it is a log that is not its own: with it, events of another file would come into this
    /// one.
    #[error(
        "{} is not the log of {}: that file was removed, replaced or restored, and this one stayed; if what is in it is not wanted any more, remove it, and the -shm file beside it; if it is, put back the file that it belongs to", log.display(), path.display()
    )]
    LeftLog {
        /// The file.
        path: PathBuf,
        /// What lies beside it.
        log: PathBuf,
    },
    /// Another program has it locked.
    #[error(
        "{} is held by another program, such as an import of a campaign with very many events, or one that looks into SQLite files: let it end, then try again", path.display()
    )]
    Held {
        /// The file.
        path: PathBuf,
    },
    /// There is no folder to create the file in.
    #[error("{} cannot be created, its folder does not exist: create the folder first", path.display())]
    NoFolder {
        /// The file.
        path: PathBuf,
    },
    /// It is a folder, a device, or a link that leads nowhere.
    #[error("{} is not a file: give the path of a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Another process, or another store of this one, has it.
    #[error(
        "{} is in use, another process runs campaigns on it: stop that one first, or open the file to read it", path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is a file of something else.
    #[error(
        "{} is not a Hedgerow store but {what}: give another path; if it was a store once, its beginning is damaged, restore it from a backup", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It was written by a newer version.
    #[error(
        "{} has schema {found}, this version knows up to {newest}: use the version of Hedgerow that wrote it", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest one that is known.
        newest: i64,
    },
    /// A process of an older version runs on it, which would not understand what is written here.
    #[error(
        "{} has schema {found}, and a process runs campaigns on it; this version writes schema {newest}: stop that process, or use its version of Hedgerow", path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The one of this version.
        newest: i64,
    },
    /// A process that was killed left events in the log beside the file, and they cannot be read
    /// without writing there.
    #[error(
        "{} was not closed and its folder cannot be written to: copy it, and the -wal file beside it, to where it can be", path.display()
    )]
    NotClosed {
        /// The file.
        path: PathBuf,
    },
    /// It is damaged.
    #[error("{} is damaged ({detail}): restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// The file or its folder may not be used in this way.
    #[error(
        "{} may not be used ({detail}): allow this user to read and write it and its folder; to look at it, reading is enough", path.display()
    )]
    NotPermitted {
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// The system failed.
    #[error("{} cannot be opened ({detail}): look at its disk", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
}

impl OpenError {
    pub(crate) fn of_system(path: &Path, error: &io::Error) -> Self {
        let (path, detail) = (path.to_owned(), error.to_string());
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotPermitted { path, detail }
            }
            _ => Self::System { path, detail },
        }
    }

    pub(crate) fn of_sqlite(path: &Path, error: &Error) -> Self {
        let (path, detail) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign { path, what: "something else" },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Held { path },
            // The unknown is SQL that does not fit: a table is not there. No code has a mark that is
            // none, or is not there.
            None | Some(ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
                Self::Damaged { path, detail }
            }
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::NotPermitted { path, detail }
            }
            _ => Self::System { path, detail },
        }
    }
}

/// What an error of SQLite means for whoever called the store.
pub(crate) fn store_error(path: &Path, error: &Error) -> StoreError {
    let detail = format!("{}: {error}", path.display());
    match error {
        Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull => StoreError::Full { detail },
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreError::ReadOnly { detail },
            // The unknown is SQL that does not fit: a table or a column is not there. A row that is
            // there twice, or one of a size that nobody wrote, is damage, too.
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::Unknown
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig => corrupt(&detail),
            // SQLite says so also where a quota or a limit leaves no room.
            ErrorCode::SystemIoFailure => StoreError::Unavailable {
                detail: format!(
                    "{detail}; look at the disk, at quotas, and at limits on the size of files"
                ),
            },
            ErrorCode::DatabaseBusy => StoreError::Unavailable {
                detail: format!(
                    "{detail}; another program holds the file, such as an import of a campaign with very many events: let it end"
                ),
            },
            _ => StoreError::Unavailable { detail },
        },
        // A row that the writer cannot have written.
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::QueryReturnedNoRows
        | Error::Utf8Error(..) => corrupt(&detail),
        _ => StoreError::Unavailable { detail },
    }
}

/// Adds to damage where it is.
pub(crate) fn placed(error: StoreError, place: impl FnOnce() -> String) -> StoreError {
    match error {
        StoreError::Corrupt { detail } => {
            StoreError::Corrupt { detail: format!("{}: {detail}", place()) }
        }
        error => error,
    }
}

pub(crate) fn corrupt(detail: &str) -> StoreError {
    StoreError::Corrupt { detail: format!("{detail}; restore the file from a backup") }
}
