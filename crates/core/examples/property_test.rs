//! `hedgerow-core` alone in a property test: whatever devices do, never are more updates in
//! progress than allowed, the campaign comes to an end, and its log tells all of it.
//!
//! Run it: `cargo run -p hedgerow-core --example property_test`. In a test of your own, write
//! `#[test]` above the property.

use std::num::NonZeroU32;

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{
    BaseImage, BaseImageAnswer, Campaign, CampaignDefinition, CampaignId, Channel, DeviceId,
    Effect, GatePolicy, Input, LiveCampaign, OperationReport, Presence, PushRollout, ReportStatus,
    RequestAnswer, RolloutLimits, RolloutMechanism, Timestamp, TransportError, Version,
    WhenRunning,
};
use proptest::prelude::*;

// ANCHOR: devices
/// What a device does with every request that reaches it.
#[derive(Clone, Copy, Debug)]
enum Device {
    Succeeds,
    Fails,
    /// It does what it is asked to, and no report of it arrives.
    UpdatesInSilence,
    /// Nothing ever comes back.
    IsDead,
    /// Its request fails as often as that before it leaves.
    IsHardToReach(u8),
}

fn device() -> impl Strategy<Value = Device> {
    prop_oneof![
        Just(Device::Succeeds),
        Just(Device::Fails),
        Just(Device::UpdatesInSilence),
        Just(Device::IsDead),
        (1..6_u8).prop_map(Device::IsHardToReach),
    ]
}
// ANCHOR_END: devices

// ANCHOR: property
proptest! {
    // Only tests have a place where proptest keeps what failed.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    fn a_campaign_keeps_its_limit_and_comes_to_its_end(
        devices in prop::collection::vec(device(), 0..20),
        max_pending_operations in 1..5_u32,
        max_failure_percentage in 0..=100_u8,
    ) {
        let mut world = World::new(devices, max_pending_operations, max_failure_percentage);
        for _ in 0..10_000 {
            if world.step() {
                break;
            }
            let counts = world.live.campaign().counts();
            prop_assert!(counts.in_progress <= max_pending_operations, "{counts:?}");
        }
        let campaign = world.live.campaign();
        prop_assert!(campaign.outcome().is_some(), "it goes on for ever");
        prop_assert_eq!(&world.fold(), campaign, "the log does not lead to the state");
    }
}
// ANCHOR_END: property

// ANCHOR: world
/// The campaign and all that is outside: the time, the devices, and what was asked of them.
struct World {
    now: Timestamp,
    devices: Vec<Device>,
    versions: Vec<&'static str>,
    live: LiveCampaign,
    log: Vec<(CampaignEvent, Timestamp)>,
    effects: Vec<Effect>,
}

impl World {
    fn new(devices: Vec<Device>, max_pending: u32, max_failed: u8) -> Self {
        let now = Timestamp::from_millis(0);
        let created = Campaign::create(definition(max_pending, max_failed), None, now);
        let log = vec![(created.expect("the limits are in their ranges"), now)];
        let live = LiveCampaign::new(fold(&log));
        let versions = vec!["1.0.0"; devices.len()];
        let mut world = Self { now, devices, versions, live, log, effects: Vec::new() };
        world.tell(Input::Tick);
        world
    }

    /// Tells the campaign something. What it decides is recorded before anything is done.
    fn tell(&mut self, input: Input) {
        let decision = self.live.handle(input, self.now).expect("nothing here is refused");
        self.log.extend(decision.events.into_iter().map(|event| (event, self.now)));
        self.effects.extend(decision.effects);
    }

    /// Does what was asked for longest; with nothing to do, lets the time pass. `true`: there is
    /// nothing left to wait for.
    fn step(&mut self) -> bool {
        if !self.effects.is_empty() {
            let effect = self.effects.remove(0);
            self.perform(&effect);
            return false;
        }
        let Some(deadline) = self.live.next_deadline() else { return true };
        self.now = self.now.max(deadline);
        self.tell(Input::Tick);
        false
    }

    fn perform(&mut self, effect: &Effect) {
        match *effect {
            Effect::TakeSnapshot { question } => {
                let devices: Vec<_> = (0..self.devices.len()).map(id).collect();
                self.tell(Input::SnapshotChunk { question, devices: devices.clone() });
                for device in devices {
                    let presence = Presence::Online { since: self.now };
                    self.tell(Input::Presence { device, presence });
                }
                self.tell(Input::SnapshotComplete { question });
            }
            Effect::ReadBaseImage { device, purpose, question } => {
                let version = self.versions[place(device)].to_owned();
                let answer = BaseImageAnswer::Version(Some(version));
                self.tell(Input::BaseImageRead { device, purpose, question, answer });
            }
            Effect::PrepareStart { .. } => unreachable!("nobody gives URLs here"),
            Effect::SendUpdate { device, operation, question, .. } => {
                let mut answer = RequestAnswer::Accepted;
                let mut report = None;
                match &mut self.devices[place(device)] {
                    Device::Succeeds | Device::IsHardToReach(0) => {
                        report = Some(ReportStatus::Success);
                    }
                    Device::Fails => report = Some(ReportStatus::Failure),
                    Device::UpdatesInSilence => self.versions[place(device)] = "2.0.0",
                    Device::IsDead => {}
                    Device::IsHardToReach(left) => {
                        *left -= 1;
                        answer = RequestAnswer::Temporary(TransportError::new("HTTP 503"));
                    }
                }
                self.tell(Input::RequestAnswered { device, operation, question, answer });
                if let Some(status) = report {
                    self.tell(Input::Report(OperationReport::new(device, operation, status)));
                }
            }
            Effect::SendCancel { .. } => panic!("nobody cancels anything here"),
        }
    }

    /// The state that the log alone leads to.
    fn fold(&self) -> Campaign {
        fold(&self.log)
    }
}

fn fold(log: &[(CampaignEvent, Timestamp)]) -> Campaign {
    let ((created, at), rest) = log.split_first().expect("a log begins with an event");
    let id = CampaignId::from_uuid(uuid::Uuid::from_u128(1));
    let tenant = "realm".parse().expect("a tenant");
    let mut campaign = Campaign::begin(tenant, id, created, *at).expect("it begins a campaign");
    for (event, at) in rest {
        campaign.apply(event, *at).expect("it follows on those before it");
    }
    campaign
}
// ANCHOR_END: world

fn id(place: usize) -> DeviceId {
    DeviceId::from_bytes([u8::try_from(place).expect("a small fleet"); 16])
}

fn place(device: DeviceId) -> usize {
    (0..256).find(|place| id(*place) == device).expect("a device of this world")
}

fn definition(max_pending: u32, max_failed: u8) -> CampaignDefinition {
    let limits = RolloutLimits::new(
        NonZeroU32::new(max_pending).expect("at least one"),
        max_failed.to_string().parse().expect("a percentage"),
    );
    CampaignDefinition {
        name: "Gateways to 2.0.0".parse().expect("a name"),
        base_image: BaseImage {
            system_model: "gateway".parse().expect("a handle"),
            version: Version::new(2, 0, 0),
            url: "https://images.example/gateway/2.0.0.bin".parse().expect("a URL"),
            starting_version_requirement: None,
        },
        channel: Channel::new(
            "stable".parse().expect("a name"),
            ["gardens".parse().expect("a name")],
        )
        .expect("a channel has a group"),
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    }
}

pub(crate) fn main() {
    a_campaign_keeps_its_limit_and_comes_to_its_end();
    println!("a campaign keeps its limit and comes to its end, whatever devices do");
}
