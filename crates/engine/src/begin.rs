//! Beginning a stream: its first event is appended once, whatever the store answers and whether or
//! not the caller waits for it, and a stream that was written is run.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use hedgerow_core::{DeviceId, Effect, StreamId, TenantId};

use crate::live::Live;
use crate::opening::Opening;
use crate::shared::Shared;
use crate::store::{AppendError, StoreError, StreamAppend};
use crate::task::{Start, Task};
use crate::{Engine, EngineError};

/// How long to wait before a store that failed is read again.
const PAUSE: Duration = Duration::from_secs(2);

/// A stream that is being begun. Until that is done whoever asks for it is told to try again.
/// Dropped before that is known, it gives back what it took, or finds out.
pub(crate) struct Beginning {
    shared: Arc<Shared>,
    tenant: TenantId,
    stream: StreamId,
    stage: Stage,
    /// What is to be seen to if it is not known in the end what became of it.
    left: Left,
}

/// What a call that begins a stream leaves behind until it is known what became of that.
#[derive(Default)]
pub(crate) struct Left {
    /// The device that was reserved for the stream.
    device: Option<DeviceId>,
    /// Its place among those that are being begun.
    opening: Option<Opening>,
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
    ///
    /// # Errors
    /// [`EngineError::TooManyOpening`].
    pub(crate) fn of(
        shared: &Arc<Shared>,
        tenant: &TenantId,
        stream: StreamId,
    ) -> Result<Option<Self>, EngineError> {
        let opening = match Opening::of(shared, tenant, stream, |_| ())? {
            Ok(opening) => Some(opening),
            Err(()) => return Ok(None),
        };
        let (shared, tenant) = (Arc::clone(shared), tenant.clone());
        let left = Left { opening, ..Left::default() };
        Ok(Some(Self { shared, tenant, stream, stage: Stage::Reserved, left }))
    }

    /// Notes that the device was reserved for the stream.
    pub(crate) fn has_reserved(&mut self, device: DeviceId) {
        self.left.device = Some(device);
    }

    /// Appends the first event and runs the stream, in a task of its own: what becomes
    /// of it does not depend on whether the caller waits.
    pub(crate) async fn begin(
        mut self,
        append: StreamAppend,
        live: Live,
        first: Vec<Effect>,
    ) -> Result<(), AppendError> {
        let (reply, answered) = oneshot::channel();
        let spawner = Arc::clone(&self.shared.spawner);
        spawner.spawn(
            async move {
                let appended = self.append(append).await;
                if appended.is_ok() {
                    self.run(live, Start::Created(first));
                } else {
                    drop(self);
                }
                // The caller may have gone.
                let _ = reply.send(appended);
            }
            .boxed(),
        );
        answered.await.unwrap_or_else(|_| {
            let detail = "its task ended before it answered; ask again in a moment".to_owned();
            Err(StoreError::Unavailable { detail }.into())
        })
    }

    /// An append whose answer is lost counts if it was written.
    async fn append(&mut self, append: StreamAppend) -> Result<(), AppendError> {
        let first = append.events.first().cloned();
        self.stage = Stage::Appending;
        match self.shared.store.append(vec![append]).await {
            Ok(()) => {}
            Err(AppendError::Store(failure)) => {
                let read = self.shared.store.read_stream(&self.tenant, self.stream, 0, 1).await;
                // What cannot be read now is looked at again later, when this is dropped.
                let written = read.map_err(|_| failure.clone())?;
                if written.first().map(|stored| &stored.event) != first.as_ref() {
                    return Err(failure.into());
                }
                // Those who follow the log may have looked before it was there.
                self.shared.appends.raise();
            }
            Err(refused) => return Err(refused),
        }
        Ok(())
    }

    /// Runs the stream.
    fn run(mut self, live: Live, first: Start) {
        self.stage = Stage::Done;
        Task::spawn(&self.shared, self.tenant.clone(), live, first);
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        match self.stage {
            Stage::Reserved => give_up(&self.shared, &self.tenant, self.stream, self.left.device),
            Stage::Appending => {
                let left = std::mem::take(&mut self.left);
                load_later(&self.shared, self.tenant.clone(), self.stream, left);
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
pub(crate) fn load_later(shared: &Arc<Shared>, tenant: TenantId, stream: StreamId, left: Left) {
    let engine = Engine { shared: Arc::clone(shared) };
    let load = async move {
        let shared = &engine.shared;
        let Left { device, opening: _opening } = left;
        loop {
            let loaded = engine.load(&tenant, stream).await;
            if loaded.is_ok() {
                // What was written late is there now, for those who follow the log, too.
                shared.appends.raise();
            }
            match loaded {
                Err(EngineError::Store(_)) if !shared.registry().shutting_down => {
                    shared.clock.sleep_until(shared.now() + PAUSE).await;
                }
                Err(
                    EngineError::Store(_)
                    | EngineError::UnknownStream { .. }
                    | EngineError::Removed { .. },
                ) => {
                    return give_up(shared, &tenant, stream, device);
                }
                Ok(()) => return,
                Err(error) => return tracing::error!(%stream, %error, "out of service"),
            }
        }
    };
    shared.spawner.spawn(load.boxed());
}
