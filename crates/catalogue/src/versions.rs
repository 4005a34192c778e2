//! A transport that reads versions as the system model of each device says.

use std::fmt;
use std::sync::Arc;

use hedgerow_core::{DeviceId, ImageUrl, OperationId, RequestAnswer, TenantId, TransportError};
use hedgerow_engine::ports::{BoxFuture, DeviceTransport};

use crate::catalogue::Catalogue;
use crate::fleet::Fleet;

impl Fleet {
    /// What a device reports as its version, as the [mapping](crate::VersionMapping) of its system
    /// model reads it.
    #[must_use]
    pub fn version_of(&self, device: DeviceId, reported: &str) -> String {
        match self.device(device).and_then(|device| device.system_model()) {
            Some(model) => model.version_mapping.read(reported),
            None => reported.to_owned(),
        }
    }
}

/// Another transport, but for the versions that devices report: an engine is told how the catalogue
/// reads them at that moment.
#[derive(Clone)]
pub struct MappedVersions {
    catalogue: Catalogue,
    transport: Arc<dyn DeviceTransport>,
}

impl fmt::Debug for MappedVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedVersions").finish_non_exhaustive()
    }
}

impl MappedVersions {
    /// That transport, with the mappings of that catalogue.
    #[must_use]
    pub fn new(catalogue: Catalogue, transport: Arc<dyn DeviceTransport>) -> Self {
        Self { catalogue, transport }
    }
}

impl DeviceTransport for MappedVersions {
    fn send_update(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        self.transport.send_update(tenant, device, operation, url)
    }

    fn send_cancel(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        self.transport.send_cancel(tenant, device, operation, url)
    }

    fn base_image_version(
        &self,
        tenant: &TenantId,
        device: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        let reported = self.transport.base_image_version(tenant, device);
        let (catalogue, tenant) = (self.catalogue.clone(), tenant.clone());
        Box::pin(async move {
            let Some(reported) = reported.await? else { return Ok(None) };
            let fleet = catalogue.at_hand(&tenant).await.map_err(|error| {
                TransportError::new(format!("how the version is to be read is not known: {error}"))
            })?;
            Ok(Some(fleet.version_of(device, &reported)))
        })
    }
}
