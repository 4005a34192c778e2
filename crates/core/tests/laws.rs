//! Laws that hold whatever happens to a campaign: random inputs, answers, crashes and commands,
//! then a calm phase in which it must come to its end.
//!
//! `PROPTEST_CASES=100000 cargo test -p hedgerow-core --test laws` tries more.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::*;
use proptest::prelude::*;
use uuid::Uuid;

const DEVICES: u8 = 5;

/// Something that happens. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Act {
    /// An effect that waits is answered.
    Answer {
        which: u8,
        how: u8,
    },
    Report {
        device: u8,
        former: bool,
        status: u8,
        busy: bool,
        progress: u8,
        stamp: Option<i8>,
    },
    Online {
        device: u8,
        online: bool,
    },
    Version {
        device: u8,
        version: u8,
    },
    Remove {
        device: u8,
    },
    Freed {
        device: u8,
    },
    Pass {
        seconds: u16,
    },
    Command {
        which: u8,
        number: u8,
    },
    /// The engine dies: what waits is lost, and the state is folded from the log.
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    let device = || 0..DEVICES;
    prop_oneof![
        8 => (any::<u8>(), 0_u8..10).prop_map(|(which, how)| Act::Answer { which, how }),
        6 => (device(), prop::bool::weighted(0.1), 0_u8..8, prop::bool::weighted(0.3), 0_u8..=100,
              any::<Option<i8>>())
            .prop_map(|(device, former, status, busy, progress, stamp)| Act::Report {
                device, former, status, busy, progress, stamp
            }),
        3 => (device(), prop::bool::weighted(0.7))
            .prop_map(|(device, online)| Act::Online { device, online }),
        2 => (device(), 0_u8..5).prop_map(|(device, version)| Act::Version { device, version }),
        1 => device().prop_map(|device| Act::Remove { device }),
        1 => device().prop_map(|device| Act::Freed { device }),
        5 => (1_u16..1_000).prop_map(|seconds| Act::Pass { seconds }),
        2 => (0_u8..8, 0_u8..6).prop_map(|(which, number)| Act::Command { which, number }),
        1 => Just(Act::Crash),
    ]
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number + 1; 16])
}

fn definition(max_pending: u32, max_failed: u8, retries: u16) -> CampaignDefinition {
    let limits = RolloutLimits {
        operation: OperationLimits {
            request_retries: retries,
            request_timeout: Duration::from_secs(60),
            stall_timeout: Some(Duration::from_secs(3_600)),
            ..OperationLimits::default()
        },
        ..RolloutLimits::new(
            NonZeroU32::new(max_pending).unwrap(),
            max_failed.to_string().parse().unwrap(),
        )
    };
    CampaignDefinition {
        name: "laws".parse().unwrap(),
        base_image: BaseImage {
            system_model: "sm".parse().unwrap(),
            version: Version::new(2, 0, 0),
            url: "https://images.example/2".parse().unwrap(),
            starting_version_requirement: None,
        },
        channel: Channel::new("c".parse().unwrap(), ["g".parse().unwrap()]).unwrap(),
        rollout: RolloutMechanism::Push(PushRollout { limits, gates: GatePolicy::default() }),
        when_running: WhenRunning::Supersede,
    }
}

/// A campaign with everything around it that the laws speak of.
struct World {
    now: Timestamp,
    live: LiveCampaign,
    /// The fold of the log, beside the live state.
    replica: Campaign,
    waiting: Vec<Effect>,
    versions: [Option<&'static str>; DEVICES as usize],
    online: [bool; DEVICES as usize],
    gone: BTreeSet<u8>,
    claims: BTreeSet<DeviceId>,
    /// Highest retries in force so far, and recorded resends of each operation.
    most_retries: u16,
    resends: BTreeMap<OperationId, u16>,
    cancelled: BTreeSet<OperationId>,
}

impl World {
    fn new(max_pending: u32, max_failed: u8, retries: u16) -> Self {
        let now = Timestamp::from_millis(0);
        let created = Campaign::create(definition(max_pending, max_failed, retries), None, now);
        let id = CampaignId::from_uuid(Uuid::from_u128(1));
        let replica =
            Campaign::begin("realm".parse().unwrap(), id, &created.unwrap(), now).unwrap();
        let mut world = Self {
            now,
            live: LiveCampaign::new(replica.clone()),
            replica,
            waiting: Vec::new(),
            versions: [Some("1.0.0"); DEVICES as usize],
            online: [true; DEVICES as usize],
            gone: BTreeSet::new(),
            claims: BTreeSet::new(),
            most_retries: retries,
            resends: BTreeMap::new(),
            cancelled: BTreeSet::new(),
        };
        world.tell(&Input::Tick);
        world
    }

