//! A fleet of simulated devices and the platform between them and an engine: the engine's
//! transport and directory.
//!
//! The fleet is a world of its own: it does not forget when an engine dies. What devices do by
//! themselves is told to the engine before the world is kept, so that a crash in between makes them
//! do it again; what they do because of a request is told, and the request answered, after the
//! world that heard it was kept. So nothing that anybody saw is ever undone.

use std::collections::BTreeSet;
use std::sync::MutexGuard;

use futures::channel::oneshot;
use hedgerow_core::{
    Channel, DeviceId, RequestAnswer, SystemModelHandle, Timestamp, TransportError,
};
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};
use hedgerow_engine::{Moment, Observation, Sighting};

use crate::device::{DeviceInput, DeviceOutput, DeviceProfile, Flavour, SimulatedDevice};
use crate::platform::{
    self, Call, Devices, Fate, Named, Platform, Register, Registered, Request, Wanted, not_found,
    report_of,
};
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

struct World {
    plan: FleetPlan,
    now: Timestamp,
    register: Register,
    devices: Devices,
    /// What devices did by themselves.
    outputs: Vec<Observation>,
    /// What they did because of requests.
    replies: Vec<Observation>,
    changed: BTreeSet<u32>,
    answers: Vec<oneshot::Sender<()>>,
}

/// A handle to a fleet.
#[derive(Clone)]
pub struct Fleet {
    platform: Platform<World>,
}

/// Draws of a device at its birth; updates draw from streams of their own.
const BIRTH: u64 = 1 << 40;

impl Fleet {
    /// The fleet of a plan at its beginning, at `now`.
    #[must_use]
    pub fn new(plan: FleetPlan, now: Timestamp) -> Self {
        let devices: Vec<_> = (0..plan.devices).map(|index| born(&plan, index)).collect();
        let mut register = Register::default();
        for device in &devices {
            let online_since = device.is_connected().then_some(now);
            register.add(Registered { online_since, ..Registered::new(device.id()) });
        }
        let world = World {
            now,
            register,
            devices: Devices::new(devices),
            outputs: Vec::new(),
            replies: Vec::new(),
            changed: BTreeSet::new(),
            answers: Vec::new(),
            plan,
        };
        Self { platform: Platform::new(world, ()) }
    }

    /// Its platform, which is the transport and the directory of an engine.
    #[must_use]
    pub fn platform(&self) -> impl DeviceTransport + FleetDirectory + use<> {
        self.platform.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.platform.world()
    }

    /// Puts a device back into the state that was kept of it. `false`: it is none of this fleet.
    #[must_use]
    pub fn restore(&self, index: u32, device: SimulatedDevice) -> bool {
        let world = &mut *self.world();
        let own = world.register.get_mut(index).filter(|own| own.id == device.id());
        let Some(own) = own else { return false };
        own.online_since = device.is_connected().then_some(world.now);
        world.devices.put(index, device);
        true
    }

