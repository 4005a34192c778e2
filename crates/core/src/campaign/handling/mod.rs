//! One input being handled at one time: what is decided is folded at once, noted for the caller,
//! and followed up until nothing more is due.
//!
//! | File | What is told |
//! |---|---|
//! | this one | commands and ticks; recording, and what follows |
//! | `snapshot` | the snapshot |
//! | `world` | presence, reports, removed devices, the recovery after a restart |
//! | `answers` | the answers to effects |
//!
//! What is recorded is decided in [`decide`]; only [`Handling::record`] records. What needs less borrows
//! less:
//!
//! | File | May change |
//! |---|---|
//! | `seeing` | the observations |
//! | `asking` | the observations, and adds effects |

mod answers;
mod asking;
mod seeing;
mod snapshot;
mod world;

use self::asking::Asking;
use self::seeing::Seeing;
use super::Campaign;
use super::decide::{self, Rejection};
use super::live::{Decision, LiveCampaign};
use super::schedule;
use crate::answer::ReadPurpose;
use crate::effect::Reaction;
use crate::event::CampaignEvent;
use crate::gate::GateDecision;
use crate::id::DeviceId;
use crate::input::Command;
use crate::operation::Cancellation;
use crate::operation::timer::Due;
use crate::status::TargetStatus;
use crate::time::Timestamp;

/// One input being handled at one time.
pub(super) struct Handling<'a> {
    pub(super) live: &'a mut LiveCampaign,
    pub(super) decision: &'a mut Decision,
    pub(super) now: Timestamp,
    /// What the gates say to the version that was told, if that was asked already.
    pub(super) gates: Option<GateDecision>,
    /// The target that changed last and was not yet brought in step: most inputs change one target
    /// several times, and only the last change counts.
    pub(super) stale: Option<u32>,
}