    /// Tells the campaign something, and checks every law that speaks of one step.
    fn tell(&mut self, input: &Input) {
        let mut twin = self.live.clone();
        let decided = self.live.handle(input.clone(), self.now);
        assert_eq!(twin.handle(input.clone(), self.now), decided, "E2");
        assert_eq!(twin, self.live, "E2");
        let Ok(decision) = decided else {
            assert_eq!(self.live.campaign(), &self.replica, "a refused input changes nothing");
            return;
        };
        for event in &decision.events {
            self.before(event, input);
            let counts = self.replica.counts();
            let settled: Vec<_> =
                self.replica.targets().filter(|target| target.status.is_final()).collect();
            self.replica.apply(event, self.now).expect("a decided event follows");
            self.after(event, counts, &settled);
        }
        assert_eq!(self.live.campaign(), &self.replica, "E1 after {input:?}");
        for claim in &decision.claims {
            match claim {
                ClaimChange::TakeDevice(device, _) => drop(self.claims.insert(*device)),
                ClaimChange::ReleaseDevice(device) => drop(self.claims.remove(device)),
                _ => {}
            }
        }
        let active: BTreeSet<_> = self.replica.active_operations().map(|(d, _)| d).collect();
        assert_eq!(
            self.claims, active,
            "a device is claimed exactly while its operation is active"
        );
        for effect in decision.effects {
            if let Effect::SendUpdate { operation, .. } = &effect {
                assert!(!self.cancelled.contains(operation), "D17: sent again after a Cancel");
            }
            self.waiting.push(effect);
        }
    }

    fn before(&mut self, event: &CampaignEvent, input: &Input) {
        let status = self.replica.status();
        match event {
            CampaignEvent::OperationStarted(e) => {
                assert_eq!(status, CampaignStatus::InProgress, "D16");
                let number = (0..DEVICES).find(|n| device(*n) == e.device).unwrap();
                assert!(self.online[usize::from(number)], "D4: it is online");
                let read = matches!(input, Input::BaseImageRead { purpose: ReadPurpose::Gate, .. });
                assert!(read, "D5: the gates were passed on a version just read");
            }
            CampaignEvent::OperationReadmitted(_) => {
                assert_eq!(status, CampaignStatus::InProgress, "D16");
            }
            CampaignEvent::RequestResent(e) => self.count_resend(e.device),
            CampaignEvent::ResendMissed(e) => self.count_resend(e.device),
            CampaignEvent::CampaignFinished(e) => {
                let (counts, exceeded) =
                    (self.replica.counts(), self.replica.failure_limit_is_exceeded());
                match e.outcome {
                    Outcome::Success => {
                        assert!(!exceeded && counts.idle == 0 && counts.in_progress == 0, "D13");
                    }
                    Outcome::Failure => assert!(exceeded, "D13"),
                    _ => {}
                }
                if e.stop_operations {
                    self.cancelled.extend(self.replica.active_operations().map(|(_, id)| id));
                }
            }
            _ => {}
        }
    }

    fn count_resend(&mut self, device: DeviceId) {
        let operation = self.replica.target(device).unwrap().operation.unwrap();
        let deadline = operation.deadline.expect("a request has a deadline");
        assert!(deadline <= self.now, "D8: not before its time");
        let resends = self.resends.entry(operation.id).or_default();
        *resends += 1;
        assert!(*resends <= self.most_retries, "D8: at most request_retries");
    }

    fn after(&mut self, event: &CampaignEvent, before: TargetCounts, settled: &[TargetView]) {
        let counts = self.replica.counts();
        let most = self.replica.limits().max_pending_operations.get();
        let within = counts.in_progress <= most || counts.in_progress <= before.in_progress;
        assert!(within, "D7: {} in progress, at most {most}", counts.in_progress);
        let sum = counts.idle + counts.in_progress + counts.successful + counts.failed;
        assert_eq!(sum + counts.cancelled, counts.total);
        let in_progress = self.replica.targets().filter(|t| t.status == TargetStatus::InProgress);
        assert_eq!(in_progress.count(), counts.in_progress as usize, "D7: the count is derived");
        for target in settled {
            assert_eq!(self.replica.target(target.device).as_ref(), Some(target), "{event:?}");
        }
        if self.replica.status().is_running() && self.replica.failure_limit_is_exceeded() {
            let follows = matches!(event, CampaignEvent::OperationStarted(_));
            assert!(!follows, "D13: no operation starts beyond the limit");
        }
    }

