//! Whose turn it is, and what is due when: the ready queue and the timers. They follow from the folded
//! state and the observations, and [`Schedule::sync`], which looks at one target only (C1), keeps them
//! in step.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use super::Campaign;
use super::admission::Candidate;
use super::fingerprint::ahead;
use super::observations::{Observations, Watch};
use super::ready::ReadyQueue;
use crate::operation::Operation;
use crate::operation::timer::Stage;
use crate::status::TargetStatus;
use crate::time::Timestamp;

/// Which timers of a target count.
pub(super) fn stage(campaign: &Campaign, target: u32) -> Stage {
    match campaign.targets.status(target) {
        TargetStatus::InProgress => Stage::InProgress,
        TargetStatus::Idle => {
            let operation = campaign.operations.get(target);
            if operation.is_some_and(Operation::is_reported) {
                Stage::WaitsForSlot
            } else {
                Stage::Idle
            }
        }
        TargetStatus::Successful | TargetStatus::Failed | TargetStatus::Cancelled => Stage::Ended,
    }
}

/// When the first timer of a target is due, in one number that is compared at once: the time, then the
/// target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Alarm(i128);

impl Alarm {
    fn new(at: Timestamp, target: u32) -> Self {
        Self(i128::from(at.as_millis()) << 32 | i128::from(target))
    }

    fn at(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.0 >> 32).unwrap_or(i64::MAX))
    }

    fn target(self) -> u32 {
        u32::try_from(self.0 & i128::from(u32::MAX)).unwrap_or(u32::MAX)
    }
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Schedule {
    /// Targets whose turn may come.
    ready: ReadyQueue,
    /// Idle targets whose devices turned out to be at the update already; they wait for a slot (D10).
    already_updating: BTreeSet<u32>,
    /// Of each target when the first of its timers is due.
    alarms: BTreeSet<Alarm>,
    /// When the snapshot is asked for again.
    pub(super) snapshot_at: Option<Timestamp>,
}

impl Schedule {
    /// The target whose turn it is (D4).
    pub(super) fn first_ready(&self) -> Option<u32> {
        self.ready.first()
    }

    /// Whether the turn of any target may come.
    pub(super) fn is_any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether an idle target's device turned out to be at the update already.
    pub(super) fn is_already_updating(&self, target: u32) -> bool {
        self.already_updating.contains(&target)
    }

    /// The first of those, which takes the next slot.
    pub(super) fn first_already_updating(&self) -> Option<u32> {
        self.already_updating.first().copied()
    }

    /// The first target with a timer that is due at `now`.
    pub(super) fn first_due(&self, now: Timestamp) -> Option<u32> {
        self.alarms.first().filter(|alarm| alarm.at() <= now).map(|alarm| alarm.target())
    }

    /// When the next timer is due.
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        let alarm = self.alarms.first().map(|alarm| alarm.at());
        [alarm, self.snapshot_at].into_iter().flatten().min()
    }

    /// Takes the target out of the ready queue before an event changes its place there.
    pub(super) fn unqueue(&mut self, campaign: &Campaign, target: u32) {
        self.ready.remove(campaign.targets.attempt(target), target);
    }

    /// See [`LiveCampaign::hash_from`](super::LiveCampaign::hash_from). What is ready, and when, follows
    /// from the rest.
    pub(super) fn hash_from(&self, now: Timestamp, hasher: &mut impl Hasher) {
        (&self.already_updating, ahead(self.snapshot_at, now)).hash(hasher);
    }

    /// Brings queue and timers in step with the state of one target.
    pub(super) fn sync(
        &mut self,
        campaign: &Campaign,
        observations: &mut Observations,
        target: u32,
        now: Timestamp,
    ) {
        let stage = stage(campaign, target);
        if stage == Stage::Ended {
            self.unqueue(campaign, target);
            self.already_updating.remove(&target);
            let look_at = observations.forget(target);
            self.arm(observations, target, look_at);
            return;
        }
        let watch = observations.look(target);
        let is_reading = watch.is_some_and(|watch| watch.work.reading.is_some());
        let mut ready = false;
        let timer = if stage == Stage::Idle {
            let candidate = Candidate { campaign, observations, target, now };
            let (admitted, until) = candidate.readiness();
            ready = !is_reading && admitted;
            // Or it would be asked again and again at one time.
            debug_assert!(until.is_none_or(|at| at > now), "a hold that has ended holds");
            until
        } else if is_reading {
            None
        } else {
            let operation = campaign.operations.get(target);
            match watch {
                Some(watch) => watch.work.timers.next(stage, operation),
                None => operation.and_then(|operation| operation.deadline),
            }
        };

        let attempt = campaign.targets.attempt(target);
        if ready {
            self.ready.insert(attempt, target);
        } else {
            self.ready.remove(attempt, target);
        }
        if stage == Stage::WaitsForSlot {
            self.already_updating.insert(target);
        } else {
            self.already_updating.remove(&target);
        }
        self.arm(observations, target, timer);
    }

    /// Sets the target's timer, and forgets its watch if there is nothing to watch any more.
    fn arm(&mut self, observations: &mut Observations, target: u32, timer: Option<Timestamp>) {
        if timer.is_some() {
            observations.watch(target);
        }
        let Some(watch) = observations.known(target) else { return };
        if watch.armed != timer {
            if let Some(at) = watch.armed {
                self.alarms.remove(&Alarm::new(at, target));
            }
            if let Some(at) = timer {
                self.alarms.insert(Alarm::new(at, target));
            }
            watch.armed = timer;
        }
        if *watch == Watch::default() {
            observations.unwatch(target);
        }
    }
}
