//! Streams that are removed and imported, each inside the writer's transaction.
//!
//! A removed stream keeps its row, with another standing, and its note is the event of version 0. What
//! else it had is hidden from readers from that commit on, and cleared by [`sweep`](crate::sweep).

use hedgerow_core::{Checksum, NewEvent, OperationId, StoredEvent, StreamId, TenantId, Timestamp};
use hedgerow_engine::store::checksum::Chain;
use hedgerow_engine::store::retention::{
    ImportError, NotRemoved, StreamImport, StreamRemoval, other_end, taken, there_already,
};
use rusqlite::{Error, OptionalExtension, Transaction, params};

use crate::append::{INSERT_EVENT, Names, StreamRow, insert_event, stream_row, write_operation};
use crate::found::{checksum as checksum_in, event as event_in, parsed};
use crate::schema::Standing;
use crate::seal;

/// Removes streams, and says of each what became of it.
pub(crate) fn remove(
    transaction: &Transaction<'_>,
    names: &mut Names,
    batch: &[StreamRemoval],
) -> rusqlite::Result<Vec<Result<(), NotRemoved>>> {
    // Few streams hold claims, and claims are not found by their streams.
    let holders: Vec<i64> = transaction
        .prepare_cached("SELECT DISTINCT stream FROM claims ORDER BY stream")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    batch.iter().map(|removal| remove_one(transaction, names, &holders, removal)).collect()
}

fn remove_one(
    transaction: &Transaction<'_>,
    names: &mut Names,
    holders: &[i64],
    removal: &StreamRemoval,
) -> rusqlite::Result<Result<(), NotRemoved>> {
    let StreamRemoval { tenant, stream, version, checksum, note } = removal;
    let number = names.tenant(transaction, tenant)?;
    let row = stream_row(transaction, number, *stream)?;
    let Some(row) = row.filter(|row| !row.standing.is_removed()) else {
        return Ok(Err(NotRemoved::Absent));
    };
    if row.version != *version {
        return Ok(Err(NotRemoved::Changed { expected: *version, actual: row.version }));
    }
    if row.checksum != *checksum {
        return Ok(Err(NotRemoved::Differs));
    }
    if row.standing == Standing::Active {
        return Ok(Err(NotRemoved::Active));
    }
    if holders.binary_search(&row.id).is_ok() {
        return Ok(Err(NotRemoved::HoldsClaim));
    }
    stand(transaction, (number, *stream), &row, Standing::Removed)?;
    write_note(transaction, names, (tenant, *stream), &row, note)?;
    Ok(Ok(()))
}

/// Changes how a stream stands.
pub(crate) fn stand(
    transaction: &Transaction<'_>,
    (tenant, stream): (i64, StreamId),
    row: &StreamRow,
    standing: Standing,
) -> rusqlite::Result<()> {
    let last = row.checksum.as_ref().map(|checksum| &checksum.as_bytes()[..]);
    let seal = seal::of_stream(tenant, &stream.to_string(), row.version, standing, last);
    transaction
        .prepare_cached("UPDATE streams SET active = ?2, seal = ?3 WHERE id = ?1")?
        .execute(params![row.id, standing as u8, seal])?;
    Ok(())
}

/// Writes a stream's note behind everything, in place of the one that it had.
fn write_note(
    transaction: &Transaction<'_>,
    names: &mut Names,
    (tenant, stream): (&TenantId, StreamId),
    row: &StreamRow,
    note: &NewEvent,
) -> rusqlite::Result<()> {
    // As of the last entry, and behind what was imported as of the note before it.
    let newest: Option<i64> = transaction
        .prepare_cached(
            "SELECT max(last.recorded_at, coalesce(note.recorded_at, last.recorded_at))
             FROM events AS last
             LEFT JOIN events AS note ON note.stream = last.stream AND note.version = 0
             WHERE last.position = (SELECT max(position) FROM events)",
        )?
        .query_row([], |row| row.get(0))
        .optional()?;
    let newest = newest.map(Timestamp::from_millis);
    let recorded_at = newest.map_or(note.recorded_at, |newest| newest.max(note.recorded_at));
    let note = NewEvent { recorded_at, ..note.clone() };
    let checksum = Chain::note(row.checksum, tenant, stream, &note);
    let event_type = names.event_type(transaction, &note.event_type)?;
    // Before anything is cleared: no position is given out twice.
    let position: i64 = transaction
        .prepare_cached("SELECT coalesce(max(position), 0) + 1 FROM events")?
        .query_row([], |row| row.get(0))?;
    transaction
        .prepare_cached("DELETE FROM events WHERE stream = ?1 AND version = 0")?
        .execute([row.id])?;
    let mut insert = transaction.prepare_cached(INSERT_EVENT)?;
    insert_event(&mut insert, (row.id, 0), event_type, &note, Some(checksum))?;
    let written = transaction.last_insert_rowid();
    if written < position {
        transaction
            .prepare_cached("UPDATE events SET position = ?2 WHERE position = ?1")?
            .execute([written, position])?;
    }
    Ok(())
}

