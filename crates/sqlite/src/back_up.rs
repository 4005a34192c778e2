//! A copy of a store as it is at one moment, also while somebody writes to it.
//!
//! The copy gets a mark of its own: a write-ahead log of the original that is left beside it, where the
//! copy is put in the original's place, is no log of it. See [`left_log`](crate::left_log).

use std::path::Path;

use rusqlite::{Connection, Error, OpenFlags};

use crate::{left_log, schema};

/// Copies the file of a connection to a file that is not there, or is empty. Its name is absolute, so
/// that SQLite takes it for nothing but a name.
pub(crate) fn copy(from: &Connection, to: &Path) -> rusqlite::Result<()> {
    let name = to.to_str().ok_or_else(|| {
        failed(format!("{} is not UTF-8, as SQLite needs names: give another one", to.display()))
    })?;
    let before = extent(from)?;
    // As a reader sees it, with what is in the log; whoever writes goes on.
    from.execute("VACUUM INTO ?1", [name])?;
    let after = extent(from)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(to, flags)?;
    copy.pragma_update(None, "synchronous", "FULL")?;
    // What comes next would make a store of an empty file.
    let (application, _) = schema::marks(&copy)?;
    let is_whole = application == schema::APPLICATION_ID && {
        let (last, streams) = extent(&copy)?;
        (before.0..=after.0).contains(&last) && (before.1..=after.1).contains(&streams)
    };
    if !is_whole {
        return Err(failed(format!("{name} is no whole copy: try again, to another disk")));
    }
    left_log::begin_session(&mut copy, schema::migrate)?;
    copy.close().map_err(|(_, error)| error)
}

/// The last position of a log, and how many streams it has had: both only grow.
fn extent(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let extent = "SELECT (SELECT coalesce(max(position), 0) FROM events),
                         (SELECT count(*) FROM streams)";
    connection.query_row(extent, [], |row| Ok((row.get(0)?, row.get(1)?)))
}

fn failed(detail: String) -> Error {
    Error::ToSqlConversionFailure(detail.into())
}
