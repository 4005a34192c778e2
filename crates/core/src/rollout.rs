//! The rollout mechanism: how a campaign proceeds, and within which limits (D7 to D13, D19).

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::gate::GatePolicy;
use crate::percentage::Percentage;

/// The longest time-out that is taken: one year.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(366 * 24 * 3600);
/// The shortest request time-out (D8).
const SHORTEST_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The most resends of one request.
const MOST_RETRIES: u16 = 1_000;

/// How a campaign proceeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RolloutMechanism {
    /// The engine asks the devices to update (D7 to D13).
    Push(PushRollout),
}

impl RolloutMechanism {
    /// Its limits (D19).
    #[must_use]
    pub fn limits(&self) -> &RolloutLimits {
        match self {
            Self::Push(push) => &push.limits,
        }
    }

    /// Its limits, to be changed before it begins.
    pub fn limits_mut(&mut self) -> &mut RolloutLimits {
        match self {
            Self::Push(push) => &mut push.limits,
        }
    }

    /// What the gates let pass (D5).
    #[must_use]
    pub fn gates(&self) -> GatePolicy {
        match self {
            Self::Push(push) => push.gates,
        }
    }

    /// What the gates let pass, to be changed before it begins.
    pub fn gates_mut(&mut self) -> &mut GatePolicy {
        match self {
            Self::Push(push) => &mut push.gates,
        }
    }

    /// How few targets are too few to begin with (D3).
    #[must_use]
    pub fn minimum_targets(&self) -> u32 {
        match self {
            Self::Push(push) => push.minimum_targets,
        }
    }

    /// How few targets are too few, to be changed before it begins.
    pub fn minimum_targets_mut(&mut self) -> &mut u32 {
        match self {
            Self::Push(push) => &mut push.minimum_targets,
        }
    }
}

/// A push rollout: its limits, which may be changed while it runs, and what is fixed at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushRollout {
    /// What D19 lets an operator change at any time.
    pub limits: RolloutLimits,
    /// What the gates let pass (D5).
    pub gates: GatePolicy,
    /// A snapshot with fewer targets finishes the campaign at once with failure (D3); 0: any will
    /// do.
    #[serde(default)]
    pub minimum_targets: u32,
}

/// The limits of a push rollout. They may be changed while the campaign runs (D19).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutLimits {
    /// The most targets in progress at any instant (D7).
    pub max_pending_operations: NonZeroU32,
    /// The campaign fails as soon as more than this share of its targets has failed (D13).
    pub max_failure_percentage: Percentage,
    /// The limits of each operation.
    pub operation: OperationLimits,
}

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

/// A limit outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// The request time-out is too short or too long.
    #[error("request_timeout is {given:?}: give 30 s to 366 days")]
    RequestTimeout {
        /// What was given.
        given: Duration,
    },
    /// The stall time-out is zero or too long.
    #[error("stall_timeout is {given:?}: give 1 s to 366 days, or none to disable it")]
    StallTimeout {
        /// What was given.
        given: Duration,
    },
    /// The reboot time-out is zero or too long.
    #[error("reboot_timeout is {given:?}: give 1 s to 366 days")]
    RebootTimeout {
        /// What was given.
        given: Duration,
    },
    /// The progress interval is too long.
    #[error("progress_interval is {given:?}: give at most 366 days")]
    ProgressInterval {
        /// What was given.
        given: Duration,
    },
    /// Too many retries.
    #[error("request_retries is {given}: give 0 to 1000")]
    RequestRetries {
        /// What was given.
        given: u16,
    },
}

impl RolloutLimits {
    /// Limits with the defaults of D8, D9 and D12 for everything else.
    ///
    /// ```
    /// use hedgerow_core::{Percentage, RolloutLimits};
    ///
    /// let limits = RolloutLimits::new(std::num::NonZeroU32::new(100).ok_or("zero")?, "2.5".parse()?);
    /// assert_eq!(limits.operation.request_timeout.as_secs(), 300);
    /// limits.validate()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(max_pending_operations: NonZeroU32, max_failure_percentage: Percentage) -> Self {
        Self {
            max_pending_operations,
            max_failure_percentage,
            operation: OperationLimits::default(),
        }
    }

    /// Checks every limit against its range.
    ///
    /// # Errors
    /// The first limit that is outside its range, with the range.
    pub fn validate(&self) -> Result<(), RolloutError> {
        self.operation.validate()
    }
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
pub(crate) mod millis {
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
pub(crate) mod optional_millis {
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
