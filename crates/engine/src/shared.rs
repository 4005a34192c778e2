//! What every task of an engine has at hand: the ports, the settings, the registry, subscribers.

use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::select;
use hedgerow_core::{DeviceFact, DeviceId, Input, StreamId, TenantId, Timestamp};
use uuid::Uuid;

use crate::inbox::Message;
use crate::ports::{DeviceTransport, FleetDirectory, ImageUrls, Spawner};
use crate::registry::Registry;
use crate::rows::Rows;
use crate::signal::Signal;
use crate::stats::Counters;
use crate::store::EventStore;
use crate::sync::{Mutex, MutexGuard};
use crate::tail::Tail;
use crate::time::{EngineTime, growing_pause};

/// How an engine works; see [`EngineBuilder`](crate::EngineBuilder).
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) concurrent_calls: usize,
    pub(crate) call_timeout: Duration,
    pub(crate) snapshot_every: u64,
    /// Messages from outside that may wait for one stream.
    pub(crate) waiting_messages: usize,
    /// Streams that may be loaded or begun for callers at once.
    pub(crate) opening_streams: usize,
    pub(crate) subscribers: usize,
    /// Events that are kept for subscribers.
    pub(crate) kept_events: usize,
    /// Devices of one chunk of a snapshot or of one look-up of presence.
    pub(crate) chunk: usize,
    /// After how long the log is looked at for events of other programs; `None`: never.
    pub(crate) look_for_others: Option<Duration>,
}

pub(crate) struct Shared {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) transport: Arc<dyn DeviceTransport>,
    pub(crate) directory: Arc<dyn FleetDirectory>,
    /// Who gives operations URLs of their own, if anybody does (D23).
    pub(crate) urls: Option<Arc<dyn ImageUrls>>,
    pub(crate) clock: EngineTime,
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) settings: Settings,
    /// What tells this engine from any other that ever wrote to the store (E13).
    pub(crate) writer: Uuid,
    pub(crate) counters: Arc<Counters>,
    pub(crate) registry: Mutex<Registry>,
    /// How many appends have ended, whatever came of them; over when the engine has stopped.
    pub(crate) appends: Arc<Signal>,
    /// What questions are answered from.
    pub(crate) rows: Option<Rows>,
    /// Ends of what goes on beside the streams, for whoever stops the engine.
    pub(crate) background: Mutex<Vec<oneshot::Receiver<()>>>,
    /// The newest events, for subscribers.
    pub(crate) tail: Tail,
}

impl Shared {
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        // The registry is only ever changed by single insertions and removals, so a panic
        // elsewhere while it is held leaves nothing half done.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn background(&self) -> MutexGuard<'_, Vec<oneshot::Receiver<()>>> {
        self.background.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when more appends have ended than those, when it is time to look for those of other
    /// programs, or when the engine stops.
    pub(crate) async fn recorded_beyond(&self, appends: u64) {
        let recorded = pin!(self.appends.beyond(appends));
        match self.settings.look_for_others {
            Some(pause) => drop(select(recorded, self.clock.sleep(pause)).await),
            None => recorded.await,
        }
    }

    /// Rests after so many failures, for longer after each, or until the engine stops.
    pub(crate) async fn rest_after(&self, failures: u32, first: Duration, longest: Duration) {
        let rest = growing_pause(failures, first, longest);
        let over = pin!(self.appends.beyond(u64::MAX));
        select(over, self.clock.sleep(rest)).await;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Which stream has the claim of a rollout (D18). Another engine may have released it, so the
    /// store is asked before it is believed.
    pub(crate) async fn rollout_holder(&self, tenant: &TenantId, claim: &str) -> Option<StreamId> {
        let known = self.registry().rollout_holder(tenant, claim)?;
        let Ok(holder) = self.store.claim_holder(tenant, claim).await else {
            return Some(known);
        };
        let mut registry = self.registry();
        match holder {
            Some(holder) => registry.set_rollout(tenant, claim.to_owned(), holder),
            None => registry.release_rollout(tenant, claim.to_owned(), known),
        }
        holder
    }

    /// Gives a device back and tells the streams that wait for it (D14). They are told while the
    /// registry is locked: none hears of it before it has heard that the device is busy, which is
    /// told under the same lock ([`Task::reserve`](crate::task::Task)).
    pub(crate) fn release_device(&self, tenant: &TenantId, device: DeviceId, by: StreamId) {
        let registry = &mut *self.registry();
        for stream in registry.release(tenant, device, by) {
            if let Some(inbox) = registry.inbox(tenant, stream) {
                // A task that has ended waits for nothing.
                let _ = inbox
                    .post(Message::input(Input::DeviceFact { device, fact: DeviceFact::Free }));
            }
        }
    }
}
