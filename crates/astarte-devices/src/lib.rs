//! Simulated devices on the real Astarte device SDK, for tests and demonstrations.
//!
//! What a device does with a request is decided by `hedgerow-sim`'s model of real firmware; how it
//! pairs, connects, publishes and receives is the SDK's, over TLS and MQTT. So a rollout meets both:
//! the surprises of firmware and those of the protocol.
//!
//! Time goes faster for the firmware than it does for the connection, so that an update takes
//! seconds.

mod device;
mod session;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::join_all;
use hedgerow_core::parse_version;
use hedgerow_sim::device::SimulatedDevice;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Where devices live, and how.
#[derive(Clone, Debug)]
pub struct DeviceSettings {
    /// The realm that they are registered in.
    pub realm: String,
    /// Where they pair, as in `https://api.astarte.example/pairing`.
    pub pairing_url: String,
    /// The interfaces that they declare, each as JSON.
    pub interfaces: Vec<String>,
    /// The version of the image at each URL.
    pub images: Images,
    /// How much faster time goes for the firmware; at least 1.
    pub speed: u32,
}

type Look = dyn Fn(&str, &str) -> Option<String> + Send + Sync;

/// Which version a device runs once it has installed what is at a URL; none, if there is nothing that
/// it can install. Clones share everything.
#[derive(Clone)]
pub struct Images(Arc<Look>);

impl Images {
    /// Looked up whenever a device is asked to install one: by its URL, and the version that the
    /// device shows now, which is the answer for what leaves the version as it is.
    #[must_use]
    pub fn looked_up(look: impl Fn(&str, &str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(look))
    }

    pub(crate) fn version(&self, url: &str, shown: &str) -> Option<String> {
        (self.0)(url, shown)
    }
}

/// The last version in the name of the file at a URL, as in `firmware-2.3.0.bin`: what there is to go
/// by where nothing else says which version a file has.
#[must_use]
pub fn version_in_name(url: &str) -> Option<&str> {
    let path = url.split(['?', '#']).next()?;
    let name = path.rsplit('/').next()?;
    let parts = name.split(|c: char| !c.is_ascii_digit() && c != '.');
    parts.map(|part| part.trim_matches('.')).rfind(|part| parse_version(part).is_ok())
}

impl From<BTreeMap<String, String>> for Images {
    fn from(versions: BTreeMap<String, String>) -> Self {
        Self::looked_up(move |url, _| versions.get(url).cloned())
    }
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Images")
    }
}

/// What a device shows of itself, if its interfaces have `SystemInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemInfo {
    /// Its serial number.
    pub serial_number: String,
    /// Its part number.
    pub part_number: String,
}

/// One device and what it pairs with.
#[derive(Clone, Debug)]
pub struct RegisteredDevice {
    /// What it shows of itself whenever it connects.
    pub system_info: Option<SystemInfo>,
    /// What it does.
    pub device: SimulatedDevice,
    /// What Astarte gave when it was registered.
    pub credentials_secret: String,
}

/// Devices at work, a task each. Dropped, they vanish without a goodbye.
#[derive(Debug)]
pub struct Devices {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Why a device could not do what it was to do with Astarte. It tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// It has nowhere to keep its certificate.
    #[error("no folder for the device: {0}")]
    Folder(#[from] std::io::Error),
    /// An interface or the pairing URL cannot be used.
    #[error("these settings cannot be used: {detail}")]
    Settings {
        /// What is wrong.
        detail: String,
    },
    /// Pairing or connecting failed.
    #[error("it could not connect: {detail}")]
    Connect {
        /// What the SDK said.
        detail: String,
    },
    /// Something could not be published.
    #[error("it could not publish: {detail}")]
    Publish {
        /// What the SDK said.
        detail: String,
    },
}

impl Devices {
    /// Starts these devices on the current tokio runtime.
    #[must_use]
    pub fn start(
        settings: DeviceSettings,
        devices: impl IntoIterator<Item = RegisteredDevice>,
    ) -> Self {
        let settings = Arc::new(settings);
        let (stop, stopped) = watch::channel(false);
        let tasks = devices.into_iter().map(|registered| {
            let device = device::LiveDevice::new(Arc::clone(&settings), registered);
            tokio::spawn(device.run(stopped.clone()))
        });
        let tasks = tasks.collect();
        Self { stop, tasks }
    }

    /// Stops them.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        join_all(std::mem::take(&mut self.tasks)).await;
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::version_in_name;

    #[test]
    fn a_file_has_the_last_version_in_its_name() {
        let at = |name: &str| format!("http://x/images/demo/5f0c7a0e-3d0b-1.2.3/{name}");
        for (name, version) in [
            ("gateway-3.1.0.bin", Some("3.1.0")),
            ("v2_10.0.7", Some("10.0.7")),
            ("from-1.0.0-to-2.0.0.bin", Some("2.0.0")),
            ("gateway-3.1.0.bin?signed=1.2.3", Some("3.1.0")),
            ("image.bin", None),
            // No number of a version begins with a 0.
            ("photo-2024.01.02.bin", None),
        ] {
            assert_eq!(version_in_name(&at(name)), version, "{name}");
        }
    }
}
