//! What the store is measured against: the same rows in a file of bare `rusqlite`.

use std::path::Path;

use hedgerow_core::NewEvent;
use hedgerow_core::event::{CampaignEvent, RequestAccepted};
use rusqlite::Connection;

use crate::device;
use crate::log::encoded;

/// A file with the table of events, its index and the pragmas of the store's writer. `columns` are
/// more columns than every event has, each after a comma.
///
/// # Errors
/// What SQLite says.
pub fn open(path: &Path, columns: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.pragma_update(None, "foreign_keys", "OFF")?;
    connection.execute_batch(&format!(
        "CREATE TABLE events (
            position INTEGER PRIMARY KEY,
            stream INTEGER NOT NULL,
            version INTEGER NOT NULL,
            event_type INTEGER NOT NULL,
            schema_version INTEGER NOT NULL,
            recorded_at INTEGER NOT NULL,
            correlation_id BLOB NOT NULL,
            causation_id BLOB NOT NULL,
            data BLOB NOT NULL
            {columns}
        ) STRICT;
        CREATE UNIQUE INDEX events_of_stream ON events (stream, version);"
    ))?;
    Ok(connection)
}

/// So many events, each of a device of its own, from number `first` on.
#[must_use]
pub fn events(first: u64, batch: usize) -> Vec<NewEvent> {
    let event = |number| {
        let device = device(u32::try_from(number).unwrap_or(u32::MAX));
        encoded(&CampaignEvent::from(RequestAccepted { device }))
    };
    (first..).take(batch).map(event).collect()
}
