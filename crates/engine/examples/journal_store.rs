//! A store that keeps every append as one line of JSON in a file. It shows what a store has to do;
//! everything is in memory too, so it is for thousands of events, not for millions.
//!
//! Run it: `cargo run -p hedgerow-engine --example journal_store -- campaigns.jsonl`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use futures::future::{BoxFuture, FutureExt};
use futures::lock::{Mutex, MutexGuard};
use hedgerow_core::{DeviceId, NewEvent, OperationId, StoredEvent, StreamId, TenantId, Timestamp};
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::store::{
    Activity, AppendError, Claim, EventStore, HeldClaim, StateSnapshot, StoreError, StreamAppend,
    StreamSummary,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

// ANCHOR: store
/// The store: a file, and beside it all that is in the file, in memory.
pub(crate) struct JournalStore {
    /// `None` after a failed write: nobody knows how much of it is in the file.
    file: Mutex<Option<File>>,
    index: MemoryStore,
}

impl JournalStore {
    /// Opens the store in a file, which is created if there is none.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(|error| unavailable(&error))?;
        // Two processes that append to one file would not see each other's claims.
        file.try_lock().map_err(|error| unavailable(&error.into()))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|error| unavailable(&error))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        // What stands behind the last line break was never acknowledged: a crash cut it off.
        file.set_len(whole as u64).map_err(|error| unavailable(&error))?;
        let index = MemoryStore::new();
        for (number, line) in text[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
            let damaged = |what: String| StoreError::Corrupt {
                detail: format!("line {}: {what}; restore the file from a backup", number + 1),
            };
            let lines: Vec<Append> =
                serde_json::from_slice(line).map_err(|error| damaged(error.to_string()))?;
            let kept: Vec<_> = lines.iter().map(|append| append.checksums.clone()).collect();
            let batch: Vec<_> = lines.into_iter().map(StreamAppend::from).collect();
            index.append(batch.clone()).await.map_err(|error| damaged(error.to_string()))?;
            // The index computes every checksum again. If one differs, something was changed.
            if checksums(&index, &batch).await? != kept {
                return Err(damaged("its events do not fit their checksums".to_owned()));
            }
        }
        Ok(Self { file: Mutex::new(Some(file)), index })
    }

    /// Waits for an append that is under way: what is not durable yet must not be seen.
    async fn open_file(&self) -> Result<MutexGuard<'_, Option<File>>, StoreError> {
        let file = self.file.lock().await;
        if file.is_some() { Ok(file) } else { Err(StoreError::Closed) }
    }
}

/// The checksums of the events of a batch, which the index computed when it took them.
async fn checksums(
    index: &MemoryStore,
    batch: &[StreamAppend],
) -> Result<Vec<Vec<String>>, StoreError> {
    let mut checksums = Vec::new();
    for append in batch {
        let (after, events) = (append.expected_version, append.events.len());
        let stored = index.read_stream(&append.tenant, append.stream, after, events).await?;
        let texts = stored.iter().filter_map(|stored| stored.checksum).map(|sum| sum.to_string());
        checksums.push(texts.collect());
    }
    Ok(checksums)
}

fn unavailable(error: &io::Error) -> StoreError {
    StoreError::Unavailable { detail: format!("the journal: {error}") }
}
// ANCHOR_END: store

