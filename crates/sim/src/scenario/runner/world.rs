//! The world of a scenario: devices that follow scripts, what the platform answers to calls about
//! them, and what the judge and the log are told of it.

use std::collections::{BTreeMap, BTreeSet};

use futures::channel::oneshot;
use hedgerow_core::{
    CampaignId, DeviceId, OperationId, Presence, RequestAnswer, TenantId, Timestamp, TransportError,
};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::log::Log;
use crate::platform::{Register, Registered, not_found};
use crate::scenario::format::{Api, ApiAnswers, Device, Step};
use crate::simulate::check::{Checker, Moment};

/// Devices that are online at first have been so for long.
const LONG_AGO: Timestamp = Timestamp::from_millis(-86_400_000);
/// How many calls the engine makes at once for each campaign.
pub(super) const CALLS: usize = 64;

/// The id that a device of a scenario has, from its name.
pub(in crate::scenario) fn device_id(name: &str) -> DeviceId {
    DeviceId::from_bytes(*Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).as_bytes())
}

/// A device, beside what is registered of it.
struct Thing {
    device: Device,
    /// Update calls and readings of the version, each counted since its answers were set.
    calls: usize,
    readings: usize,
    /// The accepted requests of each operation, in the order in which the operations came.
    operations: Vec<(OperationId, usize)>,
}

/// A step of a script that will be done.
#[derive(Clone, Debug)]
pub(super) struct DueStep {
    pub(super) device: DeviceId,
    pub(super) operation: OperationId,
    pub(super) step: Step,
}

pub(super) struct World {
    now_ms: i64,
    /// Counts what happens, one thing after the other.
    pub(super) step: u64,
    pub(super) register: Register,
    /// In the order of the register.
    things: Vec<Thing>,
    steps: BTreeMap<(i64, u64), DueStep>,
    next_step: u64,
    pub(super) log: Log,
    pub(super) judge: Checker,
    /// Campaigns to which something was appended since the last look.
    pub(super) touched: BTreeSet<CampaignId>,
    /// While this is there, looking up presence waits: what was queued is delivered first.
    pub(super) held: Option<Vec<oneshot::Sender<()>>>,
}

impl World {
    pub(super) fn new(tenant: TenantId) -> Self {
        Self {
            now_ms: 0,
            step: 0,
            register: Register::default(),
            things: Vec::new(),
            steps: BTreeMap::new(),
            next_step: 0,
            log: Log::default(),
            judge: Checker::new(tenant, CALLS),
            touched: BTreeSet::new(),
            held: None,
        }
    }

    pub(super) fn set_now(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { now: Timestamp::from_millis(self.now_ms), step: self.step }
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
        let index = self.register.add(Registered {
            system_model: device.system_model.as_ref().and_then(|model| model.parse().ok()),
            groups: device.groups.iter().filter_map(|group| group.parse().ok()).collect(),
            online_since: device.online.then_some(since.unwrap_or(LONG_AGO)),
            version: device.version.clone(),
            ..Registered::new(id)
        });
        let online = device.online;
        let thing = Thing { calls: 0, readings: 0, operations: Vec::new(), device };
        match self.things.get_mut(index as usize) {
            Some(former) => *former = thing,
            None => self.things.push(thing),
        }
        self.shows(index);
        let moment = self.moment();
        self.judge.device_went(id, online, moment);
        id
    }

    /// The judge is told what a device shows.
    fn shows(&mut self, index: u32) {
        let now = self.moment().now;
        if let Some(device) = self.register.get(index) {
            self.judge.device_shows(device.id, device.version.clone(), now);
        }
    }

    pub(super) fn remove(&mut self, id: DeviceId) {
        let index = self.register.find(0, id);
        if let Some(device) = index.and_then(|index| self.register.get_mut(index)) {
            device.removed = true;
            device.online_since = None;
            let moment = self.moment();
            self.judge.device_went(id, false, moment);
        }
    }

