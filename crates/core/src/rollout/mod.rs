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
//! | [`PolicyFact`], [`PolicyState`] and its functions | what is recorded for it, and what follows from that |
//! | [`PolicyHold`], [`GivenUp`] | for what its targets wait, and why it cancels some |
//!
//! What a policy records is carried by one event, `policy_fact_recorded`, whatever it is: its shape, its
//! fold, its range, what it holds and when it is due are all here, and a campaign asks for them without
//! knowing of which policy they are.

mod consent;
mod operation;

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use self::consent::Consents;
pub use self::consent::{AtDeadline, Consent, ConsentAnswer, ConsentOver, ConsentPolicy};
pub use self::operation::OperationLimits;
use self::operation::optional_millis;
use crate::gate::GatePolicy;
use crate::percentage::Percentage;
use crate::time::Timestamp;

/// How a campaign proceeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RolloutMechanism {
    /// The engine asks the devices to update (D7 to D13).
    Push(PushRollout),
    /// The same, when the devices' users have agreed (P15).
    Optional(OptionalRollout),
}

impl RolloutMechanism {
    fn push(&self) -> &PushRollout {
        match self {
            Self::Push(push) | Self::Optional(OptionalRollout { push, .. }) => push,
        }
    }

    fn push_mut(&mut self) -> &mut PushRollout {
        match self {
            Self::Push(push) | Self::Optional(OptionalRollout { push, .. }) => push,
        }
    }

    /// Its limits (D19).
    #[must_use]
    pub fn limits(&self) -> &RolloutLimits {
        &self.push().limits
    }

    /// Its limits, to be changed before it begins.
    pub fn limits_mut(&mut self) -> &mut RolloutLimits {
        &mut self.push_mut().limits
    }

    /// What the gates let pass (D5).
    #[must_use]
    pub fn gates(&self) -> GatePolicy {
        self.push().gates
    }

    /// What the gates let pass, to be changed before it begins.
    pub fn gates_mut(&mut self) -> &mut GatePolicy {
        &mut self.push_mut().gates
    }

    /// How few targets are too few to begin with (D3).
    #[must_use]
    pub fn minimum_targets(&self) -> u32 {
        self.push().minimum_targets
    }

    /// How few targets are too few, to be changed before it begins.
    pub fn minimum_targets_mut(&mut self) -> &mut u32 {
        &mut self.push_mut().minimum_targets
    }

    /// What is asked of the users of its devices, if they are asked (P15).
    #[must_use]
    pub fn consent(&self) -> Option<&ConsentPolicy> {
        match self {
            Self::Push(_) => None,
            Self::Optional(optional) => Some(&optional.consent),
        }
    }

    /// Checks all of it against its ranges.
    ///
    /// # Errors
    /// The first value that is outside its range, with the range.
    pub fn validate(&self) -> Result<(), RolloutError> {
        self.limits().validate()?;
        self.consent().map_or(Ok(()), ConsentPolicy::validate)
    }
}

/// A rollout to devices whose users are asked for their consent (P15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionalRollout {
    /// How it proceeds with those that may be updated.
    pub push: PushRollout,
    /// What is asked of their users.
    pub consent: ConsentPolicy,
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
    /// The time to answer is too short or too long (P15).
    #[error("consent.deadline is {given:?}: give 1 s to 366 days")]
    ConsentDeadline {
        /// What was given.
        given: Duration,
    },
    /// The name of who has answered is too long.
    #[error("whoever has answered has a name of {bytes} bytes: give one of at most {most}")]
    ConsentBy {
        /// Its length.
        bytes: usize,
        /// The longest.
        most: usize,
    },
    /// The rollout asks nobody, so there is nothing to answer (P15).
    #[error("the campaign asks nobody for a consent: its rollout is not `optional`")]
    NoConsentAsked,
    /// The engine records this by itself.
    #[error("nobody can tell this: the engine records it when its time has come")]
    NotToBeTold,
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

/// Something that is recorded for a policy: about one device, or about the campaign as a whole. Events
/// carry it whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PolicyFact {
    /// The user of a device has answered (P15).
    Consent(Consent),
    /// The time to answer is over (P15).
    ConsentOver(ConsentOver),
}

