//! What a run has tried: which transitions of the two state machines were taken, which events were
//! recorded, which faults were injected.

use std::collections::BTreeMap;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{CampaignStatus, Phase};
use serde::Serialize;

use super::fault::FaultKind;

const PHASES: usize = Phase::ALL.len();
const STATUSES: usize = CampaignStatus::ALL.len();

/// What one run, or many, have tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// What the engine was told: observations, commands, answers to its calls, timers.
    pub inputs: u64,
    /// Instants at which something happened.
    pub steps: u64,
    /// How much virtual time passed, in milliseconds.
    pub virtual_ms: u64,
    /// Faults that were injected.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Events that were recorded, by type.
    pub events: BTreeMap<&'static str, u64>,
    operation: [[u64; PHASES]; PHASES],
    campaign: [[u64; STATUSES]; STATUSES],
}

/// A transition of a state machine and how often it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// Where it begins.
    pub from: &'static str,
    /// Where it leads.
    pub to: &'static str,
    /// How often it was taken.
    pub taken: u64,
}

impl Coverage {
    pub(super) fn event(&mut self, name: &'static str) {
        *self.events.entry(name).or_default() += 1;
    }

    pub(super) fn campaign(&mut self, from: CampaignStatus, to: CampaignStatus) {
        if from != to {
            self.campaign[from as usize][to as usize] += 1;
        }
    }

    /// An event of an operation that was in phase `from`.
    pub(super) fn operation(&mut self, from: Option<Phase>, event: &CampaignEvent) {
        let to = match event {
            CampaignEvent::OperationReported(e) => e.phase,
            CampaignEvent::OperationSucceeded(_) => Phase::Success,
            CampaignEvent::OperationFailed(_) => Phase::Failure,
            _ => return,
        };
        if let Some(from) = from.filter(|from| *from != to) {
            self.operation[from as usize][to as usize] += 1;
        }
    }

    /// Adds what another run has tried.
    pub fn add(&mut self, other: &Self) {
        self.inputs += other.inputs;
        self.steps += other.steps;
        self.virtual_ms += other.virtual_ms;
        for (kind, count) in &other.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
        for (name, count) in &other.events {
            *self.events.entry(name).or_default() += count;
        }
        for (own, other) in
            self.operation.iter_mut().flatten().zip(other.operation.iter().flatten())
        {
            *own += other;
        }
        for (own, other) in self.campaign.iter_mut().flatten().zip(other.campaign.iter().flatten())
        {
            *own += other;
        }
    }

    /// All transitions of an operation's phases that there are (D11), with how often each was
    /// taken by operations of campaigns.
    pub fn operation_transitions(&self) -> impl Iterator<Item = Transition> + '_ {
        Phase::ALL.into_iter().flat_map(move |from| {
            Phase::ALL.into_iter().filter(move |to| from.may_become(*to)).map(move |to| {
                let taken = self.operation[from as usize][to as usize];
                Transition { from: from.name(), to: to.name(), taken }
            })
        })
    }

    /// All transitions of a campaign's status that there are, with how often each was taken.
    pub fn campaign_transitions(&self) -> impl Iterator<Item = Transition> + '_ {
        CampaignStatus::ALL.into_iter().flat_map(move |from| {
            CampaignStatus::ALL.into_iter().filter(move |to| from.may_become(*to)).map(move |to| {
                let taken = self.campaign[from as usize][to as usize];
                Transition { from: from.name(), to: to.name(), taken }
            })
        })
    }

    /// The transitions of either machine that were never taken.
    #[must_use]
    pub fn never_taken(&self) -> Vec<String> {
        let name = |machine: &str, transition: Transition| {
            format!("{machine} {} -> {}", transition.from, transition.to)
        };
        let operation = self.operation_transitions().filter(|transition| transition.taken == 0);
        let campaign = self.campaign_transitions().filter(|transition| transition.taken == 0);
        operation
            .map(|transition| name("operation", transition))
            .chain(campaign.map(|transition| name("campaign", transition)))
            .collect()
    }
}
