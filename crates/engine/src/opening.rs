//! How many streams callers may have loaded and begun at once.
//!
//! Each of them is a state that is being read, or a first event that waits for the store, and both
//! go on without whoever asked for it. Should the store be slow or down, they would pile up.

use std::sync::Arc;

use hedgerow_core::{StreamId, TenantId};

use crate::EngineError;
use crate::registry::StreamState;
use crate::shared::Shared;

/// One of the streams that are being loaded or begun, marked as such. Dropped, it leaves its place to
/// another; a stream that does not run by then is looked for in the store by the next call.
pub(crate) struct Opening {
    shared: Arc<Shared>,
    tenant: TenantId,
    stream: StreamId,
}

impl Opening {
    /// Marks a stream as being loaded, if it is not in memory; `None`: it is, in that state.
    ///
    /// # Errors
    /// [`EngineError::TooManyOpening`].
    pub(crate) fn of<T>(
        shared: &Arc<Shared>,
        tenant: &TenantId,
        stream: StreamId,
        in_memory: impl FnOnce(&StreamState) -> T,
    ) -> Result<Result<Self, T>, EngineError> {
        let mut registry = shared.registry();
        let key = (tenant.clone(), stream);
        if let Some(state) = registry.streams.get(&key) {
            return Ok(Err(in_memory(state)));
        }
        let most = shared.settings.opening_streams;
        if registry.opening >= most {
            shared.counters.refused_opening();
            return Err(EngineError::TooManyOpening { most });
        }
        registry.opening += 1;
        registry.streams.insert(key, StreamState::Loading);
        drop(registry);
        Ok(Ok(Self { shared: Arc::clone(shared), tenant: tenant.clone(), stream }))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut registry = self.shared.registry();
        registry.opening -= 1;
        let key = (self.tenant.clone(), self.stream);
        if matches!(registry.streams.get(&key), Some(StreamState::Loading)) {
            registry.streams.remove(&key);
        }
    }
}
