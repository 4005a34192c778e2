//! What only few targets have at a time, such as an operation in progress: a map from target
//! numbers. Looking one up is hashing one number; walking over all of them is in the order of the
//! targets, so that nothing depends on the order of a hash map (E2).

use std::collections::BTreeMap;
use std::mem;

use hashbrown::HashTable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Debug)]
pub(crate) struct TargetMap<T>(HashTable<(u32, T)>);

/// Multiplying by an odd number keeps neighbours apart, and mixes the upper bits.
fn hash(target: u32) -> u64 {
    u64::from(target).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl<T> TargetMap<T> {
    pub(crate) fn get(&self, target: u32) -> Option<&T> {
        self.0.find(hash(target), |(key, _)| *key == target).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, target: u32) -> Option<&mut T> {
        self.0.find_mut(hash(target), |(key, _)| *key == target).map(|(_, value)| value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, target: u32) -> bool {
        self.get(target).is_some()
    }

    pub(crate) fn insert(&mut self, target: u32, value: T) -> Option<T> {
        if let Some(place) = self.get_mut(target) {
            return Some(mem::replace(place, value));
        }
        self.0.insert_unique(hash(target), (target, value), |(key, _)| hash(*key));
        None
    }

    pub(crate) fn remove(&mut self, target: u32) -> Option<T> {
        let entry = self.0.find_entry(hash(target), |(key, _)| *key == target).ok()?;
        Some(entry.remove().0.1)
    }

    /// In the order of the targets.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &T)> {
        let mut all: Vec<_> = self.0.iter().map(|(target, value)| (*target, value)).collect();
        all.sort_unstable_by_key(|(target, _)| *target);
        all.into_iter()
    }

    /// In no order.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// In the order of the targets.
    pub(crate) fn targets(&self) -> Vec<u32> {
        self.iter().map(|(target, _)| target).collect()
    }
}

impl<T: Default> TargetMap<T> {
    /// The target's value, a new one if it has none.
    pub(crate) fn get_or_default(&mut self, target: u32) -> &mut T {
        let entry = self.0.entry(hash(target), |(key, _)| *key == target, |(key, _)| hash(*key));
        let entry = entry.or_insert_with(|| (target, T::default()));
        &mut entry.into_mut().1
    }
}

impl<T> Default for TargetMap<T> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

impl<T: PartialEq> PartialEq for TargetMap<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().all(|(target, value)| other.get(*target) == Some(value))
    }
}

impl<T> FromIterator<(u32, T)> for TargetMap<T> {
    fn from_iter<I: IntoIterator<Item = (u32, T)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (target, value) in entries {
            map.insert(target, value);
        }
        map
    }
}

impl<T: Serialize> Serialize for TargetMap<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TargetMap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_an_ordered_map_holds_and_walks_in_its_order(
            changes in proptest::collection::vec((any::<bool>(), 0..64_u32, any::<u8>()), 0..300),
        ) {
            let (mut map, mut model) = (TargetMap::default(), BTreeMap::new());
            for (adds, target, value) in changes {
                if adds {
                    prop_assert_eq!(map.insert(target, value), model.insert(target, value));
                } else {
                    prop_assert_eq!(map.remove(target), model.remove(&target));
                }
                prop_assert_eq!(map.get(target), model.get(&target));
            }
            prop_assert!(map.iter().eq(model.iter().map(|(target, value)| (*target, value))));
            let json = serde_json::to_string(&map).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&model).unwrap());
            prop_assert_eq!(serde_json::from_str::<TargetMap<u8>>(&json).unwrap(), map);
        }
    }

    #[test]
    fn two_are_equal_if_they_hold_the_same() {
        let map = |entries: &[(u32, u8)]| entries.iter().copied().collect::<TargetMap<u8>>();
        assert_eq!(map(&[(1, 7), (2, 8)]), map(&[(2, 8), (1, 7)]));
        for other in [&[(1, 7)][..], &[(1, 7), (2, 9)], &[(1, 7), (3, 8)], &[]] {
            assert_ne!(map(&[(1, 7), (2, 8)]), map(other));
            assert_ne!(map(other), map(&[(1, 7), (2, 8)]));
        }
    }
}
