//! What passes between an engine and the world: requests that leave, answers and versions that come
//! back, engines that come and go.

use std::time::Duration;

use hedgerow_core::{
    CampaignStatus, Channel, DeviceId, OperationId, StreamId, SystemModelHandle, Timestamp,
};

use super::facts::Shown;
use super::{Checker, Moment, Read, Said, operation};
use crate::simulate::invariant::Invariant;

impl Checker {
    pub(in crate::simulate) fn update_leaves(
        &mut self,
        device: DeviceId,
        operation: OperationId,
        url: &str,
        now: Timestamp,
    ) {
        let checked = match self.facts.operation(operation) {
            Ok(known) if known.device == device => {
                known.leaves(url, now).map_err(operation::of(operation))
            }
            Ok(known) => Err((
                Invariant::SameRequest,
                format!("operation {operation} of device {} is sent to another", known.device),
            )),
            Err(broken) => Err(broken),
        };
        let stream = self.stream_of(operation);
        self.note(checked, now, stream, Some(device));
    }

    pub(in crate::simulate) fn cancel_leaves(
        &mut self,
        device: DeviceId,
        operation: OperationId,
        url: &str,
        now: Timestamp,
    ) {
        let again = self.turns.is_off(now);
        let checked = self
            .facts
            .operation(operation)
            .and_then(|known| known.cancel_leaves(url, again).map_err(operation::of(operation)));
        let stream = self.stream_of(operation);
        self.note(checked, now, stream, Some(device));
    }

    pub(in crate::simulate) fn stream_of(&self, operation: OperationId) -> Option<StreamId> {
        self.facts.operations.get(&operation).map(|operation| operation.stream)
    }

    pub(in crate::simulate) fn update_answered(
        &mut self,
        operation: OperationId,
        said: Said,
        now: Timestamp,
    ) {
        if let Some(operation) = self.facts.operations.get_mut(&operation) {
            operation.answered(said);
            let device = operation.device;
            if matches!(said, Said::Temporary | Said::Nothing) {
                self.turns.delay(device, now);
            }
        }
    }

    pub(in crate::simulate) fn read_began(&mut self, device: DeviceId, moment: Moment) {
        self.turns.read_began(device, self.campaigns.values(), moment);
        self.refresh_device(device, moment);
    }

    pub(in crate::simulate) fn read_ended(
        &mut self,
        slot: usize,
        device: DeviceId,
        version: Read,
        moment: Moment,
    ) {
        self.turns.read_ended(device, version.is_err(), moment.now);
        self.facts.shown[slot].insert(device, Shown { version, at: moment.now });
        self.refresh_device(device, moment);
    }

    /// The directory named the devices of a channel: a rollout begins there, and others that run
    /// may be superseded (D18).
    pub(in crate::simulate) fn targets_named(
        &mut self,
        channel: &Channel,
        system_model: &SystemModelHandle,
        targets: &[(DeviceId, bool)],
    ) {
        self.turns.named(targets.iter().copied());
        let waiting = [CampaignStatus::Idle, CampaignStatus::Scheduled];
        for model in self.campaigns.values_mut() {
            let definition = &model.definition;
            let same = definition.channel.name() == channel.name()
                && definition.base_image.system_model == *system_model;
            if same && model.is_running() {
                model.newer = true;
            }
            if same && waiting.contains(&model.status) && definition.channel == *channel {
                model.named = Some(targets.iter().map(|(device, _)| *device).collect());
            }
        }
    }

    /// Something happened after which it is not known for sure what the engine knows.
    pub(in crate::simulate) fn trouble(&mut self, now: Timestamp) {
        self.facts.calm_since = self.facts.calm_since.max(now);
        self.turns.trouble(now);
    }

    /// The engine's clock steps forward: what was read just before is as fresh as it was.
    pub(in crate::simulate) fn clock_steps(&mut self, by: Duration, now: Timestamp) {
        for shown in self.facts.shown.iter_mut().flat_map(|shown| shown.values_mut()) {
            shown.at = shown.at + by;
        }
        self.trouble(now);
    }

    /// An engine starts, alone or beside another.
    pub(in crate::simulate) fn engine_starts(&mut self, beside_another: bool, now: Timestamp) {
        self.turns.two_engines = beside_another;
        self.facts.alone_since = (!beside_another).then_some(now);
        self.trouble(now);
    }

    pub(in crate::simulate) fn engine_died(&mut self, slot: usize, now: Timestamp) {
        self.facts.shown[slot].clear();
        self.turns.engine_died();
        self.trouble(now);
    }
}
