//! May this target start now, and if not, why and until when? (P2)
//!
//! This is the one place that says so. It is asked for the queue, before a version is read, when a
//! start is recorded, for [`next_deadline`](LiveCampaign::next_deadline) and for `why`; nobody else
//! decides who may start. Waiting is never an event and never stored (E7): it follows from the
//! folded state, the observations and the time. A target that was queued is asked again when its turn
//! comes, so a hold may begin by the clock alone.
//!
//! The conditions are asked in the order of the table of P2, and the first that does not hold is the
//! reason. A rule that makes targets wait adds a [`HoldReason`] and an arm here:
//!
//! | Asked of | Conditions |
//! |---|---|
//! | the campaign | it knows who is online; it is in progress (D16) |
//! | the target | what its policies ask, such as a consent (P15); no delay (D10, D14), online (D4), device free (D14) |
//! | the place | a slot (D7) |
//! | the transport | it is not known to be down (D10): only before a version is read |

use serde::Serialize;

use super::observations::Observations;
use super::{Campaign, LiveCampaign};
use crate::id::DeviceId;
use crate::operation::at_work::Reach;
use crate::operation::timer::Timer;
use crate::operation::{Operation, Phase};
use crate::rollout::PolicyHold;
use crate::status::{CampaignStatus, Settlement, TargetStatus};
use crate::time::Timestamp;

/// Why a target does not start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum HoldReason {
    /// The campaign is scheduled for later (D1).
    Scheduled,
    /// Its targets are still being selected (D1).
    SelectingTargets,
    /// It was loaded again, and does not know yet who is online (E7).
    Recovering,
    /// It is paused, or completes what is in progress before it is (D16).
    Paused,
    /// It has its outcome, or was deleted: nothing starts any more.
    Ended,
    /// Its device's user has not answered yet (P15).
    ConsentAwaited,
    /// Its device's user has declined (P15).
    ConsentDeclined,
    /// An earlier attempt failed, or the device turned it away: it waits for a while (D10, D14).
    BackingOff,
    /// Its device is offline (D4).
    Offline,
    /// Its device has an operation of another campaign, or a manual update (D14).
    DeviceBusy,
    /// As many targets are in progress as may be (D7).
    NoSlot,
    /// The transport is known to be down, and is tried now and then with a single target (D10).
    TransportDown,
}

impl HoldReason {
    /// The name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::SelectingTargets => "selecting_targets",
            Self::Recovering => "recovering",
            Self::Paused => "paused",
            Self::Ended => "ended",
            Self::ConsentAwaited => "consent_awaited",
            Self::ConsentDeclined => "consent_declined",
            Self::BackingOff => "backing_off",
            Self::Offline => "offline",
            Self::DeviceBusy => "device_busy",
            Self::NoSlot => "no_slot",
            Self::TransportDown => "transport_down",
        }
    }

    /// What it means, as a sentence for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Scheduled => "the campaign is scheduled for later",
            Self::SelectingTargets => "the campaign's targets are still being selected",
            Self::Recovering => "the campaign was loaded again and does not know yet who is online",
            Self::Paused => "the campaign is paused: resume it",
            Self::Ended => "the campaign has ended: create another one",
            Self::ConsentAwaited => "its device's user has not agreed yet",
            Self::ConsentDeclined => "its device's user has declined",
            Self::BackingOff => {
                "an earlier attempt failed or was turned away, and the next one waits"
            }
            Self::Offline => "its device is offline",
            Self::DeviceBusy => {
                "its device has an operation of another campaign or a manual update"
            }
            Self::NoSlot => "as many targets are in progress as the campaign allows",
            Self::TransportDown => "the transport is down, and is tried with one target at a time",
        }
    }
}

/// What keeps a target from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// The first condition that does not hold, in the order of P2.
    pub reason: HoldReason,
    /// When it ends by itself, if that is known: the first instant at which it does not hold.
    pub until: Option<Timestamp>,
}

impl From<PolicyHold> for Hold {
    fn from(hold: PolicyHold) -> Self {
        let (reason, until) = match hold {
            PolicyHold::ConsentAwaited { until } => (HoldReason::ConsentAwaited, until),
            PolicyHold::ConsentDeclined { until } => (HoldReason::ConsentDeclined, until),
        };
        Self { reason, until }
    }
}

impl Hold {
    const fn new(reason: HoldReason) -> Self {
        Self { reason, until: None }
    }
}

