//! An emulator whose realm has everything, devices on the real SDK at work in it, and a service that
//! rolls updates out to them and can be stopped and started again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use hedgerow_astarte::provisioning::{InstallSettings, Installation};
use hedgerow_astarte::triggers::TriggerSettings;
use hedgerow_astarte::{
    AppEngine, Astarte, AstarteFleet, Credentials, HttpConnections, HttpSettings, Realm,
    RealmClient, RealmManagement, Reconciler, SystemModelSource, TriggerReceiver,
};
use hedgerow_astarte_devices::{DeviceSettings, Devices, RegisteredDevice};
use hedgerow_astarte_emulator::{Emulator, RealmKeys};
use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, DeviceId, GatePolicy, OperationLimits,
    Outcome, PushRollout, RolloutLimits, RolloutMechanism, StoredEvent, StreamId, TargetView,
    TenantId, Version, WhenRunning,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::store::EventStore;
use hedgerow_engine::{Engine, EngineBuilder, Progress};
use hedgerow_sim::device::{DeviceProfile, Flavour, SimulatedDevice};
use hedgerow_sqlite::SqliteStore;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock::FastClock;

pub const REALM: &str = "gardens";
pub const IMAGE: &str = "https://images.example/2.0.0.bin?signature=qT7vXk0wNotForLogs";
/// What a device begins with.
pub const OLD_VERSION: &str = "1.0.0";
/// What it ends with.
pub const NEW_VERSION: &str = "2.0.0";

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub struct WorldSettings {
    pub devices: u32,
    /// Decides what devices do and which faults strike.
    pub seed: u64,
    pub profile: DeviceProfile,
    /// How much faster time goes for the firmware.
    pub firmware_speed: u32,
    /// How much faster it goes for the engine.
    pub engine_speed: u32,
    /// How much of what goes over the wire is recorded.
    pub recorded: usize,
    /// The header that triggers send and the endpoint asks for.
    pub trigger_secret: Option<&'static str>,
}

impl Default for WorldSettings {
    fn default() -> Self {
        Self {
            devices: 12,
            seed: 1,
            profile: DeviceProfile::flawless(),
            firmware_speed: 60,
            engine_speed: 10,
            recorded: 0,
            trigger_secret: None,
        }
    }
}

pub struct World {
    pub settings: WorldSettings,
    pub emulator: Emulator,
    pub connections: HttpConnections,
    pub devices: Devices,
    clock: FastClock,
    /// Keeps the endpoint's port, on which nobody listens while the service is down.
    port: TcpSocket,
    folder: tempfile::TempDir,
}

pub fn tenant() -> TenantId {
    REALM.parse().expect("a realm")
}

pub fn campaign() -> CampaignId {
    "5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa".parse().expect("a UUID")
}

pub fn device(number: u32) -> DeviceId {
    DeviceId::from_bytes((u128::from(number) << 64 | 7).to_be_bytes())
}

pub fn as_emulated(device: DeviceId) -> hedgerow_astarte_emulator::DeviceId {
    hedgerow_astarte_emulator::DeviceId::from_bytes(*device.as_bytes())
}

impl World {
    pub async fn start(settings: WorldSettings) -> Self {
        let WorldSettings { devices: count, seed, profile, .. } = settings;
        // In vain for all but the first world of a process.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let keys = RealmKeys::generate().expect("keys");
        let builder = Emulator::builder().realm(REALM, keys).seed(seed).record(settings.recorded);
        let emulator = builder.start().await.expect("an emulator");
        let port = bound(SocketAddr::from(([127, 0, 0, 1], 0)));
        let url = format!("http://{}/triggers", port.local_addr().expect("an address"));

        let mut http = HttpSettings::default();
        // Shorter than the time that the engine gives a call, by its fast clock.
        http.request_timeout = Duration::from_secs(15) / settings.engine_speed.max(1);
        let connections = HttpConnections::new(&http).expect("TLS");
        let client =
            RealmClient::new(&connections, emulator.base_url(), REALM, with_key(&emulator));
        let realm = RealmManagement::new(client.expect("a base URL"));
        let mut install = InstallSettings::new(&url).expect("a URL");
        if let Some(secret) = settings.trigger_secret {
            install = install.with_secret("X-Secret", secret).expect("a header");
        }
        let installation = Installation::new(&install);
        installation.plan(&realm).await.expect("a plan").apply(&realm).await.expect("installed");

        let owner = owner(&emulator, &connections);
        let flavours = [Flavour::LinuxRuntime013, Flavour::LinuxRuntime011, Flavour::Esp32];
        let mut registered = Vec::new();
        for number in 0..count {
            let id = device(number);
            let secret = emulator.register_device(REALM, as_emulated(id)).expect("registered");
            owner.set_attribute(id, "model", "gateway").await.expect("an attribute");
            let flavour = flavours[number as usize % flavours.len()];
            let device = SimulatedDevice::new(seed, number, id, flavour, OLD_VERSION, profile);
            registered.push(RegisteredDevice {
                system_info: None,
                device,
                credentials_secret: secret,
            });
        }
        let ids: Vec<_> = (0..count).map(device).collect();
        owner.create_group("east", &ids).await.expect("a group");
        let devices = DeviceSettings {
            realm: REALM.to_owned(),
            pairing_url: emulator.pairing_url(),
            interfaces: installation.interfaces().iter().map(ToString::to_string).collect(),
            images: BTreeMap::from([(IMAGE.to_owned(), NEW_VERSION.to_owned())]).into(),
            speed: settings.firmware_speed,
        };
        let devices = Devices::start(devices, registered);
        let folder = tempfile::tempdir().expect("a folder");
        let clock = FastClock::new(settings.engine_speed);
        Self { settings, emulator, connections, devices, clock, port, folder }
    }

