//! What passes between an engine and the world: requests that leave, answers and versions that come
//! back, engines that come and go.

use std::collections::BTreeMap;
use std::time::Duration;

use hedgerow_core::{
    Channel, ChannelName, DeviceId, OperationId, StreamId, SystemModelHandle, Timestamp,
};

use super::campaign::Model;
use super::facts::Shown;
use super::{Checker, Moment, Named, Read, Said, operation};
use crate::simulate::invariant::Invariant;

impl Checker {
    /// An engine calls the transport or the directory.
    pub(crate) fn call_begins(&mut self, moment: Moment) {
        self.turns.calls.begins(moment.step);
        self.look_at_calls(moment);
    }

    /// It has its answer, or does not wait for it any more.
    pub(crate) fn call_ends(&mut self, moment: Moment) {
        self.look_at_calls(moment);
        self.turns.calls.ends(moment.step);
    }

    /// What waits behind other calls leaves late.
    fn look_at_calls(&mut self, moment: Moment) {
        if self.turns.calls.are_full() {
            self.facts.calm_since = self.facts.calm_since.max(moment.now);
        }
    }

    /// A device connected or disconnected, whoever is told of it.
    pub(crate) fn device_went(&mut self, device: DeviceId, online: bool, moment: Moment) {
        self.turns.device_went(device, online);
        if online {
            self.facts.online.insert(device);
        } else {
            self.facts.online.remove(&device);
        }
        self.refresh_device(device, moment);
    }

    /// An engine begins to append to a stream.
    pub(crate) fn append_begins(&mut self, slot: usize, stream: StreamId, step: u64) {
        self.facts.append_begins(slot, stream, step);
    }

    /// An engine begins to load a stream.
    pub(crate) fn load_begins(&mut self, slot: usize, stream: StreamId, moment: Moment) {
        self.facts.load_begins(slot, stream, moment.now, moment.step);
    }

    /// It has read the stream to its end.
    pub(crate) fn load_ends(&mut self, slot: usize, stream: StreamId) {
        self.facts.load_ends(slot, stream);
    }

    /// A device shows a version from now on, whoever reads it.
    pub(crate) fn device_shows(
        &mut self,
        device: DeviceId,
        version: Option<String>,
        now: Timestamp,
    ) {
        self.facts.shows.insert(device, (version, now));
    }

    /// The directory does not name targets at once.
    pub(crate) fn targets_not_named(&mut self, now: Timestamp) {
        self.facts.unnamed_at = now;
    }

    pub(crate) fn update_leaves(
        &mut self,
        slot: usize,
        device: DeviceId,
        operation: OperationId,
        url: &str,
        moment: Moment,
    ) {
        let now = moment.now;
        let alone = self.facts.alone_since.is_some();
        let stream = self.stream_of(operation);
        let loaded_at = stream.and_then(|stream| self.facts.loaded_at(slot, stream));
        let checked = match self.facts.operation(operation) {
            Ok(known) if known.device == device => {
                known.leaves(url, alone, loaded_at, now).map_err(operation::of(operation))
            }
            Ok(known) => Err((
                Invariant::SameRequest,
                format!("operation {operation} of device {} is sent to another", known.device),
            )),
            Err(broken) => Err(broken),
        };
        self.note(checked, now, stream, Some(device));
    }

