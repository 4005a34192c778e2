//! Rows around rows: for metrics, and for faults in tests.

use std::ops::Range;

use super::store::{Direction, Reached, Row, RowKey, Step, StepError, ViewError, ViewStore};
use crate::ports::BoxFuture;

/// A store of rows around another one: what it does not do in its own way, the inner one does, as a
/// [`StoreLayer`](crate::store::StoreLayer) does for events.
///
/// Every layer is a [`ViewStore`].
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use hedgerow_engine::ports::BoxFuture;
/// use hedgerow_engine::view::{MemoryViews, Step, StepError, ViewLayer, ViewStore};
///
/// /// Counts what is written.
/// struct Counting { inner: MemoryViews, rows: AtomicU64 }
///
/// impl ViewLayer for Counting {
///     fn inner(&self) -> &dyn ViewStore {
///         &self.inner
///     }
///
///     fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>> {
///         self.rows.fetch_add(step.rows.len() as u64, Ordering::Relaxed);
///         self.inner.write(step)
///     }
/// }
/// ```
pub trait ViewLayer: Send + Sync + 'static {
    /// The rows that it is around.
    fn inner(&self) -> &dyn ViewStore;

    /// See [`ViewStore::reached`].
    fn reached(&self) -> BoxFuture<'_, Result<Option<Reached>, ViewError>> {
        self.inner().reached()
    }

    /// See [`ViewStore::write`].
    fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>> {
        self.inner().write(step)
    }

    /// See [`ViewStore::get`].
    fn get(&self, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ViewError>> {
        self.inner().get(keys)
    }

    /// See [`ViewStore::scan`].
    fn scan(
        &self,
        range: Range<RowKey>,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, ViewError>> {
        self.inner().scan(range, direction, limit)
    }

    /// See [`ViewStore::clear`].
    fn clear(&self, from: Option<Reached>) -> BoxFuture<'_, Result<(), StepError>> {
        self.inner().clear(from)
    }
}

impl<L: ViewLayer> ViewStore for L {
    fn reached(&self) -> BoxFuture<'_, Result<Option<Reached>, ViewError>> {
        ViewLayer::reached(self)
    }

    fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>> {
        ViewLayer::write(self, step)
    }

    fn get(&self, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ViewError>> {
        ViewLayer::get(self, keys)
    }

    fn scan(
        &self,
        range: Range<RowKey>,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, ViewError>> {
        ViewLayer::scan(self, range, direction, limit)
    }

    fn clear(&self, from: Option<Reached>) -> BoxFuture<'_, Result<(), StepError>> {
        ViewLayer::clear(self, from)
    }
}
