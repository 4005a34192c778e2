//! Manual OTA updates, as users of the engine start and cancel them (D20).

use hedgerow_core::{
    Command, DeviceId, ImageUrl, Input, LiveManualUpdate, ManualUpdate, ManualUpdateDefinition,
    OperationId, OperationLimits, RequestId, RunningOperations, StreamId, TenantId, Version,
};

use serde::Deserialize;

use crate::begin::Beginning;
use crate::live::encode_manual;
use crate::registry::Reserved;
use crate::store::{AppendError, Claim};
use crate::{Engine, EngineError, effects, recording};

/// What a manual OTA update is to do (D20). Read from outside, a key that is not known is an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManualUpdateRequest {
    /// The caller's id for it: a repeated call with the same one is harmless.
    pub request_id: RequestId,
    /// The device.
    pub device: DeviceId,
    /// The image's URL.
    pub url: ImageUrl,
    /// The version that the device is to show afterwards, if outcomes are to be inferred (D12).
    pub expected_version: Option<Version>,
    /// Its retries and time-outs.
    #[serde(default)]
    pub limits: OperationLimits,
}

impl Engine {
    /// Starts a manual OTA update, without checks of System Model or version (D20).
    ///
    /// # Errors
    /// [`EngineError::DeviceBusy`] (D14), [`EngineError::RequestIdTaken`],
    /// [`EngineError::Removed`] if one with this request id was archived and removed,
    /// [`EngineError::ManualRejected`], [`EngineError::Store`], [`EngineError::NotReady`] while an
    /// earlier call with this request id is under way, [`EngineError::TooManyOpening`].
    pub async fn start_manual_update(
        &self,
        tenant: &TenantId,
        request: ManualUpdateRequest,
    ) -> Result<OperationId, EngineError> {
        self.accepting()?;
        let id = OperationId::of_manual_update(tenant, request.request_id.as_str());
        let stream = StreamId::ManualUpdate(id);
        if let Some(same) = self.earlier(tenant, id, &request).await? {
            return same;
        }
        // Another call with this request id may be under way.
        let Some(mut beginning) = Beginning::of(&self.shared, tenant, stream)? else {
            return Err(EngineError::NotReady { stream });
        };
        let reserved = self.shared.registry().reserve(tenant, request.device, stream);
        if let Reserved::Busy(holder) = reserved {
            return Err(EngineError::DeviceBusy { device: request.device, holder });
        }
        beginning.has_reserved(request.device);
        self.begin_manual_update(tenant, id, &request, beginning).await
    }

    /// What an earlier call with the same request id comes to, if there was one.
    async fn earlier(
        &self,
        tenant: &TenantId,
        id: OperationId,
        request: &ManualUpdateRequest,
    ) -> Result<Option<Result<OperationId, EngineError>>, EngineError> {
        let Some(earlier) = self.manual_update(tenant, id).await? else { return Ok(None) };
        let definition = earlier.definition();
        let same = definition.device == request.device
            && definition.url == request.url
            && definition.expected_version == request.expected_version
            && definition.limits == request.limits;
        Ok(Some(if same { Ok(id) } else { Err(EngineError::RequestIdTaken { id }) }))
    }

    async fn begin_manual_update(
        &self,
        tenant: &TenantId,
        id: OperationId,
        request: &ManualUpdateRequest,
        beginning: Beginning,
    ) -> Result<OperationId, EngineError> {
        let stream = StreamId::ManualUpdate(id);
        // Without knowing the version before, no outcome can be inferred from the one after.
        let version_before = match request.expected_version {
            Some(_) => {
                let transport = &self.shared.transport;
                let read = || transport.base_image_version(tenant, request.device);
                let answer = effects::in_time(&self.shared, read).await;
                answer.ok().and_then(Result::ok).flatten()
            }
            None => None,
        };
        let event = ManualUpdate::create(ManualUpdateDefinition {
            request_id: request.request_id.clone(),
            device: request.device,
            url: request.url.clone(),
            expected_version: request.expected_version.clone(),
            version_before,
            limits: request.limits.clone(),
        })?;
        let now = self.shared.now();
        let update = ManualUpdate::begin(tenant.clone(), id, &event, now)
            .map_err(|_| EngineError::RequestIdTaken { id })?;
        let takes = (vec![Claim::Device(request.device)], vec![id]);
        let append =
            recording::beginning(&self.shared, tenant, stream, encode_manual(&event), takes, now);
        let mut live = LiveManualUpdate::new(update);
        let effects = vec![live.first_request()];
        beginning.begin(append, live.into(), effects).await.map_err(|error| match error {
            AppendError::Store(error) => error.into(),
            AppendError::ClaimConflict { holder, .. } => {
                EngineError::DeviceBusy { device: request.device, holder }
            }
            AppendError::Removed { .. } => EngineError::Removed { stream },
            // Another engine has just started it: a repeated call tells how.
            AppendError::VersionConflict { .. } => EngineError::NotReady { stream },
        })?;
        Ok(id)
    }

    /// Asks a device to cancel a manual update.
    ///
    /// # Errors
    /// [`EngineError::UnknownStream`], [`EngineError::ManualRejected`] if it has ended.
    pub async fn cancel_manual_update(
        &self,
        tenant: &TenantId,
        id: OperationId,
    ) -> Result<(), EngineError> {
        self.accepting()?;
        let input = Input::Command(Command::Cancel { running: RunningOperations::Stop });
        self.tell(tenant, StreamId::ManualUpdate(id), input).await.map(|_| ())
    }
}
