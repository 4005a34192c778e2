//! Many campaigns at once: their logs, in turn, over one fleet.

use futures::executor::block_on;
use hedgerow_core::{CampaignId, NewEvent, StreamId};
use hedgerow_engine::store::{Activity, EventStore, StreamAppend};
use uuid::Uuid;

use crate::log::{encoded, tenant};
use crate::{MAX_PENDING, Script};

/// How many devices the fleet has.
pub const DEVICES: u32 = 100_000;
/// So many campaigns are at work at a time.
pub const BESIDE_EACH_OTHER: u32 = 20;

/// What a campaign has still to record, the next event last.
#[derive(Clone)]
pub struct Log {
    id: CampaignId,
    version: u64,
    left: Vec<NewEvent>,
}

impl Log {
    /// The log of a campaign of so many of the fleet's devices.
    ///
    /// # Panics
    /// As [`Script::new`].
    #[must_use]
    pub fn new(number: u32, targets: u32) -> Self {
        let id = CampaignId::from_uuid(Uuid::from_u128((u128::from(number) + 1) << 64));
        let first = (number * targets) % (DEVICES - targets + 1);
        let script = Script::of(id, first, targets, targets, MAX_PENDING);
        let events = script.events();
        let left = events.iter().rev().chain([&script.created]).map(encoded).collect();
        Self { id, version: 0, left }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The next so many events.
    pub fn append(&mut self, events: usize) -> StreamAppend {
        let expected_version = self.version;
        let first = self.left.len().saturating_sub(events);
        let events: Vec<_> = self.left.drain(first..).rev().collect();
        self.version += events.len() as u64;
        StreamAppend {
            tenant: tenant(),
            stream: StreamId::Campaign(self.id),
            expected_version,
            events,
            claims_taken: Vec::new(),
            claims_released: Vec::new(),
            operations: Vec::new(),
            activity: if self.left.is_empty() { Activity::Settled } else { Activity::Active },
        }
    }
}

/// Writes the logs of so many campaigns, `at_once` events of each in turn, and says how many events
/// they have.
///
/// # Panics
/// If the store fails: there is nothing to measure then.
pub fn write_campaigns(store: &dyn EventStore, number: u32, targets: u32, at_once: usize) -> usize {
    let mut total = 0;
    for first in (0..number).step_by(BESIDE_EACH_OTHER as usize) {
        let numbers = first..number.min(first + BESIDE_EACH_OTHER);
        let mut logs: Vec<_> = numbers.map(|number| Log::new(number, targets)).collect();
        while !logs.is_empty() {
            let batch: Vec<_> = logs.iter_mut().map(|log| log.append(at_once)).collect();
            total += batch.iter().map(|append| append.events.len()).sum::<usize>();
            block_on(store.append(batch)).expect("it is written");
            logs.retain(|log| !log.is_empty());
        }
    }
    total
}
