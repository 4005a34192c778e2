//! The emulator without sockets, for fuzzing: a script of bytes says what a device and a backend
//! send, and after each step no limit may be exceeded. Not part of the interface of this crate.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use bytes::BytesMut;
use chrono::TimeDelta;
use mqttbytes::QoS;
use mqttbytes::v4::Publish;
use tokio_util::sync::CancellationToken;

use crate::authority::Authority;
use crate::builder::StartError;
use crate::clock::Clock;
use crate::device::Device;
use crate::device_id::DeviceId;
use crate::faults::Faults;
use crate::http;
use crate::interface::Installed;
use crate::keys::RealmKeys;
use crate::mqtt::frame;
use crate::platform::{LinkHandle, Platform};
use crate::realm::{Realm, State};
use crate::recorder::Recorder;
use crate::trigger::delivery::{DeliverySettings, TriggerEngine};
use crate::version::Version;

const REALM: &str = "test";
const DEVICE: DeviceId = DeviceId::from_bytes([1; 16]);
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const INTERFACES: [&str; 5] = [
    include_str!("../tests/interfaces/io.edgehog.devicemanager.OTARequest.json"),
    include_str!("../tests/interfaces/io.edgehog.devicemanager.OTAEvent.json"),
    include_str!("../tests/interfaces/io.edgehog.devicemanager.BaseImage.json"),
    include_str!("../tests/interfaces/org.hedgerow.emulator.test.Settings.json"),
    include_str!("../tests/interfaces/org.hedgerow.emulator.test.Commands.json"),
];
const INTROSPECTION: &str = "io.edgehog.devicemanager.OTARequest:1:0;\
    io.edgehog.devicemanager.OTAEvent:0:1;io.edgehog.devicemanager.BaseImage:0:1;\
    org.hedgerow.emulator.test.Settings:1:0;org.hedgerow.emulator.test.Commands:1:0";

/// Ends of the topics that a script can choose.
const TOPICS: [&str; 9] = [
    "",
    "/control/emptyCache",
    "/control/producer/properties",
    "/control/other",
    "/capabilities",
    "/io.edgehog.devicemanager.OTAEvent/event",
    "/io.edgehog.devicemanager.BaseImage/version",
    "/io.edgehog.devicemanager.OTARequest/request",
    "/org.example.Unknown/path",
];

/// Methods and paths that a script can choose; the device is `D`.
const REQUESTS: [(&str, &str); 14] = [
    ("POST", "appengine/v1/test/devices/D/interfaces/io.edgehog.devicemanager.OTARequest/request"),
    ("PUT", "appengine/v1/test/devices/D/interfaces/org.hedgerow.emulator.test.Settings/limit"),
    ("PUT", "appengine/v1/test/devices/D/interfaces/org.hedgerow.emulator.test.Settings/a/enabled"),
    (
        "DELETE",
        "appengine/v1/test/devices/D/interfaces/org.hedgerow.emulator.test.Settings/a/enabled",
    ),
    ("POST", "appengine/v1/test/devices/D/interfaces/org.hedgerow.emulator.test.Commands/beep"),
    ("GET", "appengine/v1/test/devices/D/interfaces/io.edgehog.devicemanager.OTAEvent/event"),
    ("GET", "appengine/v1/test/devices/D/interfaces/io.edgehog.devicemanager.BaseImage"),
    ("GET", "appengine/v1/test/devices?details=true"),
    ("PATCH", "appengine/v1/test/devices/D"),
    ("POST", "appengine/v1/test/groups"),
    ("POST", "realmmanagement/v1/test/interfaces"),
    ("POST", "realmmanagement/v1/test/policies"),
    ("POST", "realmmanagement/v1/test/triggers"),
    ("POST", "pairing/v1/test/agent/devices"),
];

/// An emulator that a script is performed on.
pub struct Bench {
    platform: Arc<Platform>,
    realm: Arc<Realm>,
    interfaces: Vec<Installed>,
    token: String,
    runtime: tokio::runtime::Runtime,
}

/// What is left of one connection.
struct Wire {
    link: LinkHandle,
    /// What came and is no whole packet yet.
    bytes: BytesMut,
}

