//! The engine's directory: devices by what the catalogue says, and where they are by what Astarte
//! says. Until the devices of a tenant were read once, nobody is told which there are: a campaign
//! takes its targets for good when it starts, and would miss those that are not known yet.

use std::sync::Arc;

use hedgerow_catalogue::CatalogueDirectory;
use hedgerow_core::{Channel, DeviceId, SystemModelHandle, TenantId, TransportError};
use hedgerow_engine::Sighting;
use hedgerow_engine::ports::{BoxFuture, FleetDirectory};

use crate::feed::Fed;

/// Answers once the catalogue knows the devices.
pub(crate) struct Directory {
    pub(crate) catalogue: CatalogueDirectory,
    pub(crate) fed: Arc<Fed>,
}

impl FleetDirectory for Directory {
    fn targets(
        &self,
        tenant: &TenantId,
        channel: &Channel,
        system_model: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        if self.fed.has(tenant) {
            return self.catalogue.targets(tenant, channel, system_model);
        }
        let text = "the devices have not all been read from Astarte yet";
        Box::pin(std::future::ready(Err(TransportError::new(text))))
    }

    fn presence(
        &self,
        tenant: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        self.catalogue.presence(tenant, devices)
    }
}
