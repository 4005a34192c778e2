//! Runs a scenario file through the real engine, in virtual time, against scripted devices.
//!
//! At one instant: the return from a restart, then stimuli, then device steps, then timers; after
//! each the engine works until it has nothing left to do. A restart or crash point really drops
//! the engine and recovers another from the store.
//!
//! The judge of a [simulation](crate::simulate) looks on, and at the end the log that the store holds
//! is audited.

mod campaign;
mod commands;
mod hooks;
mod judged;
mod log;
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hedgerow_core::{
    CampaignId, DeviceId, OperationId, OperationReport, Presence, ReportStatus, StatusCode,
    TenantId, Timestamp,
};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::{Engine, EngineBuilder, Observation};
use serde_json::{Map, Value};
use uuid::Uuid;

use self::hooks::{LoggedStore, SLOT};
use self::log::CrashPoint;
pub(super) use self::world::device_id;
use self::world::{CALLS, DueStep, World};
use crate::blocking::BlockingStore;
use crate::platform::Platform;
use crate::runtime::{Executor, VirtualClock};
use crate::scenario::format::{Action, OtaEvent, Scenario, Stimulus};
use crate::simulate::{Audit, Violation, audit};

/// Steps at one instant after which a scenario is taken to run in circles.
const MOST_STEPS_AT_ONCE: u32 = 1_000_000;

/// Why a scenario could not be run to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The engine did not start on its store.
    #[error("the engine did not start: {detail}")]
    NoStart {
        /// What the store said.
        detail: String,
    },
    /// The store cannot be read at the end.
    #[error("the store cannot be read at the end: {detail}")]
    Unread {
        /// What the store said.
        detail: String,
    },
    /// Time does not move on.
    #[error(
        "the scenario does not get beyond {at_ms} ms: look for scripts that set each other off"
    )]
    Circles {
        /// Where it is.
        at_ms: i64,
    },
}

/// The tenant of every scenario.
fn tenant() -> TenantId {
    // A letter and nothing else: always a realm name.
    "scenario".parse().unwrap_or_else(|_| unreachable!("a valid realm name"))
}

struct Run<'a> {
    scenario: &'a Scenario,
    platform: Platform<World>,
    store: Arc<dyn EventStore>,
    clock: VirtualClock,
    tenant: TenantId,
    executor: Executor,
    engine: Option<Engine>,
    /// When the engine comes back.
    back_at: Option<i64>,
    /// How many engines were started.
    starts: u128,
    /// What arrived while it was down.
    queued: VecDeque<Observation>,
    /// The campaigns as they are now defined.
    campaigns: BTreeMap<String, Map<String, Value>>,
    now_ms: i64,
}

/// What a run of a scenario gave.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Played {
    /// The entries of the observation's log.
    pub log: Vec<Value>,
    /// The first thing that did not hold while it ran; the run ends with it.
    pub violation: Option<Violation>,
    /// What an audit of the store found at its end.
    pub audit: Audit,
    pub(super) device_names: BTreeMap<DeviceId, String>,
}

impl Played {
    /// The name that the scenario has for a device.
    pub(super) fn device_name(&self, device: DeviceId) -> String {
        self.device_names.get(&device).cloned().unwrap_or_else(|| device.to_string())
    }

    /// The places in the log of what happened then to a campaign.
    pub(super) fn entries_at(&self, campaign: Option<&str>, at_ms: Option<i64>) -> Vec<usize> {
        let then = |entry: &Value| {
            at_ms.is_some_and(|at_ms| entry["at_ms"] == at_ms)
                && campaign.is_none_or(|campaign| entry["campaign"] == campaign)
        };
        (0..).zip(&self.log).filter(|(_, entry)| then(entry)).map(|(place, _)| place).collect()
    }
}

/// Runs a scenario on a store that is empty, while the judge looks on, and audits the store.
///
/// # Errors
/// [`RunError`] if it cannot be run to its end, or the store cannot be read then.
pub fn run(scenario: &Scenario, store: Arc<dyn EventStore>) -> Result<Played, RunError> {
    let mut world = World::new(tenant());
    for device in &scenario.fleet.devices {
        world.add(device.clone(), None);
    }
    let platform = Platform::new(world, ());
    let audited = Arc::clone(&store);
    let logged = BlockingStore::new(store);
    let mut run = Run {
        scenario,
        store: Arc::new(LoggedStore { store: logged, platform: platform.clone() }),
        platform,
        clock: VirtualClock::new(Timestamp::from_millis(0)),
        tenant: tenant(),
        executor: Executor::default(),
        engine: None,
        back_at: None,
        starts: 0,
        queued: VecDeque::new(),
        campaigns: BTreeMap::new(),
        now_ms: 0,
    };
    run.start_engine()?;
    run.finish()?;
    if !run.is_broken() {
        run.look_at_the_end();
    }
    let audit = audit(&*audited, &mut |_| {})
        .map_err(|error| RunError::Unread { detail: error.to_string() })?;
    let world = &mut *run.platform.world();
    let log = std::mem::take(&mut world.log.entries);
    let device_names = std::mem::take(&mut world.log.device_names);
    Ok(Played { log, violation: world.judge.violation().cloned(), audit, device_names })
}

