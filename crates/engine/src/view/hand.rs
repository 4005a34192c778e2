//! The streams that a follower has at hand: those that may go on, and a few that have ended. What a
//! step costs follows from the streams that it changed, not from those that there are.

use std::collections::BTreeSet;

use hashbrown::HashTable;
use hedgerow_core::{StreamId, TenantId};

use super::stream::{Changed, Stream};

/// A stream is named by its tenant and its id.
pub(super) type Name = (TenantId, StreamId);

/// How many streams that have ended are kept at hand, for late reports.
const ENDED_KEPT: usize = 16;

struct Held {
    name: Name,
    stream: Stream,
    /// The step that changed it last.
    step: u64,
    /// The step after which it was found to have ended.
    ended: Option<u64>,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct AtHand {
    held: HashTable<Held>,
    step: u64,
    /// Those that this step has changed.
    changed: Vec<Name>,
    /// Those that have ended, by the steps that changed them last.
    ended: BTreeSet<(u64, Name)>,
}

/// Ids are drawn or hashed: their bits are as good as those of a hash of them.
fn hash(stream: StreamId) -> u64 {
    let (high, low) = match stream {
        StreamId::Campaign(id) => id.as_uuid().as_u64_pair(),
        StreamId::ManualUpdate(id) => id.as_uuid().as_u64_pair(),
        // No rows are made of it.
        StreamId::Catalogue => (0, 0),
    };
    (high ^ low.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn is(held: &Held, tenant: &TenantId, stream: StreamId) -> bool {
    held.name.1 == stream && held.name.0 == *tenant
}

impl AtHand {
    /// A step begins.
    pub(super) fn begin_step(&mut self) {
        self.step += 1;
    }

    /// A stream that is about to change.
    pub(super) fn change(&mut self, tenant: &TenantId, stream: StreamId) -> Option<&mut Stream> {
        let held = self.held.find_mut(hash(stream), |held| is(held, tenant, stream))?;
        if held.step != self.step {
            held.step = self.step;
            self.changed.push(held.name.clone());
        }
        Some(&mut held.stream)
    }

    /// Takes a stream to hand that was not, and has changed.
    pub(super) fn insert(&mut self, name: Name, stream: Stream) {
        self.remove(&name.0, name.1);
        self.changed.push(name.clone());
        let held = Held { name, stream, step: self.step, ended: None };
        self.held.insert_unique(hash(held.name.1), held, |held| hash(held.name.1));
    }

    pub(super) fn remove(&mut self, tenant: &TenantId, stream: StreamId) -> Option<Stream> {
        let found = self.held.find_entry(hash(stream), |held| is(held, tenant, stream)).ok()?;
        let (held, _) = found.remove();
        if let Some(step) = held.ended {
            self.ended.remove(&(step, held.name));
        }
        Some(held.stream)
    }

    pub(super) fn clear(&mut self) {
        let step = self.step;
        *self = Self { step, ..Self::default() };
    }

    /// What has changed in this step as rows; and lets go of streams that have ended, but for those
    /// that changed last.
    pub(super) fn flush(&mut self) -> Changed {
        let mut rows = Changed::new();
        for name in std::mem::take(&mut self.changed) {
            let it = |held: &Held| is(held, &name.0, name.1);
            // One that was removed since has no rows of its own.
            let Some(held) = self.held.find_mut(hash(name.1), it) else { continue };
            held.stream.flush(&mut rows);
            if let Some(before) = held.ended.take() {
                self.ended.remove(&(before, name.clone()));
            }
            if held.stream.has_ended() {
                held.ended = Some(held.step);
                self.ended.insert((held.step, name));
            }
        }
        while self.ended.len() > ENDED_KEPT {
            let Some((_, name)) = self.ended.pop_first() else { break };
            self.remove(&name.0, name.1);
        }
        rows
    }
}
