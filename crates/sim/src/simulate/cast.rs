//! Who plays in a simulation: devices, images, campaigns, all drawn from the seed.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use hedgerow_core::{
    AtDeadline, BaseImage, CampaignDefinition, CampaignId, Channel, ConsentPolicy, DeviceId,
    GatePolicy, GroupName, OperationLimits, OptionalRollout, PushRollout, RolloutLimits,
    RolloutMechanism, SystemModelHandle, TenantId, Timestamp, WhenRunning,
};
use uuid::Uuid;

use super::profile::Profile;
use crate::device::{Flavour, SimulatedDevice};
use crate::random::Random;

/// When a simulated world begins: 2026-01-01T00:00:00Z.
pub(super) const BEGINNING: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The devices of a second tenant are counted from here: what happens to them is chance of their own.
const TWINS: u32 = 1 << 20;

/// Versions that images have.
const IMAGES: [&str; 5] = ["2.0.0", "2.1.0", "2.0.0+build.7", "3.0.0-rc.1", "1.5.0"];
/// Versions that devices run at first.
const VERSIONS: [&str; 10] = [
    "1.0.0",
    "1.4.0",
    "1.4.0",
    "1.4.2+factory",
    "1.9.0-rc.1",
    "2.0.0",
    "2.0.0+build.8",
    "1.5.0",
    "9.0.0",
    "factory",
];
const REQUIREMENTS: [Option<&str>; 5] =
    [None, None, Some(">= 1.0.0"), Some(">= 1.2.0 and < 3.0.0"), Some("~> 1.4.0 or == 1.0.0")];
const FAILURE_LIMITS: [&str; 6] = ["100", "100", "50", "33.3", "12.5", "0"];

/// The tenants that a simulation may have.
const TENANTS: [&str; 2] = ["simulated", "twin"];

/// The tenant of that number.
pub(super) fn tenant(number: usize) -> TenantId {
    constant(TENANTS[number])
}

/// A device as it is at first.
pub(super) struct DevicePart {
    /// The number of its tenant.
    pub(super) tenant: usize,
    pub(super) device: SimulatedDevice,
    pub(super) system_model: SystemModelHandle,
    pub(super) groups: BTreeSet<GroupName>,
    pub(super) reports_no_version: bool,
    pub(super) clock_offset_ms: i64,
}

/// A campaign and when it is created.
#[derive(Clone)]
pub(super) struct CampaignPart {
    /// The number of its tenant.
    pub(super) tenant: usize,
    pub(super) id: CampaignId,
    pub(super) definition: CampaignDefinition,
    pub(super) created_at: Timestamp,
    pub(super) scheduled_at: Option<Timestamp>,
}

/// Draws the cast of a seed, for one tenant.
pub(super) struct Casting<'a> {
    tenant: usize,
    seed: u64,
    profile: &'a Profile,
    random: Random,
    devices: u32,
    channels: u32,
    campaigns: u32,
}

/// Reads a text of this file.
pub(super) fn constant<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| unreachable!("{text} is valid"))
}

fn pick<T: Clone>(random: &mut Random, choices: &[T]) -> T {
    let index = random.below(choices.len() as u64);
    choices[usize::try_from(index).unwrap_or(0)].clone()
}

/// The URL of an image.
fn url(version: &str) -> String {
    format!("https://images.example/gateway/{}.bin", version.replace('+', "%2B"))
}

/// The version of the image that is found at a URL, if there is one.
pub(super) fn installs(found: &str) -> Option<String> {
    // What follows on that is a signature.
    let found = found.split('?').next().unwrap_or_default();
    IMAGES.into_iter().find(|version| url(version) == found).map(str::to_owned)
}

/// Whether operations get URLs of their own, which happens in so many of a thousand runs.
pub(super) fn gives_urls(seed: u64, rate: u16) -> bool {
    Random::for_device(seed, 5, 1 << 41).chance(rate)
}

