//! What an emulator is to be like, and its start.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authority::{Authority, AuthorityError};
use crate::clock::Clock;
use crate::edgehog;
use crate::emulator::Emulator;
use crate::faults::Faults;
use crate::http;
use crate::interface::{Installed, InterfaceError};
use crate::keys::{KeyError, RealmKeys};
use crate::platform::Platform;
use crate::realm::Realm;
use crate::recorder::Recorder;
use crate::servers::{serve_http, serve_mqtt};
use crate::trigger::Trigger;
use crate::trigger::delivery::{DeliverySettings, TriggerEngine};
use crate::trigger::policy::Policy;
use crate::version::Version;

/// An emulator cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Without a realm there is nothing to emulate: call [`EmulatorBuilder::realm`].
    #[error("no realm was given")]
    NoRealm,
    /// Realm names are lower-case letters and digits and begin with a letter.
    #[error("{0:?} is not the name of a realm: lower-case letters and digits, a letter first")]
    RealmName(String),
    /// A realm's key cannot be used.
    #[error("the key of realm {realm}: {source}")]
    Key {
        /// Whose key it is.
        realm: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// What is no version of Astarte.
    #[error("{0:?} is not a version of Astarte, such as 1.2.0")]
    Version(String),
    /// An interface to install is refused.
    #[error("an interface for realm {realm}: {source}")]
    Interface {
        /// Where it was to be installed.
        realm: String,
        /// What is wrong with it.
        source: InterfaceError,
    },
    /// The certificate authority cannot be set up.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// An address cannot be listened on; it may be in use.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The HTTP client of the triggers cannot be set up.
    #[error("the HTTP client of the triggers: {0}")]
    Client(#[from] reqwest::Error),
}

/// What an emulator is to be like.
#[derive(Debug)]
pub struct EmulatorBuilder {
    realms: BTreeMap<String, RealmKeys>,
    interfaces: Vec<(String, String)>,
    http: SocketAddr,
    mqtt: SocketAddr,
    host: String,
    seed: u64,
    certificate_validity: TimeDelta,
    with_admin: bool,
    trusted: Vec<reqwest::Certificate>,
    delivery: DeliverySettings,
    recorded_max: usize,
    version: Version,
    /// Realms that Edgehog has set up, and where its triggers deliver to.
    edgehog: Vec<(String, String)>,
}

impl EmulatorBuilder {
    pub(crate) fn new() -> Self {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            realms: BTreeMap::new(),
            interfaces: Vec::new(),
            http: anywhere,
            mqtt: anywhere,
            host: "localhost".to_owned(),
            seed: 0,
            certificate_validity: TimeDelta::days(365),
            with_admin: false,
            trusted: Vec::new(),
            delivery: DeliverySettings {
                connect_timeout: Duration::from_secs(8),
                receive_timeout: Duration::from_secs(5),
                engines: 1,
                enforce_limits: false,
            },
            recorded_max: 0,
            version: Version::default(),
            edgehog: Vec::new(),
        }
    }

    /// Adds a realm.
    #[must_use]
    pub fn realm(mut self, name: &str, keys: RealmKeys) -> Self {
        self.realms.insert(name.to_owned(), keys);
        self
    }

    /// Installs an interface in a realm, given as the JSON of its definition.
    #[must_use]
    pub fn interface(mut self, realm: &str, definition: &str) -> Self {
        self.interfaces.push((realm.to_owned(), definition.to_owned()));
        self
    }

    /// Whether [`EmulatorBuilder::interface`] takes the definition.
    ///
    /// # Errors
    ///
    /// When it breaks a rule.
    pub fn check_interface(definition: &str) -> Result<(), InterfaceError> {
        Installed::parse(definition).map(drop)
    }

    /// Sets a realm up as Edgehog does, with triggers that deliver to `events_url`.
    #[must_use]
    pub fn set_up_by_edgehog(mut self, realm: &str, events_url: &str) -> Self {
        self.edgehog.push((realm.to_owned(), events_url.to_owned()));
        self
    }

    /// Plays that version of Astarte, such as `1.2.0`; 1.3.0 unless said. Before 1.3 there are no
    /// triggers about registered and deleted devices, before 1.1.1 no delivery policies.
    ///
    /// # Errors
    ///
    /// [`StartError::Version`].
    pub fn astarte_version(mut self, version: &str) -> Result<Self, StartError> {
        self.version =
            Version::parse(version).ok_or_else(|| StartError::Version(version.to_owned()))?;
        Ok(self)
    }

    /// Where the HTTP APIs listen; any free port of the loopback interface unless said.
    #[must_use]
    pub fn http_address(mut self, address: SocketAddr) -> Self {
        self.http = address;
        self
    }

    /// Where the broker listens; any free port of the loopback interface unless said.
    #[must_use]
    pub fn mqtt_address(mut self, address: SocketAddr) -> Self {
        self.mqtt = address;
        self
    }

    /// The name or address under which clients reach the emulator, `localhost` unless said. It is
    /// in the URLs that the emulator tells and in the broker's certificate.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The seed of what is random about faults; 0 unless said.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How long the certificates of devices are valid; a year unless said.
    #[must_use]
    pub fn certificate_validity(mut self, validity: TimeDelta) -> Self {
        self.certificate_validity = validity;
        self
    }

    /// Serves the endpoint for faults at `/emulator`, which asks for no token; off unless said.
    #[must_use]
    pub fn admin_endpoint(mut self, enabled: bool) -> Self {
        self.with_admin = enabled;
        self
    }

    /// How long the receiver of a trigger may take to accept a connection and to answer; 8 s and
    /// 5 s unless said, as in Astarte.
    #[must_use]
    pub fn trigger_timeouts(mut self, connect: Duration, receive: Duration) -> Self {
        self.delivery.connect_timeout = connect;
        self.delivery.receive_timeout = receive;
        self
    }

    /// How many engines consume each queue of triggers; 1 unless said. With more, events of one
    /// device overtake each other, as with a replicated Astarte.
    #[must_use]
    pub fn trigger_engines(mut self, engines: usize) -> Self {
        self.delivery.engines = engines.clamp(1, 64);
        self
    }

    /// Whether a delivery policy's `maximum_capacity` and `event_ttl` have an effect. Off unless
    /// said: Astarte 1.3 passes them where RabbitMQ does not look.
    #[must_use]
    pub fn enforce_policy_limits(mut self, enforced: bool) -> Self {
        self.delivery.enforce_limits = enforced;
        self
    }

    /// Keeps the first `limit` things that go over the wire for [`Emulator::recording`]; none unless
    /// said.
    #[must_use]
    pub fn record(mut self, limit: usize) -> Self {
        self.recorded_max = limit;
        self
    }

    /// Trusts receivers of triggers over HTTPS whose certificates this one, in PEM, leads to.
    /// Without any, only the emulator's own authority is trusted.
    ///
    /// # Errors
    ///
    /// When the text is no certificate in PEM.
    pub fn trust(mut self, certificate_pem: &str) -> Result<Self, StartError> {
        self.trusted.push(reqwest::Certificate::from_pem(certificate_pem.as_bytes())?);
        Ok(self)
    }

    /// Starts the emulator; it runs until [`Emulator::shutdown`] or until it is dropped.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(mut self) -> Result<Emulator, StartError> {
        if self.realms.is_empty() {
            return Err(StartError::NoRealm);
        }
        let authority = Authority::generate(self.certificate_validity)?;
        let ca_certificate_pem = authority.certificate_pem();
        self.trusted.push(reqwest::Certificate::from_pem(ca_certificate_pem.as_bytes())?);
        let mut hosts = vec![self.host.clone()];
        for host in ["localhost", "127.0.0.1", "::1"] {
            if self.host != host {
                hosts.push(host.to_owned());
            }
        }
        let acceptor = TlsAcceptor::from(Arc::new(authority.broker_tls(&hosts)?));
        let http = listen(self.http).await?;
        let mqtt = listen(self.mqtt).await?;
        let stop = CancellationToken::new();
        let recorder = Arc::new(Recorder::new(self.recorded_max));
        let platform = Arc::new(Platform {
            clock: Clock::default(),
            version: self.version.clone(),
            faults: Faults::new(self.seed),
            engine: Arc::new(TriggerEngine::new(
                self.delivery.clone(),
                std::mem::take(&mut self.trusted),
                Arc::clone(&recorder),
                stop.clone(),
            )?),
            recorder,
            realms: self.realms()?,
            authority,
            broker_url: format!("mqtts://{}:{}/", bracketed(&self.host), mqtt.1.port()),
            stop: stop.clone(),
            links_ever: AtomicU64::new(0),
            broker_is_down: AtomicBool::new(false),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(serve_http(
            http.0,
            http::router(Arc::clone(&platform), self.with_admin),
            stop.clone(),
        ));
        tasks.spawn(serve_mqtt(mqtt.0, acceptor, Arc::clone(&platform), tasks.clone()));
        Ok(Emulator {
            base_url: format!("http://{}:{}", bracketed(&self.host), http.1.port()),
            http_address: http.1,
            mqtt_address: mqtt.1,
            ca_certificate_pem,
            platform,
            tasks,
            stop_when_dropped: stop.drop_guard(),
        })
    }

    fn realms(&mut self) -> Result<BTreeMap<String, Arc<Realm>>, StartError> {
        let mut realms = BTreeMap::new();
        for (name, keys) in std::mem::take(&mut self.realms) {
            let is_valid = name.starts_with(|first: char| first.is_ascii_lowercase())
                && name.len() <= 47
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            if !is_valid {
                return Err(StartError::RealmName(name));
            }
            let realm = Realm::new(&name, keys)
                .map_err(|source| StartError::Key { realm: name.clone(), source })?;
            realms.insert(name, Arc::new(realm));
        }
        for (name, events_url) in std::mem::take(&mut self.edgehog) {
            let realm = realms.get(&name).ok_or_else(|| StartError::RealmName(name.clone()))?;
            let definitions = edgehog::interfaces().map(|definition| definition.to_string());
            self.interfaces.extend(definitions.map(|definition| (name.clone(), definition)));
            set_up_by_edgehog(realm, &events_url);
        }
        for (name, definition) in &self.interfaces {
            let realm = realms.get(name).ok_or_else(|| StartError::RealmName(name.clone()))?;
            let installed = Installed::parse(definition)
                .map_err(|source| StartError::Interface { realm: name.clone(), source })?;
            let mut state = realm.lock();
            let majors = state.interfaces.entry(installed.name().to_owned()).or_default();
            majors.insert(installed.major(), installed);
        }
        Ok(realms)
    }
}

/// The policy and the triggers; the interfaces are installed with all others.
fn set_up_by_edgehog(realm: &Realm, events_url: &str) {
    let mut state = realm.lock();
    let definitions = edgehog::interfaces().map(|definition| definition.to_string());
    let interfaces = definitions.iter().filter_map(|text| Installed::parse(text).ok());
    let interfaces: BTreeMap<_, _> = interfaces
        .map(|installed| ((installed.name().to_owned(), installed.major()), installed))
        .collect();
    if let Ok(policy) = Policy::parse(&edgehog::policy()) {
        state.policies.insert(policy.name.clone(), Arc::new(policy));
    }
    for definition in edgehog::triggers(events_url) {
        let find = |name: &str, major| interfaces.get(&(name.to_owned(), major));
        if let Ok(trigger) = Trigger::parse(&definition, find) {
            state.triggers.insert(trigger.name.clone(), Arc::new(trigger));
        }
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let error = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    Ok((listener, address))
}

/// A host as it stands in a URL.
fn bracketed(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}