    pub(crate) fn cancel_leaves(
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

    pub(crate) fn stream_of(&self, operation: OperationId) -> Option<StreamId> {
        self.facts.operations.get(&operation).map(|operation| operation.stream)
    }

    pub(crate) fn update_answered(&mut self, operation: OperationId, said: Said, now: Timestamp) {
        if let Some(operation) = self.facts.operations.get_mut(&operation) {
            operation.answered(said);
            let (device, stream) = (operation.device, operation.stream);
            let failed = matches!(said, Said::Temporary | Said::Nothing);
            if failed {
                self.turns.delay(device, now);
            }
            if let StreamId::Campaign(id) = stream {
                self.outages.request_answered(id, failed, now);
            }
        }
    }

    pub(crate) fn read_began(&mut self, device: DeviceId, moment: Moment) {
        self.facts.read_began.insert(device, moment.now);
        if self.facts.urls.turn_has_begun(device) {
            return;
        }
        let (models, now) = (self.campaigns.values(), moment.now);
        let mut checked = self.outages.read_began(device, models.clone(), &self.facts, now);
        // What waited behind other calls was decided before.
        if self.turns.is_off(now) || self.turns.calls.were_full_in(moment.step) {
            checked = Ok(());
        }
        self.turns.read_began(device, models, moment);
        self.note(checked, now, None, Some(device));
        self.refresh_device(device, moment);
    }

    pub(crate) fn read_ended(
        &mut self,
        slot: usize,
        device: DeviceId,
        since: Moment,
        version: Read,
        moment: Moment,
    ) {
        let failed = version.is_err();
        if let Ok(Some(version)) = &version {
            self.facts.has_shown(device, version);
        }
        self.turns.read_ended(device, failed, moment.now);
        let models = self.campaigns.values();
        self.outages.read_ended(device, failed, models, &self.facts, moment.now);
        if failed {
            self.facts.unread_at.insert(device, moment.now);
        }
        // One that began before a load and failed takes nothing away from what was read since.
        let latest = self.facts.read[slot].get(&device).and_then(|shown| shown.last());
        let newer = latest.is_some_and(|shown| shown.at > since.now);
        if !(failed && newer) {
            let (asked_in, step) = (since.step, moment.step);
            let shown = Shown { version, at: moment.now, asked_in, step };
            self.facts.was_read(slot, device, shown);
        }
        self.refresh_device(device, moment);
    }

    /// The directory named the devices of a channel: a rollout begins there, and others that run
    /// may be superseded (D18).
    pub(crate) fn targets_named(
        &mut self,
        channel: &Channel,
        system_model: &SystemModelHandle,
        targets: &[Named],
        began: Moment,
        now: Timestamp,
    ) {
        let devices = targets.iter().map(|named| named.device);
        self.facts.named_at.extend(devices.map(|device| (device, now)));
        self.turns.named(targets, began.step, now);
        let named: Vec<DeviceId> = targets.iter().map(|named| named.device).collect();
        for model in self.campaigns.values_mut() {
            let definition = &model.definition;
            let asked = definition.channel == *channel
                && definition.base_image.system_model == *system_model;
            if asked && model.waits() {
                model.named = Some(named.clone());
            }
        }
        let begins = |model: &Model| model.definition.channel == *channel && model.begins();
        if self.rollouts(channel.name(), system_model).any(begins) {
            for model in self.campaigns.values_mut() {
                let same = model.is_of(channel.name(), system_model);
                model.newer |= same && model.is_running();
            }
        }
    }

    /// The campaigns of a System Model and a channel.
    pub(super) fn rollouts(
        &self,
        channel: &ChannelName,
        system_model: &SystemModelHandle,
    ) -> impl Iterator<Item = &Model> {
        self.campaigns.values().filter(|model| model.is_of(channel, system_model))
    }

    /// Something happened after which it is not known for sure what the engine knows.
    pub(crate) fn trouble(&mut self, now: Timestamp) {
        self.facts.calm_since = self.facts.calm_since.max(now);
        self.turns.trouble(now);
        self.outages.trouble();
    }

    /// The engine's clock steps forward: what was read just before is as fresh as it was.
    pub(crate) fn clock_steps(&mut self, by: Duration, now: Timestamp) {
        let read = self.facts.read.iter_mut().flat_map(BTreeMap::values_mut);
        for shown in read.flatten() {
            shown.at = shown.at + by;
        }
        self.trouble(now);
    }

    /// An engine starts, alone or beside another.
    pub(crate) fn engine_starts(&mut self, beside_another: bool, now: Timestamp) {
        self.turns.two_engines = beside_another;
        self.facts.alone_since = (!beside_another).then_some(now);
        if !beside_another {
            // What another one was told this one does not know.
            self.facts.told_online.clear();
            self.facts.told_offline.clear();
        }
        // What became of a call before the start is not known, and who is offline is not asked.
        for operation in self.facts.operations.values_mut() {
            if !self.turns.is_online(operation.device) {
                operation.fate_is_unknown();
            }
        }
        self.trouble(now);
    }

    pub(crate) fn engine_died(&mut self, slot: usize, now: Timestamp) {
        self.facts.read[slot].clear();
        self.turns.engine_died();
        self.facts.urls.engine_died();
        self.trouble(now);
    }
}
