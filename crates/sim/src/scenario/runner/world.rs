//! The world of a scenario: devices that follow scripts, and the platform between them and the
//! engine. It implements the engine's ports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, pending, ready};
use hedgerow_core::{
    Channel, DeviceId, FleetDevice, ImageUrl, OperationId, Presence, RequestAnswer, StreamId,
    SystemModelHandle, TenantId, Timestamp, TransportError, event::CampaignEvent, select_targets,
};
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};
use hedgerow_engine::store::{AppendError, EventStore, StoreLayer, StreamAppend};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::log::Log;
use crate::blocking::BlockingStore;
use crate::scenario::format::{Api, ApiAnswers, Device, Step};

/// Devices that are online at first have been so for long.
const LONG_AGO: Timestamp = Timestamp::from_millis(-86_400_000);

/// The id that a device of a scenario has, from its name.
pub(super) fn device_id(name: &str) -> DeviceId {
    DeviceId::from_bytes(*Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).as_bytes())
}

struct Thing {
    device: Device,
    online_since: Option<Timestamp>,
    /// Update calls and readings of the version, each counted since its answers were set.
    calls: usize,
    readings: usize,
    /// The accepted requests of each operation, in the order in which the operations came.
    operations: Vec<(OperationId, usize)>,
    removed: bool,
}

/// A step of a script that will be done.
#[derive(Clone, Debug)]
pub(super) struct DueStep {
    pub(super) device: DeviceId,
    pub(super) operation: OperationId,
    pub(super) step: Step,
}

#[derive(Default)]
pub(super) struct Inner {
    now_ms: i64,
    order: Vec<DeviceId>,
    things: BTreeMap<DeviceId, Thing>,
    steps: BTreeMap<(i64, u64), DueStep>,
    next_step: u64,
    pub(super) log: Log,
    /// While this is there, looking up presence waits: what was queued is delivered first.
    held: Option<Vec<oneshot::Sender<()>>>,
}

/// A handle to the world.
#[derive(Clone, Default)]
pub(super) struct World {
    inner: Arc<Mutex<Inner>>,
}