/// What a target is doing now, and if it waits, what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// It has come to its end.
    Settled {
        /// How.
        settlement: Settlement,
    },
    /// Its operation is in progress.
    InProgress {
        /// As far as its device has told.
        phase: Phase,
    },
    /// Its turn has come, and the version of its device is being read (D5); or that was begun for an
    /// operation that waits for its next turn by now.
    ReadingVersion,
    /// It waits.
    Held(Hold),
    /// Nothing holds it.
    Free,
}

impl Campaign {
    /// What a device's target does and waits for, as far as the log tells: who is online, and which
    /// devices are busy elsewhere, nobody has recorded (E7). `None`: it is no target.
    /// [`LiveCampaign::why`] knows more.
    #[must_use]
    pub fn why(&self, device: DeviceId, now: Timestamp) -> Option<Why> {
        let target = self.targets.find(device)?;
        Some(self.standing(target).unwrap_or_else(|| {
            let held = self.is_in_progress().and_then(|()| {
                // One whose device turned out to be updating goes on as soon as there is a slot.
                let runs = self.operations.get(target).is_some_and(Operation::is_reported);
                if runs {
                    return Ok(());
                }
                self.of_policies(target)?;
                backing_off(self.not_before.get(target).copied(), now)
            });
            held.and_then(|()| self.slot(0)).map_or_else(Why::Held, |()| Why::Free)
        }))
    }

    /// What becomes of a target that does not wait for its turn.
    fn standing(&self, target: u32) -> Option<Why> {
        match self.targets.status(target) {
            TargetStatus::Idle => None,
            TargetStatus::InProgress => {
                let operation = self.operations.get(target);
                let phase = operation.map_or(Phase::Pending, |operation| operation.phase);
                Some(Why::InProgress { phase })
            }
            _ => Some(Why::Settled { settlement: self.targets.settlement(target) }),
        }
    }

    fn is_in_progress(&self) -> Result<(), Hold> {
        match self.status {
            CampaignStatus::InProgress => Ok(()),
            CampaignStatus::Scheduled => {
                Err(Hold { reason: HoldReason::Scheduled, until: self.scheduled_at })
            }
            CampaignStatus::Idle => Err(Hold::new(HoldReason::SelectingTargets)),
            CampaignStatus::Pausing | CampaignStatus::Paused => Err(Hold::new(HoldReason::Paused)),
            CampaignStatus::Finished | CampaignStatus::Deleted => Err(Hold::new(HoldReason::Ended)),
        }
    }

    /// What the policies of the rollout ask of a target. It ends for all targets at once, by something
    /// that is recorded, so that none has a timer of its own for it (C2).
    fn of_policies(&self, target: u32) -> Result<(), Hold> {
        self.policies.hold(target, self.started_at).map_or(Ok(()), |hold| Err(hold.into()))
    }

    /// A slot for one more target, beside those in progress and so many places that are held (D7).
    fn slot(&self, held: u32) -> Result<(), Hold> {
        let taken = self.counts().in_progress.saturating_add(held);
        if taken < self.limits().max_pending_operations.get() {
            Ok(())
        } else {
            Err(Hold::new(HoldReason::NoSlot))
        }
    }
}

fn backing_off(not_before: Option<Timestamp>, now: Timestamp) -> Result<(), Hold> {
    match not_before.filter(|at| *at > now) {
        Some(at) => Err(Hold { reason: HoldReason::BackingOff, until: Some(at) }),
        None => Ok(()),
    }
}

/// A target that is asked about at one time.
pub(super) struct Candidate<'a> {
    pub(super) campaign: &'a Campaign,
    pub(super) observations: &'a Observations,
    pub(super) target: u32,
    pub(super) now: Timestamp,
}

impl Candidate<'_> {
    /// What keeps it from starting, if it is idle, whatever the others do.
    pub(super) fn admit(&self) -> Result<(), Hold> {
        self.campaign.of_policies(self.target)?;
        self.admit_by_itself()
    }

    /// Whether it may start, as far as it goes by itself; if not, when it is to be asked again for what
    /// ends by itself.
    pub(super) fn readiness(&self) -> (bool, Option<Timestamp>) {
        if self.campaign.of_policies(self.target).is_err() {
            return (false, None);
        }
        match self.admit_by_itself() {
            Ok(()) => (true, None),
            Err(hold) => (false, hold.until),
        }
    }

    fn admit_by_itself(&self) -> Result<(), Hold> {
        let Self { campaign, observations, target, now } = *self;
        let recorded = campaign.not_before.get(target).copied();
        let watch = observations.look(target);
        let seen = watch.and_then(|watch| watch.work.timers.get(Timer::BackOff));
        backing_off(recorded.max(seen), now)?;
        if !observations.is_online(target) {
            return Err(Hold::new(HoldReason::Offline));
        }
        if observations.facts(target).is_some_and(|facts| facts.is_busy) {
            return Err(Hold::new(HoldReason::DeviceBusy));
        }
        Ok(())
    }

    /// Whether its request can be sent again, if it is in progress: that may begin the update on its
    /// device, as a start does (D8).
    pub(super) fn reach(&self) -> Reach {
        if self.observations.is_online(self.target) { Reach::Online } else { Reach::Offline }
    }
}

