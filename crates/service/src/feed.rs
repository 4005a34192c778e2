//! Feeding the catalogue's cache of devices from Astarte: from what its triggers tell, at once, and
//! from rounds over all devices, for whatever was lost on the way.
//!
//! A status costs one request for a page of devices. What a device shows of itself costs two requests
//! for each, and changes only while it is connected: so a round reads it of those that connected since
//! it was read, and of all of them once in the life of a process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, stream};
use hedgerow_astarte::triggers::{Happening, TriggerEvent, TriggerListener};
use hedgerow_astarte::{ApiError, Astarte, BASE_IMAGE, DeviceStatus, SYSTEM_INFO};
use hedgerow_catalogue::{
    BaseImageInfo, Catalogue, Connection, DeviceNews, InterfaceVersion, SystemInfo,
};
use hedgerow_core::{DeviceId, TenantId, Timestamp};
use hedgerow_engine::Moment;
use serde_json::Value;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

/// Events that wait to be passed on; more than that are left to the next round.
const MOST_WAITING: usize = 65_536;
/// Devices whose properties are read at once.
const CONCURRENT_READS: usize = 16;
/// A device that shows something shows more in the same moment: it is read once for all of it.
const SETTLING: Duration = Duration::from_secs(1);
/// Before a tenant's devices are read again that could not all be read yet.
const SOON: Duration = Duration::from_secs(5);
/// More pages than any list has; the bound that a server that lies runs into.
const MOST_PAGES: usize = 100_000;

/// What happened to a device of a tenant, and as of when that was heard.
type Heard = (TenantId, TriggerEvent, Moment);

/// The tenants whose devices were all read once in this process.
#[derive(Debug, Default)]
pub(crate) struct Fed(Mutex<BTreeSet<TenantId>>);

impl Fed {
    pub(crate) fn has(&self, tenant: &TenantId) -> bool {
        lock(&self.0).contains(tenant)
    }
}

/// Keeps the catalogue's devices as Astarte has them. Clones share everything.
#[derive(Clone)]
pub(crate) struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    astarte: Astarte,
    catalogue: Catalogue,
    fed: Arc<Fed>,
    /// Events were left out: a round is to make up for them.
    behind: Notify,
    /// Devices that are about to be read.
    reading: Mutex<BTreeSet<(TenantId, DeviceId)>>,
    at_once: Semaphore,
    /// As of which connection what a device shows was read in this process.
    read: Mutex<BTreeMap<(TenantId, DeviceId), Option<Timestamp>>>,
}

