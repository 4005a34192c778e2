//! The writer thread: everything that waits is committed in one transaction, so that the number
//! of commits stays flat while the load grows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use futures::channel::oneshot;
use hedgerow_core::{NewEvent, StreamId, TenantId};
use hedgerow_engine::store::{
    Activity, AppendError, Claim, StateSnapshot, StoreError, StreamAppend,
};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::OpenError;
use crate::error::store_error;

/// The most requests of one transaction.
const GROUP: usize = 1_024;

/// What the writer can be asked.
pub(crate) enum Write {
    Append {
        batch: Vec<StreamAppend>,
        answer: oneshot::Sender<Result<(), AppendError>>,
    },
    Snapshot {
        tenant: TenantId,
        stream: StreamId,
        snapshot: StateSnapshot,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
}

/// Starts the thread. It ends when every sender is gone and everything was done.
pub(crate) fn spawn(
    connection: Connection,
    path: &Path,
) -> Result<(Sender<Write>, JoinHandle<()>), OpenError> {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new()
        .name("hedgerow-sqlite-writer".to_owned())
        .spawn(move || Writer { connection, event_types: BTreeMap::new() }.run(&receiver))
        .map_err(|error| OpenError::system(path, &error))?;
    Ok((sender, thread))
}

struct Writer {
    connection: Connection,
    event_types: BTreeMap<String, i64>,
}

impl Writer {
    fn run(mut self, requests: &Receiver<Write>) {
        while let Ok(first) = requests.recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(next) = requests.try_recv()
            {
                group.push(next);
            }
            self.commit(group);
        }
        // So that the file stands alone when nobody uses it; if it fails, the log beside it has all.
        let _ = self.connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);");
    }

    /// Does a group in one transaction. One that conflicts changes nothing and fails alone.
    fn commit(&mut self, group: Vec<Write>) {
        let mut results = Vec::with_capacity(group.len());
        let written =
            write_group(&mut self.connection, &mut self.event_types, &group, &mut results);
        if let Err(error) = &written {
            // Types that were new in this transaction have gone with it.
            self.event_types.clear();
            tracing::error!(%error, "a commit failed");
        }
        let failure = written.as_ref().err().map(store_error);
        let mut results = results.into_iter();
        for request in group {
            let result = results.next().unwrap_or(Ok(()));
            let result = match &failure {
                Some(failure) => Err(AppendError::Store(failure.clone())),
                None => result,
            };
            // Whoever asked may be gone.
            match request {
                Write::Append { answer, .. } => drop(answer.send(result)),
                Write::Snapshot { answer, .. } => {
                    drop(answer.send(failure.clone().map_or(Ok(()), Err)));
                }
            }
        }
    }
}

fn write_group(
    connection: &mut Connection,
    event_types: &mut BTreeMap<String, i64>,
    group: &[Write],
    results: &mut Vec<Result<(), AppendError>>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for request in group {
        let result = match request {
            Write::Append { batch, .. } => append(&transaction, event_types, batch)?,
            Write::Snapshot { tenant, stream, snapshot, .. } => {
                save_snapshot(&transaction, tenant, *stream, snapshot)?;
                Ok(())
            }
        };
        results.push(result);
    }
    transaction.commit()
}

/// A stream's row.
struct Row {
    id: i64,
    version: u64,
}

fn row(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    stream: StreamId,
) -> rusqlite::Result<Option<Row>> {
    transaction
        .prepare_cached("SELECT id, version FROM streams WHERE tenant = ?1 AND stream = ?2")?
        .query_row(params![tenant.as_str(), stream.to_string()], |row| {
            Ok(Row { id: row.get(0)?, version: row.get(1)? })
        })
        .optional()
}

/// Who holds a claim: the row's id and its name.
fn holder(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    claim: &Claim,
) -> rusqlite::Result<Option<(i64, StreamId)>> {
    transaction
        .prepare_cached(
            "SELECT streams.id, streams.stream FROM claims
             JOIN streams ON streams.id = claims.stream
             WHERE claims.tenant = ?1 AND claims.key = ?2",
        )?
        .query_row(params![tenant.as_str(), claim.key()], |row| {
            Ok((row.get(0)?, crate::reader::parsed(row, 1)?))
        })
        .optional()
}

