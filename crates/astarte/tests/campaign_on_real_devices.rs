//! From an empty realm to a finished campaign: devices on the real SDK, over TLS, MQTT and HTTP.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_astarte::provisioning::{InstallSettings, Installation};
use hedgerow_astarte::triggers::TriggerSettings;
use hedgerow_astarte::{
    AppEngine, Astarte, AstarteFleet, Credentials, HttpConnections, HttpSettings, Realm,
    RealmClient, RealmManagement, Reconciler, SystemModelSource, TriggerReceiver,
};
use hedgerow_astarte_devices::{DeviceSettings, Devices, RegisteredDevice};
use hedgerow_astarte_emulator::{
    Api, Emulator, EventFault, EventRule, Frequency, RealmKeys, RequestFault, RequestRule,
};
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, DeviceId, GatePolicy, OperationLimits,
    Outcome, PushRollout, RolloutLimits, RolloutMechanism, TenantId, Version, WhenRunning,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::{Engine, EngineBuilder, Progress, TargetFilter};
use hedgerow_sim::device::{DeviceProfile, Flavour, SimulatedDevice};
use hedgerow_sqlite::SqliteStore;
use tokio::net::TcpListener;

const REALM: &str = "gardens";
const IMAGE: &str = "https://images.example/2.0.0.bin?signature=abc";

/// An emulator whose realm has everything, and devices at work in it.
struct World {
    emulator: Emulator,
    astarte: Astarte,
    devices: Devices,
    listener: std::net::TcpListener,
    folder: tempfile::TempDir,
}

fn tenant() -> TenantId {
    REALM.parse().expect("a realm")
}

fn campaign() -> CampaignId {
    "5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa".parse().expect("a UUID")
}

fn device(number: u32) -> DeviceId {
    DeviceId::from_bytes((u128::from(number) << 64 | 7).to_be_bytes())
}

impl World {
    async fn start(count: u32, profile: DeviceProfile, seed: u64) -> Self {
        let keys = RealmKeys::generate().expect("keys");
        let emulator = Emulator::builder().realm(REALM, keys).seed(seed).start().await;
        let emulator = emulator.expect("an emulator");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let url = format!("http://{}/triggers", listener.local_addr().expect("an address"));

        let keys = emulator.realm_keys(REALM).expect("the realm");
        let connections = HttpConnections::new(&HttpSettings::default()).expect("TLS");
        let key = keys.private_key_pem().expect("a private key");
        let with_key = || Credentials::private_key(key).expect("a usable key");
        let base = emulator.base_url();
        let client = RealmClient::new(&connections, base, REALM, with_key()).expect("a base URL");
        let realm = RealmManagement::new(client);
        let settings = InstallSettings::new(&url).expect("a URL");
        let installation = Installation::new(&settings);
        installation.plan(&realm).await.expect("a plan").apply(&realm).await.expect("installed");

        let all = keys.all_access_token().expect("a token");
        let all = Credentials::token(&all).expect("a token");
        let owner = RealmClient::new(&connections, base, REALM, all).expect("a base URL");
        let owner = AppEngine::new(owner);
        let flavours = [Flavour::LinuxRuntime013, Flavour::LinuxRuntime011, Flavour::Esp32];
        let mut registered = Vec::new();
        for number in 0..count {
            let id = device(number);
            let secret = emulator.register_device(REALM, as_emulated(id)).expect("registered");
            owner.set_attribute(id, "model", "gateway").await.expect("an attribute");
            let flavour = flavours[number as usize % flavours.len()];
            let device = SimulatedDevice::new(seed, number, id, flavour, "1.0.0", profile);
            registered.push(RegisteredDevice { device, credentials_secret: secret });
        }
        let ids: Vec<_> = (0..count).map(device).collect();
        owner.create_group("east", &ids).await.expect("a group");
        let settings = DeviceSettings {
            realm: REALM.to_owned(),
            pairing_url: emulator.pairing_url(),
            interfaces: installation.interfaces().iter().map(ToString::to_string).collect(),
            images: BTreeMap::from([(IMAGE.to_owned(), "2.0.0".to_owned())]),
            speed: 30,
        };
        let realm = Realm { tenant: tenant(), base_url: base.to_owned(), credentials: with_key() };
        let astarte = Astarte::new(&connections, [realm]).expect("a base URL");
        let devices = Devices::start(settings, registered);
        let folder = tempfile::tempdir().expect("a folder");
        Self { emulator, astarte, devices, listener, folder }
    }

    /// A service on the world's store, which takes triggers until it is dropped.
    async fn serve(&self) -> Service {
        let store = SqliteStore::open(self.folder.path().join("hedgerow.db"));
        let store = Arc::new(store.expect("a store"));
        let fleet = AstarteFleet::new(self.astarte.clone(), SystemModelSource::attribute("model"));
        let (fleet, hold) = fleet.hold_presence();
        let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
        let clock = Arc::clone(&runtime);
        let transport = Arc::new(self.astarte.clone());
        let builder = EngineBuilder::new(store.clone(), transport, Arc::new(fleet), clock, runtime);
        let engine = builder.start().await.expect("a store that can be read");
        let reconciler = Reconciler::new(self.astarte.clone(), engine.clone());
        reconciler.fetch_reports().await;
        drop(hold);
        let rounds = reconciler.clone();
        let rounds = tokio::spawn(async move { rounds.run(Duration::from_secs(5)).await });
        let receiver =
            TriggerReceiver::new(self.astarte.clone(), engine.clone(), TriggerSettings::default())
                .with_reconciler(reconciler);
        let again = self.listener.try_clone().expect("a second handle");
        let listener = TcpListener::from_std(again).expect("a listener");
        let (router, taking) = (receiver.router(), receiver.clone());
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a listener");
        });
        Service { engine, receiver: taking, tasks: [task, rounds], store }
    }

    async fn end(self) {
        self.devices.stop().await;
        self.emulator.shutdown().await;
    }
}

