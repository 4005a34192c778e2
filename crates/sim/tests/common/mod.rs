//! A small scripted world for tests of the engine: a platform whose answers a test sets, a store
//! that fails when a test wants it to, and virtual time.
// Every test file uses another part of it, and what a test file names `pub` is never reached.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, ready};
use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, DeviceId, OperationId, OperationLimits,
    OperationReport, Presence, PushRollout, ReportStatus, RequestAnswer, RequestId, RolloutLimits,
    RolloutMechanism, StoredEvent, StreamId, SystemModelHandle, TargetView, TenantId, Timestamp,
    TransportError, WhenRunning,
};
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::store::{AppendError, EventStore, StoreError, StoreLayer, StreamAppend};
use hedgerow_engine::{
    Engine, EngineBuilder, EngineError, ManualUpdateRequest, Observation, Progress, Sighting,
};
use hedgerow_sim::platform::{
    self, Call, Fate, Named, Platform, Register, Registered, Request, Wanted,
};
use hedgerow_sim::runtime::{Executor, VirtualClock};
use uuid::Uuid;

pub const IMAGE: &str = "https://images.example/2.bin";

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

pub fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

pub fn campaign_id(number: u128) -> CampaignId {
    CampaignId::from_uuid(Uuid::from_u128(number))
}

/// The first operation of a campaign on a device (E3).
pub fn operation(campaign: u128, number: u8) -> OperationId {
    OperationId::of_campaign(campaign_id(campaign), device(number), 0)
}

/// A push rollout of 2.0.0 to all gateways, so many at once.
pub fn definition(at_once: u32) -> CampaignDefinition {
    let limits =
        RolloutLimits::new(at_once.try_into().expect("not zero"), "100".parse().expect("a number"));
    CampaignDefinition {
        name: "spring".parse().unwrap(),
        base_image: BaseImage {
            system_model: "gateway".parse().unwrap(),
            version: "2.0.0".parse().unwrap(),
            url: IMAGE.parse().unwrap(),
            starting_version_requirement: None,
        },
        channel: Channel::new("stable".parse().unwrap(), ["all".parse().unwrap()]).unwrap(),
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: hedgerow_core::GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    }
}

/// A request that reached the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    Update(DeviceId, OperationId, String),
    Cancel(DeviceId, OperationId, String),
}

#[derive(Default)]
pub struct Scene {
    pub register: Register,
    tenants: Vec<TenantId>,
    pub sent: Vec<Sent>,
    /// What the next Update requests are answered; accepted when there is nothing.
    pub answers: VecDeque<RequestAnswer>,
    pub cancel_answers: VecDeque<RequestAnswer>,
    pub reads_fail: bool,
    /// Calls of the directory wait here while this is some: they have looked already.
    pub held: Option<Vec<oneshot::Sender<()>>>,
    /// What the next call of the directory is answered: it joins work that another call began.
    pub joined: Option<Vec<(DeviceId, Sighting)>>,
    /// Reading a base image is never answered.
    pub reads_hang: bool,
    /// Update requests are never answered, though they arrive.
    pub updates_hang: bool,
    /// Reads of base images wait here while this is some: they have looked already.
    pub held_reads: Option<Vec<oneshot::Sender<()>>>,
}

/// Answers now, or when those that are held are let go.
fn held<T>(held: &mut Option<Vec<oneshot::Sender<()>>>, answer: T) -> Fate<T> {
    let Some(held) = held else { return Fate::now(answer) };
    let (open, gate) = oneshot::channel();
    held.push(open);
    Fate::when(gate, answer)
}

impl platform::World for Scene {
    type Caller = ();
    type Noted = ();

    fn register(&self) -> &Register {
        &self.register
    }

    fn tenant(&mut self, tenant: &TenantId) -> usize {
        let known = self.tenants.iter().position(|known| known == tenant);
        known.unwrap_or_else(|| {
            self.tenants.push(tenant.clone());
            self.tenants.len() - 1
        })
    }

    fn begins(&mut self, (): &(), _: usize, _: &Call) -> Option<()> {
        Some(())
    }