impl LiveCampaign {
    /// What a device's target does now, and if it waits, what for and until when (P2). `None`: it is
    /// no target.
    #[must_use]
    pub fn why(&self, device: DeviceId, now: Timestamp) -> Option<Why> {
        let target = self.campaign.targets.find(device)?;
        Some(self.campaign.standing(target).unwrap_or_else(|| {
            if self.observations.reads_version(target) {
                return Why::ReadingVersion;
            }
            let held = self.of_campaign();
            // One whose device turned out to be updating goes on as soon as there is a slot (D10).
            let held = held.and_then(|()| {
                if self.schedule.is_already_updating(target) {
                    self.place()
                } else {
                    self.admit(target, now).and_then(|()| self.transport(now))
                }
            });
            held.map_or_else(Why::Held, |()| Why::Free)
        }))
    }

    /// Whether a target whose version was read may start at `now`: asked when that would be recorded.
    /// Much may have happened meanwhile: it may have turned an earlier request away (D14), gone, or lost
    /// its slot.
    pub(super) fn admits_start(&self, target: u32, now: Timestamp) -> bool {
        let is_reported = self.campaign.operations.get(target).is_some_and(Operation::is_reported);
        let is_idle = self.campaign.targets.status(target) == TargetStatus::Idle;
        is_idle && !is_reported && self.admit(target, now).is_ok()
    }

    /// What keeps an idle target from starting at `now`.
    fn admit(&self, target: u32, now: Timestamp) -> Result<(), Hold> {
        self.of_campaign()?;
        let Self { campaign, observations, .. } = self;
        Candidate { campaign, observations, target, now }.admit()?;
        self.place()
    }

    /// Whether any target may start, as far as the campaign and its slots go.
    pub(super) fn admits_any(&self) -> bool {
        self.of_campaign().and_then(|()| self.place()).is_ok()
    }

    /// The target whose turn it is: its version may be read now (D4). One that a hold has reached since
    /// it was queued leaves the queue until that ends.
    pub(super) fn next_turn(&mut self, now: Timestamp) -> Option<u32> {
        if !self.admits_any() || self.transport(now).is_err() {
            return None;
        }
        let Self { campaign, observations, schedule, .. } = self;
        while let Some(target) = schedule.first_ready() {
            if (Candidate { campaign, observations, target, now }).admit().is_ok() {
                return Some(target);
            }
            schedule.sync(campaign, observations, target, now);
        }
        None
    }

    /// When what holds all targets ends by itself.
    pub(super) fn held_until(&self) -> Option<Timestamp> {
        match self.of_campaign() {
            Err(hold) => hold.until,
            Ok(()) => self.place().ok().and_then(|()| self.next_trial()),
        }
    }

    /// When the next trial of a transport that is down may begin, if a target waits for it.
    fn next_trial(&self) -> Option<Timestamp> {
        self.observations.outage.next_trial().filter(|_| self.schedule.is_any_ready())
    }

    /// Whether the snapshot was asked for, or is to be asked for again.
    fn is_selecting(&self) -> bool {
        self.observations.snapshot_asked.is_some() || self.schedule.snapshot_at.is_some()
    }

    fn of_campaign(&self) -> Result<(), Hold> {
        if !self.recovered {
            return Err(Hold::new(HoldReason::Recovering));
        }
        match self.campaign.is_in_progress() {
            // Its time has come, or an earlier try has failed.
            Err(hold) if hold.reason == HoldReason::Scheduled && self.is_selecting() => {
                Err(Hold::new(HoldReason::SelectingTargets))
            }
            other => other,
        }
    }

    /// Targets whose version is just being read hold a place each (D7).
    fn place(&self) -> Result<(), Hold> {
        self.campaign.slot(self.observations.gate_reads)
    }

    fn transport(&self, now: Timestamp) -> Result<(), Hold> {
        let outage = &self.observations.outage;
        if outage.admits(now) {
            return Ok(());
        }
        Err(Hold { reason: HoldReason::TransportDown, until: outage.next_trial() })
    }
}

#[cfg(test)]
mod tests;
