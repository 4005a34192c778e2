//! What the tasks of an engine share: which streams there are, whose each device and each rollout
//! is just now (D14, D18), and which operation belongs where (E10).
//!
//! A device is reserved here before its version is read for the gates, so that two campaigns of
//! one engine never start an operation on it at once; the store's claims guard against other
//! engines (E5).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::{DeviceId, OperationId, StreamId, TenantId};

use crate::LoadError;
use crate::inbox::Inbox;
use crate::interest::Interest;

type StreamKey = (TenantId, StreamId);
type DeviceKey = (TenantId, DeviceId);

/// What the engine knows of a stream.
pub(crate) enum StreamState {
    /// It is being loaded.
    Loading,
    /// A task runs it.
    Loaded(Inbox),
    /// It cannot be loaded.
    Quarantined(LoadError),
}

/// Whether a device can be had.
pub(crate) enum Reserved {
    /// It is this stream's now.
    Ours,
    /// It is another's; the asking stream is told when it is free.
    Busy(StreamId),
}

/// Whose a device is: reserved, or with an active operation.
#[derive(Clone, Copy)]
struct Holder {
    stream: StreamId,
    operation: Option<OperationId>,
}

#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) streams: BTreeMap<StreamKey, StreamState>,
    /// Who is told of what the world shows of a device.
    pub(crate) interest: Interest,
    devices: BTreeMap<DeviceKey, Holder>,
    /// The same by stream.
    reserved: BTreeMap<StreamKey, BTreeSet<DeviceId>>,
    waiting: BTreeMap<DeviceKey, BTreeSet<StreamId>>,
    rollouts: BTreeMap<(TenantId, String), StreamId>,
    operations: BTreeMap<(TenantId, OperationId), StreamId>,
    /// Streams that are being loaded or begun for callers.
    pub(crate) opening: usize,
    pub(crate) shutting_down: bool,
}

impl Registry {
    /// Takes the device for a stream, or notes that the stream waits for it.
    pub(crate) fn reserve(
        &mut self,
        tenant: &TenantId,
        device: DeviceId,
        by: StreamId,
    ) -> Reserved {
        let key = (tenant.clone(), device);
        match self.devices.get(&key) {
            Some(holder) if holder.stream != by => {
                let holder = holder.stream;
                self.waiting.entry(key).or_default().insert(by);
                Reserved::Busy(holder)
            }
            Some(_) => Reserved::Ours,
            None => {
                self.set_holder(tenant, device, by, None);
                Reserved::Ours
            }
        }
    }

    /// Notes that the device is a stream's, whoever had it here, and for which operation, if that
    /// is known.
    pub(crate) fn set_holder(
        &mut self,
        tenant: &TenantId,
        device: DeviceId,
        stream: StreamId,
        operation: Option<OperationId>,
    ) {
        if let Some(operation) = operation {
            self.operations.insert((tenant.clone(), operation), stream);
        }
        let held = Holder { stream, operation };
        let earlier = self.devices.insert((tenant.clone(), device), held);
        if let Some(earlier) = earlier.filter(|earlier| earlier.stream != stream) {
            self.takes_back(tenant, device, earlier.stream);
        }
        self.reserved.entry((tenant.clone(), stream)).or_default().insert(device);
    }

    /// The device is that stream's no more.
    fn takes_back(&mut self, tenant: &TenantId, device: DeviceId, by: StreamId) {
        if let Entry::Occupied(mut devices) = self.reserved.entry((tenant.clone(), by)) {
            devices.get_mut().remove(&device);
            if devices.get().is_empty() {
                devices.remove();
            }
        }
    }

    /// Gives the device back, if it is this stream's, and returns the streams that wait for it.
    pub(crate) fn release(
        &mut self,
        tenant: &TenantId,
        device: DeviceId,
        by: StreamId,
    ) -> BTreeSet<StreamId> {
        let key = (tenant.clone(), device);
        let Some(holder) = self.devices.get(&key).copied().filter(|h| h.stream == by) else {
            return BTreeSet::new();
        };
        if let Some(operation) = holder.operation {
            self.operations.remove(&(tenant.clone(), operation));
        }
        self.devices.remove(&key);
        self.takes_back(tenant, device, by);
        self.waiting.remove(&key).unwrap_or_default()
    }

    /// All devices that are a stream's.
    pub(crate) fn reserved(&self, tenant: &TenantId, by: StreamId) -> Vec<DeviceId> {
        let devices = self.reserved.get(&(tenant.clone(), by));
        devices.into_iter().flatten().copied().collect()
    }

    pub(crate) fn rollout_holder(&self, tenant: &TenantId, claim: &str) -> Option<StreamId> {
        self.rollouts.get(&(tenant.clone(), claim.to_owned())).copied()
    }

    pub(crate) fn set_rollout(&mut self, tenant: &TenantId, claim: String, holder: StreamId) {
        self.rollouts.insert((tenant.clone(), claim), holder);
    }

    pub(crate) fn release_rollout(&mut self, tenant: &TenantId, claim: String, by: StreamId) {
        let key = (tenant.clone(), claim);
        if self.rollouts.get(&key) == Some(&by) {
            self.rollouts.remove(&key);
        }
    }

    /// The stream whose operation is active on a device, as far as is known.
    pub(crate) fn operation_holder(&self, tenant: &TenantId, id: DeviceId) -> Option<StreamId> {
        let holder = self.devices.get(&(tenant.clone(), id))?;
        holder.operation.map(|_| holder.stream)
    }

    /// The stream of an active operation.
    pub(crate) fn stream_of(&self, tenant: &TenantId, id: OperationId) -> Option<StreamId> {
        self.operations.get(&(tenant.clone(), id)).copied()
    }

    /// The inbox of a stream that runs.
    pub(crate) fn inbox(&self, tenant: &TenantId, stream: StreamId) -> Option<Inbox> {
        match self.streams.get(&(tenant.clone(), stream)) {
            Some(StreamState::Loaded(inbox)) => Some(inbox.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use hedgerow_core::CampaignId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn d21_an_operation_is_found_by_its_tenant_and_its_end_takes_nothing_from_another() {
        let tenants: [TenantId; 2] = ["one", "other"].map(|name| name.parse().unwrap());
        let device = DeviceId::from_bytes([1; 16]);
        let campaign = |number| CampaignId::from_uuid(Uuid::from_u128(number));
        let streams = [1, 2].map(|number| StreamId::Campaign(campaign(number)));
        // Two tenants may well have the same ids, as realms that were copied do.
        let operation = OperationId::of_campaign(campaign(1), device, 0);
        let mut registry = Registry::default();
        registry.set_holder(&tenants[0], device, streams[0], Some(operation));
        assert_eq!(registry.stream_of(&tenants[1], operation), None);
        registry.set_holder(&tenants[1], device, streams[1], Some(operation));
        for (tenant, stream) in tenants.iter().zip(streams) {
            assert_eq!(registry.stream_of(tenant, operation), Some(stream));
        }
        registry.release(&tenants[0], device, streams[0]);
        assert_eq!(registry.stream_of(&tenants[0], operation), None);
        assert_eq!(registry.stream_of(&tenants[1], operation), Some(streams[1]));
    }
}