    fn request(&mut self, _: usize, request: &Request) -> Fate<RequestAnswer> {
        let (device, operation, url) = (request.device, request.operation, request.url.to_string());
        let (sent, answers, hangs) = match request.wanted {
            Wanted::Update => {
                let sent = Sent::Update(device, operation, url);
                (sent, &mut self.answers, self.updates_hang)
            }
            Wanted::Cancel => {
                (Sent::Cancel(device, operation, url), &mut self.cancel_answers, false)
            }
        };
        self.sent.push(sent);
        let answer = answers.pop_front().unwrap_or(RequestAnswer::Accepted);
        if hangs { Fate::never() } else { Fate::now(answer) }
    }

    fn read(
        &mut self,
        tenant: usize,
        device: DeviceId,
    ) -> Fate<Result<Option<String>, TransportError>> {
        let there = self.register.find(tenant, device).and_then(|index| self.register.get(index));
        let fails = self.reads_fail && self.held_reads.is_none();
        let shown = there.filter(|_| !fails).map(|thing| thing.version.clone());
        let shown = shown.ok_or_else(|| TransportError::new("cannot read"));
        if self.reads_hang && self.held_reads.is_none() {
            return Fate::never();
        }
        held(&mut self.held_reads, shown)
    }

    fn targets(
        &mut self,
        tenant: usize,
        _: &Channel,
        _: &SystemModelHandle,
        (): &mut (),
    ) -> Fate<Named> {
        if let Some(joined) = self.joined.take() {
            return Fate::now(Ok(joined));
        }
        let own = self.register.all().filter(|thing| thing.tenant == tenant && !thing.removed);
        let targets = own.map(|thing| (thing.id, Sighting::now(Some(thing.presence())))).collect();
        held(&mut self.held, Ok(targets))
    }

    fn presence(&mut self, tenant: usize, devices: &[DeviceId], (): &mut ()) -> Fate<Named> {
        if let Some(joined) = self.joined.take() {
            return Fate::now(Ok(joined));
        }
        let there = |device: &DeviceId| Sighting::now(self.register.presence(tenant, *device));
        let there = devices.iter().map(|device| (*device, there(device))).collect();
        held(&mut self.held, Ok(there))
    }
}

/// The platform that an engine calls.
#[derive(Clone)]
pub struct World(Platform<Scene>);

impl Default for World {
    fn default() -> Self {
        Self(Platform::new(Scene::default(), ()))
    }
}

impl World {
    pub fn platform(&self) -> Platform<Scene> {
        self.0.clone()
    }

    pub fn scene(&self) -> MutexGuard<'_, Scene> {
        self.0.world()
    }

    pub fn add(&self, tenant: &TenantId, number: u8, version: &str) {
        let scene = &mut *self.scene();
        let tenant = platform::World::tenant(scene, tenant);
        scene.register.add(Registered {
            tenant,
            online_since: Some(Timestamp::from_millis(-1_000_000)),
            version: Some(version.to_owned()),
            ..Registered::new(device(number))
        });
    }

    fn change(&self, number: u8, change: impl FnOnce(&mut Registered)) {
        let scene = &mut *self.scene();
        let tenant = platform::World::tenant(scene, &tenant());
        let index = scene.register.find(tenant, device(number)).expect("it is there");
        change(scene.register.get_mut(index).expect("it is there"));
    }

    pub fn set_version(&self, number: u8, version: &str) {
        self.change(number, |thing| thing.version = Some(version.to_owned()));
    }

    pub fn set_presence(&self, number: u8, presence: Presence) {
        self.change(number, |thing| {
            thing.online_since = match presence {
                Presence::Online { since } => Some(since),
                Presence::Offline => None,
            };
        });
    }

    pub fn remove(&self, number: u8) {
        self.change(number, |thing| thing.removed = true);
    }

    /// The requests since the last look.
    pub fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.scene().sent)
    }

    /// Lets the held calls of the directory go on.
    pub fn release(&self) {
        let held = self.scene().held.take();
        for waiting in held.into_iter().flatten() {
            let _ = waiting.send(());
        }
    }
}

/// What becomes of one append.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It works.
    Works,
    /// It changes nothing and fails.
    Fails(StoreError),
    /// It is never answered.
    Hangs,
    /// It is written, but answered by an error.
    LosesAnswer,
    /// Before it, another writer appends this.
    After(StreamAppend),
}

