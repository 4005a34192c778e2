//! Where a device is, and as of when that is so.

use std::sync::atomic::{AtomicU64, Ordering};

use hedgerow_core::Presence;

/// A place in the order in which this process hears of the world: of two moments the greater one is
/// the later.
///
/// It is no time. Platforms have clocks of their own, which are wrong and are put right, so that
/// their stamps do not say which of two things is newer; the order in which things were asked for
/// and arrived does. Every engine and adapter of a process takes its moments from one sequence, so
/// that they can be compared wherever they were taken. They mean nothing to another process, and are
/// never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// This moment, which is later than all that were taken before.
    #[must_use]
    pub fn now() -> Self {
        static TAKEN: AtomicU64 = AtomicU64::new(0);
        // No other memory depends on it: who learns of a moment from somebody else takes a later one.
        Self(TAKEN.fetch_add(1, Ordering::Relaxed))
    }
}

/// Where a device was seen to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Where it is; `None`: there is no such device (any more).
    pub presence: Option<Presence>,
    /// It was so at this moment or later: a moment that was taken before the platform was asked, or
    /// when a notice of it arrived. One that was taken too late hides what happened in between.
    pub as_of: Moment,
}

impl Sighting {
    /// As of this moment: for whoever knows without asking anybody. Who asks takes the moment before.
    #[must_use]
    pub fn now(presence: Option<Presence>) -> Self {
        Self { presence, as_of: Moment::now() }
    }

    /// The one of two that is newer, which is the first if neither is.
    pub(crate) fn newest(self, other: Self) -> Self {
        if other.as_of > self.as_of { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_later_than_all_that_were_taken_before_it_in_any_thread() {
        let first = Moment::now();
        let taken = std::thread::scope(|scope| {
            let take = || (0..1_000).map(|_| Moment::now()).collect::<Vec<_>>();
            let threads = [scope.spawn(take), scope.spawn(take)];
            threads.map(|thread| thread.join().expect("it counts"))
        });
        let last = Moment::now();
        assert!(taken.iter().all(|taken| taken.is_sorted_by(|a, b| a < b)));
        assert!(taken.iter().flatten().all(|taken| first < *taken && *taken < last));
        assert!(!taken[0].iter().any(|taken_here| taken[1].contains(taken_here)));
    }
}
