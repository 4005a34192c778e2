//! One run: engines on a store, in a world, step by step through virtual time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hedgerow_core::{
    CampaignId, CampaignStatus, DeviceId, Presence, StreamId, TenantId, Timestamp,
};
use hedgerow_engine::ports::Spawner;
use hedgerow_engine::store::{EventStore, StoreError};
use hedgerow_engine::{Engine, EngineBuilder, Observation, TargetFilter};

use super::cast::{BEGINNING, CampaignPart, Casting};
use super::check::Checker;
use super::fault::{FaultKind, Faults, Unit};
use super::invariant::{Invariant, Violation};
use super::operator::{self, Request};
use super::ports::{CALL_TIMEOUT, Lens};
use super::store::FaultyStore;
use super::trace::{Sample, Trace};
use super::world::{Happening, World, device_of};
use super::{Setup, SimulateError, Storage};
use crate::blocking::BlockingStore;
use crate::device::DeviceInput;
use crate::random::Random;
use crate::runtime::{Executor, VirtualClock, wait};

/// So many steps at one instant can only be a circle.
const MOST_STEPS_AT_ONCE: u64 = 50_000;
/// After that long nothing is on its way any more that was delayed.
const LATEST: Duration = Duration::from_secs(420);
/// Every so many steps the claims of the store are looked at (E5).
const CLAIMS_EVERY: u64 = 512;

#[derive(Default)]
struct Slot {
    engine: Option<Engine>,
    executor: Executor,
}

