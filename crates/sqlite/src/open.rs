//! Opening a file: what it is, whose it is, and that nothing is changed before that is known.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::OpenError;
use crate::schema;

/// How long a statement waits for another connection of this store.
const BUSY: Duration = Duration::from_secs(5);

/// Opens a file to write, creating it if there is none, and takes its lock.
pub(crate) fn to_write(path: &Path) -> Result<(Connection, File), OpenError> {
    look_at(path, true)?;
    let lock = lock(path)?;
    // Another process may have created it in between.
    look_at(path, true)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error: rusqlite::Error| OpenError::of_sqlite(path, &error);
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    // The marks of the file stand in its first page before it is put into WAL mode, so that they
    // can be read without SQLite.
    schema::migrate(&mut connection).map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    connection.pragma_update(None, "cache_size", -65_536).map_err(failed)?;
    Ok((connection, lock))
}

/// Opens a file to read.
pub(crate) fn to_read(path: &Path) -> Result<Connection, OpenError> {
    look_at(path, false)?;
    let failed = |error: rusqlite::Error| OpenError::of_sqlite(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    let opened = connection.query_row("SELECT count(*) FROM streams", [], |_| Ok(()));
    match opened {
        Ok(()) => Ok(connection),
        // Without a right to write beside the file, only a file that nobody writes can be read.
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) => {
            let uri = format!("file:{}?immutable=1", escaped(path));
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(uri, flags).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// A path as SQLite's URIs want it.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

/// Reads the marks of a file without SQLite, which would create or recover one.
fn look_at(path: &Path, create: bool) -> Result<(), OpenError> {
    let owned = || path.to_owned();
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            return match folder {
                _ if !create => Err(OpenError::Missing { path: owned(), create }),
                Some(folder) if !folder.is_dir() => {
                    Err(OpenError::Missing { path: owned(), create })
                }
                _ => Ok(()),
            };
        }
        Err(error) => return Err(OpenError::system(path, &error)),
    };
    let metadata = file.metadata().map_err(|error| OpenError::system(path, &error))?;
    if !metadata.is_file() {
        return Err(OpenError::NotAFile { path: owned() });
    }
    if metadata.len() == 0 {
        let what = "an empty file";
        return if create { Ok(()) } else { Err(OpenError::Foreign { path: owned(), what }) };
    }
    let mut header = [0; 100];
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Err(OpenError::Foreign { path: owned(), what: "something else" });
        }
        Err(error) => return Err(OpenError::system(path, &error)),
    }
    let number = |at: usize| {
        header[at..at + 4].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
    };
    if &header[..16] != b"SQLite format 3\0" {
        return Err(OpenError::Foreign { path: owned(), what: "something else" });
    }
    let (found, application) = (i64::from(number(60)), number(68));
    if application != schema::APPLICATION_ID.cast_unsigned() {
        let what = "a SQLite database of something else";
        return Err(OpenError::Foreign { path: owned(), what });
    }
    if found > schema::NEWEST {
        return Err(OpenError::Newer { path: owned(), found, newest: schema::NEWEST });
    }
    Ok(())
}

/// Takes the lock of a file. The system gives it back when the process ends, however it ends.
fn lock(path: &Path) -> Result<File, OpenError> {
    let beside = lock_path(path);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&beside)
        .map_err(|error| OpenError::system(&beside, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::system(&beside, &error)),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    PathBuf::from(beside)
}
