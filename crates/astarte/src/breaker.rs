//! Notices that Astarte cannot be reached, so that calls are answered at once instead of each
//! waiting for its own time-out.
//!
//! What becomes of the rollout is not decided here: the core has a model of outages (D10) and stops
//! starting operations by itself. This only keeps the calls that it still makes, and those of all
//! other campaigns of the realm, from piling up behind time-outs.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Calls in a row without any answer that open the breaker.
const FAILURES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Shorter than the core's pause between trials, so that its trial finds an open way.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// No call is made before this, but for the one that tries.
    open_until: Option<Instant>,
}

impl State {
    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(FAILURES).min(8);
        (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
    }
}

impl Breaker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call may be made. After a pause one call is let through; the others wait for what
    /// becomes of it.
    pub(crate) fn admits(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        match state.open_until {
            Some(until) if now < until => false,
            Some(_) => {
                state.open_until = Some(now + state.pause());
                true
            }
            None => true,
        }
    }

    /// There was an answer, whatever it said. `true` if this ends an outage.
    pub(crate) fn answered(&self) -> bool {
        let mut state = self.state();
        let was_open = state.open_until.is_some();
        *state = State::default();
        was_open
    }

    /// There was none.
    pub(crate) fn failed(&self) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.open_until = Some(Instant::now() + state.pause());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_five_failures_tries_with_one_call_and_closes_on_an_answer() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert!(breaker.admits());
            breaker.failed();
        }
        assert!(!breaker.admits());
        tokio::time::advance(FIRST_PAUSE).await;
        assert!(breaker.admits(), "one call tries");
        assert!(!breaker.admits(), "the others wait for it");
        breaker.failed();
        tokio::time::advance(FIRST_PAUSE).await;
        assert!(!breaker.admits(), "the pause has grown");
        tokio::time::advance(FIRST_PAUSE).await;
        assert!(breaker.admits());
        assert!(breaker.answered());
        assert!(breaker.admits() && breaker.admits());
        assert!(!breaker.answered(), "there was no outage to end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_never_heard_of_again_does_not_keep_it_open_for_ever() {
        let breaker = Breaker::default();
        (0..FAILURES).for_each(|_| breaker.failed());
        for _ in 0..3 {
            tokio::time::advance(LONGEST_PAUSE).await;
            assert!(breaker.admits());
        }
    }
}
