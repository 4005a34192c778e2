//! What was heard of devices, kept beside the log so that a restart answers at once.
//!
//! It is a cache: it follows from nothing that is recorded, and may be thrown away at any time; then
//! devices are heard of again as Astarte tells of them. It has a store of rows of its own. Sets of
//! interfaces, which are large and the same for most devices, are rows of their own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use hedgerow_core::{DeviceId, TenantId};
use hedgerow_engine::view::{Direction, Reached, RowKey, Step, StepError, ViewError, ViewStore};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::device::{BaseImageInfo, Connection, Interfaces, KnownDevice, SystemInfo};

/// The form of keys and rows; those of another form are thrown away.
const FORMAT: u32 = 0xca70_0001;
/// Rows that are read, and devices that are written, at once.
const PAGE: usize = 2_000;
/// So often a step is tried again as somebody else wrote meanwhile.
const TRIES: usize = 8;
/// What the keys of devices, and of sets of interfaces, begin with.
const DEVICE: u8 = b'd';
const INTERFACES: u8 = b'i';
/// The bytes of a device id.
const ID: usize = 16;

type Mark = [u8; 32];

/// The row of a device.
#[derive(Serialize, Deserialize)]
struct DeviceRow {
    connection: Connection,
    system: SystemInfo,
    base_image: BaseImageInfo,
    /// The key of the row with its interfaces; none: it has no interface, as far as was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interfaces: Option<Mark>,
    attributes: BTreeMap<String, String>,
}

/// The rows that what was heard is kept in.
pub(crate) struct Cache {
    views: Arc<dyn ViewStore>,
    reached: tokio::sync::Mutex<Option<Reached>>,
    /// The sets of interfaces that have a row.
    written: Mutex<HashSet<Mark>>,
}

/// A device as it is to be kept; `None`: it is gone.
pub(crate) type Kept = (DeviceId, Option<Arc<KnownDevice>>);

fn device_key(tenant: &TenantId, device: DeviceId) -> RowKey {
    let (tenant, device) = (tenant.as_str().as_bytes(), device.as_bytes());
    [&[DEVICE], tenant, &[0], device].concat()
}

fn of_device_key(key: &[u8]) -> Option<(TenantId, DeviceId)> {
    let (front, device) = key.split_last_chunk::<ID>()?;
    let tenant = front.strip_prefix(&[DEVICE])?.strip_suffix(&[0])?;
    let tenant = std::str::from_utf8(tenant).ok()?.parse().ok()?;
    Some((tenant, DeviceId::from_bytes(*device)))
}

fn interfaces_key(mark: &Mark) -> RowKey {
    [&[INTERFACES][..], mark].concat()
}

fn mark_of(row: &[u8]) -> Mark {
    Sha256::digest(row).into()
}

fn json(row: &impl Serialize) -> Vec<u8> {
    // Maps with text keys, numbers and texts: nothing here can fail to serialise.
    serde_json::to_vec(row).unwrap_or_default()
}

/// Of a kind that a newer engine may have.
fn unknown(error: &StepError) -> ViewError {
    ViewError::Unavailable { detail: error.to_string() }
}

impl Cache {
    /// Opens the rows, and gives what they hold. Rows that cannot be read are passed over, and sets of
    /// interfaces that no device has any more are removed.
    pub(crate) async fn open(
        views: Arc<dyn ViewStore>,
    ) -> Result<(Self, Vec<(TenantId, DeviceId, KnownDevice)>), ViewError> {
        let mut reached = views.reached().await?;
        if reached.is_some_and(|reached| reached.format != FORMAT) {
            tracing::warn!("what was heard of devices is kept in another form: it is thrown away");
            match views.clear(reached).await {
                Ok(()) => reached = None,
                Err(StepError::Moved { reached: newer, .. }) => reached = newer,
                Err(StepError::Rows(error)) => return Err(error),
                Err(error) => return Err(unknown(&error)),
            }
        }
        let cache =
            Self { views, reached: tokio::sync::Mutex::new(reached), written: Mutex::default() };
        let mut sets = HashMap::new();
        cache
            .each(INTERFACES, |key, row| {
                let set: Interfaces = serde_json::from_slice(row).ok()?;
                sets.insert(Mark::try_from(key.get(1..)?).ok()?, Arc::new(set));
                Some(())
            })
            .await?;
        let (mut devices, mut named) = (Vec::new(), HashSet::new());
        cache
            .each(DEVICE, |key, row| {
                let (tenant, device) = of_device_key(key)?;
                let row: DeviceRow = serde_json::from_slice(row).ok()?;
                let interfaces = match row.interfaces {
                    Some(mark) => {
                        named.insert(mark);
                        Arc::clone(sets.get(&mark)?)
                    }
                    None => Arc::default(),
                };
                let known = KnownDevice {
                    connection: row.connection,
                    system: row.system,
                    base_image: row.base_image,
                    interfaces,
                    attributes: row.attributes,
                    ..KnownDevice::default()
                };
                devices.push((tenant, device, known));
                Some(())
            })
            .await?;
        let (in_use, left): (Vec<Mark>, Vec<Mark>) =
            sets.keys().copied().partition(|mark| named.contains(mark));
        cache.written().extend(in_use);
        for marks in left.chunks(PAGE) {
            let rows = marks.iter().map(|mark| (interfaces_key(mark), None)).collect();
            cache.write(rows).await?;
        }
        Ok((cache, devices))
    }

