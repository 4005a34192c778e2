//! The reader thread: every look at the file, in the order asked.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use hedgerow_core::{NewEvent, OperationId, StoredEvent, StreamId, TenantId, Timestamp};
use hedgerow_engine::store::{Activity, StateSnapshot, StoreError, StreamSummary};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::OpenError;
use crate::error::store_error;

/// Something to do with the reader.
pub(crate) type Read = Box<dyn FnOnce(&Reader) + Send>;

/// Starts the thread. It ends when every sender is gone.
pub(crate) fn spawn(
    connection: Connection,
    path: &Path,
) -> Result<(Sender<Read>, JoinHandle<()>), OpenError> {
    let (sender, receiver) = channel::<Read>();
    let thread = std::thread::Builder::new()
        .name("hedgerow-sqlite-reader".to_owned())
        .spawn(move || {
            let reader = Reader { connection };
            for read in receiver {
                read(&reader);
            }
        })
        .map_err(|error| OpenError::system(path, &error))?;
    Ok((sender, thread))
}

/// A connection that only reads.
pub(crate) struct Reader {
    connection: Connection,
}

/// A column that is a text of a type of the core.
pub(crate) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    let bytes: [u8; 16] = row.get(column)?;
    Ok(Uuid::from_bytes(bytes))
}

/// The columns that [`event`] reads.
const EVENT: &str = "events.version, position, event_types.name, schema_version, recorded_at,
    correlation_id, causation_id, data";

fn event(row: &Row<'_>, tenant: TenantId, stream: StreamId) -> rusqlite::Result<StoredEvent> {
    Ok(StoredEvent {
        tenant,
        stream,
        version: row.get(0)?,
        position: row.get(1)?,
        event: NewEvent {
            event_type: row.get(2)?,
            schema_version: row.get(3)?,
            recorded_at: Timestamp::from_millis(row.get(4)?),
            correlation_id: uuid(row, 5)?,
            causation_id: uuid(row, 6)?,
            data: row.get(7)?,
        },
    })
}

/// As SQLite counts: a number beyond its range is no place in a store.
fn count(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

impl Reader {
    fn stream_id(&self, tenant: &TenantId, stream: StreamId) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare_cached("SELECT id FROM streams WHERE tenant = ?1 AND stream = ?2")?
            .query_row(params![tenant.as_str(), stream.to_string()], |row| row.get(0))
            .optional()
    }

    pub(crate) fn stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let read = || {
            let Some(id) = self.stream_id(tenant, stream)? else { return Ok(Vec::new()) };
            self.connection
                .prepare_cached(&format!(
                    "SELECT {EVENT} FROM events JOIN event_types ON event_types.id = event_type
                     WHERE stream = ?1 AND events.version > ?2 ORDER BY events.version LIMIT ?3"
                ))?
                .query_map(params![id, count(after), count(limit)], |row| {
                    event(row, tenant.clone(), stream)
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| store_error(&error))
    }

    pub(crate) fn all(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let read = || {
            self.connection
                .prepare_cached(&format!(
                    "SELECT {EVENT}, streams.tenant, streams.stream FROM events
                     JOIN event_types ON event_types.id = event_type
                     JOIN streams ON streams.id = events.stream
                     WHERE position > ?1 ORDER BY position LIMIT ?2"
                ))?
                .query_map(params![count(after), count(limit)], |row| {
                    event(row, parsed(row, 8)?, parsed(row, 9)?)
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| store_error(&error))
    }

    pub(crate) fn streams(&self) -> Result<Vec<StreamSummary>, StoreError> {
        let read = || {
            self.connection
                .prepare_cached("SELECT tenant, stream, version, active FROM streams ORDER BY id")?
                .query_map([], |row| {
                    let active: bool = row.get(3)?;
                    Ok(StreamSummary {
                        tenant: parsed(row, 0)?,
                        stream: parsed(row, 1)?,
                        version: row.get(2)?,
                        activity: if active { Activity::Active } else { Activity::Settled },
                    })
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| store_error(&error))
    }

    pub(crate) fn claims(&self) -> Result<Vec<(TenantId, String, StreamId)>, StoreError> {
        let read = || {
            self.connection
                .prepare_cached(
                    "SELECT claims.tenant, key, streams.stream FROM claims
                     JOIN streams ON streams.id = claims.stream ORDER BY claims.tenant, key",
                )?
                .query_map([], |row| Ok((parsed(row, 0)?, row.get(1)?, parsed(row, 2)?)))?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| store_error(&error))
    }

    pub(crate) fn stream_of_operation(
        &self,
        tenant: &TenantId,
        operation: OperationId,
    ) -> Result<Option<StreamId>, StoreError> {
        let read = || {
            self.connection
                .prepare_cached(
                    "SELECT streams.stream FROM operations
                     JOIN streams ON streams.id = operations.stream
                     WHERE operation = ?1 AND streams.tenant = ?2",
                )?
                .query_row(params![operation.as_uuid().as_bytes(), tenant.as_str()], |row| {
                    parsed(row, 0)
                })
                .optional()
        };
        read().map_err(|error| store_error(&error))
    }

    pub(crate) fn snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> Result<Option<StateSnapshot>, StoreError> {
        let read = || {
            let Some(id) = self.stream_id(tenant, stream)? else { return Ok(None) };
            self.connection
                .prepare_cached("SELECT version, format, data FROM snapshots WHERE stream = ?1")?
                .query_row([id], |row| {
                    Ok(StateSnapshot {
                        version: row.get(0)?,
                        format: row.get(1)?,
                        data: row.get(2)?,
                    })
                })
                .optional()
        };
        read().map_err(|error| store_error(&error))
    }
}
