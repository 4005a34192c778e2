//! Whose users have agreed, as naive bookkeeping sees it (P15).

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::event::PolicyFactRecorded;
use hedgerow_core::{
    AtDeadline, CampaignDefinition, Consent, ConsentAnswer, ConsentPolicy, PolicyFact,
    TargetStatus, Timestamp,
};

use super::Model;
use crate::simulate::invariant::{Checked, Invariant, ensure};

/// See the module's documentation. Targets are known by their places.
pub(super) struct Consents {
    policy: Option<ConsentPolicy>,
    pub(super) started_at: Option<Timestamp>,
    /// What was recorded of each, all of it; the last one counts.
    answers: BTreeMap<usize, Vec<ConsentAnswer>>,
    started: BTreeSet<usize>,
    is_over: bool,
}

impl Consents {
    pub(super) fn of(definition: &CampaignDefinition) -> Self {
        Self {
            policy: definition.rollout.consent().copied(),
            started_at: None,
            answers: BTreeMap::new(),
            started: BTreeSet::new(),
            is_over: false,
        }
    }

    fn latest(&self, place: usize) -> Option<ConsentAnswer> {
        self.answers.get(&place)?.last().copied()
    }

    fn admit(&self, place: usize) -> bool {
        let granted = self.latest(place) == Some(ConsentAnswer::Granted);
        self.policy.is_none() || self.is_over || granted
    }
}

impl Model {
    /// Whether a target may start, as far as its user goes.
    pub(in crate::simulate::check) fn is_agreed(&self, place: usize) -> bool {
        self.consents.admit(place)
    }

    /// Whether users of its devices are asked.
    pub(in crate::simulate::check) fn asks_users(&self) -> bool {
        self.consents.policy.is_some()
    }

    /// Whether what a user was told to be taken is in the log, or came too late to be recorded.
    pub(in crate::simulate::check) fn has_heard(
        &self,
        place: usize,
        answer: ConsentAnswer,
    ) -> bool {
        let consents = &self.consents;
        let recorded = consents.answers.get(&place).is_some_and(|all| all.contains(&answer));
        recorded || consents.started.contains(&place) || self.targets[place].status.is_final()
    }

    /// An operation of a target starts.
    pub(super) fn starts_agreed(&mut self, place: usize) -> Checked {
        let again = !self.consents.started.insert(place);
        ensure(again || self.consents.admit(place), Invariant::Consent, || {
            "an operation starts, and its device's user has not agreed".to_owned()
        })
    }

    /// What a policy goes by is recorded.
    pub(super) fn take_policy_fact(
        &mut self,
        recorded: &PolicyFactRecorded,
        at: Timestamp,
    ) -> Checked {
        match (&recorded.fact, recorded.device) {
            (PolicyFact::Consent(consent), Some(device)) => {
                let place = self.target(device)?;
                self.user_answers(place, consent)
            }
            (PolicyFact::ConsentOver(over), None) => self.consent_is_over(over.then, at),
            (fact, device) => ensure(false, Invariant::Consent, || {
                format!("{fact:?} is recorded of the device {device:?}")
            }),
        }
    }

    fn user_answers(&mut self, place: usize, consent: &Consent) -> Checked {
        let idle = self.targets[place].status == TargetStatus::Idle;
        let waits = idle && self.is_running() && !self.consents.started.contains(&place);
        ensure(waits && self.consents.policy.is_some(), Invariant::Consent, || {
            "an answer is recorded for which nobody waits".to_owned()
        })?;
        let again = self.consents.latest(place) == Some(consent.answer);
        ensure(!again, Invariant::Consent, || "the same answer is recorded again".to_owned())?;
        self.consents.answers.entry(place).or_default().push(consent.answer);
        Ok(())
    }

    fn consent_is_over(&mut self, then: AtDeadline, at: Timestamp) -> Checked {
        let Consents { policy, started_at, is_over, .. } = self.consents;
        let due = policy.zip(started_at).map(|(policy, began)| began + policy.deadline);
        let is_due = due.is_some_and(|due| due <= at) && self.is_running();
        ensure(is_due && !is_over, Invariant::Consent, || {
            format!("the time to answer is over at {at}, it is {due:?}")
        })?;
        ensure(policy.is_some_and(|policy| policy.then == then), Invariant::Consent, || {
            format!("what happens without an answer is {then:?}")
        })?;
        if then == AtDeadline::GiveUp {
            let is_given_up = |place: &usize| {
                self.targets[*place].status == TargetStatus::Idle && !self.is_agreed(*place)
            };
            let given_up: Vec<usize> = (0..self.targets.len()).filter(is_given_up).collect();
            for place in given_up {
                self.become_final(place, TargetStatus::Cancelled);
            }
        }
        self.consents.is_over = true;
        Ok(())
    }
}
