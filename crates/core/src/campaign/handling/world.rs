//! What the world shows: who is online, what changed, what devices report (D4, D11, D12, D15), and
//! what is looked at anew after a restart (E4, E7).

use super::Handling;
use crate::campaign::decide::{self, Rejection};
use crate::campaign::live::LiveCampaign;
use crate::effect::Reaction;
use crate::id::DeviceId;
use crate::input::Presence;
use crate::operation::OperationReport;
use crate::operation::at_work::{AFTER_RESTART, Connection, Reach, SETTLING, Situation};
use crate::operation::timer::Timer;
use crate::status::TargetStatus;

impl Handling<'_> {
    pub(in crate::campaign) fn presence(&mut self, device: DeviceId, presence: Presence) {
        let Some(target) = self.find(device) else { return };
        let now = self.now;
        let LiveCampaign { campaign, observations, recovered, .. } = &mut *self.live;
        // A restart of the engine is no connection.
        let connects = *recovered && !observations.is_online(target);
        match presence {
            Presence::Online { since } => {
                observations.set_online(target, true);
                let connection = Connection { since, recovered: *recovered, may_forget: connects };
                if let Some(operation) = campaign.operations.get(target) {
                    let limits = &campaign.limits().operation;
                    let situation = Situation { operation, limits, reach: Reach::Online, now };
                    let is_in_progress =
                        campaign.targets.status(target) == TargetStatus::InProgress;
                    let work = &mut observations.watch(target).work;
                    work.connected(situation, is_in_progress, connection);
                } else if connects && campaign.may_be_contradicted(target, now) {
                    let watch = observations.watch(target);
                    watch.looked = false;
                    watch.work.timers.set(Timer::Look, connection.settled_at(now));
                }
            }
            Presence::Offline => {
                observations.set_online(target, false);
                if let Some(watch) = observations.known(target) {
                    watch.work.disconnected();
                    watch.work.timers.stop(Timer::Look);
                    watch.looked = false;
                }
            }
        }
        self.sync(target);
    }

    pub(in crate::campaign) fn base_image_changed(&mut self, device: DeviceId) {
        let Some(target) = self.find(device) else { return };
        let settled_at = self.now + SETTLING;
        let in_progress = self.campaign().targets.status(target) == TargetStatus::InProgress;
        let is_watched = self.campaign().may_be_contradicted(target, self.now);
        let observations = &mut self.live.observations;
        if in_progress {
            observations.watch(target).work.timers.begin(Timer::Settled, settled_at);
        } else if is_watched && observations.is_online(target) {
            let watch = observations.watch(target);
            // Once per connection (D22).
            if !watch.looked && watch.work.reading.is_none() {
                watch.work.timers.begin(Timer::Look, settled_at);
            }
        } else {
            return;
        }
        self.sync(target);
    }

    pub(in crate::campaign) fn device_removed(&mut self, device: DeviceId) {
        let Some(target) = self.find(device) else { return };
        self.live.observations.set_online(target, false);
        if let Some(watch) = self.live.observations.known(target) {
            // What is not there any more is not looked at (D22).
            watch.work.timers.stop(Timer::Look);
            watch.looked = false;
        }
        match decide::reconcile::removed(self.campaign(), target) {
            Some(event) => self.record(event),
            None => self.sync(target),
        }
    }

    pub(in crate::campaign) fn device_freed(&mut self, device: DeviceId) {
        let Some(target) = self.find(device) else { return };
        if self.live.observations.set_free(target) {
            self.sync(target);
        }
    }

    pub(in crate::campaign) fn report(
        &mut self,
        report: &OperationReport,
    ) -> Result<(), Rejection> {
        let now = self.now;
        let LiveCampaign { campaign, observations, .. } = &mut *self.live;
        let target = campaign.targets.find(report.device);
        let active = target.and_then(|target| {
            let operation = campaign.operations.get(target)?;
            (operation.id == report.operation).then_some((target, operation))
        });
        if let Some((target, operation)) = active {
            let limits = &campaign.limits().operation;
            let situation = Situation { operation, limits, reach: Reach::Online, now };
            let verdict = observations.watch(target).work.reported(situation, report);
            if let Some(event) = decide::report::active(campaign, target, report, verdict, now) {
                self.record(event);
            } else {
                self.decision.reaction = Reaction::Unchanged;
                self.sync(target);
            }
            return Ok(());
        }
        let (target, event) = decide::report::late(campaign, report)?;
        // The same late report again and again must not grow the log without end.
        let seen = observations.late.get_or_default(target);
        let status = 1 << (report.status as u16);
        if *seen & status == 0 {
            *seen |= status;
            self.record(event);
            self.decision.reaction = Reaction::Late;
        } else {
            self.decision.reaction = Reaction::Unchanged;
        }
        Ok(())
    }

    pub(in crate::campaign) fn recovered(&mut self) {
        self.live.recovered = true;
        let now = self.now;
        for target in self.campaign().operations.targets() {
            if self.campaign().targets.status(target) == TargetStatus::InProgress {
                let watch = self.live.observations.watch(target);
                watch.work.timers.begin(Timer::Settled, now + AFTER_RESTART);
            }
            self.sync(target);
        }
        for target in self.campaign().not_before.targets() {
            self.sync(target);
        }
        self.cancel_operations();
        self.fire_timers();
    }
}
