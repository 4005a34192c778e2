//! The catalogue as the engine's directory: which devices a campaign is for, at the moment at which it
//! starts, and where they are.

use std::fmt;
use std::sync::Arc;

use hedgerow_core::{
    Channel, DeviceId, Presence, SystemModelHandle, TenantId, Timestamp, TransportError,
};
use hedgerow_engine::ports::{BoxFuture, FleetDirectory};
use hedgerow_engine::{Moment, Sighting};

use crate::catalogue::Catalogue;
use crate::device::{Device, KnownDevice};
use crate::fleet::Fleet;

/// A campaign that is for something that the catalogue has not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {what} {handle:?} was removed from the catalogue: cancel the campaign, or enter it again under that handle"
)]
#[non_exhaustive]
pub struct NoTargets {
    /// What the campaign is for.
    pub what: &'static str,
    /// What it calls it.
    pub handle: String,
}

impl Fleet {
    /// The devices that a campaign is for (D2): those in the union of the channel's groups whose
    /// system model it is, each once, in the order of their ids. Groups and system model are known by
    /// their handles; one that was renamed is known by the one that it had.
    ///
    /// # Errors
    /// [`NoTargets`]: none are taken of what was removed, as that would be other devices than asked.
    pub fn targets(
        &self,
        channel: &Channel,
        system_model: &SystemModelHandle,
    ) -> Result<Vec<Device<'_>>, NoTargets> {
        let absent = |what, handle: &str| NoTargets { what, handle: handle.to_owned() };
        let handle = system_model.as_str();
        let model = self.system_models.holder(handle, self.now);
        let model = model.and_then(|model| self.system_model(model.id));
        let model = model.ok_or_else(|| absent("system model", handle))?;
        let mut selectors = Vec::new();
        for group in channel.groups() {
            let found = self.groups.holder(group.as_str(), self.now);
            let found = found.and_then(|found| self.group(found.id));
            selectors.push(&found.ok_or_else(|| absent("group", group.as_str()))?.selector);
        }
        let is_target = |device: &Device<'_>| {
            let part_number = device.known().system.part_number.as_deref();
            part_number.is_some_and(|part| model.part_numbers.contains(part))
                && selectors.iter().any(|selector| selector.matches(device, self.now))
        };
        Ok(self.devices().filter(is_target).collect())
    }
}

impl KnownDevice {
    /// Where it is, as far as was heard.
    #[must_use]
    pub fn presence(&self) -> Presence {
        if self.connection.online {
            // Without a time it may have been there for ever.
            let since = self.connection.last_connection.unwrap_or(Timestamp::from_millis(0));
            Presence::Online { since }
        } else {
            Presence::Offline
        }
    }
}

/// Tells an engine which devices a campaign is for, and where they are: as the catalogue has heard, or
/// as another directory says, such as Astarte's.
///
/// Without another one, tell the catalogue of a device before the engine is told: what the catalogue
/// has heard counts as being so now.
#[derive(Clone)]
pub struct CatalogueDirectory {
    catalogue: Catalogue,
    presence: Option<Arc<dyn FleetDirectory>>,
}

impl fmt::Debug for CatalogueDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogueDirectory").finish_non_exhaustive()
    }
}

impl CatalogueDirectory {
    /// What devices there are and where they are as the catalogue has heard.
    #[must_use]
    pub fn new(catalogue: Catalogue) -> Self {
        Self { catalogue, presence: None }
    }

    /// Where devices are is asked of another directory, whose targets nobody asks for.
    #[must_use]
    pub fn with_presence_of(self, presence: Arc<dyn FleetDirectory>) -> Self {
        Self { presence: Some(presence), ..self }
    }
}

/// As the catalogue says what went wrong.
fn failed(error: &dyn fmt::Display) -> TransportError {
    TransportError::new(format!("the catalogue cannot tell: {error}"))
}

impl FleetDirectory for CatalogueDirectory {
    fn targets(
        &self,
        tenant: &TenantId,
        channel: &Channel,
        system_model: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        let Self { catalogue, presence } = self.clone();
        let (tenant, channel, model) = (tenant.clone(), channel.clone(), system_model.clone());
        Box::pin(async move {
            let now = Moment::now();
            let fleet = catalogue.tenant(&tenant).await.map_err(|error| failed(&error))?;
            let targets = fleet.targets(&channel, &model).map_err(|error| failed(&error))?;
            let long_ago = catalogue.opened();
            let seen = |device: Device<'_>| {
                let known = device.known();
                // Where another directory is asked, it is asked of what was heard before.
                let heard = known.heard.connection.unwrap_or(long_ago);
                let as_of = if presence.is_some() { heard } else { now };
                (device.id(), Sighting { presence: Some(known.presence()), as_of })
            };
            Ok(targets.into_iter().map(seen).collect())
        })
    }

    fn presence(
        &self,
        tenant: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        if let Some(presence) = &self.presence {
            return presence.presence(tenant, devices);
        }
        let (catalogue, tenant) = (self.catalogue.clone(), tenant.clone());
        Box::pin(async move {
            let as_of = Moment::now();
            let fleet = catalogue.heard(&tenant);
            let seen = |device: DeviceId| {
                let presence = fleet.device(device).map(|device| device.known().presence());
                Sighting { presence, as_of }
            };
            Ok(devices.into_iter().map(seen).collect())
        })
    }
}
