//! Running an engine in virtual time, on one thread: a clock that stands still until it is moved,
//! and an executor that runs every task until nothing is left to do.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::executor::LocalPool;
use futures::future::BoxFuture;
use futures::task::LocalSpawnExt;
use hedgerow_core::Timestamp;
use hedgerow_engine::ports::{Clock, Spawner};

struct Time {
    wall: Timestamp,
    monotonic: Duration,
    /// Sleeps until then have ended. At one instant what arrives is looked at before timers are,
    /// so this can lag behind `monotonic`.
    rung: Duration,
    /// How often the wall clock was put right, and how many of these times sleeps have ended for.
    jumps: u64,
    jumps_rung: u64,
    sleepers: BTreeMap<(Duration, u64), Waker>,
    next: u64,
}

/// A clock that moves only when it is told to.
#[derive(Clone)]
pub struct VirtualClock {
    time: Arc<Mutex<Time>>,
}

impl VirtualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let time = Time {
            wall: now,
            monotonic: Duration::ZERO,
            rung: Duration::ZERO,
            jumps: 0,
            jumps_rung: 0,
            sleepers: BTreeMap::new(),
            next: 0,
        };
        Self { time: Arc::new(Mutex::new(time)) }
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the wall clock shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.time().wall
    }

    /// Lets time pass, without ending a sleep, until the wall clock shows `now`. It never goes
    /// back so.
    pub fn advance_to(&self, now: Timestamp) {
        let mut time = self.time();
        let passed = now.since(time.wall);
        time.wall = time.wall + passed;
        time.monotonic += passed;
    }

    /// Puts the wall clock right, forwards or backwards, in no time. Every sleep ends at the next
    /// ring: whoever sleeps looks at the clock again.
    pub fn put_right(&self, wall: Timestamp) {
        let mut time = self.time();
        time.wall = wall;
        time.jumps += 1;
    }

    /// Ends every sleep until now or earlier.
    pub fn ring(&self) {
        let mut time = self.time();
        time.rung = time.monotonic;
        let later = if time.jumps == time.jumps_rung {
            let after = time.monotonic + Duration::from_nanos(1);
            time.sleepers.split_off(&(after, 0))
        } else {
            time.jumps_rung = time.jumps;
            BTreeMap::new()
        };
        let due = std::mem::replace(&mut time.sleepers, later);
        drop(time);
        for (_, waker) in due {
            waker.wake();
        }
    }

    /// When, by the wall clock, the earliest sleep ends.
    #[must_use]
    pub fn next_sleep(&self) -> Option<Timestamp> {
        let time = self.time();
        let (at, _) = time.sleepers.keys().next()?;
        let left = at.saturating_sub(time.monotonic);
        Some(if time.jumps == time.jumps_rung { time.wall + left } else { time.wall })
    }
}

struct Sleep {
    clock: VirtualClock,
    at: Duration,
    jumps: u64,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut time = clock.time();
        if self.at <= time.rung || self.jumps < time.jumps_rung {
            if let Some(key) = self.key.take() {
                time.sleepers.remove(&key);
            }
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            time.next += 1;
            (self.at, time.next)
        });
        self.key = Some(key);
        time.sleepers.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.clock.time().sleepers.remove(&key);
        }
    }
}

impl Clock for VirtualClock {
    fn wall(&self) -> Timestamp {
        self.now()
    }

    fn monotonic(&self) -> Duration {
        self.time().monotonic
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // Its time goes by whole milliseconds.
        let millis = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let (at, jumps) = {
            let time = self.time();
            (time.monotonic.saturating_add(Duration::from_millis(millis)), time.jumps)
        };
        Sleep { clock: self.clone(), at, jumps, key: None }.boxed()
    }
}

/// Takes tasks for an [`Executor`].
#[derive(Clone, Default)]
pub struct TaskQueue {
    tasks: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
}

impl Spawner for TaskQueue {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }
}

/// Runs tasks on this thread, always in the same order.
pub struct Executor {
    pool: LocalPool,
    queue: TaskQueue,
}

impl Default for Executor {
    fn default() -> Self {
        Self { pool: LocalPool::new(), queue: TaskQueue::default() }
    }
}

impl Executor {
    /// Where tasks are put.
    #[must_use]
    pub fn spawner(&self) -> TaskQueue {
        self.queue.clone()
    }

    /// Runs every task until none can go on.
    pub fn run_until_stalled(&mut self) {
        while !self.run_rounds(usize::MAX) {}
    }

    /// Runs every task, and those that they start, and so on, for at most so many rounds. `false`:
    /// tasks go on starting others.
    pub fn run_rounds(&mut self, most: usize) -> bool {
        for _ in 0..most {
            let tasks = {
                let mut tasks = self.queue.tasks.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *tasks)
            };
            let spawner = self.pool.spawner();
            for task in tasks {
                // Spawning fails only after the pool is gone.
                let _ = spawner.spawn_local(task);
            }
            self.pool.run_until_stalled();
            // Tasks that ran may have put new ones into the queue.
            if self.queue.tasks.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return true;
            }
        }
        false
    }

    /// Runs every task until none can go on, and gives the result of this one if it ended.
    pub fn run<T: Send + 'static>(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        self.queue.spawn(
            async move {
                let value = future.await;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            }
            .boxed(),
        );
        self.run_until_stalled();
        result.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread for a future that other threads complete, such as the call of a store with
/// a writer thread of its own. It may be called within an [`Executor`].
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_when_the_clock_rings_and_not_before() {
        let clock = VirtualClock::new(Timestamp::from_millis(0));
        let mut executor = Executor::default();
        let at = Timestamp::from_millis(10);
        let ended = Arc::new(Mutex::new(false));
        let flag = Arc::clone(&ended);
        let sleep = clock.sleep(Duration::from_millis(10));
        executor.spawner().spawn(
            async move {
                sleep.await;
                *flag.lock().unwrap() = true;
            }
            .boxed(),
        );
        executor.run_until_stalled();
        assert_eq!(clock.next_sleep(), Some(at));
        clock.advance_to(at);
        executor.run_until_stalled();
        assert!(!*ended.lock().unwrap(), "the time has come, but the clock has not rung");
        clock.ring();
        executor.run_until_stalled();
        assert!(*ended.lock().unwrap());
        assert_eq!(clock.next_sleep(), None);
    }

    #[test]
    fn a_sleep_that_is_dropped_leaves_nothing_behind() {
        let clock = VirtualClock::new(Timestamp::from_millis(0));
        let mut sleep = clock.sleep(Duration::from_millis(10));
        assert!((&mut sleep).now_or_never().is_none());
        drop(sleep);
        assert_eq!(clock.next_sleep(), None);
    }

    #[test]
    fn a_clock_that_is_put_right_ends_every_sleep_at_the_next_ring() {
        for wall in [-5_000, 5_000] {
            let clock = VirtualClock::new(Timestamp::from_millis(0));
            let mut sleep = clock.sleep(Duration::from_millis(10));
            assert!((&mut sleep).now_or_never().is_none());
            clock.put_right(Timestamp::from_millis(wall));
            assert!((&mut sleep).now_or_never().is_none(), "it has not rung");
            assert_eq!(clock.next_sleep(), Some(Timestamp::from_millis(wall)));
            clock.ring();
            assert!((&mut sleep).now_or_never().is_some());
            assert_eq!(clock.monotonic(), Duration::ZERO, "no time has passed");
            let mut sleep = clock.sleep(Duration::from_millis(10));
            assert!((&mut sleep).now_or_never().is_none());
            assert_eq!(clock.next_sleep(), Some(Timestamp::from_millis(wall + 10)));
        }
    }
}
