//! The bounds of the model, and the campaign that it begins with.

use std::num::NonZeroU32;
use std::time::Duration;

use hedgerow_core::{
    BaseImage, Campaign, CampaignDefinition, CampaignId, Channel, CreateError, DeviceId,
    GatePolicy, PushRollout, RolloutLimits, RolloutMechanism, Timestamp, Version, WhenRunning,
};
use uuid::Uuid;

pub(crate) const DEVICES: usize = 3;
pub(crate) const URL: &str = "https://images.example/2";
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The bounds of one model: what may go wrong, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    pub(crate) max_pending: u32,
    pub(crate) retries: u16,
    /// Messages lost or told twice, calls that fail, crashes, devices that lose power or fail.
    pub(crate) faults: u8,
    /// Pause, resume, cancel.
    pub(crate) commands: u8,
}

/// The device with this number.
pub(crate) fn device_id(number: usize) -> DeviceId {
    DeviceId::from_bytes([u8::try_from(number).map_or(u8::MAX, |number| number + 1); 16])
}

/// The number of a device of the model.
pub(crate) fn device_number(device: DeviceId) -> Option<usize> {
    (0..DEVICES).find(|number| device_id(*number) == device)
}

/// A new campaign within these bounds.
pub(crate) fn create(
    bounds: Bounds,
    now: Timestamp,
) -> Result<Campaign, Box<dyn std::error::Error>> {
    let max_pending = NonZeroU32::new(bounds.max_pending).ok_or("a limit of none")?;
    // None of three may fail (D13).
    let mut limits = RolloutLimits::new(max_pending, "30".parse()?);
    limits.operation.request_retries = bounds.retries;
    limits.operation.request_timeout = REQUEST_TIMEOUT;
    // No reports of progress are sent here, and times that are alike make fewer states.
    limits.operation.progress_interval = Duration::ZERO;
    limits.operation.reboot_timeout = REQUEST_TIMEOUT;
    limits.operation.stall_timeout = Some(2 * REQUEST_TIMEOUT);
    let definition = CampaignDefinition {
        name: "model".parse()?,
        base_image: BaseImage {
            system_model: "model".parse()?,
            version: Version::new(2, 0, 0),
            url: URL.parse()?,
            starting_version_requirement: None,
        },
        channel: Channel::new("channel".parse()?, ["group".parse()?])?,
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    };
    let event =
        Campaign::create(definition, None, now).map_err(|error: CreateError| error.to_string())?;
    Ok(Campaign::begin("realm".parse()?, CampaignId::from_uuid(Uuid::from_u128(1)), &event, now)?)
}
