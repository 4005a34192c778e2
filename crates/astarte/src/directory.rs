//! The engine's directory: the devices of a channel, and who is online.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use hedgerow_core::{
    Channel, DeviceId, GroupName, Presence, SystemModelHandle, TenantId, Timestamp, TransportError,
};
use hedgerow_engine::ports::FleetDirectory;
use tokio::sync::watch;

use crate::jobs::Jobs;
use crate::selection::{OnProgress, Selection};
use crate::{ApiError, Astarte, DeviceStatus, SelectionProgress, SystemModelSource};

/// Device statuses read at once.
const CONCURRENT_READS: usize = 64;
/// The presence of more devices than this is read from the list of all devices.
const MOST_SINGLE_READS: usize = 1_000;

type SelectionKey = (TenantId, BTreeSet<GroupName>, SystemModelHandle);
type Targets = Vec<(DeviceId, Presence)>;

/// The devices of the realms of an [`Astarte`], as the engine's `FleetDirectory`. Clones share
/// everything.
///
/// Reading a large fleet takes longer than the engine gives a call: the work goes on meanwhile, and
/// the engine's next call gets its result.
#[derive(Clone)]
pub struct AstarteFleet {
    astarte: Astarte,
    source: SystemModelSource,
    on_progress: Option<OnProgress>,
    shared: Arc<SharedJobs>,
    released: watch::Receiver<bool>,
}

#[derive(Default)]
struct SharedJobs {
    selections: Jobs<SelectionKey, Targets>,
    realms: Jobs<TenantId, BTreeMap<DeviceId, Presence>>,
    presences: Jobs<(TenantId, Vec<DeviceId>), Vec<Option<Presence>>>,
}

impl fmt::Debug for AstarteFleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AstarteFleet")
            .field("astarte", &self.astarte)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Holds the answers of an [`AstarteFleet`] about presence back, until it is dropped.
#[derive(Debug)]
pub struct PresenceHold {
    released: watch::Sender<bool>,
}

impl Drop for PresenceHold {
    fn drop(&mut self) {
        self.released.send_replace(true);
    }
}

impl AstarteFleet {
    /// The devices of these realms, whose System Models stand there.
    #[must_use]
    pub fn new(astarte: Astarte, source: SystemModelSource) -> Self {
        let (_, released) = watch::channel(true);
        Self { astarte, source, on_progress: None, shared: Arc::default(), released }
    }

    /// Tells how far a selection is, again and again while it runs.
    #[must_use]
    pub fn on_progress(mut self, told: impl Fn(SelectionProgress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(told));
        self
    }

    /// Holds back who is online until the hold is dropped. An engine that starts on a store sends
    /// nothing for the campaigns in it before it knows: so the reports that Astarte stored while
    /// no engine ran can be read before anything is sent again (D12).
    #[must_use]
    pub fn hold_presence(mut self) -> (Self, PresenceHold) {
        let (released, receiver) = watch::channel(false);
        self.released = receiver;
        (self, PresenceHold { released })
    }
}

impl FleetDirectory for AstarteFleet {
    fn targets(
        &self,
        tenant: &TenantId,
        channel: &Channel,
        system_model: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Targets, TransportError>> {
        let fleet = self.clone();
        let selection = Selection {
            astarte: self.astarte.clone(),
            source: self.source.clone(),
            on_progress: self.on_progress.clone(),
            tenant: tenant.clone(),
            channel: channel.clone(),
            system_model: system_model.clone(),
        };
        let key = (tenant.clone(), channel.groups().clone(), system_model.clone());
        Box::pin(async move {
            let targets = fleet.shared.selections.join(key, || selection.run()).await?;
            Ok(Arc::unwrap_or_clone(targets))
        })
    }

    fn presence(
        &self,
        tenant: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Option<Presence>>, TransportError>> {
        let (mut fleet, tenant) = (self.clone(), tenant.clone());
        Box::pin(async move {
            // The sender is gone once it has released.
            let _ = fleet.released.wait_for(|released| *released).await;
            let reading = fleet.clone();
            let key = (tenant.clone(), devices.clone());
            let presences = fleet
                .shared
                .presences
                .join(key, || async move { reading.read_presence(&tenant, devices).await })
                .await?;
            Ok(Arc::unwrap_or_clone(presences))
        })
    }
}

impl AstarteFleet {
    async fn read_presence(
        &self,
        tenant: &TenantId,
        devices: Vec<DeviceId>,
    ) -> Result<Vec<Option<Presence>>, TransportError> {
        let listed = if devices.len() > MOST_SINGLE_READS {
            let (fleet, of) = (self.clone(), tenant.clone());
            let list = || async move { fleet.list_presence(&of).await };
            Some(self.shared.realms.join(tenant.clone(), list).await?)
        } else {
            None
        };
        stream::iter(devices)
            .map(|device| {
                let listed = listed.as_ref().and_then(|listed| listed.get(&device).copied());
                async move {
                    match listed {
                        Some(presence) => Ok(Some(presence)),
                        // A list that is read page by page can miss a device: only its own
                        // absence counts.
                        None => self.presence_of(tenant, device).await,
                    }
                }
            })
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await
            .map_err(TransportError::from)
    }

    async fn list_presence(
        &self,
        tenant: &TenantId,
    ) -> Result<BTreeMap<DeviceId, Presence>, TransportError> {
        let realm = self.astarte.realm(tenant)?;
        let mut listed = BTreeMap::new();
        let keep = |page: Vec<DeviceStatus>| {
            let entry = |status: DeviceStatus| {
                let (presence, stamp) = (status.presence(), stamp(&status));
                (status.id, realm.presence.read(status.id, presence, stamp))
            };
            listed.extend(page.into_iter().map(entry));
        };
        realm.appengine.each_page(None, keep).await?;
        Ok(listed)
    }

    async fn presence_of(
        &self,
        tenant: &TenantId,
        device: DeviceId,
    ) -> Result<Option<Presence>, ApiError> {
        let realm = self.astarte.realm(tenant)?;
        match realm.appengine.device_status(device).await {
            Ok(status) => {
                let presence = status.presence();
                Ok(Some(realm.presence.read(device, presence, stamp(&status))))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// When what a status says of the presence began.
pub(crate) fn stamp(status: &DeviceStatus) -> Timestamp {
    status.last_connection().max(status.last_disconnection()).unwrap_or_default()
}