/// Why an import is taken back.
pub(crate) enum Halt {
    Refused(ImportError),
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn damaged(detail: String) -> Halt {
    Halt::Refused(ImportError::Damaged { detail })
}

/// Writes a stream whole. After an error the transaction is to be taken back.
pub(crate) fn import(
    transaction: &Transaction<'_>,
    names: &mut Names,
    import: StreamImport,
) -> Result<(), Halt> {
    let StreamImport { tenant, stream, version, checksum, note, events } = import;
    let number = names.tenant(transaction, &tenant)?;
    let row = if let Some(row) = stream_row(transaction, number, stream)? {
        match look(transaction, &row, version, checksum) {
            Err(Halt::Refused(ImportError::Present)) => {
                let stored = |version| event_of(transaction, (&tenant, stream), row.id, version);
                return Err(Halt::Refused(there_already(events, stored)?));
            }
            looked => looked?,
        }
        StreamRow { version, checksum, standing: Standing::Settled, ..row }
    } else {
        let id = transaction
            .prepare_cached(
                "INSERT INTO streams (tenant, name, version, active) VALUES (?1, ?2, 0, 0)",
            )?
            .insert(params![number, stream.to_string()])?;
        StreamRow { id, version, checksum, standing: Standing::Settled }
    };
    let last = checksum.as_ref().map(|checksum| &checksum.as_bytes()[..]);
    transaction
        .prepare_cached("UPDATE streams SET version = ?2, checksum = ?3 WHERE id = ?1")?
        .execute(params![row.id, version, last])?;
    stand(transaction, (number, stream), &row, Standing::Settled)?;
    write_note(transaction, names, (&tenant, stream), &row, &note)?;
    // What was not swept yet.
    transaction
        .prepare_cached("DELETE FROM events WHERE stream = ?1 AND version > 0")?
        .execute([row.id])?;
    transaction.prepare_cached("DELETE FROM snapshots WHERE stream = ?1")?.execute([row.id])?;
    let mut insert = transaction.prepare_cached(INSERT_EVENT)?;
    let mut chain = Chain::default();
    for event in events {
        let event = event.map_err(damaged)?;
        let stored = StoredEvent {
            tenant: tenant.clone(),
            stream,
            version: chain.version() + 1,
            position: 0,
            checksum: event.checksum,
            event: event.event,
        };
        chain.check(&stored).map_err(|error| damaged(error.to_string()))?;
        let event_type = names.event_type(transaction, &stored.event.event_type)?;
        let place = (row.id, stored.version);
        insert_event(&mut insert, place, event_type, &stored.event, stored.checksum)?;
        if let Some(operation) = event.operation {
            refuse_taken(transaction, number, operation, row.id)?;
            write_operation(transaction, number, operation, row.id)?;
        }
    }
    if chain == Chain::after(version, checksum) { Ok(()) } else { Err(damaged(other_end(&chain))) }
}

/// Refuses an operation that another stream has: reports of it would not reach that one any more.
fn refuse_taken(
    transaction: &Transaction<'_>,
    tenant: i64,
    operation: OperationId,
    stream: i64,
) -> Result<(), Halt> {
    let holder: Option<StreamId> = transaction
        .prepare_cached(
            "SELECT streams.name FROM operations JOIN streams ON streams.id = operations.stream
             WHERE operations.tenant = ?1 AND operation = ?2 AND streams.id <> ?3 AND active < 2",
        )?
        .query_row(params![tenant, operation.as_uuid().as_bytes(), stream], |row| parsed(row, 0))
        .optional()?;
    holder.map_or(Ok(()), |holder| Err(damaged(taken(operation, holder))))
}

fn event_of(
    transaction: &Transaction<'_>,
    (tenant, stream): (&TenantId, StreamId),
    id: i64,
    version: u64,
) -> rusqlite::Result<Option<NewEvent>> {
    transaction
        .prepare_cached(
            "SELECT version, position, event_type, schema_version, recorded_at, correlation_id,
                    causation_id, data, checksum, event_types.name
             FROM events JOIN event_types ON event_types.id = event_type
             WHERE stream = ?1 AND version = ?2",
        )?
        .query_row(params![id, version], |row| {
            Ok(event_in(row, tenant.clone(), stream, row.get(9)?)?.event)
        })
        .optional()
}

/// Refuses an import of what is there, and of what differs from what is, or was, there.
fn look(
    transaction: &Transaction<'_>,
    row: &StreamRow,
    version: u64,
    checksum: Option<Checksum>,
) -> Result<(), Halt> {
    let is_removed = row.standing.is_removed();
    let there = if is_removed || row.version == version {
        Some((row.version, row.checksum))
    } else {
        transaction
            .prepare_cached("SELECT checksum FROM events WHERE stream = ?1 AND version = ?2")?
            .query_row(params![row.id, version], |row| checksum_in(row, 0))
            .optional()?
            .map(|checksum| (version, checksum))
    };
    match (there == Some((version, checksum)), is_removed) {
        (false, _) => Err(Halt::Refused(ImportError::Differs)),
        (true, false) => Err(Halt::Refused(ImportError::Present)),
        (true, true) => Ok(()),
    }
}
