//! A store in memory: for tests, simulations, and models of what a store must do.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::ready;
use hedgerow_core::{Checksum, NewEvent, OperationId, StoredEvent, StreamId, TenantId, Timestamp};

use super::checksum::Chain;
use super::retention::{ImportError, NotRemoved, StreamImport, StreamRemoval};
use super::{
    Activity, AppendError, EventStore, HeldClaim, StateSnapshot, StoreError, StreamAppend,
    StreamSummary,
};
use crate::ports::BoxFuture;

type Key = (TenantId, StreamId);

struct Stream {
    /// Where its events stand among all events.
    positions: Vec<u64>,
    activity: Activity,
    snapshot: Option<StateSnapshot>,
    chain: Chain,
    /// Where its note stands.
    note: Option<u64>,
    is_removed: bool,
}

impl Stream {
    fn new(activity: Activity) -> Self {
        Self {
            positions: Vec::new(),
            activity,
            snapshot: None,
            chain: Chain::default(),
            note: None,
            is_removed: false,
        }
    }
}

#[derive(Default)]
struct Inner {
    /// By position.
    events: BTreeMap<u64, StoredEvent>,
    /// The highest position that was given out.
    last: u64,
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
            let key = (append.tenant.clone(), append.stream);
            if self.streams.get(&key).is_some_and(|stream| stream.is_removed) {
                return Err(AppendError::Removed { stream: append.stream });
            }
            let actual = self.version(&key);
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
            let stream =
                self.streams.entry(key.clone()).or_insert_with(|| Stream::new(append.activity));
            stream.activity = append.activity;
            for event in append.events {
                let checksum = stream.chain.extend(&append.tenant, append.stream, &event);
                self.last += 1;
                stream.positions.push(self.last);
                let version = stream.chain.version();
                self.events
                    .insert(self.last, stored(&key, version, self.last, Some(checksum), event));
            }
        }
        Ok(())
    }

    /// The time of the newest entry: behind what was imported, that of the note before it.
    fn last_recorded_at(&self) -> Option<Timestamp> {
        let (_, last) = self.events.last_key_value()?;
        let stream = self.streams.get(&(last.tenant.clone(), last.stream));
        let note = stream.and_then(|stream| self.events.get(&stream.note?));
        let at = last.event.recorded_at;
        Some(note.map_or(at, |note| at.max(note.event.recorded_at)))
    }

    fn add_note(&mut self, key: &Key, last: Option<Checksum>, mut note: NewEvent) {
        note.recorded_at =
            self.last_recorded_at().map_or(note.recorded_at, |newest| newest.max(note.recorded_at));
        let checksum = Chain::note(last, &key.0, key.1, &note);
        self.last += 1;
        let position = self.last;
        let Some(stream) = self.streams.get_mut(key) else { return };
        if let Some(earlier) = stream.note.replace(position) {
            self.events.remove(&earlier);
        }
        self.events.insert(position, stored(key, 0, position, Some(checksum), note));
    }

    fn remove(&mut self, removal: StreamRemoval) -> Result<(), NotRemoved> {
        let StreamRemoval { tenant, stream: id, version, checksum, note } = removal;
        let key = (tenant, id);
        let of = self.streams.get_mut(&key).filter(|stream| !stream.is_removed);
        let stream = of.ok_or(NotRemoved::Absent)?;
        if stream.chain.version() != version {
            let (expected, actual) = (version, stream.chain.version());
            return Err(NotRemoved::Changed { expected, actual });
        }
        if stream.chain.last() != checksum {
            return Err(NotRemoved::Differs);
        }
        if stream.activity == Activity::Active {
            return Err(NotRemoved::Active);
        }
        if self.claims.iter().any(|((tenant, _), holder)| *tenant == key.0 && *holder == key.1) {
            return Err(NotRemoved::HoldsClaim);
        }
        (stream.is_removed, stream.snapshot) = (true, None);
        for position in std::mem::take(&mut stream.positions) {
            self.events.remove(&position);
        }
        self.operations.retain(|(tenant, _), of| *tenant != key.0 || *of != key.1);
        self.add_note(&key, checksum, note);
        Ok(())
    }

    fn import(&mut self, import: StreamImport) -> Result<(), ImportError> {
        let StreamImport { tenant, stream: id, version, checksum, note, events } = import;
        let key = (tenant, id);
        if let Some(stream) = self.streams.get(&key) {
            let before = version.checked_sub(1).and_then(|before| usize::try_from(before).ok());
            let at = before.and_then(|before| stream.positions.get(before));
            let is_same = match at {
                Some(position) => {
                    self.events.get(position).map(|stored| stored.checksum) == Some(checksum)
                }
                None => (stream.chain.version(), stream.chain.last()) == (version, checksum),
            };
            match (is_same, stream.is_removed) {
                (false, _) => return Err(ImportError::Differs),
                (true, false) => {
                    let there = super::retention::there_already(events, |version| {
                        let at = usize::try_from(version - 1).ok();
                        let position = at.and_then(|at| stream.positions.get(at));
                        let there = position.and_then(|position| self.events.get(position));
                        Ok::<_, Infallible>(there.map(|stored| stored.event.clone()))
                    });
                    return Err(match there {
                        Ok(there) => there,
                        Err(never) => match never {},
                    });
                }
                (true, true) => {}
            }
        }
        // All is looked at before anything is changed.
        let (mut chain, mut all, mut operations) = (Chain::default(), Vec::new(), Vec::new());
        for event in events {
            let event = event.map_err(|detail| ImportError::Damaged { detail })?;
            let stored = stored(&key, chain.version() + 1, 0, event.checksum, event.event);
            let fits = chain.check(&stored);
            fits.map_err(|error| ImportError::Damaged { detail: error.to_string() })?;
            if let Some(operation) = event.operation {
                let holder = self.operations.get(&(key.0.clone(), operation));
                if let Some(holder) = holder.filter(|holder| **holder != key.1) {
                    let detail = super::retention::taken(operation, *holder);
                    return Err(ImportError::Damaged { detail });
                }
                operations.push(operation);
            }
            all.push(stored);
        }
        if chain != Chain::after(version, checksum) {
            return Err(ImportError::Damaged { detail: super::retention::other_end(&chain) });
        }
        if !self.streams.contains_key(&key) {
            self.created.push(key.clone());
            self.streams.insert(key.clone(), Stream::new(Activity::Settled));
        }
        self.add_note(&key, checksum, note);
        let first = self.last + 1;
        for mut stored in all {
            self.last += 1;
            stored.position = self.last;
            self.events.insert(self.last, stored);
        }
        if let Some(stream) = self.streams.get_mut(&key) {
            (stream.is_removed, stream.activity) = (false, Activity::Settled);
            (stream.chain, stream.positions) = (chain, (first..=self.last).collect());
        }
        for operation in operations {
            self.operations.insert((key.0.clone(), operation), key.1);
        }
        Ok(())
    }
}

