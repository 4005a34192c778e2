//! Logs of whole simulated fleets, read in bits, and the rows that were made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use hedgerow_core::StoredEvent;
use hedgerow_engine::ports::BoxFuture;
use hedgerow_engine::store::{EventStore, StoreError, StoreLayer};
use hedgerow_engine::view::{Direction, MemoryViews, ViewStore};
use hedgerow_sim::runtime::wait;
use hedgerow_sim::simulate::{MemoryStorage, Profile, Setup, Storage, simulate};

/// A log of which only so many events are read at once, which is less than the port promises: so a step
/// along it may end anywhere.
pub(crate) struct InBits {
    pub(crate) log: Arc<dyn EventStore>,
    pub(crate) most: usize,
}

impl StoreLayer for InBits {
    fn inner(&self) -> &dyn EventStore {
        &*self.log
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        self.log.read_all(after, limit.min(self.most))
    }
}

/// The log of a small fleet under faults.
pub(crate) fn log_of(seed: u64) -> Arc<dyn EventStore> {
    let mut storage = MemoryStorage::default();
    let setup = Setup { devices: 12, ..Setup::new(seed, Profile::mixed(seed)) };
    let report = simulate(&setup, &mut storage).expect("simulated");
    assert_eq!(report.violation, None);
    storage.open().expect("opened")
}

/// All rows.
pub(crate) fn rows(views: &MemoryViews) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let range = Vec::new()..vec![u8::MAX; 2];
    let rows = wait(views.scan(range, Direction::Forwards, usize::MAX)).expect("read");
    rows.into_iter().collect()
}
