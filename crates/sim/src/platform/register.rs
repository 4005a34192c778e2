//! The devices that a platform knows, and what it knows of each.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::{
    Channel, DeviceId, FleetDevice, GroupName, Presence, SystemModelHandle, Timestamp,
    select_targets,
};

/// A device, as a platform knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The number of its tenant.
    pub tenant: usize,
    /// Its id.
    pub id: DeviceId,
    /// Its System Model, if it has one.
    pub system_model: Option<SystemModelHandle>,
    /// The groups that it is in.
    pub groups: BTreeSet<GroupName>,
    /// Since when it is online; `None`: it is not.
    pub online_since: Option<Timestamp>,
    /// The version of the base image that it shows, if it shows one.
    pub version: Option<String>,
    /// Whether it was removed from the platform.
    pub removed: bool,
}

impl Registered {
    /// A device of the first tenant that is offline, in no group, and shows nothing.
    #[must_use]
    pub fn new(id: DeviceId) -> Self {
        Self {
            tenant: 0,
            id,
            system_model: None,
            groups: BTreeSet::new(),
            online_since: None,
            version: None,
            removed: false,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.online_since.map_or(Presence::Offline, |since| Presence::Online { since })
    }
}

/// All devices of a platform, in the order in which they were registered.
#[derive(Clone, Debug, Default)]
pub struct Register {
    devices: Vec<Registered>,
    index: BTreeMap<(usize, DeviceId), u32>,
}

impl Register {
    /// Registers a device, also in the place of a former one with its id, and returns its place.
    pub fn add(&mut self, device: Registered) -> u32 {
        let next = u32::try_from(self.devices.len()).unwrap_or(u32::MAX);
        let index = *self.index.entry((device.tenant, device.id)).or_insert(next);
        match self.devices.get_mut(index as usize) {
            Some(former) => *former = device,
            None => self.devices.push(device),
        }
        index
    }

    /// The place of a device, also of one that was removed.
    #[must_use]
    pub fn place(&self, tenant: usize, device: DeviceId) -> Option<u32> {
        self.index.get(&(tenant, device)).copied()
    }

    /// The place of a device that has not been removed.
    #[must_use]
    pub fn find(&self, tenant: usize, device: DeviceId) -> Option<u32> {
        let index = self.place(tenant, device)?;
        self.get(index).filter(|device| !device.removed).map(|_| index)
    }

    /// The device in a place that there is.
    pub(crate) fn at(&self, index: u32) -> &Registered {
        &self.devices[index as usize]
    }

    pub(crate) fn at_mut(&mut self, index: u32) -> &mut Registered {
        &mut self.devices[index as usize]
    }

    /// The device in a place, also one that was removed.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Registered> {
        self.devices.get(index as usize)
    }

    /// The same, to be changed. Its id and tenant are those of its place.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Registered> {
        self.devices.get_mut(index as usize)
    }

    /// All devices, also those that were removed.
    pub fn all(&self) -> impl Iterator<Item = &Registered> {
        self.devices.iter()
    }

    /// Where a device is; `None`: there is no such device.
    #[must_use]
    pub fn presence(&self, tenant: usize, device: DeviceId) -> Option<Presence> {
        self.find(tenant, device).and_then(|index| self.get(index)).map(Registered::presence)
    }

    /// The devices of a channel's groups with this System Model (D2).
    #[must_use]
    pub fn targets(
        &self,
        tenant: usize,
        channel: &Channel,
        system_model: &SystemModelHandle,
    ) -> Vec<DeviceId> {
        let there = self.devices.iter().filter(|one| one.tenant == tenant && !one.removed);
        let fleet: Vec<FleetDevice> = there
            .map(|one| FleetDevice {
                id: one.id,
                system_model: one.system_model.clone(),
                groups: one.groups.clone(),
            })
            .collect();
        select_targets(&fleet, channel, system_model)
    }
}
