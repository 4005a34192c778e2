//! The log, followed once for each tenant that somebody watches, and told to all feeds in bundles: so
//! many events of a fraction of a second become the set of what they have changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::lock::Mutex;
use hedgerow_catalogue::{Catalogue, Change, Changed as How, Changes, Thing};
use hedgerow_core::{CampaignId, DeviceId, OperationId, StoredEvent, StreamId, TenantId};
use hedgerow_engine::{Engine, Position, Subscription, SubscriptionError};
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout, timeout_at};

use crate::errors::Failure;

/// Over how long changes are gathered.
const GATHERED: Duration = Duration::from_millis(200);

/// After so long without anybody who watches a tenant it is not followed any more.
const IDLE: Duration = Duration::from_secs(1);

/// How many bundles are kept for feeds that are slow.
const KEPT: usize = 64;

/// What has changed.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(super) campaigns: BTreeMap<CampaignId, Changed>,
    /// Manual updates, and whether they are new.
    pub(super) manual: BTreeMap<OperationId, bool>,
    /// Things of the catalogue, and what became of them.
    pub(super) things: BTreeMap<Thing, How>,
    /// The last event's position in the log.
    pub(super) position: u64,
}

/// What has changed of a campaign.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) created: bool,
    pub(super) targets: BTreeSet<DeviceId>,
    /// The targets whose operation has just been started.
    pub(super) started: BTreeSet<DeviceId>,
}

#[derive(Deserialize)]
struct OfDevice {
    device: Option<DeviceId>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.campaigns.is_empty() && self.manual.is_empty() && self.things.is_empty()
    }

    fn note_thing(&mut self, change: Change) {
        let how = self.things.entry(change.thing).or_insert(change.how);
        // What is new and changes is new; what is gone is gone.
        if *how != How::Created || change.how == How::Removed {
            *how = change.how;
        }
    }

    fn note(&mut self, stored: &StoredEvent) {
        self.position = self.position.max(stored.position);
        let kind = stored.event.event_type.as_str();
        match stored.stream {
            StreamId::Campaign(campaign) => {
                let changed = self.campaigns.entry(campaign).or_default();
                changed.created |= kind == "campaign_created";
                // The events of a snapshot name devices that nothing has happened to yet.
                if kind == "snapshot_extended" {
                    return;
                }
                let device = serde_json::from_slice::<OfDevice>(&stored.event.data);
                if let Some(device) = device.ok().and_then(|of| of.device) {
                    changed.targets.insert(device);
                    if kind == "operation_started" {
                        changed.started.insert(device);
                    }
                }
            }
            StreamId::ManualUpdate(operation) => {
                *self.manual.entry(operation).or_default() |= kind == "manual_started";
            }
            // What becomes of it is told by the catalogue.
            StreamId::Catalogue => {}
        }
    }
}

type Sender = broadcast::Sender<Arc<News>>;

/// All tenants that are watched.
pub(crate) struct Live {
    engine: Engine,
    catalogue: Catalogue,
    tenants: Arc<Mutex<HashMap<TenantId, Sender>>>,
}

impl Live {
    pub(crate) fn of(engine: Engine, catalogue: Catalogue) -> Self {
        Self { engine, catalogue, tenants: Arc::default() }
    }

    /// What happens in a tenant from now on.
    pub(super) async fn news(
        &self,
        tenant: &TenantId,
    ) -> Result<broadcast::Receiver<Arc<News>>, Failure> {
        let mut tenants = self.tenants.lock().await;
        if let Some(sender) = tenants.get(tenant) {
            return Ok(sender.subscribe());
        }
        let log = self.engine.subscribe(tenant, Position::Now).await?;
        let changes = self.catalogue.changes(tenant);
        let (sender, news) = broadcast::channel(KEPT);
        tenants.insert(tenant.clone(), sender.clone());
        let (tenant, tenants) = (tenant.clone(), Arc::clone(&self.tenants));
        tokio::spawn(follow(Sources { log, changes }, sender, tenant, tenants));
        Ok(news)
    }
}

/// What is followed.
struct Sources {
    log: Subscription,
    changes: Changes,
}

impl Sources {
    /// Takes in the next thing that happens; `false`: there will be no more.
    async fn next(&mut self, news: &mut News) -> bool {
        tokio::select! {
            event = self.log.next() => match event {
                Some(event) => note(news, event),
                None => return false,
            },
            Some(change) = self.changes.next() => match change {
                Ok(change) => news.note_thing(change),
                // Where so much changes at once, pages show it when they are next asked for.
                Err(lagged) => tracing::warn!(%lagged, "changes are not told to those who watch"),
            },
        }
        true
    }
}

async fn follow(
    mut sources: Sources,
    sender: Sender,
    tenant: TenantId,
    tenants: Arc<Mutex<HashMap<TenantId, Sender>>>,
) {
    loop {
        let mut news = News::default();
        let mut has_ended = false;
        match timeout(IDLE, sources.next(&mut news)).await {
            Ok(true) => {
                let until = Instant::now() + GATHERED;
                while let Ok(goes_on) = timeout_at(until, sources.next(&mut news)).await {
                    if !goes_on {
                        has_ended = true;
                        break;
                    }
                }
            }
            Ok(false) => has_ended = true,
            Err(_) => {}
        }
        if !news.is_empty() {
            // Nobody may be there any more: that is looked at below.
            let _ = sender.send(Arc::new(news));
        }
        if has_ended {
            break;
        }
        if sender.receiver_count() == 0 {
            let mut tenants = tenants.lock().await;
            // Under the lock nobody comes.
            if sender.receiver_count() == 0 {
                tenants.remove(&tenant);
                return;
            }
        }
    }
    // The engine stops, or its log cannot be followed. All feeds end as this sender and the kept one
    // are dropped, and sockets with them: whoever comes again has the log followed anew.
    tenants.lock().await.remove(&tenant);
}

fn note(news: &mut News, event: Result<StoredEvent, SubscriptionError>) {
    match event {
        Ok(stored) => news.note(&stored),
        Err(error) => tracing::warn!(%error, "an event is not told to those who watch"),
    }
}
