//! Manual OTA updates (D20): the same laws for one operation without a campaign around it.

use std::time::Duration;

use hedgerow_core::event::{Confirmation, ManualUpdateEvent, OperationFailure};
use hedgerow_core::*;
use proptest::prelude::*;
use uuid::Uuid;

use crate::gates::parts;
use crate::questions::{Questions, nothing};
use crate::reference::{Became, Sent};
use crate::story::{Act, How, Mix, Of, Setup, Story, VERSIONS, Wish, rebooting, story};
use crate::support::{cases, interval};
use crate::world::progress_report;

/// One input, with everything that came of it.
struct Step<'a> {
    now: Timestamp,
    input: &'a Input,
    before: &'a ManualUpdate,
    decided: &'a Result<ManualDecision, ManualRejection>,
    live: &'a LiveManualUpdate,
}

impl Step<'_> {
    fn events(&self) -> &[ManualUpdateEvent] {
        self.decided.as_ref().map_or(&[], |decision| &decision.events)
    }

    fn effects(&self) -> &[Effect] {
        self.decided.as_ref().map_or(&[], |decision| &decision.effects)
    }

    fn sends(&self) -> usize {
        let is_update = |effect: &&Effect| matches!(effect, Effect::SendUpdate { .. });
        self.effects().iter().filter(is_update).count()
    }
}

/// A rule that is watched while a story is played.
trait Law {
    fn begun(&mut self, _update: &ManualUpdate) {}
    fn step(&mut self, seen: &Step<'_>);
    fn restarted(&mut self, _state: &ManualUpdate) {}
}

/// A manual update with everything around it.
struct World<'a> {
    now: Timestamp,
    live: LiveManualUpdate,
    waiting: Vec<Effect>,
    questions: Questions,
    version: Option<&'static str>,
    online_since: Option<Timestamp>,
    latest_report: Option<OperationReport>,
    law: &'a mut dyn Law,
}

fn definition(setup: &Setup, expected: bool) -> ManualUpdateDefinition {
    ManualUpdateDefinition {
        request_id: RequestId::new("ticket-4711").unwrap(),
        device: Setup::device(0),
        url: "https://images.example/2?key=%20a".parse().unwrap(),
        expected_version: expected.then(|| setup.image.0.parse().unwrap()),
        version_before: VERSIONS[usize::from(setup.versions[0])].map(str::to_owned),
        limits: setup.limits().operation,
    }
}

fn begin(definition: ManualUpdateDefinition, now: Timestamp) -> ManualUpdate {
    let tenant: TenantId = "realm".parse().unwrap();
    let id = OperationId::of_manual_update(&tenant, definition.request_id.as_str());
    let started = ManualUpdate::create(definition).unwrap();
    ManualUpdate::begin(tenant, id, &started, now).unwrap()
}

/// Plays the story, then lets everything be well until the update has ended.
fn play(story: &Story, expected: bool, law: &mut dyn Law) {
    let now = Timestamp::from_millis(0);
    let update = begin(definition(&story.setup, expected), now);
    law.begun(&update);
    let mut live = LiveManualUpdate::new(update);
    let waiting = vec![live.first_request()];
    let version = VERSIONS[usize::from(story.setup.versions[0])];
    let online_since = Some(now);
    let latest_report = None;
    let mut questions = Questions::default();
    questions.asked(&waiting);
    let mut world =
        World { now, live, waiting, questions, version, online_since, latest_report, law };
    world.tell_presence();
    for act in &story.acts {
        world.act(act);
    }
    world.calm();
}

