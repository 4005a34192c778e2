//! One campaign that all benchmarks share: every device is online for a while, takes its request,
//! reports that it downloads, then success, and goes offline; another one comes online in its
//! place. So each target takes the same six inputs, however many devices are online at once.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{
    BaseImage, BaseImageAnswer, Campaign, CampaignDefinition, CampaignId, Channel, DeviceId,
    Effect, GatePolicy, Input, LiveCampaign, OperationId, OperationReport, Presence, PushRollout,
    Question, ReadPurpose, ReportStatus, RequestAnswer, RolloutLimits, RolloutMechanism, Timestamp,
    Version, WhenRunning,
};
use uuid::Uuid;

/// How many operations are in progress at once at most, if nothing else is said.
pub const MAX_PENDING: u32 = 1_000;
/// All happens within less than one request time-out: no deadline passes.
pub const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// The devices of one part of the snapshot.
const CHUNK: u32 = 1_000;

/// One input, in little space: a script of millions of them lies ready in memory.
#[derive(Clone, Copy)]
enum Step {
    Tick,
    Chunk(u32),
    SnapshotComplete,
    Online(u32),
    Offline(u32),
    VersionRead(u32, Question),
    Accepted(u32, Question),
    Reported(u32, ReportStatus),
}

/// A campaign from its first event to its last.
pub struct Script {
    /// The event that begins it.
    pub created: CampaignEvent,
    id: CampaignId,
    /// The number of its first device.
    first: u32,
    targets: u32,
    steps: Vec<Step>,
}

impl Script {
    /// The script of a campaign with so many targets, of which at most `online` are online at once
    /// and at most `max_pending` in progress.
    ///
    /// # Panics
    /// If the campaign does not come to its end: a figure would be one of something else.
    #[must_use]
    pub fn new(targets: u32, online: u32, max_pending: u32) -> Self {
        Self::of(campaign_id(), 0, targets, online, max_pending)
    }

    /// As [`Script::new`], of a campaign with that id, whose devices are numbered from `first` on.
    ///
    /// # Panics
    /// As [`Script::new`].
    #[must_use]
    pub fn of(id: CampaignId, first: u32, targets: u32, online: u32, max_pending: u32) -> Self {
        let max_pending = NonZeroU32::new(max_pending).expect("not zero");
        let definition = definition(max_pending, "5");
        let created = Campaign::create(definition, None, NOW).expect("the limits are valid");
        let mut script = Self { created, id, first, targets, steps: Vec::new() };
        let mut live = script.live();
        let numbers = (0..targets).map(|number| (script.device(number), number)).collect();
        let mut fleet = Fleet { targets, online, connected: 0, numbers, waiting: VecDeque::new() };
        fleet.waiting.push_back(Step::Tick);
        while let Some(step) = fleet.waiting.pop_front() {
            script.steps.push(step);
            let decision = live.handle(script.input(step), NOW).expect("nothing is refused");
            decision.effects.iter().for_each(|effect| fleet.answer(effect));
            if let Step::Offline(_) = step {
                fleet.connect_another();
            }
        }
        assert_eq!(live.campaign().counts().successful, targets);
        assert!(live.campaign().is_settled());
        script
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> CampaignId {
        self.id
    }

    fn device(&self, number: u32) -> DeviceId {
        device(self.first + number)
    }

    fn operation(&self, number: u32) -> (DeviceId, OperationId) {
        let device = self.device(number);
        (device, OperationId::of_campaign(self.id, device, 0))
    }

    /// How many inputs it has.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.steps.len()
    }

