//! A fleet of simulated devices and the platform between them and an engine: the engine's
//! transport and directory.
//!
//! The fleet is a world of its own: it does not forget when an engine dies. What devices do by
//! themselves is told to the engine before the world is kept, so that a crash in between makes them
//! do it again; what they do because of a request is told, and the request answered, after the
//! world that heard it was kept. So nothing that anybody saw is ever undone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, ready};
use hedgerow_core::{
    Channel, DeviceId, ImageUrl, OperationId, OperationReport, Presence, ReportStatus,
    RequestAnswer, StatusCode, SystemModelHandle, TenantId, Timestamp, TransportError,
};
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};
use hedgerow_engine::{Moment, Observation, Sighting};

use crate::device::{DeviceInput, DeviceOutput, DeviceProfile, Flavour, SimulatedDevice};
use crate::random::Random;

/// What a fleet is made of. Two fleets of the same plan are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetPlan {
    /// What everything by chance follows from.
    pub seed: u64,
    /// How many devices there are.
    pub devices: u32,
    /// The System Model of all of them.
    pub system_model: SystemModelHandle,
    /// The version that most of them run at first.
    pub version: String,
    /// The version of the image that the campaign distributes; a few run it already.
    pub image_version: String,
    /// What happens to their updates.
    pub profile: DeviceProfile,
}

struct Inner {
    plan: FleetPlan,
    now: Timestamp,
    devices: Vec<SimulatedDevice>,
    index: BTreeMap<DeviceId, u32>,
    online_since: Vec<Option<Timestamp>>,
    wakes: BTreeSet<(Timestamp, u32)>,
    armed: Vec<Option<Timestamp>>,
    /// What devices did by themselves.
    outputs: Vec<Observation>,
    /// What they did because of requests.
    replies: Vec<Observation>,
    changed: BTreeSet<u32>,
    answers: Vec<oneshot::Sender<RequestAnswer>>,
}

/// A handle to a fleet.
#[derive(Clone)]
pub struct Fleet {
    inner: Arc<Mutex<Inner>>,
}

/// Draws of a device at its birth; updates draw from streams of their own.
const BIRTH: u64 = 1 << 40;

impl Fleet {
    /// The fleet of a plan at its beginning, at `now`.
    #[must_use]
    pub fn new(plan: FleetPlan, now: Timestamp) -> Self {
        let devices: Vec<_> = (0..plan.devices).map(|index| born(&plan, index)).collect();
        let index = (0..).zip(&devices).map(|(index, device)| (device.id(), index)).collect();
        let inner = Inner {
            now,
            index,
            online_since: devices.iter().map(|d| d.is_connected().then_some(now)).collect(),
            wakes: BTreeSet::new(),
            armed: vec![None; devices.len()],
            outputs: Vec::new(),
            replies: Vec::new(),
            changed: BTreeSet::new(),
            answers: Vec::new(),
            plan,
            devices,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a device back into the state that was kept of it. `false`: it is none of this fleet.
    #[must_use]
    pub fn restore(&self, index: u32, device: SimulatedDevice) -> bool {
        let mut inner = self.inner();
        let now = inner.now;
        let place = index as usize;
        if inner.devices.get(place).is_none_or(|own| own.id() != device.id()) {
            return false;
        }
        inner.online_since[place] = device.is_connected().then_some(now);
        inner.devices[place] = device;
        inner.arm(index);
        true
    }

    /// When something happens by itself.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.inner().wakes.first().map(|(at, _)| *at)
    }

    /// Lets everything happen that is due by `now`.
    pub fn advance_to(&self, now: Timestamp) {
        let mut inner = self.inner();
        inner.now = now;
        while let Some((at, index)) = inner.wakes.first().copied().filter(|(at, _)| *at <= now) {
            let seen = inner.act(index, |device, output| device.wake(at, output));
            inner.outputs.extend(seen);
        }
    }

    /// What devices did by themselves since the last call, in order: what the engine is to be told
    /// before the world is kept.
    #[must_use]
    pub fn take_observations(&self) -> Vec<Observation> {
        std::mem::take(&mut self.inner().outputs)
    }

    /// The devices that have changed since the last call: what is to be kept before the answers
    /// that wait are given.
    #[must_use]
    pub fn take_changed(&self) -> Vec<(u32, SimulatedDevice)> {
        let mut inner = self.inner();
        let changed = std::mem::take(&mut inner.changed);
        changed.into_iter().map(|index| (index, inner.devices[index as usize].clone())).collect()
    }

    /// Gives the answers that wait, and returns what devices did because of the requests: to be
    /// called after the world that heard them was kept. `None`: there was no request.
    #[must_use]
    pub fn answer_requests(&self) -> Option<Vec<Observation>> {
        let mut inner = self.inner();
        let answers = std::mem::take(&mut inner.answers);
        let replies = std::mem::take(&mut inner.replies);
        let any = !answers.is_empty();
        drop(inner);
        for answer in answers {
            // An engine that died does not want it any more.
            let _ = answer.send(RequestAnswer::Accepted);
        }
        any.then_some(replies)
    }
}

/// A device as the plan has it at first.
fn born(plan: &FleetPlan, index: u32) -> SimulatedDevice {
    let mut random = Random::for_device(plan.seed, u64::from(index), BIRTH);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.next_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&random.next_u64().to_be_bytes());
    let flavour = match random.below(10) {
        0..=4 => Flavour::LinuxRuntime013,
        5..=7 => Flavour::LinuxRuntime011,
        _ => Flavour::Esp32,
    };
    let version = match random.below(200) {
        0..=1 => plan.image_version.clone(),
        2 => "9.0.0".to_owned(),
        3 => "factory".to_owned(),
        _ => plan.version.clone(),
    };
    let id = DeviceId::from_bytes(bytes);
    SimulatedDevice::new(plan.seed, index, id, flavour, &version, plan.profile)
}

