//! A store whose every call is done when it returns: what a run on one thread in virtual time
//! needs of one that has threads of its own. It also remembers the first failure.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use hedgerow_core::{OperationId, StoredEvent, StreamId, TenantId, Timestamp};
use hedgerow_engine::store::{
    AppendError, EventStore, StateSnapshot, StoreError, StreamAppend, StreamSummary,
};

use crate::runtime::wait;

/// See the module's documentation.
#[derive(Clone)]
pub struct BlockingStore {
    store: Arc<dyn EventStore>,
    failure: Arc<Mutex<Option<StoreError>>>,
}

impl BlockingStore {
    /// Around that store.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, failure: Arc::default() }
    }

    /// The first failure of the store, if it has failed.
    #[must_use]
    pub fn failure(&self) -> Option<StoreError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn done<'a, T: Send + 'a>(
        &self,
        result: Result<T, StoreError>,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        if let Err(error) = &result {
            self.remember(error);
        }
        ready(result).boxed()
    }

    fn remember(&self, error: &StoreError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| error.clone());
    }
}

impl EventStore for BlockingStore {
    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        // Done when the future is polled, not when it is made: a caller may drop it before.
        async move {
            let result = wait(self.store.append(batch));
            if let Err(AppendError::Store(error)) = &result {
                self.remember(error);
            }
            result
        }
        .boxed()
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        self.done(wait(self.store.read_stream(tenant, stream, after, limit)))
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        self.done(wait(self.store.read_all(after, limit)))
    }

    fn last_recorded_at(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        self.done(wait(self.store.last_recorded_at()))
    }

    fn streams(&self) -> BoxFuture<'_, Result<Vec<StreamSummary>, StoreError>> {
        self.done(wait(self.store.streams()))
    }

    fn claims(&self) -> BoxFuture<'_, Result<Vec<(TenantId, String, StreamId)>, StoreError>> {
        self.done(wait(self.store.claims()))
    }

    fn claim_holder(
        &self,
        tenant: &TenantId,
        key: &str,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        self.done(wait(self.store.claim_holder(tenant, key)))
    }

    fn stream_of_operation(
        &self,
        tenant: &TenantId,
        operation: OperationId,
    ) -> BoxFuture<'_, Result<Option<StreamId>, StoreError>> {
        self.done(wait(self.store.stream_of_operation(tenant, operation)))
    }

    fn load_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StateSnapshot>, StoreError>> {
        self.done(wait(self.store.load_snapshot(tenant, stream)))
    }

    fn save_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        snapshot: StateSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.done(wait(self.store.save_snapshot(tenant, stream, snapshot)))
    }

    fn note(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StoredEvent>, StoreError>> {
        self.done(wait(self.store.note(tenant, stream)))
    }
}
