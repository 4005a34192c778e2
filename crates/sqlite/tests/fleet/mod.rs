//! A fleet that does what is asked of it, and a campaign for it.
// Not every test asks it everything.
#![allow(dead_code)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use hedgerow_core::{
    BaseImage, CampaignDefinition, Channel, DeviceId, GatePolicy, ImageUrl, OperationId, Presence,
    PushRollout, RequestAnswer, RolloutLimits, RolloutMechanism, SystemModelHandle, TenantId,
    Timestamp, TransportError, WhenRunning,
};
use hedgerow_engine::Sighting;
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};

/// Devices that are all online and show this version; a read of it lets others go first now and
/// then.
#[derive(Clone)]
pub(crate) struct Fleet {
    devices: u32,
    version: &'static str,
    sent: Arc<AtomicUsize>,
    /// The transport panics while this is set.
    pub(crate) panics: Arc<AtomicBool>,
}

impl Fleet {
    pub(crate) fn new(devices: u32, version: &'static str) -> Self {
        Self { devices, version, sent: Arc::default(), panics: Arc::default() }
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

pub(crate) fn device(number: u32) -> DeviceId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

const ONLINE: Presence = Presence::Online { since: Timestamp::from_millis(0) };

fn online() -> Sighting {
    Sighting::now(Some(ONLINE))
}

impl DeviceTransport for Fleet {
    fn send_update(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        assert!(!self.panics.load(Ordering::SeqCst), "a defect of the adapter");
        self.sent.fetch_add(1, Ordering::SeqCst);
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
        device: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        let version = self.version.to_owned();
        async move {
            for _ in 0..device.as_bytes()[3] % 4 {
                tokio::task::yield_now().await;
            }
            Ok(Some(version))
        }
        .boxed()
    }
}

impl FleetDirectory for Fleet {
    fn targets(
        &self,
        _: &TenantId,
        _: &Channel,
        _: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        ready(Ok((0..self.devices).map(|number| (device(number), online())).collect())).boxed()
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        ready(Ok(devices.iter().map(|_| online()).collect())).boxed()
    }
}

pub(crate) fn tenant() -> TenantId {
    "acme".parse().expect("a tenant")
}

/// A campaign of a channel of its own, to version 2.0.0, so many devices at once.
pub(crate) fn definition(channel: &str, at_once: u32) -> CampaignDefinition {
    let at_once = NonZeroU32::new(at_once).expect("not zero");
    CampaignDefinition {
        name: "spring".parse().expect("a name"),
        base_image: BaseImage {
            system_model: "gateway".parse().expect("a handle"),
            version: "2.0.0".parse().expect("a version"),
            url: "https://images.example/2.bin".parse().expect("a URL"),
            starting_version_requirement: None,
        },
        channel: Channel::new(channel.parse().expect("a name"), ["all".parse().expect("a name")])
            .expect("a channel"),
        rollout: RolloutMechanism::Push(PushRollout {
            limits: RolloutLimits::new(at_once, "100".parse().expect("a percentage")),
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    }
}
