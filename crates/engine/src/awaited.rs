//! What is still expected, and of whom: for adapters whose platform knows what happened while nobody
//! listened, so that they can make up for it (D12).

use hedgerow_core::{DeviceId, OpenTarget, Operation, StreamId, TenantId};

use crate::live::Live;
use crate::registry::StreamState;
use crate::streams::Asked;
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

/// A device of which a campaign or a manual update still expects something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwaitedDevice {
    /// The device.
    pub device: DeviceId,
    /// Whether it is online, as far as the engine was told.
    pub is_online: bool,
    /// Whether an operation is in progress on it.
    pub is_in_progress: bool,
}

impl Engine {
    /// All devices of which something is still expected, once for each campaign and manual update
    /// that expects it: for adapters that compare now and then whether the engine was told
    /// everything. Streams that are out of service or not loaded yet are passed over.
    ///
    /// # Errors
    /// [`EngineError::ShuttingDown`].
    pub async fn awaited_devices(
        &self,
        tenant: &TenantId,
    ) -> Result<Vec<AwaitedDevice>, EngineError> {
        self.look_at_all(tenant, awaited_devices).await
    }

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
        self.look_at_all(tenant, |live| {
            let devices = live.operations().into_iter().map(|(device, _)| device);
            devices.filter_map(|device| in_progress(live, device)).collect()
        })
        .await
    }

    /// Looks at every stream of a tenant that is in memory.
    async fn look_at_all<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        look: impl Fn(&Live) -> Vec<T> + Copy + Send + 'static,
    ) -> Result<Vec<T>, EngineError> {
        let streams: Vec<StreamId> = {
            let registry = self.shared.registry();
            let loaded = registry.streams.iter().filter_map(|((of, stream), state)| {
                let is_loaded = matches!(state, StreamState::Loaded(_));
                (is_loaded && of == tenant).then_some(*stream)
            });
            loaded.collect()
        };
        let mut found = Vec::new();
        for stream in streams {
            match self.look_at_work(tenant, stream, look).await {
                Ok(Asked::Answered(seen)) => found.extend(seen),
                // The engine stops, or the stream has just left the memory.
                Ok(Asked::Loading | Asked::NotAtWork) => drop(self.accepting()?),
                // It has gone out of service since: that is told elsewhere.
                Err(error) => tracing::debug!(%stream, %error, "it is passed over"),
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
        let look = move |live: &Live| in_progress(live, device);
        match self.look_at_work(tenant, stream, look).await? {
            Asked::Answered(operation) => Ok(operation),
            Asked::Loading => Err(EngineError::NotReady { stream }),
            // Another engine's, or it has just ended.
            Asked::NotAtWork => Ok(None),
        }
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

fn awaited_devices(live: &Live) -> Vec<AwaitedDevice> {
    match live {
        Live::Campaign(live) => live
            .open_targets()
            .map(|OpenTarget { device, is_online, is_in_progress }| AwaitedDevice {
                device,
                is_online,
                is_in_progress,
            })
            .collect(),
        Live::Manual(live) => {
            let device = live.update().definition().device;
            let open = live.update().operation().is_some();
            let found = AwaitedDevice { device, is_online: live.is_online(), is_in_progress: open };
            open.then_some(found).into_iter().collect()
        }
    }
}
