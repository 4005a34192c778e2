//! A campaign over a small `AppEngine` that the test fills: devices of one group, their versions,
//! their stored reports.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hedgerow_astarte::{Astarte, AstarteFleet, SystemModelSource};
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, DeviceId, GatePolicy, OperationId,
    PushRollout, RolloutLimits, RolloutMechanism, Version, WhenRunning,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::{Engine, EngineBuilder};
use serde_json::{Value, json};

use super::{Asked, Fake, Told, data, device, error, status, tenant};

/// What the `AppEngine` knows of one device.
#[derive(Clone, Debug)]
pub struct Shown {
    pub status: Value,
    pub version: String,
    pub stored: Vec<Value>,
}

type Devices = Arc<Mutex<BTreeMap<DeviceId, Shown>>>;

pub struct World {
    pub fake: Fake,
    pub astarte: Astarte,
    pub store: Arc<MemoryStore>,
    /// The statuses of single devices cannot be read.
    pub statuses_fail: Arc<AtomicBool>,
    devices: Devices,
}

impl World {
    /// With so many connected devices, which show version 1.0.0.
    pub async fn with_devices(count: u8) -> Self {
        let shown = |byte| {
            let device = device(byte);
            (device, Shown { status: status(device), version: "1.0.0".into(), stored: Vec::new() })
        };
        let devices: Devices = Arc::new(Mutex::new((1..=count).map(shown).collect()));
        let told = Arc::clone(&devices);
        let statuses_fail = Arc::new(AtomicBool::new(false));
        let fail = Arc::clone(&statuses_fail);
        let fake = Fake::start(move |asked| {
            let is_status = asked.path.split('/').count() == 3 && asked.path.contains("/devices/");
            if is_status && fail.load(Ordering::SeqCst) {
                return (500, error("Internal server error"));
            }
            tell(&told.lock().expect("no panic"), asked)
        })
        .await;
        let (astarte, store) = (fake.astarte(), Arc::new(MemoryStore::new()));
        Self { fake, astarte, store, statuses_fail, devices }
    }

    pub fn devices(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Shown>> {
        self.devices.lock().expect("no panic")
    }

    pub fn fleet(&self) -> AstarteFleet {
        AstarteFleet::new(self.astarte.clone(), SystemModelSource::attribute("model"))
    }

    /// An engine on the world's store.
    pub async fn start(&self, fleet: AstarteFleet) -> Engine {
        let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
        let clock = Arc::clone(&runtime);
        let (store, transport) = (Arc::clone(&self.store), Arc::new(self.astarte.clone()));
        let builder = EngineBuilder::new(store, transport, Arc::new(fleet), clock, runtime);
        builder.start().await.expect("a store that can be read")
    }

    /// The Update requests that were sent.
    pub fn updates(&self) -> Vec<Asked> {
        let mut asked = self.fake.asked();
        asked.retain(|asked| asked.method == "POST");
        asked
    }

    /// Waits until so many Update requests were sent.
    pub async fn wait_for_updates(&self, count: usize) {
        eventually(|| async { self.updates().len() >= count }).await;
    }
}

fn tell(devices: &BTreeMap<DeviceId, Shown>, asked: &Asked) -> Told {
    let parts: Vec<&str> = asked.path.split('/').collect();
    let shown = |id: &str| devices.get(&id.parse::<DeviceId>().expect("a device id"));
    match parts[..] {
        ["appengine", "groups", "g", "devices"] => {
            let all: Vec<_> = devices.values().map(|shown| shown.status.clone()).collect();
            (200, data(&json!(all)))
        }
        ["appengine", "devices", id, ..] if shown(id).is_none() => (404, error("Device not found")),
        ["appengine", "devices", id] => {
            (200, data(&shown(id).map(|shown| shown.status.clone()).unwrap_or_default()))
        }
        ["appengine", "devices", id, "interfaces", interface] => {
            assert!(interface.ends_with("BaseImage"), "{interface}");
            let version = shown(id).map(|shown| shown.version.clone());
            (200, data(&json!({ "version": version })))
        }
        ["appengine", "devices", id, "interfaces", _, "event"] => {
            let after = asked.query.strip_prefix("since_after=").unwrap_or("");
            let after = after.replace("%3A", ":");
            let mut stored = shown(id).map(|shown| shown.stored.clone()).unwrap_or_default();
            stored.retain(|row| row["timestamp"].as_str().is_some_and(|at| *at > *after));
            (200, data(&json!(stored)))
        }
        ["appengine", "devices", _, "interfaces", _, "request"] => (200, data(&json!({}))),
        ref other => panic!("{other:?}"),
    }
}

/// Waits until that is so.
pub async fn eventually<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    for _ in 0..1_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to pass");
}

pub fn campaign() -> CampaignId {
    "5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa".parse().expect("a UUID")
}

/// The campaign's first operation on a device.
pub fn operation(byte: u8) -> OperationId {
    OperationId::of_campaign(campaign(), device(byte), 0)
}

/// Version 2.0.0 for the gateways of group `g`.
pub fn definition() -> CampaignDefinition {
    let limits = RolloutLimits::new(NonZeroU32::new(100).expect("not 0"), "50".parse().expect("%"));
    CampaignDefinition {
        name: "Gateways to 2.0.0".parse().expect("a name"),
        base_image: BaseImage {
            system_model: "gateway".parse().expect("a handle"),
            version: Version::new(2, 0, 0),
            url: "https://images.example/2.0.0.bin?signature=secret".parse().expect("a URL"),
            starting_version_requirement: None,
        },
        channel: Channel::new("stable".parse().expect("a name"), ["g".parse().expect("a name")])
            .expect("a channel"),
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    }
}

/// An engine on which the campaign has asked every device to update.
pub async fn started(world: &World) -> Engine {
    let engine = world.start(world.fleet()).await;
    engine.create(&tenant(), campaign(), definition(), None).await.expect("a new campaign");
    let count = world.devices().len();
    world.wait_for_updates(count).await;
    engine
}

/// A row of the stored series.
pub fn stored(byte: u8, at: &str, status: &str, code: &str) -> Value {
    json!({
        "requestUUID": operation(byte), "status": status, "statusProgress": 0,
        "statusCode": code, "message": "", "timestamp": at,
    })
}