// ANCHOR: append
impl EventStore for JournalStore {
    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        async move {
            let mut file = self.open_file().await?;
            // The index knows every version and claim, so it is what refuses.
            self.index.append(batch.clone()).await?;
            // Taken out, and put back only if all went well: whoever drops this future, or gets an
            // error, has to open the file again to see what became of the append.
            let mut writable = file.take().ok_or(StoreError::Closed)?;
            let checksums = checksums(&self.index, &batch).await?;
            let appends: Vec<Append> = batch.into_iter().zip(checksums).map(Append::from).collect();
            let mut line =
                serde_json::to_vec(&appends).map_err(|error| unavailable(&error.into()))?;
            line.push(b'\n');
            writable
                .write_all(&line)
                .and_then(|()| writable.sync_data())
                .map_err(|error| unavailable(&error))?;
            *file = Some(writable);
            Ok(())
        }
        .boxed()
    }
    // ANCHOR_END: append

    // ANCHOR: reads
    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let tenant = tenant.clone();
        async move {
            let _durable = self.open_file().await?;
            self.index.read_stream(&tenant, stream, after, limit).await
        }
        .boxed()
    }
    // ANCHOR_END: reads

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        async move {
            let _durable = self.open_file().await?;
            self.index.read_all(after, limit).await
        }
        .boxed()
    }

    fn last_recorded_at(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        async move {
            let _durable = self.open_file().await?;
            self.index.last_recorded_at().await
        }
        .boxed()
    }

    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        async move {
            let _durable = self.open_file().await?;
            self.index.streams().await
        }
        .boxed()
    }

    fn claims(&self) -> BoxFuture<'_, Result<Vec<HeldClaim>, StoreError>> {
        async move {
            let _durable = self.open_file().await?;
            self.index.claims().await
        }
        .boxed()
    }

    fn stream_of_operation(
        &self,
        tenant: &TenantId,
        operation: OperationId,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        let tenant = tenant.clone();
        async move {
            let _durable = self.open_file().await?;
            self.index.stream_of_operation(&tenant, operation).await
        }
        .boxed()
    }

    // ANCHOR: snapshots
    /// State snapshots can be made again from the events at any time: these live in memory only.
    fn load_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StateSnapshot>, StoreError>> {
        self.index.load_snapshot(tenant, stream)
    }

    fn save_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        snapshot: StateSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.index.save_snapshot(tenant, stream, snapshot)
    }
    // ANCHOR_END: snapshots
}

// ANCHOR: line
/// An append to one stream, as a line has it. A line is a list of these: a batch is written as a
/// whole or not at all.
#[derive(Serialize, Deserialize)]
struct Append {
    tenant: TenantId,
    stream: StreamId,
    expected_version: u64,
    events: Vec<KeptEvent>,
    /// Those of the events, in hexadecimal.
    checksums: Vec<String>,
    claims_taken: Vec<KeptClaim>,
    claims_released: Vec<KeptClaim>,
    operations: Vec<OperationId>,
    settled: bool,
}

#[derive(Serialize, Deserialize)]
struct KeptEvent {
    event_type: String,
    schema_version: u16,
    recorded_at: Timestamp,
    correlation_id: Uuid,
    causation_id: Uuid,
    data: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
enum KeptClaim {
    Device(DeviceId),
    Rollout { system_model: String, channel: String },
}
// ANCHOR_END: line

impl From<(StreamAppend, Vec<String>)> for Append {
    fn from((append, checksums): (StreamAppend, Vec<String>)) -> Self {
        let event = |event: NewEvent| KeptEvent {
            event_type: event.event_type,
            schema_version: event.schema_version,
            recorded_at: event.recorded_at,
            correlation_id: event.correlation_id,
            causation_id: event.causation_id,
            data: event.data,
        };
        let claim = |claim| match claim {
            Claim::Device(device) => KeptClaim::Device(device),
            Claim::Rollout { system_model, channel } => {
                KeptClaim::Rollout { system_model, channel }
            }
        };
        Self {
            tenant: append.tenant,
            stream: append.stream,
            expected_version: append.expected_version,
            events: append.events.into_iter().map(event).collect(),
            checksums,
            claims_taken: append.claims_taken.into_iter().map(claim).collect(),
            claims_released: append.claims_released.into_iter().map(claim).collect(),
            operations: append.operations,
            settled: append.activity == Activity::Settled,
        }
    }
}

impl From<Append> for StreamAppend {
    fn from(append: Append) -> Self {
        let event = |event: KeptEvent| NewEvent {
            event_type: event.event_type,
            schema_version: event.schema_version,
            recorded_at: event.recorded_at,
            correlation_id: event.correlation_id,
            causation_id: event.causation_id,
            data: event.data,
        };
        let claim = |claim| match claim {
            KeptClaim::Device(device) => Claim::Device(device),
            KeptClaim::Rollout { system_model, channel } => {
                Claim::Rollout { system_model, channel }
            }
        };
        Self {
            tenant: append.tenant,
            stream: append.stream,
            expected_version: append.expected_version,
            events: append.events.into_iter().map(event).collect(),
            claims_taken: append.claims_taken.into_iter().map(claim).collect(),
            claims_released: append.claims_released.into_iter().map(claim).collect(),
            operations: append.operations,
            activity: if append.settled { Activity::Settled } else { Activity::Active },
        }
    }
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which file is the store in?")?;
    let store = futures::executor::block_on(JournalStore::open(Path::new(&path)))?;
    for summary in futures::executor::block_on(store.streams())? {
        println!("{} of {}: {} events", summary.stream, summary.tenant, summary.version);
    }
    Ok(())
}
