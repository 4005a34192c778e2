//! Whose turn it is (D4): targets never attempted first, in snapshot order; then those attempted,
//! the least recently attempted first.
//!
//! Nearly all targets of a large campaign are never attempted before their turn comes, so these are
//! one bit each: level 0 has a bit for each target, and each bit above says whether the word below
//! has any. Finding the first looks at one word of each level, whatever the size (C1).

use std::collections::BTreeSet;

/// So many levels hold 64^4 targets, more than a campaign can have.
const LEVELS: usize = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct ReadyQueue {
    fresh: [Vec<u64>; LEVELS],
    attempted: BTreeSet<(u32, u32)>,
}

impl ReadyQueue {
    /// Adds a target with the place of its latest attempt, 0 if there was none.
    pub(super) fn insert(&mut self, attempt: u32, target: u32) {
        if attempt > 0 {
            self.attempted.insert((attempt, target));
            return;
        }
        let mut place = target as usize;
        for level in &mut self.fresh {
            let word = place / 64;
            if word >= level.len() {
                level.resize(word + 1, 0);
            }
            level[word] |= 1 << (place % 64);
            place = word;
        }
    }

    /// Takes a target out, if it is in.
    pub(super) fn remove(&mut self, attempt: u32, target: u32) {
        if attempt > 0 {
            self.attempted.remove(&(attempt, target));
            return;
        }
        let mut place = target as usize;
        for level in &mut self.fresh {
            let Some(word) = level.get_mut(place / 64) else { return };
            *word &= !(1 << (place % 64));
            if *word != 0 {
                return;
            }
            place /= 64;
        }
    }

    pub(super) fn first(&self) -> Option<u32> {
        self.first_fresh().or_else(|| self.attempted.first().map(|(_, target)| *target))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    fn first_fresh(&self) -> Option<u32> {
        let mut place = 0;
        for level in self.fresh.iter().rev() {
            let word = level.get(place).copied().filter(|word| *word != 0)?;
            place = place * 64 + word.trailing_zeros() as usize;
        }
        u32::try_from(place).ok()
    }
}

impl PartialEq for ReadyQueue {
    /// Words that hold nothing may be there or not.
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.fresh[0], &other.fresh[0]);
        let common = ours.len().min(theirs.len());
        ours[..common] == theirs[..common]
            && ours[common..].iter().chain(&theirs[common..]).all(|word| *word == 0)
            && self.attempted == other.attempted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_is_that_of_an_ordered_set(
            changes in proptest::collection::vec((any::<bool>(), 0..3_u32, 0..300_000_u32), 1..300),
        ) {
            let (mut queue, mut model) = (ReadyQueue::default(), BTreeSet::new());
            for (adds, attempt, target) in changes {
                if adds {
                    queue.insert(attempt, target);
                    model.insert((attempt, target));
                } else {
                    let key = model.pop_last().unwrap_or((attempt, target));
                    queue.remove(key.0, key.1);
                }
                prop_assert_eq!(queue.first(), model.first().map(|(_, target)| *target));
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
            while let Some((attempt, target)) = model.pop_first() {
                prop_assert_eq!(queue.first(), Some(target));
                queue.remove(attempt, target);
            }
            prop_assert_eq!(queue, ReadyQueue::default());
        }
    }

    #[test]
    fn two_are_equal_if_they_hold_the_same() {
        let queue = |entries: &[(u32, u32)]| {
            let mut queue = ReadyQueue::default();
            for (attempt, target) in entries {
                queue.insert(*attempt, *target);
            }
            queue
        };
        let base = [(0, 1), (0, 200), (3, 5)];
        assert_eq!(queue(&base), queue(&[(3, 5), (0, 200), (0, 1)]));
        for other in [
            &[(0, 2), (0, 200), (3, 5)][..],
            &[(0, 1), (3, 5)],
            &[(0, 1), (0, 200), (0, 9_000), (3, 5)],
            &[(0, 1), (0, 200), (3, 6)],
            &[(0, 1), (0, 200)],
        ] {
            assert_ne!(queue(&base), queue(other));
            assert_ne!(queue(other), queue(&base));
        }
    }
}
