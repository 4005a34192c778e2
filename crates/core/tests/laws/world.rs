//! Plays a story to a campaign, and shows a law every event and every step of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::*;
use uuid::Uuid;

use crate::questions::{Questions, nothing};
use crate::story::{Act, How, MOST_DEVICES, Of, Setup, Story, VERSIONS};

/// A rule that is watched while a story is played. It keeps its own books, made of what it is
/// shown, and panics when the rule is broken.
pub(crate) trait Law {
    /// The campaign was created.
    fn begun(&mut self, _campaign: &Campaign, _event: &CampaignEvent) {}
    /// An event was recorded.
    fn event(&mut self, _seen: &Recorded<'_>) {}
    /// An input was handled, whatever came of it.
    fn step(&mut self, _seen: &Step<'_>) {}
    /// The engine died; this state was folded and loaded again.
    fn restarted(&mut self, _state: &Campaign, _now: Timestamp) {}
}

/// Several laws are one.
impl Law for Vec<Box<dyn Law>> {
    fn begun(&mut self, campaign: &Campaign, event: &CampaignEvent) {
        for law in self {
            law.begun(campaign, event);
        }
    }
    fn event(&mut self, seen: &Recorded<'_>) {
        for law in self {
            law.event(seen);
        }
    }
    fn step(&mut self, seen: &Step<'_>) {
        for law in self {
            law.step(seen);
        }
    }
    fn restarted(&mut self, state: &Campaign, now: Timestamp) {
        for law in self {
            law.restarted(state, now);
        }
    }
}

/// One event, with the state before and after it.
pub(crate) struct Recorded<'a> {
    pub(crate) now: Timestamp,
    pub(crate) input: &'a Input,
    pub(crate) before: &'a Campaign,
    pub(crate) event: &'a CampaignEvent,
    pub(crate) after: &'a Campaign,
}

/// One input, with everything that came of it.
pub(crate) struct Step<'a> {
    pub(crate) now: Timestamp,
    pub(crate) input: &'a Input,
    pub(crate) before: &'a Campaign,
    pub(crate) knew_of_outage: bool,
    pub(crate) decided: &'a Result<Decision, Rejection>,
    pub(crate) after: &'a Campaign,
    pub(crate) live: &'a LiveCampaign,
    /// Whether a loaded campaign has been told that everything was told.
    pub(crate) recovered: bool,
}

impl Step<'_> {
    pub(crate) fn events(&self) -> &[CampaignEvent] {
        self.decided.as_ref().map_or(&[], |decision| &decision.events)
    }

    pub(crate) fn effects(&self) -> &[Effect] {
        self.decided.as_ref().map_or(&[], |decision| &decision.effects)
    }

    /// The devices whose versions are read for the gates, in order.
    pub(crate) fn turns(&self) -> impl Iterator<Item = DeviceId> {
        self.effects().iter().filter_map(|effect| match effect {
            Effect::ReadBaseImage { device, purpose: ReadPurpose::Gate, .. }
            | Effect::PrepareStart { device, .. } => Some(*device),
            _ => None,
        })
    }

    /// The Update requests that may leave.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (DeviceId, OperationId, &ImageUrl)> {
        self.effects().iter().filter_map(|effect| match effect {
            Effect::SendUpdate { device, operation, url, .. } => Some((*device, *operation, url)),
            _ => None,
        })
    }
}

/// The reads that are under way, as a law's own book.
#[derive(Default)]
pub(crate) struct Reads(BTreeMap<DeviceId, ReadPurpose>);