    fn written(&self) -> std::sync::MutexGuard<'_, HashSet<Mark>> {
        // Nothing that is done with it can panic halfway.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all rows of a kind; `None` of one that cannot be read.
    async fn each(
        &self,
        kind: u8,
        mut read: impl FnMut(&[u8], &[u8]) -> Option<()>,
    ) -> Result<(), ViewError> {
        let (mut from, to, mut unread) = (vec![kind], vec![kind + 1], 0_usize);
        loop {
            let page = self.views.scan(from.clone()..to.clone(), Direction::Forwards, PAGE).await?;
            unread += page.iter().filter(|(key, row)| read(key, row).is_none()).count();
            let Some((last, _)) = page.last().filter(|_| page.len() == PAGE) else { break };
            from.clone_from(last);
            from.push(0);
        }
        if unread > 0 {
            tracing::warn!(unread, "rows of what was heard of devices are damaged: passed over");
        }
        Ok(())
    }

    /// Keeps devices of a tenant, in place of what was kept of them.
    pub(crate) async fn keep(&self, tenant: &TenantId, devices: &[Kept]) -> Result<(), ViewError> {
        for chunk in devices.chunks(PAGE) {
            let (mut rows, mut new) = (BTreeMap::new(), BTreeSet::new());
            for (device, known) in chunk {
                let row = known.as_ref().map(|known| {
                    let interfaces = (!known.interfaces.is_empty()).then(|| {
                        let row = json(&*known.interfaces);
                        let mark = mark_of(&row);
                        if !self.written().contains(&mark) && new.insert(mark) {
                            rows.insert(interfaces_key(&mark), Some(row));
                        }
                        mark
                    });
                    json(&DeviceRow {
                        connection: known.connection.clone(),
                        system: known.system.clone(),
                        base_image: known.base_image.clone(),
                        interfaces,
                        attributes: known.attributes.clone(),
                    })
                });
                rows.insert(device_key(tenant, *device), row);
            }
            self.write(rows.into_iter().collect()).await?;
            self.written().extend(new);
        }
        Ok(())
    }

    /// Writes rows on whatever is there: of two who write, the later is right.
    async fn write(&self, rows: Vec<(RowKey, Option<Vec<u8>>)>) -> Result<(), ViewError> {
        let mut reached = self.reached.lock().await;
        for _ in 0..TRIES {
            let from = *reached;
            let position = from.map_or(0, |from| from.position).saturating_add(1);
            let to = Reached { format: FORMAT, position, checksum: None };
            match self.views.write(Step { from, to, rows: rows.clone() }).await {
                Ok(()) => {
                    *reached = Some(to);
                    return Ok(());
                }
                Err(StepError::Moved { reached: newer, .. }) => {
                    // Somebody may have thrown the sets of interfaces away with all the rest.
                    if newer.is_none() {
                        self.written().clear();
                    }
                    *reached = newer;
                }
                Err(StepError::Rows(error)) => return Err(error),
                Err(error) => return Err(unknown(&error)),
            }
        }
        let detail = "others write to it again and again: give each process its own".to_owned();
        Err(ViewError::Unavailable { detail })
    }
}