impl World<'_> {
    fn tell(&mut self, input: &Input) {
        let before = self.live.update().clone();
        let open = before.operation().map(|operation| operation.id);
        let void = self.questions.is_void(input, |_| false, |_| open.or(Some(before.id())));
        let void = void.then(nothing);
        if let Some(nothing) = &void {
            let mut untold = self.live.clone();
            let mut told = self.live.clone();
            let expected = untold.handle(nothing.clone(), self.now).map(|d| (d.events, d.effects));
            let decided = told.handle(input.clone(), self.now).map(|d| (d.events, d.effects));
            assert_eq!(decided, expected, "E11: {input:?} is void");
            assert_eq!(told, untold, "E11: {input:?} is void");
        }
        let input = void.as_ref().unwrap_or(input);
        let decided = self.live.handle(input.clone(), self.now);
        let step =
            Step { now: self.now, input, before: &before, decided: &decided, live: &self.live };
        self.law.step(&step);
        let effects = decided.map(|decision| decision.effects).unwrap_or_default();
        self.questions.asked(&effects);
        self.waiting.extend(effects);
    }

    fn tell_presence(&mut self) {
        let presence = match self.online_since {
            Some(since) => Presence::Online { since },
            None => Presence::Offline,
        };
        self.tell(&Input::Presence { device: Setup::device(0), presence });
    }

    fn act(&mut self, act: &Act) {
        let device = Setup::device(0);
        match *act {
            Act::Answer { which, how } => {
                if !self.waiting.is_empty() {
                    let effect = self.waiting.remove(usize::from(which) % self.waiting.len());
                    self.answer(&effect, how);
                }
            }
            Act::Report { of, status, code, progress, stamp, .. } => {
                let id = self.live.update().id();
                let (device, operation) = match of {
                    Of::Newest | Of::First => (device, id),
                    Of::Another => (Setup::device(1), id),
                    Of::Unknown => (device, OperationId::from_uuid(Uuid::from_u128(99))),
                };
                let troubled = matches!(status, ReportStatus::Failure | ReportStatus::Error);
                let code = StatusCode::from_wire(code).filter(|_| troubled);
                let stamped = |s: i8| self.now.as_millis() + i64::from(s) * 1_000;
                let observed_at = stamp.map(|s| Timestamp::from_millis(stamped(s)));
                let plain = OperationReport::new(device, operation, status);
                let report = OperationReport { progress, code, observed_at, ..plain };
                self.latest_report = Some(report.clone());
                self.tell(&Input::Report(report));
            }
            Act::Progress { progress, stamp, stored: from_storage, .. } => {
                let operation = self.live.update().operation();
                if let Some(report) = operation.and_then(|o| progress_report(o, device, progress)) {
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
            Act::Online { online, .. } => {
                self.online_since = online.then_some(self.now);
                self.tell_presence();
            }
            Act::Version { version, .. } => {
                self.version = VERSIONS[usize::from(version)];
                self.tell(&Input::BaseImageChanged { device });
            }
            // Told to everybody: another device is none of its business.
            Act::Remove { device } => {
                self.tell(&Input::DeviceRemoved { device: Setup::device(device) });
            }
            Act::Pass { seconds } => self.pass(self.now + Duration::from_secs(seconds.into())),
            Act::Brink => {
                self.now = self.live.next_deadline().unwrap_or(self.now).max(self.now);
            }
            Act::Wish(Wish::Cancel { .. }) => {
                let running = RunningOperations::Stop;
                self.tell(&Input::Command(Command::Cancel { running }));
            }
            Act::Freed { .. } | Act::Consent { .. } | Act::Wish(_) => {}
            Act::Crash => self.crash(),
        }
    }

    fn answer(&mut self, effect: &Effect, how: How) {
        let answer = match how {
            How::Temporary => RequestAnswer::Temporary(TransportError::new("HTTP 503")),
            How::Permanent => RequestAnswer::Permanent(TransportError::new("HTTP 404")),
            How::Well | How::Halfway => RequestAnswer::Accepted,
        };
        match effect.clone() {
            Effect::ReadBaseImage { device, purpose, question } => {
                let version = self.version.map(str::to_owned);
                let answer = match how {
                    How::Temporary => BaseImageAnswer::Failed(TransportError::new("down")),
                    _ => BaseImageAnswer::Version(version),
                };
                self.tell(&Input::BaseImageRead { device, purpose, question, answer });
            }
            Effect::SendUpdate { device, operation, question, .. } => {
                self.tell(&Input::RequestAnswered { device, operation, question, answer });
            }
            Effect::SendCancel { device, operation, question, .. } => {
                self.tell(&Input::CancelAnswered { device, operation, question, answer });
            }
            Effect::TakeSnapshot { .. } | Effect::PrepareStart { .. } => {
                panic!("a manual update has no targets")
            }
        }
    }

    fn pass(&mut self, until: Timestamp) {
        while let Some(at) = self.live.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            let before = self.live.clone();
            self.tell(&Input::Tick);
            assert_ne!(before, self.live, "a tick that is due does something");
        }
        self.now = until;
    }

    fn crash(&mut self) {
        if self.waiting.len().is_multiple_of(2) {
            self.waiting.clear();
        }
        self.questions.forget();
        let latest = self.live.latest_question();
        let bytes = serde_json::to_vec(self.live.update()).unwrap();
        let restored: ManualUpdate = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(&restored, self.live.update(), "E1: through a state snapshot");
        self.law.restarted(&restored);
        self.live = LiveManualUpdate::loaded(restored).asking_after(latest);
        self.tell_presence();
        self.tell(&Input::Recovered);
    }

    fn calm(&mut self) {
        self.online_since = Some(self.now);
        self.tell_presence();
        let operation = self.live.update().operation().cloned();
        let silent = operation.filter(|o| o.is_reported() && o.deadline.is_none());
        if let Some(operation) = silent {
            let report =
                OperationReport::new(Setup::device(0), operation.id, ReportStatus::Success);
            self.tell(&Input::Report(report));
        }
        for _ in 0..200 {
            if self.live.is_settled() {
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
        panic!("it does not end: {:?}", self.live.update());
    }
}

/// E1, E2.
#[derive(Default)]
struct Replay {
    folded: Option<ManualUpdate>,
    twin: Option<LiveManualUpdate>,
}

impl Law for Replay {
    fn begun(&mut self, update: &ManualUpdate) {
        self.folded = Some(update.clone());
        let mut twin = LiveManualUpdate::new(update.clone());
        twin.first_request();
        self.twin = Some(twin);
    }

    fn step(&mut self, seen: &Step<'_>) {
        let folded = self.folded.as_mut().unwrap();
        for event in seen.events() {
            let stored = NewEvent {
                event_type: event.event_type().to_owned(),
                schema_version: event.schema_version(),
                recorded_at: seen.now,
                correlation_id: Uuid::nil(),
                causation_id: Uuid::nil(),
                data: event.to_json(),
            };
            let read = ManualUpdateEvent::from_new(folded.stream(), &stored).unwrap();
            folded.apply(&read, seen.now).unwrap();
        }
        assert_eq!(folded, seen.live.update(), "E1: {:?}", seen.input);
        let twin = self.twin.as_mut().unwrap();
        assert_eq!(&twin.handle(seen.input.clone(), seen.now), seen.decided, "E2");
        assert_eq!(twin, seen.live, "E2: {:?}", seen.input);
    }

    fn restarted(&mut self, state: &ManualUpdate) {
        let latest = self.twin.as_ref().unwrap().latest_question();
        self.twin = Some(LiveManualUpdate::loaded(state.clone()).asking_after(latest));
    }
}

/// D8, D9: count and spacing of attempts, the same UUID and URL, the stall.
#[derive(Default)]
struct TimeOuts {
    due: Option<Timestamp>,
    /// The resend waits for the device.
    kept_back: bool,
    resends: u16,
    reported: Option<(Phase, Timestamp)>,
    stopped: bool,
    restarts: u32,
    reissues: u32,
}

impl Law for TimeOuts {
    fn begun(&mut self, update: &ManualUpdate) {
        self.due = Some(update.started_at() + update.definition().limits.request_timeout);
    }

    fn step(&mut self, seen: &Step<'_>) {
        let definition = seen.before.definition();
        let limits = &definition.limits;
        let passed = self.due.is_some_and(|due| due <= seen.now);
        let mut calls = 0;
        for event in seen.events() {
            match event {
                ManualUpdateEvent::ManualResendKeptBack(_) => {
                    assert!(self.reported.is_none() && passed, "D8: {:?}", self.due);
                    assert!(self.resends < limits.request_retries, "D8: none is left");
                    assert!(!self.stopped && !seen.live.is_online(), "D8, D17");
                    (self.due, self.kept_back) = (None, true);
                }
                ManualUpdateEvent::ManualRequestResent(_) => {
                    calls += 1;
                    let kept_back = std::mem::take(&mut self.kept_back);
                    assert!(!kept_back || seen.live.is_online(), "D8: it is still away");
                    let due = passed || kept_back;
                    assert!(self.reported.is_none() && due, "D8: {:?}", self.due);
                    assert!(self.resends < limits.request_retries, "D8: too often");
                    assert!(!self.stopped, "D17: sent again after a Cancel");
                    self.resends += 1;
                    self.due = Some(seen.now + limits.request_timeout);
                }
                ManualUpdateEvent::ManualRequestReissued(_) => {
                    calls += 1;
                    assert!(self.reported.is_none() && !self.stopped, "D8, D17");
                    self.reissues += 1;
                    assert!(self.reissues <= self.restarts, "E4: once after each restart");
                    self.due = Some(seen.now + limits.request_timeout);
                }
                ManualUpdateEvent::ManualReported(e) => {
                    if let Some((phase, at)) = self.reported
                        && phase == e.phase
                    {
                        assert!(seen.now.since(at) >= interval(limits), "D9: too soon");
                        let Input::Report(report) = seen.input else { panic!("nobody reported") };
                        assert!(!report.from_storage, "D9: no sign of life");
                    }
                    self.kept_back = false;
                    self.reported = Some((e.phase, seen.now));
                    self.due = limits.stall_timeout.map(|stall| seen.now + stall);
                }
                ManualUpdateEvent::ManualCancelRequested(_) => {
                    self.stopped = true;
                    if std::mem::take(&mut self.kept_back) {
                        self.due = Some(seen.now + limits.request_timeout);
                    }
                }
                ManualUpdateEvent::ManualFailed(e) => match e.reason {
                    OperationFailure::RequestTimeout => {
                        assert!(self.reported.is_none() && (passed || self.kept_back), "D8");
                        assert!(self.stopped || self.resends >= limits.request_retries, "D8");
                    }
                    OperationFailure::Stalled => assert!(self.reported.is_some() && passed, "D9"),
                    _ => {}
                },
                _ => {}
            }
        }
        assert_eq!(seen.sends(), calls, "D8, E4: a call leaves exactly when it was recorded");
        for effect in seen.effects() {
            if let Effect::SendUpdate { operation, url, .. }
            | Effect::SendCancel { operation, url, .. } = effect
            {
                assert_eq!(*operation, seen.before.id(), "D8: the same UUID");
                assert_eq!(url, &definition.url, "D8: the same URL");
            }
        }
        if let Some(operation) = seen.live.update().operation() {
            assert_eq!((operation.deadline, operation.resends), (self.due, self.resends), "D8, D9");
            let told = matches!(seen.input, Input::Tick | Input::Recovered);
            let due = told && self.due.is_some_and(|due| due <= seen.now);
            let waits = seen.live.next_deadline().is_some_and(|at| at <= seen.now);
            assert!(!due || !waits, "D8, D9: a deadline was missed");
        }
    }

    fn restarted(&mut self, _: &ManualUpdate) {
        self.restarts += 1;
    }
}

/// D12: only where what the device shows can tell, and only of a device that is back.
#[derive(Default)]
struct Reconciliation {
    back: Option<Timestamp>,
}

impl Law for Reconciliation {
    fn step(&mut self, seen: &Step<'_>) {
        let definition = seen.before.definition();
        let expected = definition.expected_version.as_ref().map(ToString::to_string);
        let before = definition.version_before.as_deref();
        let differs =
            before.is_some_and(|before| parts(before) != expected.as_deref().and_then(parts));
        let can_tell = expected.is_some() && differs;
        let shown = match seen.input {
            Input::BaseImageRead { answer: BaseImageAnswer::Version(version), .. } => {
                Some(version.as_deref())
            }
            _ => None,
        };
        let shows_it = shown.flatten().is_some_and(|shown| Some(shown) == expected.as_deref());
        for event in seen.events() {
            match event {
                ManualUpdateEvent::ManualSucceeded(e) => {
                    let inferred = e.confirmation == Confirmation::BaseImage;
                    assert_eq!(inferred, shows_it && can_tell, "D12: {definition:?}");
                    assert_eq!(inferred, !matches!(seen.input, Input::Report(_)), "D12");
                }
                ManualUpdateEvent::ManualFailed(e) if e.reason.is_inferred() => {
                    assert!(can_tell && shown.is_some() && !shows_it, "D12: {definition:?}");
                    let phase = seen.before.operation().unwrap().phase;
                    assert_eq!(phase, Phase::Rebooting, "D12");
                    let back = self.back.expect("D12: the device is not back");
                    let timeout = definition.limits.reboot_timeout;
                    assert!(seen.now.since(back) >= timeout, "D12: back since {back}");
                }
                _ => {}
            }
        }
        let rebooting = seen.live.update().operation().is_some_and(|o| o.phase == Phase::Rebooting);
        if let Input::Presence { presence, .. } = seen.input {
            self.back = Some(seen.now).filter(|_| *presence != Presence::Offline);
        }
        self.back = self.back.filter(|_| rebooting);
    }

    fn restarted(&mut self, _: &ManualUpdate) {
        self.back = None;
    }
}

/// The update beside the reference's operation: D8, D9, D11, D14, D15, D17, D20.
#[derive(Default)]
struct Compared {
    sent: Option<Sent>,
    how: &'static str,
    reading: Option<ReadPurpose>,
    calling: bool,
    online: bool,
    /// Nobody has told that it is offline.
    reachable: bool,
    late: Vec<ReportStatus>,
}

impl Law for Compared {
    fn begun(&mut self, update: &ManualUpdate) {
        let mut sent = Sent::default();
        sent.send(update.started_at(), &update.definition().limits);
        (self.sent, self.calling, self.reachable) = (Some(sent), true, true);
    }

    fn step(&mut self, seen: &Step<'_>) {
        let became = self.told(seen);
        let taken = became.is_some();
        assert_eq!(taken, seen.decided.is_ok(), "{:?}", seen.input);
        match became.unwrap_or(Became::Unchanged) {
            Became::Succeeded(how) | Became::Failed(how) => (self.sent, self.how) = (None, how),
            Became::Refused => (self.sent, self.how) = (None, "update_already_in_progress"),
            Became::Resent => {
                self.calling = true;
                assert_eq!(seen.sends(), 1, "{:?}", seen.input);
            }
            _ => assert_eq!(seen.sends(), 0, "{:?}", seen.input),
        }
        for effect in seen.effects() {
            if let Effect::ReadBaseImage { purpose, .. } = effect {
                assert_eq!(self.reading.replace(*purpose), None, "one read at a time");
            }
        }
        let update = seen.live.update();
        let how = match update.status() {
            ManualStatus::Active(_) => "",
            ManualStatus::Successful => "success",
            ManualStatus::Failed(reason) => reason.reason().name(),
        };
        let expected = match self.how {
            "reported" | "confirmed" => "success",
            how => how,
        };
        assert_eq!(how, expected, "{:?}", seen.input);
        let shown = update.operation().map(|operation| {
            let phase = Some(operation.phase).filter(|phase| *phase != Phase::Pending);
            let stop = operation.cancellation != Cancellation::NotWanted;
            let unanswered = operation.delivery == Delivery::Unanswered;
            let numbers = (operation.resends, operation.sends, operation.progress);
            (phase, numbers, operation.deadline, stop, unanswered)
        });
        let expected = self.sent.as_ref().map(|sent| {
            let numbers = (sent.resends, sent.sends, sent.progress);
            (sent.phase, numbers, sent.due, sent.stop, sent.unanswered)
        });
        assert_eq!(shown, expected, "{:?}", seen.input);
    }

    fn restarted(&mut self, _: &ManualUpdate) {
        (self.reading, self.calling, self.online) = (None, false, false);
        self.reachable = true;
        self.sent.iter_mut().for_each(Sent::restarted);
        self.late.clear();
    }
}

impl Compared {
    /// `None`: refused.
    fn told(&mut self, seen: &Step<'_>) -> Option<Became> {
        let definition = seen.before.definition();
        let mine = |device: &DeviceId| *device == definition.device;
        if let Input::Report(report) = seen.input {
            let known = mine(&report.device) && report.operation == seen.before.id();
            let Some(sent) = self.sent.as_mut().filter(|_| known) else {
                return known.then(|| self.late(seen, report.status));
            };
            return Some(sent.report(report, seen.now, &definition.limits));
        }
        let Some(sent) = &mut self.sent else {
            return (!matches!(seen.input, Input::Command(_))).then_some(Became::Unchanged);
        };
        Some(match seen.input {
            Input::Command(_) => {
                sent.stop = true;
                if std::mem::take(&mut sent.kept_back) {
                    sent.due = Some(seen.now + definition.limits.request_timeout);
                }
                Became::Recorded
            }
            Input::DeviceRemoved { device } if mine(device) => Became::Failed("device_removed"),
            Input::Presence { presence, .. } => {
                self.online = *presence != Presence::Offline;
                self.reachable = self.online;
                Became::Unchanged
            }
            Input::RequestAnswered { answer, .. } => {
                self.calling = false;
                let first = sent.sends == 1 && sent.phase.is_none();
                let waits = std::mem::take(&mut sent.unanswered);
                match answer {
                    RequestAnswer::Permanent(_) if waits && first => {
                        Became::Failed("request_rejected")
                    }
                    _ => Became::Recorded,
                }
            }
            Input::BaseImageRead { purpose, answer, .. } if self.reading == Some(*purpose) => {
                self.reading = None;
                self.read(seen, *purpose, answer)
            }
            _ => Became::Unchanged,
        })
    }

    fn late(&mut self, seen: &Step<'_>, status: ReportStatus) -> Became {
        let events = usize::from(!self.late.contains(&status));
        assert_eq!(seen.events().len(), events, "D11: late again and again is recorded once");
        self.late.push(status);
        Became::Unchanged
    }

    fn read(&mut self, seen: &Step<'_>, purpose: ReadPurpose, answer: &BaseImageAnswer) -> Became {
        let inferred = seen.events().iter().any(|event| match event {
            ManualUpdateEvent::ManualSucceeded(_) => true,
            ManualUpdateEvent::ManualFailed(e) => e.reason.is_inferred(),
            _ => false,
        });
        let sent = self.sent.as_mut().unwrap();
        if inferred {
            // Whether it may be is the law of D12.
            return match seen.live.update().status() {
                ManualStatus::Failed(_) => Became::Failed("system_rollback"),
                _ => Became::Succeeded("confirmed"),
            };
        }
        let limits = &seen.before.definition().limits;
        let readable = matches!(answer, BaseImageAnswer::Version(_));
        let owed = sent.is_owed() && !sent.kept_back;
        let leaves = owed && readable && !self.calling && self.online;
        match purpose {
            // The resend that was kept back has its turn (D8).
            ReadPurpose::Deadline if sent.kept_back => {
                if !self.online || !readable {
                    return Became::Unchanged;
                }
                if sent.resends >= limits.request_retries {
                    return Became::Failed("request_timeout");
                }
                sent.resends += 1;
                sent.send(seen.now, limits);
                Became::Resent
            }
            ReadPurpose::Deadline if leaves && sent.is_due(seen.now) => {
                sent.send(seen.now, limits);
                Became::Resent
            }
            // Nothing ends for the only reason that the engine was down (D10).
            ReadPurpose::Deadline if owed && !self.calling && self.online => Became::Unchanged,
            ReadPurpose::Deadline => sent.deadline(seen.now, limits, self.reachable, false),
            ReadPurpose::Settled if leaves => {
                sent.send(seen.now, limits);
                Became::Resent
            }
            _ => Became::Unchanged,
        }
    }
}

/// Stories of one device: it alone acts.
const ALONE: Mix = Mix {
    answer: 9,
    report: 6,
    steer: 0,
    edit: 0,
    removed: 0,
    freed: 0,
    online: 4,
    version: 4,
    pass: 8,
    ..Mix::EVEN
};

fn manual(story: impl Strategy<Value = Story>) -> impl Strategy<Value = Story> {
    let place = || prop::option::weighted(0.3, any::<prop::sample::Index>());
    let version = prop_oneof![2 => Just(0_u8), 1 => 0..8_u8];
    (story, place(), place(), 0..3_u8, version).prop_map(
        |(mut story, cancelled, removed, device, version)| {
            if let Some(place) = removed {
                let place = place.index(story.acts.len() + 1);
                story.acts.insert(place, Act::Remove { device });
            }
            if let Some(place) = cancelled {
                let place = place.index(story.acts.len() + 1);
                story.acts.insert(place, Act::Wish(Wish::Cancel { stop: true }));
            }
            story.setup.versions[0] = version;
            story
        },
    )
}

fn manual_story() -> impl Strategy<Value = Story> {
    manual(story(ALONE))
}

#[test]
fn d12_a_device_that_went_offline_again_is_not_judged_before_it_is_back() {
    let answer = |how| Act::Answer { which: 0, how };
    let report = Act::Report {
        device: 0,
        of: Of::Newest,
        status: ReportStatus::Rebooting,
        code: "",
        progress: 0,
        stamp: None,
    };
    let online = |online| Act::Online { device: 0, online };
    let mut acts = vec![answer(How::Well), report, online(true)];
    acts.extend([Act::Pass { seconds: 10 }, answer(How::Well), Act::Pass { seconds: 50 }]);
    // It goes while it is read for the last time, and that read fails.
    acts.extend([online(false), answer(How::Temporary), Act::Pass { seconds: 10 }]);
    acts.push(answer(How::Well));
    let story = Story { setup: Setup::plain(1), acts };
    play(&story, true, &mut Reconciliation::default());
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn e1_e2_a_manual_update_is_the_fold_of_its_log_and_decides_the_same_twice(
        story in manual_story(), expected in any::<bool>(),
    ) {
        play(&story, expected, &mut Replay::default());
    }

    #[test]
    fn d8_d9_a_manual_updates_attempts_are_counted_and_spaced(
        story in manual_story(), expected in any::<bool>(),
    ) {
        play(&story, expected, &mut TimeOuts::default());
    }

    #[test]
    fn d12_a_manual_updates_outcome_is_inferred_only_where_it_can_be_told(
        story in manual(rebooting(ALONE)), expected in prop::bool::weighted(0.8),
    ) {
        play(&story, expected, &mut Reconciliation::default());
    }

    #[test]
    fn d20_a_manual_update_does_what_the_reference_does(
        story in manual_story(), expected in any::<bool>(),
    ) {
        play(&story, expected, &mut Compared::default());
    }

    #[test]
    fn d20_a_repeated_request_names_the_same_update(
        request in "[!-~]{1,20}", other in "[!-~]{1,20}", tenant in "[a-z][a-z0-9_]{0,3}",
    ) {
        let tenant: TenantId = tenant.parse().unwrap();
        let id = |request: &str| OperationId::of_manual_update(&tenant, request);
        prop_assert_eq!(id(&request) == id(&other), request == other);
    }
}

#[test]
fn d20_a_manual_update_can_be_cancelled_and_takes_no_other_command() {
    let setup = definition_of_no_story();
    let update = begin(setup, Timestamp::from_millis(0));
    let mut live = LiveManualUpdate::new(update.clone());
    live.first_request();
    let before = live.clone();
    for (command, name) in [
        (Command::Pause, "pause"),
        (Command::Resume, "resume"),
        (Command::Supersede, "supersede"),
        (Command::Edit(Box::default()), "edit"),
        (Command::Delete, "delete"),
    ] {
        let refused = live.handle(Input::Command(command), Timestamp::from_millis(1));
        let rejection = ManualRejection::NotForManualUpdates { id: update.id(), command: name };
        assert_eq!(refused, Err(rejection));
        assert_eq!(live, before, "nothing has changed");
    }
    for running in [RunningOperations::Finish, RunningOperations::Stop] {
        let mut live = before.clone();
        let command = Input::Command(Command::Cancel { running });
        let decided = live.handle(command, Timestamp::from_millis(1)).unwrap();
        assert_eq!(decided.events.len(), 1);
    }
}

fn definition_of_no_story() -> ManualUpdateDefinition {
    ManualUpdateDefinition {
        request_id: RequestId::new("ticket-4711").unwrap(),
        device: Setup::device(0),
        url: "https://images.example/2".parse().unwrap(),
        expected_version: None,
        version_before: None,
        limits: OperationLimits::default(),
    }
}
