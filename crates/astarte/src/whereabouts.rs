//! Where devices are, as Astarte says it: read for a few devices one by one, for many from the list
//! of all, and told to an engine without overtaking what triggers tell meanwhile.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::{StreamExt, TryStreamExt, stream};
use hedgerow_core::{DeviceId, TenantId, TransportError};
use hedgerow_engine::Moment;
use tokio::sync::{Mutex, MutexGuard};

use crate::presence::Found;
use crate::realms::now;
use crate::{ApiError, Astarte, DeviceStatus};

/// Device statuses read at once.
const CONCURRENT_READS: usize = 64;
/// The presence of more devices than this is read from the list of all devices.
const MOST_SINGLE_READS: usize = 1_000;
/// What is told of one device is told one after the other; so many devices beside each other.
const STRIPES: usize = 1_024;

/// Lets one at a time speak of a device.
#[derive(Debug)]
pub(crate) struct Turns(Vec<Mutex<()>>);

impl Default for Turns {
    fn default() -> Self {
        Self(std::iter::repeat_with(Mutex::default).take(STRIPES).collect())
    }
}

impl Turns {
    pub(crate) async fn take(&self, device: DeviceId) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        device.hash(&mut hasher);
        // The remainder is below the number of stripes.
        #[allow(clippy::cast_possible_truncation)]
        let place = (hasher.finish() % STRIPES as u64) as usize;
        self.0[place].lock().await
    }
}

impl Astarte {
    /// Where each of these devices is, in their order, as of when it was read.
    pub(crate) async fn whereabouts(
        &self,
        tenant: &TenantId,
        devices: Vec<DeviceId>,
    ) -> Result<Vec<Found>, TransportError> {
        let listed = if devices.len() > MOST_SINGLE_READS {
            let (astarte, of) = (self.clone(), tenant.clone());
            let list = || async move { astarte.list(&of).await };
            Some(self.realm(tenant)?.listing.join((), list).await?)
        } else {
            None
        };
        stream::iter(devices)
            .map(|device| {
                let listed = listed.as_ref().and_then(|listed| listed.get(&device).copied());
                async move {
                    match listed {
                        Some(found) => Ok(found),
                        // A list that is read page by page can miss a device: only its own
                        // absence counts.
                        None => self.whereabouts_of(tenant, device).await,
                    }
                }
            })
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await
            .map_err(TransportError::from)
    }

    async fn list(&self, tenant: &TenantId) -> Result<BTreeMap<DeviceId, Found>, TransportError> {
        let realm = self.realm(tenant)?;
        let mut listed = BTreeMap::new();
        let mut began = Moment::now();
        let keep = |page: Vec<DeviceStatus>| {
            let look = |status| realm.presence.look(status, began, now());
            listed.extend(page.iter().map(|status| (status.id, look(status))));
            // The next page is asked for only now.
            began = Moment::now();
        };
        realm.appengine.each_page(None, keep).await?;
        Ok(listed)
    }

    /// Where that device is, asked for now.
    pub(crate) async fn whereabouts_of(
        &self,
        tenant: &TenantId,
        device: DeviceId,
    ) -> Result<Found, ApiError> {
        let realm = self.realm(tenant)?;
        let began = Moment::now();
        match realm.appengine.device_status(device).await {
            Ok(status) => Ok(realm.presence.look(&status, began, now())),
            Err(error) if error.is_not_found() => Ok(realm.presence.missing(device, began)),
            Err(error) => Err(error),
        }
    }
}