/// Checks everything before it writes anything.
fn append(
    transaction: &Transaction<'_>,
    event_types: &mut BTreeMap<String, i64>,
    batch: &[StreamAppend],
) -> rusqlite::Result<Result<(), AppendError>> {
    let mut rows = Vec::with_capacity(batch.len());
    for append in batch {
        let row = row(transaction, &append.tenant, append.stream)?;
        let actual = row.as_ref().map_or(0, |row| row.version);
        if actual != append.expected_version {
            let (stream, expected) = (append.stream, append.expected_version);
            return Ok(Err(AppendError::VersionConflict { stream, expected, actual }));
        }
        rows.push(row);
    }
    if let Some(conflict) = claim_conflict(transaction, batch)? {
        return Ok(Err(conflict));
    }
    let mut ids = Vec::with_capacity(batch.len());
    for (append, row) in batch.iter().zip(rows) {
        let id = match row {
            Some(row) => row.id,
            None => create(transaction, append)?,
        };
        for claim in &append.claims_released {
            transaction
                .prepare_cached(
                    "DELETE FROM claims WHERE tenant = ?1 AND key = ?2 AND stream = ?3",
                )?
                .execute(params![append.tenant.as_str(), claim.key(), id])?;
        }
        ids.push(id);
    }
    for (append, id) in batch.iter().zip(ids) {
        write(transaction, event_types, append, id)?;
    }
    Ok(Ok(()))
}

fn claim_conflict(
    transaction: &Transaction<'_>,
    batch: &[StreamAppend],
) -> rusqlite::Result<Option<AppendError>> {
    // What this batch itself takes or releases; releases of the whole batch come first.
    let mut changed: BTreeMap<(&TenantId, String), Option<StreamId>> = BTreeMap::new();
    for append in batch {
        for claim in &append.claims_released {
            let held = holder(transaction, &append.tenant, claim)?;
            if held.is_some_and(|(_, stream)| stream == append.stream) {
                changed.insert((&append.tenant, claim.key()), None);
            }
        }
    }
    for append in batch {
        for claim in &append.claims_taken {
            let key = (&append.tenant, claim.key());
            let held = match changed.get(&key) {
                Some(held) => *held,
                None => holder(transaction, &append.tenant, claim)?.map(|(_, stream)| stream),
            };
            if let Some(holder) = held.filter(|held| *held != append.stream) {
                return Ok(Some(AppendError::ClaimConflict { claim: claim.clone(), holder }));
            }
            changed.insert(key, Some(append.stream));
        }
    }
    Ok(None)
}

fn create(transaction: &Transaction<'_>, append: &StreamAppend) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "INSERT INTO streams (tenant, stream, version, active) VALUES (?1, ?2, 0, 1)",
        )?
        .insert(params![append.tenant.as_str(), append.stream.to_string()])
}

fn write(
    transaction: &Transaction<'_>,
    event_types: &mut BTreeMap<String, i64>,
    append: &StreamAppend,
    id: i64,
) -> rusqlite::Result<()> {
    let mut version = append.expected_version;
    for event in &append.events {
        version += 1;
        write_event(transaction, event_types, id, version, event)?;
    }
    transaction
        .prepare_cached("UPDATE streams SET version = ?2, active = ?3 WHERE id = ?1")?
        .execute(params![id, version, append.activity == Activity::Active])?;
    for claim in &append.claims_taken {
        transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO claims (tenant, key, stream) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![append.tenant.as_str(), claim.key(), id])?;
    }
    for operation in &append.operations {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO operations (operation, stream) VALUES (?1, ?2)")?
            .execute(params![operation.as_uuid().as_bytes(), id])?;
    }
    Ok(())
}

fn write_event(
    transaction: &Transaction<'_>,
    event_types: &mut BTreeMap<String, i64>,
    stream: i64,
    version: u64,
    event: &NewEvent,
) -> rusqlite::Result<()> {
    let event_type = match event_types.get(&event.event_type) {
        Some(id) => *id,
        None => {
            transaction
                .prepare_cached("INSERT OR IGNORE INTO event_types (name) VALUES (?1)")?
                .execute([&event.event_type])?;
            let id = transaction
                .prepare_cached("SELECT id FROM event_types WHERE name = ?1")?
                .query_row([&event.event_type], |row| row.get(0))?;
            event_types.insert(event.event_type.clone(), id);
            id
        }
    };
    transaction
        .prepare_cached(
            "INSERT INTO events (stream, version, event_type, schema_version, recorded_at,
                                 correlation_id, causation_id, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            stream,
            version,
            event_type,
            event.schema_version,
            event.recorded_at.as_millis(),
            event.correlation_id.as_bytes(),
            event.causation_id.as_bytes(),
            event.data,
        ])?;
    Ok(())
}

fn save_snapshot(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    stream: StreamId,
    snapshot: &StateSnapshot,
) -> rusqlite::Result<()> {
    let Some(row) = row(transaction, tenant, stream)? else { return Ok(()) };
    transaction
        .prepare_cached(
            "INSERT INTO snapshots (stream, version, format, data) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (stream) DO UPDATE
             SET version = excluded.version, format = excluded.format, data = excluded.data
             WHERE excluded.version >= snapshots.version",
        )?
        .execute(params![row.id, snapshot.version, snapshot.format, snapshot.data])?;
    Ok(())
}