impl Handling<'_> {
    pub(in crate::campaign) fn campaign(&self) -> &Campaign {
        &self.live.campaign
    }

    /// The target of the device that the input is about. Without one the input changes nothing.
    pub(in crate::campaign) fn find(&mut self, device: DeviceId) -> Option<u32> {
        let target = self.campaign().targets.find(device);
        if target.is_none() {
            self.decision.reaction = Reaction::Unchanged;
        }
        target
    }

    /// Brings queue and timers in step with the target, at the latest before they are looked at.
    pub(in crate::campaign) fn sync(&mut self, target: u32) {
        if self.stale.is_some_and(|stale| stale != target) {
            self.catch_up();
        }
        self.stale = Some(target);
    }

    /// Queue and timers must be in step when they are looked at.
    fn catch_up(&mut self) {
        if let Some(target) = self.stale.take() {
            let LiveCampaign { campaign, observations, schedule, .. } = &mut *self.live;
            schedule.sync(campaign, observations, target, self.now);
        }
    }

    /// Folds an event that was decided and notes its claims.
    pub(in crate::campaign) fn record(&mut self, event: CampaignEvent) {
        let LiveCampaign { campaign, observations, schedule, .. } = &mut *self.live;
        let target = event.device().and_then(|device| campaign.targets.find(device));
        if let Some(target) = target {
            schedule.unqueue(campaign, target);
        }
        let had_operation = target.is_some_and(|target| campaign.operations.contains(target));
        decide::claim::of(campaign, &event, &mut self.decision.claims);
        let applied = campaign.apply_to(target, &event, self.now);
        debug_assert_eq!(applied, Ok(()), "decided an event that cannot follow: {event:?}");
        if let Some(target) = target {
            if had_operation && !campaign.operations.contains(target) {
                // Its request may not have left yet, and then nobody answers for it.
                observations.outage.turn_ended(target);
                let watch = observations.watch(target);
                (watch.work.calling, watch.work.cancelling) = (None, None);
                self.decision.claims.push(decide::claim::of_ended(campaign, target));
            }
            self.sync(target);
        }
        match &event {
            CampaignEvent::LimitsChanged(_) => self.sync_all(|status| status == TargetStatus::Idle),
            // It may have ended some of them.
            CampaignEvent::PolicyFactRecorded(fact) if fact.device.is_none() => {
                self.sync_all(|status| status != TargetStatus::InProgress);
            }
            _ => {}
        }
        self.decision.events.push(event);
    }

    /// What holds any target may have changed: all that wait are asked again. That costs some 15 ns for
    /// each, so only what happens a few times in the life of a campaign may do it (C1).
    fn sync_all(&mut self, may_have_changed: impl Fn(TargetStatus) -> bool) {
        for target in 0..self.campaign().targets.len() {
            if may_have_changed(self.campaign().targets.status(target)) {
                self.sync(target);
            }
        }
    }

    /// What a person wants.
    pub(in crate::campaign) fn command(&mut self, command: &Command) -> Result<(), Rejection> {
        let Some(event) = decide::steer::command(self.campaign(), command, self.now)? else {
            self.decision.reaction = Reaction::Unchanged;
            return Ok(());
        };
        let ends_snapshot = matches!(
            event,
            CampaignEvent::CampaignEdited(_)
                | CampaignEvent::CampaignDeleted(_)
                | CampaignEvent::CampaignFinished(_)
        );
        if ends_snapshot {
            // The answer to a request that is under way is not wanted any more.
            self.live.observations.snapshot_asked = None;
            self.live.schedule.snapshot_at = None;
        }
        self.record(event);
        if matches!(command, Command::Cancel { .. }) {
            self.cancel_operations();
        }
        Ok(())
    }

    /// Sends the Cancel requests that are wanted and not under way (D17).
    pub(in crate::campaign) fn cancel_operations(&mut self) {
        let wanted: Vec<u32> = self
            .campaign()
            .operations
            .iter()
            .filter(|(_, operation)| operation.cancellation == Cancellation::Wanted)
            .map(|(target, _)| target)
            .collect();
        for target in wanted {
            self.send_cancel(target);
        }
    }

    /// Sends the Cancel request of a target, or leaves it to the answer that it has to wait for (D17).
    pub(in crate::campaign) fn send_cancel(&mut self, target: u32) {
        if self.asking().send_cancel(target) {
            self.sync(target);
        }
    }

    /// Asks which version the device of a target shows.
    pub(in crate::campaign) fn read(&mut self, target: u32, purpose: ReadPurpose) {
        self.asking().read(target, purpose);
        self.sync(target);
    }

    /// May only look, and change what is seen.
    fn seeing(&mut self) -> Seeing<'_> {
        let LiveCampaign { campaign, observations, recovered, .. } = &mut *self.live;
        Seeing { campaign, observations, recovered: *recovered, now: self.now }
    }

    /// May only ask.
    fn asking(&mut self) -> Asking<'_> {
        let LiveCampaign { campaign, observations, questions, .. } = &mut *self.live;
        Asking { campaign, observations, questions, effects: &mut self.decision.effects }
    }

    /// Only a tick looks at the time: a report that arrives at the very instant of a deadline, told
    /// before the tick, is in time (D8).
    pub(in crate::campaign) fn fire_timers(&mut self) {
        self.catch_up();
        while let Some(target) =
            self.live.schedule.first_due(self.now).filter(|_| self.live.recovered)
        {
            self.timer(target);
            self.catch_up();
        }
    }

    /// The first timer of a target is due.
    pub(in crate::campaign) fn timer(&mut self, target: u32) {
        let now = self.now;
        let campaign = &self.live.campaign;
        let operation = campaign.operations.get(target);
        let timers = &mut self.live.observations.watch(target).work.timers;
        match timers.fire(schedule::stage(campaign, target), operation, now) {
            Some(Due::Read(ReadPurpose::Contradiction))
                if !campaign.may_be_contradicted(target, now) =>
            {
                self.sync(target);
            }
            Some(Due::Read(purpose)) => self.read(target, purpose),
            Some(Due::SendCancel) => self.send_cancel(target),
            Some(Due::Turn) | None => self.sync(target),
        }
    }

    /// Everything that is due by now but for timers: the outcome, slots given back, whose turn it is.
    pub(in crate::campaign) fn advance(&mut self) {
        self.catch_up();
        // The counts alone decide these, whoever is online.
        self.follow_up();
        if !self.live.recovered {
            return;
        }
        while self.live.admits_any() {
            self.catch_up();
            if let Some(target) = self.live.schedule.first_already_updating() {
                let event = decide::attempt::readmitted(self.campaign(), target);
                self.record(event);
                self.seeing().readmitted(target);
                self.sync(target);
                continue;
            }
            let Some(target) = self.live.next_turn(self.now) else { break };
            self.live.observations.outage.turn_began(target);
            self.live.observations.gate_reads += 1;
            let asks_url = self.live.asks_urls;
            self.asking().turn(target, asks_url);
            self.sync(target);
        }
        self.catch_up();
        self.ask_for_snapshot();
    }

    /// Records what follows from the counts, until nothing does.
    pub(in crate::campaign) fn follow_up(&mut self) {
        while let Some(event) = decide::finish::follow_up(self.campaign(), self.now) {
            self.record(event);
        }
    }
}