pub fn unavailable() -> StoreError {
    StoreError::Unavailable { detail: "the disk went away".to_owned() }
}

type Seen = Arc<dyn Fn(StoredEvent) -> Option<StoredEvent> + Send + Sync>;

#[derive(Default)]
struct Faults {
    appends: VecDeque<Fault>,
    /// Appends that were asked for.
    asked: u32,
    /// Every append fails while this is set.
    is_full: bool,
    /// Reads fail so many times.
    failing_reads: usize,
    /// Reads of the whole log fail so many times, or so for good; and how many were asked for.
    failing_log_reads: usize,
    broken_log: Option<StoreError>,
    /// This stream cannot be read by itself.
    broken_stream: Option<StreamId>,
    log_reads: usize,
    /// Reads are never answered while this is set.
    reads_hang: bool,
    seen: Option<Seen>,
}

/// A store that fails when it is told to.
#[derive(Clone, Default)]
pub struct FaultyStore {
    pub memory: MemoryStore,
    faults: Arc<Mutex<Faults>>,
}

impl FaultyStore {
    /// What becomes of the next appends.
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().appends.extend(faults);
    }

    /// Whether every append fails from now on.
    pub fn set_full(&self, is_full: bool) {
        self.faults.lock().unwrap().is_full = is_full;
    }

    /// How many appends were asked for since the last look.
    pub fn take_asked(&self) -> u32 {
        std::mem::take(&mut self.faults.lock().unwrap().asked)
    }

    pub fn set_reads_hang(&self, hang: bool) {
        self.faults.lock().unwrap().reads_hang = hang;
    }

    pub fn fail_reads(&self, times: usize) {
        self.faults.lock().unwrap().failing_reads = times;
    }

    pub fn fail_log_reads(&self, times: usize) {
        self.faults.lock().unwrap().failing_log_reads = times;
    }

    pub fn break_log(&self, with: Option<StoreError>) {
        self.faults.lock().unwrap().broken_log = with;
    }

    pub fn break_stream(&self, stream: StreamId) {
        self.faults.lock().unwrap().broken_stream = Some(stream);
    }

    /// How many reads of the whole log were asked for since the last look.
    pub fn take_log_reads(&self) -> usize {
        std::mem::take(&mut self.faults.lock().unwrap().log_reads)
    }

    /// Events are read as this makes them; `None`: not at all.
    pub fn damage(
        &self,
        seen: impl Fn(StoredEvent) -> Option<StoredEvent> + Send + Sync + 'static,
    ) {
        self.faults.lock().unwrap().seen = Some(Arc::new(seen));
    }

    /// As [`Self::damage`], in a log that was recorded without checksums, which would tell of it
    /// before anything else does (E14).
    pub fn damage_without_checksums(
        &self,
        seen: impl Fn(StoredEvent) -> Option<StoredEvent> + Send + Sync + 'static,
    ) {
        self.damage(move |stored| seen(StoredEvent { checksum: None, ..stored }));
    }

    pub fn is_spent(&self) -> bool {
        self.faults.lock().unwrap().appends.is_empty()
    }
}

