//! The reader threads: every look at the file, beside what is being written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use hedgerow_core::{NewEvent, OperationId, StoredEvent, StreamId, TenantId, Timestamp};
use hedgerow_engine::store::{Activity, HeldClaim, StateSnapshot, StoreError, StreamSummary};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::OpenError;
use crate::error::corrupt;
use crate::source::Source;

/// Something to do with a reader.
pub(crate) type Read = Box<dyn FnOnce(&mut Reader) + Send>;

/// Starts one thread for each source. They end when every sender is gone.
pub(crate) fn spawn(
    sources: impl IntoIterator<Item = Source>,
    path: &Path,
) -> Result<(Sender<Read>, Vec<JoinHandle<()>>), OpenError> {
    let (sender, receiver) = channel::<Read>();
    let queue = Arc::new(Mutex::new(receiver));
    let spawn = |source| {
        let (mut reader, queue) = (Reader { source, types: Types::default() }, Arc::clone(&queue));
        std::thread::Builder::new()
            .name("hedgerow-sqlite-reader".to_owned())
            .spawn(move || {
                while let Some(read) = next(&queue) {
                    read(&mut reader);
                }
            })
            .map_err(|error| OpenError::of_system(path, &error))
    };
    let threads = sources.into_iter().map(spawn).collect::<Result<_, _>>()?;
    Ok((sender, threads))
}

fn next(queue: &Mutex<Receiver<Read>>) -> Option<Read> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// What a thread reads with.
pub(crate) struct Reader {
    source: Source,
    types: Types,
}

/// The names of event types that were met. A name that was given to a number never changes, and
/// joining it to every event would take a third of the time of reading.
#[derive(Default)]
struct Types(BTreeMap<i64, String>);

impl Types {
    fn name(&mut self, connection: &Connection, id: i64) -> rusqlite::Result<String> {
        if let Some(name) = self.0.get(&id) {
            return Ok(name.clone());
        }
        let name: String = connection
            .prepare_cached("SELECT name FROM event_types WHERE id = ?1")?
            .query_row([id], |row| row.get(0))?;
        self.0.insert(id, name.clone());
        Ok(name)
    }
}

/// A column that is a text of a type of the core.
pub(crate) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    row.get(column).map(Uuid::from_bytes)
}

/// [`event`] reads the first eight columns.
const EVENTS_OF_STREAM: &str = "
    SELECT version, position, event_type, schema_version, recorded_at,
           correlation_id, causation_id, data
    FROM events WHERE stream = ?1 AND version > ?2 ORDER BY version LIMIT ?3";
const ALL_EVENTS: &str = "
    SELECT events.version, position, event_type, schema_version, recorded_at,
           correlation_id, causation_id, data, tenants.name, streams.name
    FROM events JOIN streams ON streams.id = events.stream
                JOIN tenants ON tenants.id = streams.tenant
    WHERE position > ?1 ORDER BY position LIMIT ?2";
const LAST_RECORDED_AT: &str = "SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1";
const STREAM: &str = "
    SELECT streams.id, version FROM streams JOIN tenants ON tenants.id = tenant
    WHERE tenants.name = ?1 AND streams.name = ?2";
const STREAMS: &str = "
    SELECT tenants.name, streams.name, version, active
    FROM streams JOIN tenants ON tenants.id = tenant ORDER BY streams.id";
const CLAIMS: &str = "
    SELECT tenants.name, key, streams.name
    FROM claims JOIN streams ON streams.id = stream JOIN tenants ON tenants.id = claims.tenant
    ORDER BY tenants.name, key";
const STREAM_OF_OPERATION: &str = "
    SELECT streams.name
    FROM operations JOIN streams ON streams.id = stream
                    JOIN tenants ON tenants.id = operations.tenant
    WHERE tenants.name = ?1 AND operation = ?2";
const SNAPSHOT: &str = "SELECT version, format, data FROM snapshots WHERE stream = ?1";

