//! What one engine was told of where devices are, so that it is not told the same again when a
//! notice is repeated, and is told what only somebody else has seen so far.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hedgerow_core::{DeviceId, TenantId};

use crate::presence::Standing;

/// Devices of one realm; with more than these all are forgotten, and what is repeated is told again,
/// which is harmless.
const MOST_DEVICES: usize = 1_000_000;

#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<BTreeMap<TenantId, HashMap<DeviceId, Standing>>>);

impl Told {
    fn map(&self) -> MutexGuard<'_, BTreeMap<TenantId, HashMap<DeviceId, Standing>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the engine was told last.
    pub(crate) fn last(&self, tenant: &TenantId, device: DeviceId) -> Option<Standing> {
        self.map().get(tenant)?.get(&device).copied()
    }

    /// It has been told this now; `None`: that there is no such device.
    pub(crate) fn note(&self, tenant: &TenantId, device: DeviceId, standing: Option<Standing>) {
        let mut map = self.map();
        let devices = map.entry(tenant.clone()).or_default();
        let Some(standing) = standing else {
            devices.remove(&device);
            return;
        };
        if devices.len() >= MOST_DEVICES {
            devices.clear();
        }
        devices.insert(device, standing);
    }
}
