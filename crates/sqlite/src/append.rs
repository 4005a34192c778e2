//! What one append does inside the writer's transaction: it checks everything before it changes
//! anything, so that one that conflicts fails alone, beside others of the same transaction.

use std::collections::BTreeMap;

use hedgerow_core::{Checksum, NewEvent, OperationId, StreamId, TenantId};
use hedgerow_engine::store::checksum::Chain;
use hedgerow_engine::store::{Activity, AppendError, Claim, StateSnapshot, StreamAppend};
use rusqlite::{OptionalExtension, Statement, Transaction, params};

use crate::found::{checksum, parsed};
use crate::schema::Standing;
use crate::seal;

/// The numbers that stand for names in the file.
#[derive(Default)]
pub(crate) struct Names {
    tenants: BTreeMap<String, i64>,
    event_types: BTreeMap<String, i64>,
}

impl Names {
    pub(crate) fn tenant(
        &mut self,
        in_: &Transaction<'_>,
        name: &TenantId,
    ) -> rusqlite::Result<i64> {
        const FIND: &str = "SELECT id FROM tenants WHERE name = ?1";
        const MAKE: &str = "INSERT INTO tenants (name) VALUES (?1)";
        number(&mut self.tenants, in_, name.as_str(), FIND, MAKE)
    }

    pub(crate) fn event_type(
        &mut self,
        in_: &Transaction<'_>,
        name: &str,
    ) -> rusqlite::Result<i64> {
        const FIND: &str = "SELECT id FROM event_types WHERE name = ?1";
        const MAKE: &str = "INSERT INTO event_types (name) VALUES (?1)";
        number(&mut self.event_types, in_, name, FIND, MAKE)
    }
}

fn number(
    known: &mut BTreeMap<String, i64>,
    transaction: &Transaction<'_>,
    name: &str,
    find: &str,
    make: &str,
) -> rusqlite::Result<i64> {
    if let Some(number) = known.get(name) {
        return Ok(*number);
    }
    let found = transaction.prepare_cached(find)?.query_row([name], |row| row.get(0)).optional()?;
    let number = match found {
        Some(number) => number,
        None => transaction.prepare_cached(make)?.insert([name])?,
    };
    known.insert(name.to_owned(), number);
    Ok(number)
}

/// An append with what the file knows about its tenant and its stream.
struct Known<'a> {
    append: &'a StreamAppend,
    tenant: i64,
    stream: Option<StreamRow>,
}

/// A stream as its row has it.
pub(crate) struct StreamRow {
    pub(crate) id: i64,
    pub(crate) version: u64,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) standing: Standing,
}

/// Writes a batch as a whole, or nothing of it.
pub(crate) fn append(
    transaction: &Transaction<'_>,
    names: &mut Names,
    batch: &[StreamAppend],
) -> rusqlite::Result<Result<(), AppendError>> {
    let mut known = Vec::with_capacity(batch.len());
    for append in batch {
        let tenant = names.tenant(transaction, &append.tenant)?;
        let row = stream_row(transaction, tenant, append.stream)?;
        if row.as_ref().is_some_and(|row| row.standing.is_removed()) {
            return Ok(Err(AppendError::Removed { stream: append.stream }));
        }
        let actual = row.as_ref().map_or(0, |row| row.version);
        if actual != append.expected_version {
            let (stream, expected) = (append.stream, append.expected_version);
            return Ok(Err(AppendError::VersionConflict { stream, expected, actual }));
        }
        known.push(Known { append, tenant, stream: row });
    }
    if let Some(conflict) = claim_conflict(transaction, &known)? {
        return Ok(Err(conflict));
    }
    // All releases come before anything that is taken.
    for Known { append, tenant, stream } in &known {
        let stream = stream.as_ref().map(|row| row.id);
        for claim in &append.claims_released {
            transaction
                .prepare_cached(
                    "DELETE FROM claims WHERE tenant = ?1 AND key = ?2 AND stream = ?3",
                )?
                .execute(params![tenant, claim.key(), stream])?;
        }
    }
    for one in &known {
        write(transaction, names, one)?;
    }
    Ok(Ok(()))
}

pub(crate) fn stream_row(
    transaction: &Transaction<'_>,
    tenant: i64,
    stream: StreamId,
) -> rusqlite::Result<Option<StreamRow>> {
    let name = stream.to_string();
    transaction
        .prepare_cached(
            "SELECT id, version, checksum, active, seal FROM streams
             WHERE tenant = ?1 AND name = ?2",
        )?
        .query_row(params![tenant, name], |row| {
            let (id, version, checksum) = (row.get(0)?, row.get(1)?, checksum(row, 2)?);
            let known = checksum.as_ref().map(|checksum| &checksum.as_bytes()[..]);
            let standing = Standing::read(row, 3)?;
            seal::check(row, 4, seal::of_stream(tenant, &name, version, standing, known))?;
            Ok(StreamRow { id, version, checksum, standing })
        })
        .optional()
}

fn holder(
    transaction: &Transaction<'_>,
    tenant: i64,
    claim: &str,
) -> rusqlite::Result<Option<StreamId>> {
    transaction
        .prepare_cached(
            "SELECT streams.name, claims.stream, claims.seal
             FROM claims LEFT JOIN streams ON streams.id = claims.stream
             WHERE claims.tenant = ?1 AND key = ?2",
        )?
        .query_row(params![tenant, claim], |row| {
            seal::check(row, 2, seal::of_claim(tenant, claim, row.get(1)?))?;
            parsed(row, 0)
        })
        .optional()
}