fn stored(
    (tenant, stream): &Key,
    version: u64,
    position: u64,
    checksum: Option<Checksum>,
    event: NewEvent,
) -> StoredEvent {
    StoredEvent { tenant: tenant.clone(), stream: *stream, version, position, checksum, event }
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
            .filter_map(|position| inner.events.get(position).cloned())
            .collect();
        answer(Ok(events))
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let Some(from) = after.checked_add(1) else { return answer(Ok(Vec::new())) };
        let events = &self.inner().events;
        answer(Ok(events.range(from..).take(limit).map(|(_, stored)| stored.clone()).collect()))
    }

    fn last_recorded_at(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        answer(Ok(self.inner().last_recorded_at()))
    }

    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        let inner = self.inner();
        let summary = |key: &Key| {
            let stream = inner.streams.get(key).filter(|stream| !stream.is_removed);
            stream.map(|stream| StreamSummary {
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
        let key = (tenant.clone(), stream);
        if let Some(stream) = self.inner().streams.get_mut(&key).filter(|stream| !stream.is_removed)
        {
            let newer = stream.snapshot.as_ref().is_none_or(|old| old.version <= snapshot.version);
            if newer {
                stream.snapshot = Some(snapshot);
            }
        }
        answer(Ok(()))
    }

    fn remove(
        &self,
        batch: Vec<StreamRemoval>,
    ) -> BoxFuture<'_, Result<Vec<Result<(), NotRemoved>>, StoreError>> {
        let mut inner = self.inner();
        answer(Ok(batch.into_iter().map(|removal| inner.remove(removal)).collect()))
    }

    fn import(&self, import: StreamImport) -> BoxFuture<'_, Result<(), ImportError>> {
        answer(self.inner().import(import))
    }

    fn note(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StoredEvent>, StoreError>> {
        let inner = self.inner();
        let stream = inner.streams.get(&(tenant.clone(), stream));
        let note = stream.and_then(|stream| inner.events.get(&stream.note?));
        answer(Ok(note.cloned()))
    }
}
