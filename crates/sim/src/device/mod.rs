//! A simulated device: a pure state machine that answers OTA requests as real devices do.
//!
//! It exists so that a rollout meets in simulation what it will meet in the field. Real devices
//! lose their last report over the reboot, turn a repeated request away under the update's own
//! UUID while it runs on, publish an old base image first, and forget an update with the power;
//! the [`Flavour`]s differ in which. All of that is here, and none of it depends on a clock, on a
//! thread or on hidden chance: a device is its seed, its profile and the inputs it was given.
//!
//! ```
//! use hedgerow_core::{DeviceId, OperationId, Timestamp};
//! use hedgerow_sim::device::{DeviceInput, DeviceProfile, Flavour, SimulatedDevice};
//!
//! let id = DeviceId::from_bytes([7; 16]);
//! let profile = DeviceProfile::flawless();
//! let mut device = SimulatedDevice::new(1, 0, id, Flavour::LinuxRuntime013, "1.0.0", profile);
//!
//! let operation: OperationId = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse()?;
//! let mut output = Vec::new();
//! let url = "https://images.example/2.0.0".to_owned();
//! let update = DeviceInput::Update { operation, url, installs: Some("2.0.0".to_owned()) };
//! device.handle(Timestamp::from_millis(0), update, &mut output);
//! while let Some(at) = device.next_wake() {
//!     device.wake(at, &mut output);
//! }
//! assert_eq!(device.version(), "2.0.0");
//! # Ok::<(), hedgerow_core::IdError>(())
//! ```
//!
//! Not modelled: the streaming mode and the external reboot of the Linux runtime, and a wrong
//! clock: every report is stamped with the simulation's time.

mod esp32;
mod linux;
mod machine;
mod profile;
mod update;

use hedgerow_core::{DeviceId, OperationId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::random::Random;
pub use profile::{DeviceProfile, Spread};

use machine::{AfterBoot, Machine};
use update::RunningUpdate;

/// Which software a device runs, as far as its behaviour differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flavour {
    /// The Linux runtime 0.11: delivers its report after the reboot, publishes the old base image
    /// once more before the new one, and dies of a malformed request.
    LinuxRuntime011,
    /// The Linux runtime 0.13: loses its report after every reboot and ignores malformed requests.
    LinuxRuntime013,
    /// The ESP32 firmware: turns every request away while it is busy, and remembers an unfinished
    /// operation over a restart.
    Esp32,
}

/// What comes to a device from outside.
///
/// The three kinds of request are lost without a trace if the device is not connected: requests
/// are sent at most once and no broker keeps them. [`SimulatedDevice::handle`] decides that; the
/// caller passes on every request that it sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceInput {
    /// A request to install the image at a URL.
    Update {
        /// The operation's UUID.
        operation: OperationId,
        /// Where the image is; with the UUID, what identifies an update to a Linux device.
        url: String,
        /// The version of the image that is found there. `None`: there is none, and the device
        /// takes what the server answers for an image, which it is not.
        installs: Option<String>,
    },
    /// A request to give an update up.
    Cancel {
        /// The operation's UUID.
        operation: OperationId,
        /// The URL that the Update carried; `None` if the key is missing.
        url: Option<String>,
    },
    /// A request without a readable UUID, or with an unknown operation.
    Malformed,
    /// The power goes away, until [`PowerRestored`](Self::PowerRestored).
    PowerLoss,
    /// The power is back: a device without power boots.
    PowerRestored,
    /// The network goes away, until [`NetworkRestored`](Self::NetworkRestored).
    NetworkLost,
    /// The network is back: a running device connects.
    NetworkRestored,
}

/// What a device lets the outside see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceOutput {
    /// An event of an operation, with its texts as they are on the wire.
    Report {
        /// The operation's UUID.
        operation: OperationId,
        /// The status, such as `Downloading`.
        status: &'static str,
        /// The progress in percent.
        progress: u8,
        /// The status code, such as `InvalidBaseImage`; empty if there is none.
        code: &'static str,
        /// A text for people; often empty.
        message: &'static str,
        /// When the device says it was.
        stamp: Timestamp,
    },
    /// The device has connected.
    Connected,
    /// The connection has ended. How long a broker takes to notice is up to the caller.
    Disconnected,
    /// The device publishes the version of its base image.
    BaseImage {
        /// The version, not always the one that runs: see [`Flavour::LinuxRuntime011`].
        version: String,
    },
}

