//! The engine's own time, made of the machine's two clocks: it never goes back and never stands
//! still, whatever becomes of the wall clock (E12).
//!
//! [`Reckoning`] is the arithmetic, [`EngineTime`] the clock that the engine goes by.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use hedgerow_core::Timestamp;

use crate::ports::{BoxFuture, Clock};

/// While the wall clock is behind, the engine's time goes slower by one part in so many: an hour
/// is made up for within sixteen, and no deadline comes more than a fifteenth late.
const SLOWER_BY: i128 = 16;
/// A difference between the two clocks that is logged: less is what any clock has.
const JUMP_NANOS: i128 = 1_000_000_000;
const NANOS_PER_MILLI: i128 = 1_000_000;

/// How long to rest after so many failures in a row: twice as long each time, up to the longest.
pub(crate) fn growing_pause(failures: u32, first: Duration, longest: Duration) -> Duration {
    longest.min(first.saturating_mul(2_u32.saturating_pow(failures)))
}

/// How the wall clock went, compared with the monotonic one, since it was looked at before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wall {
    Steady,
    JumpedForward(Duration),
    JumpedBack(Duration),
}

/// The engine's time at its latest look at the clocks, in nanoseconds: in milliseconds, looks that
/// follow each other closely would each lose a part, and time would stand still.
#[derive(Clone, Copy, Debug)]
struct Reckoning {
    time: i128,
    wall: i128,
    monotonic: Duration,
}

fn nanos(time: Timestamp) -> i128 {
    i128::from(time.as_millis()) * NANOS_PER_MILLI
}

