//! Which devices of a channel's groups a campaign targets: those of its System Model (D2). Astarte
//! does not know System Models; a service says where a device shows its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use hedgerow_core::{Channel, DeviceId, SystemModelHandle, TenantId, TransportError};
use hedgerow_engine::Moment;

use crate::presence::Found;
use crate::realms::now;
use crate::{ApiError, AppEngine, Astarte, DeviceStatus, lacks_ota_updates};

/// Properties read at once.
const CONCURRENT_READS: usize = 64;
/// How often a read that failed for now is tried again before the selection is given up.
const TRIES: u32 = 6;

/// Where a device shows its System Model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemModelSource {
    place: Place,
    handles: BTreeMap<String, SystemModelHandle>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Attribute(String),
    Property { interface: String, path: String },
}

impl SystemModelSource {
    /// In an attribute that people gave it. This costs no request beyond the list of the group.
    #[must_use]
    pub fn attribute(name: impl Into<String>) -> Self {
        Self { place: Place::Attribute(name.into()), handles: BTreeMap::new() }
    }

    /// In a property that it publishes, such as `/partNumber` of
    /// `io.edgehog.devicemanager.SystemInfo`. This costs one request for each device.
    #[must_use]
    pub fn property(interface: impl Into<String>, path: impl Into<String>) -> Self {
        let place = Place::Property { interface: interface.into(), path: path.into() };
        Self { place, handles: BTreeMap::new() }
    }

    /// What devices show, such as part numbers, with the System Model that each stands for. What
    /// is not in the list stands for itself, if it is a handle.
    #[must_use]
    pub fn with_handles(
        mut self,
        handles: impl IntoIterator<Item = (String, SystemModelHandle)>,
    ) -> Self {
        self.handles.extend(handles);
        self
    }

    /// The System Model that a text stands for.
    fn handle(&self, shown: &str) -> Option<SystemModelHandle> {
        self.handles.get(shown).cloned().or_else(|| shown.parse().ok())
    }
}

/// How far a selection is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelectionProgress {
    /// The tenant.
    pub tenant: TenantId,
    /// The devices that were found in the channel's groups so far, each once.
    pub found: usize,
    /// Those whose System Model is known.
    pub read: usize,
    /// Those that are targets.
    pub selected: usize,
}

/// What is told how far a selection is.
pub(crate) type OnProgress = Arc<dyn Fn(SelectionProgress) + Send + Sync>;

/// One selection.
pub(crate) struct Selection {
    pub(crate) astarte: Astarte,
    pub(crate) source: SystemModelSource,
    pub(crate) on_progress: Option<OnProgress>,
    pub(crate) tenant: TenantId,
    pub(crate) channel: Channel,
    pub(crate) system_model: SystemModelHandle,
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// What is kept of a device while System Models are read.
struct Candidate {
    device: DeviceId,
    found: Found,
    shown: Option<String>,
}

impl Selection {
    /// The targets, in the order of the groups and of the devices in each, as their pages found
    /// them: what was heard since is newer.
    pub(crate) async fn run(self) -> Result<Vec<(DeviceId, Found)>, TransportError> {
        let appengine = self.astarte.appengine(&self.tenant)?;
        let candidates = self.candidates(appengine).await?;
        let count = candidates.len();
        let mut targets = Vec::new();
        let mut reads =
            stream::iter(candidates).map(|c| self.read(appengine, c)).buffered(CONCURRENT_READS);
        let mut read = 0;
        while let Some(candidate) = reads.next().await {
            let Candidate { device, found, shown } = candidate?;
            read += 1;
            let model = shown.as_deref().and_then(|shown| self.source.handle(shown));
            if model.as_ref() == Some(&self.system_model) {
                targets.push((device, found));
            }
            if read % 100 == 0 || read == count {
                self.tell(count, read, targets.len());
            }
        }
        Ok(targets)
    }

    fn tell(&self, found: usize, read: usize, selected: usize) {
        if let Some(on_progress) = &self.on_progress {
            let tenant = self.tenant.clone();
            on_progress(SelectionProgress { tenant, found, read, selected });
        }
    }

    /// The devices of all groups, each once, with what their status already tells.
    async fn candidates(&self, appengine: &AppEngine) -> Result<Vec<Candidate>, TransportError> {
        let realm = self.astarte.realm(&self.tenant)?;
        let mut seen = BTreeSet::new();
        let mut candidates = Vec::new();
        for group in self.channel.groups() {
            let mut began = Moment::now();
            let keep = |page: Vec<DeviceStatus>| {
                for status in page {
                    if !seen.insert(status.id) {
                        continue;
                    }
                    if lacks_ota_updates(&status.introspection).is_none() {
                        realm.note_capable(status.id);
                    }
                    let found = realm.presence.look(&status, began, now());
                    candidates.push(self.candidate(&status, found));
                }
                // The next page is asked for only now.
                began = Moment::now();
                self.tell(candidates.len(), 0, 0);
            };
            match appengine.each_page(Some(group.as_str()), keep).await {
                Ok(()) => {}
                // A group vanishes with its last device: it has none.
                Err(ApiError::Refused { status: 404, detail, .. })
                    if detail == "Group not found" =>
                {
                    tracing::warn!(tenant = %self.tenant, %group, "astarte has no such group");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(candidates)
    }

    fn candidate(&self, status: &DeviceStatus, found: Found) -> Candidate {
        let shown = match &self.source.place {
            Place::Attribute(name) => status.attributes.get(name),
            Place::Property { .. } => None,
        };
        let shown = shown.and_then(|value| value.as_str()).map(str::to_owned);
        Candidate { device: status.id, found, shown }
    }

    /// Reads the System Model of a device, if its status did not tell it.
    async fn read(
        &self,
        appengine: &AppEngine,
        candidate: Candidate,
    ) -> Result<Candidate, TransportError> {
        let Place::Property { interface, path } = &self.source.place else {
            return Ok(candidate);
        };
        let mut tries = 0;
        loop {
            match appengine.property(candidate.device, interface, path).await {
                Ok(shown) => return Ok(Candidate { shown, ..candidate }),
                // It was deleted since its group was read.
                Err(error) if error.is_not_found() => return Ok(candidate),
                Err(error) if error.is_permanent() || tries + 1 == TRIES => {
                    return Err(error.into());
                }
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(250) * 2_u32.pow(tries)).await;
                    tries += 1;
                }
            }
        }
    }
}
