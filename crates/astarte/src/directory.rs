//! The engine's directory: the devices of a channel, and who is online.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use hedgerow_core::{Channel, DeviceId, GroupName, SystemModelHandle, TenantId, TransportError};
use hedgerow_engine::Sighting;
use hedgerow_engine::ports::FleetDirectory;
use tokio::sync::watch;

use crate::jobs::Jobs;
use crate::presence::Found;
use crate::selection::{OnProgress, Selection};
use crate::{Astarte, SelectionProgress, SystemModelSource};

type SelectionKey = (TenantId, BTreeSet<GroupName>, SystemModelHandle);
type Targets = Vec<(DeviceId, Sighting)>;

/// The devices of the realms of an [`Astarte`], as the engine's `FleetDirectory`. Clones share
/// everything.
///
/// Reading a large fleet takes longer than the engine gives a call: the work goes on meanwhile, and
/// the engine's next call gets its result, which says of each device as of when it was read: what
/// triggers told since is newer, and the engine goes by that.
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
    selections: Jobs<SelectionKey, Vec<(DeviceId, Found)>>,
    presences: Jobs<(TenantId, Vec<DeviceId>), Vec<Found>>,
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
            Ok(targets.iter().map(|(device, found)| (*device, found.sighting())).collect())
        })
    }

    fn presence(
        &self,
        tenant: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        let (mut fleet, tenant) = (self.clone(), tenant.clone());
        Box::pin(async move {
            // The sender is gone once it has released.
            let _ = fleet.released.wait_for(|released| *released).await;
            let reading = fleet.clone();
            let key = (tenant.clone(), devices.clone());
            let read = move || async move { reading.astarte.whereabouts(&tenant, devices).await };
            let found = fleet.shared.presences.join(key, read).await?;
            Ok(found.iter().map(Found::sighting).collect())
        })
    }
}
