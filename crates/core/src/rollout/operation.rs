//! The retries and time-outs of one operation (D8, D9, D12).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::RolloutError;

/// The longest time-out that is taken: one year.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(366 * 24 * 3600);
/// The shortest request time-out (D8).
const SHORTEST_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The most resends of one request.
const MOST_RETRIES: u16 = 1_000;

/// The retries and time-outs of one operation, of a campaign or of a manual OTA update (D20).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationLimits {
    /// How often a request is sent again at most (D8).
    pub request_retries: u16,
    /// How long a report is waited for before a request is sent again (D8); at least 30 s.
    #[serde(with = "millis", rename = "request_timeout_ms")]
    pub request_timeout: Duration,
    /// How long an operation may report nothing after its first report (D9); `None`: for ever.
    #[serde(with = "optional_millis", rename = "stall_timeout_ms")]
    pub stall_timeout: Option<Duration>,
    /// How long a device that has rebooted may show another base image (D12).
    #[serde(with = "millis", rename = "reboot_timeout_ms")]
    pub reboot_timeout: Duration,
    /// Within one phase, progress is recorded at most once in this time, or in half of
    /// `stall_timeout` if that is shorter (D9).
    #[serde(with = "millis", rename = "progress_interval_ms")]
    pub progress_interval: Duration,
}

impl Default for OperationLimits {
    fn default() -> Self {
        Self {
            request_retries: 3,
            request_timeout: Duration::from_secs(300),
            stall_timeout: Some(Duration::from_secs(24 * 3600)),
            reboot_timeout: Duration::from_secs(600),
            progress_interval: Duration::from_secs(60),
        }
    }
}

impl OperationLimits {
    /// How long after a recorded report of one phase the next may be recorded, so that a device
    /// that goes on reporting never stalls (D9).
    #[must_use]
    pub fn recording_interval(&self) -> Duration {
        let half = self.stall_timeout.map(|stall| stall / 2);
        half.map_or(self.progress_interval, |half| half.min(self.progress_interval))
    }

    /// Checks every limit against its range.
    ///
    /// # Errors
    /// The first limit that is outside its range, with the range.
    pub fn validate(&self) -> Result<(), RolloutError> {
        let second = Duration::from_secs(1);
        let within = |given: Duration, least: Duration| given >= least && given <= LONGEST_TIMEOUT;
        if !within(self.request_timeout, SHORTEST_REQUEST_TIMEOUT) {
            return Err(RolloutError::RequestTimeout { given: self.request_timeout });
        }
        if let Some(given) = self.stall_timeout.filter(|given| !within(*given, second)) {
            return Err(RolloutError::StallTimeout { given });
        }
        if !within(self.reboot_timeout, second) {
            return Err(RolloutError::RebootTimeout { given: self.reboot_timeout });
        }
        if self.progress_interval > LONGEST_TIMEOUT {
            return Err(RolloutError::ProgressInterval { given: self.progress_interval });
        }
        if self.request_retries > MOST_RETRIES {
            return Err(RolloutError::RequestRetries { given: self.request_retries });
        }
        Ok(())
    }
}

/// Durations as whole milliseconds.
pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        u64::try_from(value.as_millis()).unwrap_or(u64::MAX).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// Durations as whole milliseconds, or null.
pub(super) mod optional_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde hands the field over like this")]
    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|value| u64::try_from(value.as_millis()).unwrap_or(u64::MAX)).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_at_the_edge_of_their_range_are_taken_and_beyond_it_refused() {
        let least = OperationLimits {
            request_retries: 0,
            request_timeout: Duration::from_secs(30),
            ..OperationLimits::default()
        };
        assert_eq!(least.validate(), Ok(()));
        let given = Duration::from_millis(29_999);
        let shorter = OperationLimits { request_timeout: given, ..least.clone() };
        assert_eq!(shorter.validate(), Err(RolloutError::RequestTimeout { given }));
        let endless = OperationLimits { stall_timeout: Some(Duration::MAX), ..least };
        assert!(matches!(endless.validate(), Err(RolloutError::StallTimeout { .. })));
    }
}
