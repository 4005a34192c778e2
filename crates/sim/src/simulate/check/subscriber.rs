//! What a subscriber is told: only what is durable (E4), of its own tenant (D21), as it is recorded,
//! in order and once, and all of it, also when it is cut and comes back.

use std::collections::BTreeSet;

use hedgerow_core::{StoredEvent, StreamId};

use crate::simulate::invariant::{Checked, Invariant, ensure};

/// What one subscriber was told by the engines in one place, one after the other, and is still to be
/// told.
#[derive(Default)]
pub(crate) struct Subscriber {
    position: u64,
    owed: BTreeSet<(StreamId, u64)>,
}

impl Subscriber {
    /// The engine has written an event.
    pub(crate) fn is_owed(&mut self, stream: StreamId, version: u64) {
        self.owed.insert((stream, version));
    }

    /// Up to where it was told everything.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// It is told an event; `due`: the first of its tenant behind the last one, as the log has it.
    pub(crate) fn told(&mut self, told: &StoredEvent, due: Option<&StoredEvent>) -> Checked {
        self.owed.remove(&(told.stream, told.version));
        let after = std::mem::replace(&mut self.position, told.position);
        ensure(due == Some(told), Invariant::Subscribers, || {
            let due = due.map(|due| (due.position, &due.event.event_type));
            format!(
                "behind position {after} a subscriber is told {} at {}, and {due:?} is due",
                told.event.event_type, told.position
            )
        })
    }

    /// Something that it was never told.
    pub(crate) fn untold(&self) -> Option<(StreamId, u64)> {
        self.owed.first().copied()
    }
}
