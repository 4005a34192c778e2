//! The model's state: the real campaign, and as much of a world as can go wrong around it.
//!
//! Time stands still but for ticks, each of which goes to the campaign's next deadline, so that
//! every order of messages and deadlines is tried.

use std::hash::{DefaultHasher, Hash, Hasher};

use hedgerow_core::{
    BaseImageAnswer, CampaignStatus, Command, Effect, Input, LiveCampaign, OperationId, Presence,
    RequestAnswer, RunningOperations, Timestamp, TransportError,
};

use crate::act::Act;
use crate::audit::{Audit, Promise};
use crate::device::{Device, Doing};
use crate::network::{Answer, Body, Call, Course, Message, Report};
use crate::setup::{Bounds, DEVICES, create, device_id, device_number};

/// A state of the model.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) bounds: Bounds,
    now: Timestamp,
    pub(crate) live: LiveCampaign,
    devices: [Device; DEVICES],
    calls: Vec<Call>,
    answers: Vec<Answer>,
    /// In no order; kept sorted, so that equal states look alike.
    messages: Vec<Message>,
    pub(crate) audit: Audit,
    /// The promise that was broken on the way here.
    pub(crate) broken: Option<Promise>,
}

impl World {
    /// A campaign whose snapshot was just taken.
    pub(crate) fn new(bounds: Bounds) -> Result<Self, Box<dyn std::error::Error>> {
        let now = Timestamp::from_millis(0);
        let created = create(bounds, now)?;
        let live = LiveCampaign::new(created);
        let mut world = Self {
            bounds,
            now,
            live,
            devices: [Device::new(); DEVICES],
            calls: Vec::new(),
            answers: Vec::new(),
            messages: Vec::new(),
            audit: Audit::default(),
            broken: None,
        };
        let asked = world.live.handle(Input::Tick, now)?.effects;
        let Some(Effect::TakeSnapshot { question }) = asked.first().cloned() else {
            return Err("a new campaign asks for its snapshot".into());
        };
        let devices = (0..DEVICES).map(device_id).collect();
        world.tell(Input::SnapshotChunk { question, devices });
        (0..DEVICES).for_each(|device| world.tell_presence(device));
        world.tell(Input::SnapshotComplete { question });
        Ok(world)
    }

    /// Tells the campaign something, audits what it decides, and keeps the calls.
    fn tell(&mut self, input: Input) {
        let before = self.live.campaign().clone();
        let is_report = matches!(input, Input::Report(_));
        let Ok(decision) = self.live.handle(input, self.now) else {
            // Only commands may be refused here; the actions give none that would be.
            let promise = if is_report { Promise::Refused } else { Promise::Fold };
            self.broken = self.broken.or(Some(promise));
            return;
        };
        let audited =
            self.audit.check(&before, &decision, self.live.campaign(), &self.devices, self.now);
        self.broken = self.broken.or(audited.err());
        self.calls.extend(decision.effects.iter().filter_map(call));
    }

    fn tell_presence(&mut self, device: usize) {
        let presence = if self.devices[device].online {
            Presence::Online { since: self.now }
        } else {
            Presence::Offline
        };
        self.tell(Input::Presence { device: device_id(device), presence });
    }

    fn send(&mut self, device: usize, operation: OperationId, body: Body) {
        let message = Message { device, operation, body };
        let place = self.messages.partition_point(|other| *other <= message);
        self.messages.insert(place, message);
    }

    fn say(&mut self, device: usize, operation: OperationId, report: Report) {
        self.send(device, operation, Body::Report(report));
    }

    /// Everything that can happen next.
    pub(crate) fn acts(&self, acts: &mut Vec<Act>) {
        if self.broken.is_some() {
            return;
        }
        let faults = self.bounds.faults > 0;
        for call in &self.calls {
            let courses: &[Course] = match call {
                _ if !faults => &[Course::Well],
                Call::Read { .. } => &[Course::Well, Course::Failed],
                _ => &[
                    Course::Well,
                    Course::Slow,
                    Course::CutOff,
                    Course::Lost,
                    Course::Failed,
                    Course::FailedButSent,
                ],
            };
            acts.extend(courses.iter().map(|course| Act::Perform(*call, *course)));
        }
        acts.extend(self.answers.iter().map(|answer| Act::Answer(*answer)));
        let mut last = None;
        for message in &self.messages {
            if last.replace(message) == Some(message) {
                continue;
            }
            let to_device = !matches!(message.body, Body::Report(_));
            if !to_device || self.devices[message.device].online {
                acts.push(Act::Deliver(*message));
                if faults {
                    acts.push(Act::DeliverTwice(*message));
                }
            }
            if faults {
                acts.push(Act::Lose(*message));
            }
        }
        for (number, device) in self.devices.iter().enumerate() {
            if !self.is_final(number) {
                device_acts(number, device, faults, acts);
            }
        }
        let is_calling = !self.calls.is_empty() || !self.answers.is_empty();
        if !is_calling && self.live.next_deadline().is_some() {
            // A device that is away may stay so for long.
            if acts.iter().all(|act| matches!(act, Act::Connect(_))) {
                acts.push(Act::Tick);
            } else if faults {
                acts.push(Act::Overtake);
            }
        }
        if faults && !self.live.campaign().is_settled() {
            acts.push(Act::Crash);
            for (number, device) in self.devices.iter().enumerate() {
                if device.online && !self.is_final(number) {
                    acts.push(Act::LosePower(number));
                }
            }
        }
        if self.bounds.commands > 0 {
            self.commands(acts);
        }
    }

