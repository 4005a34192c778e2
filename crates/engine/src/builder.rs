//! Putting an engine together from its ports, and starting it on what its store holds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{DeviceId, StreamId, Timestamp, WATCHED};
use uuid::Uuid;

use crate::begin::{Left, load_later};
use crate::ports::{Clock, DeviceTransport, FleetDirectory, ImageUrls, Spawner};
use crate::registry::{Registry, StreamState};
use crate::rows::Rows;
use crate::shared::{Settings, Shared};
use crate::signal::Signal;
use crate::stats::{Counted, Counters};
use crate::store::{Activity, EventStore, StoreError, StreamSummary};
use crate::sync::Mutex;
use crate::tail::Tail;
use crate::time::EngineTime;
use crate::view::ViewStore;
use crate::{Engine, EngineError};

/// Puts an engine together from its ports.
#[must_use = "an engine runs only after `start`"]
pub struct EngineBuilder {
    store: Arc<dyn EventStore>,
    transport: Arc<dyn DeviceTransport>,
    directory: Arc<dyn FleetDirectory>,
    clock: Arc<dyn Clock>,
    spawner: Arc<dyn Spawner>,
    writer: Uuid,
    urls: Option<Arc<dyn ImageUrls>>,
    views: Option<Arc<dyn ViewStore>>,
    settings: Settings,
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl EngineBuilder {
    /// With these ports and the defaults for everything else.
    pub fn new(
        store: Arc<dyn EventStore>,
        transport: Arc<dyn DeviceTransport>,
        directory: Arc<dyn FleetDirectory>,
        clock: Arc<dyn Clock>,
        spawner: Arc<dyn Spawner>,
    ) -> Self {
        let writer = Uuid::new_v4();
        let settings = Settings {
            concurrent_calls: 64,
            call_timeout: Duration::from_secs(20),
            snapshot_every: 50_000,
            waiting_messages: 65_536,
            opening_streams: 4_096,
            subscribers: 1_024,
            kept_events: 16_384,
            chunk: 10_000,
            look_for_others: Some(Duration::from_millis(500)),
        };
        let (urls, views) = (None, None);
        Self { store, transport, directory, clock, spawner, writer, urls, views, settings }
    }

    /// What this engine is known by among all that ever wrote to the store (E13); a random UUID
    /// unless this is called. No two engines may have the same, so this is for simulations that have
    /// to do the same twice.
    pub fn writer(mut self, writer: Uuid) -> Self {
        self.writer = writer;
        self
    }

    /// Who gives each operation of a campaign a URL of its own, such as a signed one (D23). Without
    /// anybody, devices get the URL of their campaign's image.
    pub fn image_urls(mut self, urls: Arc<dyn ImageUrls>) -> Self {
        self.urls = Some(urls);
        self
    }

    /// Where the rows are kept that lists and pages are answered from: a file, such as
    /// `hedgerow_sqlite::SqliteViews`, or [`MemoryViews`](crate::view::MemoryViews), which reads the
    /// whole log at each start. The engine follows the log into them by itself. Without any, such
    /// questions are refused with [`EngineError::NoRows`].
    pub fn views(mut self, rows: Arc<dyn ViewStore>) -> Self {
        self.views = Some(rows);
        self
    }

    /// After how long, with nothing recorded here, the log is looked at for what another engine or
    /// program wrote to the same store, for rows and for subscribers; at least 20 ms, default half a
    /// second. `None`: never, where nobody else writes to it.
    pub fn look_for_others(mut self, pause: Option<Duration>) -> Self {
        self.settings.look_for_others = pause.map(|pause| pause.max(Duration::from_millis(20)));
        self
    }

    /// How many calls to the ports run at once for each stream; at least 1, default 64.
    pub fn concurrent_calls(mut self, calls: usize) -> Self {
        self.settings.concurrent_calls = calls.max(1);
        self
    }

    /// How long a call to a port may take, at most 25 s (the shortest request time-out is 30 s);
    /// default 20 s. A call that takes longer counts as a temporary error (D10).
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.settings.call_timeout = timeout.min(Duration::from_secs(25));
        self
    }

    /// After how many events the state of a campaign is saved beside its log; default 50,000.
    pub fn snapshot_every(mut self, events: u64) -> Self {
        self.settings.snapshot_every = events.max(1);
        self
    }

    /// How many messages from outside may wait for one campaign or manual update; at least 1, default
    /// 65,536, which is 16 batches and some tens of megabytes. One more is refused with
    /// [`EngineError::Busy`].
    pub fn waiting_messages(mut self, messages: usize) -> Self {
        self.settings.waiting_messages = messages.max(1);
        self
    }

