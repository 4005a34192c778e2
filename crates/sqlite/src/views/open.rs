//! Opening a file of rows: it is made if there is none, emptied if it is of an older form, and left
//! alone if it is of something else, of a newer version, or damaged.

use std::path::{Path, PathBuf};

use hedgerow_engine::view::ViewError;
use rusqlite::{Connection, Error, ErrorCode, OptionalExtension, TransactionBehavior};

use crate::OpenError;
use crate::open::{BUSY, beside};

/// Marks a file of rows: "Hdgv".
const APPLICATION_ID: i32 = 0x4864_6776;
/// Its tables, as this version has them. With schema 1 rows had no sums.
const SCHEMA: i32 = 2;
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

/// What an error of SQLite means for whoever follows or asks. Only what says that the file is wrong is
/// damage: it is an advice to throw the file away.
pub(super) fn failed(path: &Path, error: &Error) -> ViewError {
    let detail = format!("{}: {error}", path.display());
    match error {
        Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull => ViewError::Full { detail },
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => ViewError::ReadOnly { detail },
            // The unknown is SQL that does not fit: a table or a column is not there.
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::Unknown
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch => ViewError::Damaged { detail },
            _ => ViewError::Unavailable { detail },
        },
        // What nobody wrote so.
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..) => ViewError::Damaged { detail },
        _ => ViewError::Unavailable { detail },
    }
}

/// What an error of SQLite means for whoever opens a file.
pub(super) fn of_sqlite(path: &Path, error: &rusqlite::Error) -> ViewsError {
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

pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // Pages are found by keys from all over the file.
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // In pages: what is found by its device lies all over the file, and the more of it is folded in
    // at once the more shares a page.
    connection.pragma_update(None, "wal_autocheckpoint", 32_000)?;
    connection.set_prepared_statement_cache_capacity(8);
    Ok(connection)
}

pub(super) fn open(path: &Path) -> Result<Connection, ViewsError> {
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
    if found < SCHEMA {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        // Rows follow from the log: those of an older form are made anew.
        if mark(&transaction, "user_version").map_err(failed)? < SCHEMA {
            transaction.execute_batch("DROP TABLE rows; DROP TABLE reached").map_err(failed)?;
            transaction.execute_batch(TABLES).map_err(failed)?;
            transaction.pragma_update(None, "user_version", SCHEMA).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
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

/// Throws away what is in a file of rows; the file, too, if it is damaged.
pub(super) fn empty(path: &Path) -> Result<(), ViewsError> {
    let connection = match open(path) {
        Ok(connection) => connection,
        Err(ViewsError::Damaged { .. }) => return remove(path),
        Err(error) => return Err(error),
    };
    let emptied =
        connection.execute_batch("BEGIN IMMEDIATE; DELETE FROM rows; DELETE FROM reached; COMMIT");
    drop(connection);
    match emptied {
        Ok(()) => Ok(()),
        Err(error) => match of_sqlite(path, &error) {
            ViewsError::Damaged { .. } => remove(path),
            error => Err(error),
        },
    }
}

/// Removes a file of rows, and what SQLite keeps beside it.
fn remove(path: &Path) -> Result<(), ViewsError> {
    for path in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ViewsError::Unusable { path, detail: error.to_string() });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_passes_is_not_called_damage() {
        let path = Path::new("log.db.views");
        let said = |code| failed(path, &Error::SqliteFailure(ffi::Error::new(code), None));
        for code in [
            ffi::SQLITE_BUSY,
            ffi::SQLITE_LOCKED,
            ffi::SQLITE_NOMEM,
            ffi::SQLITE_INTERRUPT,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_CANTOPEN,
            ffi::SQLITE_PROTOCOL,
            ffi::SQLITE_SCHEMA,
            ffi::SQLITE_ABORT,
        ] {
            assert!(matches!(said(code), ViewError::Unavailable { .. }), "{:?}", said(code));
        }
        assert!(matches!(said(ffi::SQLITE_FULL), ViewError::Full { .. }));
        assert!(matches!(said(ffi::SQLITE_READONLY), ViewError::ReadOnly { .. }));
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_ERROR] {
            assert!(matches!(said(code), ViewError::Damaged { .. }), "{:?}", said(code));
        }
    }
}
