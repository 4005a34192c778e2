//! How much the endpoint takes: so many deliveries at once, so many in a second.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// A bound on deliveries at once, and one on deliveries in a second.
#[derive(Debug)]
pub(super) struct Limiter {
    permits: Arc<Semaphore>,
    rate: Option<Mutex<Rate>>,
}

/// Lets deliveries through at a steady rate, and so many together as a second may have.
#[derive(Debug)]
struct Rate {
    interval: Duration,
    /// When the deliveries so far would have ended at the steady rate.
    next: Instant,
}

impl Limiter {
    pub(super) fn new(at_once: usize, per_second: Option<NonZeroU32>) -> Self {
        let rate = per_second.map(|per_second| {
            let interval = Duration::from_secs(1) / per_second.get();
            Mutex::new(Rate { interval, next: Instant::now() })
        });
        let at_once = at_once.clamp(1, Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(at_once)), rate }
    }

    /// Lets one delivery in until the permit is dropped; `None` if that is one too many.
    pub(super) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        if let Some(rate) = &self.rate {
            let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let next = rate.next.max(now);
            if next - now >= Duration::from_secs(1) {
                return None;
            }
            rate.next = next + rate.interval;
        }
        Some(permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn deliveries_beyond_the_bounds_are_turned_away_until_there_is_room() {
        let limiter = Limiter::new(2, None);
        let first = limiter.admit();
        let second = limiter.admit();
        assert!(first.is_some() && second.is_some() && limiter.admit().is_none());
        drop(first);
        assert!(limiter.admit().is_some());

        let limiter = Limiter::new(100, NonZeroU32::new(10));
        let admitted = |limiter: &Limiter| (0..20).filter(|_| limiter.admit().is_some()).count();
        assert_eq!(admitted(&limiter), 10, "a second's worth at once");
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!(admitted(&limiter), 3);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(admitted(&limiter), 10);
    }
}