impl StoreLayer for FaultyStore {
    fn inner(&self) -> &dyn EventStore {
        &self.memory
    }

    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        let fault = {
            let mut faults = self.faults.lock().unwrap();
            faults.asked += 1;
            assert!(faults.asked < 3_000, "it appends again and again");
            if faults.is_full {
                return ready(Err(unavailable().into())).boxed();
            }
            faults.appends.pop_front().unwrap_or(Fault::Works)
        };
        match fault {
            Fault::Works => self.memory.append(batch),
            Fault::Fails(error) => ready(Err(error.into())).boxed(),
            Fault::Hangs => std::future::pending().boxed(),
            Fault::LosesAnswer => self
                .memory
                .append(batch)
                .map(|written| written.and(Err(unavailable().into())))
                .boxed(),
            Fault::After(other) => async move {
                self.memory.append(vec![other]).await.expect("the other writer is first");
                self.memory.append(batch).await
            }
            .boxed(),
        }
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let mut faults = self.faults.lock().unwrap();
        faults.log_reads += 1;
        if let Some(error) = &faults.broken_log {
            return ready(Err(error.clone())).boxed();
        }
        if faults.failing_log_reads > 0 {
            faults.failing_log_reads -= 1;
            return ready(Err(unavailable())).boxed();
        }
        let seen = faults.seen.clone();
        let read = self.memory.read_all(after, limit);
        match seen {
            None => read,
            Some(seen) => read
                .map(move |events| events.map(|e| e.into_iter().filter_map(|e| seen(e)).collect()))
                .boxed(),
        }
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let mut faults = self.faults.lock().unwrap();
        if faults.reads_hang {
            return std::future::pending().boxed();
        }
        if faults.failing_reads > 0 {
            faults.failing_reads -= 1;
            return ready(Err(unavailable())).boxed();
        }
        if faults.broken_stream == Some(stream) {
            let detail = format!("{stream} has a gap: restore it from a backup");
            return ready(Err(StoreError::Corrupt { detail })).boxed();
        }
        let seen = faults.seen.clone();
        let read = self.memory.read_stream(tenant, stream, after, limit);
        match seen {
            None => read,
            Some(seen) => read
                .map(move |events| events.map(|e| e.into_iter().filter_map(|e| seen(e)).collect()))
                .boxed(),
        }
    }
}

/// Everything that a test needs, with one engine or several on one store.
pub struct Rig {
    pub executor: Executor,
    pub clock: VirtualClock,
    pub world: World,
    pub store: FaultyStore,
}

impl Rig {
    /// With so many devices at version 1.0.0, numbered from 1, all online.
    pub fn new(devices: u8) -> Self {
        let world = World::default();
        for number in 1..=devices {
            world.add(&tenant(), number, "1.0.0");
        }
        Self {
            executor: Executor::default(),
            clock: VirtualClock::new(Timestamp::from_millis(0)),
            world,
            store: FaultyStore::default(),
        }
    }

    pub fn start(&mut self) -> Engine {
        self.start_with(|builder| builder)
    }

    /// An engine that is built with other settings.
    pub fn start_with(&mut self, set: impl FnOnce(EngineBuilder) -> EngineBuilder) -> Engine {
        let builder = EngineBuilder::new(
            Arc::new(self.store.clone()),
            Arc::new(self.world.platform()),
            Arc::new(self.world.platform()),
            Arc::new(self.clock.clone()),
            Arc::new(self.executor.spawner()),
        )
        .look_for_others(None);
        self.run(set(builder).start()).expect("the store lists its streams")
    }

    /// Kills every engine on the spot, as `kill -9` would, and starts another.
    pub fn restart(&mut self) -> Engine {
        self.executor = Executor::default();
        self.start()
    }

