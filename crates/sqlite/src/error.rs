//! What can go wrong, and what to do about it: opening a file, and SQLite's answers.

use std::path::{Path, PathBuf};

use hedgerow_engine::store::StoreError;
use rusqlite::ErrorCode;

/// Why a store could not be opened. The file was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such file, or no such folder to create it in.
    #[error("{} does not exist: look at the path{}", path.display(), if *create { ", its folder must exist" } else { "" })]
    Missing {
        /// The file.
        path: PathBuf,
        /// Whether it was to be created.
        create: bool,
    },
    /// It is not a file.
    #[error("{} is not a file: give the path of a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Another process, or another store of this one, has it.
    #[error(
        "{} is in use: another process runs campaigns on it; stop that one first, or open the file to be read", path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is a file of something else.
    #[error(
        "{} is not a Hedgerow store but {what}: give another path, the file was left as it is", path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It was written by a newer version.
    #[error(
        "{} has schema {found}, this version reads up to {newest}: use a newer version of Hedgerow, the file was left as it is", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest one that can be read.
        newest: i64,
    },
    /// It is damaged.
    #[error(
        "{} is damaged ({detail}): restore it from a backup, the file was left as it is", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// The system refused.
    #[error("{} cannot be opened ({detail}): look at its permissions and its disk", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
}

impl OpenError {
    pub(crate) fn system(path: &Path, error: &dyn std::error::Error) -> Self {
        Self::System { path: path.to_owned(), detail: error.to_string() }
    }

    pub(crate) fn of_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign { path, what: "something else" },
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, detail: error.to_string() },
            _ => Self::System { path, detail: error.to_string() },
        }
    }
}

/// What an error of SQLite means for whoever called the store.
pub(crate) fn store_error(error: &rusqlite::Error) -> StoreError {
    let detail = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { detail },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreError::ReadOnly { detail },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Corrupt { detail: format!("{detail}; restore the file from a backup") }
        }
        None if matches!(error, rusqlite::Error::FromSqlConversionFailure(..)) => {
            StoreError::Corrupt { detail: format!("{detail}; restore the file from a backup") }
        }
        _ => StoreError::Unavailable { detail },
    }
}
