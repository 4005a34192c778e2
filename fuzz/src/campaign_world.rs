//! A campaign of a few devices with everything around it, told whatever a fuzzer thinks of: wanted
//! answers, and things told out of turn that no sound engine would say. After every input the
//! counts add up, the limit of pending operations holds (D7), and the recorded events fold to the
//! live state (E1).

use std::num::NonZeroU32;
use std::time::Duration;

use arbitrary::Arbitrary;
use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{
    BaseImage, BaseImageAnswer, Campaign, CampaignDefinition, CampaignEdit, CampaignId, Channel,
    Command, DeviceFact, DeviceId, Effect, GatePolicy, Input, LimitsEdit, LiveCampaign,
    OperationId, OperationReport, Percentage, Presence, PushRollout, Question, ReadPurpose,
    ReportStatus, RequestAnswer, RolloutLimits, RolloutMechanism, RunningOperations, StatusCode,
    TargetCounts, Timestamp, TransportError, Version, WhenRunning,
};
use uuid::Uuid;

/// The campaign's id.
pub const CAMPAIGN: CampaignId = CampaignId::from_uuid(Uuid::from_u128(1));
/// How many targets there are.
pub const DEVICES: u8 = 4;
const STATUSES: [ReportStatus; 8] = [
    ReportStatus::Acknowledged,
    ReportStatus::Downloading,
    ReportStatus::Deploying,
    ReportStatus::Deployed,
    ReportStatus::Rebooting,
    ReportStatus::Error,
    ReportStatus::Success,
    ReportStatus::Failure,
];
const VERSIONS: [Option<&str>; 5] = [Some("1.0.0"), Some("2.0.0"), Some("3.0.0"), Some("x"), None];

/// A campaign and what happens to it.
#[derive(Arbitrary, Debug)]
pub struct Plan {
    max_pending: u8,
    max_failed: u8,
    retries: u8,
    scheduled_at: Option<u8>,
    acts: Vec<(u16, Act)>,
}

impl Plan {
    /// Creates the campaign and does what the plan says.
    pub fn run(self) {
        let log = Vec::new();
        self.run_after(&log);
    }

    /// Does what the plan says to a campaign with this log behind it. Events that cannot follow are
    /// left out of the log.
    pub fn run_after(self, log: &[(Duration, CampaignEvent)]) {
        let Some(mut world) = World::new(&self) else { return };
        for (later, event) in log {
            world.now = world.now + *later;
            world.remember(event);
        }
        if !log.is_empty() {
            world.load();
            world.tell_all_online();
            world.tell(Input::Recovered);
        }
        for (seconds, act) in self.acts {
            world.now = world.now + Duration::from_secs(seconds.into());
            world.act(act);
        }
        world.load();
    }
}

/// What happens next. Numbers are taken modulo what there is.
#[derive(Arbitrary, Debug)]
pub enum Act {
    /// Answers an effect that waits, well or badly.
    Answer {
        which: u8,
        how: Answer,
    },
    Pause,
    Resume,
    Cancel {
        stop: bool,
    },
    Supersede,
    Delete,
    Edit {
        pending: Option<u8>,
        failed: Option<u8>,
        retries: Option<u16>,
        timeout: Option<u32>,
        scheduled_at: Option<Schedule>,
    },
    Snapshot {
        question: u8,
        part: SnapshotPart,
    },
    Presence {
        device: u8,
        since: Option<i64>,
    },
    BaseImageChanged {
        device: u8,
    },
    DeviceRemoved {
        device: u8,
    },
    DeviceFreed {
        device: u8,
    },
    Report {
        device: u8,
        attempt: Option<u8>,
        status: u8,
        progress: u8,
        code: String,
        observed_at: Option<i64>,
    },
    BaseImageRead {
        device: u8,
        purpose: u8,
        question: u8,
        answer: Answer,
    },
    RequestAnswered {
        device: u8,
        question: u8,
        answer: Answer,
    },
    CancelAnswered {
        device: u8,
        question: u8,
        answer: Answer,
    },
    Recovered,
    Tick,
    /// The time of the next deadline comes.
    Due,
    /// The engine stops; the campaign is folded again, and told who is online if all goes well.
    Load {
        recovers: bool,
    },
}

