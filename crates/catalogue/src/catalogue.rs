//! The catalogue of every tenant of a store: follows its stream, decides commands on it, appends.

mod hearing;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use hedgerow_core::{DeviceId, StoredEvent, StreamId, TenantId, Timestamp};
use hedgerow_engine::Moment;
use hedgerow_engine::ports::Clock;
use hedgerow_engine::store::checksum::Chain;
use hedgerow_engine::store::{Activity, AppendError, EventStore, StoreError, StreamAppend};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::actor::Actor;
use crate::cache::Cache;
use crate::change::{Change, Changed, Changes, Thing};
use crate::command::Command;
use crate::decide::decide;
use crate::device::Interfaces;
use crate::error::CatalogueError;
use crate::event::{CatalogueEvent, RecordedEvent};
use crate::fleet::Fleet;

/// Events read at once.
const PAGE: usize = 1_000;
/// So often a command is decided again as others wrote meanwhile.
const TRIES: usize = 16;
/// So many changes are kept for watchers who are slow.
const KEPT_CHANGES: usize = 4_096;

/// What came of a command.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorded {
    /// What has changed; `None`: all was as the command asks.
    pub change: Option<Change>,
    /// The fleet with the change.
    pub fleet: Arc<Fleet>,
}

impl Recorded {
    /// What was created, if the command creates something.
    #[must_use]
    pub fn created(&self) -> Option<Thing> {
        self.change.filter(|change| change.how == Changed::Created).map(|change| change.thing)
    }
}

/// The catalogues of all tenants of a store. Clones are handles to the same ones.
///
/// Several processes may have one store: each follows what the others record when it is asked for a
/// fleet, or told to record something.
#[derive(Clone)]
pub struct Catalogue {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    /// Later than what any cache holds.
    opened: Moment,
    cache: OnceLock<Cache>,
    /// Sets of interfaces, which most devices have the same.
    interfaces: Mutex<HashSet<Arc<Interfaces>>>,
    tenants: Mutex<BTreeMap<TenantId, Arc<Tenant>>>,
}

/// The catalogue of one tenant.
struct Tenant {
    name: TenantId,
    newest: RwLock<Arc<Fleet>>,
    /// The stream was read once.
    is_loaded: AtomicBool,
    /// How far the stream was followed; who has it may append.
    log: tokio::sync::Mutex<Followed>,
    /// Devices that were removed, as of when.
    removed: Mutex<BTreeMap<DeviceId, Moment>>,
    /// Devices of which other things were heard than the cache has.
    unkept: Mutex<BTreeSet<DeviceId>>,
    changes: broadcast::Sender<Change>,
}

#[derive(Default)]
struct Followed {
    chain: Chain,
    /// When the last event was recorded.
    at: Timestamp,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue").finish_non_exhaustive()
    }
}