fn event(
    row: &Row<'_>,
    tenant: TenantId,
    stream: StreamId,
    event_type: String,
) -> rusqlite::Result<StoredEvent> {
    Ok(StoredEvent {
        tenant,
        stream,
        version: row.get(0)?,
        position: row.get(1)?,
        event: NewEvent {
            event_type,
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

/// A stream's row and version.
fn stream_row(
    connection: &Connection,
    tenant: &TenantId,
    stream: StreamId,
) -> rusqlite::Result<Option<(i64, u64)>> {
    connection
        .prepare_cached(STREAM)?
        .query_row(params![tenant.as_str(), stream.to_string()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
}

impl Reader {
    pub(crate) fn stream(
        &mut self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let Self { source, types } = self;
        let (events, last) = source.read(|connection| {
            let Some((id, last)) = stream_row(connection, tenant, stream)? else {
                return Ok((Vec::new(), 0));
            };
            let events = connection
                .prepare_cached(EVENTS_OF_STREAM)?
                .query_map(params![id, count(after), count(limit)], |row| {
                    let event_type = types.name(connection, row.get(2)?)?;
                    event(row, tenant.clone(), stream, event_type)
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok((events, last))
        })?;
        // A state folded over a gap would be wrong without a sign of it.
        let mut expected = after;
        for event in &events {
            expected = expected.saturating_add(1);
            if event.version != expected {
                return Err(self.missing(stream, expected));
            }
        }
        if events.len() < limit && expected < last {
            return Err(self.missing(stream, expected + 1));
        }
        Ok(events)
    }

    fn missing(&self, stream: StreamId, version: u64) -> StoreError {
        let path = self.source.path().display();
        corrupt(&format!("{path}: event {version} of {stream} is missing"))
    }

    pub(crate) fn all(&mut self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let Self { source, types } = self;
        source.read(|connection| {
            connection
                .prepare_cached(ALL_EVENTS)?
                .query_map(params![count(after), count(limit)], |row| {
                    let event_type = types.name(connection, row.get(2)?)?;
                    event(row, parsed(row, 8)?, parsed(row, 9)?, event_type)
                })?
                .collect()
        })
    }

    pub(crate) fn last_recorded_at(&mut self) -> Result<Option<Timestamp>, StoreError> {
        self.source.read(|connection| {
            connection
                .prepare_cached(LAST_RECORDED_AT)?
                .query_row([], |row| row.get(0).map(Timestamp::from_millis))
                .optional()
        })
    }

    pub(crate) fn streams(&mut self) -> Result<Vec<StreamSummary>, StoreError> {
        self.source.read(|connection| {
            connection
                .prepare_cached(STREAMS)?
                .query_map([], |row| {
                    let active: bool = row.get(3)?;
                    Ok(StreamSummary {
                        tenant: parsed(row, 0)?,
                        stream: parsed(row, 1)?,
                        version: row.get(2)?,
                        activity: if active { Activity::Active } else { Activity::Settled },
                    })
                })?
                .collect()
        })
    }

    pub(crate) fn claims(&mut self) -> Result<Vec<HeldClaim>, StoreError> {
        self.source.read(|connection| {
            connection
                .prepare_cached(CLAIMS)?
                .query_map([], |row| Ok((parsed(row, 0)?, row.get(1)?, parsed(row, 2)?)))?
                .collect()
        })
    }

    pub(crate) fn stream_of_operation(
        &mut self,
        tenant: &TenantId,
        operation: OperationId,
    ) -> Result<Option<StreamId>, StoreError> {
        self.source.read(|connection| {
            connection
                .prepare_cached(STREAM_OF_OPERATION)?
                .query_row(params![tenant.as_str(), operation.as_uuid().as_bytes()], |row| {
                    parsed(row, 0)
                })
                .optional()
        })
    }

    pub(crate) fn snapshot(
        &mut self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> Result<Option<StateSnapshot>, StoreError> {
        self.source.read(|connection| {
            let Some((id, _)) = stream_row(connection, tenant, stream)? else { return Ok(None) };
            connection
                .prepare_cached(SNAPSHOT)?
                .query_row([id], |row| {
                    Ok(StateSnapshot {
                        version: row.get(0)?,
                        format: row.get(1)?,
                        data: row.get(2)?,
                    })
                })
                .optional()
        })
    }
}
