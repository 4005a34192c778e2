//! What a catalogue hears of devices: from whoever knows Astarte, and from a cache of before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use hedgerow_core::{DeviceId, TenantId};
use hedgerow_engine::Moment;
use hedgerow_engine::view::{ViewError, ViewStore};

use super::{Catalogue, Tenant};
use crate::cache::{Cache, Kept};
use crate::change::{Change, Changed, Thing};
use crate::device::{DeviceNews, Interfaces};
use crate::fleet::Fleet;

/// So many removed devices are remembered, of which older news may still arrive.
const MOST_REMOVED: usize = 100_000;
/// So many sets of interfaces are known, to be shared by devices.
const MOST_SETS: usize = 10_000;

impl Tenant {
    fn unkept(&self) -> MutexGuard<'_, BTreeSet<DeviceId>> {
        // Nothing that is done with it can panic halfway.
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Devices that are just being kept. Those that were not, as that failed or was given up halfway, are
/// kept the next time.
struct Unkept<'a> {
    tenant: &'a Tenant,
    devices: BTreeSet<DeviceId>,
}

impl<'a> Unkept<'a> {
    fn of(tenant: &'a Tenant) -> Self {
        Self { tenant, devices: std::mem::take(&mut *tenant.unkept()) }
    }
}

impl Drop for Unkept<'_> {
    fn drop(&mut self) {
        self.tenant.unkept().append(&mut self.devices);
    }
}

impl Catalogue {
    /// Takes over what was heard of devices before, and keeps it there from now on, as often as
    /// [`Catalogue::keep_heard`] is called. The rows are for nothing else; they may be thrown away.
    ///
    /// # Errors
    /// [`ViewError`]
    pub async fn with_cache(self, views: Arc<dyn ViewStore>) -> Result<Self, ViewError> {
        let (cache, devices) = Cache::open(views).await?;
        let mut by_tenant: BTreeMap<TenantId, Vec<_>> = BTreeMap::new();
        for (tenant, device, known) in devices {
            by_tenant.entry(tenant).or_default().push((device, known));
        }
        for (tenant, devices) in by_tenant {
            self.of(&tenant).change(|fleet, _| {
                for (device, known) in devices {
                    // What was heard since the process began is newer.
                    if fleet.known.get(device).is_none() {
                        fleet.known.change(device, Some(known));
                    }
                }
            });
        }
        // A second cache would be a mistake of the caller, and harmless: the first one stays.
        let _: Result<(), Cache> = self.shared.cache.set(cache);
        Ok(self)
    }

    /// Keeps what was heard of devices since this was called before, and says of how many. Call it
    /// every few seconds, and before the process ends.
    ///
    /// # Errors
    /// [`ViewError`]; the next call tries again, also if this one was given up halfway.
    pub async fn keep_heard(&self) -> Result<usize, ViewError> {
        let Some(cache) = self.shared.cache.get() else { return Ok(0) };
        let tenants: Vec<_> = {
            let tenants = self.shared.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            tenants.values().cloned().collect()
        };
        let mut kept = 0;
        for tenant in &tenants {
            let mut unkept = Unkept::of(tenant);
            let fleet = tenant.newest();
            let of = |device: &DeviceId| (*device, fleet.known.get(*device).cloned());
            let devices: Vec<Kept> = unkept.devices.iter().map(of).collect();
            cache.keep(&tenant.name, &devices).await?;
            unkept.devices.clear();
            kept += devices.len();
        }
        Ok(kept)
    }

    /// Before what this process has heard, and after what it was told by a cache.
    pub(crate) fn opened(&self) -> Moment {
        self.shared.opened
    }

    /// The newest fleet that is at hand, with all that was heard of devices.
    #[must_use]
    pub fn heard(&self, tenant: &TenantId) -> Arc<Fleet> {
        self.of(tenant).newest()
    }

    fn interned(&self, interfaces: Interfaces) -> Arc<Interfaces> {
        let mut known = self.shared.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(&interfaces) {
            return Arc::clone(same);
        }
        // A device that goes on showing other interfaces leaves sets behind that nobody has any more.
        if known.len().is_power_of_two() {
            known.retain(|set| Arc::strong_count(set) > 1);
        }
        if known.len() >= MOST_SETS {
            known.clear();
        }
        let new = Arc::new(interfaces);
        known.insert(Arc::clone(&new));
        new
    }

    /// Hears news of devices. What is older than what was heard before is passed over, and so is what
    /// is older than the removal of its device.
    pub fn observe(&self, tenant: &TenantId, news: impl IntoIterator<Item = DeviceNews>) {
        let tenant = self.of(tenant);
        let mut removed = tenant.removed.lock().unwrap_or_else(PoisonError::into_inner);
        tenant.change(|fleet, changes| {
            for news in news.into_iter().map(DeviceNews::bounded) {
                let device = news.device;
                if removed.get(&device).is_some_and(|removed| *removed > news.as_of) {
                    continue;
                }
                removed.remove(&device);
                let before = fleet.known.get(device);
                let is_new = before.is_none();
                let mut known = before.map(|known| (**known).clone()).unwrap_or_default();
                let is_other = known.hear(news, |interfaces| self.interned(interfaces));
                fleet.known.change(device, Some(known));
                if is_new || is_other {
                    tenant.unkept().insert(device);
                    let how = if is_new { Changed::Created } else { Changed::Updated };
                    changes.push(Change { thing: Thing::Device(device), how });
                }
            }
        });
    }

    /// Hears that a device does not exist any more, as of a moment.
    pub fn forget(&self, tenant: &TenantId, device: DeviceId, as_of: Moment) {
        self.forget_some(tenant, as_of, |other| other == device);
    }

    /// Hears that there are no devices but these, as of the moment at which that was begun to be
    /// asked. What was heard of others later than that stays.
    pub fn forget_others(&self, tenant: &TenantId, devices: &BTreeSet<DeviceId>, as_of: Moment) {
        self.forget_some(tenant, as_of, |device| !devices.contains(&device));
    }

    fn forget_some(&self, tenant: &TenantId, as_of: Moment, is_gone: impl Fn(DeviceId) -> bool) {
        let tenant = self.of(tenant);
        let mut removed = tenant.removed.lock().unwrap_or_else(PoisonError::into_inner);
        tenant.change(|fleet, changes| {
            let is_older = |newest: Option<Moment>| newest.is_none_or(|newest| newest < as_of);
            let gone: Vec<_> = fleet
                .known
                .iter()
                .filter(|(device, known)| is_gone(*device) && is_older(known.newest()))
                .map(|(device, _)| device)
                .collect();
            for device in gone {
                fleet.known.change(device, None);
                if removed.len() >= MOST_REMOVED {
                    removed.clear();
                }
                removed.insert(device, as_of);
                tenant.unkept().insert(device);
                let thing = Thing::Device(device);
                changes.push(Change { thing, how: Changed::Removed });
            }
        });
    }
}