/// One device of a simulated fleet.
///
/// Give it what comes from outside with [`handle`](Self::handle), and call [`wake`](Self::wake)
/// when the time of [`next_wake`](Self::next_wake) has come; both may change it. An early wake is
/// harmless. A late one makes up for what was due, each at its own time, so that what a device
/// does never depends on how punctually it is woken.
///
/// A device is plain data: serialised at any moment and read back, it goes on as before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulatedDevice {
    id: DeviceId,
    seed: u64,
    index: u32,
    /// How many requests have reached it, and how many updates it began: each draws anew.
    requests: u32,
    attempts: u32,
    flavour: Flavour,
    /// What the world says of the network; `outage_until` is the profile's own trouble with it.
    network_up: bool,
    outage_until: Option<Timestamp>,
    machine: Machine,
    /// The broker knows no session of this process yet: base images are published on connecting.
    fresh_session: bool,
    /// An installation has ended since the last boot.
    installed_since_boot: bool,
    version: Box<str>,
    /// The version last published, where it is not the present one.
    published: Option<Box<str>>,
    publish_at: Option<Timestamp>,
    update: Option<Box<RunningUpdate>>,
    after_boot: Option<Box<AfterBoot>>,
    profile: DeviceProfile,
}

/// The purposes for which a device draws, in the upper half of the stream number; the lower half
/// counts. Part of what a seed means: never renumber.
const STREAM_TRAITS: u64 = 0;
const STREAM_REQUESTS: u64 = 1 << 32;
const STREAM_ATTEMPTS: u64 = 2 << 32;
const STREAM_BOOTS: u64 = 3 << 32;

impl SimulatedDevice {
    /// A device that has been running and connected for a while, with its base image published.
    /// For one that is not, pass it [`DeviceInput::NetworkLost`] or [`DeviceInput::PowerLoss`].
    ///
    /// `seed` is the simulation's, `index` the device's place in the fleet.
    #[must_use]
    pub fn new(
        seed: u64,
        index: u32,
        id: DeviceId,
        flavour: Flavour,
        version: &str,
        profile: DeviceProfile,
    ) -> Self {
        Self {
            id,
            seed,
            index,
            requests: 0,
            attempts: 0,
            flavour,
            network_up: true,
            outage_until: None,
            machine: Machine::On,
            fresh_session: false,
            installed_since_boot: false,
            version: version.into(),
            published: None,
            publish_at: None,
            update: None,
            after_boot: None,
            profile,
        }
    }

    /// The device's Astarte id.
    #[must_use]
    pub const fn id(&self) -> DeviceId {
        self.id
    }

    /// Which software it runs.
    #[must_use]
    pub const fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The version of the image that it runs (or will boot, if it is off).
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The version that it has last published, which is what the backend knows.
    #[must_use]
    pub fn published_version(&self) -> &str {
        self.published.as_deref().unwrap_or(&self.version)
    }