impl Inner {
    fn presence(&self, place: usize) -> Presence {
        match self.online_since[place] {
            Some(since) => Presence::Online { since },
            None => Presence::Offline,
        }
    }

    fn arm(&mut self, index: u32) {
        let place = index as usize;
        let wake = self.devices[place].next_wake();
        if self.armed[place] == wake {
            return;
        }
        if let Some(at) = self.armed[place] {
            self.wakes.remove(&(at, index));
        }
        if let Some(at) = wake {
            self.wakes.insert((at, index));
        }
        self.armed[place] = wake;
    }

    /// Lets a device act, and returns what it lets the outside see.
    fn act(
        &mut self,
        index: u32,
        act: impl FnOnce(&mut SimulatedDevice, &mut Vec<DeviceOutput>),
    ) -> Vec<Observation> {
        let place = index as usize;
        let mut outputs = Vec::new();
        act(&mut self.devices[place], &mut outputs);
        self.changed.insert(index);
        self.arm(index);
        let device = self.devices[place].id();
        let mut seen = Vec::with_capacity(outputs.len());
        for output in outputs {
            let observation = match output {
                DeviceOutput::Connected => {
                    self.online_since[place] = Some(self.now);
                    let presence = Presence::Online { since: self.now };
                    Observation::Presence { device, presence }
                }
                DeviceOutput::Disconnected => {
                    self.online_since[place] = None;
                    Observation::Presence { device, presence: Presence::Offline }
                }
                DeviceOutput::BaseImage { .. } => Observation::BaseImageChanged { device },
                DeviceOutput::Report { operation, status, progress, code, message, stamp } => {
                    let Ok(status) = ReportStatus::from_wire(status) else { continue };
                    Observation::Report(OperationReport {
                        progress,
                        code: StatusCode::from_wire(code),
                        message: message.to_owned(),
                        observed_at: Some(stamp),
                        ..OperationReport::new(device, operation, status)
                    })
                }
            };
            seen.push(observation);
        }
        seen
    }

    fn request(
        &mut self,
        device: DeviceId,
        input: DeviceInput,
    ) -> BoxFuture<'static, RequestAnswer> {
        let Some(index) = self.index.get(&device).copied() else {
            let error = TransportError::new("HTTP status 404: Device not found");
            return ready(RequestAnswer::of_http_status(404, error)).boxed();
        };
        let now = self.now;
        let seen = self.act(index, |device, output| device.handle(now, input, output));
        self.replies.extend(seen);
        let (answer, answered) = oneshot::channel();
        self.answers.push(answer);
        async move {
            answered.await.unwrap_or_else(|_| {
                RequestAnswer::Temporary(TransportError::new("the platform went away"))
            })
        }
        .boxed()
    }
}

impl DeviceTransport for Fleet {
    fn send_update(
        &self,
        _: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        let url = url.as_str().to_owned();
        let mut inner = self.inner();
        let installs = Some(inner.plan.image_version.clone());
        inner.request(device, DeviceInput::Update { operation, url, installs })
    }

    fn send_cancel(
        &self,
        _: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        let url = Some(url.as_str().to_owned());
        self.inner().request(device, DeviceInput::Cancel { operation, url })
    }

    fn base_image_version(
        &self,
        _: &TenantId,
        device: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        let inner = self.inner();
        let index = inner.index.get(&device).copied();
        let version = index.map(|i| inner.devices[i as usize].published_version().to_owned());
        let missing = || TransportError::new("HTTP status 404: Device not found");
        ready(version.map(Some).ok_or_else(missing)).boxed()
    }
}

impl FleetDirectory for Fleet {
    fn targets(
        &self,
        _: &TenantId,
        _: &Channel,
        system_model: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        let inner = self.inner();
        let selected =
            if *system_model == inner.plan.system_model { inner.devices.len() } else { 0 };
        let as_of = Moment::now();
        let seen = |place| Sighting { presence: Some(inner.presence(place)), as_of };
        let targets = (0..selected).map(|place| (inner.devices[place].id(), seen(place)));
        ready(Ok(targets.collect())).boxed()
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        let inner = self.inner();
        let presence =
            |device| inner.index.get(device).map(|index| inner.presence(*index as usize));
        let as_of = Moment::now();
        let seen = |device| Sighting { presence: presence(device), as_of };
        ready(Ok(devices.iter().map(seen).collect())).boxed()
    }
}