    fn commands(&self, acts: &mut Vec<Act>) {
        match self.live.campaign().status() {
            CampaignStatus::InProgress => acts.push(Act::Pause),
            CampaignStatus::Pausing | CampaignStatus::Paused => acts.push(Act::Resume),
            _ => return,
        }
        acts.push(Act::Cancel { stop: false });
        acts.push(Act::Cancel { stop: true });
    }

    /// The state after something happened.
    pub(crate) fn after(&self, act: Act) -> Self {
        let mut world = self.clone();
        world.happen(act);
        (0..DEVICES).for_each(|device| world.retire(device));
        world
    }

    fn is_final(&self, device: usize) -> bool {
        let target = self.live.campaign().target(device_id(device));
        target.is_some_and(|target| target.status.is_final())
    }

    /// Once a target is final its device can only say what comes too late: that is told at once, and
    /// the device is left alone.
    fn retire(&mut self, device: usize) {
        if !self.is_final(device) {
            return;
        }
        let (late, others) =
            self.messages.iter().partition::<Vec<_>, _>(|message| message.device == device);
        self.messages = others;
        for message in late {
            if let Some(report) = message.report() {
                self.tell(Input::Report(report));
            }
        }
        let was_updated = self.devices[device].was_updated;
        self.devices[device] = Device { was_updated, ..Device::new() };
    }

    fn happen(&mut self, act: Act) {
        if act.is_fault() {
            self.bounds.faults = self.bounds.faults.saturating_sub(1);
        }
        match act {
            Act::Perform(call, course) => self.perform(call, course),
            Act::Answer(answer) => self.answer(answer),
            Act::Deliver(message) => {
                self.take(message);
                self.deliver(message);
            }
            Act::DeliverTwice(message) => self.deliver(message),
            Act::Lose(message) => self.take(message),
            Act::Restart(number) => {
                if let Doing::Updating(operation) = self.devices[number].doing {
                    self.devices[number].doing = Doing::Rebooting(operation);
                    self.say(number, operation, Report::Rebooting);
                    self.connect(number, false);
                }
            }
            Act::ComeBack(number) => {
                if let Doing::Rebooting(operation) = self.devices[number].doing {
                    self.devices[number].doing = Doing::Nothing;
                    self.devices[number].update();
                    self.say(number, operation, Report::Success);
                    self.connect(number, true);
                }
            }
            Act::RollBack(number) => {
                if let Doing::Rebooting(operation) = self.devices[number].doing {
                    self.devices[number].doing = Doing::Nothing;
                    self.say(number, operation, Report::RolledBack);
                    self.connect(number, true);
                }
            }
            Act::Break(number) => {
                if let Doing::Updating(operation) = self.devices[number].doing {
                    self.devices[number].doing = Doing::Nothing;
                    self.say(number, operation, Report::Broken);
                }
            }
            Act::LosePower(number) => {
                self.devices[number].doing = Doing::Nothing;
                self.connect(number, false);
            }
            Act::Connect(number) => self.connect(number, true),
            Act::Tick | Act::Overtake => {
                self.now = self.live.next_deadline().unwrap_or(self.now).max(self.now);
                self.tell(Input::Tick);
            }
            Act::Crash => self.crash(),
            Act::Pause => self.command(Command::Pause),
            Act::Resume => self.command(Command::Resume),
            Act::Cancel { stop } => {
                let running =
                    if stop { RunningOperations::Stop } else { RunningOperations::Finish };
                self.command(Command::Cancel { running });
            }
        }
    }

    fn command(&mut self, command: Command) {
        self.bounds.commands = self.bounds.commands.saturating_sub(1);
        self.tell(Input::Command(command));
    }

    fn connect(&mut self, device: usize, online: bool) {
        self.devices[device].online = online;
        self.tell_presence(device);
    }

    fn perform(&mut self, call: Call, course: Course) {
        self.calls.retain(|other| *other != call);
        let (device, operation, question, body) = match call {
            Call::Read { device, purpose, question } => {
                let answer = if course == Course::Well {
                    BaseImageAnswer::Version(Some(self.devices[device].version().to_owned()))
                } else {
                    BaseImageAnswer::Failed(TransportError::new("down"))
                };
                let device = device_id(device);
                return self.tell(Input::BaseImageRead { device, purpose, question, answer });
            }
            Call::Update { device, operation, question } => {
                (device, operation, question, Body::Update)
            }
            Call::Cancel { device, operation, question } => {
                (device, operation, question, Body::Cancel)
            }
        };
        if !matches!(course, Course::Lost | Course::Failed) {
            self.send(device, operation, body);
        }
        let accepted = !matches!(course, Course::Failed | Course::FailedButSent);
        let cancels = body == Body::Cancel;
        let answer = Answer { device, operation, question, cancels, accepted };
        match course {
            Course::CutOff => self.crash(),
            Course::Slow => self.answers.push(answer),
            _ => self.answer(answer),
        }
    }