    /// Whether it is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.machine == Machine::On && self.network_up && self.outage_until.is_none()
    }

    /// The operation that it is working on.
    #[must_use]
    pub fn running_operation(&self) -> Option<OperationId> {
        self.update.as_ref().map(|update| update.operation)
    }

    /// What happens to its updates.
    #[must_use]
    pub const fn profile(&self) -> &DeviceProfile {
        &self.profile
    }

    /// Changes what happens to its updates, from the next one on.
    pub fn set_profile(&mut self, profile: DeviceProfile) {
        self.profile = profile;
    }

    /// Takes an input in. What it lets the outside see at once is added to `output`, after what
    /// was due before `now`.
    pub fn handle(&mut self, now: Timestamp, input: DeviceInput, output: &mut Vec<DeviceOutput>) {
        self.wake(now, output);
        match input {
            DeviceInput::Update { operation, url, installs } => {
                if self.hears_request() {
                    self.receive_update(now, operation, url, installs, output);
                }
            }
            DeviceInput::Cancel { operation, url } => {
                if self.hears_request() {
                    self.receive_cancel(now, operation, url.as_deref(), output);
                }
            }
            DeviceInput::Malformed => {
                if self.hears_request() && self.flavour == Flavour::LinuxRuntime011 {
                    self.exit_process(now, output);
                }
            }
            DeviceInput::PowerLoss => self.lose_power(now, Machine::Off, output),
            DeviceInput::PowerRestored => self.restore_power(now),
            DeviceInput::NetworkLost => {
                self.change(now, output, |device| device.network_up = false);
            }
            DeviceInput::NetworkRestored => {
                self.change(now, output, |device| device.network_up = true);
            }
        }
    }

    fn receive_update(
        &mut self,
        now: Timestamp,
        operation: OperationId,
        url: String,
        installs: Option<String>,
        output: &mut Vec<DeviceOutput>,
    ) {
        let answer = match self.flavour {
            Flavour::LinuxRuntime011 | Flavour::LinuxRuntime013 => {
                linux::answer_update(self.update.as_deref(), operation, &url)
            }
            Flavour::Esp32 => esp32::answer_update(self.update.as_deref()),
        };
        match answer {
            Answer::Ignore => {}
            Answer::Refuse(event) => self.report(now, operation, event, output),
            Answer::Obey => self.accept(now, operation, url, installs, output),
        }
    }

    fn receive_cancel(
        &mut self,
        now: Timestamp,
        operation: OperationId,
        url: Option<&str>,
        output: &mut Vec<DeviceOutput>,
    ) {
        let answer = match (self.flavour, url) {
            (Flavour::Esp32, url) => esp32::answer_cancel(self.update.as_deref(), operation, url),
            (_, Some(url)) => linux::answer_cancel(self.update.as_deref_mut(), operation, url),
            (Flavour::LinuxRuntime011, None) => {
                self.exit_process(now, output);
                Answer::Ignore
            }
            (Flavour::LinuxRuntime013, None) => Answer::Ignore,
        };
        match answer {
            Answer::Ignore => {}
            Answer::Refuse(event) => self.report(now, operation, event, output),
            Answer::Obey => {
                self.update = None;
                self.report(now, operation, Event::failure("Canceled", ""), output);
            }
        }
    }

    /// Whether a request arrives and the device takes notice of it.
    fn hears_request(&mut self) -> bool {
        if !self.is_connected() {
            return false;
        }
        self.requests = self.requests.wrapping_add(1);
        let lost = self
            .random(STREAM_REQUESTS | u64::from(self.requests))
            .chance(self.profile.lost_request);
        let silent = self.random(STREAM_TRAITS).chance(self.profile.silent);
        !lost && !silent
    }

    /// Sends an event of an operation. Without a connection it is dropped: the interface retains
    /// nothing, and the update goes on all the same.
    fn report(
        &self,
        now: Timestamp,
        operation: OperationId,
        event: Event,
        output: &mut Vec<DeviceOutput>,
    ) {
        if self.is_connected() {
            let Event { status, progress, code, message } = event;
            output.push(DeviceOutput::Report {
                operation,
                status,
                progress,
                code,
                message,
                stamp: now,
            });
        }
    }

    fn random(&self, stream: u64) -> Random {
        Random::for_device(self.seed, self.index.into(), stream)
    }
}

/// How a device takes a request.
enum Answer {
    /// It does what it is asked.
    Obey,
    /// It reports this event for the request's UUID and goes on as before.
    Refuse(Event),
    /// It goes on as before and says nothing.
    Ignore,
}

/// What a report says.
#[derive(Clone, Copy)]
struct Event {
    status: &'static str,
    progress: u8,
    code: &'static str,
    message: &'static str,
}

impl Event {
    const fn status(status: &'static str) -> Self {
        Self::progress(status, 0, "")
    }

    const fn progress(status: &'static str, progress: u8, message: &'static str) -> Self {
        Self { status, progress, code: "", message }
    }

    /// A trouble after which the device goes on.
    const fn error(code: &'static str, message: &'static str) -> Self {
        Self { status: "Error", progress: 0, code, message }
    }

    const fn failure(code: &'static str, message: &'static str) -> Self {
        Self { status: "Failure", progress: 0, code, message }
    }
}

#[cfg(test)]
mod tests;
