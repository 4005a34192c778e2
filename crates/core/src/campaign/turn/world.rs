//! What the world shows: who is online, what changed, what devices report (D4, D11, D12, D15), and
//! what is looked at anew after a restart (E4, E7).

use super::Turn;
use crate::campaign::TargetStatus;
use crate::campaign::decide::report::Judged;
use crate::campaign::decide::{self, Rejection};
use crate::campaign::input::Presence;
use crate::campaign::live::Reaction;
use crate::campaign::observations::{AFTER_RESTART, SETTLING};
use crate::event::CampaignEvent;
use crate::{DeviceId, Heard, OperationReport, Phase};

impl Turn<'_> {
    pub(in crate::campaign) fn presence(&mut self, device: DeviceId, presence: Presence) {
        let Some(target) = self.find(device) else { return };
        let now = self.now;
        let operation = self.live.campaign.operations.get(target);
        let in_progress = self.live.campaign.targets.status(target) == TargetStatus::InProgress;
        let reboot_timeout = self.live.campaign.limits().operation.reboot_timeout;
        let earliest = if self.live.recovered { now } else { now + AFTER_RESTART };
        let is_watched = self.live.campaign.may_be_contradicted(target, now);
        // A restart of the engine is no connection.
        let connects = self.live.recovered && !self.live.observations.is_online(target);
        let observations = &mut self.live.observations;
        match presence {
            Presence::Online { since } => {
                observations.set_online(target, true);
                // One that reboots while its target waits for a slot counts from here, too (D10).
                if let Some(operation) = operation {
                    let watch = observations.watch(target);
                    if in_progress {
                        // The stamp is of another clock, which may be ahead of this one.
                        watch.settled_at = Some((since.min(now) + SETTLING).max(earliest));
                        if connects {
                            watch.returned = operation.may_be_forgotten();
                            watch.forgotten_at = None;
                        }
                    }
                    if operation.phase == Phase::Rebooting {
                        watch.reboot_at = Some(now + reboot_timeout);
                    }
                } else if connects && is_watched {
                    let watch = observations.watch(target);
                    watch.looked = false;
                    watch.look_at = Some((since.min(now) + SETTLING).max(earliest));
                }
            }
            Presence::Offline => {
                observations.set_online(target, false);
                if let Some(watch) = observations.known(target) {
                    (watch.reboot_at, watch.forgotten_at, watch.look_at) = (None, None, None);
                    (watch.returned, watch.looked) = (false, false);
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
            observations.watch(target).settled_at.get_or_insert(settled_at);
        } else if is_watched && observations.is_online(target) {
            let watch = observations.watch(target);
            // Once per connection (D22).
            if !watch.looked && watch.reading.is_none() {
                watch.look_at.get_or_insert(settled_at);
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
            (watch.look_at, watch.looked) = (None, false);
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
        let target = self.campaign().targets.find(report.device);
        let heard = target.and_then(|target| self.live.observations.look(target)?.heard);
        if let Some(target) = target {
            self.may_be_a_sign_of_life(target, report, heard);
        }
        match decide::report::judge(self.campaign(), report, heard, self.now)? {
            Judged::Event(event) => {
                // A device that went on after a reboot, which it can do only from an error or with
                // another operation, is not judged by that reboot any more (D12).
                let goes_on = match &event {
                    CampaignEvent::OperationReported(reported) => reported.phase == Phase::Error,
                    event => matches!(event, CampaignEvent::OperationRefused(_)),
                };
                if let Some(target) = target {
                    let operation = self.live.campaign.operations.get(target);
                    let watch = self.live.observations.watch(target);
                    watch.heard = operation.and_then(|o| o.heard_on(report, heard));
                    if goes_on {
                        watch.reboot_at = None;
                    }
                }
                self.record(event);
            }
            Judged::TooSoon(target) => {
                self.decision.reaction = Reaction::Unchanged;
                if let Some(operation) = self.campaign().operations.get(target) {
                    let heard = operation.heard(report, heard);
                    self.live.observations.watch(target).heard = Some(heard);
                }
            }
            Judged::Unchanged => self.decision.reaction = Reaction::Unchanged,
            Judged::Late(target, event) => {
                // The same late report again and again must not grow the log without end.
                let seen = self.live.observations.late.get_or_default(target);
                let status = 1 << (report.status as u16);
                if *seen & status == 0 {
                    *seen |= status;
                    self.record(event);
                    self.decision.reaction = Reaction::Late;
                } else {
                    self.decision.reaction = Reaction::Unchanged;
                }
            }
        }
        Ok(())
    }

    /// A device that goes on reporting has forgotten nothing (D24).
    fn may_be_a_sign_of_life(
        &mut self,
        target: u32,
        report: &OperationReport,
        heard: Option<Heard>,
    ) {
        let operation = self.campaign().operations.get(target);
        let alive = operation.is_some_and(|operation| {
            operation.id == report.operation && operation.is_sign_of_life(report, heard)
        });
        if let Some(watch) = self.live.observations.known(target).filter(|_| alive) {
            (watch.returned, watch.forgotten_at) = (false, None);
            self.sync(target);
        }
    }

    pub(in crate::campaign) fn recovered(&mut self) {
        self.live.recovered = true;
        let now = self.now;
        for target in self.campaign().operations.targets() {
            if self.campaign().targets.status(target) == TargetStatus::InProgress {
                let watch = self.live.observations.watch(target);
                watch.settled_at.get_or_insert(now + AFTER_RESTART);
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
