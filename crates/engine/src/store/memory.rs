//! A store in memory: for tests, simulations, and models of what a store must do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::ready;
use hedgerow_core::{OperationId, StoredEvent, StreamId, TenantId, Timestamp};

use super::checksum::Chain;
use super::{
    Activity, AppendError, EventStore, HeldClaim, StateSnapshot, StoreError, StreamAppend,
    StreamSummary,
};
use crate::ports::BoxFuture;

type Key = (TenantId, StreamId);

struct Stream {
    /// Where its events stand among all events.
    positions: Vec<usize>,
    activity: Activity,
    snapshot: Option<StateSnapshot>,
    chain: Chain,
}

#[derive(Default)]
struct Inner {
    events: Vec<StoredEvent>,
    streams: BTreeMap<Key, Stream>,
    created: Vec<Key>,
    claims: BTreeMap<(TenantId, String), StreamId>,
    operations: BTreeMap<(TenantId, OperationId), StreamId>,
}

/// A store in memory. Clones are handles to the same one, so that an engine can be dropped and
/// another started on what it left.
#[derive(Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Appends check everything before they change anything.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    ready(value).boxed()
}

/// At most `limit` of what comes after the first `after`.
fn page<T>(all: &[T], after: u64, limit: usize) -> &[T] {
    let from = usize::try_from(after).map_or(all.len(), |after| after.min(all.len()));
    let rest = &all[from..];
    &rest[..limit.min(rest.len())]
}

impl Inner {
    fn version(&self, key: &Key) -> u64 {
        self.streams.get(key).map_or(0, |stream| stream.positions.len() as u64)
    }

    fn check(&self, batch: &[StreamAppend]) -> Result<(), AppendError> {
        for append in batch {
            let actual = self.version(&(append.tenant.clone(), append.stream));
            if actual != append.expected_version {
                let (stream, expected) = (append.stream, append.expected_version);
                return Err(AppendError::VersionConflict { stream, expected, actual });
            }
        }
        // Releases of the whole batch come first, so that a claim can pass from one to another.
        let mut claims = BTreeMap::new();
        for append in batch {
            for claim in &append.claims_released {
                let key = (append.tenant.clone(), claim.key());
                if self.claims.get(&key) == Some(&append.stream) {
                    claims.insert(key, None);
                }
            }
        }
        for append in batch {
            for claim in &append.claims_taken {
                let key = (append.tenant.clone(), claim.key());
                let holder = match claims.get(&key) {
                    Some(holder) => *holder,
                    None => self.claims.get(&key).copied(),
                };
                if let Some(holder) = holder.filter(|holder| *holder != append.stream) {
                    return Err(AppendError::ClaimConflict { claim: claim.clone(), holder });
                }
                claims.insert(key, Some(append.stream));
            }
        }
        Ok(())
    }

    fn append(&mut self, batch: Vec<StreamAppend>) -> Result<(), AppendError> {
        self.check(&batch)?;
        for append in &batch {
            for claim in &append.claims_released {
                let key = (append.tenant.clone(), claim.key());
                if self.claims.get(&key) == Some(&append.stream) {
                    self.claims.remove(&key);
                }
            }
        }
        for append in batch {
            let key = (append.tenant.clone(), append.stream);
            for claim in append.claims_taken {
                self.claims.insert((append.tenant.clone(), claim.key()), append.stream);
            }
            for operation in append.operations {
                self.operations.insert((append.tenant.clone(), operation), append.stream);
            }
            if !self.streams.contains_key(&key) {
                self.created.push(key.clone());
            }
            let stream = self.streams.entry(key).or_insert_with(|| Stream {
                positions: Vec::new(),
                activity: append.activity,
                snapshot: None,
                chain: Chain::default(),
            });
            stream.activity = append.activity;
            for event in append.events {
                stream.positions.push(self.events.len());
                let checksum = stream.chain.extend(&append.tenant, append.stream, &event);
                self.events.push(StoredEvent {
                    tenant: append.tenant.clone(),
                    stream: append.stream,
                    version: stream.positions.len() as u64,
                    position: self.events.len() as u64 + 1,
                    checksum: Some(checksum),
                    event,
                });
            }
        }
        Ok(())
    }
}

impl EventStore for MemoryStore {
    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        answer(self.inner().append(batch))
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let inner = self.inner();
        let positions = inner.streams.get(&(tenant.clone(), stream)).map(|s| &*s.positions);
        let events = page(positions.unwrap_or_default(), after, limit)
            .iter()
            .map(|position| inner.events[*position].clone())
            .collect();
        answer(Ok(events))
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        answer(Ok(page(&self.inner().events, after, limit).to_vec()))
    }

    fn last_recorded_at(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        answer(Ok(self.inner().events.last().map(|stored| stored.event.recorded_at)))
    }

    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        let inner = self.inner();
        let summary = |key: &Key| {
            inner.streams.get(key).map(|stream| StreamSummary {
                tenant: key.0.clone(),
                stream: key.1,
                version: stream.positions.len() as u64,
                activity: stream.activity,
            })
        };
        answer(Ok(inner.created.iter().filter_map(summary).collect()))
    }

    fn claims(&self) -> BoxFuture<'_, Result<Vec<HeldClaim>, StoreError>> {
        let claims = &self.inner().claims;
        let listed =
            claims.iter().map(|((tenant, key), holder)| (tenant.clone(), key.clone(), *holder));
        answer(Ok(listed.collect()))
    }

    fn claim_holder(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        answer(Ok(self.inner().claims.get(&(tenant.clone(), key.to_owned())).copied()))
    }

    fn stream_of_operation(
        &self,
        tenant: &TenantId,
        operation: OperationId,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        answer(Ok(self.inner().operations.get(&(tenant.clone(), operation)).copied()))
    }

    fn load_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StateSnapshot>, StoreError>> {
        let inner = self.inner();
        let stream = inner.streams.get(&(tenant.clone(), stream));
        answer(Ok(stream.and_then(|stream| stream.snapshot.clone())))
    }

    fn save_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        snapshot: StateSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        if let Some(stream) = self.inner().streams.get_mut(&(tenant.clone(), stream)) {
            let newer = stream.snapshot.as_ref().is_none_or(|old| old.version <= snapshot.version);
            if newer {
                stream.snapshot = Some(snapshot);
            }
        }
        answer(Ok(()))
    }
}
