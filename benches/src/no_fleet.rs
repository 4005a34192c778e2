//! A fleet of which every device is offline: for an engine that is to load a campaign, and to do
//! nothing with it.

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use hedgerow_core::{
    Channel, DeviceId, ImageUrl, OperationId, Presence, RequestAnswer, SystemModelHandle, TenantId,
    TransportError,
};
use hedgerow_engine::Sighting;
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};

/// See the module's documentation.
pub struct NoFleet;

fn offline<T: Send + 'static>() -> BoxFuture<'static, Result<T, TransportError>> {
    ready(Err(TransportError::new("every device is offline"))).boxed()
}

impl DeviceTransport for NoFleet {
    fn send_update(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        ready(RequestAnswer::Temporary(TransportError::new("every device is offline"))).boxed()
    }

    fn send_cancel(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        self.send_update(tenant, device, operation, url)
    }

    fn base_image_version(
        &self,
        _: &TenantId,
        _: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        offline()
    }
}

impl FleetDirectory for NoFleet {
    fn targets(
        &self,
        _: &TenantId,
        _: &Channel,
        _: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        offline()
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        ready(Ok(vec![Sighting::now(Some(Presence::Offline)); devices.len()])).boxed()
    }
}
