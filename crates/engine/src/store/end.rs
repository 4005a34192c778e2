//! Where a log ends, found by reading few of its events.

use super::{EventStore, StoreError};

/// The highest position of the log, at least `seen`: found in as many reads of one event as the
/// number of positions beyond `seen` has digits in binary, twice.
pub(crate) async fn end_of_log(store: &dyn EventStore, seen: u64) -> Result<u64, StoreError> {
    let (mut lowest, mut highest, mut stride) = (seen, u64::MAX, 1_u64);
    while lowest < highest {
        let middle = lowest + stride.min((highest - lowest) / 2);
        match store.read_all(middle, 1).await?.pop() {
            Some(found) => lowest = found.position,
            None => highest = middle,
        }
        stride = stride.saturating_mul(2);
    }
    Ok(lowest)
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use hedgerow_core::{NewEvent, OperationId, StreamId, Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::store::{Activity, StreamAppend};

    #[test]
    fn the_end_of_a_log_is_found_from_wherever_it_was_seen_before() {
        let store = MemoryStore::new();
        let stream = StreamId::ManualUpdate(OperationId::from_uuid(Uuid::max()));
        let event = NewEvent {
            event_type: "any".to_owned(),
            schema_version: 1,
            recorded_at: Timestamp::default(),
            correlation_id: Uuid::nil(),
            causation_id: Uuid::nil(),
            data: b"{}".to_vec(),
        };
        for events in 0..40 {
            for seen in 0..=events {
                assert_eq!(block_on(end_of_log(&store, seen)), Ok(events));
            }
            assert_eq!(block_on(end_of_log(&store, u64::MAX)), Ok(u64::MAX));
            let append = StreamAppend {
                tenant: "realm".parse().expect("a tenant"),
                stream,
                expected_version: events,
                events: vec![event.clone()],
                claims_taken: Vec::new(),
                claims_released: Vec::new(),
                operations: Vec::new(),
                activity: Activity::Active,
            };
            block_on(store.append(vec![append])).expect("it is appended");
        }
    }
}