impl World {
    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    pub(super) fn set_now(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    pub(super) fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    pub(super) fn let_go(&mut self) {
        for waiting in self.held.take().into_iter().flatten() {
            // Whoever waited may be gone.
            let _ = waiting.send(());
        }
    }

    pub(super) fn add(&mut self, device: Device, since: Option<Timestamp>) -> DeviceId {
        let id = device_id(&device.id);
        self.log.name_device(id, &device.id);
        let thing = Thing {
            online_since: device.online.then_some(since.unwrap_or(LONG_AGO)),
            calls: 0,
            readings: 0,
            operations: Vec::new(),
            removed: false,
            device,
        };
        if self.things.insert(id, thing).is_none() {
            self.order.push(id);
        }
        id
    }

    pub(super) fn remove(&mut self, id: DeviceId) {
        if let Some(thing) = self.things.get_mut(&id) {
            thing.removed = true;
            thing.online_since = None;
        }
    }

    pub(super) fn presence(&self, id: DeviceId) -> Option<Presence> {
        let thing = self.things.get(&id).filter(|thing| !thing.removed)?;
        Some(match thing.online_since {
            Some(since) => Presence::Online { since },
            None => Presence::Offline,
        })
    }

    /// `true` if that changes anything.
    pub(super) fn set_online(&mut self, id: DeviceId, online: bool) -> bool {
        let now = Timestamp::from_millis(self.now_ms);
        let Some(thing) = self.things.get_mut(&id).filter(|thing| !thing.removed) else {
            return false;
        };
        let changes = thing.online_since.is_some() != online;
        if changes {
            thing.online_since = online.then_some(now);
        }
        changes
    }

    /// `true` if an engine that listens is told of it.
    pub(super) fn set_version(&mut self, id: DeviceId, version: Option<String>) -> bool {
        let Some(thing) = self.things.get_mut(&id) else { return false };
        let changes = thing.device.version != version;
        thing.device.version = version;
        changes && thing.online_since.is_some()
    }

    /// Takes on the groups and System Model that are set.
    pub(super) fn change(&mut self, id: DeviceId, set: &Map<String, Value>) {
        let Some(thing) = self.things.get_mut(&id) else { return };
        if let Some(groups) = set.get("groups").and_then(Value::as_array) {
            let groups = groups.iter().filter_map(Value::as_str).map(str::to_owned);
            thing.device.groups = groups.collect();
        }
        if let Some(system_model) = set.get("system_model") {
            thing.device.system_model = system_model.as_str().map(str::to_owned);
        }
    }

    pub(super) fn answer_calls(
        &mut self,
        device: &str,
        update: Option<&ApiAnswers>,
        read: Option<&ApiAnswers>,
    ) {
        for thing in self.things.values_mut() {
            if device != "*" && thing.device.id != device {
                continue;
            }
            if let Some(update) = update {
                thing.device.api_update = update.clone();
                thing.calls = 0;
            }
            if let Some(read) = read {
                thing.device.version_read = read.clone();
                thing.readings = 0;
            }
        }
    }

    pub(super) fn next_step_at(&self) -> Option<i64> {
        self.steps.keys().next().map(|(at, _)| *at)
    }

    /// The first step that is due by now.
    pub(super) fn take_step(&mut self) -> Option<DueStep> {
        let (key, _) = self.steps.first_key_value().filter(|((at, _), _)| *at <= self.now_ms)?;
        let key = *key;
        self.steps.remove(&key)
    }

    fn begin(&mut self, device: DeviceId, operation: OperationId, script: &[Step]) {
        for step in script {
            self.next_step += 1;
            let key = (self.now_ms + step.after_ms, self.next_step);
            self.steps.insert(key, DueStep { device, operation, step: step.clone() });
        }
    }

    fn update(&mut self, device: DeviceId, operation: OperationId) -> RequestAnswer {
        let now_ms = self.now_ms;
        let answer = match self.things.get_mut(&device).filter(|thing| !thing.removed) {
            None => RequestAnswer::of_http_status(404, TransportError::new("Device not found")),
            Some(thing) => {
                let api = thing.device.api_update.nth(thing.calls);
                thing.calls += 1;
                answer(api)
            }
        };
        let accepted = answer == RequestAnswer::Accepted;
        self.log.call("request", now_ms, device, operation, accepted);
        if accepted && let Some(script) = self.script(device, operation) {
            self.begin(device, operation, &script);
        }
        answer
    }

    /// What an accepted request sets off, if the device is there to hear it.
    fn script(&mut self, device: DeviceId, operation: OperationId) -> Option<Vec<Step>> {
        let thing = self.things.get_mut(&device)?;
        let place = thing.operations.iter().position(|(id, _)| *id == operation);
        let place = place.unwrap_or_else(|| {
            thing.operations.push((operation, 0));
            thing.operations.len() - 1
        });
        let (_, requests) = thing.operations.get_mut(place)?;
        let request = *requests;
        *requests += 1;
        thing.online_since?;
        Some(thing.device.script(place, request).to_vec())
    }

    fn cancel(&mut self, device: DeviceId, operation: OperationId) -> RequestAnswer {
        let now_ms = self.now_ms;
        let thing = self.things.get(&device).filter(|thing| !thing.removed);
        let script = thing
            .filter(|thing| thing.online_since.is_some())
            .map(|thing| thing.device.on_cancel.clone());
        let found = thing.is_some();
        self.log.call("cancel_request", now_ms, device, operation, found);
        self.begin(device, operation, &script.unwrap_or_default());
        let missing = TransportError::new("Device not found");
        if found { RequestAnswer::Accepted } else { RequestAnswer::of_http_status(404, missing) }
    }

    fn read_version(&mut self, device: DeviceId) -> Result<Option<String>, TransportError> {
        let thing = self.things.get_mut(&device).filter(|thing| !thing.removed);
        let Some(thing) = thing else { return Err(TransportError::new("Device not found")) };
        let api = thing.device.version_read.nth(thing.readings);
        thing.readings += 1;
        match answer(api) {
            RequestAnswer::Accepted => Ok(thing.device.version.clone()),
            RequestAnswer::Temporary(error) | RequestAnswer::Permanent(error) => Err(error),
        }
    }
}

fn answer(api: Api) -> RequestAnswer {
    let failed = |detail: &str| RequestAnswer::Temporary(TransportError::new(detail));
    match api {
        Api::Ok => RequestAnswer::Accepted,
        Api::ConnectionRefused => failed("connection refused"),
        Api::Timeout => failed("timed out"),
        Api::TokenExpired => {
            RequestAnswer::of_http_status(401, TransportError::new("HTTP 401: token expired"))
        }
        Api::Http(status) => RequestAnswer::of_http_status(
            status,
            TransportError::new(format!("HTTP status {status}")),
        ),
    }
}

impl World {
    /// An answer of the platform, which a dead engine never gets.
    fn reply<T: Send + 'static>(&self, value: T) -> BoxFuture<'static, T> {
        if self.inner().log.crashed.is_some() { pending().boxed() } else { ready(value).boxed() }
    }

