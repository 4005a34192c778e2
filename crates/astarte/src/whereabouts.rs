//! Where devices are, as Astarte says it: read for a few devices one by one, for many from the list
//! of all, and told to an engine without overtaking what triggers tell meanwhile.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::{StreamExt, TryStreamExt, stream};
use hedgerow_core::{DeviceId, Presence, TenantId, Timestamp, TransportError};
use tokio::sync::{Mutex, MutexGuard};

use crate::{ApiError, Astarte, DeviceStatus};

/// Device statuses read at once.
const CONCURRENT_READS: usize = 64;
/// The presence of more devices than this is read from the list of all devices.
const MOST_SINGLE_READS: usize = 1_000;
/// What is told of one device is told one after the other; so many devices beside each other.
const STRIPES: usize = 1_024;

/// Where a device is, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    pub(crate) presence: Presence,
    /// When that began.
    pub(crate) stamp: Timestamp,
    /// Whether more was read than was known.
    pub(crate) is_news: bool,
}

/// When what a status says of the presence began.
pub(crate) fn stamp(status: &DeviceStatus) -> Timestamp {
    status.last_connection().max(status.last_disconnection()).unwrap_or_default()
}

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
    /// Where each of these devices is, in their order; `None` for one that does not exist.
    pub(crate) async fn whereabouts(
        &self,
        tenant: &TenantId,
        devices: Vec<DeviceId>,
    ) -> Result<Vec<Option<Whereabouts>>, TransportError> {
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
                        Some(whereabouts) => Ok(Some(whereabouts)),
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

    async fn list(
        &self,
        tenant: &TenantId,
    ) -> Result<BTreeMap<DeviceId, Whereabouts>, TransportError> {
        let realm = self.realm(tenant)?;
        let mut listed = BTreeMap::new();
        let keep = |page: Vec<DeviceStatus>| {
            listed.extend(page.iter().map(|status| (status.id, realm.presence.read(status))));
        };
        realm.appengine.each_page(None, keep).await?;
        Ok(listed)
    }

    async fn whereabouts_of(
        &self,
        tenant: &TenantId,
        device: DeviceId,
    ) -> Result<Option<Whereabouts>, ApiError> {
        let realm = self.realm(tenant)?;
        match realm.appengine.device_status(device).await {
            Ok(status) => Ok(Some(realm.presence.read(&status))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
