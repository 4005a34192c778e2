//! One realm: its devices, groups, interfaces, triggers and policies.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::auth::Guard;
use crate::device::Device;
use crate::device_id::DeviceId;
use crate::ingest::Interfaces;
use crate::interface::Installed;
use crate::keys::{KeyError, RealmKeys};
use crate::trigger::Trigger;
use crate::trigger::policy::Policy;

/// Devices of one realm; further ones are not registered.
pub(crate) const DEVICES_MAX: usize = 100_000;

/// A realm, shared by all that serve it.
pub(crate) struct Realm {
    pub(crate) name: Arc<str>,
    pub(crate) keys: RealmKeys,
    pub(crate) guard: Guard,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) devices: HashMap<DeviceId, Device>,
    /// The order in which devices are listed: that of a hash, as in Astarte's database.
    pub(crate) order: BTreeMap<i64, DeviceId>,
    pub(crate) groups: BTreeMap<String, BTreeMap<Uuid, DeviceId>>,
    pub(crate) interfaces: Interfaces,
    pub(crate) triggers: BTreeMap<String, Arc<Trigger>>,
    pub(crate) policies: BTreeMap<String, Arc<Policy>>,
    members_ever: u64,
}

impl Realm {
    pub(crate) fn new(name: &str, keys: RealmKeys) -> Result<Self, KeyError> {
        let guard = Guard::new(&keys)?;
        Ok(Self { name: name.into(), keys, guard, state: Mutex::default() })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A request that panicked must not end all others; what it left behind is a whole state,
        // as each change is one statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first levels of all topics of a device, and its name in certificates.
    pub(crate) fn prefix(&self, device: DeviceId) -> String {
        format!("{}/{device}", self.name)
    }
}

impl State {
    pub(crate) fn interface(&self, name: &str, major: i32) -> Option<&Installed> {
        self.interfaces.get(name)?.get(&major)
    }

    pub(crate) fn add_device(&mut self, device: Device) {
        let mut token = token(device.id);
        while self.order.contains_key(&token) {
            token = token.wrapping_add(1);
        }
        self.order.insert(token, device.id);
        self.devices.insert(device.id, device);
    }

    /// Forgets a device and its memberships.
    pub(crate) fn remove_device(&mut self, id: DeviceId) -> Option<Device> {
        self.order.retain(|_, other| *other != id);
        for members in self.groups.values_mut() {
            members.retain(|_, member| *member != id);
        }
        self.groups.retain(|_, members| !members.is_empty());
        self.devices.remove(&id)
    }

    pub(crate) fn add_member(&mut self, group: &str, device: DeviceId) {
        self.members_ever += 1;
        // A time-based UUID as Astarte has, counting instead of reading a clock.
        let token =
            uuid::Builder::from_gregorian_timestamp(self.members_ever, 0, &[0; 6]).into_uuid();
        self.groups.entry(group.to_owned()).or_default().insert(token, device);
    }

    /// Removes a member; a group ends with its last one.
    pub(crate) fn remove_member(&mut self, group: &str, device: DeviceId) {
        if let Some(members) = self.groups.get_mut(group) {
            members.retain(|_, member| *member != device);
            if members.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    pub(crate) fn is_member(&self, group: &str, device: DeviceId) -> bool {
        self.groups
            .get(group)
            .is_some_and(|members| members.values().any(|member| *member == device))
    }

    pub(crate) fn groups_of(&self, device: DeviceId) -> Vec<&str> {
        self.groups
            .iter()
            .filter(|(_, members)| members.values().any(|member| *member == device))
            .map(|(group, _)| group.as_str())
            .collect()
    }

    pub(crate) fn by_alias(&self, alias: &str) -> Option<DeviceId> {
        self.devices
            .values()
            .find(|device| device.aliases.values().any(|other| other == alias))
            .map(|device| device.id)
    }
}

/// Spreads devices evenly (FNV-1a), so that nobody relies on the order of a list.
fn token(device: DeviceId) -> i64 {
    let hash = device.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::at_millis;

    fn device(byte: u8) -> DeviceId {
        DeviceId::from_bytes([byte; 16])
    }

    #[test]
    fn members_of_a_group_are_in_the_order_of_their_addition() {
        let mut state = State::default();
        for byte in (0..100).rev() {
            state.add_member("all", device(byte));
        }
        let members: Vec<DeviceId> = state.groups["all"].values().copied().collect();
        assert_eq!(members, (0..100).rev().map(device).collect::<Vec<_>>());
    }

    #[test]
    fn a_group_ends_with_its_last_member() {
        let mut state = State::default();
        for byte in 1..=2 {
            state.add_device(Device::new(device(byte), String::new(), at_millis(0)));
            state.add_member("all", device(byte));
        }
        state.remove_device(device(1));
        assert_eq!(state.groups_of(device(2)), ["all"]);
        state.remove_member("all", device(2));
        assert!(state.groups.is_empty());
        assert_eq!((state.devices.len(), state.order.len()), (1, 1));
    }
}