fn signed(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

fn unsigned(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

impl Reckoning {
    fn begin(newest: Option<Timestamp>, wall: Timestamp, monotonic: Duration) -> Self {
        let time = newest.map_or(wall, |newest| newest.max(wall));
        Self { time: nanos(time), wall: nanos(wall), monotonic }
    }

    /// Looks at the clocks: follows a wall clock that is ahead at once, and goes on, slower, under
    /// one that is behind.
    fn look(&mut self, wall: Timestamp, monotonic: Duration) -> Wall {
        let passed = signed(monotonic.saturating_sub(self.monotonic));
        let wall = nanos(wall);
        let jump = wall - (self.wall + passed);
        self.time = wall.max(self.time + passed - passed / SLOWER_BY);
        self.wall = wall;
        self.monotonic = self.monotonic.max(monotonic);
        if jump.abs() < JUMP_NANOS {
            Wall::Steady
        } else if jump > 0 {
            Wall::JumpedForward(unsigned(jump))
        } else {
            Wall::JumpedBack(unsigned(-jump))
        }
    }

    fn now(&self) -> Timestamp {
        let millis = self.time.div_euclid(NANOS_PER_MILLI);
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    /// How long it takes until `at`, if the wall clock goes on steadily.
    fn until(&self, at: Timestamp) -> Duration {
        let left = nanos(at) - self.time;
        let ahead = self.time - self.wall;
        // As long as it is ahead, it takes SLOWER_BY to go on by SLOWER_BY - 1.
        let slower = left.min(ahead * (SLOWER_BY - 1));
        unsigned(left + slower.max(0).div_ceil_by(SLOWER_BY - 1))
    }

    /// An event was recorded at `at`: it is not earlier than that.
    fn is_at_least(&mut self, at: Timestamp) {
        self.time = self.time.max(nanos(at));
    }
}

trait DivCeil {
    fn div_ceil_by(self, by: Self) -> Self;
}

impl DivCeil for i128 {
    fn div_ceil_by(self, by: Self) -> Self {
        (self + by - 1) / by
    }
}

/// The clock that an engine goes by. Clones show the same time.
#[derive(Clone)]
pub(crate) struct EngineTime {
    clock: Arc<dyn Clock>,
    reckoning: Arc<Mutex<Reckoning>>,
}

impl EngineTime {
    /// Begins at the later of the wall clock and `newest`, the newest `recorded_at` of the store.
    pub(crate) fn begin(clock: Arc<dyn Clock>, newest: Option<Timestamp>) -> Self {
        let wall = clock.wall();
        let reckoning = Reckoning::begin(newest, wall, clock.monotonic());
        if let Some(newest) = newest.filter(|newest| *newest > wall) {
            let behind = newest.since(wall);
            tracing::warn!(
                ?behind,
                "the clock is behind what the store has recorded: the engine begins at {newest} \
                 and goes slower until the clock has caught up"
            );
        }
        Self { clock, reckoning: Arc::new(Mutex::new(reckoning)) }
    }

    /// The reckoning, after a look at the clocks.
    fn looked(&self) -> MutexGuard<'_, Reckoning> {
        // What it holds is consistent after every single assignment.
        let mut reckoning = self.reckoning.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that looks come in the order of what they saw.
        match reckoning.look(self.clock.wall(), self.clock.monotonic()) {
            Wall::Steady => {}
            Wall::JumpedForward(by) => {
                tracing::warn!(?by, "the clock was put forward: the engine follows at once");
            }
            Wall::JumpedBack(by) => {
                tracing::warn!(
                    ?by,
                    "the clock was put back: the engine goes slower until the clock has caught up"
                );
            }
        }
        reckoning
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.looked().now()
    }

    /// An event was recorded at `at`, perhaps by an engine with another clock: time does not go
    /// back behind it.
    pub(crate) fn is_at_least(&self, at: Timestamp) {
        self.looked().is_at_least(at);
    }

    /// Ends when [`EngineTime::now`] has reached `at`, also if a jump of the clock brings that
    /// about or puts it off.
    pub(crate) fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let time = self.clone();
        async move {
            loop {
                let left = time.looked().until(at);
                // Also a sleep that is over is slept: what arrives at its very end comes first.
                time.clock.sleep(left).await;
                if time.now() >= at {
                    return;
                }
            }
        }
        .boxed()
    }

    /// Ends after `duration`, whatever becomes of the wall clock.
    pub(crate) fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let clock = Arc::clone(&self.clock);
        let until = clock.monotonic().saturating_add(duration);
        async move {
            loop {
                let left = until.saturating_sub(clock.monotonic());
                clock.sleep(left).await;
                if clock.monotonic() >= until {
                    return;
                }
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn it_begins_at_the_later_of_the_clock_and_the_newest_event() {
        assert_eq!(Reckoning::begin(None, at(7), SECOND).now(), at(7));
        assert_eq!(Reckoning::begin(Some(at(5)), at(7), SECOND).now(), at(7));
        assert_eq!(Reckoning::begin(Some(at(9)), at(7), SECOND).now(), at(9));
    }

    #[test]
    fn a_clock_that_is_put_forward_is_followed_at_once_and_told() {
        let mut time = Reckoning::begin(None, at(0), Duration::ZERO);
        let told = time.look(at(3_601), SECOND);
        assert_eq!(told, Wall::JumpedForward(Duration::from_secs(3_600)));
        assert_eq!(time.now(), at(3_601));
    }

    #[test]
    fn a_clock_that_is_put_back_by_an_hour_is_caught_up_with_in_sixteen() {
        let mut time = Reckoning::begin(None, at(3_600), Duration::ZERO);
        assert_eq!(time.look(at(0), Duration::ZERO), Wall::JumpedBack(3_600 * SECOND));
        for hour in 1..16_i64 {
            let told = time.look(at(hour * 3_600), SECOND * u32::try_from(hour * 3_600).unwrap());
            assert_eq!(told, Wall::Steady);
            assert_eq!(time.now(), at(3_600 + hour * 3_375), "15 parts of 16");
        }
        time.look(at(16 * 3_600), 16 * 3_600 * SECOND);
        assert_eq!(time.now(), at(16 * 3_600));
    }

    /// One look at the clocks: how long after the one before, and where the wall clock is put.
    fn looks() -> impl Strategy<Value = Vec<(u64, i64)>> {
        let put = prop_oneof![
            6 => Just(0_i64),
            1 => -100_i64..100,
            1 => -7_200_000_i64..7_200_000,
            1 => any::<i32>().prop_map(i64::from),
        ];
        prop::collection::vec(
            (prop_oneof![0..50_u64, 0..100_000_000_u64, 0..90_000_000_000_u64], put),
            1..60,
        )
    }

    proptest! {
        #[test]
        fn it_never_goes_back_never_slower_than_half_and_follows_forward(
            newest in prop::option::of(-10_000_000_i64..10_000_000),
            looks in looks(),
        ) {
            let (mut wall, mut monotonic) = (0_i64, Duration::from_secs(1));
            let mut time =
                Reckoning::begin(newest.map(Timestamp::from_millis), at(0), monotonic);
            // The wall clock shows whole milliseconds of this.
            let mut real_wall = 0_i128;
            for (nanos, put) in looks {
                let before = time;
                monotonic += Duration::from_nanos(nanos);
                real_wall += i128::from(nanos) + i128::from(put) * NANOS_PER_MILLI;
                wall = i64::try_from(real_wall.div_euclid(NANOS_PER_MILLI)).unwrap();
                time.look(Timestamp::from_millis(wall), monotonic);
                prop_assert!(time.now() >= before.now(), "it went back");
                let went = time.time - before.time;
                prop_assert!(2 * went >= i128::from(nanos), "it went slower than half");
                prop_assert!(time.now() >= Timestamp::from_millis(wall), "it did not follow");
            }
            let _ = wall;
        }

        #[test]
        fn a_sleep_until_then_ends_then_and_not_before(
            ahead in 0..10_000_i64,
            left in 0..10_000_000_i64,
        ) {
            let mut time = Reckoning::begin(
                Some(Timestamp::from_millis(ahead)), at(0), Duration::ZERO,
            );
            let deadline = Timestamp::from_millis(ahead + left);
            // The engine's sleep and the wall clock are exact to a millisecond.
            let sleep = i64::try_from(time.until(deadline).as_nanos().div_ceil(1_000_000)).unwrap();
            if sleep > 2 {
                let mut early = time;
                let short = sleep - 2;
                early.look(Timestamp::from_millis(short), Duration::from_millis(short.unsigned_abs()));
                prop_assert!(early.now() < deadline, "it would end late");
            }
            time.look(Timestamp::from_millis(sleep), Duration::from_millis(sleep.unsigned_abs()));
            prop_assert!(time.now() >= deadline, "it ended early");
        }
    }
}
