//! All things of one kind: those that are there, those that were removed, and which of them had a
//! key such as a handle since when.
//!
//! What was removed stays, so that a campaign of long ago can still say what it was for. Everything
//! is shared between clones until one of them changes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hedgerow_core::Timestamp;

use crate::id::Number;

/// The things of a kind, by id.
type ById<I, T> = Arc<BTreeMap<I, Arc<T>>>;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Things<I, T> {
    last: u32,
    present: ById<I, T>,
    former: ById<I, T>,
    /// Who had a key, from which time on; the newest is the last.
    holders: Arc<BTreeMap<String, Vec<(Timestamp, I)>>>,
}

impl<I, T> Default for Things<I, T> {
    fn default() -> Self {
        Self { last: 0, present: Arc::default(), former: Arc::default(), holders: Arc::default() }
    }
}

impl<I: Number, T: Clone> Things<I, T> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.present.len()
    }

    /// The one with that id.
    pub(crate) fn get(&self, id: I) -> Option<&Arc<T>> {
        self.present.get(&id)
    }

    /// The one with that id, or what it was when it was removed.
    pub(crate) fn ever(&self, id: I) -> Option<&Arc<T>> {
        self.get(id).or_else(|| self.former.get(&id))
    }

    /// All, in the order of their ids.
    pub(crate) fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = &Arc<T>> + ExactSizeIterator + Clone {
        self.present.values()
    }

    /// What had a key at a time: the one that got it last before, or else the first that got it.
    /// It may have been removed since.
    pub(crate) fn holder(&self, key: &str, at: Timestamp) -> Option<&Arc<T>> {
        let holders = self.holders.get(key)?;
        let later = holders.partition_point(|(since, _)| *since <= at);
        let (_, id) = holders.get(later.saturating_sub(1))?;
        self.ever(*id)
    }

    /// The id of the next one.
    pub(crate) fn next(&self) -> I {
        I::of(self.last.saturating_add(1))
    }

    /// Adds one that has a key; `false`: its id was given before.
    pub(crate) fn add(&mut self, id: I, key: String, at: Timestamp, thing: T) -> bool {
        if id != self.next() {
            return false;
        }
        self.last = self.last.saturating_add(1);
        Arc::make_mut(&mut self.present).insert(id, Arc::new(thing));
        self.held(id, key, at);
        true
    }

    /// One has that key from now on.
    pub(crate) fn held(&mut self, id: I, key: String, at: Timestamp) {
        Arc::make_mut(&mut self.holders).entry(key).or_default().push((at, id));
    }

    /// The one with that id, to change it.
    pub(crate) fn change(&mut self, id: I) -> Option<&mut T> {
        // Nothing is copied for an id that is not there.
        self.present.get(&id)?;
        Arc::make_mut(&mut self.present).get_mut(&id).map(Arc::make_mut)
    }

    /// Removes one.
    pub(crate) fn remove(&mut self, id: I) -> Option<Arc<T>> {
        self.present.get(&id)?;
        let thing = Arc::make_mut(&mut self.present).remove(&id)?;
        Arc::make_mut(&mut self.former).insert(id, Arc::clone(&thing));
        Some(thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::GroupId;

    #[test]
    fn who_had_a_key_is_known_of_every_time_also_when_it_was_removed() {
        let at = Timestamp::from_millis;
        let mut things = Things::<GroupId, &str>::default();
        assert!(things.add(GroupId::new(1), "a".into(), at(10), "first"));
        assert!(!things.add(GroupId::new(1), "a".into(), at(10), "again"));
        things.held(GroupId::new(1), "b".into(), at(20));
        assert!(things.add(GroupId::new(2), "a".into(), at(30), "second"));
        assert_eq!(things.remove(GroupId::new(1)).as_deref(), Some(&"first"));
        assert_eq!(things.remove(GroupId::new(1)), None);
        let before = things.clone();
        *things.change(GroupId::new(2)).expect("it is there") = "changed";
        let who = |key, time| things.holder(key, at(time)).map(|it| **it);
        assert_eq!(who("a", 10), Some("first"));
        assert_eq!(who("a", 29), Some("first"));
        assert_eq!(who("a", 30), Some("changed"));
        assert_eq!(who("a", 0), Some("first"), "a clock was wrong");
        assert_eq!(who("b", 99), Some("first"));
        assert_eq!(who("c", 99), None);
        assert_eq!(things.len(), 1);
        assert_eq!(things.next(), GroupId::new(3));
        assert_eq!(
            before.get(GroupId::new(2)).map(|it| **it),
            Some("second"),
            "shared, not changed"
        );
    }
}
