//! The campaign whose instructions are counted: of its targets, most update without trouble, and
//! each of the others goes another way, so that a change anywhere on these ways is seen.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{
    BaseImage, BaseImageAnswer, Campaign, CampaignDefinition, CampaignId, Channel, DeviceId,
    Effect, GatePolicy, Input, LiveCampaign, NewEvent, OperationReport, Presence, PushRollout,
    ReportStatus, RequestAnswer, RolloutLimits, RolloutMechanism, StatusCode, StoredEvent,
    Timestamp, TransportError, Version, WhenRunning,
};
use uuid::Uuid;

const BEGIN: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const SNAPSHOT_CHUNK: usize = 500;

/// What a device does, by its place among ten.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    /// It downloads in steps, reboots and succeeds.
    Updates,
    /// It runs the image already: its gate ends the matter.
    UpToDate,
    /// It reports an error, then that it failed.
    Fails,
    /// It answers nothing: its request is sent again, and times out.
    Silent,
    /// Its request is refused for now, once.
    RefusedOnce,
}

impl Behaviour {
    fn of(device: usize) -> Self {
        match device % 10 {
            1 => Self::UpToDate,
            3 => Self::Fails,
            5 => Self::Silent,
            7 => Self::RefusedOnce,
            _ => Self::Updates,
        }
    }
}

/// A campaign from its first event to its last.
pub struct Script {
    created: CampaignEvent,
    /// What it is told, in order, and when.
    pub inputs: Vec<(Input, Timestamp)>,
    /// What it records after its first event, and when.
    pub events: Vec<(CampaignEvent, Timestamp)>,
}

impl Script {
    /// The script of a campaign with so many targets.
    ///
    /// # Panics
    /// If the campaign does not come to its end: another one would be counted.
    #[must_use]
    pub fn new(targets: usize) -> Self {
        let created = Campaign::create(definition(), None, BEGIN).expect("the limits are valid");
        let mut script = Self { created, inputs: Vec::new(), events: Vec::new() };
        let mut live = script.live();
        let mut fleet = Fleet::new(targets);
        let mut now = BEGIN;
        while !live.campaign().is_settled() {
            let input = fleet.waiting.pop_front().unwrap_or_else(|| {
                now = live.next_deadline().map_or(now, |deadline| deadline.max(now));
                Input::Tick
            });
            script.inputs.push((input.clone(), now));
            let decision = live.handle(input, now).expect("nothing is refused");
            script.events.extend(decision.events.into_iter().map(|event| (event, now)));
            decision.effects.iter().for_each(|effect| fleet.answer(effect, now));
        }
        let counts = live.campaign().counts();
        assert_eq!(counts.successful + counts.failed, counts.total);
        assert_eq!(counts.failed * 10, counts.total * 2, "one of ten fails, one is silent");
        script
    }

    /// The campaign at work, just after its first event.
    #[must_use]
    pub fn live(&self) -> LiveCampaign {
        LiveCampaign::new(self.begin())
    }

    /// The state just after the first event.
    ///
    /// # Panics
    /// Never: `created` begins a campaign.
    #[must_use]
    pub fn begin(&self) -> Campaign {
        let tenant = "realm".parse().expect("a tenant");
        let id = CampaignId::from_uuid(Uuid::from_u128(1));
        Campaign::begin(tenant, id, &self.created, BEGIN).expect("it begins a campaign")
    }

    /// The events as a store keeps them.
    #[must_use]
    pub fn stored(&self) -> Vec<StoredEvent> {
        let campaign = self.begin();
        let place = |version, event| StoredEvent {
            tenant: campaign.tenant().clone(),
            stream: campaign.stream(),
            version,
            position: version,
            checksum: None,
            event,
        };
        (2..).zip(&self.events).map(|(at, (event, when))| place(at, encode(event, *when))).collect()
    }
}

/// An event as it is handed to a store.
#[must_use]
pub fn encode(event: &CampaignEvent, recorded_at: Timestamp) -> NewEvent {
    NewEvent {
        event_type: event.event_type().to_owned(),
        schema_version: event.schema_version(),
        recorded_at,
        correlation_id: Uuid::nil(),
        causation_id: Uuid::nil(),
        data: event.to_json(),
    }
}

