//! One input being handled at one time: what is decided is folded at once, noted for the caller,
//! and followed up until nothing more is due.
//!
//! | File | What is told |
//! |---|---|
//! | this one | commands and ticks; recording, sending, reading, whose turn it is |
//! | `snapshot` | the snapshot |
//! | `world` | presence, reports, removed devices, the recovery after a restart |
//! | `answers` | the answers to effects |

mod answers;
mod snapshot;
mod world;

use super::Campaign;
use super::decide::{self, Rejection};
use super::live::{Decision, LiveCampaign};
use super::schedule;
use crate::answer::ReadPurpose;
use crate::effect::{ClaimChange, Effect, Reaction};
use crate::event::{CampaignEvent, OperationReadmitted};
use crate::gate::GateDecision;
use crate::id::DeviceId;
use crate::input::Command;
use crate::operation::Cancellation;
use crate::operation::at_work::SETTLING;
use crate::operation::timer::{Due, Timer};
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
        match &event {
            CampaignEvent::CampaignStarted(_) => {
                self.decision.claims.push(ClaimChange::TakeRollout);
            }
            CampaignEvent::CampaignFinished(_) => {
                if campaign.started_at.is_some() {
                    self.decision.claims.push(ClaimChange::ReleaseRollout);
                }
                let targets = campaign.operations.targets().into_iter();
                let released = targets
                    .filter(|target| campaign.targets.status(*target) == TargetStatus::Idle)
                    .map(|target| ClaimChange::ReleaseDevice(campaign.targets.device(target)));
                self.decision.claims.extend(released);
            }
            CampaignEvent::OperationStarted(started) => {
                let claim = ClaimChange::TakeDevice(started.device, started.operation);
                self.decision.claims.push(claim);
            }
            _ => {}
        }
        let applied = campaign.apply_to(target, &event, self.now);
        debug_assert_eq!(applied, Ok(()), "decided an event that cannot follow: {event:?}");
        if let Some(target) = target {
            if had_operation && !campaign.operations.contains(target) {
                // Its request may not have left yet, and then nobody answers for it.
                observations.outage.turn_ended(target);
                let watch = observations.watch(target);
                (watch.work.calling, watch.work.cancelling) = (None, None);
                let device = campaign.targets.device(target);
                self.decision.claims.push(ClaimChange::ReleaseDevice(device));
            }
            self.sync(target);
        }
        self.decision.events.push(event);
    }

    pub(in crate::campaign) fn command(&mut self, command: &Command) -> Result<(), Rejection> {
        let event = decide::steer::command(self.campaign(), command, self.now)?;
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

    pub(in crate::campaign) fn send_cancel(&mut self, target: u32) {
        let work = &mut self.live.observations.watch(target).work;
        // A Cancel must not overtake its Update: it waits for that call's answer.
        if work.calling.is_some() || work.cancelling.is_some() {
            return;
        }
        work.timers.stop(Timer::Cancel);
        let campaign = &self.live.campaign;
        if let Some(operation) = campaign.operations.get(target) {
            let question = self.live.questions.ask();
            work.cancelling = Some(question);
            self.decision.effects.push(Effect::SendCancel {
                device: campaign.targets.device(target),
                operation: operation.id,
                url: campaign.definition.base_image.url.clone(),
                question,
            });
        }
        self.sync(target);
    }

    pub(in crate::campaign) fn send_update(&mut self, target: u32) {
        let campaign = &self.live.campaign;
        if let Some(operation) = campaign.operations.get(target) {
            let question = self.live.questions.ask();
            self.live.observations.watch(target).work.calling = Some(question);
            self.decision.effects.push(Effect::SendUpdate {
                device: campaign.targets.device(target),
                operation: operation.id,
                url: campaign.definition.base_image.url.clone(),
                question,
            });
        }
    }

    pub(in crate::campaign) fn read(&mut self, target: u32, purpose: ReadPurpose) {
        let question = self.live.questions.ask();
        self.live.observations.watch(target).work.reading = Some((purpose, question));
        let device = self.campaign().targets.device(target);
        self.decision.effects.push(Effect::ReadBaseImage { device, purpose, question });
        self.sync(target);
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
                let device = self.campaign().targets.device(target);
                self.record(OperationReadmitted { device }.into());
                // What it showed and that it came back meant nothing while its target was idle.
                let settled_at = self.now + SETTLING;
                let timers = &mut self.live.observations.watch(target).work.timers;
                timers.begin(Timer::Settled, settled_at);
                self.sync(target);
                continue;
            }
            let Some(target) = self.live.next_turn(self.now) else { break };
            self.live.observations.outage.turn_began(target);
            self.live.observations.gate_reads += 1;
            self.read(target, ReadPurpose::Gate);
        }
        self.catch_up();
        self.ask_for_snapshot();
    }

    pub(in crate::campaign) fn follow_up(&mut self) {
        while let Some(event) = decide::finish::follow_up(self.campaign()) {
            self.record(event);
        }
    }
}
