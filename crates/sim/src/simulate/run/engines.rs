//! Engines: how they start, die and are told what happens, and how people ask them for something.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hedgerow_core::{CampaignId, Presence, Reaction};
use hedgerow_engine::ports::Spawner;
use hedgerow_engine::store::StoreError;
use hedgerow_engine::{EngineBuilder, EngineError, Observation, Position};
use uuid::Uuid;

use super::{Run, Slot};
use crate::blocking::BlockingStore;
use crate::runtime::{Executor, wait};
use crate::simulate::SimulateError;
use crate::simulate::cast;
use crate::simulate::check::{Asked, Subscriber};
use crate::simulate::fault::FaultKind;
use crate::simulate::invariant::Invariant;
use crate::simulate::messages::device_of;
use crate::simulate::operator::Request;
use crate::simulate::ports::{CALL_TIMEOUT, Lens};
use crate::simulate::store::FaultyStore;
use crate::simulate::world::{Happening, Inner};

/// So few events are kept for subscribers that they often read the store.
const KEPT_EVENTS: usize = 8;
/// So often a subscriber tries to come back before it is told nothing any more.
const TRIES: usize = 3;

/// Of another tenant than the first, for people.
fn whose(tenant: usize) -> &'static str {
    if tenant == 0 { "" } else { " (twin)" }
}

