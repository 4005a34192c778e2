//! A number that only grows, and those who wait for it to.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard};

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Signal {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    number: u64,
    is_over: bool,
    waiting: BTreeMap<u64, Waker>,
    next: u64,
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done with it can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn number(&self) -> u64 {
        self.state().number
    }

    /// Whether it grows no more.
    pub(crate) fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// Adds one.
    pub(crate) fn raise(&self) {
        self.change(|state| state.number += 1);
    }

    /// Makes it at least that.
    pub(crate) fn raise_to(&self, number: u64) {
        self.change(|state| state.number = state.number.max(number));
    }

    /// It grows no more: nobody waits any longer.
    pub(crate) fn end(&self) {
        self.change(|state| state.is_over = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let waiting = {
            let mut state = self.state();
            change(&mut state);
            std::mem::take(&mut state.waiting)
        };
        for (_, waker) in waiting {
            waker.wake();
        }
    }

    /// Ends when the number is above `seen`, or grows no more.
    pub(crate) fn beyond(&self, seen: u64) -> Beyond<'_> {
        Beyond { signal: self, seen, place: None }
    }
}

/// See [`Signal::beyond`].
pub(crate) struct Beyond<'a> {
    signal: &'a Signal,
    seen: u64,
    place: Option<u64>,
}

impl Future for Beyond<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.signal.state();
        if state.number > self.seen || state.is_over {
            return Poll::Ready(());
        }
        let place = self.place.unwrap_or_else(|| {
            state.next += 1;
            state.next
        });
        state.waiting.insert(place, context.waker().clone());
        drop(state);
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Beyond<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.signal.state().waiting.remove(&place);
        }
    }
}

#[cfg(all(test, not(feature = "schedules")))]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn who_waits_is_woken_when_the_number_is_above_what_was_seen_and_not_before() {
        let signal = Signal::default();
        signal.raise();
        let mut wait = Box::pin(signal.beyond(2));
        assert!(wait.as_mut().now_or_never().is_none());
        signal.raise_to(2);
        assert!(wait.as_mut().now_or_never().is_none());
        signal.raise_to(1);
        assert_eq!(signal.number(), 2, "it never goes back");
        signal.raise();
        assert!(wait.as_mut().now_or_never().is_some());
    }

    #[test]
    fn nobody_waits_for_what_grows_no_more_and_who_has_gone_leaves_nothing_behind() {
        let signal = Signal::default();
        let mut wait = Box::pin(signal.beyond(0));
        assert!(wait.as_mut().now_or_never().is_none());
        assert_eq!(signal.state().waiting.len(), 1);
        drop(wait);
        assert_eq!(signal.state().waiting.len(), 0);
        signal.end();
        assert!(signal.beyond(7).now_or_never().is_some());
    }
}
