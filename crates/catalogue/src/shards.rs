//! A map from devices that is cheap to clone and cheap to change: what changes is copied in parts of
//! a few hundred, and shared otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use hedgerow_core::DeviceId;

/// One for every first byte of a device id, which is as good as random.
const SHARDS: usize = 256;

type Shard<V> = BTreeMap<DeviceId, Arc<V>>;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Shards<V> {
    shards: Arc<Vec<Arc<Shard<V>>>>,
    len: usize,
}

impl<V> Default for Shards<V> {
    fn default() -> Self {
        Self { shards: Arc::new(vec![Arc::default(); SHARDS]), len: 0 }
    }
}

fn place(device: DeviceId) -> usize {
    usize::from(device.as_bytes()[0])
}

impl<V: Clone> Shards<V> {
    /// How many devices are in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What it has of a device.
    pub(crate) fn get(&self, device: DeviceId) -> Option<&Arc<V>> {
        self.shards.get(place(device))?.get(&device)
    }

    /// All, in the order of the devices.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (DeviceId, &Arc<V>)> + Clone {
        self.shards.iter().flat_map(|shard| shard.iter().map(|(device, value)| (*device, value)))
    }

    /// Those behind a device, in order.
    pub(crate) fn iter_after(
        &self,
        device: DeviceId,
    ) -> impl Iterator<Item = (DeviceId, &Arc<V>)> + Clone {
        use std::ops::Bound::{Excluded, Unbounded};
        let first = self.shards.get(place(device));
        let rest = self.shards.iter().skip(place(device) + 1);
        first
            .into_iter()
            .flat_map(move |shard| shard.range((Excluded(device), Unbounded)))
            .chain(rest.flat_map(|shard| shard.iter()))
            .map(|(device, value)| (*device, value))
    }

    /// Changes what it has of a device; `None` before: it has nothing, after: it is to have nothing.
    pub(crate) fn change(&mut self, device: DeviceId, value: Option<V>) {
        let shards = Arc::make_mut(&mut self.shards);
        let Some(shard) = shards.get_mut(place(device)).map(Arc::make_mut) else { return };
        let before = match value {
            Some(value) => {
                self.len += 1;
                shard.insert(device, Arc::new(value))
            }
            None => shard.remove(&device),
        };
        self.len -= usize::from(before.is_some());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_in_the_order_of_its_keys(
            changes in proptest::collection::vec((0_u8..4, 0_u8..4, proptest::option::of(0_u8..9)), 0..60),
        ) {
            let (mut shards, mut map) = (Shards::default(), BTreeMap::new());
            for (first, last, value) in changes {
                let mut bytes = [0; 16];
                (bytes[0], bytes[15]) = (first, last);
                let device = DeviceId::from_bytes(bytes);
                let before = shards.clone();
                shards.change(device, value);
                prop_assert_eq!(before.get(device).map(|v| **v), map.get(&device).copied());
                match value {
                    Some(value) => map.insert(device, value),
                    None => map.remove(&device),
                };
                prop_assert_eq!(shards.len(), map.len());
                let all: Vec<_> = shards.iter().map(|(device, value)| (device, **value)).collect();
                prop_assert_eq!(&all, &map.clone().into_iter().collect::<Vec<_>>());
                let after: Vec<_> = shards.iter_after(device).map(|(device, _)| device).collect();
                let expected: Vec<_> = map.keys().copied().filter(|other| *other > device).collect();
                prop_assert_eq!(after, expected);
            }
        }
    }
}
