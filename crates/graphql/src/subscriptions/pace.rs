//! How fast messages leave: so many in a second, and as many at once after a while without any.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket that fills with time and is emptied by messages.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u32,
    /// When the bucket was last looked at, and how much was in it, in messages.
    looked: Option<Instant>,
    full: f64,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        Self { per_second, looked: None, full: f64::from(per_second) }
    }

    /// Until when the next message waits; `None`: it need not.
    pub(super) fn wait_until(&mut self, now: Instant) -> Option<Instant> {
        let most = f64::from(self.per_second);
        if let Some(looked) = self.looked {
            let since = now.saturating_duration_since(looked).as_secs_f64();
            self.full = (self.full + since * most).min(most);
        }
        self.looked = Some(now);
        (self.full < 1.0).then(|| now + Duration::from_secs_f64((1.0 - self.full) / most))
    }

    /// A message has left.
    pub(super) fn sent(&mut self, now: Instant) {
        let _ = self.wait_until(now);
        self.full -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_so_many_leave_in_a_second() {
        let (mut pace, begin) = (Pace::new(4), Instant::now());
        let (mut now, mut sent) = (begin, 0);
        while now <= begin + Duration::from_secs(10) {
            if let Some(until) = pace.wait_until(now) {
                assert!(until > now, "it goes on");
                now = until;
            } else {
                pace.sent(now);
                sent += 1;
            }
        }
        assert!((43..=45).contains(&sent), "{sent}");
    }
}
