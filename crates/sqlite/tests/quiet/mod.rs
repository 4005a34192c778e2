//! A fleet in which campaigns are over as soon as they begin.

use std::num::NonZeroU32;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use hedgerow_core::{
    BaseImage, CampaignDefinition, Channel, DeviceId, GatePolicy, ImageUrl, OperationId, Presence,
    PushRollout, RequestAnswer, RolloutLimits, RolloutMechanism, SystemModelHandle, TenantId,
    Timestamp, TransportError, WhenRunning,
};
use hedgerow_engine::Sighting;
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};

/// Two devices that run the image already.
pub(crate) struct Fleet;

impl DeviceTransport for Fleet {
    fn send_update(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        ready(RequestAnswer::Accepted).boxed()
    }

    fn send_cancel(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        ready(RequestAnswer::Accepted).boxed()
    }

    fn base_image_version(
        &self,
        _: &TenantId,
        _: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        ready(Ok(Some("2.0.0".to_owned()))).boxed()
    }
}

fn online() -> Sighting {
    Sighting::now(Some(Presence::Online { since: Timestamp::default() }))
}

impl FleetDirectory for Fleet {
    fn targets(
        &self,
        _: &TenantId,
        _: &Channel,
        _: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        let devices = [1, 2].map(|byte| (DeviceId::from_bytes([byte; 16]), online()));
        ready(Ok(devices.into())).boxed()
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        ready(Ok(vec![online(); devices.len()])).boxed()
    }
}

/// One of two tenants.
pub(crate) fn tenant(number: u128) -> TenantId {
    ["acme", "umbrella"][usize::from(number % 2 == 1)].parse().expect("a tenant")
}

/// A campaign of a channel of its own, one device at a time.
pub(crate) fn definition(number: u128) -> CampaignDefinition {
    let name = format!("c{number}");
    CampaignDefinition {
        name: "spring".parse().expect("a name"),
        base_image: BaseImage {
            system_model: "gateway".parse().expect("a handle"),
            version: "2.0.0".parse().expect("a version"),
            url: "https://images.example/2.bin".parse().expect("a URL"),
            starting_version_requirement: None,
        },
        channel: Channel::new(name.parse().expect("a name"), ["all".parse().expect("a name")])
            .expect("a channel"),
        rollout: RolloutMechanism::Push(PushRollout {
            limits: RolloutLimits::new(NonZeroU32::MIN, "100".parse().expect("a percentage")),
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    }
}