/// A campaign as it is, or, for so many of a thousand, one that asks its devices' users first (P15).
pub(super) fn asking_users(seed: u64, rate: u16, part: CampaignPart) -> (CampaignPart, bool) {
    let number = part.id.as_uuid().as_u64_pair().1 ^ part.id.as_uuid().as_u64_pair().0;
    let mut random = Random::for_device(seed ^ number, 6, 1 << 41);
    if !random.chance(rate) {
        return (part, false);
    }
    let RolloutMechanism::Push(push) = part.definition.rollout.clone() else {
        return (part, false);
    };
    let deadline = Duration::from_secs(random.between(60..=1_200));
    let then = if random.chance(500) { AtDeadline::Force } else { AtDeadline::GiveUp };
    let consent = ConsentPolicy { deadline, then };
    let rollout = RolloutMechanism::Optional(OptionalRollout { push, consent });
    let definition = CampaignDefinition { rollout, ..part.definition };
    (CampaignPart { definition, ..part }, true)
}

/// Whether everybody's presence is told anew once everything has healed, or only what the platform
/// still owes: what an engine lost by itself then stays lost.
pub(super) fn tells_all_again(seed: u64) -> bool {
    Random::for_device(seed, 4, 1 << 41).chance(500)
}

/// How many calls an engine makes at once for each campaign: so few that others wait behind them, or
/// as many as it likes.
pub(super) fn concurrent_calls(seed: u64) -> usize {
    let mut random = Random::for_device(seed, 3, 1 << 41);
    let few = usize::try_from(random.between(1..=6)).unwrap_or(1);
    pick(&mut random, &[1, few, 64, 100_000])
}

impl<'a> Casting<'a> {
    pub(super) fn new(seed: u64, profile: &'a Profile, devices: u32, campaigns: u32) -> Self {
        let random = Random::for_device(seed, 1, 1 << 41);
        // Fewer channels than campaigns, so that some supersede others (D18).
        let channels = (campaigns * 2 / 3).max(1);
        Self { tenant: 0, seed, profile, random, devices, channels, campaigns }
    }

    /// That of a second tenant, smaller, with ids of the first: its devices and campaigns have
    /// nothing else in common with those of the first.
    pub(super) fn twin(&self) -> Self {
        let random = Random::for_device(self.seed, 6, 1 << 41);
        let (devices, campaigns) = ((self.devices / 3).max(1), (self.campaigns * 2 / 3).max(1));
        Self { tenant: 1, random, devices, campaigns, ..*self }
    }

    pub(super) fn devices(&mut self) -> Vec<DevicePart> {
        let ids: Vec<_> = (0..self.devices).map(|_| None).collect();
        (0..).zip(ids).map(|(index, id)| self.device(index, id)).collect()
    }

    /// Devices with the ids of others.
    pub(super) fn devices_like(&mut self, others: &[DevicePart]) -> Vec<DevicePart> {
        let ids: Vec<_> = others.iter().map(|part| Some(part.device.id())).collect();
        let ids = ids.into_iter().take(self.devices as usize);
        (TWINS..).zip(ids).map(|(index, id)| self.device(index, id)).collect()
    }

