//! Makes up for deliveries that were lost (D12): Astarte keeps every report for a year and knows who
//! is connected, so that an outage of this service, or of the way to it, loses nothing that Astarte
//! has.
//!
//! The engine reads base images by itself; this adds the reports, and who is online.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use futures::{StreamExt, stream};
use hedgerow_core::{
    DeviceId, OperationId, OperationReport, Phase, Presence, ReportStatus, TenantId, Timestamp,
    TransportError,
};
use hedgerow_engine::{AwaitedDevice, Engine, EngineError, Observation, OperationInProgress};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::presence::Found;
use crate::told::Told;
use crate::triggers::read_event;
use crate::{ApiError, Astarte};

/// Devices whose reports are fetched at once.
const CONCURRENT: usize = 32;
/// Devices that wait to be looked at after they connected; those beyond are left to the next round.
const MOST_WAITING: usize = 10_000;
/// How often a report that the engine cannot take now is offered again.
const OFFERS: u32 = 60;

/// Fetches the stored reports of devices with an operation in progress, and compares who is online
/// with what the engine was told. Clones share everything.
#[derive(Clone)]
pub struct Reconciler {
    shared: Arc<Shared>,
}

struct Shared {
    astarte: Astarte,
    engine: Engine,
    waiting: Semaphore,
    at_once: Semaphore,
    told: Told,
    /// The operations whose device was told to be online after they rebooted.
    rebooted: Mutex<BTreeMap<TenantId, BTreeSet<OperationId>>>,
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciler").field("astarte", &self.shared.astarte).finish_non_exhaustive()
    }
}

/// What a round found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconciled {
    /// Devices with an operation in progress.
    pub devices: usize,
    /// Reports of those operations that were fetched and told to the engine.
    pub reports: usize,
    /// Devices whose reports could not be read now.
    pub unread: usize,
    /// Devices that are elsewhere than the engine was told, and of which it was told now.
    pub moved: usize,
}

