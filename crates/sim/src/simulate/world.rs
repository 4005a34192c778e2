//! The simulated world: devices, the platform between them and the engines, and what is under way.
//! It goes on when an engine dies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::MutexGuard;
use std::time::Duration;

use futures::channel::oneshot;
use hedgerow_core::{DeviceId, OperationId, OperationReport, StreamId, Timestamp};
use hedgerow_engine::Observation;

use super::cast::DevicePart;
use super::check::{Judges, Moment, Subscriber, Told};
use super::fault::{FaultKind, Faults};
use super::ports::Caller;
use super::trace::Trace;
use crate::device::{DeviceInput, DeviceOutput, DeviceProfile, SimulatedDevice};
use crate::platform::{Devices, Platform, Register, Registered, report_of};

/// The longest that a device goes on showing its former base image: shorter than it takes to settle.
const LONGEST_STALE_MS: u64 = 8_000;
/// Something that happens at its time.
pub(super) enum Happening {
    /// Another virtual minute: faults of that minute are drawn.
    Minute,
    /// A fault that was drawn for this moment.
    Fault(FaultKind),
    /// An observation reaches the engines, under the tenant of that number.
    Tell(usize, Observation),
    /// The same, to the engine of that slot, which has asked for it.
    TellAgain(usize, usize, Observation),
    /// A request reaches a device.
    Request(u32, DeviceInput),
    /// A device's power or network comes back, or goes away.
    Device(u32, DeviceInput),
    /// A device is removed from the platform.
    Removed(u32),
    /// A device shows a base image: that of its message of that number.
    Shows(u32, u64, String),
    /// The answer to a call is given.
    Answer(oneshot::Sender<()>),
    /// The engine of a slot starts.
    EngineStarts(usize),
    /// The engine of a slot is stopped for good.
    EngineEnds(usize),
    /// The next planned campaign is created.
    Create(usize),
    /// Everything heals.
    Heal,
    /// After the faults: what is paused is resumed.
    Resume,
    /// After the last late notice: where devices are is told once more.
    Notices,
}

/// What the simulation knows of a device, beside what is registered of it.
pub(super) struct Thing {
    reports_no_version: bool,
    pub(super) clock_offset_ms: i64,
    pub(super) liar: bool,
    /// What was last told of its presence is not so, or was lost: the platform owes a notice.
    pub(super) notice_owed: bool,
    /// The version that the platform knows, and how many versions its device has shown.
    shown: String,
    shown_count: u64,
    /// Until when it is busy with something else.
    pub(super) busy_until: Option<Timestamp>,
    /// Its latest reports, as the platform has stored them.
    pub(super) stored: VecDeque<OperationReport>,
}

/// An engine, as the world sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    /// Counts the engines of the slot: calls of an earlier one come to nothing.
    pub(super) generation: u64,
    pub(super) alive: bool,
    /// It is being started, and runs nothing yet.
    pub(super) starting: bool,
    /// It dies as soon as it stops for breath.
    pub(super) doomed: bool,
}

pub(super) struct Inner {
    pub(super) now: Timestamp,
    /// How far the wall clock is ahead, in milliseconds.
    pub(super) wall_ahead: i64,
    /// What the engines go by.
    pub(super) engine_time: Timestamp,
    /// Until when the store fails, and until when another program holds it.
    pub(super) store_down_until: Option<Timestamp>,
    pub(super) store_held_until: Option<Timestamp>,
    /// Until when another program has the claim to a device of a tenant.
    pub(super) claimed: BTreeMap<(usize, DeviceId), Timestamp>,
    /// The engine dies when the next append of this tenant is written.
    pub(super) kills_after: Option<usize>,
    /// The next append fails.
    pub(super) next_append_fails: bool,
    pub(super) step: u64,
    queue: BTreeMap<(Timestamp, u64), Happening>,
    queued: u64,
    pub(super) register: Register,
    pub(super) devices: Devices,
    /// In the order of the register, as the devices are.
    pub(super) things: Vec<Thing>,
    pub(super) faults: Faults,
    pub(super) down_until: Option<Timestamp>,
    pub(super) slow_until: Option<Timestamp>,
    pub(super) engines: [Process; 2],
    /// What engines were told and have not acknowledged.
    pub(super) pending: [BTreeMap<u64, (usize, Observation, Told)>; 2],
    /// How many appends were refused in the latest step in which one was.
    pub(super) refused: (u64, u32),
    /// What no engine was there to hear.
    pub(super) backlog: Vec<(usize, Observation)>,
    pub(super) judges: Judges,
    /// What the subscriber of each tenant is told by each engine.
    pub(super) subscribers: [Vec<Subscriber>; 2],
    /// How often engines have read the whole log.
    pub(super) log_reads: u64,
    /// How many URLs of their own operations were given, or should have been.
    pub(super) urls_given: u64,
    /// When faults stopped.
    pub(super) healed_at: Option<Timestamp>,
    /// Whether everybody's presence is told anew at the end, or only what is owed.
    pub(super) tells_all_again: bool,
    /// Streams to which something was appended since the last look.
    pub(super) touched: BTreeSet<(usize, StreamId)>,
    /// Operations that were sent to devices, for lies about them.
    pub(super) sent: Vec<(usize, DeviceId, OperationId)>,
    pub(super) trace: Trace,
    healthy: DeviceProfile,
}