/// When a scheduled campaign starts.
#[derive(Arbitrary, Debug)]
pub enum Schedule {
    AtOnce,
    At(i64),
}

/// Part of the answer to a request for the snapshot.
#[derive(Arbitrary, Debug)]
pub enum SnapshotPart {
    Chunk(Vec<u8>),
    Complete,
    Unavailable,
}

/// How a call ends.
#[derive(Arbitrary, Debug)]
pub enum Answer {
    Good { version: u8 },
    Busy,
    Temporary,
    Permanent,
}

impl Answer {
    fn of_read(&self) -> BaseImageAnswer {
        match self {
            Self::Good { version } => {
                let version = VERSIONS[usize::from(*version) % VERSIONS.len()];
                BaseImageAnswer::Version(version.map(str::to_owned))
            }
            Self::Busy => BaseImageAnswer::Held(DeviceFact::Busy),
            Self::Temporary | Self::Permanent => BaseImageAnswer::Failed(failed()),
        }
    }

    fn of_request(&self) -> RequestAnswer {
        match self {
            Self::Good { .. } | Self::Busy => RequestAnswer::Accepted,
            Self::Temporary => RequestAnswer::Temporary(failed()),
            Self::Permanent => RequestAnswer::Permanent(failed()),
        }
    }
}

fn failed() -> TransportError {
    TransportError::new("down")
}

/// One number more than there are targets: a device that is none.
#[must_use]
pub fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number % (DEVICES + 1) + 1; 16])
}

struct World {
    now: Timestamp,
    live: LiveCampaign,
    /// The fold of what was recorded, beside the live state.
    replica: Campaign,
    created: (CampaignEvent, Timestamp),
    log: Vec<(CampaignEvent, Timestamp)>,
    waiting: Vec<Effect>,
}

impl World {
    fn new(plan: &Plan) -> Option<Self> {
        let now = Timestamp::from_millis(0);
        let scheduled_at =
            plan.scheduled_at.map(|seconds| now + Duration::from_secs(seconds.into()));
        let created = Campaign::create(definition(plan)?, scheduled_at, now).ok()?;
        let replica = fold(&created, now, &[])?;
        let live = LiveCampaign::new(replica.clone());
        let (log, waiting) = (Vec::new(), Vec::new());
        let mut world = Self { now, live, replica, created: (created, now), log, waiting };
        world.tell(Input::Tick);
        Some(world)
    }

    /// Adds an event to the log if it can follow.
    fn remember(&mut self, event: &CampaignEvent) {
        let mut next = self.replica.clone();
        if next.apply(event, self.now).is_ok() {
            self.replica = next;
            self.log.push((event.clone(), self.now));
        }
    }

    fn tell(&mut self, input: Input) {
        let told = format!("{input:?}");
        if let Ok(decision) = self.live.handle(input, self.now) {
            for event in decision.events {
                let before = self.replica.counts();
                let applied = self.replica.apply(&event, self.now);
                assert_eq!(applied, Ok(()), "a decided event follows: {event:?} after {told}");
                self.check(before);
                self.log.push((event, self.now));
            }
            self.waiting.extend(decision.effects);
        }
        assert_eq!(self.live.campaign(), &self.replica, "E1 after {told}");
    }

    fn check(&self, before: TargetCounts) {
        let counts = self.replica.counts();
        let sum =
            counts.idle + counts.in_progress + counts.successful + counts.failed + counts.cancelled;
        assert_eq!(sum, counts.total, "the counts add up");
        // A limit that is lowered stops nothing that runs already (D19).
        let most = self.replica.limits().max_pending_operations.get();
        assert!(counts.in_progress <= most || counts.in_progress <= before.in_progress, "D7");
    }

