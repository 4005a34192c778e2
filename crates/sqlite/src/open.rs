//! Opening a file: what it is, whose it is, and that nothing is changed before that is known.
//!
//! The file is looked at through SQLite alone: closing a file handle of one's own would take away
//! the locks that SQLite has on the same file in this process.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::OpenError;
use crate::left_log;
use crate::schema;

/// How long a statement waits for another connection to the file.
pub(crate) const BUSY: Duration =
    if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(5) };
/// How long who starts waits for who writes, which may be an import of many events.
const BEGIN: Duration = if cfg!(test) { BUSY } else { Duration::from_secs(30) };
/// How often the lock is asked for: who only removes and imports has it for moments.
const TRIES: u32 = 25;
const PAUSE: Duration = Duration::from_millis(20);
/// What the lock of a file that was a store says; nobody reads it but people.
const LOCK: &[u8] =
    b"Says who may write to the Hedgerow store beside it. May be removed with it.\n";

/// The writer's connection, and what it is on.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// The file without links, so that every name of it leads to the same lock.
    pub(crate) path: PathBuf,
    /// The system gives it back when the process ends, however it ends. None: this one only removes
    /// and imports, and another may have it.
    pub(crate) lock: Option<File>,
}

/// Opens a file to write, creating it if there is none, and takes its lock.
pub(crate) fn to_write(path: &Path) -> Result<Opened, OpenError> {
    to_write_within(path, TRIES, BUSY, BEGIN)
}

/// Opens a file that is there to remove and to import streams. Its lock is taken for the moment in which
/// it is brought up to date, and left to whoever runs campaigns, or wants to.
pub(crate) fn to_keep(path: &Path) -> Result<Opened, OpenError> {
    match to_write_within(path, 1, Duration::ZERO, Duration::ZERO) {
        Err(OpenError::InUse { .. } | OpenError::Held { .. }) => to_write_beside(path),
        opened => Ok(Opened { lock: None, ..opened? }),
    }
}

/// `tries`: how often the lock is asked for; `readers` and `writers`: how long those are waited for.
fn to_write_within(
    path: &Path,
    tries: u32,
    readers: Duration,
    writers: Duration,
) -> Result<Opened, OpenError> {
    let path = located(path)?;
    // Before the lock: nothing is put beside a file that is not ours.
    look_at(&path)?;
    let mut lock = lock(&path, tries)?;
    // Another process may have created it, or migrated it, in between.
    if look_at(&path)?.is_none() {
        left_log::of_no_file(&path)?;
        refuse_emptied(&path, &lock)?;
        create(&path)?;
    }
    left_log::of_file(&path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error: rusqlite::Error| OpenError::of_sqlite(&path, &error);
    let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
    if connection.is_readonly("main").map_err(failed)? {
        let detail = "it can only be read".to_owned();
        return Err(OpenError::NotPermitted { path, detail });
    }
    connection.busy_timeout(readers).map_err(failed)?;
    let (_, found) = schema::marks(&connection).map_err(failed)?;
    check(&path, found)?;
    write_ahead(&path, &connection)?;
    settle(&connection).map_err(failed)?;
    // Who makes a copy reads for as long as that takes. The log is the file's own, and is gone on with.
    let is_folded_in = left_log::fold_in(&connection).map_err(failed)?;
    connection.busy_timeout(writers).map_err(failed)?;
    left_log::begin_session(&mut connection, schema::migrate).map_err(failed)?;
    connection.busy_timeout(readers).map_err(failed)?;
    if is_folded_in {
        left_log::fold_in(&connection).map_err(failed)?;
    }
    connection.busy_timeout(BUSY).map_err(failed)?;
    schema::look(&connection).map_err(failed)?;
    if lock.metadata().is_ok_and(|lock| lock.len() == 0) {
        // Without it an emptied file would be taken for a new one; with a full disk, so be it.
        drop(lock.write_all(LOCK));
    }
    Ok(Opened { connection, path, lock: Some(lock) })
}

/// Opens a file to write beside the process that has its lock: what is there is what is used.
fn to_write_beside(path: &Path) -> Result<Opened, OpenError> {
    left_log::of_file(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error: rusqlite::Error| OpenError::of_sqlite(path, &error);
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    let (_, found) = schema::marks(&connection).map_err(failed)?;
    check(path, found)?;
    if found < schema::NEWEST {
        let newest = schema::NEWEST;
        return Err(OpenError::Older { path: path.to_owned(), found, newest });
    }
    settle(&connection).map_err(failed)?;
    schema::look(&connection).map_err(failed)?;
    Ok(Opened { connection, path: path.to_owned(), lock: None })
}

/// How the writer's connection is set. What was answered must survive a power cut (E8).
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    // In pages: operations and claims lie all over the file, and the more of them are folded in at
    // once the more share a page.
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    // The writer refers only to rows that it has just found or made.
    connection.pragma_update(None, "foreign_keys", "OFF")
}

/// Refuses an empty file whose lock says that it was a store; one that was made empty becomes one.
fn refuse_emptied(path: &Path, lock: &File) -> Result<(), OpenError> {
    let was_a_store = lock.metadata().is_ok_and(|lock| lock.len() > 0);
    if was_a_store && path.exists() {
        return Err(OpenError::Empty { path: path.to_owned() });
    }
    Ok(())
}

/// Opens a file to read that may have a writer now.
pub(crate) fn to_read(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error: rusqlite::Error| OpenError::of_sqlite(path, &error);
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    readable(path, connection)
}

/// Opens a file to read that nobody writes: touches nothing beside it, so that it may be on
/// media that cannot be written to.
pub(crate) fn to_read_alone(path: &Path) -> Result<Connection, OpenError> {
    let connection = immutable(path).map_err(|error| OpenError::of_sqlite(path, &error))?;
    readable(path, connection)
}

fn readable(path: &Path, connection: Connection) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::of_sqlite(path, &error);
    connection.pragma_update(None, "cell_size_check", "ON").map_err(failed)?;
    let (_, found) = schema::marks(&connection).map_err(failed)?;
    check(path, found)?;
    schema::look_newer(&connection, found).map_err(failed)?;
    schema::look(&connection).map_err(failed)?;
    Ok(connection)
}