impl Bench {
    /// An emulator with one realm.
    ///
    /// # Errors
    ///
    /// When one cannot be set up.
    pub fn new() -> Result<Self, StartError> {
        let key = |source| StartError::Key { realm: REALM.to_owned(), source };
        let keys = RealmKeys::generate().map_err(key)?;
        let token = keys.all_access_token().map_err(key)?;
        let realm = Arc::new(Realm::new(REALM, keys).map_err(key)?);
        let interfaces = INTERFACES.into_iter().map(Installed::parse).collect::<Result<_, _>>();
        let interfaces = interfaces
            .map_err(|source| StartError::Interface { realm: REALM.to_owned(), source })?;
        let stop = CancellationToken::new();
        let recorder = Arc::new(Recorder::new(0));
        let settings = DeliverySettings {
            connect_timeout: Duration::from_secs(1),
            receive_timeout: Duration::from_secs(1),
            engines: 1,
            enforce_limits: true,
        };
        let engine = TriggerEngine::new(settings, Vec::new(), Arc::clone(&recorder), stop.clone())?;
        let platform = Arc::new(Platform {
            version: Version::default(),
            clock: Clock::default(),
            faults: Faults::new(0),
            authority: Authority::generate(TimeDelta::days(1))?,
            engine: Arc::new(engine),
            recorder,
            realms: [(REALM.to_owned(), Arc::clone(&realm))].into(),
            broker_url: String::new(),
            stop,
            links_ever: AtomicU64::new(0),
            broker_is_down: AtomicBool::new(false),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|source| StartError::Listen { address: ([0, 0, 0, 0], 0).into(), source })?;
        Ok(Self { platform, realm, interfaces, token, runtime })
    }

    /// Begins anew, and performs the script. No trigger's request ever leaves, since the tasks that
    /// would make it do not run.
    ///
    /// # Panics
    ///
    /// When a limit is exceeded.
    pub fn perform(&self, script: &[u8]) {
        let _entered = self.runtime.enter();
        self.begin();
        let mut wire = self.connect(true);
        let mut rest = script;
        while let Some((step, after)) = rest.split_first() {
            let (choice, after) = after.split_first().unwrap_or((&0, &[]));
            let (length, after) = after.split_first().unwrap_or((&0, &[]));
            let (data, after) = after.split_at(after.len().min(usize::from(*length)));
            rest = after;
            let choice = usize::from(*choice);
            let survives = match step % 4 {
                0 => self.receive(&mut wire, data),
                1 => {
                    let topic = format!("{REALM}/{DEVICE}{}", TOPICS[choice % TOPICS.len()]);
                    let mut publish = Publish::new(topic, QoS::AtLeastOnce, data);
                    publish.pkid = 1;
                    let mut bytes = BytesMut::new();
                    publish.write(&mut bytes).is_err() || self.receive(&mut wire, &bytes)
                }
                2 => {
                    self.request(REQUESTS[choice % REQUESTS.len()], data);
                    true
                }
                _ => false,
            };
            // Whoever is turned away comes back, as real devices do.
            if !survives {
                self.platform.disconnected(&self.realm, &wire.link);
                wire = self.connect(choice.is_multiple_of(2));
            }
            self.check_limits();
        }
    }

    fn begin(&self) {
        let mut state = State::default();
        for interface in &self.interfaces {
            let majors = state.interfaces.entry(interface.name().to_owned()).or_default();
            majors.insert(interface.major(), interface.clone());
        }
        *self.realm.lock() = state;
    }

    /// Connects the device, which is known anew if it was deleted, and lets it tell its interfaces.
    fn connect(&self, clean_session: bool) -> Wire {
        if !self.realm.lock().devices.contains_key(&DEVICE) {
            let device = Device::new(DEVICE, "secret".to_owned(), self.platform.clock.now());
            self.realm.lock().add_device(device);
        }
        let link = self
            .platform
            .connect(&self.realm, DEVICE, clean_session, ADDRESS)
            .unwrap_or_else(|code| panic!("a device that is known is refused: {code:?}"));
        let mut wire = Wire { link, bytes: BytesMut::new() };
        let mut hello = BytesMut::new();
        let mut subscribe =
            mqttbytes::v4::Subscribe::new(format!("{REALM}/{DEVICE}/#"), QoS::ExactlyOnce);
        subscribe.pkid = 1;
        let publish = Publish::new(format!("{REALM}/{DEVICE}"), QoS::AtMostOnce, INTROSPECTION);
        let written = subscribe.write(&mut hello).and_then(|_| publish.write(&mut hello));
        assert!(written.is_ok() && self.receive(&mut wire, &hello), "a good device is refused");
        wire
    }

    /// Bytes from the device. Returns whether the connection goes on.
    fn receive(&self, wire: &mut Wire, bytes: &[u8]) -> bool {
        wire.bytes.extend_from_slice(bytes);
        loop {
            match frame::next(&mut wire.bytes) {
                Ok(Some(packet)) => {
                    if self.platform.packet(&self.realm, &wire.link, packet).is_err() {
                        return false;
                    }
                }
                Ok(None) => break,
                Err(_) => return false,
            }
        }
        let Some(packets) = self.platform.outgoing(&self.realm, &wire.link) else { return false };
        let mut bytes = BytesMut::new();
        for packet in &packets {
            assert!(frame::write(packet, &mut bytes).is_ok(), "the broker cannot send {packet:?}");
        }
        true
    }

    fn request(&self, (method, path): (&str, &str), body: &[u8]) {
        let path = path.replace('D', &DEVICE.to_string());
        let request = axum::http::Request::builder()
            .method(method)
            .uri(format!("/{path}"))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/merge-patch+json")
            .body(axum::body::Body::from([br#"{"data":"#, body, b"}"].concat()));
        let Ok(request) = request else { return };
        let status =
            self.runtime.block_on(http::respond(&self.platform, request, ADDRESS, false)).status();
        assert!(status.as_u16() < 600, "{status}");
    }

    fn check_limits(&self) {
        let state = self.realm.lock();
        for device in state.devices.values() {
            assert!(device.introspection.len() <= 1000);
            if let Some(session) = &device.session {
                session.check_limits();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_script_makes_the_emulator_panic_or_exceed_its_limits() {
        let bench = Bench::new().expect("a bench");
        let mut random = fastrand::Rng::with_seed(1);
        let bson = bson::doc! {"v": {"status": "x", "statusProgress": 1}}.to_vec().expect("BSON");
        let good: [&[u8]; 6] = [
            &bson,
            br#"{"operation":"Update"}"#,
            br#""7""#,
            &[0x30, 0x02, 0, 0],
            &[0x62, 0x02, 0, 1],
            b"a.b:1:0;c.d:0:1",
        ];
        for _ in 0..300 {
            let mut script = Vec::new();
            for _ in 0..random.usize(1..20) {
                let mut data = good[random.usize(..good.len())].to_vec();
                for _ in 0..random.usize(..3) {
                    let index = random.usize(..data.len());
                    data[index] = random.u8(..);
                }
                let length = u8::try_from(data.len()).expect("short");
                script.extend_from_slice(&[random.u8(..), random.u8(..), length]);
                script.extend_from_slice(&data);
            }
            bench.perform(&script);
        }
    }
}