impl Tenant {
    fn newest(&self) -> Arc<Fleet> {
        // What panics halfway leaves a fleet that is whole but for what it was about.
        Arc::clone(&self.newest.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the newest fleet, and tells whoever watches.
    fn change<T>(&self, change: impl FnOnce(&mut Fleet, &mut Vec<Change>) -> T) -> T {
        let mut changes = Vec::new();
        let done = {
            let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
            change(Arc::make_mut(&mut newest), &mut changes)
        };
        for change in changes {
            // Nobody may be watching.
            let _: Result<usize, _> = self.changes.send(change);
        }
        done
    }

    /// Makes of the fleet what an event says.
    fn apply(
        &self,
        event: &CatalogueEvent,
        (version, at): (u64, Timestamp),
    ) -> Result<(), CatalogueError> {
        self.change(|fleet, changes| {
            let also = match event {
                CatalogueEvent::GroupRemoved(it) => fleet.channel_of(it.id).map(|of| of.id),
                _ => None,
            };
            fleet.apply(event, at).map_err(|why| CatalogueError::Fold { version, why })?;
            changes.push(Change::of(event));
            let channel = also.map(Thing::Channel);
            changes.extend(channel.map(|thing| Change { thing, how: Changed::Updated }));
            Ok(())
        })
    }

    fn take(&self, log: &mut Followed, stored: &StoredEvent) -> Result<(), CatalogueError> {
        let mut chain = log.chain.clone();
        chain.check(stored)?;
        let recorded = RecordedEvent::from_stored(stored)?;
        let at = stored.event.recorded_at;
        self.apply(&recorded.event, (stored.version, at))?;
        (log.chain, log.at) = (chain, log.at.max(at));
        Ok(())
    }
}

impl Catalogue {
    /// The catalogues that a store holds. Each is read when it is asked for first.
    #[must_use]
    pub fn open(store: Arc<dyn EventStore>, clock: Arc<dyn Clock>) -> Self {
        let shared = Shared {
            store,
            clock,
            opened: Moment::now(),
            cache: OnceLock::new(),
            interfaces: Mutex::default(),
            tenants: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    fn of(&self, tenant: &TenantId) -> Arc<Tenant> {
        let mut tenants = self.shared.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tenants.get(tenant) {
            return Arc::clone(known);
        }
        let new = Arc::new(Tenant {
            name: tenant.clone(),
            newest: RwLock::new(Arc::new(Fleet::empty(tenant.clone()))),
            is_loaded: AtomicBool::new(false),
            log: tokio::sync::Mutex::default(),
            removed: Mutex::default(),
            unkept: Mutex::default(),
            changes: broadcast::Sender::new(KEPT_CHANGES),
        });
        tenants.insert(tenant.clone(), Arc::clone(&new));
        new
    }

    /// The catalogue of a tenant as it is now. It has all that this process has recorded, and what
    /// others had recorded when it was asked for.
    ///
    /// # Errors
    /// [`CatalogueError`] if it cannot be read.
    pub async fn tenant(&self, tenant: &TenantId) -> Result<Arc<Fleet>, CatalogueError> {
        let tenant = self.of(tenant);
        let log = match tenant.log.try_lock() {
            Ok(log) => Some(log),
            // Whoever has the log brings the fleet up to date, and may take long.
            Err(_) if tenant.is_loaded.load(Ordering::Acquire) => None,
            Err(_) => Some(tenant.log.lock().await),
        };
        if let Some(mut log) = log {
            self.catch_up(&tenant, &mut log).await?;
        }
        Ok(self.as_of_now(&tenant))
    }

    /// The catalogue of a tenant as this process knows it, without asking the store whether others
    /// have recorded anything, but for the first time.
    ///
    /// # Errors
    /// [`CatalogueError`] if it cannot be read.
    pub async fn at_hand(&self, tenant: &TenantId) -> Result<Arc<Fleet>, CatalogueError> {
        let known = self.of(tenant);
        if known.is_loaded.load(Ordering::Acquire) {
            return Ok(self.as_of_now(&known));
        }
        self.tenant(tenant).await
    }

    fn as_of_now(&self, tenant: &Tenant) -> Arc<Fleet> {
        let mut fleet = (*tenant.newest()).clone();
        // What is recorded already has happened, also where the wall clock was put back (E12): who has a
        // handle is asked as of this.
        fleet.now = fleet.now.max(self.shared.clock.wall());
        Arc::new(fleet)
    }

    /// What changes in the catalogue of a tenant from now on: what this process records, what it hears
    /// of devices, and what others have recorded once this process has been asked for the fleet again.
    #[must_use]
    pub fn changes(&self, tenant: &TenantId) -> Changes {
        Changes(self.of(tenant).changes.subscribe())
    }

    /// Records what a command asks: durable when it returns `Ok`.
    ///
    /// # Errors
    /// [`CatalogueError`]
    pub async fn record(
        &self,
        tenant: &TenantId,
        who: &Actor,
        command: Command,
    ) -> Result<Recorded, CatalogueError> {
        let tenant = self.of(tenant);
        let mut log = tenant.log.lock().await;
        for _ in 0..TRIES {
            self.catch_up(&tenant, &mut log).await?;
            let Some(event) = decide(&tenant.newest(), &command)? else {
                return Ok(Recorded { change: None, fleet: self.as_of_now(&tenant) });
            };
            let change = Some(Change::of(&event));
            let recorded = RecordedEvent { by: who.clone(), event };
            if self.append(&tenant, &mut log, &recorded).await? {
                return Ok(Recorded { change, fleet: self.as_of_now(&tenant) });
            }
        }
        Err(CatalogueError::Contended)
    }

    /// Follows the stream to its end.
    async fn catch_up(&self, tenant: &Tenant, log: &mut Followed) -> Result<(), CatalogueError> {
        loop {
            let after = log.chain.version();
            let store = &self.shared.store;
            let page = store.read_stream(&tenant.name, StreamId::Catalogue, after, PAGE).await?;
            page.iter().try_for_each(|stored| tenant.take(log, stored))?;
            if page.len() < PAGE {
                tenant.is_loaded.store(true, Ordering::Release);
                return Ok(());
            }
        }
    }

    /// Appends an event behind what was followed; `false`: somebody else was first.
    async fn append(
        &self,
        tenant: &Tenant,
        log: &mut Followed,
        recorded: &RecordedEvent,
    ) -> Result<bool, CatalogueError> {
        let Shared { store, clock, .. } = &*self.shared;
        let expected_version = log.chain.version();
        let at = clock.wall().max(log.at);
        let cause = Uuid::new_v4();
        let event = recorded.to_new(at, cause);
        let append = StreamAppend {
            tenant: tenant.name.clone(),
            stream: StreamId::Catalogue,
            expected_version,
            events: vec![event.clone()],
            claims_taken: Vec::new(),
            claims_released: Vec::new(),
            operations: Vec::new(),
            // It never ends, so that it is never archived or removed.
            activity: Activity::Active,
        };
        match store.append(vec![append]).await {
            Ok(()) => {}
            Err(AppendError::VersionConflict { .. }) => return Ok(false),
            Err(AppendError::Store(error)) => {
                // It may have been written all the same.
                let stream = StreamId::Catalogue;
                let page = store.read_stream(&tenant.name, stream, expected_version, 1).await;
                let Ok(page) = page else {
                    let why = match error {
                        StoreError::Unavailable { detail } => detail,
                        other => other.to_string(),
                    };
                    let detail = format!(
                        "{why}; it may have been recorded all the same: look before you enter it again"
                    );
                    return Err(StoreError::Unavailable { detail }.into());
                };
                if page.first().is_none_or(|stored| stored.event.causation_id != cause) {
                    return Err(error.into());
                }
            }
            Err(error @ (AppendError::ClaimConflict { .. } | AppendError::Removed { .. })) => {
                let detail = format!("the catalogue cannot be written to: {error}");
                return Err(StoreError::Corrupt { detail }.into());
            }
            Err(error) => {
                return Err(StoreError::Unavailable { detail: error.to_string() }.into());
            }
        }
        log.chain.extend(&tenant.name, StreamId::Catalogue, &event);
        log.at = at;
        tenant.apply(&recorded.event, (log.chain.version(), at))?;
        Ok(true)
    }
}