struct Service {
    engine: Engine,
    receiver: TriggerReceiver,
    tasks: [tokio::task::JoinHandle<()>; 2],
    store: Arc<SqliteStore>,
}

impl Service {
    async fn create(&self, failures: &str) {
        let limits = RolloutLimits {
            operation: OperationLimits {
                request_timeout: Duration::from_secs(30),
                reboot_timeout: Duration::from_secs(20),
                stall_timeout: Some(Duration::from_secs(45)),
                ..OperationLimits::default()
            },
            ..RolloutLimits::new(NonZeroU32::new(16).expect("not 0"), failures.parse().expect("%"))
        };
        let channel =
            Channel::new("stable".parse().expect("a name"), ["east".parse().expect("a name")]);
        let definition = CampaignDefinition {
            name: "Gateways to 2.0.0".parse().expect("a name"),
            base_image: BaseImage {
                system_model: "gateway".parse().expect("a handle"),
                version: Version::new(2, 0, 0),
                url: IMAGE.parse().expect("a URL"),
                starting_version_requirement: None,
            },
            channel: channel.expect("a channel"),
            rollout: RolloutMechanism::Push(PushRollout { limits, gates: GatePolicy::default() }),
            when_running: WhenRunning::Supersede,
        };
        self.engine.create(&tenant(), campaign(), definition, None).await.expect("a campaign");
    }

    /// Waits for the end of the campaign, and of everything that was in progress with it.
    async fn ended(&self, patience: Duration) -> Progress {
        let waits = async {
            loop {
                let progress = self.engine.progress(&tenant(), campaign()).await;
                let progress = progress.expect("the campaign");
                if progress.outcome.is_some() && progress.targets.in_progress == 0 {
                    return progress;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if let Ok(progress) = tokio::time::timeout(patience, waits).await {
            return progress;
        }
        let targets = self.engine.targets(&tenant(), campaign(), TargetFilter::default()).await;
        panic!("it does not end: {targets:?} {:?}", self.receiver.counts())
    }

    async fn stop(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        self.engine.shutdown().await;
        self.store.close();
    }
}

fn as_emulated(device: DeviceId) -> hedgerow_astarte_emulator::DeviceId {
    hedgerow_astarte_emulator::DeviceId::from_bytes(*device.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_dozen_devices_of_three_kinds_get_their_update() {
    let world = World::start(24, DeviceProfile::flawless(), 1).await;
    let service = world.serve().await;
    service.create("0").await;
    let progress = service.ended(Duration::from_secs(120)).await;
    assert_eq!(progress.outcome, Some(Outcome::Success), "{progress:?}");
    assert_eq!((progress.targets.total, progress.targets.successful), (24, 24));
    let counts = service.receiver.counts();
    assert_eq!((counts.malformed, counts.foreign, counts.refused), (0, 0, 0), "{counts:?}");
    service.stop().await;
    world.end().await;
}

/// Events are lost, doubled, late and out of order; requests fail, and some messages never arrive.
fn let_things_go_wrong(emulator: &Emulator) {
    let events = [
        EventFault::Drop,
        EventFault::Duplicate { copies: 2 },
        EventFault::Delay { milliseconds: 700 },
        EventFault::Reorder { behind: 3, milliseconds: 500 },
    ];
    for fault in events {
        let frequency = Frequency::probability(0.15);
        let rule = EventRule { frequency, ..EventRule::new(fault) };
        emulator.add_event_rule(rule).expect("a rule");
    }
    let requests = [
        (RequestFault::Status { code: 503 }, Frequency::probability(0.1)),
        (RequestFault::Status { code: 401 }, Frequency::probability(0.05)),
        (RequestFault::LoseMessage, Frequency { probability: 0.2, times: Some(2) }),
        (RequestFault::LoseAnswer, Frequency { probability: 0.2, times: Some(1) }),
    ];
    for (fault, frequency) in requests {
        let rule = RequestRule { api: Some(Api::AppEngine), frequency, ..RequestRule::new(fault) };
        emulator.add_request_rule(rule).expect("a rule");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes of real time: cargo test -p hedgerow-astarte -- --ignored faults"]
async fn faults_and_a_restart_in_the_middle_change_how_long_it_takes_and_nothing_else() {
    let world = World::start(12, DeviceProfile::flawless(), 7).await;
    let_things_go_wrong(&world.emulator);
    let service = world.serve().await;
    service.create("0").await;
    // Until devices are at work, however long that takes.
    loop {
        let progress = service.engine.progress(&tenant(), campaign()).await.expect("the campaign");
        if progress.targets.in_progress + progress.targets.successful >= 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    service.stop().await;
    for number in 0..3 {
        let _ = world.emulator.disconnect(REALM, as_emulated(device(number)));
    }
    world.emulator.lose_session(REALM, as_emulated(device(3))).expect("a device");
    tokio::time::sleep(Duration::from_secs(3)).await;

    let service = world.serve().await;
    let progress = service.ended(Duration::from_secs(240)).await;
    assert_eq!(progress.outcome, Some(Outcome::Success), "{progress:?}");
    assert_eq!(progress.targets.successful, 12, "{progress:?}");
    service.stop().await;
    world.end().await;
}
