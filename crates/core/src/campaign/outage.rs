//! Whether the transport is known to be down (D10). Volatile: nothing of it is recorded.
//!
//! Reading versions and sending requests are watched apart: after three failures in a row of one
//! of them, no target's turn comes until a trial with a single target succeeds.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::fingerprint::ahead;
use crate::time::Timestamp;

/// Failures in a row that make an outage.
const FAILURES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What was attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Send,
}

/// What the last calls told of the transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outage {
    reads_failed: u32,
    sends_failed: u32,
    /// When the next trial may begin.
    trial_at: Option<Timestamp>,
    /// The target with which a trial is under way.
    trial: Option<u32>,
}

impl Outage {
    pub(super) fn is_known(&self) -> bool {
        self.reads_failed >= FAILURES || self.sends_failed >= FAILURES
    }

    /// Whether a target's turn may come at `now`.
    pub(super) fn admits(&self, now: Timestamp) -> bool {
        !self.is_known() || (self.trial.is_none() && self.trial_at.is_none_or(|at| at <= now))
    }

    /// When [`Outage::admits`] may change by itself.
    pub(super) fn next_trial(&self) -> Option<Timestamp> {
        self.trial_at.filter(|_| self.is_known() && self.trial.is_none())
    }

    /// A target's turn came.
    pub(super) fn turn_began(&mut self, target: u32) {
        self.trial = Some(target).filter(|_| self.is_known());
    }

    /// The target's turn ended before it told anything of the transport.
    pub(super) fn turn_ended(&mut self, target: u32) {
        self.trial.take_if(|trial| *trial == target);
    }

    /// A call failed for now, and with it the trial, if its target was the one.
    pub(super) fn failed(&mut self, call: Call, target: u32, now: Timestamp) {
        let failed = match call {
            Call::Read => &mut self.reads_failed,
            Call::Send => &mut self.sends_failed,
        };
        *failed = failed.saturating_add(1);
        let beyond = failed.saturating_sub(FAILURES).min(8);
        self.trial_at = Some(now + (FIRST_PAUSE * 2_u32.pow(beyond)).min(LONGEST_PAUSE));
        self.turn_ended(target);
    }

    /// See [`LiveCampaign::hash_from`](super::LiveCampaign::hash_from).
    pub(super) fn hash_from(&self, now: Timestamp, hasher: &mut impl Hasher) {
        let counted = |failed: u32| failed.min(FAILURES + 8);
        (counted(self.reads_failed), counted(self.sends_failed)).hash(hasher);
        (ahead(self.trial_at, now), self.trial).hash(hasher);
    }

    /// A call was answered. That versions can be read does not tell that requests can be sent.
    pub(super) fn succeeded(&mut self, call: Call) {
        self.reads_failed = 0;
        if call == Call::Send {
            self.sends_failed = 0;
            self.trial = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_three_failures_one_trial_at_a_time_is_admitted() {
        let now = Timestamp::from_millis(0);
        let mut outage = Outage::default();
        outage.failed(Call::Send, 7, now);
        outage.failed(Call::Send, 7, now);
        assert!(outage.admits(now));
        outage.failed(Call::Send, 7, now);
        assert!(!outage.admits(now));
        let trial = outage.next_trial().unwrap();
        assert!(outage.admits(trial));
        outage.turn_began(7);
        outage.turn_ended(3);
        outage.failed(Call::Send, 4, now);
        let trial = trial + LONGEST_PAUSE;
        assert!(!outage.admits(trial), "a second trial beside the first");
        outage.succeeded(Call::Read);
        assert!(!outage.admits(trial), "reading works, but sending is what failed");
        outage.turn_ended(7);
        assert!(outage.admits(trial), "the trial ended without an answer");
        outage.succeeded(Call::Send);
        assert!(outage.admits(trial));
        assert!(!outage.is_known());
    }
}
