//! The rollout mechanism: how a campaign proceeds, and within which limits (D7 to D13, D19).
//!
//! Definitions, edits and events carry these types whole, so that what is new is said here alone: a
//! file of its own for what it is made of, its range and its arithmetic, and here
//!
//! | A line in | for |
//! |---|---|
//! | [`PushRollout`] | what is fixed when the campaign starts |
//! | [`RolloutLimits`], [`LimitsEdit`] and its `of` | what may be edited while the campaign runs (D19) |
//! | [`RolloutError`], `validate` | its range |
//! | [`DeviceFact`], [`DeviceFacts`] | what has to be known of a device for it |

mod operation;

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

pub use self::operation::OperationLimits;
use self::operation::optional_millis;
use crate::gate::GatePolicy;
use crate::percentage::Percentage;

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

#[expect(clippy::option_option, reason = "left out, null and a number are three things")]
fn given_millis<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Duration>>, D::Error> {
    optional_millis::deserialize(from).map(Some)
}

/// Limits that are to change (D19); `None` leaves one as it is. Its keys are those of
/// [`RolloutLimits`] and [`OperationLimits`], side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsEdit {
    /// See [`RolloutLimits::max_pending_operations`].
    pub max_pending_operations: Option<NonZeroU32>,
    /// See [`RolloutLimits::max_failure_percentage`].
    pub max_failure_percentage: Option<Percentage>,
    /// See [`OperationLimits::request_retries`].
    pub request_retries: Option<u16>,
    /// See [`OperationLimits::request_timeout`].
    #[serde(rename = "request_timeout_ms", deserialize_with = "optional_millis::deserialize")]
    pub request_timeout: Option<Duration>,
    /// See [`OperationLimits::stall_timeout`]; `Some(None)`, read from `null`, disables it.
    #[serde(rename = "stall_timeout_ms", deserialize_with = "given_millis")]
    pub stall_timeout: Option<Option<Duration>>,
    /// See [`OperationLimits::reboot_timeout`].
    #[serde(rename = "reboot_timeout_ms", deserialize_with = "optional_millis::deserialize")]
    pub reboot_timeout: Option<Duration>,
    /// See [`OperationLimits::progress_interval`].
    #[serde(rename = "progress_interval_ms", deserialize_with = "optional_millis::deserialize")]
    pub progress_interval: Option<Duration>,
}

impl LimitsEdit {
    /// The limits with these changes.
    #[must_use]
    pub fn of(&self, limits: &RolloutLimits) -> RolloutLimits {
        let operation = &limits.operation;
        RolloutLimits {
            max_pending_operations: self
                .max_pending_operations
                .unwrap_or(limits.max_pending_operations),
            max_failure_percentage: self
                .max_failure_percentage
                .unwrap_or(limits.max_failure_percentage),
            operation: OperationLimits {
                request_retries: self.request_retries.unwrap_or(operation.request_retries),
                request_timeout: self.request_timeout.unwrap_or(operation.request_timeout),
                stall_timeout: self.stall_timeout.unwrap_or(operation.stall_timeout),
                reboot_timeout: self.reboot_timeout.unwrap_or(operation.reboot_timeout),
                progress_interval: self.progress_interval.unwrap_or(operation.progress_interval),
            },
        }
    }
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

/// What is told of a device, beside where it is, that bears on whether it may start now. Volatile:
/// after a restart it is told again (E7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceFact {
    /// Another stream's operation keeps it busy (D14).
    Busy,
    /// No other stream's operation keeps it busy any more.
    Free,
}

/// What is known of a device by such facts. Nothing was told of most devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DeviceFacts {
    pub(crate) is_busy: bool,
}

impl DeviceFacts {
    /// Takes in what was told.
    pub(crate) fn learn(&mut self, fact: DeviceFact) {
        match fact {
            DeviceFact::Busy => self.is_busy = true,
            DeviceFact::Free => self.is_busy = false,
        }
    }
}