/// The file's name without links. The file itself need not exist, its folder must.
pub(crate) fn located(path: &Path) -> Result<PathBuf, OpenError> {
    match fs::canonicalize(path) {
        Ok(path) => return Ok(path),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(OpenError::of_system(path, &error)),
    }
    let name = path.file_name().filter(|_| fs::symlink_metadata(path).is_err());
    let Some(name) = name else { return Err(OpenError::NotAFile { path: path.to_owned() }) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match fs::canonicalize(folder.unwrap_or(Path::new("."))) {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(OpenError::NoFolder { path: path.to_owned() })
        }
        Err(error) => Err(OpenError::of_system(path, &error)),
    }
}

/// Whether there is a store, and which schema its file says it has; refuses everything else.
pub(crate) fn look_at(path: &Path) -> Result<Option<i64>, OpenError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::of_system(path, &error)),
    };
    if !metadata.is_file() {
        return Err(OpenError::NotAFile { path: path.to_owned() });
    }
    if metadata.len() == 0 {
        return Ok(None);
    }
    let marks = immutable(path).and_then(|connection| {
        // A writer that is folding its log in, or was killed while it did, leaves a first page
        // that tells of more pages than there are yet; this makes SQLite read it all the same.
        connection.pragma_update(None, "writable_schema", "ON")?;
        let number =
            |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let whole = number("page_count")?.saturating_mul(number("page_size")?);
        Ok((schema::marks(&connection)?, whole))
    });
    let ((application, found), whole) =
        marks.map_err(|error| OpenError::of_sqlite(path, &error))?;
    if application != schema::APPLICATION_ID {
        let what = "a SQLite database of something else";
        return Err(OpenError::Foreign { path: path.to_owned(), what });
    }
    check(path, found)?;
    refuse_cut(path, whole)?;
    Ok(Some(found))
}

/// Refuses a file that ends within its last page, which SQLite would read as if it ended in zeros.
/// `whole`: its pages in bytes.
fn refuse_cut(path: &Path, whole: i64) -> Result<(), OpenError> {
    // What is folded in halfway is whole with its log. Without one the size does not change.
    if fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Ok(());
    }
    let bytes = fs::metadata(path).map_err(|error| OpenError::of_system(path, &error))?.len();
    if i64::try_from(bytes).is_ok_and(|bytes| bytes >= whole) {
        return Ok(());
    }
    let detail = format!("it was cut off: it has {bytes} bytes and needs {whole}");
    Err(OpenError::Damaged { path: path.to_owned(), detail })
}

fn check(path: &Path, found: i64) -> Result<(), OpenError> {
    let newest = schema::NEWEST;
    if found > newest {
        return Err(OpenError::Newer { path: path.to_owned(), found, newest });
    }
    Ok(())
}

/// A connection that takes no locks, recovers nothing and creates nothing.
pub(crate) fn immutable(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // A String takes everything.
            let _ = write!(uri, "%{byte:02x}");
        }
    }
    uri.push_str("?immutable=1");
    Connection::open_with_flags(uri, flags)
}

/// Makes the file under another name first: under its own it is there as a whole or not at all.
fn create(path: &Path) -> Result<(), OpenError> {
    let draft = beside(path, ".creating");
    let result = write_draft(&draft, path);
    if result.is_err() {
        discard(&draft);
    }
    result
}

fn write_draft(draft: &Path, path: &Path) -> Result<(), OpenError> {
    let of_sqlite = |error: rusqlite::Error| OpenError::of_sqlite(path, &error);
    let of_system = |error: std::io::Error| OpenError::of_system(path, &error);
    // What a process left that was killed right here.
    discard(draft);
    let mut connection = Connection::open(draft).map_err(of_sqlite)?;
    left_log::begin_session(&mut connection, schema::migrate).map_err(of_sqlite)?;
    write_ahead(path, &connection)?;
    connection.close().map_err(|(_, error)| of_sqlite(error))?;
    if let Ok(empty) = fs::metadata(path) {
        // Somebody made an empty file for this, perhaps one that only they may read.
        fs::set_permissions(draft, empty.permissions()).map_err(of_system)?;
    }
    fs::rename(draft, path).map_err(of_system)?;
    if let Some(folder) = path.parent().filter(|_| cfg!(unix)) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(of_system)?;
    }
    Ok(())
}

/// Removes a draft; what is not there need not be removed.
fn discard(draft: &Path) {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        drop(fs::remove_file(beside(draft, suffix)));
    }
}

fn write_ahead(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(|error| OpenError::of_sqlite(path, &error))?;
    if mode == "wal" {
        return Ok(());
    }
    let detail = "its file system has no shared memory, as SQLite's WAL needs".to_owned();
    Err(OpenError::System { path: path.to_owned(), detail })
}

fn lock(path: &Path, tries: u32) -> Result<File, OpenError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(beside(path, ".lock"))
        .map_err(|error| OpenError::of_system(path, &error))?;
    for _ in 1..tries {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            _ => break,
        }
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::of_system(path, &error)),
    }
}

/// The file beside another whose name is longer by `suffix`.
pub(crate) fn beside(path: &Path, suffix: impl AsRef<OsStr>) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
