//! Which operations are in progress: for adapters whose platform keeps what devices report, so that
//! they can fetch what was missed while no engine listened (D12).

use hedgerow_core::{DeviceId, Operation, StreamId, TenantId};

use crate::live::Live;
use crate::registry::StreamState;
use crate::{Engine, EngineError};

/// An operation that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationInProgress {
    /// The campaign or manual update that it belongs to.
    pub stream: StreamId,
    /// The device.
    pub device: DeviceId,
    /// How it stands.
    pub operation: Operation,
}

impl Engine {
    /// All operations of a tenant that have not ended, those of idle targets whose request may
    /// have been delivered included (D10). Streams that are out of service or not loaded yet are
    /// passed over.
    ///
    /// # Errors
    /// [`EngineError::ShuttingDown`].
    pub async fn operations_in_progress(
        &self,
        tenant: &TenantId,
    ) -> Result<Vec<OperationInProgress>, EngineError> {
        let streams: Vec<StreamId> = {
            let registry = self.shared.registry();
            let running = registry.streams.iter().filter_map(|((of, stream), state)| {
                let runs = matches!(state, StreamState::Running(_));
                (runs && of == tenant).then_some(*stream)
            });
            running.collect()
        };
        let mut found = Vec::new();
        for stream in streams {
            let look = move |live: &Live| {
                let devices = live.operations().into_iter().map(|(device, _)| device);
                devices.filter_map(|device| in_progress(live, device)).collect::<Vec<_>>()
            };
            match self.look(tenant, stream, look).await {
                Ok(operations) => found.extend(operations),
                Err(EngineError::ShuttingDown) => return Err(EngineError::ShuttingDown),
                // It has gone out of service since: that is told elsewhere.
                Err(error) => tracing::debug!(%stream, %error, "its operations are passed over"),
            }
        }
        Ok(found)
    }

    /// The operation that is in progress on a device, if there is one.
    ///
    /// # Errors
    /// [`EngineError`], as for every question about a stream.
    pub async fn operation_on(
        &self,
        tenant: &TenantId,
        device: DeviceId,
    ) -> Result<Option<OperationInProgress>, EngineError> {
        let holder = self.shared.registry().operation_holder(tenant, device);
        let Some(stream) = holder else { return Ok(None) };
        self.look(tenant, stream, move |live: &Live| in_progress(live, device)).await
    }
}

fn in_progress(live: &Live, device: DeviceId) -> Option<OperationInProgress> {
    let operation = match live {
        Live::Campaign(live) => live.campaign().target(device)?.operation,
        Live::Manual(live) => {
            let update = live.update();
            (update.definition().device == device).then(|| update.operation().cloned())?
        }
    };
    operation.map(|operation| OperationInProgress { stream: live.stream(), device, operation })
}