    /// How many campaigns and manual updates may be loaded or begun for callers at once, so that they
    /// do not pile up while the store is slow or down; at least 1, default 4,096. One more is refused
    /// with [`EngineError::TooManyOpening`].
    pub fn opening_streams(mut self, streams: usize) -> Self {
        self.settings.opening_streams = streams.max(1);
        self
    }

    /// How many subscriptions there may be, over all tenants: each looks at every event; default 1,024.
    /// One more is refused with [`EngineError::TooManySubscribers`].
    pub fn subscribers(mut self, subscribers: usize) -> Self {
        self.settings.subscribers = subscribers;
        self
    }

    /// How many of the newest events are kept in memory for subscribers, once for all of them, and at
    /// most 16 megabytes of their payloads; default 16,384. One that is farther behind reads them from
    /// the store.
    pub fn kept_events(mut self, events: usize) -> Self {
        self.settings.kept_events = events;
        self
    }

    /// How many devices one event of a snapshot names (E9), and one look-up of presence asks for; at
    /// least 1, default 10,000.
    pub fn chunk(mut self, devices: usize) -> Self {
        self.settings.chunk = devices.max(1);
        self
    }

    /// Starts the engine: loads every campaign and manual update in which something may still
    /// happen, and goes on with it. One that cannot be loaded is out of service and stops no other
    /// (D21); [`Engine::quarantined`] lists them.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot list its streams.
    pub async fn start(self) -> Result<Engine, StoreError> {
        let newest = match self.store.last_recorded_at().await {
            Ok(newest) => newest,
            // Whatever is damaged there stops one stream, not the engine.
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, "when the store was last written to cannot be read");
                None
            }
            Err(error) => return Err(error),
        };
        let clock = EngineTime::begin(self.clock, newest);
        let streams = self.store.streams().await?;
        let claims = self.store.claims().await?;
        let mut registry = Registry::default();
        for (tenant, key, holder) in claims {
            match key.strip_prefix("device/").map(str::parse::<DeviceId>) {
                Some(Ok(device)) => registry.set_holder(&tenant, device, holder, None),
                _ => registry.set_rollout(&tenant, key, holder),
            }
        }
        let mut active = Vec::new();
        for stream in streams {
            if stream.stream == StreamId::Catalogue {
                continue;
            }
            let is_active = stream.activity == Activity::Active;
            if is_active || has_just_ended(&*self.store, &stream, clock.now()).await {
                active.push(stream);
            }
        }
        for stream in &active {
            let key = (stream.tenant.clone(), stream.stream);
            registry.streams.insert(key, StreamState::Loading);
        }
        let counters = Arc::new(Counters::default());
        let appends = Arc::new(Signal::default());
        let counted = Counted {
            inner: self.store,
            counters: Arc::clone(&counters),
            appends: Arc::clone(&appends),
        };
        let kept_events = self.settings.kept_events;
        let engine = Engine {
            shared: Arc::new(Shared {
                store: Arc::new(counted),
                transport: self.transport,
                directory: self.directory,
                urls: self.urls,
                clock,
                spawner: self.spawner,
                settings: self.settings,
                writer: self.writer,
                counters,
                registry: Mutex::new(registry),
                appends,
                rows: self.views.clone().map(Rows::new),
                background: Mutex::new(Vec::new()),
                tail: Tail::keeping(kept_events),
            }),
        };
        if let Some(rows) = self.views {
            Shared::follow(&engine.shared, rows);
        }
        for stream in active {
            match engine.load(&stream.tenant, stream.stream).await {
                Err(EngineError::Store(error)) => {
                    tracing::warn!(stream = %stream.stream, %error, "not loaded yet");
                    let (tenant, stream) = (stream.tenant.clone(), stream.stream);
                    load_later(&engine.shared, tenant, stream, Left::default());
                }
                Err(error) => {
                    tracing::error!(stream = %stream.stream, %error, "out of service");
                }
                Ok(()) => {}
            }
        }
        Ok(engine)
    }
}

/// Whether a campaign has settled so lately that what its devices show is still looked at (D22).
async fn has_just_ended(store: &dyn EventStore, stream: &StreamSummary, now: Timestamp) -> bool {
    let StreamId::Campaign(_) = stream.stream else { return false };
    let before = stream.version.saturating_sub(1);
    match store.read_stream(&stream.tenant, stream.stream, before, 1).await {
        Ok(last) => last.iter().any(|last| last.event.recorded_at + WATCHED >= now),
        Err(error) => {
            tracing::warn!(stream = %stream.stream, %error, "whether it ended lately is not known");
            // One that did not leaves the memory again.
            error.may_pass()
        }
    }
}
