//! A running emulator: where it is, what can be made to go wrong, and its end.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use crate::builder::EmulatorBuilder;
use crate::device_id::DeviceId;
use crate::faults::{EventRule, RequestRule, RuleError};
use crate::hooks::Hook;
use crate::keys::RealmKeys;
use crate::platform::Platform;
use crate::realm::Realm;
use crate::recorder::Recorded;
use crate::trigger::delivery::DeliveryCounts;

/// A hook was used on something that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// The emulator was built without this realm.
    #[error("there is no realm {0:?}")]
    NoRealm(String),
    /// Register the device first.
    #[error("there is no device {0}")]
    NoDevice(DeviceId),
    /// The device has asked for credentials already: unregister or delete it first.
    #[error("the device {0} is already registered and has asked for credentials")]
    AlreadyRegistered(DeviceId),
    /// The system has no random numbers.
    #[error("the system gives no random numbers for a credentials secret")]
    Random,
}

/// A running emulator. It stops when it is dropped; [`Emulator::shutdown`] also waits for its end.
pub struct Emulator {
    pub(crate) base_url: String,
    pub(crate) http_address: SocketAddr,
    pub(crate) mqtt_address: SocketAddr,
    pub(crate) ca_certificate_pem: String,
    pub(crate) platform: Arc<Platform>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop_when_dropped: DropGuard,
}

impl Emulator {
    /// Describes an emulator to start.
    #[must_use]
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::new()
    }

    /// Where the APIs are: `{base}/appengine/v1/{realm}`, `{base}/realmmanagement/v1/{realm}` and
    /// `{base}/pairing/v1/{realm}`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What devices are given as their pairing URL.
    #[must_use]
    pub fn pairing_url(&self) -> String {
        format!("{}/pairing", self.base_url)
    }

    /// Where devices connect to; they learn it by pairing.
    #[must_use]
    pub fn broker_url(&self) -> &str {
        &self.platform.broker_url
    }

    /// The address that the HTTP APIs listen on.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// The address that the broker listens on.
    #[must_use]
    pub fn mqtt_address(&self) -> SocketAddr {
        self.mqtt_address
    }

    /// The certificate of the authority that devices must trust, in PEM.
    #[must_use]
    pub fn ca_certificate_pem(&self) -> &str {
        &self.ca_certificate_pem
    }

    /// The keys of a realm, with which tokens can be minted.
    ///
    /// # Errors
    ///
    /// When there is no such realm.
    pub fn realm_keys(&self, realm: &str) -> Result<&RealmKeys, HookError> {
        Ok(&self.realm(realm)?.keys)
    }

    fn realm(&self, name: &str) -> Result<&Arc<Realm>, HookError> {
        self.platform.realms.get(name).ok_or_else(|| HookError::NoRealm(name.to_owned()))
    }

    /// Registers a device without the Pairing API. Returns its credentials secret.
    ///
    /// # Errors
    ///
    /// When there is no such realm, or the device has asked for credentials already.
    pub fn register_device(&self, realm: &str, device: DeviceId) -> Result<String, HookError> {
        let realm = self.realm(realm)?;
        let secret = self.platform.authority.secret::<32>().map_err(|_| HookError::Random)?;
        self.platform
            .register(realm, device, STANDARD.encode(secret))
            .ok_or(HookError::AlreadyRegistered(device))
    }

    /// Whether a device is connected.
    ///
    /// # Errors
    ///
    /// When there is no such realm or device.
    pub fn is_connected(&self, realm: &str, device: DeviceId) -> Result<bool, HookError> {
        let state = self.realm(realm)?.lock();
        let device = state.devices.get(&device).ok_or(HookError::NoDevice(device))?;
        Ok(device.link.is_some())
    }

    /// Closes the connection of a device, which may connect again at once. Returns whether it had
    /// one.
    ///
    /// # Errors
    ///
    /// When there is no such realm.
    pub fn disconnect(&self, realm: &str, device: DeviceId) -> Result<bool, HookError> {
        Ok(self.platform.disconnect(self.realm(realm)?, device))
    }

    /// Forgets the session of a device (its subscriptions and the messages that wait for it), and
    /// closes its connection.
    ///
    /// # Errors
    ///
    /// When there is no such realm.
    pub fn lose_session(&self, realm: &str, device: DeviceId) -> Result<(), HookError> {
        self.platform.lose_session(self.realm(realm)?, device);
        Ok(())
    }

    /// Lets the broker go down, which disconnects all devices and refuses them from then on, or come
    /// up again. Sessions stay.
    pub fn set_broker_down(&self, is_down: bool) {
        self.platform.set_broker_down(is_down);
    }

    /// Shifts the timestamps that a device itself gives, as if its clock were wrong.
    ///
    /// # Errors
    ///
    /// When there is no such realm or device.
    pub fn set_device_clock_offset(
        &self,
        realm: &str,
        device: DeviceId,
        offset: TimeDelta,
    ) -> Result<(), HookError> {
        let is_known = self.platform.set_device_clock(self.realm(realm)?, device, offset);
        is_known.then_some(()).ok_or(HookError::NoDevice(device))
    }

    /// Shifts the emulator's own clock: the timestamps of its events, what has expired, and which
    /// tokens are still good.
    pub fn set_clock_offset(&self, offset: TimeDelta) {
        self.platform.set_clock(offset);
    }

    /// The time by the emulator's clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.platform.clock.now()
    }

    /// Lets events go wrong from now on. Of the rules that fit an event, the first that strikes
    /// counts.
    ///
    /// # Errors
    ///
    /// When the rule makes no sense.
    pub fn add_event_rule(&self, rule: EventRule) -> Result<(), RuleError> {
        self.platform.faults.add_event_rule(rule)
    }

    /// Lets requests go wrong from now on. Of the rules that fit a request, the first that strikes
    /// counts.
    ///
    /// # Errors
    ///
    /// When the rule makes no sense.
    pub fn add_request_rule(&self, rule: RequestRule) -> Result<(), RuleError> {
        self.platform.faults.add_request_rule(rule)
    }

    /// Ends all faults of rules.
    pub fn clear_rules(&self) {
        self.platform.faults.clear();
    }

    /// Begins a new sequence of what is random about faults.
    pub fn set_seed(&self, seed: u64) {
        self.platform.faults.seed(seed);
    }

    /// How often a hook was used so far: how often a fault of a rule struck, for those that rules
    /// make.
    #[must_use]
    pub fn uses(&self, hook: Hook) -> u64 {
        self.platform.faults.hooks.uses(hook)
    }

    /// What became of the events so far.
    #[must_use]
    pub fn deliveries(&self) -> DeliveryCounts {
        self.platform.engine.counts()
    }

    /// What went over the wire so far, in its order, up to what was asked for with
    /// [`EmulatorBuilder::record`].
    #[must_use]
    pub fn recording(&self) -> Vec<Recorded> {
        self.platform.recorder.entries()
    }

    /// Waits until no event is queued, delayed or being sent.
    pub async fn deliveries_idle(&self) {
        self.platform.engine.idle().await;
    }

    /// Stops listening, closes all connections, and waits until that is done. Events that are still
    /// queued are lost.
    pub async fn shutdown(self) {
        drop(self.stop_when_dropped);
        self.tasks.close();
        self.tasks.wait().await;
        self.platform.engine.stopped().await;
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Emulator")
            .field("base_url", &self.base_url)
            .field("broker_url", &self.platform.broker_url)
            .finish_non_exhaustive()
    }
}
