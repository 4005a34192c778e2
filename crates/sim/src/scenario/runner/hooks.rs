//! The engine's ports: calls go to the world of the scenario, and the judge hears of each, as it does
//! in a simulation. An engine that met a crash point has no answer any more.

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, pending};
use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{
    Channel, DeviceId, OperationId, RequestAnswer, StoredEvent, StreamId, SystemModelHandle,
    TenantId, TransportError,
};
use hedgerow_engine::Sighting;
use hedgerow_engine::store::{
    AppendError, EventStore, StateSnapshot, StoreError, StoreLayer, StreamAppend,
};

use super::world::World;
use crate::blocking::BlockingStore;
use crate::platform::{self, Call, End, Fate, Named, Platform, Register, Request, Wanted};
use crate::simulate::Invariant;
use crate::simulate::check::{self, Event, Moment, Said, Unread};

/// There is one engine.
pub(super) const SLOT: usize = 0;

/// What the judge is to be told when a call ends.
pub(super) enum Noted {
    Url,
    Update(OperationId),
    /// With when it began.
    Read(DeviceId, Moment),
    Targets(Channel, SystemModelHandle, Moment),
    Presence,
    Cancel,
}

impl World {
    pub(super) fn engine_is_dead(&self) -> bool {
        self.log.crashed.is_some()
    }
}

impl platform::World for World {
    type Caller = ();
    type Noted = Noted;

    fn register(&self) -> &Register {
        &self.register
    }

    fn begins(&mut self, (): &(), _: usize, call: &Call) -> Option<Noted> {
        if self.engine_is_dead() {
            return None;
        }
        let moment = self.moment();
        self.judge.call_begins(moment);
        Some(match call {
            Call::Request(request) => {
                let (device, operation, url) =
                    (request.device, request.operation, request.url.as_str());
                match request.wanted {
                    Wanted::Update => {
                        self.judge.update_leaves(SLOT, device, operation, url, moment);
                        Noted::Update(operation)
                    }
                    Wanted::Cancel => {
                        self.judge.cancel_leaves(device, operation, url, moment.now);
                        Noted::Cancel
                    }
                }
            }
            Call::Read(device) => {
                self.judge.read_began(*device, moment);
                Noted::Read(*device, moment)
            }
            Call::Url(_) => Noted::Url,
            Call::Targets(channel, system_model) => {
                Noted::Targets(channel.clone(), system_model.clone(), moment)
            }
            Call::Presence(_) => {
                // A stream was loaded, and starts nothing before it has the answer (E7).
                self.judge.trouble(moment.now);
                Noted::Presence
            }
        })
    }

    fn request(&mut self, _: usize, request: &Request) -> Fate<RequestAnswer> {
        let (device, operation) = (request.device, request.operation);
        Fate::now(match request.wanted {
            Wanted::Update => self.update(device, operation),
            Wanted::Cancel => self.cancel(device, operation),
        })
    }

    fn read(&mut self, _: usize, device: DeviceId) -> Fate<Result<Option<String>, TransportError>> {
        Fate::now(self.read_version(device))
    }

    fn presence(&mut self, tenant: usize, devices: &[DeviceId], _: &mut Noted) -> Fate<Named> {
        let there = |device: &DeviceId| Sighting::now(self.register.presence(tenant, *device));
        let there = devices.iter().map(|device| (*device, there(device))).collect();
        let Some(held) = &mut self.held else { return Fate::now(Ok(there)) };
        let (open, gate) = oneshot::channel();
        held.push(open);
        Fate::when(gate, Ok(there))
    }

    fn named(&mut self, _: usize, noted: &mut Noted, named: &mut Vec<(DeviceId, Sighting)>) {
        let moment = self.moment();
        match noted {
            Noted::Targets(channel, system_model, began) => {
                let seen = named.iter().map(|(device, seen)| check::Named {
                    device: *device,
                    presence: seen.presence,
                    seen_in: began.step,
                });
                let seen: Vec<_> = seen.collect();
                self.judge.targets_named(channel, system_model, &seen, *began, moment.now);
            }
            Noted::Presence => self.judge.trouble(moment.now),
            _ => {}
        }
    }

    fn lives(&self, (): &()) -> bool {
        !self.engine_is_dead()
    }

    fn ends(&mut self, (): &(), noted: Noted, end: End<'_>) {
        let moment = self.moment();
        self.judge.call_ends(moment);
        match (noted, end) {
            (Noted::Update(operation), end) => {
                let said = match end {
                    End::Answered(answer) => Said::of(answer),
                    _ => Said::Nothing,
                };
                self.judge.update_answered(operation, said, moment.now);
            }
            (Noted::Read(device, since), end) => {
                let version = match end {
                    End::Shown(version) => version.clone().map_err(|_| Unread),
                    _ => Err(Unread),
                };
                self.judge.read_ended(SLOT, device, since, version, moment);
            }
            _ => {}
        }
    }
}

/// The store that the engine sees: what it appends is logged and judged once it is durable, and a
/// crash point that it meets leaves the engine without an answer.
pub(super) struct LoggedStore {
    pub(super) store: BlockingStore,
    pub(super) platform: Platform<World>,
}

impl LoggedStore {
    /// What an append holds has become durable.
    fn written(&self, appends: Vec<StreamAppend>) {
        let world = &mut *self.platform.world();
        let moment = world.moment();
        for append in appends {
            let (stream, mut events) = (append.stream, Vec::with_capacity(append.events.len()));
            for event in &append.events {
                match Event::appended(stream, event) {
                    Ok(read) => events.push((read, event.recorded_at)),
                    Err(error) => {
                        let message = format!("an event cannot be read back: {error}");
                        let broken = (Invariant::StateIsFold, message);
                        world.judge.broken(broken, moment.now, Some(stream), None);
                    }
                }
            }
            world.judge.recorded(SLOT, stream, append.expected_version, &events, moment);
            let StreamId::Campaign(campaign) = stream else { continue };
            world.touched.insert(campaign);
            let at_ms = moment.now.as_millis();
            for event in &append.events {
                if let Ok(event) = CampaignEvent::from_new(stream, event) {
                    world.log.recorded(at_ms, campaign, &event);
                }
            }
        }
    }
}

impl StoreLayer for LoggedStore {
    fn inner(&self) -> &dyn EventStore {
        &self.store
    }

    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        async move {
            let is_dead = {
                let world = &mut *self.platform.world();
                for append in &batch {
                    world.judge.append_begins(SLOT, append.stream, world.step);
                }
                world.engine_is_dead()
            };
            if is_dead {
                return pending().await;
            }
            let logged = batch.clone();
            if let Err(error) = self.store.append(batch).await {
                let world = &mut *self.platform.world();
                let now = world.moment().now;
                world.judge.trouble(now);
                return Err(error);
            }
            self.written(logged);
            let is_dead = self.platform.world().engine_is_dead();
            if is_dead { pending().await } else { Ok(()) }
        }
        .boxed()
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let read = self.store.read_stream(tenant, stream, after, limit);
        async move {
            let page = read.await?;
            if page.is_empty() {
                self.platform.world().judge.load_ends(SLOT, stream);
            }
            Ok(page)
        }
        .boxed()
    }

    fn load_snapshot(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Option<StateSnapshot>, StoreError>> {
        {
            // A state is loaded, which begins with this (E11).
            let world = &mut *self.platform.world();
            let moment = world.moment();
            world.judge.load_begins(SLOT, stream, moment);
        }
        self.store.load_snapshot(tenant, stream)
    }
}
