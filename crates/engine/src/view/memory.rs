//! Rows in memory: made anew at each start. For tests, simulations, and a look at a log without
//! leaving a file beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::ready;

use super::store::{Direction, Reached, Row, RowKey, Step, StepError, ViewError, ViewStore};
use crate::ports::BoxFuture;

#[derive(Default)]
struct Inner {
    reached: Option<Reached>,
    rows: BTreeMap<RowKey, Vec<u8>>,
}

/// Rows in memory. Clones are handles to the same ones.
#[derive(Clone, Default)]
pub struct MemoryViews {
    inner: Arc<Mutex<Inner>>,
}

impl fmt::Debug for MemoryViews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryViews").finish_non_exhaustive()
    }
}

impl MemoryViews {
    /// No rows yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing that is done with it can panic halfway.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ViewStore for MemoryViews {
    fn reached(&self) -> BoxFuture<'_, Result<Option<Reached>, ViewError>> {
        ready(Ok(self.inner().reached)).boxed()
    }

    fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>> {
        let mut inner = self.inner();
        let (expected, reached) = (step.from, inner.reached);
        if expected != reached {
            return ready(Err(StepError::Moved { expected, reached })).boxed();
        }
        inner.reached = Some(step.to);
        for (key, row) in step.rows {
            match row {
                Some(row) => inner.rows.insert(key, row),
                None => inner.rows.remove(&key),
            };
        }
        ready(Ok(())).boxed()
    }

    fn get(&self, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ViewError>> {
        let inner = self.inner();
        ready(Ok(keys.iter().map(|key| inner.rows.get(key).cloned()).collect())).boxed()
    }

    fn scan(
        &self,
        range: Range<RowKey>,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, ViewError>> {
        if range.is_empty() {
            return ready(Ok(Vec::new())).boxed();
        }
        let inner = self.inner();
        let rows = inner.rows.range(range).map(|(key, row)| (key.clone(), row.clone()));
        let rows = match direction {
            Direction::Forwards => rows.take(limit).collect(),
            Direction::Backwards => rows.rev().take(limit).collect(),
        };
        ready(Ok(rows)).boxed()
    }

    fn clear(&self, from: Option<Reached>) -> BoxFuture<'_, Result<(), StepError>> {
        let mut inner = self.inner();
        let (expected, reached) = (from, inner.reached);
        if expected != reached {
            return ready(Err(StepError::Moved { expected, reached })).boxed();
        }
        *inner = Inner::default();
        ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::view_conformance_tests!((MemoryViews::new(), ()));
}