impl PolicyFact {
    /// The version of the shape of all of them: one higher with each that is added, so that an older
    /// program says that it does not know it (E6). Older ones are read as they are.
    pub const SCHEMA: u16 = 1;
}

/// For what an idle target of a policy waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PolicyHold {
    /// Its user has not answered (P15).
    ConsentAwaited { until: Option<Timestamp> },
    /// Its user has declined (P15).
    ConsentDeclined { until: Option<Timestamp> },
}

/// Why a policy has cancelled a target before its turn came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GivenUp {
    /// Its user had not agreed when the time to answer was over (P15).
    NoConsent,
}

impl GivenUp {
    /// All reasons.
    pub const ALL: [Self; 1] = [Self::NoConsent];

    /// The name, in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoConsent => "no_consent",
        }
    }
}

/// What became of a target, for the policies that go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is one of the snapshot.
    Joined,
    /// An operation of it has started.
    Started,
    /// It ran the image before its turn came.
    UpToDate,
    Successful,
    Failed,
    Cancelled,
}

/// What a campaign's policies have made of its events: part of its folded state (E1). Nothing of a
/// campaign without policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct PolicyState {
    consents: Option<Consents>,
}

impl PolicyState {
    /// That of a campaign of which nothing is recorded yet.
    pub(crate) fn of(rollout: &RolloutMechanism) -> Self {
        Self { consents: rollout.consent().copied().map(Consents::new) }
    }

    /// Whether a state that was read back belongs to so many targets.
    pub(crate) fn is_of(&self, targets: usize) -> bool {
        self.consents.as_ref().is_none_or(|consents| consents.len() == targets)
    }

    /// Folds a fact, about a target or about all.
    pub(crate) fn fold(
        &mut self,
        target: Option<u32>,
        fact: &PolicyFact,
    ) -> Result<(), &'static str> {
        let consents = self.consents.as_mut().ok_or("its rollout asks for no consent")?;
        match (fact, target) {
            (PolicyFact::Consent(consent), Some(target)) => consents.answered(target, consent),
            (PolicyFact::ConsentOver(_), None) => {
                consents.over();
                Ok(())
            }
            (PolicyFact::Consent(_), None) => Err("a consent is about a device"),
            (PolicyFact::ConsentOver(_), Some(_)) => Err("it is about no device"),
        }
    }

    /// Whether anything depends on what becomes of single targets.
    pub(crate) fn follow_targets(&self) -> bool {
        self.consents.is_some()
    }

    /// Takes in what became of a target.
    pub(crate) fn changed(&mut self, target: u32, change: Change) {
        if let Some(consents) = &mut self.consents {
            consents.changed(target, change);
        }
    }

    /// Whether what somebody tells of a target may be recorded, and would change anything.
    pub(crate) fn takes(&self, target: u32, fact: &PolicyFact) -> Result<bool, RolloutError> {
        match fact {
            PolicyFact::Consent(consent) => {
                consent.validate()?;
                let consents = self.consents.as_ref().ok_or(RolloutError::NoConsentAsked)?;
                Ok(consents.is_changed_by(target, consent))
            }
            PolicyFact::ConsentOver(_) => Err(RolloutError::NotToBeTold),
        }
    }

    /// For what an idle target waits.
    pub(crate) fn hold(&self, target: u32, started_at: Option<Timestamp>) -> Option<PolicyHold> {
        self.consents.as_ref()?.hold(target, started_at)
    }

    /// Why an idle target is cancelled, if a fact about all has made an end of it.
    pub(crate) fn has_given_up(&self, target: u32) -> Option<GivenUp> {
        self.consents.as_ref()?.has_given_up(target)
    }

    /// When there is something to be recorded next.
    pub(crate) fn due_at(&self, started_at: Option<Timestamp>) -> Option<Timestamp> {
        self.consents.as_ref()?.due_at(started_at?)
    }

    /// What is to be recorded at `now`.
    pub(crate) fn due(&self, started_at: Option<Timestamp>, now: Timestamp) -> Option<PolicyFact> {
        let is_due = self.due_at(started_at).is_some_and(|at| at <= now);
        self.consents.as_ref().filter(|_| is_due).map(Consents::due)
    }
}