struct Fleet {
    devices: Vec<DeviceId>,
    /// Which of them were refused already.
    refused: Vec<bool>,
    waiting: VecDeque<Input>,
}

impl Fleet {
    fn new(targets: usize) -> Self {
        Self {
            devices: (0..targets).map(device).collect(),
            refused: vec![false; targets],
            waiting: VecDeque::from([Input::Tick]),
        }
    }

    fn number(&self, device: DeviceId) -> usize {
        let is_it = |other: &DeviceId| *other == device;
        self.devices.iter().position(is_it).expect("an effect is for a device of the fleet")
    }

    fn answer(&mut self, effect: &Effect, now: Timestamp) {
        match effect {
            Effect::TakeSnapshot { question } => {
                for chunk in self.devices.chunks(SNAPSHOT_CHUNK) {
                    let devices = chunk.to_vec();
                    self.waiting.push_back(Input::SnapshotChunk { question: *question, devices });
                }
                let presence = Presence::Online { since: now };
                let online = |device: &DeviceId| Input::Presence { device: *device, presence };
                self.waiting.extend(self.devices.iter().map(online));
                self.waiting.push_back(Input::SnapshotComplete { question: *question });
            }
            Effect::ReadBaseImage { device, purpose, question } => {
                let (device, purpose, question) = (*device, *purpose, *question);
                let runs_it = Behaviour::of(self.number(device)) == Behaviour::UpToDate;
                let version = if runs_it { "2.0.0" } else { "1.4.2" };
                let answer = BaseImageAnswer::Version(Some(version.to_owned()));
                self.waiting.push_back(Input::BaseImageRead { device, purpose, question, answer });
            }
            Effect::SendUpdate { device, operation, question, .. } => {
                let (device, operation, question) = (*device, *operation, *question);
                let number = self.number(device);
                let behaviour = Behaviour::of(number);
                let refuses = behaviour == Behaviour::RefusedOnce && !self.refused[number];
                let answer = if refuses {
                    self.refused[number] = true;
                    RequestAnswer::Temporary(TransportError::new("the broker is busy"))
                } else {
                    RequestAnswer::Accepted
                };
                let answered = Input::RequestAnswered { device, operation, question, answer };
                self.waiting.push_back(answered);
                if !refuses {
                    let report = |status| OperationReport::new(device, operation, status);
                    self.waiting.extend(reports(behaviour, report).into_iter().map(Input::Report));
                }
            }
            Effect::SendCancel { .. } | Effect::PrepareStart { .. } => {}
        }
    }
}

fn reports(
    behaviour: Behaviour,
    report: impl Fn(ReportStatus) -> OperationReport,
) -> Vec<OperationReport> {
    let failure = |status| OperationReport { code: Some(StatusCode::IoError), ..report(status) };
    match behaviour {
        Behaviour::UpToDate | Behaviour::Silent => Vec::new(),
        Behaviour::Fails => vec![
            report(ReportStatus::Acknowledged),
            failure(ReportStatus::Error),
            failure(ReportStatus::Failure),
        ],
        Behaviour::Updates | Behaviour::RefusedOnce => vec![
            report(ReportStatus::Acknowledged),
            report(ReportStatus::Downloading),
            OperationReport { progress: 50, ..report(ReportStatus::Downloading) },
            OperationReport { progress: 100, ..report(ReportStatus::Downloading) },
            report(ReportStatus::Deploying),
            report(ReportStatus::Deployed),
            report(ReportStatus::Rebooting),
            report(ReportStatus::Success),
        ],
    }
}

fn device(number: usize) -> DeviceId {
    // Spread over all ids there can be, as real ones are.
    let spread = (number as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    DeviceId::from_bytes(spread.to_be_bytes())
}

fn definition() -> CampaignDefinition {
    let max_pending = NonZeroU32::new(100).expect("not zero");
    let limits = RolloutLimits::new(max_pending, "100".parse().expect("a percentage"));
    CampaignDefinition {
        name: "counted".parse().expect("a name"),
        base_image: BaseImage {
            system_model: "model".parse().expect("a handle"),
            version: Version::new(2, 0, 0),
            url: "https://images.example/2.0.0.bin".parse().expect("a URL"),
            starting_version_requirement: Some(">= 1.2.0".parse().expect("a requirement")),
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