pub(super) struct Run<'a> {
    setup: &'a Setup,
    tenant: TenantId,
    casting: Casting<'a>,
    campaigns: Vec<CampaignPart>,
    created: u32,
    manuals: u32,
    world: World,
    clock: VirtualClock,
    storage: &'a mut dyn Storage,
    store: Arc<dyn EventStore>,
    slots: [Slot; 2],
    /// When everything has to be over, once faults have stopped.
    deadline: Option<Timestamp>,
    messages: u64,
    calmed: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        setup: &'a Setup,
        storage: &'a mut dyn Storage,
        trace: Trace,
    ) -> Result<Self, SimulateError> {
        let profile = &setup.profile;
        let mut casting = Casting::new(setup.seed, profile, setup.devices, setup.campaigns);
        let mut parts = casting.devices();
        let campaigns = casting.campaigns();
        let random = Random::for_device(setup.seed, 2, 1 << 41);
        let mut faults = Faults::new(profile.rates(), random, setup.stop_faults_after);
        let mut liars = Vec::with_capacity(parts.len());
        for part in &mut parts {
            let wrong = faults.happens(FaultKind::ClockWrong);
            let years = faults.random().between(0..=20);
            if wrong {
                part.clock_offset_ms = (i64::try_from(years).unwrap_or(0) - 10) * 31_557_600_000;
            }
            liars.push(faults.happens(FaultKind::Liar));
        }
        let tenant = operator::tenant();
        let checker = Checker::new(tenant.clone());
        let world = World::new(BEGINNING, parts, faults, checker, trace);
        for (thing, liar) in world.inner().things.iter_mut().zip(liars) {
            thing.liar = liar;
        }
        let store = storage.open()?;
        Ok(Self {
            setup,
            tenant,
            casting,
            created: setup.campaigns,
            manuals: 0,
            campaigns,
            world,
            clock: VirtualClock::new(BEGINNING),
            storage,
            store,
            slots: [Slot::default(), Slot::default()],
            deadline: None,
            messages: 0,
            calmed: false,
        })
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// Runs to the end, or to the first thing that does not hold.
    pub(super) fn run(&mut self) -> Result<(), SimulateError> {
        {
            let mut inner = self.world.inner();
            let minutes = u64::from(self.setup.profile.minutes);
            inner.schedule(BEGINNING, Happening::EngineStarts(0));
            inner.schedule(BEGINNING, Happening::Minute);
            inner.schedule_in(Duration::from_secs(60 * minutes), Happening::Heal);
            for (number, part) in self.campaigns.iter().enumerate() {
                inner.schedule(part.created_at, Happening::Create(number));
            }
        }
        let mut at_once = 0;
        loop {
            if self.world.inner().checker.violation().is_some() {
                return Ok(());
            }
            if self.deadline.is_some() && self.is_over() {
                self.look_at_the_end();
                return Ok(());
            }
            let ahead = self.world.inner().engine_ahead;
            let sleep = self.clock.next_sleep().map(|at| back(at, ahead));
            let next = [self.world.inner().next(), sleep].into_iter().flatten().min();
            let Some(next) = next else {
                self.stuck("nothing is left to happen");
                return Ok(());
            };
            let before = self.now();
            at_once = if next > before { 0 } else { at_once + 1 };
            if at_once > MOST_STEPS_AT_ONCE {
                self.stuck("it goes in circles at one instant");
                return Ok(());
            }
            let now = next.max(before);
            if self.deadline.is_some_and(|deadline| now > deadline) {
                self.stuck("the time is over");
                return Ok(());
            }
            self.step(now)?;
        }
    }

    fn now(&self) -> Timestamp {
        self.world.inner().now
    }

    /// One thing that is due happens, and engines work until nothing is left to do.
    fn step(&mut self, now: Timestamp) -> Result<(), SimulateError> {
        let happening = {
            let mut inner = self.world.inner();
            inner.now = now;
            inner.step += 1;
            inner.checker.coverage.steps += 1;
            self.clock.advance_to(inner.engine_now());
            inner.take_due()
        };
        if let Some(happening) = happening {
            self.happen(happening)?;
        } else {
            let woken = self.world.inner().wake_device();
            if !woken {
                self.world.inner().checker.coverage.inputs += 1;
                self.clock.ring();
            }
        }
        self.work();
        self.bury()?;
        self.look();
        Ok(())
    }

    fn work(&mut self) {
        for slot in &mut self.slots {
            if slot.engine.is_some() {
                slot.executor.run_until_stalled();
            }
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), SimulateError> {
        match happening {
            Happening::Minute => self.minute(),
            Happening::Fault(kind) => self.fault(kind)?,
            Happening::Tell(observation) => self.tell(observation),
            Happening::Request(index, input) | Happening::Device(index, input) => {
                let mut inner = self.world.inner();
                let now = inner.now;
                inner.act(index, |device, output| device.handle(now, input, output));
            }
            Happening::Answer(due) => {
                // Whoever waited may be gone.
                let _ = due.send(());
            }
            Happening::EngineStarts(slot) => self.start_engine(slot)?,
            Happening::EngineEnds(slot) => {
                let mut inner = self.world.inner();
                if inner.engines[slot].running {
                    inner.engines[slot].doomed = true;
                }
            }
            Happening::Create(number) => {
                let part = self.campaigns[number].clone();
                self.ask(operator::create(part), true);
            }
            Happening::Heal => self.heal()?,
            Happening::Resume => self.resume(),
            Happening::Notices => self.world.inner().notices(),
        }
        Ok(())
    }

    // Engines.

    fn start_engine(&mut self, slot: usize) -> Result<(), SimulateError> {
        let lens = {
            let mut inner = self.world.inner();
            if inner.engines[slot].running {
                return Ok(());
            }
            let now = inner.engine_now();
            let beside_another = inner.engines[1 - slot].running;
            inner.checker.engine_starts(beside_another, now);
            inner.note(None, None, || format!("engine {slot} starts"));
            let engine = &mut inner.engines[slot];
            engine.generation += 1;
            engine.running = true;
            engine.doomed = false;
            Lens { world: self.world.clone(), slot, generation: engine.generation }
        };
        self.slots[slot].executor = Executor::default();
        let executor = &mut self.slots[slot].executor;
        let store = FaultyStore {
            store: BlockingStore::new(Arc::clone(&self.store)),
            lens: lens.clone(),
            clock: self.clock.clone(),
        };
        let builder = EngineBuilder::new(
            Arc::new(store),
            Arc::new(lens.clone()),
            Arc::new(lens.clone()),
            Arc::new(self.clock.clone()),
            Arc::new(executor.spawner()),
        )
        .concurrent_calls(100_000)
        .call_timeout(CALL_TIMEOUT)
        .snapshot_every(self.setup.snapshot_every);
        let started = executor.run(builder.start());
        match started {
            Some(Ok(engine)) => {
                self.slots[slot].engine = Some(engine);
                let mut inner = self.world.inner();
                for observation in std::mem::take(&mut inner.backlog) {
                    let delay = inner.some_ms(2_000);
                    inner.schedule_in(delay, Happening::Tell(observation));
                }
            }
            // Its store failed, or it died meanwhile: it is started again.
            Some(Err(StoreError::Unavailable { .. })) | None => {
                let mut inner = self.world.inner();
                inner.engines[slot].running = false;
                inner.engines[slot].doomed = false;
                inner.schedule_in(Duration::from_secs(2), Happening::EngineStarts(slot));
                drop(inner);
                self.slots[slot] = Slot::default();
            }
            Some(Err(error)) => return Err(error.into()),
        }
        Ok(())
    }

    /// Engines that were killed leave with everything that they were doing.
    fn bury(&mut self) -> Result<(), SimulateError> {
        for slot in 0..2 {
            let doomed = self.world.inner().engines[slot].doomed;
            if !doomed {
                continue;
            }
            // Dropped outside of the lock: calls note their end.
            self.slots[slot] = Slot::default();
            let mut inner = self.world.inner();
            inner.engines[slot].running = false;
            inner.engines[slot].doomed = false;
            let now = inner.engine_now();
            inner.checker.engine_died(slot, now);
            let unheard = std::mem::take(&mut inner.pending[slot]);
            for (observation, _) in unheard.into_values() {
                if !matches!(observation, Observation::Presence { .. }) {
                    let delay = inner.some_ms(5_000);
                    inner.schedule_in(delay, Happening::Tell(observation));
                }
            }
            if slot == 0 {
                let delay = inner.some_ms(120_000);
                inner.schedule_in(delay, Happening::EngineStarts(0));
            }
            let alone = !inner.engines.iter().any(|engine| engine.running);
            drop(inner);
            if alone {
                self.store = self.storage.open()?;
            }
        }
        Ok(())
    }

    /// Tells the engines: a report to one of them, everything else to all.
    fn tell(&mut self, observation: Observation) {
        let running: Vec<usize> = {
            let inner = self.world.inner();
            (0..2).filter(|slot| inner.engines[*slot].running).collect()
        };
        let is_presence = matches!(observation, Observation::Presence { .. });
        match running[..] {
            // Presence is looked up after a start.
            [] if is_presence => {}
            [] => self.world.inner().backlog.push(observation),
            [one] => self.tell_one(one, observation),
            _ if matches!(observation, Observation::Report(_)) => {
                let slot = usize::from(self.world.inner().faults.random().chance(500));
                self.tell_one(slot, observation);
            }
            _ => {
                self.tell_one(0, observation.clone());
                self.tell_one(1, observation);
            }
        }
    }

    fn tell_one(&mut self, slot: usize, observation: Observation) {
        let Some(engine) = self.slots[slot].engine.clone() else {
            // It is starting.
            self.world.inner().backlog.push(observation);
            return;
        };
        self.messages += 1;
        let message = self.messages;
        let generation = {
            let inner = &mut *self.world.inner();
            inner.checker.coverage.inputs += 1;
            inner.note(Some(device_of(&observation)), None, || {
                format!("engine {slot} is told: {}", in_words(&observation))
            });
            let moment = inner.moment();
            let told = inner.checker.told(&observation, moment);
            inner.pending[slot].insert(message, (observation.clone(), told));
            inner.engines[slot].generation
        };
        let lens = Lens { world: self.world.clone(), slot, generation };
        let tenant = self.tenant.clone();
        let tell = async move {
            let answer = engine.observe(&tenant, observation).await;
            let inner = &mut *lens.world.inner();
            if !lens.is_alive(inner) {
                return;
            }
            let Some((observation, told)) = inner.pending[slot].remove(&message) else { return };
            let moment = inner.moment();
            if !inner.checker.acknowledged(&told, &answer, moment) {
                let delay = inner.some_ms(3_000);
                inner.schedule_in(
                    delay,
                    Happening::Tell(now_of(inner.presence(device_of(&observation)), observation)),
                );
            }
        };
        self.slots[slot].executor.spawner().spawn(tell.boxed());
    }

    /// Asks for what a person wants; a planned thing is asked for again until it is answered.
    fn ask(&mut self, request: Request, insists: bool) {
        let Some(engine) = self.slots[0].engine.clone() else {
            if let (true, super::check::Asked::Create(id)) = (insists, request.asked) {
                self.again(id);
            }
            return;
        };
        let Request { asked, text, ask } = request;
        let generation = {
            let inner = &mut *self.world.inner();
            inner.checker.coverage.inputs += 1;
            inner.note(None, None, || text);
            inner.engines[0].generation
        };
        let before = self.world.inner().checker.asked(asked);
        let lens = Lens { world: self.world.clone(), slot: 0, generation };
        let number = self
            .campaigns
            .iter()
            .position(|part| matches!(asked, super::check::Asked::Create(id) if id == part.id));
        let call = ask(engine, self.tenant.clone());
        let ask = async move {
            let answer = call.await;
            let inner = &mut *lens.world.inner();
            if !lens.is_alive(inner) {
                return;
            }
            inner.note(None, None, || format!("  answer to {asked:?}: {answer:?}"));
            let moment = inner.moment();
            match answer {
                Ok(()) => inner.checker.granted(asked, before, moment),
                Err(error) if error.is_retryable() && insists => {
                    if let Some(number) = number {
                        inner.schedule_in(Duration::from_secs(5), Happening::Create(number));
                    }
                }
                Err(_) => {}
            }
        };
        self.slots[0].executor.spawner().spawn(ask.boxed());
    }

    fn again(&mut self, id: CampaignId) {
        if let Some(number) = self.campaigns.iter().position(|part| part.id == id) {
            self.world.inner().schedule_in(Duration::from_secs(5), Happening::Create(number));
        }
    }

    // Faults.

    /// Draws the faults of the next minute.
    fn minute(&mut self) {
        let inner = &mut *self.world.inner();
        for kind in FaultKind::ALL.iter().copied() {
            let rate = inner.faults.rate(kind);
            if kind.unit() == Unit::PerMilleOfMinutes && rate > 0 {
                let random = inner.faults.random();
                let (happens, after) = (random.chance(rate), random.below(60_000));
                if happens {
                    inner.schedule_in(Duration::from_millis(after), Happening::Fault(kind));
                }
            }
        }
        let exhausted = self.setup.stop_faults_after.is_some() && !inner.faults.are_on();
        if exhausted && !self.calmed {
            self.calmed = true;
            inner.calm_devices();
        }
        if self.deadline.is_none() {
            inner.schedule_in(Duration::from_secs(60), Happening::Minute);
        }
    }

    fn fault(&mut self, kind: FaultKind) -> Result<(), SimulateError> {
        use FaultKind as F;
        match kind {
            F::OperatorCreates => {
                let part = self.casting.campaign(self.created, self.now());
                self.created += 1;
                if self.world.inner().faults.inject(kind) {
                    self.mark(kind, None);
                    self.ask(operator::create(part), false);
                }
                Ok(())
            }
            F::OperatorPauses
            | F::OperatorResumes
            | F::OperatorCancels
            | F::OperatorEdits
            | F::OperatorStartsManual
            | F::OperatorCancelsManual => {
                self.operate(kind);
                Ok(())
            }
            F::EngineKilled => {
                let mut inner = self.world.inner();
                if inner.engines[0].running && inner.faults.inject(kind) {
                    inner.engines[0].doomed = true;
                    inner.mark(None, || "engine 0 is killed".to_owned());
                }
                Ok(())
            }
            F::SecondEngine => self.start_second_engine(),
            F::EngineClockSteps => {
                let mut inner = self.world.inner();
                let step = inner.some_ms(3_600_000);
                if inner.faults.inject(kind) {
                    inner.engine_ahead += step;
                    let now = inner.engine_now();
                    inner.checker.trouble(now);
                    let text = move || format!("engine_clock_steps by {step:?}");
                    inner.mark(None, text);
                    self.clock.advance_to(now);
                }
                Ok(())
            }
            F::TransportDown => {
                let mut inner = self.world.inner();
                let lasts = Duration::from_secs(60) + inner.some_ms(540_000);
                if inner.faults.inject(kind) {
                    inner.down_until = inner.down_until.max(Some(inner.now + lasts));
                    inner.mark(None, || format!("transport_down for {lasts:?}"));
                }
                Ok(())
            }
            _ => {
                self.device_fault(kind);
                Ok(())
            }
        }
    }

    fn mark(&self, kind: FaultKind, device: Option<DeviceId>) {
        let mut inner = self.world.inner();
        inner.mark(device, || kind.name().to_owned());
    }

    fn operate(&mut self, kind: FaultKind) {
        let devices: Vec<DeviceId> = {
            let inner = self.world.inner();
            inner.things.iter().filter(|t| !t.removed).map(|t| t.device.id()).collect()
        };
        self.manuals += 1;
        let request = {
            let inner = &mut *self.world.inner();
            let number = self.manuals;
            let drawn = operator::draw(kind, &mut self.casting, &inner.checker, &devices, number);
            drawn.filter(|_| inner.faults.inject(kind))
        };
        if let Some(request) = request {
            self.mark(kind, None);
            self.ask(request, false);
        }
    }

    fn start_second_engine(&mut self) -> Result<(), SimulateError> {
        {
            let mut inner = self.world.inner();
            let lasts = inner.some_ms(600_000);
            let may = self.setup.second_engine && !inner.engines[1].running;
            if !may || !inner.faults.inject(FaultKind::SecondEngine) {
                return Ok(());
            }
            inner.mark(None, || format!("second_engine for {lasts:?}"));
            inner.schedule_in(lasts, Happening::EngineEnds(1));
        }
        self.start_engine(1)
    }

    fn device_fault(&mut self, kind: FaultKind) {
        let mut inner = self.world.inner();
        let device = inner.some_device();
        let lasts = inner.some_ms(600_000);
        let jump = inner.faults.random().between(0..=2_000);
        let Some(index) = device.filter(|_| inner.faults.inject(kind)) else { return };
        let now = inner.now;
        let id = inner.things[index as usize].device.id();
        inner.mark(Some(id), || kind.name().to_owned());
        match kind {
            FaultKind::PowerLoss => {
                inner.schedule(now, Happening::Device(index, DeviceInput::PowerLoss));
                inner.schedule(now + lasts, Happening::Device(index, DeviceInput::PowerRestored));
            }
            FaultKind::NetworkLoss => {
                inner.schedule(now, Happening::Device(index, DeviceInput::NetworkLost));
                let back = now + lasts / 2;
                inner.schedule(back, Happening::Device(index, DeviceInput::NetworkRestored));
            }
            FaultKind::PresenceFlaps => {
                for flap in 0..3 {
                    let lost = now + Duration::from_millis(flap * 1_900);
                    inner.schedule(lost, Happening::Device(index, DeviceInput::NetworkLost));
                    let back = lost + Duration::from_millis(1 + jump % 1_800);
                    inner.schedule(back, Happening::Device(index, DeviceInput::NetworkRestored));
                }
            }
            FaultKind::DeviceRemoved => inner.remove(index),
            FaultKind::ClockJumps => {
                let days = i64::try_from(jump).unwrap_or(0) - 1_000;
                let ms = if jump.is_multiple_of(2) { days * 86_400 } else { days * 86_400_000 };
                inner.things[index as usize].clock_offset_ms += ms;
            }
            _ => {}
        }
    }

    /// Faults stop, and everything that can come back does.
    fn heal(&mut self) -> Result<(), SimulateError> {
        {
            let mut inner = self.world.inner();
            inner.faults.end();
            inner.down_until = None;
            inner.note(None, None, || "faults stop, everything heals".to_owned());
            inner.heal_devices();
            if inner.engines[1].running {
                inner.engines[1].doomed = true;
            }
            inner.schedule_in(Duration::from_secs(60), Happening::Resume);
            inner.schedule_in(LATEST, Happening::Notices);
            let bound = inner.checker.bound();
            self.deadline = Some(inner.now + bound);
        }
        self.start_engine(0)
    }

    /// Nobody leaves a campaign paused.
    fn resume(&mut self) {
        let paused: Vec<CampaignId> = {
            let mut inner = self.world.inner();
            inner.schedule_in(Duration::from_secs(600), Happening::Resume);
            let checker = &inner.checker;
            let paused = [CampaignStatus::Pausing, CampaignStatus::Paused];
            checker
                .campaigns()
                .filter(|id| checker.status(*id).is_some_and(|status| paused.contains(&status)))
                .collect()
        };
        for id in paused {
            self.ask(operator::resume(id), false);
        }
    }

    // Looking.

    /// What must hold whenever engines have nothing to do at an instant.
    fn look(&mut self) {
        let (touched, passed_over, moment) = {
            let inner = &mut *self.world.inner();
            if inner.checker.violation().is_some() || inner.engines[1].running {
                return;
            }
            let moment = inner.moment();
            if inner.trace.keeps_samples {
                let standing = inner.checker.standing();
                let at = inner.now;
                inner.trace.sample(Sample { at, targets: standing.counts, limit: standing.limit });
            }
            let passed_over = inner.checker.passed_over(moment);
            (std::mem::take(&mut inner.touched), passed_over, moment)
        };
        for stream in touched {
            if let StreamId::Campaign(id) = stream {
                self.compare(id);
            }
        }
        for (id, device) in passed_over {
            if self.compare(id) == Some(false) {
                let message =
                    "it is ready and a slot is free, and its turn does not come".to_owned();
                let stream = Some(StreamId::Campaign(id));
                let broken = (Invariant::NoSlotUnused, message);
                self.world.inner().checker.broken(broken, moment.now, stream, Some(device));
            }
        }
        if moment.step.is_multiple_of(CLAIMS_EVERY) {
            self.compare_claims();
        }
    }

    /// Compares what the engine shows of a campaign with the log, and says whether it believes the
    /// transport to be down; `None`: it does not answer now.
    fn compare(&mut self, id: CampaignId) -> Option<bool> {
        let engine = self.slots[0].engine.clone()?;
        let tenant = self.tenant.clone();
        let asked = async move { engine.progress(&tenant, id).await };
        let progress = self.slots[0].executor.run(asked)?.ok()?;
        let mut inner = self.world.inner();
        let now = inner.engine_now();
        inner.checker.shown_by_engine(&progress, now);
        Some(progress.transport_is_down)
    }

    fn compare_claims(&mut self) {
        let mut claims: Vec<(String, StreamId)> = match wait(self.store.claims()) {
            Ok(claims) => claims.into_iter().map(|(_, key, holder)| (key, holder)).collect(),
            Err(_) => return,
        };
        claims.sort();
        let mut inner = self.world.inner();
        let wanted = inner.checker.claims();
        if claims != wanted {
            let missing: BTreeSet<_> =
                wanted.iter().filter(|claim| !claims.contains(claim)).collect();
            let extra: BTreeSet<_> =
                claims.iter().filter(|claim| !wanted.contains(claim)).collect();
            let message = format!("the store lacks {missing:?} and has {extra:?} beyond");
            let now = inner.engine_now();
            inner.checker.broken((Invariant::Claims, message), now, None, None);
        }
    }

    fn is_over(&self) -> bool {
        let inner = self.world.inner();
        !inner.checker.is_open()
            && inner.pending.iter().all(std::collections::BTreeMap::is_empty)
            && self.slots[0].engine.is_some()
    }

    fn stuck(&mut self, why: &str) {
        let mut inner = self.world.inner();
        let now = inner.engine_now();
        let (stream, device, text) = match inner.checker.open() {
            Some((stream, device, text)) => (Some(stream), device, text),
            None => (None, None, "messages are unanswered".to_owned()),
        };
        let broken = (Invariant::Liveness, format!("{why}: {text}"));
        inner.checker.broken(broken, now, stream, device);
    }

    /// What must hold when everything is over.
    fn look_at_the_end(&mut self) {
        self.compare_claims();
        let campaigns: Vec<CampaignId> = self.world.inner().checker.campaigns().collect();
        for id in campaigns {
            self.compare(id);
            self.compare_targets(id);
        }
        let mut inner = self.world.inner();
        let now = inner.engine_now();
        let removed: Vec<DeviceId> =
            inner.things.iter().filter(|t| t.removed).map(|t| t.device.id()).collect();
        for device in removed {
            if let Some(stream) = inner.checker.open_targets(device).into_iter().next() {
                let broken = (Invariant::RemovedDevice, "its target has not ended".to_owned());
                inner.checker.broken(broken, now, Some(stream), Some(device));
            }
        }
        drop(inner);
        if let Some(engine) = &self.slots[0].engine {
            for (stream, error) in engine.quarantined(&self.tenant) {
                let broken = (Invariant::StateIsFold, format!("it is out of service: {error}"));
                self.world.inner().checker.broken(broken, now, Some(stream), None);
            }
        }
    }

    /// Compares every target that the engine shows with the fold of the log (E1).
    fn compare_targets(&mut self, id: CampaignId) {
        let Some(engine) = self.slots[0].engine.clone() else { return };
        let tenant = self.tenant.clone();
        let filter = TargetFilter { limit: 10_000, ..TargetFilter::default() };
        let asked = async move { engine.targets(&tenant, id, filter).await };
        let Some(Ok(page)) = self.slots[0].executor.run(asked) else { return };
        let mut inner = self.world.inner();
        let now = inner.engine_now();
        let Some(fold) = inner.checker.fold(id) else { return };
        let differs =
            page.targets.iter().zip(fold.targets()).find(|(shown, told)| **shown != *told);
        if let Some((shown, told)) = differs {
            let message = format!("the engine shows {shown:?}, the log says {told:?}");
            let device = Some(shown.device);
            let stream = Some(StreamId::Campaign(id));
            inner.checker.broken((Invariant::StateIsFold, message), now, stream, device);
        }
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        self.world.inner().checker.violation().cloned()
    }
}

fn back(at: Timestamp, ahead: Duration) -> Timestamp {
    let ahead = i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(at.as_millis().saturating_sub(ahead))
}

/// What is told again is told as it is now.
fn now_of(presence: Option<Presence>, observation: Observation) -> Observation {
    match (observation, presence) {
        (Observation::Presence { device, .. }, Some(presence)) => {
            Observation::Presence { device, presence }
        }
        (other, _) => other,
    }
}

fn in_words(observation: &Observation) -> String {
    match observation {
        Observation::Report(report) => {
            let code = report.code.as_ref().map_or("", |code| code.as_wire());
            format!("{:?} {} % {code} of {}", report.status, report.progress, report.operation)
        }
        Observation::Presence { presence: Presence::Online { .. }, .. } => "online".to_owned(),
        Observation::Presence { presence: Presence::Offline, .. } => "offline".to_owned(),
        Observation::BaseImageChanged { .. } => "its base image may have changed".to_owned(),
        Observation::DeviceRemoved { .. } => "it was removed".to_owned(),
    }
}