fn claim_conflict(
    transaction: &Transaction<'_>,
    batch: &[Known<'_>],
) -> rusqlite::Result<Option<AppendError>> {
    // What this batch itself releases and takes.
    let mut changed: BTreeMap<(i64, String), Option<StreamId>> = BTreeMap::new();
    for Known { append, tenant, .. } in batch {
        for claim in &append.claims_released {
            let key = claim.key();
            if holder(transaction, *tenant, &key)? == Some(append.stream) {
                changed.insert((*tenant, key), None);
            }
        }
    }
    for Known { append, tenant, .. } in batch {
        for claim in &append.claims_taken {
            let key = (*tenant, claim.key());
            let held = match changed.get(&key) {
                Some(held) => *held,
                None => holder(transaction, *tenant, &key.1)?,
            };
            if let Some(holder) = held.filter(|held| *held != append.stream) {
                return Ok(Some(conflict(claim, holder)));
            }
            changed.insert(key, Some(append.stream));
        }
    }
    Ok(None)
}

fn conflict(claim: &Claim, holder: StreamId) -> AppendError {
    AppendError::ClaimConflict { claim: claim.clone(), holder }
}

fn write(
    transaction: &Transaction<'_>,
    names: &mut Names,
    known: &Known<'_>,
) -> rusqlite::Result<()> {
    let Known { append, tenant, stream } = known;
    let standing = match append.activity {
        Activity::Active => Standing::Active,
        Activity::Settled => Standing::Settled,
    };
    let name = append.stream.to_string();
    let last = stream.as_ref().and_then(|row| row.checksum);
    let mut chain = Chain::after(append.expected_version, last);
    let checksums: Vec<Checksum> = append
        .events
        .iter()
        .map(|event| chain.extend(&append.tenant, append.stream, event))
        .collect();
    let (version, last) = (chain.version(), chain.last());
    let last = last.as_ref().map(|checksum| &checksum.as_bytes()[..]);
    let seal = seal::of_stream(*tenant, &name, version, standing, last);
    let active = standing as u8;
    let stream = if let Some(StreamRow { id, .. }) = stream {
        transaction
            .prepare_cached(
                "UPDATE streams SET version = ?2, active = ?3, checksum = ?4, seal = ?5
                 WHERE id = ?1",
            )?
            .execute(params![id, version, active, last, seal])?;
        *id
    } else {
        transaction
            .prepare_cached(
                "INSERT INTO streams (tenant, name, version, active, checksum, seal)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .insert(params![tenant, name, version, active, last, seal])?
    };
    write_events(transaction, names, stream, append, &checksums)?;
    for claim in &append.claims_taken {
        let key = claim.key();
        transaction
            .prepare_cached(
                "INSERT INTO claims (tenant, key, stream, seal) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![tenant, key, stream, seal::of_claim(*tenant, &key, stream)])?;
    }
    for operation in &append.operations {
        write_operation(transaction, *tenant, *operation, stream)?;
    }
    Ok(())
}

/// Puts an operation into the index.
pub(crate) fn write_operation(
    transaction: &Transaction<'_>,
    tenant: i64,
    operation: OperationId,
    stream: i64,
) -> rusqlite::Result<()> {
    let operation = operation.as_uuid();
    let operation = operation.as_bytes();
    transaction
        .prepare_cached(
            "INSERT INTO operations (tenant, operation, stream, seal)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET stream = excluded.stream, seal = excluded.seal",
        )?
        .execute(params![
            tenant,
            operation,
            stream,
            seal::of_operation(tenant, operation, stream)
        ])?;
    Ok(())
}

fn write_events(
    transaction: &Transaction<'_>,
    names: &mut Names,
    stream: i64,
    append: &StreamAppend,
    checksums: &[Checksum],
) -> rusqlite::Result<()> {
    // Looked up once: an append can have thousands of events.
    let mut insert = transaction.prepare_cached(INSERT_EVENT)?;
    let events = append.events.iter().zip(checksums);
    for (version, (event, checksum)) in (append.expected_version + 1..).zip(events) {
        let event_type = names.event_type(transaction, &event.event_type)?;
        insert_event(&mut insert, (stream, version), event_type, event, Some(*checksum))?;
    }
    Ok(())
}

pub(crate) const INSERT_EVENT: &str = "
    INSERT INTO events (stream, version, event_type, schema_version, recorded_at,
                        correlation_id, causation_id, data, checksum)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// Writes an event with [`INSERT_EVENT`].
pub(crate) fn insert_event(
    insert: &mut Statement<'_>,
    (stream, version): (i64, u64),
    event_type: i64,
    event: &NewEvent,
    checksum: Option<Checksum>,
) -> rusqlite::Result<()> {
    insert.execute(params![
        stream,
        version,
        event_type,
        event.schema_version,
        event.recorded_at.as_millis(),
        event.correlation_id.as_bytes(),
        event.causation_id.as_bytes(),
        event.data,
        checksum.as_ref().map(|checksum| &checksum.as_bytes()[..]),
    ])?;
    Ok(())
}

/// Keeps a snapshot unless there is a newer one.
pub(crate) fn save_snapshot(
    transaction: &Transaction<'_>,
    names: &mut Names,
    tenant: &TenantId,
    stream: StreamId,
    snapshot: &StateSnapshot,
) -> rusqlite::Result<()> {
    let tenant = names.tenant(transaction, tenant)?;
    let row = stream_row(transaction, tenant, stream)?;
    let Some(StreamRow { id: stream, .. }) = row.filter(|row| !row.standing.is_removed()) else {
        return Ok(());
    };
    transaction
        .prepare_cached(
            "INSERT INTO snapshots (stream, version, format, data) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (stream) DO UPDATE
             SET version = excluded.version, format = excluded.format, data = excluded.data
             WHERE excluded.version >= snapshots.version",
        )?
        .execute(params![stream, snapshot.version, snapshot.format, snapshot.data])?;
    Ok(())
}
