//! The emulator's clock: the machine's, moved by an offset, so that tests can let time pass (stored
//! values expire) or let Astarte's clock be wrong.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// The clock that all parts of one emulator share.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    /// The time by this clock, to the millisecond, as Astarte keeps it.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let real = Utc::now().timestamp_millis();
        at_millis(real.saturating_add(self.offset_ms.load(Ordering::Relaxed)))
    }

    pub(crate) fn set_offset(&self, offset: TimeDelta) {
        self.offset_ms.store(offset.num_milliseconds(), Ordering::Relaxed);
    }
}

/// The time `millis` after the epoch, or the nearest one that can be expressed.
pub(crate) fn at_millis(millis: i64) -> DateTime<Utc> {
    let nearest = if millis < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
    DateTime::from_timestamp_millis(millis).unwrap_or(nearest)
}

/// The form that Astarte gives times in JSON.
pub(crate) fn iso(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_moves_the_clock() {
        let clock = Clock::default();
        let before = clock.now();
        clock.set_offset(TimeDelta::days(400));
        assert!(clock.now() - before >= TimeDelta::days(400));
    }

    #[test]
    fn times_beyond_what_can_be_expressed_are_clipped() {
        assert_eq!(at_millis(i64::MAX), DateTime::<Utc>::MAX_UTC);
        assert_eq!(at_millis(i64::MIN), DateTime::<Utc>::MIN_UTC);
        assert_eq!(iso(at_millis(1)), "1970-01-01T00:00:00.001Z");
    }
}