    fn answer(&mut self, which: u8, how: &Answer) {
        if self.waiting.is_empty() {
            return;
        }
        let effect = self.waiting.remove(usize::from(which) % self.waiting.len());
        let input = match effect {
            Effect::TakeSnapshot { question } => {
                let devices = (0..DEVICES).map(device).collect();
                self.tell(Input::SnapshotChunk { question, devices });
                self.tell_all_online();
                Input::SnapshotComplete { question }
            }
            Effect::ReadBaseImage { device, purpose, question } => {
                Input::BaseImageRead { device, purpose, question, answer: how.of_read() }
            }
            Effect::PrepareStart { device, question, .. } => {
                let (purpose, answer) = (ReadPurpose::Gate, how.of_read());
                Input::BaseImageRead { device, purpose, question, answer }
            }
            Effect::SendUpdate { device, operation, question, .. } => {
                Input::RequestAnswered { device, operation, question, answer: how.of_request() }
            }
            Effect::SendCancel { device, operation, question, .. } => {
                Input::CancelAnswered { device, operation, question, answer: how.of_request() }
            }
        };
        self.tell(input);
    }

    fn tell_all_online(&mut self) {
        for number in 0..DEVICES {
            let presence = Presence::Online { since: self.now };
            self.tell(Input::Presence { device: device(number), presence });
        }
    }

    /// The operation of a device: an older or later one if an attempt is named.
    fn operation(&self, device: DeviceId, attempt: Option<u8>) -> OperationId {
        let active = self.replica.target(device).and_then(|target| target.operation);
        match (active, attempt) {
            (Some(operation), None) => operation.id,
            (_, attempt) => {
                OperationId::of_campaign(self.replica.id(), device, attempt.unwrap_or(0).into())
            }
        }
    }

    fn load(&mut self) {
        self.waiting.clear();
        let campaign = fold(&self.created.0, self.created.1, &self.log);
        assert_eq!(campaign.as_ref(), Some(&self.replica), "E1");
        self.live = LiveCampaign::loaded(self.replica.clone());
    }

