//! The queue of one delivery policy: which event is next, which ones wait to be overtaken, and which
//! find no room. No tasks and no clock, so that its order can be tested.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// An event in the queue.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) item: T,
    /// Attempts that failed.
    pub(super) attempts: u32,
    since: Instant,
}

#[derive(Debug)]
struct Held<T> {
    item: T,
    behind: u8,
    number: u64,
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    held: Vec<Held<T>>,
    held_ever: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), held: Vec::new(), held_ever: 0 }
    }
}

impl<T> Queue<T> {
    /// Appends an event, and after it those that waited to be overtaken by it. Returns how many of
    /// the oldest made room.
    pub(super) fn push(&mut self, item: T, capacity: usize, now: Instant) -> u64 {
        self.append(item, now);
        let mut index = 0;
        while index < self.held.len() {
            let held = &mut self.held[index];
            held.behind = held.behind.saturating_sub(1);
            if held.behind == 0 {
                let held = self.held.remove(index);
                self.append(held.item, now);
            } else {
                index += 1;
            }
        }
        let mut lost = 0;
        while self.waiting.len() > capacity {
            self.waiting.pop_front();
            lost += 1;
        }
        lost
    }

    fn append(&mut self, item: T, now: Instant) {
        self.waiting.push_back(Waiting { item, attempts: 0, since: now });
    }

    /// Keeps an event until `behind` others were pushed. Returns a number to release it by.
    pub(super) fn hold(&mut self, item: T, behind: u8) -> u64 {
        self.held_ever += 1;
        self.held.push(Held { item, behind: behind.max(1), number: self.held_ever });
        self.held_ever
    }

    /// Appends a held event although not enough others came; nothing if it is no longer held.
    pub(super) fn release(&mut self, number: u64, now: Instant) {
        if let Some(index) = self.held.iter().position(|held| held.number == number) {
            let held = self.held.remove(index);
            self.append(held.item, now);
        }
    }

    /// The next event, and how many before it had waited for longer than they live.
    pub(super) fn take(
        &mut self,
        time_to_live: impl Fn(&T) -> Option<Duration>,
        now: Instant,
    ) -> (Option<Waiting<T>>, u64) {
        let mut expired = 0;
        while let Some(waiting) = self.waiting.pop_front() {
            let age = now.saturating_duration_since(waiting.since);
            if time_to_live(&waiting.item).is_none_or(|limit| age <= limit) {
                return (Some(waiting), expired);
            }
            expired += 1;
        }
        (None, expired)
    }

    /// Puts an event back whose delivery failed. A consumer has taken `prefetch` events ahead, so
    /// that these overtake it.
    pub(super) fn put_back(&mut self, mut waiting: Waiting<T>, prefetch: usize) {
        waiting.attempts += 1;
        let index = prefetch.saturating_sub(1).min(self.waiting.len());
        self.waiting.insert(index, waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut Queue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.take(|_| None, Instant::now()).0.map(|waiting| waiting.item))
            .collect()
    }

    #[test]
    fn a_failed_event_is_overtaken_by_those_that_were_prefetched() {
        for (prefetch, order) in [(1, [1, 2, 3, 4]), (2, [2, 1, 3, 4]), (300, [2, 3, 4, 1])] {
            let mut queue = Queue::default();
            for item in 1..=4 {
                assert_eq!(queue.push(item, 10, Instant::now()), 0);
            }
            let first = queue.take(|_| None, Instant::now()).0.expect("an event");
            queue.put_back(first, prefetch);
            assert_eq!(drain(&mut queue), order);
        }
    }

    #[test]
    fn the_attempts_of_an_event_are_counted() {
        let mut queue = Queue::default();
        queue.push(1, 10, Instant::now());
        for attempts in 0..3 {
            let waiting = queue.take(|_| None, Instant::now()).0.expect("an event");
            assert_eq!(waiting.attempts, attempts);
            queue.put_back(waiting, 300);
        }
    }

    #[test]
    fn a_held_event_comes_after_as_many_others_as_was_said() {
        let mut queue = Queue::default();
        queue.hold(1, 2);
        for item in 2..=4 {
            queue.push(item, 10, Instant::now());
        }
        assert_eq!(drain(&mut queue), [2, 3, 1, 4]);
    }

    #[test]
    fn a_held_event_is_released_once() {
        let mut queue = Queue::default();
        let number = queue.hold(1, 9);
        queue.push(2, 10, Instant::now());
        queue.release(number, Instant::now());
        queue.release(number, Instant::now());
        assert_eq!(drain(&mut queue), [2, 1]);
    }

    #[test]
    fn the_oldest_events_make_room() {
        let mut queue = Queue::default();
        assert_eq!((1..=5).map(|item| queue.push(item, 3, Instant::now())).sum::<u64>(), 2);
        assert_eq!(drain(&mut queue), [3, 4, 5]);
    }

    #[test]
    fn events_that_waited_for_too_long_are_skipped() {
        let start = Instant::now();
        let mut queue = Queue::default();
        queue.push(1, 10, start);
        queue.push(2, 10, start + Duration::from_secs(20));
        let (next, expired) =
            queue.take(|_| Some(Duration::from_secs(30)), start + Duration::from_secs(40));
        assert_eq!((next.map(|waiting| waiting.item), expired), (Some(2), 1));
    }
}
