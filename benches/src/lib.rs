//! One campaign that all benchmarks share: every device is online, takes its request, reports
//! twice and succeeds.

mod by_hand;

use std::collections::VecDeque;
use std::num::NonZeroU32;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{
    BaseImage, BaseImageAnswer, Campaign, CampaignDefinition, CampaignId, Channel, DeviceId,
    Effect, GatePolicy, Input, LiveCampaign, OperationReport, Presence, PushRollout, ReportStatus,
    RequestAnswer, RolloutLimits, RolloutMechanism, Timestamp, Version, WhenRunning,
};
use uuid::Uuid;

pub use by_hand::ByHand;

/// How many operations may be in progress at once.
pub const MAX_PENDING: u32 = 1_000;
/// All happens within less than one request time-out: no deadline passes.
pub const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A campaign from its first event to its last.
pub struct Script {
    /// The event that begins it.
    pub created: CampaignEvent,
    /// What it is told, in order.
    pub inputs: Vec<Input>,
    /// What it records after `created`.
    pub events: Vec<CampaignEvent>,
}

impl Script {
    /// The script of a campaign with so many targets.
    ///
    /// # Panics
    /// If the campaign does not come to its end: a figure would be one of something else.
    #[must_use]
    pub fn new(targets: u32) -> Self {
        let created = Campaign::create(definition(), None, NOW).expect("the limits are valid");
        let mut script = Self { created, inputs: Vec::new(), events: Vec::new() };
        let mut live = script.live();
        let mut waiting = VecDeque::from([Input::Tick]);
        while let Some(input) = waiting.pop_front() {
            script.inputs.push(input.clone());
            let decision = live.handle(input, NOW).expect("nothing is refused");
            script.events.extend(decision.events);
            for effect in decision.effects {
                answer(&effect, targets, &mut waiting);
            }
        }
        assert_eq!(live.campaign().counts().successful, targets);
        assert!(live.campaign().is_settled());
        script
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
        Campaign::begin(tenant, campaign_id(), &self.created, NOW).expect("it begins a campaign")
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

fn answer(effect: &Effect, targets: u32, waiting: &mut VecDeque<Input>) {
    match effect {
        Effect::TakeSnapshot { asked } => {
            let devices: Vec<_> = (0..targets).map(device).collect();
            for chunk in devices.chunks(1_000) {
                let devices = chunk.to_vec();
                waiting.push_back(Input::SnapshotChunk { asked: *asked, devices });
            }
            waiting.extend(devices.into_iter().map(|device| Input::Presence {
                device,
                presence: Presence::Online { since: NOW },
            }));
            waiting.push_back(Input::SnapshotComplete { asked: *asked });
        }
        Effect::ReadBaseImage { device, purpose } => {
            let answer = BaseImageAnswer::Version(Some("1.0.0".to_owned()));
            waiting.push_back(Input::BaseImageRead { device: *device, purpose: *purpose, answer });
        }
        Effect::SendUpdate { device, operation, .. } => {
            let (device, operation) = (*device, *operation);
            let answer = RequestAnswer::Accepted;
            waiting.push_back(Input::RequestAnswered { device, operation, answer });
            for status in [ReportStatus::Downloading, ReportStatus::Success] {
                let report = OperationReport::new(device, operation, status);
                waiting.push_back(Input::Report(report));
            }
        }
        Effect::SendCancel { .. } => {}
    }
}

fn definition() -> CampaignDefinition {
    let max_pending = NonZeroU32::new(MAX_PENDING).expect("not zero");
    let limits = RolloutLimits::new(max_pending, "5".parse().expect("a percentage"));
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
        rollout: RolloutMechanism::Push(PushRollout { limits, gates: GatePolicy::default() }),
        when_running: WhenRunning::Supersede,
    }
}