impl Run<'_> {
    pub(super) fn start_engine(&mut self, slot: usize) -> Result<(), SimulateError> {
        let newest = wait(self.store.last_recorded_at())?;
        let lens = {
            let mut inner = self.world.inner();
            if inner.engines[slot].alive {
                return Ok(());
            }
            if !inner.engines[1 - slot].alive {
                // It begins where the wall clock or the store is, not where another was (E12).
                inner.engine_time = inner.wall().max(newest.unwrap_or_default());
            }
            let now = inner.engine_now();
            let beside_another = inner.engines[1 - slot].alive;
            inner.judges.engine_starts(beside_another, now);
            if inner.faults.happens(FaultKind::StoreHeld) {
                let until = inner.now + inner.some_ms(60_000);
                inner.mark(None, || format!("store_held until {until}"));
                inner.store_held_until = inner.store_held_until.max(Some(until));
            }
            inner.note(None, None, || format!("engine {slot} starts"));
            if inner.subscribers[slot].is_empty() {
                let tenants = inner.judges.count();
                inner.subscribers[slot] = (0..tenants).map(|_| Subscriber::default()).collect();
            }
            let engine = &mut inner.engines[slot];
            engine.generation += 1;
            engine.alive = true;
            engine.starting = true;
            engine.doomed = false;
            Lens { world: self.world.clone(), slot, generation: engine.generation }
        };
        let writer = Uuid::from_u64_pair(slot as u64, lens.generation);
        self.slots[slot].executor = Executor::default();
        let executor = &mut self.slots[slot].executor;
        let store = FaultyStore {
            store: BlockingStore::new(Arc::clone(&self.store)),
            lens: lens.clone(),
            clock: self.clock.clone(),
        };
        let mut builder = EngineBuilder::new(
            Arc::new(store),
            Arc::new(lens.platform()),
            Arc::new(lens.platform()),
            Arc::new(self.clock.clone()),
            Arc::new(executor.spawner()),
        )
        .writer(writer)
        .concurrent_calls(self.calls)
        .call_timeout(CALL_TIMEOUT)
        .snapshot_every(self.setup.snapshot_every)
        .look_for_others(None)
        .kept_events(KEPT_EVENTS)
        .chunk(self.chunk);
        if self.gives_urls {
            builder = builder.image_urls(Arc::new(lens.platform()));
        }
        let started = executor.run(builder.start());
        self.world.inner().engines[slot].starting = false;
        match started {
            Some(Ok(engine)) => {
                self.slots[slot].engine = Some(engine);
                let tenants = 0..self.castings.len();
                self.slots[slot].subscriptions = tenants.clone().map(|_| None).collect();
                for tenant in tenants {
                    self.subscribe(slot, tenant);
                }
                let mut inner = self.world.inner();
                for (tenant, observation) in std::mem::take(&mut inner.backlog) {
                    let delay = inner.some_ms(2_000);
                    inner.schedule_in(delay, Happening::Tell(tenant, observation));
                }
                drop(inner);
                self.rows.engine_starts(slot, &self.store);
                if self.rows.is_compared() {
                    self.compare_rows(slot, false);
                }
            }
            // Its store failed, or it died meanwhile: it is started again.
            Some(Err(StoreError::Unavailable { .. })) | None => {
                let mut inner = self.world.inner();
                inner.engines[slot].alive = false;
                inner.engines[slot].doomed = false;
                inner.schedule_in(Duration::from_secs(2), Happening::EngineStarts(slot));
                drop(inner);
                self.slots[slot] = Slot::default();
            }
            Some(Err(error)) => return Err(error.into()),
        }
        Ok(())
    }

    /// A subscriber comes, or comes back, and begins behind what it was told last.
    pub(super) fn subscribe(&mut self, slot: usize, tenant: usize) {
        let Some(engine) = self.slots[slot].engine.clone() else { return };
        self.slots[slot].subscriptions[tenant] = None;
        for _ in 0..TRIES {
            let from = {
                let inner = self.world.inner();
                inner.subscribers[slot].get(tenant).map_or(0, Subscriber::position)
            };
            let (engine, of) = (engine.clone(), cast::tenant(tenant));
            let asked = async move { engine.subscribe(&of, Position::After(from)).await };
            if let Some(Ok(subscription)) = self.slots[slot].executor.run(asked) {
                self.slots[slot].subscriptions[tenant] = Some(subscription);
                return;
            }
        }
    }

    /// Engines that were killed leave with everything that they were doing.
    pub(super) fn bury(&mut self) -> Result<(), SimulateError> {
        for slot in 0..2 {
            let doomed = self.world.inner().engines[slot].doomed;
            if !doomed {
                continue;
            }
            // Dropped outside of the lock: calls note their end.
            self.slots[slot] = Slot::default();
            self.rows.engine_died(slot);
            let mut inner = self.world.inner();
            inner.engines[slot].alive = false;
            inner.engines[slot].doomed = false;
            let now = inner.engine_now();
            inner.judges.engine_died(slot, now);
            let unheard = std::mem::take(&mut inner.pending[slot]);
            for (tenant, observation, _) in unheard.into_values() {
                if !matches!(observation, Observation::Presence { .. }) {
                    let delay = inner.some_ms(5_000);
                    inner.schedule_in(delay, Happening::Tell(tenant, observation));
                }
            }
            if slot == 0 {
                let quick = inner.faults.random().chance(400);
                let delay = inner.some_ms(if quick { 2_000 } else { 120_000 });
                inner.schedule_in(delay, Happening::EngineStarts(0));
            }
            let alone = !inner.engines.iter().any(|engine| engine.alive);
            drop(inner);
            if alone {
                self.store = self.storage.open()?;
            }
        }
        Ok(())
    }

    /// Tells the engines: a report to one of them, everything else to all.
    pub(super) fn tell(&mut self, tenant: usize, observation: Observation) {
        let alive: Vec<usize> = {
            let mut inner = self.world.inner();
            if let Observation::Presence { device, presence } = &observation {
                inner.presence_told(tenant, *device, *presence);
            }
            (0..2).filter(|slot| inner.engines[*slot].alive).collect()
        };
        let is_presence = matches!(observation, Observation::Presence { .. });
        match alive[..] {
            // Presence is looked up after a start.
            [] if is_presence => {}
            [] => self.world.inner().backlog.push((tenant, observation)),
            [one] => self.tell_one(one, tenant, observation),
            _ if matches!(observation, Observation::Report(_)) => {
                let slot = usize::from(self.world.inner().faults.random().chance(500));
                self.tell_one(slot, tenant, observation);
            }
            _ => {
                self.tell_one(0, tenant, observation.clone());
                self.tell_one(1, tenant, observation);
            }
        }
    }

    /// Tells an engine what it could not take before; if it is gone, whoever is there.
    pub(super) fn tell_again(&mut self, slot: usize, tenant: usize, observation: Observation) {
        if !self.world.inner().engines[slot].alive {
            return self.tell(tenant, observation);
        }
        if let Observation::Presence { device, presence } = &observation {
            self.world.inner().presence_told(tenant, *device, *presence);
        }
        self.tell_one(slot, tenant, observation);
    }

    fn tell_one(&mut self, slot: usize, tenant: usize, observation: Observation) {
        let Some(engine) = self.slots[slot].engine.clone() else {
            // It is starting.
            self.world.inner().backlog.push((tenant, observation));
            return;
        };
        self.messages += 1;
        let message = self.messages;
        let generation = {
            let inner = &mut *self.world.inner();
            inner.judges.coverage().inputs += 1;
            inner.note(Some(device_of(&observation)), None, || {
                let whose = whose(tenant);
                format!("engine {slot} is told{whose}: {}", in_words(&observation))
            });
            let moment = inner.moment();
            let told = inner.judges.of(tenant).told(&observation, moment);
            inner.pending[slot].insert(message, (tenant, observation.clone(), told));
            inner.engines[slot].generation
        };
        let lens = Lens { world: self.world.clone(), slot, generation };
        let id = cast::tenant(tenant);
        let tell = async move {
            let answer = engine.observe(&id, observation).await;
            let inner = &mut *lens.world.inner();
            if !lens.is_alive(inner) {
                return;
            }
            let Some((_, observation, told)) = inner.pending[slot].remove(&message) else { return };
            let moment = inner.moment();
            if !inner.judges.of(tenant).acknowledged(&told, &answer, moment) {
                inner.is_refused_for_ever(tenant, &observation, &answer);
                let delay = inner.some_ms(3_000);
                let presence = inner.register.presence(tenant, device_of(&observation));
                let again = now_of(presence, observation);
                inner.schedule_in(delay, Happening::TellAgain(slot, tenant, again));
            }
        };
        self.slots[slot].executor.spawner().spawn(tell.boxed());
    }

    /// Asks for what a person wants; a planned thing is asked for again until it is answered.
    pub(super) fn ask(&mut self, request: Request, insists: bool) {
        let Some(engine) = self.slots[0].engine.clone() else {
            if let (true, Asked::Create(id)) = (insists, request.asked) {
                self.again(request.tenant, id);
            }
            return;
        };
        let Request { tenant, asked, text, ask } = request;
        let (generation, before) = {
            let inner = &mut *self.world.inner();
            inner.judges.coverage().inputs += 1;
            inner.note(None, None, || format!("{text}{}", whose(tenant)));
            if inner.faults.happens(FaultKind::KilledAfterCommand) {
                inner.kills_after = Some(tenant);
            }
            let now = inner.engine_now();
            (inner.engines[0].generation, inner.judges.of(tenant).asked(asked, now))
        };
        let lens = Lens { world: self.world.clone(), slot: 0, generation };
        let number = match asked {
            Asked::Create(id) => self.planned(tenant, id),
            _ => None,
        };
        let call = ask(engine, cast::tenant(tenant));
        let ask = async move {
            let answer = call.await;
            let inner = &mut *lens.world.inner();
            if !lens.is_alive(inner) {
                return;
            }
            inner.note(None, None, || format!("  answer to {asked:?}: {answer:?}"));
            let moment = inner.moment();
            match answer {
                Ok(()) => inner.judges.of(tenant).granted(asked, before, moment),
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

    /// The number of a planned campaign.
    fn planned(&self, tenant: usize, id: CampaignId) -> Option<usize> {
        self.campaigns.iter().position(|part| (part.tenant, part.id) == (tenant, id))
    }

    fn again(&mut self, tenant: usize, id: CampaignId) {
        if let Some(number) = self.planned(tenant, id) {
            self.world.inner().schedule_in(Duration::from_secs(5), Happening::Create(number));
        }
    }
}

/// So long after the last fault nobody is asked to send again any more.
const PATIENCE: Duration = Duration::from_secs(3_600);

impl Inner {
    /// Whoever is asked to send again long after everything has healed will be asked for ever.
    fn is_refused_for_ever(
        &mut self,
        tenant: usize,
        observation: &Observation,
        answer: &Result<Reaction, EngineError>,
    ) {
        if self.healed_at.is_some_and(|healed_at| self.now.since(healed_at) > PATIENCE) {
            let message = format!("it is still told to be sent again: {answer:?}");
            let (now, device) = (self.engine_now(), Some(device_of(observation)));
            self.judges.of(tenant).broken((Invariant::Liveness, message), now, None, device);
        }
    }
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
