//! The consent of a device's user (P15): an optional rollout updates a device when its user has agreed.
//! What is given, what is recorded, what follows from it for each target, and how long it is waited for.
//!
//! An answer admits its target, or holds it; the last one counts until the target's operation starts,
//! and lasts for whatever is tried after that. At the deadline those without a granted answer go on as
//! if it had been granted, or are given up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::operation::millis;
use super::{Change, GivenUp, PolicyFact, PolicyHold, RolloutError};
use crate::time::Timestamp;

/// The longest time to answer: one year.
const LONGEST_DEADLINE: Duration = Duration::from_secs(366 * 24 * 3600);
/// The longest name of whoever has answered, in bytes.
const LONGEST_NAME: usize = 256;

/// What is asked of the users of an optional rollout (P15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentPolicy {
    /// How long their answers are waited for, from the campaign's start on; 1 s to 366 days.
    #[serde(with = "millis", rename = "deadline_ms")]
    pub deadline: Duration,
    /// What happens then to targets whose users have declined, or not answered.
    #[serde(default)]
    pub then: AtDeadline,
}

/// What happens without a consent when the time to answer is over (P15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtDeadline {
    /// Their devices are updated all the same.
    #[default]
    Force,
    /// They are cancelled.
    GiveUp,
}

/// What the user of a device has answered (P15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// The answer.
    pub answer: ConsentAnswer,
    /// Who has answered, if that is known: up to 256 bytes. When is the event's own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Whether a device may be updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConsentAnswer {
    /// It may.
    Granted,
    /// It may not, for now.
    Declined,
}

/// The time to answer is over (P15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentOver {
    /// What happens to targets without a granted answer.
    pub then: AtDeadline,
}

impl ConsentPolicy {
    pub(super) fn validate(&self) -> Result<(), RolloutError> {
        let given = self.deadline;
        let is_within = given >= Duration::from_secs(1) && given <= LONGEST_DEADLINE;
        if is_within { Ok(()) } else { Err(RolloutError::ConsentDeadline { given }) }
    }
}

impl Consent {
    /// Checks what comes from outside.
    pub(super) fn validate(&self) -> Result<(), RolloutError> {
        let bytes = self.by.as_ref().map_or(0, String::len);
        if bytes > LONGEST_NAME {
            return Err(RolloutError::ConsentBy { bytes, most: LONGEST_NAME });
        }
        Ok(())
    }
}

/// What is known of the consent for one target: one byte (C2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Standing {
    #[default]
    Awaited,
    Granted,
    Declined,
    /// Its operation has started, or it has come to its end: nothing is asked any more.
    Past,
}

/// The consents of a campaign: folded, and nothing else (E1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Consents {
    policy: ConsentPolicy,
    targets: Vec<Standing>,
    /// How many of them have neither started nor ended.
    waiting: u32,
    is_over: bool,
}

impl Consents {
    pub(super) fn new(policy: ConsentPolicy) -> Self {
        Self { policy, targets: Vec::new(), waiting: 0, is_over: false }
    }

    /// For how many targets; see [`Campaign::restore`](crate::Campaign::restore).
    pub(super) fn len(&self) -> usize {
        self.targets.len()
    }

    fn of(&self, target: u32) -> Standing {
        self.targets.get(target as usize).copied().unwrap_or_default()
    }

    /// Whether an answer would change anything.
    pub(super) fn is_changed_by(&self, target: u32, consent: &Consent) -> bool {
        let standing = self.of(target);
        standing != Standing::Past && standing != Standing::by(consent.answer)
    }

    pub(super) fn answered(&mut self, target: u32, consent: &Consent) -> Result<(), &'static str> {
        match self.targets.get_mut(target as usize) {
            Some(standing) if *standing != Standing::Past => {
                *standing = Standing::by(consent.answer);
                Ok(())
            }
            _ => Err("nobody is asked for a consent any more"),
        }
    }

    pub(super) fn over(&mut self) {
        self.is_over = true;
    }

    /// Something became of a target.
    pub(super) fn changed(&mut self, target: u32, change: Change) {
        if change == Change::Joined {
            self.targets.push(Standing::Awaited);
            self.waiting += 1;
        } else if let Some(standing) = self.targets.get_mut(target as usize)
            && std::mem::replace(standing, Standing::Past) != Standing::Past
        {
            self.waiting -= 1;
        }
    }

    /// What an idle target waits for.
    pub(super) fn hold(&self, target: u32, started_at: Option<Timestamp>) -> Option<PolicyHold> {
        let until = started_at.map(|at| at + self.policy.deadline);
        match self.of(target) {
            Standing::Awaited if !self.is_over => Some(PolicyHold::ConsentAwaited { until }),
            Standing::Declined if !self.is_over => Some(PolicyHold::ConsentDeclined { until }),
            _ => None,
        }
    }

    /// Whether an idle target has been given up.
    pub(super) fn has_given_up(&self, target: u32) -> Option<GivenUp> {
        let is_without = matches!(self.of(target), Standing::Awaited | Standing::Declined);
        let gives_up = self.is_over && self.policy.then == AtDeadline::GiveUp;
        (gives_up && is_without).then_some(GivenUp::NoConsent)
    }

    /// When the time to answer is over, if anybody still waits.
    pub(super) fn due_at(&self, started_at: Timestamp) -> Option<Timestamp> {
        (!self.is_over && self.waiting > 0).then(|| started_at + self.policy.deadline)
    }

    pub(super) fn due(&self) -> PolicyFact {
        PolicyFact::ConsentOver(ConsentOver { then: self.policy.then })
    }
}

impl Standing {
    fn by(answer: ConsentAnswer) -> Self {
        match answer {
            ConsentAnswer::Granted => Self::Granted,
            ConsentAnswer::Declined => Self::Declined,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_at_the_edge_of_its_range_is_taken_and_beyond_it_refused() {
        let policy = |deadline| ConsentPolicy { deadline, then: AtDeadline::Force };
        for taken in [Duration::from_secs(1), LONGEST_DEADLINE] {
            assert_eq!(policy(taken).validate(), Ok(()));
        }
        let longer = LONGEST_DEADLINE + Duration::from_millis(1);
        for given in [Duration::from_millis(999), longer] {
            let refused = Err(RolloutError::ConsentDeadline { given });
            assert_eq!(policy(given).validate(), refused);
        }
        let by = |length| Consent { answer: ConsentAnswer::Granted, by: Some("x".repeat(length)) };
        assert_eq!(by(LONGEST_NAME).validate(), Ok(()));
        assert!(by(LONGEST_NAME + 1).validate().is_err());
    }

    #[test]
    fn consent_is_one_byte_for_each_target() {
        assert_eq!(size_of::<Standing>(), 1, "C2");
    }
}
