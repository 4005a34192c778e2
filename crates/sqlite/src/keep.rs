//! Streams that are removed, swept and imported, each inside the writer's transaction.
//!
//! A removed stream keeps its row, with another standing, and its note is the event of version 0. What
//! else it had is hidden from readers from that commit on, and cleared by [`sweep`] in small steps, as
//! another process may wait to append.

use hedgerow_core::{Checksum, NewEvent, StoredEvent, StreamId, TenantId, Timestamp};
use hedgerow_engine::store::checksum::Chain;
use hedgerow_engine::store::retention::{
    ImportError, NotRemoved, StreamImport, StreamRemoval, other_end,
};
use rusqlite::{Error, OptionalExtension, Transaction, params};

use crate::append::{INSERT_EVENT, Names, StreamRow, insert_event, stream_row, write_operation};
use crate::found::{checksum as checksum_in, parsed};
use crate::schema::Standing;
use crate::seal;

/// So many events are cleared in one transaction, and so many operations looked at: some ten
/// milliseconds' work.
const STEP: i64 = 5_000;

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
fn stand(
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

/// How far the index of operations was swept.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// The streams that are looked for, once their events are gone.
    streams: Vec<i64>,
    /// The operation that was looked at last.
    after: Option<(i64, Vec<u8>)>,
}

/// Clears some of what removed streams left behind. `false`: nothing is left.
pub(crate) fn sweep(transaction: &Transaction<'_>, sweep: &mut Sweep) -> rusqlite::Result<bool> {
    let left: Vec<i64> = transaction
        .prepare_cached("SELECT id FROM streams WHERE active = 2 ORDER BY id")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if left.is_empty() {
        *sweep = Sweep::default();
        return Ok(false);
    }
    let mut cleared = 0;
    for stream in &left {
        transaction.prepare_cached("DELETE FROM snapshots WHERE stream = ?1")?.execute([stream])?;
        let deleted = transaction
            .prepare_cached(
                "DELETE FROM events WHERE position IN (
                     SELECT position FROM events WHERE stream = ?1 AND version > 0
                     ORDER BY version LIMIT ?2)",
            )?
            .execute(params![stream, STEP - cleared])?;
        cleared += i64::try_from(deleted).unwrap_or(STEP);
        if cleared >= STEP {
            return Ok(true);
        }
    }
    if cleared > 0 {
        return Ok(true);
    }
    // Operations are not found by their streams: the index is looked through once, for all streams
    // that had no events any more when that began.
    if sweep.after.is_none() {
        sweep.streams = left;
    }
    sweep_operations(transaction, sweep)
}

fn sweep_operations(transaction: &Transaction<'_>, sweep: &mut Sweep) -> rusqlite::Result<bool> {
    let (tenant, operation) = sweep.after.take().unwrap_or((i64::MIN, Vec::new()));
    let page: Vec<(i64, Vec<u8>, i64)> = transaction
        .prepare_cached(
            "SELECT tenant, operation, stream FROM operations
             WHERE (tenant, operation) > (?1, ?2) ORDER BY tenant, operation LIMIT ?3",
        )?
        .query_map(params![tenant, operation, STEP], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (tenant, operation, stream) in &page {
        if sweep.streams.binary_search(stream).is_ok() && is_left(transaction, *stream)? {
            transaction
                .prepare_cached("DELETE FROM operations WHERE tenant = ?1 AND operation = ?2")?
                .execute(params![tenant, operation])?;
        }
    }
    if let Some((tenant, operation, _)) = page.into_iter().next_back() {
        sweep.after = Some((tenant, operation));
        return Ok(true);
    }
    for stream in std::mem::take(&mut sweep.streams) {
        if is_left(transaction, stream)? {
            swept(transaction, stream)?;
        }
    }
    Ok(true)
}

/// Whether a stream was removed, and not imported since.
fn is_left(transaction: &Transaction<'_>, stream: i64) -> rusqlite::Result<bool> {
    let standing = transaction
        .prepare_cached("SELECT active FROM streams WHERE id = ?1")?
        .query_row([stream], |row| Standing::read(row, 0))
        .optional()?;
    Ok(standing == Some(Standing::Removed))
}

/// Notes that nothing is left of a stream.
fn swept(transaction: &Transaction<'_>, stream: i64) -> rusqlite::Result<()> {
    let (tenant, stream): (i64, StreamId) = transaction
        .prepare_cached("SELECT tenant, name FROM streams WHERE id = ?1")?
        .query_row([stream], |row| Ok((row.get(0)?, parsed(row, 1)?)))?;
    match stream_row(transaction, tenant, stream)? {
        Some(row) => stand(transaction, (tenant, stream), &row, Standing::Swept),
        None => Ok(()),
    }
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
        look(transaction, &row, version, checksum)?;
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
            write_operation(transaction, number, operation, row.id)?;
        }
    }
    if chain == Chain::after(version, checksum) { Ok(()) } else { Err(damaged(other_end(&chain))) }
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