impl Reads {
    /// Takes a step in. Gives the answer that it brought to one of these reads, if it did.
    pub(crate) fn step<'s>(&mut self, seen: &Step<'s>) -> Option<Read<'s>> {
        let mut read = None;
        if let Input::BaseImageRead { device, purpose, answer, .. } = seen.input
            && self.0.get(device) == Some(purpose)
        {
            self.0.remove(device);
            read = Some(Read { device: *device, purpose: *purpose, answer });
        }
        self.0.retain(|device, _| !seen.after.target(*device).unwrap().status.is_final());
        for effect in seen.effects() {
            let (device, purpose) = match effect {
                Effect::ReadBaseImage { device, purpose, .. } => (device, *purpose),
                Effect::PrepareStart { device, .. } => (device, ReadPurpose::Gate),
                _ => continue,
            };
            let other = self.0.insert(*device, purpose);
            assert_eq!(other, None, "one read of {device} at a time");
        }
        read
    }

    pub(crate) fn is_under_way(&self, device: DeviceId) -> bool {
        self.0.contains_key(&device)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The version that was read, if one was.
pub(crate) fn version_in(answer: &BaseImageAnswer) -> Option<&Option<String>> {
    match answer {
        BaseImageAnswer::Version(version) | BaseImageAnswer::Prepared { version, .. } => {
            Some(version)
        }
        BaseImageAnswer::Held(_) | BaseImageAnswer::Failed(_) => None,
    }
}

/// An answer to a read that was under way.
pub(crate) struct Read<'s> {
    pub(crate) device: DeviceId,
    pub(crate) purpose: ReadPurpose,
    pub(crate) answer: &'s BaseImageAnswer,
}

/// A campaign with everything around it.
pub(crate) struct World<'a> {
    now: Timestamp,
    live: LiveCampaign,
    /// The fold of the log, beside the live state.
    folded: Campaign,
    recovered: bool,
    waiting: Vec<Effect>,
    questions: Questions,
    devices: u8,
    versions: Vec<Option<&'static str>>,
    online_since: [Option<Timestamp>; MOST_DEVICES as usize],
    gone: BTreeSet<u8>,
    latest_report: Option<OperationReport>,
    /// Whether operations get URLs of their own, and how many were given (D23).
    asks_urls: bool,
    urls: u32,
    law: &'a mut dyn Law,
}

/// Plays the story and watches the law.
pub(crate) fn play(story: &Story, law: &mut dyn Law) {
    let mut world = World::new(&story.setup, law);
    for act in &story.acts {
        world.act(act);
    }
}

/// Plays the story, then lets everything be well until the campaign has come to its end.
pub(crate) fn play_to_the_end(story: &Story, law: &mut dyn Law) {
    let mut world = World::new(&story.setup, law);
    for act in &story.acts {
        world.act(act);
    }
    world.calm();
}

impl<'a> World<'a> {
    fn new(setup: &Setup, law: &'a mut dyn Law) -> Self {
        let now = Timestamp::from_millis(0);
        let starts_at = setup.starts_in.map(|seconds| now + Duration::from_secs(seconds));
        let created = Campaign::create(setup.definition(), starts_at, now).unwrap();
        let id = CampaignId::from_uuid(Uuid::from_u128(1));
        let folded = Campaign::begin("realm".parse().unwrap(), id, &created, now).unwrap();
        law.begun(&folded, &created);
        let mut world = Self {
            now,
            live: LiveCampaign::new(folded.clone()).asking_urls(setup.urls),
            folded,
            recovered: true,
            waiting: Vec::new(),
            questions: Questions::default(),
            devices: setup.devices,
            versions: setup.versions.iter().map(|n| VERSIONS[usize::from(*n)]).collect(),
            online_since: [Some(now); MOST_DEVICES as usize],
            gone: BTreeSet::new(),
            latest_report: None,
            asks_urls: setup.urls,
            urls: 0,
            law,
        };
        world.tell(&Input::Tick);
        world
    }

