//! Beginning a stream: its first event is appended once, whatever the store answers and whether or
//! not the caller waits for it, and a stream that was written is run.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hedgerow_core::{DeviceId, StreamId, TenantId};

use crate::live::Live;
use crate::registry::StreamState;
use crate::shared::Shared;
use crate::store::{AppendError, StreamAppend};
use crate::subscription::RecordedEvent;
use crate::task::{Start, Task};
use crate::{Engine, EngineError};

/// How long to wait before a store that failed is read again.
const PAUSE: Duration = Duration::from_secs(2);

/// A stream that is being begun. Until that is done whoever asks for it is told to try again.
/// Dropped before, also by a caller that goes away, it gives back what it took.
pub(crate) struct Beginning {
    shared: Arc<Shared>,
    tenant: TenantId,
    stream: StreamId,
    device: Option<DeviceId>,
    stage: Stage,
}

enum Stage {
    /// Nothing was handed to the store.
    Reserved,
    /// The store may have it.
    Appending,
    /// It runs, or is known not to have been written.
    Done,
}

impl Beginning {
    /// Marks a stream as being begun; `None` if there is one in memory already.
    pub(crate) fn of(shared: &Arc<Shared>, tenant: &TenantId, stream: StreamId) -> Option<Self> {
        let mut registry = shared.registry();
        let key = (tenant.clone(), stream);
        if registry.streams.contains_key(&key) {
            return None;
        }
        registry.streams.insert(key, StreamState::Loading);
        drop(registry);
        let (shared, tenant) = (Arc::clone(shared), tenant.clone());
        Some(Self { shared, tenant, stream, device: None, stage: Stage::Reserved })
    }

    /// Notes that the device was reserved for the stream.
    pub(crate) fn has_reserved(&mut self, device: DeviceId) {
        self.device = Some(device);
    }

    /// Appends the first event and publishes it. An append whose answer is lost counts if it was
    /// written.
    pub(crate) async fn append(&mut self, append: StreamAppend) -> Result<(), AppendError> {
        let events = append.events.clone();
        self.stage = Stage::Appending;
        match self.shared.store.append(vec![append]).await {
            Ok(()) => {}
            Err(AppendError::Store(failure)) => {
                let read = self.shared.store.read_stream(&self.tenant, self.stream, 0, 1).await;
                // What cannot be read now is looked at again later, when this is dropped.
                let written = read.map_err(|_| failure.clone())?;
                if written.first().map(|stored| &stored.event) != events.first() {
                    return Err(failure.into());
                }
            }
            Err(refused) => return Err(refused),
        }
        for (version, event) in (1..).zip(events) {
            let (tenant, stream) = (self.tenant.clone(), self.stream);
            self.shared.publish(&RecordedEvent { tenant, stream, version, event });
        }
        Ok(())
    }

    /// Runs the stream.
    pub(crate) fn run(mut self, live: Live, first: Start) {
        self.stage = Stage::Done;
        Task::spawn(&self.shared, self.tenant.clone(), live, first);
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        match self.stage {
            Stage::Reserved => give_up(&self.shared, &self.tenant, self.stream, self.device),
            Stage::Appending => {
                load_later(&self.shared, self.tenant.clone(), self.stream, self.device);
            }
            Stage::Done => {}
        }
    }
}

fn give_up(shared: &Shared, tenant: &TenantId, stream: StreamId, device: Option<DeviceId>) {
    shared.registry().streams.remove(&(tenant.clone(), stream));
    if let Some(device) = device {
        shared.release_device(tenant, device, stream);
    }
}

/// Loads a stream that is marked as being loaded, as soon as the store can be read; one that turns
/// out not to exist gives back its device.
pub(crate) fn load_later(
    shared: &Arc<Shared>,
    tenant: TenantId,
    stream: StreamId,
    device: Option<DeviceId>,
) {
    let engine = Engine { shared: Arc::clone(shared) };
    let load = async move {
        let shared = &engine.shared;
        loop {
            match engine.load(&tenant, stream).await {
                Err(EngineError::Store(_)) if !shared.registry().shutting_down => {
                    shared.clock.sleep_until(shared.now() + PAUSE).await;
                }
                Err(EngineError::Store(_) | EngineError::UnknownStream { .. }) => {
                    return give_up(shared, &tenant, stream, device);
                }
                Ok(()) => return,
                Err(error) => return tracing::error!(%stream, %error, "out of service"),
            }
        }
    };
    shared.spawner.spawn(load.boxed());
}
