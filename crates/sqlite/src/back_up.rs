//! A copy of a store as it is at one moment, also while somebody writes to it.
//!
//! The copy gets a mark of its own: a write-ahead log of the original that is left beside it, where the
//! copy is put in the original's place, is no log of it. See [`left_log`](crate::left_log).

use std::path::Path;

use rusqlite::Connection;

use crate::{left_log, schema};

/// Copies the file of a connection to a file that is not there, or is empty.
pub(crate) fn copy(from: &Connection, to: &Path) -> rusqlite::Result<()> {
    // As a reader sees it, with what is in the log; whoever writes goes on.
    from.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    let mut copy = Connection::open(to)?;
    copy.pragma_update(None, "synchronous", "FULL")?;
    left_log::begin_session(&mut copy, schema::migrate)?;
    copy.close().map_err(|(_, error)| error)
}