    fn answer(&mut self, answer: Answer) {
        self.answers.retain(|other| *other != answer);
        let Answer { operation, question, cancels, accepted, .. } = answer;
        let device = device_id(answer.device);
        let answer = if accepted {
            RequestAnswer::Accepted
        } else {
            RequestAnswer::Temporary(TransportError::new("HTTP 503"))
        };
        self.tell(if cancels {
            Input::CancelAnswered { device, operation, question, answer }
        } else {
            Input::RequestAnswered { device, operation, question, answer }
        });
    }

    fn take(&mut self, message: Message) {
        if let Some(place) = self.messages.iter().position(|other| *other == message) {
            self.messages.remove(place);
        }
    }

    fn deliver(&mut self, message: Message) {
        let Message { device, operation, body } = message;
        if let Some(report) = message.report() {
            if let Body::Report(report) = body {
                self.audit.told(device, operation, report);
            }
            self.tell(Input::Report(report));
        } else if let Some(said) = self.devices[device].receive(operation, body) {
            self.say(device, operation, said);
        }
    }

    fn crash(&mut self) {
        self.calls.clear();
        self.answers.clear();
        self.audit.crashed();
        self.live = LiveCampaign::loaded(self.live.campaign().clone());
        (0..DEVICES).for_each(|device| self.tell_presence(device));
        self.tell(Input::Recovered);
    }

    /// Whether nothing is under way anywhere: what does not happen by now never will.
    pub(crate) fn is_still(&self) -> bool {
        let mut acts = Vec::new();
        self.acts(&mut acts);
        acts.is_empty()
    }

    /// No more faults, no more commands, a paused campaign is resumed, and one thing happens after
    /// the other: whether the campaign comes to its end.
    pub(crate) fn ends_in_calm(&self) -> bool {
        let mut world = self.clone();
        world.bounds = Bounds { faults: 0, commands: 0, ..world.bounds };
        let status = world.live.campaign().status();
        if matches!(status, CampaignStatus::Pausing | CampaignStatus::Paused) {
            world.tell(Input::Command(Command::Resume));
        }
        let mut acts = Vec::new();
        for _ in 0..300 {
            if world.live.campaign().is_settled() {
                return world.broken.is_none();
            }
            acts.clear();
            world.acts(&mut acts);
            let Some(next) = acts.first() else { return false };
            world.happen(*next);
            (0..DEVICES).for_each(|device| world.retire(device));
        }
        false
    }

    /// A number that equal states share.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.bounds.hash(hasher);
        self.live.hash_from(self.now, hasher);
        (&self.devices, &self.messages, &self.broken).hash(hasher);
        // Which of two calls was recorded first makes no difference.
        let mut calls: Vec<_> = self.calls.iter().map(order).collect();
        calls.sort_unstable();
        // Nor do the numbers of questions.
        let mut answers: Vec<_> =
            self.answers.iter().map(|a| (a.device, a.operation, a.cancels, a.accepted)).collect();
        answers.sort_unstable();
        (calls, answers).hash(hasher);
        self.audit.hash_from(self.now, hasher);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

fn order(call: &Call) -> (u8, usize, Option<u8>, Option<OperationId>) {
    match call {
        Call::Read { device, purpose, .. } => (0, *device, Some(*purpose as u8), None),
        Call::Update { device, operation, .. } => (1, *device, None, Some(*operation)),
        Call::Cancel { device, operation, .. } => (2, *device, None, Some(*operation)),
    }
}

fn device_acts(number: usize, device: &Device, faults: bool, acts: &mut Vec<Act>) {
    match device.doing {
        Doing::Nothing if device.online => {}
        Doing::Nothing => acts.push(Act::Connect(number)),
        Doing::Updating(_) => {
            acts.push(Act::Restart(number));
            if faults {
                acts.push(Act::Break(number));
            }
        }
        Doing::Rebooting(_) => {
            acts.push(Act::ComeBack(number));
            if faults {
                acts.push(Act::RollBack(number));
            }
        }
    }
}

fn call(effect: &Effect) -> Option<Call> {
    Some(match effect {
        // Nobody gives URLs here.
        Effect::TakeSnapshot { .. } | Effect::PrepareStart { .. } => return None,
        Effect::ReadBaseImage { device, purpose, question } => {
            Call::Read { device: device_number(*device)?, purpose: *purpose, question: *question }
        }
        Effect::SendUpdate { device, operation, question, .. } => Call::Update {
            device: device_number(*device)?,
            operation: *operation,
            question: *question,
        },
        Effect::SendCancel { device, operation, question, .. } => Call::Cancel {
            device: device_number(*device)?,
            operation: *operation,
            question: *question,
        },
    })
}