impl Feed {
    pub(crate) fn new(astarte: Astarte, catalogue: Catalogue, fed: Arc<Fed>) -> Self {
        let shared = Shared {
            astarte,
            catalogue,
            fed,
            behind: Notify::new(),
            reading: Mutex::default(),
            at_once: Semaphore::new(CONCURRENT_READS),
            read: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What the receiver of triggers is to call, and what it has called.
    pub(crate) fn listener(&self) -> (TriggerListener, mpsc::Receiver<Heard>) {
        let (sender, heard) = mpsc::channel(MOST_WAITING);
        let shared = Arc::clone(&self.shared);
        let listener = move |tenant: &TenantId, event: &TriggerEvent, as_of| {
            if !concerns_catalogue(&event.happening) {
                return;
            }
            let told = sender.try_send((tenant.clone(), event.clone(), as_of));
            if matches!(told, Err(TrySendError::Full(_))) {
                shared.behind.notify_one();
            }
        };
        (Box::new(listener), heard)
    }

    /// Passes on what triggers tell, for ever.
    pub(crate) async fn follow(self, mut heard: mpsc::Receiver<Heard>) {
        let mut reads = JoinSet::new();
        while let Some((tenant, event, as_of)) = heard.recv().await {
            while reads.try_join_next().is_some() {}
            let device = event.device;
            let is_to_be_read = match event.happening {
                Happening::Connected => self.connection(&tenant, device, true, event.at, as_of),
                Happening::Disconnected => self.connection(&tenant, device, false, event.at, as_of),
                Happening::DeletionFinished => {
                    self.shared.catalogue.forget(&tenant, device, as_of);
                    false
                }
                Happening::Registered
                | Happening::BaseImageShown { .. }
                | Happening::SystemInfoShown => true,
                _ => false,
            };
            if is_to_be_read && self.begins_to_read(&tenant, device) {
                let feed = self.clone();
                reads.spawn(async move { feed.read_soon(tenant, device).await });
            }
        }
    }

    /// Makes rounds for ever: at once, every so often, and when triggers told more than was passed on.
    pub(crate) async fn rounds(self, every: Duration) {
        let mut listed = BTreeSet::new();
        loop {
            for tenant in self.shared.astarte.tenants() {
                match self.round(tenant).await {
                    // A device that cannot be read holds campaigns up for one round, not for ever.
                    Ok(unread) if unread == 0 || !listed.insert(tenant.clone()) => {
                        if lock(&self.shared.fed.0).insert(tenant.clone()) {
                            tracing::info!(%tenant, unread, "the devices are known");
                        }
                    }
                    Ok(unread) => tracing::warn!(%tenant, unread, "some devices were not read"),
                    Err(error) => tracing::warn!(%tenant, %error, "devices are as they were"),
                }
            }
            if !self.shared.astarte.tenants().all(|tenant| self.shared.fed.has(tenant)) {
                tokio::time::sleep(every.min(SOON)).await;
                continue;
            }
            let pause = tokio::time::timeout(every, self.shared.behind.notified());
            let _ = pause.await;
        }
    }

    /// Tells the catalogue that a device connected or disconnected; whether more is to be read of it.
    fn connection(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        online: bool,
        at: Timestamp,
        as_of: Moment,
    ) -> bool {
        let fleet = self.shared.catalogue.heard(tenant);
        let known = fleet.device(device).map(|device| device.known().clone());
        let mut connection =
            known.as_ref().map(|known| known.connection.clone()).unwrap_or_default();
        if online {
            connection.last_connection = connection.last_connection.max(Some(at));
        } else {
            connection.last_disconnection = connection.last_disconnection.max(Some(at));
        }
        // One trigger may overtake another: the later stamp says where the device is.
        connection.online = connection.last_connection > connection.last_disconnection;
        let news = DeviceNews { connection: Some(connection), ..DeviceNews::new(device, as_of) };
        self.shared.catalogue.observe(tenant, [news]);
        online && known.is_none_or(|known| known.system.part_number.is_none())
    }

    /// `false` if it is about to be read already.
    fn begins_to_read(&self, tenant: &TenantId, device: DeviceId) -> bool {
        lock(&self.shared.reading).insert((tenant.clone(), device))
    }

    async fn read_soon(self, tenant: TenantId, device: DeviceId) {
        tokio::time::sleep(SETTLING).await;
        // The semaphore is never closed.
        let _permit = self.shared.at_once.acquire().await;
        // What it shows from here on is read another time.
        lock(&self.shared.reading).remove(&(tenant.clone(), device));
        if let Err(error) = self.read_whole(&tenant, device).await {
            tracing::debug!(%tenant, %device, %error, "a device is left to the next round");
            lock(&self.shared.read).remove(&(tenant, device));
        }
    }

    async fn read_whole(&self, tenant: &TenantId, device: DeviceId) -> Result<(), ApiError> {
        let as_of = Moment::now();
        let appengine = self.shared.astarte.appengine(tenant)?;
        match appengine.device_status(device).await {
            Ok(status) => {
                self.shared.catalogue.observe(tenant, [of_status(&status, as_of)]);
                self.read_properties(tenant, &status).await
            }
            Err(error) if error.is_not_found() => {
                self.shared.catalogue.forget(tenant, device, as_of);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn read_properties(
        &self,
        tenant: &TenantId,
        status: &DeviceStatus,
    ) -> Result<(), ApiError> {
        let appengine = self.shared.astarte.appengine(tenant)?;
        let mut news = DeviceNews::new(status.id, Moment::now());
        // What a device does not declare any more it does not show any more. One that declares nothing
        // at all has not connected yet, and may have shown something before it was reset.
        if !status.introspection.is_empty() {
            news.system = Some(SystemInfo::default());
            news.base_image = Some(BaseImageInfo::default());
        }
        if status.introspection.contains_key(SYSTEM_INFO) {
            let mut shown = appengine.properties(status.id, SYSTEM_INFO).await?;
            news.system = Some(SystemInfo {
                serial_number: shown.remove("serialNumber"),
                part_number: shown.remove("partNumber"),
            });
        }
        if status.introspection.contains_key(BASE_IMAGE) {
            let mut shown = appengine.properties(status.id, BASE_IMAGE).await?;
            news.base_image = Some(BaseImageInfo {
                name: shown.remove("name"),
                version: shown.remove("version"),
                build_id: shown.remove("buildId"),
                fingerprint: shown.remove("fingerprint"),
            });
        }
        // One that has just connected shows its part number a moment later.
        let is_whole = news.system.as_ref().is_some_and(|system| system.part_number.is_some());
        let place = (tenant.clone(), status.id);
        if is_whole || !status.is_online() {
            lock(&self.shared.read).insert(place, status.last_connection());
        }
        self.shared.catalogue.observe(tenant, [news]);
        Ok(())
    }

    /// Reads all devices of a tenant; of how many it could not be read what they show.
    async fn round(&self, tenant: &TenantId) -> Result<usize, ApiError> {
        let appengine = self.shared.astarte.appengine(tenant)?;
        let (mut all, mut from, mut failed) = (BTreeSet::new(), None, 0);
        for _ in 0..MOST_PAGES {
            let as_of = Moment::now();
            let page = appengine.devices(from.clone()).await?;
            all.extend(page.entries.iter().map(|status| status.id));
            let news = page.entries.iter().map(|status| of_status(status, as_of));
            self.shared.catalogue.observe(tenant, news);
            let unread = page.entries.into_iter().filter(|status| self.is_unread(tenant, status));
            let reads = stream::iter(unread).map(|status| async move {
                match self.read_properties(tenant, &status).await {
                    // One that was deleted since its page was read is none.
                    Err(error) if !error.is_not_found() => {
                        tracing::debug!(%tenant, device = %status.id, %error, "not read");
                        1
                    }
                    _ => 0,
                }
            });
            let reads = reads.buffer_unordered(CONCURRENT_READS);
            failed += reads.fold(0, |sum, failed| std::future::ready(sum + failed)).await;
            if page.next.is_none() || page.next == from {
                self.look_for_missing(tenant, &all).await;
                lock(&self.shared.read).retain(|(of, id), _| of != tenant || all.contains(id));
                return Ok(failed);
            }
            from = page.next;
        }
        Ok(failed)
    }

    /// A list that is read page by page can miss a device: only its own absence counts.
    async fn look_for_missing(&self, tenant: &TenantId, listed: &BTreeSet<DeviceId>) {
        let fleet = self.shared.catalogue.heard(tenant);
        let missing = fleet.devices().map(|device| device.id()).filter(|id| !listed.contains(id));
        for device in missing.collect::<Vec<_>>() {
            if let Err(error) = self.read_whole(tenant, device).await {
                tracing::debug!(%tenant, %device, %error, "whether it is there is not known");
            }
        }
    }

    fn is_unread(&self, tenant: &TenantId, status: &DeviceStatus) -> bool {
        let read = lock(&self.shared.read);
        read.get(&(tenant.clone(), status.id)) != Some(&status.last_connection())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn concerns_catalogue(happening: &Happening) -> bool {
    matches!(
        happening,
        Happening::Connected
            | Happening::Disconnected
            | Happening::Registered
            | Happening::DeletionFinished
            | Happening::BaseImageShown { .. }
            | Happening::SystemInfoShown
    )
}

/// What a status tells.
fn of_status(status: &DeviceStatus, as_of: Moment) -> DeviceNews {
    let interfaces = status.introspection.iter().map(|(name, version)| {
        (name.clone(), InterfaceVersion { major: version.major, minor: version.minor })
    });
    let attributes = status.attributes.iter().filter_map(|(key, value)| match value {
        Value::String(text) => Some((key.clone(), text.clone())),
        _ => None,
    });
    DeviceNews {
        connection: Some(Connection {
            online: status.is_online(),
            last_connection: status.last_connection(),
            last_disconnection: status.last_disconnection(),
            last_seen_ip: None,
        }),
        interfaces: Some(interfaces.collect()),
        attributes: Some(attributes.collect()),
        ..DeviceNews::new(status.id, as_of)
    }
}