    /// A service on the world's store, which takes triggers until it is stopped.
    pub async fn serve(&self) -> Service {
        let store = SqliteStore::open(self.folder.path().join("hedgerow.db"));
        let store = Arc::new(store.expect("a store"));
        let realm = Realm {
            tenant: tenant(),
            base_url: self.emulator.base_url().to_owned(),
            credentials: with_key(&self.emulator),
        };
        // As a process that starts: it remembers nothing.
        let astarte = Astarte::new(&self.connections, [realm]).expect("a base URL");
        let fleet = AstarteFleet::new(astarte.clone(), SystemModelSource::attribute("model"));
        let (fleet, hold) = fleet.hold_presence();
        let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
        let (clock, transport) = (Arc::new(self.clock), Arc::new(astarte.clone()));
        let builder = EngineBuilder::new(store.clone(), transport, Arc::new(fleet), clock, runtime);
        let engine = builder.start().await.expect("a store that can be read");
        let reconciler = Reconciler::new(astarte.clone(), engine.clone());
        reconciler.fetch_reports().await;
        drop(hold);
        let rounds = reconciler.clone();
        let every = Duration::from_secs(60) / self.settings.engine_speed.max(1);
        let rounds = tokio::spawn(async move { rounds.run(every).await });
        let mut triggers = TriggerSettings::default();
        let secret = self.settings.trigger_secret.map(HeaderValue::from_static);
        triggers.secret = secret.map(|secret| (HeaderName::from_static("x-secret"), secret));
        let receiver = TriggerReceiver::new(astarte, engine.clone(), triggers)
            .with_reconciler(reconciler.clone());
        let listener = bound(self.port.local_addr().expect("an address")).listen(1_024);
        let listener = listener.expect("the port");
        let router = receiver.router();
        let (stop, stopped) = oneshot::channel::<()>();
        let endpoint = tokio::spawn(async move {
            // Connections must end with the service, as they do with its process: Astarte keeps
            // them open and would go on asking the engine that was shut down.
            let stopped = async move { drop(stopped.await) };
            let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
            serving.await.expect("a listener");
        });
        Service { engine, receiver, reconciler, rounds, endpoint, stop, store }
    }

    /// What Astarte knows, to its owner.
    pub fn owner(&self) -> AppEngine {
        owner(&self.emulator, &self.connections)
    }

    /// The address of the service's endpoint.
    pub fn endpoint(&self) -> String {
        self.port.local_addr().expect("an address").to_string()
    }

    /// Waits until every device is connected and shows that it runs what it was made with.
    pub async fn connected(&self, patience: Duration) {
        self.all_show(OLD_VERSION, patience).await;
    }