    pub(super) fn presence(&self, id: DeviceId) -> Option<Presence> {
        self.register.presence(0, id)
    }

    /// `true` if that changes anything.
    pub(super) fn set_online(&mut self, id: DeviceId, online: bool) -> bool {
        let moment = self.moment();
        let index = self.register.find(0, id);
        let Some(device) = index.and_then(|index| self.register.get_mut(index)) else {
            return false;
        };
        let changes = device.online_since.is_some() != online;
        if changes {
            device.online_since = online.then_some(moment.now);
            self.judge.device_went(id, online, moment);
        }
        changes
    }

    /// `true` if an engine that listens is told of it.
    pub(super) fn set_version(&mut self, id: DeviceId, version: Option<String>) -> bool {
        let Some(index) = self.register.find(0, id) else { return false };
        let Some(device) = self.register.get_mut(index) else { return false };
        let changes = device.version != version;
        device.version = version;
        let told = changes && device.online_since.is_some();
        self.shows(index);
        told
    }

    /// Takes on the groups and System Model that are set.
    pub(super) fn change(&mut self, id: DeviceId, set: &Map<String, Value>) {
        let index = self.register.find(0, id);
        let Some(device) = index.and_then(|index| self.register.get_mut(index)) else { return };
        if let Some(groups) = set.get("groups").and_then(Value::as_array) {
            let groups = groups.iter().filter_map(Value::as_str);
            device.groups = groups.filter_map(|group| group.parse().ok()).collect();
        }
        if let Some(system_model) = set.get("system_model") {
            device.system_model = system_model.as_str().and_then(|model| model.parse().ok());
        }
    }

    pub(super) fn answer_calls(
        &mut self,
        device: &str,
        update: Option<&ApiAnswers>,
        read: Option<&ApiAnswers>,
    ) {
        for thing in &mut self.things {
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

    /// A device that was not removed.
    fn thing(&mut self, device: DeviceId) -> Option<(u32, &mut Thing)> {
        let index = self.register.find(0, device)?;
        Some((index, self.things.get_mut(index as usize)?))
    }

    fn is_online(&self, index: u32) -> bool {
        self.register.get(index).is_some_and(|device| device.online_since.is_some())
    }

    pub(super) fn update(&mut self, device: DeviceId, operation: OperationId) -> RequestAnswer {
        let now_ms = self.now_ms;
        let answer = match self.thing(device) {
            None => not_found(),
            Some((_, thing)) => {
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
        let (index, thing) = self.thing(device)?;
        let place = thing.operations.iter().position(|(id, _)| *id == operation);
        let place = place.unwrap_or_else(|| {
            thing.operations.push((operation, 0));
            thing.operations.len() - 1
        });
        let (_, requests) = thing.operations.get_mut(place)?;
        let request = *requests;
        *requests += 1;
        let script = thing.device.script(place, request).to_vec();
        self.is_online(index).then_some(script)
    }

    pub(super) fn cancel(&mut self, device: DeviceId, operation: OperationId) -> RequestAnswer {
        let now_ms = self.now_ms;
        let there =
            self.thing(device).map(|(index, thing)| (index, thing.device.on_cancel.clone()));
        let found = there.is_some();
        self.log.call("cancel_request", now_ms, device, operation, found);
        if let Some((_, script)) = there.filter(|(index, _)| self.is_online(*index)) {
            self.begin(device, operation, &script);
        }
        if found { RequestAnswer::Accepted } else { not_found() }
    }

    pub(super) fn read_version(
        &mut self,
        device: DeviceId,
    ) -> Result<Option<String>, TransportError> {
        let Some((index, thing)) = self.thing(device) else {
            return Err(TransportError::new("Device not found"));
        };
        let api = thing.device.version_read.nth(thing.readings);
        thing.readings += 1;
        match answer(api) {
            RequestAnswer::Accepted => {
                Ok(self.register.get(index).and_then(|device| device.version.clone()))
            }
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