    /// When something happens by itself.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.world().devices.next_wake()
    }

    /// Lets everything happen that is due by `now`.
    pub fn advance_to(&self, now: Timestamp) {
        let world = &mut *self.world();
        world.now = now;
        while let Some((at, index)) = world.devices.due(now) {
            let seen = world.act(index, |device, output| device.wake(at, output));
            world.outputs.extend(seen);
        }
    }

    /// What devices did by themselves since the last call, in order: what the engine is to be told
    /// before the world is kept.
    #[must_use]
    pub fn take_observations(&self) -> Vec<Observation> {
        std::mem::take(&mut self.world().outputs)
    }

    /// The devices that have changed since the last call: what is to be kept before the answers
    /// that wait are given.
    #[must_use]
    pub fn take_changed(&self) -> Vec<(u32, SimulatedDevice)> {
        let world = &mut *self.world();
        let changed = std::mem::take(&mut world.changed).into_iter();
        changed.filter_map(|index| Some((index, world.devices.get(index)?.clone()))).collect()
    }

    /// Gives the answers that wait, and returns what devices did because of the requests: to be
    /// called after the world that heard them was kept. `None`: there was no request.
    #[must_use]
    pub fn answer_requests(&self) -> Option<Vec<Observation>> {
        let (answers, replies) = {
            let world = &mut *self.world();
            (std::mem::take(&mut world.answers), std::mem::take(&mut world.replies))
        };
        let any = !answers.is_empty();
        for answer in answers {
            // An engine that died does not want it any more.
            let _ = answer.send(());
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

impl World {
    /// Lets a device act, and returns what it lets the outside see.
    fn act(
        &mut self,
        index: u32,
        act: impl FnOnce(&mut SimulatedDevice, &mut Vec<DeviceOutput>),
    ) -> Vec<Observation> {
        let outputs = self.devices.act(index, act);
        self.changed.insert(index);
        let Some(registered) = self.register.get_mut(index) else { return Vec::new() };
        let device = registered.id;
        let mut seen = Vec::with_capacity(outputs.len());
        for output in outputs {
            let observation = match &output {
                DeviceOutput::Connected => {
                    registered.online_since = Some(self.now);
                    Observation::Presence { device, presence: registered.presence() }
                }
                DeviceOutput::Disconnected => {
                    registered.online_since = None;
                    Observation::Presence { device, presence: registered.presence() }
                }
                DeviceOutput::BaseImage { .. } => Observation::BaseImageChanged { device },
                DeviceOutput::Report { .. } => match report_of(device, &output) {
                    Some(report) => Observation::Report(report),
                    None => continue,
                },
            };
            seen.push(observation);
        }
        seen
    }
}

impl platform::World for World {
    type Caller = ();
    type Noted = ();

    fn register(&self) -> &Register {
        &self.register
    }

    fn begins(&mut self, (): &(), _: usize, _: &Call) -> Option<()> {
        Some(())
    }

    /// It is answered after the world that heard it was kept.
    fn request(&mut self, tenant: usize, request: &Request) -> Fate<RequestAnswer> {
        let Some(index) = self.register.find(tenant, request.device) else {
            return Fate::now(not_found());
        };
        self.deliver(index, request);
        let (answer, due) = oneshot::channel();
        self.answers.push(answer);
        Fate::when(due, RequestAnswer::Accepted)
    }

    fn deliver(&mut self, index: u32, request: &Request) {
        let (operation, url) = (request.operation, request.url.as_str().to_owned());
        let input = match request.wanted {
            Wanted::Update => {
                let installs = Some(self.plan.image_version.clone());
                DeviceInput::Update { operation, url, installs }
            }
            Wanted::Cancel => DeviceInput::Cancel { operation, url: Some(url) },
        };
        let now = self.now;
        let seen = self.act(index, |device, output| device.handle(now, input, output));
        self.replies.extend(seen);
    }

    /// Nobody but the device itself keeps what it shows.
    fn read(
        &mut self,
        tenant: usize,
        device: DeviceId,
    ) -> Fate<Result<Option<String>, TransportError>> {
        let index = self.register.find(tenant, device);
        let device = index.and_then(|index| self.devices.get(index));
        let version = device.map(|device| Some(device.published_version().to_owned()));
        Fate::now(version.ok_or_else(|| TransportError::new("HTTP status 404: Device not found")))
    }

    /// Every channel has all devices.
    fn targets(
        &mut self,
        _: usize,
        _: &Channel,
        system_model: &SystemModelHandle,
        (): &mut (),
    ) -> Fate<Named> {
        let all = self.register.all().filter(|_| *system_model == self.plan.system_model);
        let as_of = Moment::now();
        let seen = |device: &Registered| Sighting { presence: Some(device.presence()), as_of };
        Fate::now(Ok(all.map(|device| (device.id, seen(device))).collect()))
    }
}
