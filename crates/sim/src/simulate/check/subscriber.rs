//! What a subscriber is told: only what is durable (E4), of its own tenant (D21), as it is recorded,
//! in order and once, and all of it.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::{NewEvent, StoredEvent, StreamId};

use crate::simulate::invariant::{Checked, Invariant, ensure};

/// What one subscriber of one engine was told, and is still to be told.
#[derive(Default)]
pub(crate) struct Subscriber {
    last: BTreeMap<StreamId, u64>,
    owed: BTreeSet<(StreamId, u64)>,
}

impl Subscriber {
    /// The engine has written an event.
    pub(crate) fn is_owed(&mut self, stream: StreamId, version: u64) {
        self.owed.insert((stream, version));
    }

    /// It is told an event; `stored`: what the store has at that place.
    pub(crate) fn told(
        &mut self,
        stream: StreamId,
        version: u64,
        event: &NewEvent,
        stored: Option<&StoredEvent>,
    ) -> Checked {
        self.owed.remove(&(stream, version));
        let recorded = stored.is_some_and(|stored| {
            stored.stream == stream && stored.version == version && stored.event == *event
        });
        ensure(recorded, Invariant::Subscribers, || {
            format!(
                "a subscriber is told {} as event {version}, the store has {stored:?} there",
                event.event_type
            )
        })?;
        let last = self.last.insert(stream, version);
        ensure(last.is_none_or(|last| last < version), Invariant::Subscribers, || {
            format!("a subscriber is told event {version} after event {last:?}")
        })
    }

    /// Something that it was never told.
    pub(crate) fn untold(&self) -> Option<(StreamId, u64)> {
        self.owed.first().copied()
    }
}