impl Run<'_> {
    fn finish(&mut self) -> Result<(), RunError> {
        let mut stimuli: Vec<(usize, &Stimulus)> =
            self.scenario.stimuli.iter().enumerate().collect();
        stimuli.sort_by_key(|(_, stimulus)| stimulus.at_ms);
        let mut stimuli = stimuli.into_iter().peekable();
        let mut at_once = 0;
        loop {
            let stimulus = stimuli.peek().map(|(_, stimulus)| stimulus.at_ms);
            let sleep = self.clock.next_sleep().map(Timestamp::as_millis);
            let step = self.platform.world().next_step_at();
            let next = [stimulus, sleep, step, self.back_at].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= self.scenario.run_until_ms) else {
                return Ok(());
            };
            at_once = if next > self.now_ms { 0 } else { at_once + 1 };
            if at_once > MOST_STEPS_AT_ONCE {
                return Err(RunError::Circles { at_ms: self.now_ms });
            }
            self.now_ms = self.now_ms.max(next);
            self.clock.advance_to(Timestamp::from_millis(self.now_ms));
            self.goes_on();
            if self.back_at.is_some_and(|at| at <= self.now_ms) {
                self.back_at = None;
                self.start_engine()?;
            } else if let Some((index, stimulus)) =
                stimuli.next_if(|(_, stimulus)| stimulus.at_ms <= self.now_ms)
            {
                self.stimulus(index, &stimulus.action);
            } else if let Some(step) = { self.platform.world().take_step() } {
                self.step(step);
            } else {
                self.clock.ring();
                self.settle();
            }
            self.look();
            if self.is_broken() {
                return Ok(());
            }
        }
    }

    fn is_broken(&self) -> bool {
        self.platform.world().judge.violation().is_some()
    }

    fn goes_on(&self) {
        let mut world = self.platform.world();
        world.set_now(self.now_ms);
        world.step += 1;
    }

    /// Lets the engine work until nothing is left to do; if it met a crash point, it dies.
    fn settle(&mut self) {
        self.executor.run_until_stalled();
        let crashed = self.platform.world().log.crashed.take();
        if let Some(down_ms) = crashed {
            self.stop_engine(down_ms);
        }
    }

    fn stop_engine(&mut self, down_ms: i64) {
        self.engine = None;
        // Outside of the world: calls note their end.
        self.executor = Executor::default();
        let world = &mut *self.platform.world();
        let now = world.moment().now;
        world.judge.engine_died(SLOT, now);
        self.back_at = Some(self.now_ms + down_ms);
    }

    /// Starts an engine on what the store holds. What was queued is read before timers are looked
    /// at.
    fn start_engine(&mut self) -> Result<(), RunError> {
        {
            let world = &mut *self.platform.world();
            world.hold();
            let now = world.moment().now;
            world.judge.engine_starts(false, now);
        }
        let builder = EngineBuilder::new(
            Arc::clone(&self.store),
            Arc::new(self.platform.clone()),
            Arc::new(self.platform.clone()),
            Arc::new(self.clock.clone()),
            Arc::new(self.executor.spawner()),
        );
        self.starts += 1;
        let builder = builder.writer(Uuid::from_u128(self.starts)).concurrent_calls(CALLS);
        let started = self.executor.run(builder.start());
        let engine = started
            .ok_or_else(|| RunError::NoStart { detail: "it waits for its store".to_owned() })?
            .map_err(|error| RunError::NoStart { detail: error.to_string() })?;
        self.engine = Some(engine);
        // If it dies again meanwhile, what is left is queued anew.
        for observation in std::mem::take(&mut self.queued) {
            self.observe(observation);
        }
        self.platform.world().let_go();
        self.settle();
        Ok(())
    }

    /// Tells the engine something, now or when it is back.
    fn observe(&mut self, observation: Observation) {
        let Some(engine) = self.engine.clone() else {
            // Presence and base images are looked up after a restart; reports are not lost.
            if matches!(observation, Observation::Report(_)) {
                self.queued.push_back(observation);
            }
            return;
        };
        // A report that is refused was counted by the engine; nobody here sends it again.
        let answer = self.tell(engine, observation.clone());
        let lost = answer.is_none_or(|answer| answer.is_err_and(|error| error.is_retryable()));
        self.settle();
        if lost && self.engine.is_none() && matches!(observation, Observation::Report(_)) {
            self.queued.push_back(observation);
        }
    }

    fn step(&mut self, due: DueStep) {
        let DueStep { device, operation, step } = due;
        if let Some(version) = step.set_version.clone() {
            self.set_version(device, version);
        }
        if let Some(online) = step.set_online {
            self.set_online(device, online);
        }
        if let Some(status) = &step.status {
            let stamp_ms = step.stamp_ms.unwrap_or(self.now_ms);
            let report = report(
                device,
                operation,
                status,
                (step.progress, step.code.as_deref(), step.message.as_deref(), stamp_ms),
            );
            if let Some(report) = report {
                self.observe(Observation::Report(report));
            }
        }
    }

    fn set_version(&mut self, device: DeviceId, version: Option<String>) {
        let told = self.platform.world().set_version(device, version);
        if told {
            self.observe(Observation::BaseImageChanged { device });
        }
    }

    fn set_online(&mut self, device: DeviceId, online: bool) {
        let changed = self.platform.world().set_online(device, online);
        let presence = self.platform.world().presence(device).unwrap_or(Presence::Offline);
        if changed {
            self.observe(Observation::Presence { device, presence });
        }
    }

    fn stimulus(&mut self, index: usize, action: &Action) {
        match action {
            Action::Device { device, set } => self.change_device(device, set),
            Action::AddDevice { device } => {
                let since = Timestamp::from_millis(self.now_ms);
                let id = self.platform.world().add((**device).clone(), Some(since));
                let presence = self.platform.world().presence(id).unwrap_or(Presence::Offline);
                self.observe(Observation::Presence { device: id, presence });
            }
            Action::RemoveDevice { device } => {
                let device = device_id(device);
                self.platform.world().remove(device);
                self.observe(Observation::DeviceRemoved { device });
            }
            Action::Api { device, update, version_read } => {
                self.platform.world().answer_calls(device, update.as_ref(), version_read.as_ref());
            }
            Action::OtaEvent(event) => self.ota_event(event),
            Action::Restart { down_ms } => self.stop_engine(*down_ms),
            Action::CrashOn { values, down_ms } => {
                let point = CrashPoint { values: values.clone(), down_ms: *down_ms };
                self.platform.world().log.crash_points.push(point);
            }
            command => self.command(index, command),
        }
    }

    fn change_device(&mut self, name: &str, set: &Map<String, Value>) {
        let device = device_id(name);
        self.platform.world().change(device, set);
        if let Some(version) = set.get("version") {
            self.set_version(device, version.as_str().map(str::to_owned));
        }
        if let Some(online) = set.get("online") {
            self.set_online(device, online.as_bool().unwrap_or(false));
        }
    }

    fn ota_event(&mut self, event: &OtaEvent) {
        let device = device_id(&event.device);
        let sender = event.from_device.as_deref().map_or(device, device_id);
        let campaign = event.campaign.as_deref().map(campaign_id);
        let newest = self.platform.world().log.newest_operation(device, campaign);
        let unknown = OperationId::from_uuid(Uuid::new_v5(&Uuid::NAMESPACE_OID, b"unknown"));
        let operation = newest.filter(|_| event.operation == "current").unwrap_or(unknown);
        let stamp_ms = event.stamp_ms.unwrap_or(self.now_ms);
        let details = (event.progress, event.code.as_deref(), event.message.as_deref(), stamp_ms);
        if let Some(report) = report(sender, operation, &event.status, details) {
            self.observe(Observation::Report(report));
        }
    }
}

/// The id that a campaign of a scenario has, from its name.
pub(super) fn campaign_id(name: &str) -> CampaignId {
    CampaignId::from_uuid(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
}

/// Progress, code, message, stamp.
type Details<'a> = (Option<i64>, Option<&'a str>, Option<&'a str>, i64);

/// A report as the platform hands it on; `None` if its status is none that there is: the adapter
/// refuses it (D11).
fn report(
    device: DeviceId,
    operation: OperationId,
    status: &str,
    (progress, code, message, stamp_ms): Details<'_>,
) -> Option<OperationReport> {
    let status = ReportStatus::from_wire(status).ok()?;
    let progress = progress.unwrap_or(0).clamp(0, 100);
    Some(OperationReport {
        progress: u8::try_from(progress).unwrap_or(0),
        code: code.and_then(StatusCode::from_wire),
        message: message.unwrap_or_default().to_owned(),
        observed_at: Some(Timestamp::from_millis(stamp_ms)),
        ..OperationReport::new(device, operation, status)
    })
}