/// A handle to the world.
#[derive(Clone)]
pub(super) struct World {
    platform: Platform<Inner>,
}

impl World {
    pub(super) fn new(
        now: Timestamp,
        parts: Vec<DevicePart>,
        faults: Faults,
        judges: Judges,
        trace: Trace,
        tells_all_again: bool,
    ) -> Self {
        let mut things = Vec::with_capacity(parts.len());
        let mut devices = Vec::with_capacity(parts.len());
        let mut register = Register::default();
        let mut healthy = DeviceProfile::flawless();
        for part in parts {
            let profile = *part.device.profile();
            healthy = DeviceProfile {
                download: profile.download,
                deploy: profile.deploy,
                boot: profile.boot,
                outage: profile.outage,
                download_steps: profile.download_steps,
                deploy_steps: profile.deploy_steps,
                ..DeviceProfile::flawless()
            };
            register.add(Registered {
                tenant: part.tenant,
                system_model: Some(part.system_model),
                groups: part.groups,
                online_since: part.device.is_connected().then_some(now),
                ..Registered::new(part.device.id())
            });
            things.push(Thing {
                notice_owed: false,
                shown: part.device.published_version().to_owned(),
                shown_count: 0,
                busy_until: None,
                stored: VecDeque::new(),
                reports_no_version: part.reports_no_version,
                clock_offset_ms: part.clock_offset_ms,
                liar: false,
            });
            devices.push(part.device);
        }
        let online = (0..).zip(register.all()).filter(|(_, one)| one.online_since.is_some());
        let online: Vec<u32> = online.map(|(index, _)| index).collect();
        let mut inner = Inner {
            now,
            wall_ahead: 0,
            engine_time: now,
            store_down_until: None,
            store_held_until: None,
            claimed: BTreeMap::new(),
            kills_after: None,
            next_append_fails: false,
            step: 0,
            queue: BTreeMap::new(),
            queued: 0,
            register,
            devices: Devices::new(devices),
            things,
            faults,
            down_until: None,
            slow_until: None,
            engines: [Process::default(); 2],
            pending: [BTreeMap::new(), BTreeMap::new()],
            refused: (0, 0),
            backlog: Vec::new(),
            judges,
            subscribers: [Vec::new(), Vec::new()],
            log_reads: 0,
            urls_given: 0,
            healed_at: None,
            tells_all_again,
            touched: BTreeSet::new(),
            sent: Vec::new(),
            trace,
            healthy,
        };
        for index in 0..u32::try_from(inner.things.len()).unwrap_or(u32::MAX) {
            inner.device_shows(index);
        }
        for index in online {
            inner.device_went(index, true);
        }
        // Nobody calls by this handle.
        Self { platform: Platform::new(inner, Caller { slot: 0, generation: 0 }) }
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.platform.world()
    }

    /// The platform, as an engine calls it.
    pub(super) fn seen_by(&self, caller: Caller) -> Platform<Inner> {
        self.platform.seen_by(caller)
    }
}

impl Inner {
    // Time.

    /// The engine's time.
    pub(super) fn engine_now(&self) -> Timestamp {
        self.engine_time
    }