/// Why who is online could not be compared.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl Reconciler {
    /// For that engine and the realms of that `Astarte`.
    #[must_use]
    pub fn new(astarte: Astarte, engine: Engine) -> Self {
        let (waiting, at_once) = (Semaphore::new(MOST_WAITING), Semaphore::new(CONCURRENT));
        let (told, rebooted) = (Told::default(), Mutex::default());
        Self { shared: Arc::new(Shared { astarte, engine, waiting, at_once, told, rebooted }) }
    }

    /// Fetches the reports of every operation in progress in every realm. At the start, before
    /// anything is sent again; who is online the engine then looks up by itself.
    pub async fn fetch_reports(&self) -> Reconciled {
        let mut reconciled = Reconciled::default();
        for tenant in self.shared.astarte.tenants() {
            if let Err(error) = self.fetch_all(tenant, &mut reconciled).await {
                tracing::debug!(%tenant, %error, "no reports are fetched");
            }
        }
        reconciled
    }

    /// Fetches the reports, and compares who is online with what the engine was told: now and then,
    /// and after an outage.
    pub async fn round(&self) -> Reconciled {
        let mut reconciled = self.fetch_reports().await;
        for tenant in self.shared.astarte.tenants() {
            match self.compare_presence(tenant).await {
                Ok(moved) => reconciled.moved += moved,
                Err(error) => tracing::debug!(%tenant, %error, "who is online is not compared"),
            }
        }
        reconciled
    }

    async fn fetch_all(
        &self,
        tenant: &TenantId,
        reconciled: &mut Reconciled,
    ) -> Result<(), EngineError> {
        let operations = self.shared.engine.operations_in_progress(tenant).await?;
        reconciled.devices += operations.len();
        let mut fetches = stream::iter(operations)
            .map(|operation| self.fetch(tenant, operation))
            .buffer_unordered(CONCURRENT);
        while let Some(fetched) = fetches.next().await {
            match fetched {
                Ok(reports) => reconciled.reports += reports,
                Err(_) => reconciled.unread += 1,
            }
        }
        Ok(())
    }

    /// Tells the engine of the devices that are elsewhere than it was told: the number of them.
    async fn compare_presence(&self, tenant: &TenantId) -> Result<usize, ReconcileError> {
        let heard_of_late = self.new_reboots(tenant).await?;
        let awaited = self.shared.engine.awaited_devices(tenant).await?;
        let devices = awaited.iter().map(|awaited| awaited.device).collect();
        let found = self.shared.astarte.whereabouts(tenant, devices).await?;
        let mut moved = 0;
        for (awaited, found) in awaited.into_iter().zip(found) {
            let rebooted = heard_of_late.get(&awaited.device);
            if self.differs(tenant, awaited, found, rebooted.is_some()) {
                self.tell_presence(tenant, awaited.device, found).await?;
                moved += 1;
            }
            // Only now: a round that fails before is as if it had not heard of it.
            if let Some(operation) = rebooted {
                self.rebooted().entry(tenant.clone()).or_default().insert(*operation);
            }
        }
        Ok(moved)
    }

    /// Whether a device is elsewhere than the engine was told, or is to be told to be there again.
    fn differs(
        &self,
        tenant: &TenantId,
        awaited: AwaitedDevice,
        found: Found,
        rebooted: bool,
    ) -> bool {
        match found.presence {
            None => return true,
            Some(Presence::Offline) => return awaited.is_online,
            Some(Presence::Online { .. }) => {}
        }
        // What the engine was not told itself it has from a look, no older than the first.
        let told = self.shared.told.last(tenant, awaited.device).or(found.first);
        // A device that came back without a word since may have rebooted.
        let came_back = awaited.is_in_progress && told != found.standing;
        !awaited.is_online || came_back || rebooted
    }

    /// The devices that reported that they reboot, of operations of which this was not looked at
    /// yet. That report may have been heard only after the device was back, which is then not
    /// judged by how long it has been (D12) unless it is told again that it is online. One that is
    /// still to go down is told to be back later.
    async fn new_reboots(
        &self,
        tenant: &TenantId,
    ) -> Result<BTreeMap<DeviceId, OperationId>, EngineError> {
        let operations = self.shared.engine.operations_in_progress(tenant).await?;
        let rebooting: BTreeMap<_, _> = operations
            .into_iter()
            .filter(|progress| progress.operation.phase == Phase::Rebooting)
            .map(|progress| (progress.operation.id, progress.device))
            .collect();
        let mut rebooted = self.rebooted();
        let known = rebooted.entry(tenant.clone()).or_default();
        known.retain(|operation| rebooting.contains_key(operation));
        let new = rebooting.into_iter().filter(|(operation, _)| !known.contains(operation));
        Ok(new.map(|(operation, device)| (device, operation)).collect())
    }

    fn rebooted(&self) -> MutexGuard<'_, BTreeMap<TenantId, BTreeSet<OperationId>>> {
        self.shared.rebooted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tell_presence(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        found: Found,
    ) -> Result<(), ReconcileError> {
        let realm = self.shared.astarte.realm(tenant)?;
        let _turn = realm.turns.take(device).await;
        // A trigger may have told something newer meanwhile.
        let Found { presence, standing, as_of, .. } = realm.presence.newest(device, found);
        let observation = match presence {
            Some(presence) => Observation::Presence { device, presence },
            None => Observation::DeviceRemoved { device },
        };
        self.shared.engine.observe_as_of(tenant, observation, as_of).await?;
        self.shared.told.note(tenant, device, standing);
        Ok(())
    }

    /// What the engine was told of where devices are.
    pub(crate) fn told(&self) -> &Told {
        &self.shared.told
    }

    /// Makes rounds for ever: now and then, and at once when an Astarte that could not be reached
    /// can be reached again. It ends when the engine is shut down.
    pub async fn run(&self, every: Duration) {
        let mut seen = self.outages_ended();
        let mut waited = Duration::ZERO;
        let look = Duration::from_secs(1).min(every);
        loop {
            tokio::time::sleep(look).await;
            waited += look;
            let ended = self.outages_ended();
            if ended == seen && waited < every {
                continue;
            }
            (seen, waited) = (ended, Duration::ZERO);
            let is_shut_down = match self.shared.astarte.tenants().next() {
                Some(tenant) => {
                    let asked = self.shared.engine.operations_in_progress(tenant).await;
                    asked == Err(EngineError::ShuttingDown)
                }
                None => true,
            };
            if is_shut_down {
                return;
            }
            let reconciled = self.round().await;
            tracing::debug!(?reconciled, "fetched stored reports");
        }
    }

    fn outages_ended(&self) -> u64 {
        let realms = self.shared.astarte.tenants().filter_map(|tenant| {
            let appengine = self.shared.astarte.appengine(tenant).ok()?;
            Some(appengine.client().outages_ended())
        });
        realms.sum()
    }

    /// A device connected: if an operation is in progress on it, its reports are fetched, beside
    /// everything else.
    pub(crate) fn connected(&self, tenant: &TenantId, device: DeviceId) {
        let (this, tenant) = (self.clone(), tenant.clone());
        tokio::spawn(async move {
            let Ok(Some(_)) = this.shared.engine.operation_on(&tenant, device).await else {
                return;
            };
            let Ok(_waiting) = this.shared.waiting.try_acquire() else { return };
            let _permit = this.shared.at_once.acquire().await;
            // It may have ended while this waited.
            if let Ok(Some(operation)) = this.shared.engine.operation_on(&tenant, device).await {
                let fetched = this.fetch(&tenant, operation).await;
                tracing::debug!(%device, ?fetched, "fetched stored reports");
            }
        });
    }

    /// Fetches the reports of one operation and tells the engine; the number of reports.
    async fn fetch(
        &self,
        tenant: &TenantId,
        progress: OperationInProgress,
    ) -> Result<usize, ApiError> {
        let OperationInProgress { device, operation, .. } = progress;
        let appengine = self.shared.astarte.appengine(tenant)?;
        let mut told = 0;
        let mut queries = Vec::new();
        if let Some(newest) = operation.newest_stamp {
            queries.push(vec![("since_after", newest.to_string())]);
        }
        // The stamps are those of the device's clock. One that starts in 1970 until it has heard
        // the time stamps its last reports before all others: so everything is looked at, unless
        // what came after the newest told the end.
        queries.push(Vec::new());
        for query in queries {
            let rows = appengine.stored_reports(device, &query).await?;
            let reports = rows.into_iter().filter_map(|row| read_row(device, row));
            let mut reports: Vec<_> =
                reports.filter(|report| report.operation == operation.id).collect();
            reports.sort_by_key(|report| report.observed_at);
            let ended = reports.iter().any(|report| is_final(report.status));
            for report in reports {
                told += usize::from(self.tell(tenant, report).await);
            }
            if ended {
                break;
            }
        }
        Ok(told)
    }

    /// Tells the engine, again and again while it is not ready.
    async fn tell(&self, tenant: &TenantId, report: OperationReport) -> bool {
        for _ in 0..OFFERS {
            let observation = Observation::Report(report.clone());
            match self.shared.engine.observe(tenant, observation).await {
                Ok(_) => return true,
                Err(EngineError::ShuttingDown) => return false,
                Err(error) if error.is_retryable() => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => {
                    tracing::debug!(device = %report.device, %error, "a stored report is refused");
                    return false;
                }
            }
        }
        false
    }
}

fn is_final(status: ReportStatus) -> bool {
    matches!(status, ReportStatus::Success | ReportStatus::Failure)
}

/// A row of the stored series as a report; `None` for one that cannot be read.
fn read_row(device: DeviceId, row: serde_json::Map<String, Value>) -> Option<OperationReport> {
    let at = row.get("timestamp").and_then(Value::as_str);
    let at = at.and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let at = at.map(|at| Timestamp::from(at.to_utc()));
    let report = read_event(device, at, Some(Value::Object(row))).ok()?;
    // Within one phase it is no sign of life: the device may be dead by now (D9).
    Some(OperationReport { from_storage: true, ..report })
}