    /// Waits until every device shows that version.
    pub async fn all_show(&self, version: &str, patience: Duration) {
        let owner = self.owner();
        let waits = async {
            for number in 0..self.settings.devices {
                while owner.base_image_version(device(number)).await.ok().flatten().as_deref()
                    != Some(version)
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        tokio::time::timeout(patience, waits).await.expect("every device shows it");
    }

    /// The version that each device shows.
    pub async fn versions(&self) -> Vec<Option<String>> {
        let owner = self.owner();
        let mut versions = Vec::new();
        for number in 0..self.settings.devices {
            versions.push(owner.base_image_version(device(number)).await.expect("an answer"));
        }
        versions
    }

    pub async fn end(self) {
        self.devices.stop().await;
        self.emulator.shutdown().await;
    }
}

/// A socket at that address, beside others that do not listen there.
fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("a socket that shares its address");
    socket.bind(address).expect("a free port");
    socket
}

fn with_key(emulator: &Emulator) -> Credentials {
    let keys = emulator.realm_keys(REALM).expect("the realm");
    Credentials::private_key(keys.private_key_pem().expect("a private key")).expect("a usable key")
}

fn owner(emulator: &Emulator, connections: &HttpConnections) -> AppEngine {
    let token = emulator.realm_keys(REALM).expect("the realm").all_access_token();
    let credentials = Credentials::token(&token.expect("a token")).expect("a token");
    let client = RealmClient::new(connections, emulator.base_url(), REALM, credentials);
    AppEngine::new(client.expect("a base URL"))
}

/// A service at work.
pub struct Service {
    pub engine: Engine,
    pub receiver: TriggerReceiver,
    pub reconciler: Reconciler,
    rounds: JoinHandle<()>,
    endpoint: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    store: Arc<SqliteStore>,
}

impl Service {
    /// Begins the campaign, for at most so many devices at once.
    pub async fn create(&self, at_once: u32, failures: &str) {
        let at_once = NonZeroU32::new(at_once).expect("not 0");
        let limits = RolloutLimits {
            operation: OperationLimits {
                request_timeout: Duration::from_secs(30),
                // Enough for requests that fail by chance, one after the other.
                request_retries: 10,
                reboot_timeout: Duration::from_secs(120),
                stall_timeout: Some(Duration::from_secs(300)),
                ..OperationLimits::default()
            },
            ..RolloutLimits::new(at_once, failures.parse().expect("%"))
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
            rollout: RolloutMechanism::Push(PushRollout {
                limits,
                gates: GatePolicy::default(),
                minimum_targets: 0,
            }),
            when_running: WhenRunning::Supersede,
        };
        self.engine.create(&tenant(), campaign(), definition, None).await.expect("a campaign");
    }

    pub async fn targets(&self) -> Vec<TargetView> {
        let state = self.engine.state(&tenant(), campaign()).await;
        state.expect("an answer").expect("the campaign").targets().collect()
    }

    /// What was recorded about a device.
    pub async fn history(&self, device: DeviceId) -> Vec<StoredEvent> {
        let stream = StreamId::Campaign(campaign());
        let log = self.store.read_stream(&tenant(), stream, 0, usize::MAX).await;
        let is_its = |stored: &StoredEvent| {
            let event = CampaignEvent::from_stored(stored);
            event.is_ok_and(|event| event.device() == Some(device))
        };
        log.expect("the log").into_iter().filter(is_its).collect()
    }

    /// What was recorded about a device, to be read when something is wrong.
    pub async fn story(&self, device: DeviceId) -> String {
        let line = |stored: &StoredEvent| {
            let data = String::from_utf8_lossy(&stored.event.data);
            format!("{} {} {data}", stored.event.recorded_at, stored.event.event_type)
        };
        self.history(device).await.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    pub async fn progress(&self) -> Progress {
        self.engine.progress(&tenant(), campaign()).await.expect("the campaign")
    }

    /// Waits until the campaign is so far.
    pub async fn until(&self, patience: Duration, is_so: impl Fn(&Progress) -> bool) -> Progress {
        let waits = async {
            loop {
                let progress = self.progress().await;
                if is_so(&progress) {
                    return progress;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if let Ok(progress) = tokio::time::timeout(patience, waits).await {
            return progress;
        }
        for target in self.targets().await {
            println!("{target:?}\n{}", self.story(target.device).await);
        }
        panic!("it takes too long: {:?}", self.receiver.counts())
    }

    /// Waits for the end of the campaign, and of everything that was in progress with it.
    pub async fn ended(&self, patience: Duration) -> Progress {
        let is_ended = |p: &Progress| p.outcome.is_some() && p.targets.in_progress == 0;
        self.until(patience, is_ended).await
    }

    /// Waits for the end, which must be the success of all.
    pub async fn all_successful(&self, patience: Duration) {
        let progress = self.ended(patience).await;
        assert_eq!(progress.outcome, Some(Outcome::Success), "{progress:?}");
        assert_eq!(progress.targets.successful, progress.targets.total, "{progress:?}");
    }

    /// Ends it, as a process is ended that is told to.
    pub async fn stop(self) {
        self.rounds.abort();
        let _ = self.rounds.await;
        drop(self.stop);
        let _ = self.endpoint.await;
        self.engine.shutdown().await;
        self.store.close();
    }
}