    /// What the wall clock of the engines shows.
    pub(super) fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.now.as_millis().saturating_add(self.wall_ahead))
    }

    /// Whether engines go by another time than the wall clock's: it was put back.
    pub(super) fn is_behind(&self) -> bool {
        self.wall() < self.engine_time
    }

    pub(super) fn store_is_down(&self) -> bool {
        self.store_down_until.is_some_and(|until| until > self.now)
    }

    pub(super) fn store_is_held(&self) -> bool {
        self.store_held_until.is_some_and(|until| until > self.now)
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { now: self.engine_now(), step: self.step }
    }

    pub(super) fn schedule(&mut self, at: Timestamp, happening: Happening) {
        self.queued += 1;
        self.queue.insert((at.max(self.now), self.queued), happening);
    }

    pub(super) fn schedule_in(&mut self, delay: Duration, happening: Happening) {
        self.schedule(self.now + delay, happening);
    }

    /// When something happens next, engines aside.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        [queued, self.devices.next_wake()].into_iter().flatten().min()
    }

    pub(super) fn take_due(&mut self) -> Option<Happening> {
        let first = self.queue.first_entry().filter(|entry| entry.key().0 <= self.now)?;
        Some(first.remove())
    }

    /// Lets one device do what is due. `false`: none has anything to do.
    pub(super) fn wake_device(&mut self) -> bool {
        let Some((_, index)) = self.devices.due(self.now) else { return false };
        let now = self.now;
        self.act(index, |device, output| device.wake(now, output));
        true
    }

    /// A time up to so long.
    pub(super) fn some_ms(&mut self, longest_ms: u64) -> Duration {
        Duration::from_millis(self.faults.random().between(1..=longest_ms.max(1)))
    }

    /// How long a message or an answer takes if nothing delays it: half of them no time.
    pub(super) fn latency(&mut self) -> Duration {
        let drawn = self.faults.random().between(0..=120);
        Duration::from_millis(drawn.saturating_sub(60))
    }

    // What is written down.

    pub(super) fn note(
        &mut self,
        device: Option<DeviceId>,
        stream: Option<StreamId>,
        text: impl FnOnce() -> String,
    ) {
        self.trace.note(self.now, device, stream, text);
    }

    /// A fault was injected.
    pub(super) fn mark(&mut self, device: Option<DeviceId>, text: impl FnOnce() -> String) {
        self.trace.fault(self.now, device, text);
    }

    // Devices.

    /// The tenant and the id of a device.
    pub(super) fn who(&self, index: u32) -> (usize, DeviceId) {
        let device = self.register.at(index);
        (device.tenant, device.id)
    }

    pub(super) fn thing(&mut self, index: u32) -> &mut Thing {
        &mut self.things[index as usize]
    }

    /// A device that was not removed, if chance finds one.
    pub(super) fn some_device(&mut self) -> Option<u32> {
        let count = self.things.len() as u64;
        let index = u32::try_from(self.faults.random().below(count)).unwrap_or(0);
        self.register.get(index).filter(|device| !device.removed).map(|_| index)
    }

    /// A device that is updating, or any, if none is.
    pub(super) fn some_device_at_work(&mut self) -> Option<u32> {
        let both = self.register.all().zip(self.devices.all());
        let at_work =
            both.map(|(known, device)| !known.removed && device.running_operation().is_some());
        let found: Vec<u32> =
            (0..).zip(at_work).filter(|(_, at_work)| *at_work).map(|(n, _)| n).collect();
        let any = self.some_device();
        let place = self.faults.random().below(found.len() as u64);
        found.get(usize::try_from(place).unwrap_or(0)).copied().or(any)
    }

    pub(super) fn act(
        &mut self,
        index: u32,
        act: impl FnOnce(&mut SimulatedDevice, &mut Vec<DeviceOutput>),
    ) {
        let outputs = self.devices.act(index, act);
        if self.register.at(index).removed {
            return;
        }
        for output in outputs {
            self.output(index, output);
        }
    }

    fn output(&mut self, index: u32, output: DeviceOutput) {
        let (_, device) = self.who(index);
        match output {
            DeviceOutput::Connected => {
                self.register.at_mut(index).online_since = Some(self.now);
                self.device_went(index, true);
                self.notice(index);
            }
            DeviceOutput::Disconnected => {
                self.register.at_mut(index).online_since = None;
                self.device_went(index, false);
                self.notice(index);
            }
            DeviceOutput::BaseImage { version } => {
                let thing = self.thing(index);
                thing.shown_count += 1;
                let (number, other) = (thing.shown_count, thing.shown != version);
                if other && self.faults.happens(FaultKind::StaleVersion) {
                    let delay = self.some_ms(LONGEST_STALE_MS);
                    self.mark(Some(device), || format!("stale_version for {delay:?}"));
                    self.schedule_in(delay, Happening::Shows(index, number, version));
                } else {
                    self.shows(index, number, version);
                }
            }
            DeviceOutput::Report { .. } => {
                let Some(mut report) = report_of(device, &output) else { return };
                let offset = self.thing(index).clock_offset_ms;
                report.observed_at = report
                    .observed_at
                    .map(|stamp| Timestamp::from_millis(stamp.as_millis().saturating_add(offset)));
                self.report(index, report);
            }
        }
    }

    /// A device shows a base image, unless it has shown another one since.
    pub(super) fn shows(&mut self, index: u32, number: u64, version: String) {
        if self.register.at(index).removed || self.thing(index).shown_count != number {
            return;
        }
        let (tenant, device) = self.who(index);
        self.note(Some(device), None, || format!("device shows base image {version}"));
        self.things[index as usize].shown = version;
        self.device_shows(index);
        self.message(tenant, Observation::BaseImageChanged { device });
    }

    /// Whoever reads it.
    fn device_shows(&mut self, index: u32) {
        let now = self.engine_now();
        let thing = &self.things[index as usize];
        let version = (!thing.reports_no_version).then(|| thing.shown.clone());
        self.register.at_mut(index).version.clone_from(&version);
        let (tenant, device) = self.who(index);
        self.judges.of(tenant).device_shows(device, version, now);
    }

    /// A request reaches a device; one that is busy with something else turns an Update away.
    pub(super) fn receive(&mut self, index: u32, input: DeviceInput) {
        let now = self.now;
        let thing = &self.things[index as usize];
        let device = self.devices.at(index);
        let is_busy = thing.busy_until.is_some_and(|until| until > now)
            && !self.register.at(index).removed
            && device.is_connected()
            && device.running_operation().is_none();
        match input {
            DeviceInput::Update { operation, .. } if is_busy => {
                let refusal = DeviceOutput::Report {
                    operation,
                    status: "Failure",
                    progress: 0,
                    code: "UpdateAlreadyInProgress",
                    message: "",
                    stamp: now,
                };
                self.output(index, refusal);
            }
            input => self.act(index, |device, output| device.handle(now, input, output)),
        }
    }

    /// What the platform has stored of a device's reports is told, as what it is.
    pub(super) fn tell_stored_reports(&mut self, index: u32) {
        let (tenant, _) = self.who(index);
        for report in self.thing(index).stored.clone() {
            let report = OperationReport { from_storage: true, ..report };
            let delay = self.some_ms(1_000);
            self.schedule_in(delay, Happening::Tell(tenant, Observation::Report(report)));
        }
    }

    /// Whoever is told of it.
    fn device_went(&mut self, index: u32, online: bool) {
        let moment = self.moment();
        let (tenant, device) = self.who(index);
        self.judges.of(tenant).device_went(device, online, moment);
    }

    /// A device is removed from the platform (D15).
    pub(super) fn remove(&mut self, index: u32) {
        let known = self.register.at_mut(index);
        known.removed = true;
        known.online_since = None;
        let (tenant, device) = self.who(index);
        self.device_went(index, false);
        let removed = Observation::DeviceRemoved { device };
        self.schedule_in(Duration::ZERO, Happening::Tell(tenant, removed));
    }

    // After the faults.

    /// Devices have power, network and sane software from now on.
    pub(super) fn heal_devices(&mut self) {
        let healthy = self.healthy;
        for index in 0..u32::try_from(self.things.len()).unwrap_or(u32::MAX) {
            let now = self.now;
            let thing = &mut self.things[index as usize];
            thing.liar = false;
            thing.busy_until = None;
            self.act(index, |device, output| {
                device.set_profile(healthy);
                device.handle(now, DeviceInput::PowerRestored, output);
                device.handle(now, DeviceInput::NetworkRestored, output);
            });
        }
        self.notices();
    }

    /// From the last fault on, devices' own troubles end too.
    pub(super) fn calm_devices(&mut self) {
        let healthy = self.healthy;
        self.devices.change_all(|device| device.set_profile(healthy));
    }
}