    fn device(&mut self, index: u32, id: Option<DeviceId>) -> DevicePart {
        let random = &mut self.random;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&random.next_u64().to_be_bytes());
        bytes[8..].copy_from_slice(&random.next_u64().to_be_bytes());
        let flavour =
            pick(random, &[Flavour::LinuxRuntime011, Flavour::LinuxRuntime013, Flavour::Esp32]);
        // Most run something that can be updated.
        let usual = random.chance(750);
        let version = if usual { pick(random, &VERSIONS[..5]) } else { pick(random, &VERSIONS) };
        let id = id.unwrap_or(DeviceId::from_bytes(bytes));
        let device =
            SimulatedDevice::new(self.seed, index, id, flavour, version, self.profile.devices);
        let sensor = random.chance(80);
        let mut groups = BTreeSet::new();
        for channel in 0..self.channels {
            if random.chance(650) {
                groups.insert(constant(&format!("group {channel}")));
            }
        }
        DevicePart {
            tenant: self.tenant,
            device,
            system_model: constant(if sensor { "sensor" } else { "gateway" }),
            groups,
            reports_no_version: random.chance(20),
            clock_offset_ms: 0,
        }
    }

    /// The campaigns that are created in any case.
    pub(super) fn campaigns(&mut self) -> Vec<CampaignPart> {
        (0..self.campaigns).map(|number| self.campaign(number, BEGINNING)).collect()
    }

    /// One more campaign, created at `now` or, for those of the first hour, somewhat later.
    pub(super) fn campaign(&mut self, number: u32, now: Timestamp) -> CampaignPart {
        let name = format!("simulated campaign {number} of seed {}", self.seed);
        let planned = number < self.campaigns;
        let minutes = u64::from(self.profile.minutes);
        let random = &mut self.random;
        let delay = if planned && number > 0 { random.below(minutes * 30_000) } else { 0 };
        let created_at = now + Duration::from_millis(delay);
        let scheduled = random.chance(250);
        let wait = Duration::from_millis(random.between(1_000..=minutes * 20_000));
        let definition = self.definition(&name);
        CampaignPart {
            tenant: self.tenant,
            id: CampaignId::from_uuid(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())),
            definition,
            created_at,
            scheduled_at: scheduled.then(|| created_at + wait),
        }
    }

    fn definition(&mut self, name: &str) -> CampaignDefinition {
        let limits = self.limits();
        let random = &mut self.random;
        let version = pick(random, &IMAGES);
        let requirement = pick(random, &REQUIREMENTS);
        let channel = random.below(u64::from(self.channels));
        // Now and then a channel whose group has no device.
        let group =
            if random.chance(40) { "nobody".to_owned() } else { format!("group {channel}") };
        let channel = Channel::new(constant(&format!("channel {channel}")), [constant(&group)]);
        // Now and then a minimum of targets, which may be missed (D3). Of the name alone, so that
        // nothing else of a seed depends on it.
        let mix = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
        let [first, second, ..] = mix.into_bytes();
        let minimum = 1 + u32::from(second) % self.devices.max(1);
        let minimum_targets = if first < 20 { minimum } else { 0 };
        CampaignDefinition {
            name: constant(name),
            base_image: BaseImage {
                system_model: constant("gateway"),
                version: constant(version),
                url: constant(&url(version)),
                starting_version_requirement: requirement.map(constant),
            },
            channel: channel.unwrap_or_else(|_| unreachable!("a channel with a group")),
            rollout: RolloutMechanism::Push(PushRollout {
                limits,
                gates: GatePolicy {
                    force_downgrade: random.chance(250),
                    enforce_version_requirement: random.chance(300),
                },
                minimum_targets,
            }),
            when_running: if random.chance(300) {
                WhenRunning::Refuse
            } else {
                WhenRunning::Supersede
            },
        }
    }

    /// Limits that make a rollout of these devices take its time.
    pub(super) fn limits(&mut self) -> RolloutLimits {
        let most = u64::from(self.devices / 4).max(2);
        let random = &mut self.random;
        let at_once = u32::try_from(random.between(1..=most)).unwrap_or(1);
        let failure_limit = pick(random, &FAILURE_LIMITS);
        let operation = self.operation_limits();
        RolloutLimits {
            operation,
            ..RolloutLimits::new(
                NonZeroU32::new(at_once).unwrap_or(NonZeroU32::MIN),
                constant(failure_limit),
            )
        }
    }

    pub(super) fn operation_limits(&mut self) -> OperationLimits {
        let random = &mut self.random;
        let seconds = |seconds| Duration::from_secs(seconds);
        let quick = random.chance(250);
        OperationLimits {
            request_retries: u16::try_from(random.below(4)).unwrap_or(0),
            request_timeout: seconds(random.between(30..=120)),
            stall_timeout: Some(seconds(random.between(300..=3_600))),
            // Some are as short as a boot.
            reboot_timeout: seconds(random.between(if quick { 15..=45 } else { 60..=600 })),
            progress_interval: seconds(random.between(0..=60)),
        }
    }

    /// An image's version and URL, for a manual update.
    pub(super) fn image(&mut self) -> (&'static str, String) {
        let version = pick(&mut self.random, &IMAGES);
        (version, url(version))
    }

    /// How many campaigns are created in any case.
    pub(super) fn planned(&self) -> u32 {
        self.campaigns
    }

    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}