    #[expect(clippy::too_many_lines, reason = "a table: one arm for each act")]
    fn act(&mut self, act: Act) {
        let input = match act {
            Act::Answer { which, how } => return self.answer(which, &how),
            Act::Load { recovers } => {
                self.load();
                if !recovers {
                    return;
                }
                self.tell_all_online();
                Input::Recovered
            }
            Act::Due => {
                self.now = self.live.next_deadline().unwrap_or(self.now).max(self.now);
                Input::Tick
            }
            Act::Pause => Input::Command(Command::Pause),
            Act::Resume => Input::Command(Command::Resume),
            Act::Cancel { stop } => {
                let running =
                    if stop { RunningOperations::Stop } else { RunningOperations::Finish };
                Input::Command(Command::Cancel { running })
            }
            Act::Supersede => Input::Command(Command::Supersede),
            Act::Delete => Input::Command(Command::Delete),
            Act::Edit { pending, failed, retries, timeout, scheduled_at } => {
                let limits = LimitsEdit {
                    max_pending_operations: pending.and_then(|n| NonZeroU32::new(n.into())),
                    max_failure_percentage: failed.and_then(percentage),
                    request_retries: retries,
                    request_timeout: timeout.map(|n| Duration::from_secs(n.into())),
                    ..LimitsEdit::default()
                };
                let scheduled_at = scheduled_at.map(|schedule| match schedule {
                    Schedule::AtOnce => None,
                    Schedule::At(millis) => Some(Timestamp::from_millis(millis)),
                });
                let edit = CampaignEdit { scheduled_at, limits, ..CampaignEdit::default() };
                Input::Command(Command::Edit(Box::new(edit)))
            }
            Act::Snapshot { question, part } => {
                let question = Question::numbered(question.into());
                match part {
                    SnapshotPart::Chunk(numbers) => {
                        let devices = numbers.into_iter().map(device).collect();
                        Input::SnapshotChunk { question, devices }
                    }
                    SnapshotPart::Complete => Input::SnapshotComplete { question },
                    SnapshotPart::Unavailable => Input::SnapshotUnavailable { question },
                }
            }
            Act::Presence { device: number, since } => {
                let presence = match since {
                    Some(since) => Presence::Online { since: Timestamp::from_millis(since) },
                    None => Presence::Offline,
                };
                Input::Presence { device: device(number), presence }
            }
            Act::BaseImageChanged { device: number } => {
                Input::BaseImageChanged { device: device(number) }
            }
            Act::DeviceRemoved { device: number } => {
                Input::DeviceRemoved { device: device(number) }
            }
            Act::DeviceFreed { device: number } => {
                Input::DeviceFact { device: device(number), fact: DeviceFact::Free }
            }
            Act::Report { device: number, attempt, status, progress, code, observed_at } => {
                let device = device(number);
                let operation = self.operation(device, attempt);
                let status = STATUSES[usize::from(status) % STATUSES.len()];
                // Half of all failures say that the device is busy: a rule of its own (D14).
                let code = if progress % 2 == 0 { "UpdateAlreadyInProgress" } else { &code };
                Input::Report(OperationReport {
                    progress,
                    code: StatusCode::from_wire(code),
                    observed_at: observed_at.map(Timestamp::from_millis),
                    ..OperationReport::new(device, operation, status)
                })
            }
            Act::BaseImageRead { device: number, purpose, question, answer } => {
                let question = Question::numbered(question.into());
                let purposes = [
                    ReadPurpose::Gate,
                    ReadPurpose::Deadline,
                    ReadPurpose::Settled,
                    ReadPurpose::RebootTimeout,
                    ReadPurpose::Forgotten,
                    ReadPurpose::Contradiction,
                ];
                let purpose = purposes[usize::from(purpose) % purposes.len()];
                let (device, answer) = (device(number), answer.of_read());
                Input::BaseImageRead { device, purpose, question, answer }
            }
            Act::RequestAnswered { device: number, question, answer } => {
                let (device, answer) = (device(number), answer.of_request());
                let operation = self.operation(device, None);
                let question = Question::numbered(question.into());
                Input::RequestAnswered { device, operation, question, answer }
            }
            Act::CancelAnswered { device: number, question, answer } => {
                let (device, answer) = (device(number), answer.of_request());
                let operation = self.operation(device, None);
                let question = Question::numbered(question.into());
                Input::CancelAnswered { device, operation, question, answer }
            }
            Act::Recovered => Input::Recovered,
            Act::Tick => Input::Tick,
        };
        self.tell(input);
    }
}

fn fold(
    created: &CampaignEvent,
    at: Timestamp,
    log: &[(CampaignEvent, Timestamp)],
) -> Option<Campaign> {
    let mut campaign = Campaign::begin("realm".parse().ok()?, CAMPAIGN, created, at).ok()?;
    for (event, at) in log {
        campaign.apply(event, *at).ok()?;
    }
    Some(campaign)
}

/// A percentage from 0 to 100.
#[must_use]
pub fn percentage(number: u8) -> Option<Percentage> {
    (number % 101).to_string().parse().ok()
}

fn definition(plan: &Plan) -> Option<CampaignDefinition> {
    let max_pending = NonZeroU32::new(u32::from(plan.max_pending % DEVICES) + 1)?;
    let mut limits = RolloutLimits::new(max_pending, percentage(plan.max_failed)?);
    limits.operation.request_retries = u16::from(plan.retries % 4);
    Some(CampaignDefinition {
        name: "fuzz".parse().ok()?,
        base_image: BaseImage {
            system_model: "model".parse().ok()?,
            version: Version::new(2, 0, 0),
            url: "https://images.example/2".parse().ok()?,
            starting_version_requirement: None,
        },
        channel: Channel::new("channel".parse().ok()?, ["group".parse().ok()?]).ok()?,
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    })
}
