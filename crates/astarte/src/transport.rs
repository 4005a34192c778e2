//! The engine's transport: asks devices through `AppEngine` to update or cancel, and reads what
//! they show.

use futures::future::BoxFuture;
use hedgerow_core::{DeviceId, ImageUrl, OperationId, RequestAnswer, TenantId, TransportError};
use hedgerow_engine::ports::DeviceTransport;

use crate::redact::without_query_of;
use crate::{ApiError, Astarte, OtaRequest, lacks_ota_updates};

impl DeviceTransport for Astarte {
    fn send_update(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        let (astarte, tenant, url) = (self.clone(), tenant.clone(), url.clone());
        Box::pin(async move {
            match astarte.unable(&tenant, device).await {
                Ok(None) => {}
                Ok(Some(answer)) => return answer,
                Err(error) => return error.into_answer(),
            }
            astarte.request(&tenant, device, OtaRequest::Update, operation, &url).await
        })
    }

    fn send_cancel(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        let (astarte, tenant, url) = (self.clone(), tenant.clone(), url.clone());
        Box::pin(async move {
            astarte.request(&tenant, device, OtaRequest::Cancel, operation, &url).await
        })
    }

    fn base_image_version(
        &self,
        tenant: &TenantId,
        device: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        let (astarte, tenant) = (self.clone(), tenant.clone());
        Box::pin(async move {
            let version = astarte.appengine(&tenant)?.base_image_version(device).await?;
            Ok(version)
        })
    }
}

impl Astarte {
    /// Why the device cannot be asked to update, if it cannot. Its introspection is read once;
    /// taking a snapshot has read it already.
    async fn unable(
        &self,
        tenant: &TenantId,
        device: DeviceId,
    ) -> Result<Option<RequestAnswer>, ApiError> {
        let realm = self.realm(tenant)?;
        if realm.is_capable(device) {
            return Ok(None);
        }
        let status = realm.appengine.device_status(device).await?;
        if status.introspection.is_empty() {
            // It is connecting for the first time; a device that declares nothing at all is none.
            let error = TransportError::new("the device has not declared its interfaces yet");
            return Ok(Some(RequestAnswer::Temporary(error)));
        }
        if let Some(why) = lacks_ota_updates(&status.introspection) {
            return Ok(Some(RequestAnswer::Permanent(TransportError::new(why))));
        }
        realm.note_capable(device);
        Ok(None)
    }

    async fn request(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        request: OtaRequest,
        operation: OperationId,
        url: &ImageUrl,
    ) -> RequestAnswer {
        let sent = match self.appengine(tenant) {
            Ok(appengine) => appengine.send_ota_request(device, request, operation, url).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => RequestAnswer::Accepted,
            Err(error) => match error.into_answer() {
                RequestAnswer::Temporary(error) => RequestAnswer::Temporary(cut(&error, url)),
                RequestAnswer::Permanent(error) => RequestAnswer::Permanent(cut(&error, url)),
                RequestAnswer::Accepted => RequestAnswer::Accepted,
            },
        }
    }
}

/// The error without the signature of the image's URL, should the answer have repeated it.
fn cut(error: &TransportError, url: &ImageUrl) -> TransportError {
    TransportError::new(without_query_of(&error.detail, url.as_str()))
}
