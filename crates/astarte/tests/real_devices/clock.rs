//! An engine's clock that goes faster than the machine's, so that its pauses and time-outs, the
//! shortest of which is half a minute, pass in moments.

use std::time::{Duration, SystemTime};

use hedgerow_core::Timestamp;
use hedgerow_engine::ports::{BoxFuture, Clock};
use tokio::time::Instant;

/// Started at the machine's time, so many times as fast from then on.
#[derive(Clone, Copy, Debug)]
pub struct FastClock {
    began: Instant,
    origin: Timestamp,
    speed: u32,
}

impl FastClock {
    pub fn new(speed: u32) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), origin: Timestamp::default() + since, speed: speed.max(1) }
    }
}

impl Clock for FastClock {
    fn wall(&self) -> Timestamp {
        self.origin + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed() * self.speed
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep((duration / self.speed).max(Duration::from_millis(1))))
    }
}