    fn answer(&mut self, effect: &Effect, how: u8) {
        let failed = || TransportError::new("down");
        match effect.clone() {
            Effect::TakeSnapshot { asked } => {
                if how == 0 {
                    return self.tell(&Input::SnapshotUnavailable { asked });
                }
                let there = |number: &u8| !self.gone.contains(number);
                let devices = (0..DEVICES).filter(there).map(device).collect();
                self.tell(&Input::SnapshotChunk { asked, devices });
                for number in 0..DEVICES {
                    self.tell_presence(number);
                }
                self.tell(&Input::SnapshotComplete { asked });
            }
            Effect::ReadBaseImage { device: of, purpose } => {
                let number = (0..DEVICES).find(|n| device(*n) == of).unwrap();
                let version = self.versions[usize::from(number)].map(str::to_owned);
                let answer = match how {
                    0 | 1 => BaseImageAnswer::Failed(failed()),
                    2 if purpose == ReadPurpose::Gate => BaseImageAnswer::Busy,
                    _ => BaseImageAnswer::Version(version),
                };
                self.tell(&Input::BaseImageRead { device: of, purpose, answer });
            }
            Effect::SendUpdate { device, operation, .. } => {
                let answer = request_answer(how);
                self.tell(&Input::RequestAnswered { device, operation, answer });
            }
            Effect::SendCancel { device, operation, .. } => {
                let answer = request_answer(how);
                self.tell(&Input::CancelAnswered { device, operation, answer });
            }
        }
    }

    fn tell_presence(&mut self, number: u8) {
        let presence = if self.online[usize::from(number)] {
            Presence::Online { since: self.now }
        } else {
            Presence::Offline
        };
        self.tell(&Input::Presence { device: device(number), presence });
    }

    fn pass(&mut self, until: Timestamp) {
        while let Some(at) = self.live.next_deadline().filter(|at| *at <= until) {
            let before = self.live.clone();
            self.now = self.now.max(at);
            self.tell(&Input::Tick);
            assert_ne!(
                before, self.live,
                "a tick that is due does something, or time stands still"
            );
        }
        self.now = until;
    }

    fn crash(&mut self) {
        self.waiting.clear();
        let mut restored: Campaign =
            serde_json::from_slice(&serde_json::to_vec(&self.replica).unwrap()).unwrap();
        assert!(restored.restore(), "a state snapshot reads back");
        assert_eq!(restored, self.replica);
        self.live = LiveCampaign::loaded(restored);
        if self.replica.started_at().is_none() {
            return self.tell(&Input::Recovered);
        }
        for number in 0..DEVICES {
            if self.gone.contains(&number) {
                self.tell(&Input::DeviceRemoved { device: device(number) });
            } else {
                self.tell_presence(number);
            }
        }
        self.tell(&Input::Recovered);
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Answer { which, how } => {
                if !self.waiting.is_empty() {
                    let effect = self.waiting.remove(usize::from(which) % self.waiting.len());
                    self.answer(&effect, how);
                }
            }
            Act::Report { device: number, former, status, busy, progress, stamp } => {
                self.report(number, former, status, busy, progress, stamp);
            }
            Act::Online { device: number, online } => {
                self.online[usize::from(number)] = online && !self.gone.contains(&number);
                self.tell_presence(number);
            }
            Act::Version { device: number, version } => {
                let versions = [Some("1.0.0"), Some("2.0.0"), Some("3.0.0"), Some("x"), None];
                self.versions[usize::from(number)] = versions[usize::from(version)];
                self.tell(&Input::BaseImageChanged { device: device(number) });
            }
            Act::Remove { device: number } => {
                if self.gone.len() < 2 {
                    self.gone.insert(number);
                    self.online[usize::from(number)] = false;
                    self.tell(&Input::DeviceRemoved { device: device(number) });
                }
            }
            Act::Freed { device: number } => {
                self.tell(&Input::DeviceFreed { device: device(number) });
            }
            Act::Pass { seconds } => self.pass(self.now + Duration::from_secs(seconds.into())),
            Act::Command { which, number } => self.command(which, number),
            Act::Crash => self.crash(),
        }
    }

