//! A store around a store: for metrics, for faults in tests, for a log of what was appended.

use hedgerow_core::{OperationId, StoredEvent, StreamId, TenantId, Timestamp};

use super::retention::{ImportError, NotRemoved, StreamImport, StreamRemoval};
use super::{
    AppendError, EventStore, HeldClaim, StateSnapshot, StoreError, StreamAppend, StreamSummary,
};
use crate::ports::BoxFuture;

/// A store around another one: what it does not do in its own way, the inner one does.
///
/// Every layer is an [`EventStore`].
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use hedgerow_engine::ports::BoxFuture;
/// use hedgerow_engine::store::memory::MemoryStore;
/// use hedgerow_engine::store::{AppendError, EventStore, StoreLayer, StreamAppend};
///
/// /// Counts what is appended.
/// struct Counting { inner: MemoryStore, appends: AtomicU64 }
///
/// impl StoreLayer for Counting {
///     fn inner(&self) -> &dyn EventStore {
///         &self.inner
///     }
///
///     fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
///         self.appends.fetch_add(1, Ordering::Relaxed);
///         self.inner.append(batch)
///     }
/// }
/// ```
pub trait StoreLayer: Send + Sync + 'static {
    /// The store that it is around.
    fn inner(&self) -> &dyn EventStore;

    /// See [`EventStore::append`].
    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        self.inner().append(batch)
    }

    /// See [`EventStore::read_stream`].
    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        self.inner().read_stream(tenant, stream, after, limit)
    }

    /// See [`EventStore::read_all`].
    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        self.inner().read_all(after, limit)
    }

    /// See [`EventStore::last_recorded_at`].
    fn last_recorded_at(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        self.inner().last_recorded_at()
    }

    /// See [`EventStore::streams`].
    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        self.inner().streams()
    }

    /// See [`EventStore::claims`].
    fn claims(&self) -> BoxFuture<'_, Result<Vec<HeldClaim>, StoreError>> {
        self.inner().claims()
    }

    /// See [`EventStore::claim_holder`].
    fn claim_holder(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        self.inner().claim_holder(tenant, key)
    }

    /// See [`EventStore::stream_of_operation`].
    fn stream_of_operation(
        &self,
        tenant: &TenantId,
        operation: OperationId,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        self.inner().stream_of_operation(tenant, operation)
    }

    /// See [`EventStore::load_snapshot`].
    fn load_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StateSnapshot>, StoreError>> {
        self.inner().load_snapshot(tenant, stream)
    }

    /// See [`EventStore::save_snapshot`].
    fn save_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        snapshot: StateSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner().save_snapshot(tenant, stream, snapshot)
    }

    /// See [`EventStore::remove`].
    fn remove(
        &self,
        batch: Vec<StreamRemoval>,
    ) -> BoxFuture<'_, Result<Vec<Result<(), NotRemoved>>, StoreError>> {
        self.inner().remove(batch)
    }

    /// See [`EventStore::sweep`].
    fn sweep(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.inner().sweep()
    }

    /// See [`EventStore::import`].
    fn import(&self, import: StreamImport) -> BoxFuture<'_, Result<(), ImportError>> {
        self.inner().import(import)
    }

    /// See [`EventStore::note`].
    fn note(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StoredEvent>, StoreError>> {
        self.inner().note(tenant, stream)
    }
}

impl<L: StoreLayer> EventStore for L {
    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        StoreLayer::append(self, batch)
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        StoreLayer::read_stream(self, tenant, stream, after, limit)
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        StoreLayer::read_all(self, after, limit)
    }

    fn last_recorded_at(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        StoreLayer::last_recorded_at(self)
    }

    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        StoreLayer::streams(self)
    }

    fn claims(&self) -> BoxFuture<'_, Result<Vec<HeldClaim>, StoreError>> {
        StoreLayer::claims(self)
    }

    fn claim_holder(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        StoreLayer::claim_holder(self, tenant, key)
    }

    fn stream_of_operation(
        &self,
        tenant: &TenantId,
        operation: OperationId,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        StoreLayer::stream_of_operation(self, tenant, operation)
    }

    fn load_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StateSnapshot>, StoreError>> {
        StoreLayer::load_snapshot(self, tenant, stream)
    }

    fn save_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        snapshot: StateSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        StoreLayer::save_snapshot(self, tenant, stream, snapshot)
    }

    fn remove(
        &self,
        batch: Vec<StreamRemoval>,
    ) -> BoxFuture<'_, Result<Vec<Result<(), NotRemoved>>, StoreError>> {
        StoreLayer::remove(self, batch)
    }

    fn sweep(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        StoreLayer::sweep(self)
    }

    fn import(&self, import: StreamImport) -> BoxFuture<'_, Result<(), ImportError>> {
        StoreLayer::import(self, import)
    }

    fn note(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StoredEvent>, StoreError>> {
        StoreLayer::note(self, tenant, stream)
    }
}
