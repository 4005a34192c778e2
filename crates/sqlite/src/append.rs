//! What one append does inside the writer's transaction: it checks everything before it changes
//! anything, so that one that conflicts fails alone, beside others of the same transaction.

use std::collections::BTreeMap;

use hedgerow_core::{StreamId, TenantId};
use hedgerow_engine::store::{Activity, AppendError, Claim, StateSnapshot, StreamAppend};
use rusqlite::{OptionalExtension, Transaction, params};

use crate::reader::parsed;

/// The numbers that stand for names in the file.
#[derive(Default)]
pub(crate) struct Names {
    tenants: BTreeMap<String, i64>,
    event_types: BTreeMap<String, i64>,
}

impl Names {
    fn tenant(&mut self, in_: &Transaction<'_>, name: &TenantId) -> rusqlite::Result<i64> {
        const FIND: &str = "SELECT id FROM tenants WHERE name = ?1";
        const MAKE: &str = "INSERT INTO tenants (name) VALUES (?1)";
        number(&mut self.tenants, in_, name.as_str(), FIND, MAKE)
    }

    fn event_type(&mut self, in_: &Transaction<'_>, name: &str) -> rusqlite::Result<i64> {
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
    stream: Option<i64>,
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
        let actual = row.map_or(0, |(_, version)| version);
        if actual != append.expected_version {
            let (stream, expected) = (append.stream, append.expected_version);
            return Ok(Err(AppendError::VersionConflict { stream, expected, actual }));
        }
        known.push(Known { append, tenant, stream: row.map(|(id, _)| id) });
    }
    if let Some(conflict) = claim_conflict(transaction, &known)? {
        return Ok(Err(conflict));
    }
    // All releases come before anything that is taken.
    for Known { append, tenant, stream } in &known {
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

/// A stream's row and version.
fn stream_row(
    transaction: &Transaction<'_>,
    tenant: i64,
    stream: StreamId,
) -> rusqlite::Result<Option<(i64, u64)>> {
    transaction
        .prepare_cached("SELECT id, version FROM streams WHERE tenant = ?1 AND name = ?2")?
        .query_row(params![tenant, stream.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn holder(
    transaction: &Transaction<'_>,
    tenant: i64,
    claim: &str,
) -> rusqlite::Result<Option<StreamId>> {
    transaction
        .prepare_cached(
            "SELECT streams.name FROM claims JOIN streams ON streams.id = claims.stream
             WHERE claims.tenant = ?1 AND key = ?2",
        )?
        .query_row(params![tenant, claim], |row| parsed(row, 0))
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
    let active = append.activity == Activity::Active;
    let version = append.expected_version.saturating_add(append.events.len() as u64);
    let stream = if let Some(stream) = *stream {
        transaction
            .prepare_cached("UPDATE streams SET version = ?2, active = ?3 WHERE id = ?1")?
            .execute(params![stream, version, active])?;
        stream
    } else {
        transaction
            .prepare_cached(
                "INSERT INTO streams (tenant, name, version, active) VALUES (?1, ?2, ?3, ?4)",
            )?
            .insert(params![tenant, append.stream.to_string(), version, active])?
    };
    write_events(transaction, names, stream, append)?;
    for claim in &append.claims_taken {
        transaction
            .prepare_cached(
                "INSERT INTO claims (tenant, key, stream) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![tenant, claim.key(), stream])?;
    }
    for operation in &append.operations {
        transaction
            .prepare_cached(
                "INSERT INTO operations (tenant, operation, stream) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET stream = excluded.stream",
            )?
            .execute(params![tenant, operation.as_uuid().as_bytes(), stream])?;
    }
    Ok(())
}

fn write_events(
    transaction: &Transaction<'_>,
    names: &mut Names,
    stream: i64,
    append: &StreamAppend,
) -> rusqlite::Result<()> {
    // Looked up once: an append can have thousands of events.
    let mut insert = transaction.prepare_cached(
        "INSERT INTO events (stream, version, event_type, schema_version, recorded_at,
                             correlation_id, causation_id, data)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (version, event) in (append.expected_version + 1..).zip(&append.events) {
        let event_type = names.event_type(transaction, &event.event_type)?;
        insert.execute(params![
            stream,
            version,
            event_type,
            event.schema_version,
            event.recorded_at.as_millis(),
            event.correlation_id.as_bytes(),
            event.causation_id.as_bytes(),
            event.data,
        ])?;
    }
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
    let Some((stream, _)) = stream_row(transaction, tenant, stream)? else { return Ok(()) };
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