    fn report(
        &mut self,
        number: u8,
        former: bool,
        status: u8,
        busy: bool,
        progress: u8,
        stamp: Option<i8>,
    ) {
        let of = device(number);
        let newest = self.replica.target(of).and_then(|target| target.operation);
        let id = newest.filter(|_| !former).map(|operation| operation.id);
        let id = id.unwrap_or_else(|| OperationId::of_campaign(self.replica.id(), of, 0));
        let all = [
            "Acknowledged",
            "Downloading",
            "Deploying",
            "Deployed",
            "Rebooting",
            "Error",
            "Success",
            "Failure",
        ];
        let status = ReportStatus::from_wire(all[usize::from(status)]).unwrap();
        let code = busy.then_some(StatusCode::UpdateAlreadyInProgress);
        let code = code.filter(|_| status == ReportStatus::Failure);
        let observed_at =
            stamp.map(|s| Timestamp::from_millis(self.now.as_millis() + i64::from(s) * 1_000));
        let report =
            OperationReport { progress, code, observed_at, ..OperationReport::new(of, id, status) };
        self.tell(&Input::Report(report));
    }

    fn command(&mut self, which: u8, number: u8) {
        let limits = match which {
            0 => return self.tell(&Input::Command(Command::Pause)),
            1 | 2 => return self.tell(&Input::Command(Command::Resume)),
            3 if number == 0 => {
                let running = RunningOperations::Stop;
                return self.tell(&Input::Command(Command::Cancel { running }));
            }
            3 if number == 1 => return self.tell(&Input::Command(Command::Supersede)),
            4 => LimitsEdit {
                max_pending_operations: NonZeroU32::new(number.into()),
                ..LimitsEdit::default()
            },
            5 => LimitsEdit { request_retries: Some(number.into()), ..LimitsEdit::default() },
            6 => LimitsEdit {
                max_failure_percentage: Some((number * 20).to_string().parse().unwrap()),
                ..LimitsEdit::default()
            },
            _ => return self.tell(&Input::Command(Command::Delete)),
        };
        self.most_retries = self.most_retries.max(limits.request_retries.unwrap_or(0));
        let edit = CampaignEdit { limits, ..CampaignEdit::default() };
        self.tell(&Input::Command(Command::Edit(Box::new(edit))));
    }

    /// Faults stop, devices are online and do what they are asked: the campaign must end.
    fn calm(&mut self) {
        for number in 0..DEVICES {
            if !self.gone.contains(&number) {
                self.online[usize::from(number)] = true;
                self.tell_presence(number);
            }
            self.tell(&Input::DeviceFreed { device: device(number) });
        }
        self.tell(&Input::Command(Command::Resume));
        for _ in 0..400 {
            if self.replica.is_settled() {
                return;
            }
            while !self.waiting.is_empty() {
                let effect = self.waiting.remove(0);
                let sent = matches!(effect, Effect::SendUpdate { .. }).then(|| effect.clone());
                self.answer(&effect, 9);
                if let Some(Effect::SendUpdate { device, operation, .. }) = sent {
                    let status = ReportStatus::Success;
                    self.tell(&Input::Report(OperationReport::new(device, operation, status)));
                }
            }
            if let Some(next) = self.live.next_deadline() {
                self.pass(next.max(self.now));
            }
        }
        panic!("it does not end: {:?} {:?}", self.replica.status(), self.replica.counts());
    }
}

fn request_answer(how: u8) -> RequestAnswer {
    match how {
        0 | 1 => RequestAnswer::Temporary(TransportError::new("HTTP 503")),
        2 => RequestAnswer::Permanent(TransportError::new("HTTP 404")),
        _ => RequestAnswer::Accepted,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold_and_in_calm_the_campaign_ends(
        max_pending in 1_u32..=3,
        max_failed in prop::sample::select(vec![0_u8, 20, 50, 100]),
        retries in 0_u16..=3,
        acts in prop::collection::vec(act(), 0..80),
    ) {
        let mut world = World::new(max_pending, max_failed, retries);
        for act in &acts {
            world.act(act);
        }
        world.calm();
    }
}