    /// A call to the platform, made when it is waited for, which a dead engine never does.
    fn call(
        &self,
        call: impl FnOnce(&mut Inner) -> RequestAnswer + Send + 'static,
    ) -> BoxFuture<'static, RequestAnswer> {
        let world = self.clone();
        async move {
            if world.inner().log.crashed.is_some() {
                return pending().await;
            }
            let answer = call(&mut world.inner());
            world.reply(answer).await
        }
        .boxed()
    }
}

impl DeviceTransport for World {
    fn send_update(
        &self,
        _: &TenantId,
        device: DeviceId,
        operation: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        self.call(move |inner| inner.update(device, operation))
    }

    fn send_cancel(
        &self,
        _: &TenantId,
        device: DeviceId,
        operation: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        self.call(move |inner| inner.cancel(device, operation))
    }

    fn base_image_version(
        &self,
        _: &TenantId,
        device: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        let version = self.inner().read_version(device);
        self.reply(version)
    }
}

impl FleetDirectory for World {
    fn targets(
        &self,
        _: &TenantId,
        channel: &Channel,
        system_model: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Presence)>, TransportError>> {
        let inner = self.inner();
        let fleet: Vec<FleetDevice> = inner
            .order
            .iter()
            .filter_map(|id| inner.things.get(id).map(|thing| (id, thing)))
            .filter(|(_, thing)| !thing.removed)
            .map(|(id, thing)| FleetDevice {
                id: *id,
                system_model: thing.device.system_model.as_ref().and_then(|m| m.parse().ok()),
                groups: thing
                    .device
                    .groups
                    .iter()
                    .filter_map(|group| group.parse().ok())
                    .collect::<BTreeSet<_>>(),
            })
            .collect();
        let targets = select_targets(&fleet, channel, system_model)
            .into_iter()
            .map(|id| (id, inner.presence(id).unwrap_or(Presence::Offline)))
            .collect();
        drop(inner);
        self.reply(Ok(targets))
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Option<Presence>>, TransportError>> {
        let world = self.clone();
        async move {
            let gate = world.inner().held.as_mut().map(|held| {
                let (open, gate) = oneshot::channel();
                held.push(open);
                gate
            });
            if let Some(gate) = gate {
                let _ = gate.await;
            }
            let inner = world.inner();
            Ok(devices.iter().map(|device| inner.presence(*device)).collect())
        }
        .boxed()
    }
}

/// The store that the engine sees: what it appends is logged once it is durable, and a crash point
/// that it meets leaves the engine without an answer.
pub(super) struct LoggedStore {
    pub(super) store: BlockingStore,
    pub(super) world: World,
}

impl StoreLayer for LoggedStore {
    fn inner(&self) -> &dyn EventStore {
        &self.store
    }

    fn append(&self, batch: Vec<StreamAppend>) -> BoxFuture<'_, Result<(), AppendError>> {
        async move {
            if self.world.inner().log.crashed.is_some() {
                return pending().await;
            }
            let logged = batch.clone();
            self.store.append(batch).await?;
            {
                let mut inner = self.world.inner();
                let at_ms = inner.now_ms;
                for append in logged {
                    let StreamId::Campaign(campaign) = append.stream else { continue };
                    for event in &append.events {
                        if let Ok(event) = CampaignEvent::from_new(append.stream, event) {
                            inner.log.recorded(at_ms, campaign, &event);
                        }
                    }
                }
            }
            self.world.reply(Ok(())).await
        }
        .boxed()
    }
}
