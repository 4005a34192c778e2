//! What is seen of the world without anything being decided: who is online, what a device may show
//! now (D4, D12, D22, D24). Only the observations change.

use crate::campaign::Campaign;
use crate::campaign::observations::Observations;
use crate::input::Presence;
use crate::operation::at_work::{AFTER_RESTART, Connection, Reach, SETTLING, Situation};
use crate::operation::timer::Timer;
use crate::status::TargetStatus;
use crate::time::Timestamp;

/// Something being seen at one time.
pub(super) struct Seeing<'a> {
    pub(super) campaign: &'a Campaign,
    pub(super) observations: &'a mut Observations,
    pub(super) recovered: bool,
    pub(super) now: Timestamp,
}

impl Seeing<'_> {
    pub(super) fn presence(&mut self, target: u32, presence: Presence) {
        let Self { campaign, observations, recovered, now } = self;
        let (recovered, now) = (*recovered, *now);
        // A restart of the engine is no connection.
        let connects = recovered && !observations.is_online(target);
        match presence {
            Presence::Online { since } => {
                observations.set_online(target, true);
                let connection = Connection { since, recovered, may_forget: connects };
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
    }

    /// What the device shows may have changed. `false`: nobody looks at it.
    pub(super) fn base_image_changed(&mut self, target: u32) -> bool {
        let settled_at = self.now + SETTLING;
        let in_progress = self.campaign.targets.status(target) == TargetStatus::InProgress;
        let is_watched = self.campaign.may_be_contradicted(target, self.now);
        if in_progress {
            self.settles(target, settled_at);
        } else if is_watched && self.observations.is_online(target) {
            let watch = self.observations.watch(target);
            // Once per connection (D22).
            if !watch.looked && watch.work.reading.is_none() {
                watch.work.timers.begin(Timer::Look, settled_at);
            }
        } else {
            return false;
        }
        true
    }

    /// The device is not there any more: it is not looked at (D22).
    pub(super) fn removed(&mut self, target: u32) {
        self.observations.set_online(target, false);
        if let Some(watch) = self.observations.known(target) {
            watch.work.timers.stop(Timer::Look);
            watch.looked = false;
        }
    }

    /// The engine was restarted: what may have ended meanwhile is looked at (D12).
    pub(super) fn recovered(&mut self, target: u32) {
        if self.campaign.targets.status(target) == TargetStatus::InProgress {
            self.settles(target, self.now + AFTER_RESTART);
        }
    }

    /// What it showed and that it came back meant nothing while its target was idle.
    pub(super) fn readmitted(&mut self, target: u32) {
        self.settles(target, self.now + SETTLING);
    }

    fn settles(&mut self, target: u32, at: Timestamp) {
        self.observations.watch(target).work.timers.begin(Timer::Settled, at);
    }
}
