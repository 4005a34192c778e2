//! Which streams want to know what the world shows of a device: those that have it as a target, and
//! no other (C4).
//!
//! Of a target the index keeps no more than a hash and the number of its stream. Two devices of the
//! same hash lead to one stream too many, which finds that the device is none of its own. Tenants
//! are compared as they are (D21).

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use hashbrown::HashTable;
use hedgerow_core::{DeviceId, StreamId, TenantId};

use crate::inbox::Inbox;

/// The number by which the index knows a stream that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member(u32);

struct Stream {
    tenant: TenantId,
    id: StreamId,
    inbox: Inbox,
}

/// One target of one stream.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    hash: u32,
    member: Member,
}

#[derive(Default)]
pub(crate) struct Interest {
    entries: HashTable<Entry>,
    streams: Vec<Option<Stream>>,
    free: Vec<Member>,
    /// Streams that are to be told of every device: their targets are just being selected.
    listening: BTreeSet<Member>,
}

impl Interest {
    /// Takes a stream in, which has no targets yet.
    pub(crate) fn join(&mut self, tenant: TenantId, stream: StreamId, inbox: Inbox) -> Member {
        let stream = Some(Stream { tenant, id: stream, inbox });
        if let Some(member) = self.free.pop() {
            self.streams[member.0 as usize] = stream;
            return member;
        }
        self.streams.push(stream);
        Member(u32::try_from(self.streams.len() - 1).unwrap_or(u32::MAX))
    }

    /// Adds targets of a stream.
    pub(crate) fn add(&mut self, member: Member, devices: &[DeviceId]) {
        let Some(Some(stream)) = self.streams.get(member.0 as usize) else { return };
        self.entries.reserve(devices.len(), |entry| spread(entry.hash));
        for device in devices {
            let hash = hash(&stream.tenant, *device);
            let entry = Entry { hash, member };
            self.entries.insert_unique(spread(hash), entry, |entry| spread(entry.hash));
        }
    }

    /// Whether a stream is told of every device of its tenant.
    pub(crate) fn listen(&mut self, member: Member, listens: bool) {
        if listens {
            self.listening.insert(member);
        } else {
            self.listening.remove(&member);
        }
    }

    /// Lets a stream go, with the targets that were added of it.
    pub(crate) fn leave(&mut self, member: Member, devices: &[DeviceId]) {
        let Some(stream) = self.streams.get_mut(member.0 as usize).and_then(Option::take) else {
            return;
        };
        for device in devices {
            let hash = hash(&stream.tenant, *device);
            let entry = Entry { hash, member };
            if let Ok(found) = self.entries.find_entry(spread(hash), |other| *other == entry) {
                found.remove();
            }
        }
        self.listening.remove(&member);
        self.free.push(member);
    }

    /// Lets a stream go of which nobody knows any more what its targets were.
    pub(crate) fn forget(&mut self, member: Member) {
        self.entries.retain(|entry| entry.member != member);
        self.leave(member, &[]);
    }

    /// The inboxes of the streams that are to be told of the device, in the order of their ids.
    pub(crate) fn of(&self, tenant: &TenantId, device: DeviceId) -> Vec<Inbox> {
        let hash = hash(tenant, device);
        let found = self.entries.iter_hash(spread(hash)).filter(|entry| entry.hash == hash);
        let mut streams: Vec<(Member, &Stream)> = found
            .map(|entry| entry.member)
            .chain(self.listening.iter().copied())
            .filter_map(|member| {
                let stream = self.streams.get(member.0 as usize)?.as_ref()?;
                (stream.tenant == *tenant).then_some((member, stream))
            })
            .collect();
        streams.sort_unstable_by_key(|(member, stream)| (stream.id, *member));
        streams.dedup_by_key(|(member, _)| *member);
        streams.into_iter().map(|(_, stream)| stream.inbox.clone()).collect()
    }
}

/// The same in every run, as simulations repeat what they do.
fn hash(tenant: &TenantId, device: DeviceId) -> u32 {
    let mut hasher = DefaultHasher::new();
    (tenant, device).hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or_default()
}

/// A table looks at the lowest and at the highest bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hedgerow_core::CampaignId;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::inbox::inbox;

    fn tenant(number: u8) -> TenantId {
        format!("tenant-{number}").parse().expect("a name")
    }

    fn device(number: u8) -> DeviceId {
        DeviceId::from_bytes([number; 16])
    }

    fn stream(number: u8) -> StreamId {
        StreamId::Campaign(CampaignId::from_uuid(Uuid::from_u128(number.into())))
    }

    /// What the index would be if nothing had to be fast.
    struct Known {
        member: Member,
        inbox: Inbox,
        devices: Vec<DeviceId>,
        listens: bool,
    }

    proptest! {
        #[test]
        fn it_names_every_stream_that_has_the_device_or_listens_and_no_other(
            changes in proptest::collection::vec((0..6_u8, 0..2_u8, 0..5_u8, 0..8_u8), 1..120),
        ) {
            let mut interest = Interest::default();
            let mut known: BTreeMap<(u8, u8), Known> = BTreeMap::new();
            for (change, of, number, at) in changes {
                let key = (of, number);
                match (change, known.get_mut(&key)) {
                    (_, None) => {
                        let (inbox, _) = inbox(1);
                        let member = interest.join(tenant(of), stream(number), inbox.clone());
                        known.insert(key, Known { member, inbox, devices: vec![], listens: false });
                    }
                    (0..=2, Some(known)) if !known.devices.contains(&device(at)) => {
                        interest.add(known.member, &[device(at)]);
                        known.devices.push(device(at));
                    }
                    (3, Some(known)) => {
                        known.listens = !known.listens;
                        interest.listen(known.member, known.listens);
                    }
                    (4, Some(gone)) => {
                        interest.leave(gone.member, &gone.devices);
                        known.remove(&key);
                    }
                    (5, Some(gone)) => {
                        interest.forget(gone.member);
                        known.remove(&key);
                    }
                    _ => {}
                }
                for of in 0..2 {
                    for at in 0..8 {
                        let wanted: Vec<_> = known
                            .iter()
                            .filter(|((tenant, _), known)| {
                                let wants = known.listens || known.devices.contains(&device(at));
                                *tenant == of && wants
                            })
                            .map(|(_, known)| &known.inbox)
                            .collect();
                        let found = interest.of(&tenant(of), device(at));
                        prop_assert_eq!(found.len(), wanted.len());
                        let same = |(a, b): (&Inbox, &&Inbox)| {
                            a.is_same(b)
                        };
                        prop_assert!(found.iter().zip(&wanted).all(same));
                    }
                }
            }
            let left: usize = known.values().map(|known| known.devices.len()).sum();
            prop_assert_eq!(interest.entries.len(), left);
        }
    }
}
