//! The engine's transport: asks devices through `AppEngine` to update or cancel, and reads what
//! they show.

use std::time::Duration;

use futures::future::BoxFuture;
use hedgerow_core::{DeviceId, ImageUrl, OperationId, RequestAnswer, TenantId, TransportError};
use hedgerow_engine::ports::DeviceTransport;

use crate::realms::now;
use crate::redact::without_query_of;
use crate::{ApiError, Astarte, OtaRequest, lacks_ota_updates};

/// How long a device that has just connected is given to show its version. Within the time that the
/// engine gives a call. It counts from when the connection came to be known here, by our clock.
const SETTLING: Duration = Duration::from_secs(10);
/// Until the version is read again for the first time; each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

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
        Box::pin(async move { Ok(astarte.settled_version(&tenant, device).await?) })
    }
}

impl Astarte {
    /// The version that the device shows. One that has just connected for the first time is given
    /// time to show one: that it connected is told before its properties arrive, and a device
    /// without a version fails its target for good (D5).
    async fn settled_version(
        &self,
        tenant: &TenantId,
        device: DeviceId,
    ) -> Result<Option<String>, ApiError> {
        let realm = self.realm(tenant)?;
        let mut version = realm.appengine.base_image_version(device).await?;
        if version.is_some() {
            return Ok(version);
        }
        self.whereabouts_of(tenant, device).await?;
        if !realm.presence.has_just_connected(device, SETTLING, now()) {
            return Ok(version);
        }
        let (mut waited, mut pause) = (Duration::ZERO, FIRST_PAUSE);
        while version.is_none() && waited < SETTLING {
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(SETTLING.saturating_sub(waited));
            version = realm.appengine.base_image_version(device).await?;
        }
        Ok(version)
    }

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