    fn tell(&mut self, input: &Input) {
        let before = self.folded.clone();
        // Those that end with the campaign are not looked at one by one (C1): their reads end.
        let goes_on = before.outcome().is_none();
        let is_final =
            |device| goes_on && before.target(device).is_some_and(|t| t.status.is_final());
        let active = |device| before.target(device)?.operation.map(|operation| operation.id);
        let void = self.questions.is_void(input, is_final, active).then(nothing);
        if let Some(nothing) = &void {
            let mut untold = self.live.clone();
            let mut told = self.live.clone();
            let expected = untold.handle(nothing.clone(), self.now);
            let decided = told.handle(input.clone(), self.now);
            assert_eq!(decided, expected, "E11: {input:?} is void");
            assert_eq!(told, untold, "E11: {input:?} is void");
        }
        let input = void.as_ref().unwrap_or(input);
        let knew_of_outage = self.live.knows_of_outage();
        self.recovered |= *input == Input::Recovered;
        let decided = self.live.handle(input.clone(), self.now);
        for event in decided.iter().flat_map(|decision| &decision.events) {
            let earlier = self.folded.clone();
            self.folded.apply(event, self.now).expect("a decided event follows");
            self.law.event(&Recorded {
                now: self.now,
                input,
                before: &earlier,
                event,
                after: &self.folded,
            });
        }
        self.law.step(&Step {
            now: self.now,
            input,
            before: &before,
            knew_of_outage,
            decided: &decided,
            after: &self.folded,
            live: &self.live,
            recovered: self.recovered,
        });
        let effects = decided.map(|decision| decision.effects).unwrap_or_default();
        self.questions.asked(&effects);
        self.waiting.extend(effects);
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Answer { which, how } => {
                if !self.waiting.is_empty() {
                    let effect = self.waiting.remove(usize::from(which) % self.waiting.len());
                    self.answer(&effect, how);
                }
            }
            Act::Report { device, of, status, code, progress, stamp } => {
                let (device, operation) = self.operation(device, of);
                let troubled = matches!(status, ReportStatus::Failure | ReportStatus::Error);
                let code = StatusCode::from_wire(code).filter(|_| troubled);
                let stamped = |s: i8| self.now.as_millis() + i64::from(s) * 1_000;
                let observed_at = stamp.map(|s| Timestamp::from_millis(stamped(s)));
                let plain = OperationReport::new(device, operation, status);
                let report = OperationReport { progress, code, observed_at, ..plain };
                self.latest_report = Some(report.clone());
                self.tell(&Input::Report(report));
            }
            Act::Progress { device, progress, stamp, stored: from_storage } => {
                let device = Setup::device(device);
                let operation = self.folded.target(device).and_then(|target| target.operation);
                let report = operation.and_then(|o| progress_report(&o, device, progress));
                if let Some(report) = report {
                    let stamped = |s: i8| self.now.as_millis() + i64::from(s) * 1_000;
                    let observed_at = stamp.map(|s| Timestamp::from_millis(stamped(s)));
                    let report = OperationReport { observed_at, from_storage, ..report };
                    self.tell(&Input::Report(report));
                }
            }
            Act::ReportAgain => {
                if let Some(report) = self.latest_report.clone() {
                    self.tell(&Input::Report(report));
                }
            }
            Act::Online { device, online } => {
                if !self.gone.contains(&device) {
                    self.online_since[usize::from(device)] = online.then_some(self.now);
                    self.tell_presence(device);
                }
            }
            Act::Version { device, version } => {
                self.versions[usize::from(device)] = VERSIONS[usize::from(version)];
                self.tell(&Input::BaseImageChanged { device: Setup::device(device) });
            }
            Act::Remove { device } => {
                if self.gone.len() < 2 {
                    self.gone.insert(device);
                    self.online_since[usize::from(device)] = None;
                    self.tell(&Input::DeviceRemoved { device: Setup::device(device) });
                }
            }
            Act::Freed { device } => {
                self.tell(&Input::DeviceFact {
                    device: Setup::device(device),
                    fact: DeviceFact::Free,
                });
            }
            Act::Pass { seconds } => self.pass(self.now + Duration::from_secs(seconds.into())),
            Act::Brink => self.go_to_the_brink(),
            Act::Consent { device, granted } => {
                let answer = if granted { ConsentAnswer::Granted } else { ConsentAnswer::Declined };
                let fact = PolicyFact::Consent(Consent { answer, by: None });
                let device = Setup::device(device);
                self.tell(&Input::Command(Command::Record { device, fact }));
            }
            Act::Wish(ref wish) => self.tell(&Input::Command(wish.command(self.now))),
            Act::Crash => self.crash(),
        }
    }

    fn operation(&self, device: u8, of: Of) -> (DeviceId, OperationId) {
        let id = |number: u8| {
            let device = Setup::device(number);
            let newest = self.folded.target(device).and_then(|target| target.operation);
            let first = || OperationId::of_campaign(self.folded.id(), device, 0);
            newest.map_or_else(first, |operation| operation.id)
        };
        let operation = match of {
            Of::Newest => id(device),
            Of::First => OperationId::of_campaign(self.folded.id(), Setup::device(device), 0),
            Of::Another => id((device + 1) % MOST_DEVICES),
            Of::Unknown => OperationId::from_uuid(Uuid::from_u128(99)),
        };
        (Setup::device(device), operation)
    }

    fn answer(&mut self, effect: &Effect, how: How) {
        match effect.clone() {
            Effect::TakeSnapshot { question } => self.answer_snapshot(question, how),
            Effect::PrepareStart { device: of, operation, question } => {
                let answer = match how {
                    How::Temporary => BaseImageAnswer::Failed(TransportError::new("no URL")),
                    How::Permanent => BaseImageAnswer::Held(DeviceFact::Busy),
                    How::Well | How::Halfway => {
                        let (version, url) = (self.version(of), self.another_url());
                        BaseImageAnswer::Prepared { version, operation, url }
                    }
                };
                let purpose = ReadPurpose::Gate;
                self.tell(&Input::BaseImageRead { device: of, purpose, question, answer });
            }
            Effect::ReadBaseImage { device: of, purpose, question } => {
                let version = self.version(of);
                let answer = match how {
                    How::Temporary => BaseImageAnswer::Failed(TransportError::new("down")),
                    How::Permanent if purpose == ReadPurpose::Gate => {
                        BaseImageAnswer::Held(DeviceFact::Busy)
                    }
                    _ => BaseImageAnswer::Version(version),
                };
                self.tell(&Input::BaseImageRead { device: of, purpose, question, answer });
            }
            Effect::SendUpdate { device, operation, question, .. } => {
                let answer = request_answer(how);
                self.tell(&Input::RequestAnswered { device, operation, question, answer });
            }
            Effect::SendCancel { device, operation, question, .. } => {
                let answer = request_answer(how);
                self.tell(&Input::CancelAnswered { device, operation, question, answer });
            }
        }
    }

    fn version(&self, of: DeviceId) -> Option<String> {
        let number = (0..MOST_DEVICES).find(|n| Setup::device(*n) == of).unwrap();
        self.versions[usize::from(number)].map(str::to_owned)
    }

    /// Another one each time; now and then it is the image's, said in either way.
    fn another_url(&mut self) -> Option<ImageUrl> {
        self.urls += 1;
        match self.urls % 5 {
            0 => None,
            1 => Some(self.folded.definition().base_image.url.clone()),
            _ => format!("https://images.example/2?signature={}", self.urls).parse().ok(),
        }
    }

    fn answer_snapshot(&mut self, question: Question, how: How) {
        if how == How::Temporary {
            return self.tell(&Input::SnapshotUnavailable { question });
        }
        let there = (0..self.devices).filter(|number| !self.gone.contains(number));
        let devices: Vec<_> = there.map(Setup::device).collect();
        let (first, rest) = devices.split_at(devices.len() / 2);
        self.tell(&Input::SnapshotChunk { question, devices: first.to_vec() });
        if how == How::Halfway {
            return self.crash();
        }
        // The chunks may overlap, as after a crash in the middle.
        let devices = first.iter().chain(rest).copied().collect();
        self.tell(&Input::SnapshotChunk { question, devices });
        for number in 0..self.devices {
            self.tell_presence(number);
        }
        self.tell(&Input::SnapshotComplete { question });
    }

    fn tell_presence(&mut self, number: u8) {
        let since = self.online_since[usize::from(number)];
        let presence = since.map_or(Presence::Offline, |since| Presence::Online { since });
        self.tell(&Input::Presence { device: Setup::device(number), presence });
    }

    fn pass(&mut self, until: Timestamp) {
        while let Some(at) = self.live.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let before = self.live.clone();
            self.tell(&Input::Tick);
            assert_ne!(
                before, self.live,
                "a tick that is due does something, or time stands still"
            );
        }
        self.now = until;
    }

    /// Goes to the next deadline if it is one of an operation and nothing else is due just then.
    fn go_to_the_brink(&mut self) {
        let Some(at) = self.live.next_deadline().filter(|at| *at > self.now) else { return };
        let Ok(decision) = self.live.clone().handle(Input::Tick, at) else { return };
        let is_deadline = |effect: &Effect| {
            matches!(effect, Effect::ReadBaseImage { purpose: ReadPurpose::Deadline, .. })
        };
        if !decision.effects.is_empty() && decision.effects.iter().all(is_deadline) {
            self.now = at;
        }
    }

    /// The engine dies, or only loads the campaign again while what it asked is under way.
    fn crash(&mut self) {
        if self.waiting.len().is_multiple_of(2) {
            self.waiting.clear();
        }
        self.questions.forget();
        let latest = self.live.latest_question();
        let bytes = serde_json::to_vec(&self.folded).unwrap();
        let mut restored: Campaign = serde_json::from_slice(&bytes).unwrap();
        assert!(restored.restore(), "a state snapshot reads back");
        assert_eq!(restored, self.folded, "E1: through a state snapshot");
        self.law.restarted(&restored, self.now);
        let loaded = LiveCampaign::loaded(restored).asking_after(latest);
        self.live = loaded.asking_urls(self.asks_urls);
        self.recovered = false;
        if self.folded.started_at().is_some() {
            for number in 0..self.devices {
                if self.gone.contains(&number) {
                    self.tell(&Input::DeviceRemoved { device: Setup::device(number) });
                } else {
                    self.tell_presence(number);
                }
            }
        }
        self.tell(&Input::Recovered);
    }

    /// Faults stop, devices are online and do what they are asked: the campaign must end.
    fn calm(&mut self) {
        for number in 0..self.devices {
            if !self.gone.contains(&number) {
                self.online_since[usize::from(number)] = Some(self.now);
                self.tell_presence(number);
            }
            self.tell(&Input::DeviceFact { device: Setup::device(number), fact: DeviceFact::Free });
        }
        self.tell(&Input::Command(Command::Resume));
        // Without a stall time-out an operation may be silent for ever: its device goes on.
        for target in self.folded.targets().collect::<Vec<_>>() {
            let silent = target.operation.filter(|o| o.is_reported() && o.deadline.is_none());
            if let Some(operation) = silent {
                let status = ReportStatus::Success;
                self.tell(&Input::Report(OperationReport::new(
                    target.device,
                    operation.id,
                    status,
                )));
            }
        }
        for _ in 0..400 {
            if self.folded.is_settled() {
                return;
            }
            while !self.waiting.is_empty() {
                let effect = self.waiting.remove(0);
                self.answer(&effect, How::Well);
                if let Effect::SendUpdate { device, operation, .. } = effect {
                    let status = ReportStatus::Success;
                    self.tell(&Input::Report(OperationReport::new(device, operation, status)));
                }
            }
            if let Some(next) = self.live.next_deadline() {
                self.pass(next.max(self.now));
            }
        }
        panic!("it does not end: {:?} {:?}", self.folded.status(), self.folded.counts());
    }
}

fn request_answer(how: How) -> RequestAnswer {
    match how {
        How::Temporary => RequestAnswer::Temporary(TransportError::new("HTTP 503")),
        How::Permanent => RequestAnswer::Permanent(TransportError::new("HTTP 404")),
        How::Well | How::Halfway => RequestAnswer::Accepted,
    }
}

/// What a device says that goes on in its phase; nothing before its first report.
pub(crate) fn progress_report(
    operation: &Operation,
    device: DeviceId,
    progress: u8,
) -> Option<OperationReport> {
    let status = match operation.phase {
        Phase::Acknowledged => ReportStatus::Acknowledged,
        Phase::Downloading => ReportStatus::Downloading,
        Phase::Deploying => ReportStatus::Deploying,
        Phase::Deployed => ReportStatus::Deployed,
        Phase::Rebooting => ReportStatus::Rebooting,
        Phase::Error => ReportStatus::Error,
        Phase::Pending | Phase::Success | Phase::Failure => return None,
    };
    Some(OperationReport { progress, ..OperationReport::new(device, operation.id, status) })
}
