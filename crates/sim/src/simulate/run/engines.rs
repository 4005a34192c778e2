//! Engines: how they start, die and are told what happens, and how people ask them for something.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hedgerow_core::{CampaignId, Presence};
use hedgerow_engine::ports::Spawner;
use hedgerow_engine::store::StoreError;
use hedgerow_engine::{EngineBuilder, Observation};
use uuid::Uuid;

use super::{Run, Slot};
use crate::blocking::BlockingStore;
use crate::runtime::Executor;
use crate::simulate::SimulateError;
use crate::simulate::check::Asked;
use crate::simulate::operator::Request;
use crate::simulate::ports::{CALL_TIMEOUT, Lens};
use crate::simulate::store::FaultyStore;
use crate::simulate::world::{Happening, device_of};

impl Run<'_> {
    pub(super) fn start_engine(&mut self, slot: usize) -> Result<(), SimulateError> {
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
        let writer = Uuid::from_u64_pair(slot as u64, lens.generation);
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
        .writer(writer)
        .concurrent_calls(self.calls)
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
    pub(super) fn bury(&mut self) -> Result<(), SimulateError> {
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
    pub(super) fn tell(&mut self, observation: Observation) {
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
    pub(super) fn ask(&mut self, request: Request, insists: bool) {
        let Some(engine) = self.slots[0].engine.clone() else {
            if let (true, Asked::Create(id)) = (insists, request.asked) {
                self.again(id);
            }
            return;
        };
        let Request { asked, text, ask } = request;
        let (generation, before) = {
            let inner = &mut *self.world.inner();
            inner.checker.coverage.inputs += 1;
            inner.note(None, None, || text);
            let now = inner.engine_now();
            (inner.engines[0].generation, inner.checker.asked(asked, now))
        };
        let lens = Lens { world: self.world.clone(), slot: 0, generation };
        let number = self
            .campaigns
            .iter()
            .position(|part| matches!(asked, Asked::Create(id) if id == part.id));
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
