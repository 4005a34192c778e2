//! What the world shows: who is online, what changed, what devices report (D4, D11, D12, D15), and
//! what is looked at anew after a restart (E4, E7).

use super::Handling;
use crate::campaign::decide::{self, Rejection};
use crate::campaign::live::LiveCampaign;
use crate::effect::Reaction;
use crate::id::DeviceId;
use crate::input::Presence;
use crate::operation::OperationReport;
use crate::operation::at_work::{Reach, Situation};
use crate::rollout::DeviceFact;

impl Handling<'_> {
    pub(in crate::campaign) fn presence(&mut self, device: DeviceId, presence: Presence) {
        let Some(target) = self.find(device) else { return };
        self.seeing().presence(target, presence);
        self.sync(target);
    }

    pub(in crate::campaign) fn base_image_changed(&mut self, device: DeviceId) {
        let Some(target) = self.find(device) else { return };
        if self.seeing().base_image_changed(target) {
            self.sync(target);
        }
    }

    pub(in crate::campaign) fn device_removed(&mut self, device: DeviceId) {
        let Some(target) = self.find(device) else { return };
        self.seeing().removed(target);
        match decide::reconcile::removed(self.campaign(), target) {
            Some(event) => self.record(event),
            None => self.sync(target),
        }
    }

    pub(in crate::campaign) fn device_fact(&mut self, device: DeviceId, fact: DeviceFact) {
        let Some(target) = self.find(device) else { return };
        if self.live.observations.learn(target, fact) {
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

    /// The presence of all devices was told after the campaign was loaded.
    pub(in crate::campaign) fn recovered(&mut self) {
        self.live.recovered = true;
        for target in self.campaign().operations.targets() {
            self.seeing().recovered(target);
            self.sync(target);
        }
        for target in self.campaign().not_before.targets() {
            self.sync(target);
        }
        self.cancel_operations();
        self.fire_timers();
    }
}