    /// Its inputs in order, `at_once` of them at a time.
    pub fn batches(&self, at_once: usize) -> impl Iterator<Item = Vec<Input>> + '_ {
        self.steps.chunks(at_once).map(|steps| steps.iter().map(|s| self.input(*s)).collect())
    }

    /// What the campaign records after `created`.
    ///
    /// # Panics
    /// Never: nothing of it is refused.
    #[must_use]
    pub fn events(&self) -> Vec<CampaignEvent> {
        let mut live = self.live();
        let handle = |step: &Step| live.handle(self.input(*step), NOW).expect("not refused").events;
        self.steps.iter().flat_map(handle).collect()
    }

    /// The campaign just after `created`.
    ///
    /// # Panics
    /// Never: `created` begins a campaign.
    #[must_use]
    pub fn live(&self) -> LiveCampaign {
        LiveCampaign::new(self.begin())
    }

    /// The state just after `created`.
    ///
    /// # Panics
    /// Never: `created` begins a campaign.
    #[must_use]
    pub fn begin(&self) -> Campaign {
        let tenant = "realm".parse().expect("a tenant");
        Campaign::begin(tenant, self.id, &self.created, NOW).expect("it begins a campaign")
    }

    fn input(&self, step: Step) -> Input {
        match step {
            Step::Tick => Input::Tick,
            Step::Chunk(first) => {
                let last = self.targets.min(first + CHUNK);
                Input::SnapshotChunk {
                    question: Question::numbered(1),
                    devices: (first..last).map(|number| self.device(number)).collect(),
                }
            }
            Step::SnapshotComplete => Input::SnapshotComplete { question: Question::numbered(1) },
            Step::Online(number) => {
                let presence = Presence::Online { since: NOW };
                Input::Presence { device: self.device(number), presence }
            }
            Step::Offline(number) => {
                Input::Presence { device: self.device(number), presence: Presence::Offline }
            }
            Step::VersionRead(number, question) => Input::BaseImageRead {
                device: self.device(number),
                purpose: ReadPurpose::Gate,
                question,
                answer: BaseImageAnswer::Version(Some("1.0.0".to_owned())),
            },
            Step::Accepted(number, question) => {
                let (device, operation) = self.operation(number);
                let answer = RequestAnswer::Accepted;
                Input::RequestAnswered { device, operation, question, answer }
            }
            Step::Reported(number, status) => {
                let (device, operation) = self.operation(number);
                Input::Report(OperationReport::new(device, operation, status))
            }
        }
    }
}

/// The devices of a script, and what they are about to tell.
struct Fleet {
    targets: u32,
    online: u32,
    connected: u32,
    numbers: HashMap<DeviceId, u32>,
    waiting: VecDeque<Step>,
}

impl Fleet {
    fn answer(&mut self, effect: &Effect) {
        match effect {
            Effect::TakeSnapshot { .. } => {
                let firsts = (0..self.targets).step_by(CHUNK as usize);
                self.waiting.extend(firsts.map(Step::Chunk));
                for _ in 0..self.online {
                    self.connect_another();
                }
                self.waiting.push_back(Step::SnapshotComplete);
            }
            Effect::ReadBaseImage { device, question, .. } => {
                self.waiting.push_back(Step::VersionRead(self.numbers[device], *question));
            }
            Effect::SendUpdate { device, question, .. } => {
                let number = self.numbers[device];
                self.waiting.extend([
                    Step::Accepted(number, *question),
                    Step::Reported(number, ReportStatus::Downloading),
                    Step::Reported(number, ReportStatus::Success),
                    Step::Offline(number),
                ]);
            }
            Effect::SendCancel { .. } | Effect::PrepareStart { .. } => {}
        }
    }

    /// Devices come online in an order that is not the snapshot's.
    fn connect_another(&mut self) {
        if self.connected < self.targets {
            // A prime: it has no factor in common with a number of targets, so each comes once.
            let place = u64::from(self.connected) * 2_654_435_761 % u64::from(self.targets);
            self.waiting.push_back(Step::Online(u32::try_from(place).unwrap_or(u32::MAX)));
            self.connected += 1;
        }
    }
}

/// The campaign's id.
#[must_use]
pub fn campaign_id() -> CampaignId {
    CampaignId::from_uuid(Uuid::from_u128(1))
}

/// The device with this number, somewhere among all that there can be.
#[must_use]
pub fn device(number: u32) -> DeviceId {
    let spread = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    DeviceId::from_bytes(spread.to_be_bytes())
}

/// The campaign that all benchmarks run.
///
/// # Panics
/// If `max_failed` is no percentage.
#[must_use]
pub fn definition(max_pending: NonZeroU32, max_failed: &str) -> CampaignDefinition {
    let limits = RolloutLimits::new(max_pending, max_failed.parse().expect("a percentage"));
    CampaignDefinition {
        name: "benchmark".parse().expect("a name"),
        base_image: BaseImage {
            system_model: "model".parse().expect("a handle"),
            version: Version::new(2, 0, 0),
            url: "https://images.example/2.0.0.bin".parse().expect("a URL"),
            starting_version_requirement: None,
        },
        channel: Channel::new(
            "stable".parse().expect("a name"),
            ["gardens".parse().expect("a name")],
        )
        .expect("a channel"),
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    }
}