    /// Runs a call that needs no time.
    pub fn run<T: Send + 'static>(&mut self, call: impl Future<Output = T> + Send + 'static) -> T {
        self.executor.run(call).expect("the call ends without time passing")
    }

    /// Runs a call while time passes, for at most that long.
    pub fn run_within<T: Send + 'static>(
        &mut self,
        time: Duration,
        call: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let slot = Arc::new(Mutex::new(None));
        let result = Arc::clone(&slot);
        let call = async move {
            let value = call.await;
            *slot.lock().unwrap() = Some(value);
        };
        self.executor.run(call);
        self.pass(time);
        result.lock().unwrap().take().expect("the call ends in time")
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        self.executor.run_until_stalled();
        while let Some(at) = self.clock.next_sleep().filter(|at| *at <= end) {
            self.clock.advance_to(at);
            self.clock.ring();
            self.executor.run_until_stalled();
        }
        self.clock.advance_to(end);
        self.clock.ring();
        self.executor.run_until_stalled();
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn create(&mut self, engine: &Engine, number: u128, definition: CampaignDefinition) {
        self.try_create(engine, number, definition).expect("the campaign is created");
    }

    pub fn try_create(
        &mut self,
        engine: &Engine,
        number: u128,
        definition: CampaignDefinition,
    ) -> Result<(), EngineError> {
        let engine = engine.clone();
        self.run(
            async move { engine.create(&tenant(), campaign_id(number), definition, None).await },
        )
    }

    /// Starts a manual update of a device, without an expected version.
    pub fn start_manual(&mut self, engine: &Engine, number: u8) -> Result<(), EngineError> {
        let request = ManualUpdateRequest {
            request_id: RequestId::new("r1").unwrap(),
            device: device(number),
            url: IMAGE.parse().unwrap(),
            expected_version: None,
            limits: OperationLimits::default(),
        };
        let engine = engine.clone();
        self.run(async move { engine.start_manual_update(&tenant(), request).await }).map(|_| ())
    }

    pub fn observe(
        &mut self,
        engine: &Engine,
        observation: Observation,
    ) -> Result<hedgerow_core::Reaction, EngineError> {
        let engine = engine.clone();
        self.run(async move { engine.observe(&tenant(), observation).await })
    }

    pub fn report(
        &mut self,
        engine: &Engine,
        number: u8,
        operation: OperationId,
        status: ReportStatus,
    ) -> Result<hedgerow_core::Reaction, EngineError> {
        let report = OperationReport::new(device(number), operation, status);
        self.observe(engine, Observation::Report(report))
    }

    pub fn progress(&mut self, engine: &Engine, number: u128) -> Progress {
        let engine = engine.clone();
        self.run(async move { engine.progress(&tenant(), campaign_id(number)).await })
            .expect("the campaign can be looked at")
    }

    /// The targets of a campaign at work, as the engine has them in memory.
    pub fn targets(&mut self, engine: &Engine, number: u128) -> Vec<TargetView> {
        let engine = engine.clone();
        let state = self.run(async move { engine.state(&tenant(), campaign_id(number)).await });
        state.expect("it can be looked at").expect("it is at work").targets().collect()
    }

    /// The whole log.
    pub fn log(&mut self) -> Vec<StoredEvent> {
        let store = self.store.memory.clone();
        self.run(async move { store.read_all(0, usize::MAX).await }).expect("memory can be read")
    }

    /// The types of the events of a stream.
    pub fn types(&mut self, stream: StreamId) -> Vec<String> {
        let log = self.log().into_iter().filter(|stored| stored.stream == stream);
        log.map(|stored| stored.event.event_type).collect()
    }

    pub fn claims(&mut self) -> Vec<(TenantId, String, StreamId)> {
        let store = self.store.memory.clone();
        self.run(async move { store.claims().await }).expect("memory can be read")
    }
}

pub fn online_now(rig: &Rig, number: u8) -> Observation {
    Observation::Presence {
        device: device(number),
        presence: Presence::Online { since: rig.now() },
    }
}

/// Walks through the whole log: never more targets in progress than allowed in any campaign (D7),
/// and never two operations of one device at a time (D14).
pub fn assert_bounds_hold(log: &[StoredEvent], at_once: usize) {
    let mut active: BTreeMap<(TenantId, DeviceId), StreamId> = BTreeMap::new();
    let mut manual: BTreeMap<StreamId, DeviceId> = BTreeMap::new();
    for stored in log {
        let tenant = stored.tenant.clone();
        if let StreamId::ManualUpdate(_) = stored.stream {
            use hedgerow_core::event::ManualUpdateEvent as M;
            match M::from_stored(stored).expect("the log can be read") {
                M::ManualStarted(started) => {
                    manual.insert(stored.stream, started.definition.device);
                    let before = active.insert((tenant, started.definition.device), stored.stream);
                    assert_eq!(before, None, "D14");
                }
                M::ManualSucceeded(_) | M::ManualFailed(_) => {
                    active.remove(&(tenant, manual[&stored.stream]));
                }
                _ => {}
            }
            continue;
        }
        let event = CampaignEvent::from_stored(stored).expect("the log can be read");
        let Some(device) = event.device() else { continue };
        match event {
            CampaignEvent::OperationStarted(_) => {
                let before = active.insert((tenant, device), stored.stream);
                assert!(before.is_none_or(|before| before == stored.stream), "D14");
            }
            CampaignEvent::OperationSucceeded(_)
            | CampaignEvent::OperationFailed(_)
            | CampaignEvent::OperationDeferred(_)
            | CampaignEvent::OperationRefused(_) => {
                active.remove(&(tenant, device));
            }
            _ => {}
        }
        let pending = active.values().filter(|stream| **stream == stored.stream).count();
        assert!(pending <= at_once, "D7: {pending} operations at once");
    }
}
