//! One connection of a device: what its process does with the SDK from its start to its end.

use std::path::Path;
use std::time::Duration;

use astarte_device_sdk::aggregate::AstarteObject;
use astarte_device_sdk::builder::DeviceBuilder;
use astarte_device_sdk::pairing::api::PairingApi;
use astarte_device_sdk::prelude::*;
use astarte_device_sdk::store::memory::MemoryStore;
use astarte_device_sdk::transport::mqtt::{Credential, Mqtt, MqttArgs, MqttConfig};
use astarte_device_sdk::{AstarteData, DeviceClient, Value};
use hedgerow_sim::device::{DeviceInput, DeviceOutput, Flavour};
use tokio::task::JoinHandle;

use crate::{DeviceError, DeviceSettings, RegisteredDevice, SystemInfo};

const OTA_REQUEST: &str = "io.edgehog.devicemanager.OTARequest";
const OTA_EVENT: &str = "io.edgehog.devicemanager.OTAEvent";
const BASE_IMAGE: &str = "io.edgehog.devicemanager.BaseImage";
const SYSTEM_INFO: &str = "io.edgehog.devicemanager.SystemInfo";
/// Pairing and connecting take much less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

type RealClient = DeviceClient<Mqtt<MemoryStore, PairingApi>>;

/// A device that is connected, or that the SDK keeps connecting again.
pub(crate) struct Session {
    client: RealClient,
    connection: JoinHandle<()>,
}

impl Drop for Session {
    /// The process ends: the broker sees the connection break.
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Session {
    /// Pairs, if the folder has no certificate yet, and connects.
    pub(crate) async fn connect(
        settings: &DeviceSettings,
        registered: &RegisteredDevice,
        folder: &Path,
    ) -> Result<Self, DeviceError> {
        let unusable = |detail: String| DeviceError::Settings { detail };
        let config = MqttConfig::new(MqttArgs {
            realm: settings.realm.clone(),
            device_id: registered.device.id().to_string(),
            credential: Credential::secret(registered.credentials_secret.clone()),
            pairing_url: settings
                .pairing_url
                .parse()
                .map_err(|_| unusable("the pairing URL is no URL".to_owned()))?,
        })
        // The SDK trusts the authorities of the machine alone, and an emulator's is not there.
        .ignore_ssl_errors();
        let mut builder = DeviceBuilder::new().store(MemoryStore::new()).writable_dir(folder);
        for interface in &settings.interfaces {
            let interface = keeping_reports(interface, registered.device.flavour())
                .map_err(|error| unusable(error.to_string()))?;
            builder =
                builder.interface_str(&interface).map_err(|error| unusable(error.to_string()))?;
        }
        let building = builder.connection(config).build();
        let (client, connection) = match tokio::time::timeout(CONNECT_TIMEOUT, building).await {
            Ok(Ok(built)) => built,
            Ok(Err(error)) => return Err(DeviceError::Connect { detail: error.to_string() }),
            Err(_) => {
                let detail = "it takes too long".to_owned();
                return Err(DeviceError::Connect { detail });
            }
        };
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.handle_events().await {
                tracing::debug!(%error, "a device's connection ended");
            }
        });
        Ok(Self { client, connection })
    }

    /// The next request to a device that shows that version; `None` if the connection has ended.
    pub(crate) async fn next_request(
        &self,
        settings: &DeviceSettings,
        shown: &str,
    ) -> Option<DeviceInput> {
        loop {
            let event = self.client.recv().await?;
            if event.interface == OTA_REQUEST
                && let Value::Object { data, .. } = event.data
            {
                return Some(read_request(settings, shown, &data));
            }
        }
    }

    /// Shows which device this is.
    pub(crate) async fn introduce(&mut self, system: &SystemInfo) -> Result<(), DeviceError> {
        let SystemInfo { serial_number, part_number } = system;
        for (path, value) in [("/serialNumber", serial_number), ("/partNumber", part_number)] {
            let value = AstarteData::String(value.clone());
            let published = self.client.set_property(SYSTEM_INFO, path, value).await;
            published.map_err(|error| DeviceError::Publish { detail: error.to_string() })?;
        }
        Ok(())
    }

    /// Publishes what the device lets the outside see.
    pub(crate) async fn publish(&mut self, output: &DeviceOutput) -> Result<(), DeviceError> {
        let published = match output {
            DeviceOutput::Report { operation, status, progress, code, message, .. } => {
                let text = |text: &str| AstarteData::String(text.to_owned());
                let report: AstarteObject = [
                    ("requestUUID", text(&operation.to_string())),
                    ("status", text(status)),
                    ("statusProgress", AstarteData::Integer(i32::from(*progress))),
                    ("statusCode", text(code)),
                    ("message", text(message)),
                ]
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect();
                // The firmware's time goes faster; its clock on the wire is right.
                let now = chrono::Utc::now();
                self.client.send_object_with_timestamp(OTA_EVENT, "/event", report, now).await
            }
            DeviceOutput::BaseImage { version } => {
                let version = AstarteData::String(version.clone());
                self.client.set_property(BASE_IMAGE, "/version", version).await
            }
            DeviceOutput::Connected | DeviceOutput::Disconnected => Ok(()),
        };
        published.map_err(|error| DeviceError::Publish { detail: error.to_string() })
    }
}

/// The interface as this firmware has it. It makes its last report right after the reboot, when the
/// SDK is not connected yet, and the SDK then drops what the interface does not tell it to keep. That
/// is how the newest runtime loses that report; the others deliver it. Nobody but the device sees how
/// it keeps what it sends.
fn keeping_reports(interface: &str, flavour: Flavour) -> serde_json::Result<String> {
    let mut interface: serde_json::Value = serde_json::from_str(interface)?;
    let keeps = flavour != Flavour::LinuxRuntime013 && interface["interface_name"] == OTA_EVENT;
    for mapping in interface["mappings"].as_array_mut().filter(|_| keeps).into_iter().flatten() {
        if let Some(mapping) = mapping.as_object_mut() {
            mapping.entry("retention").or_insert_with(|| "volatile".into());
        }
    }
    Ok(interface.to_string())
}

fn read_request(settings: &DeviceSettings, shown: &str, data: &AstarteObject) -> DeviceInput {
    let text = |key: &str| match data.get(key) {
        Some(AstarteData::String(text)) => Some(text.clone()),
        _ => None,
    };
    let operation = text("uuid").and_then(|uuid| uuid.parse().ok());
    match (text("operation").as_deref(), operation, text("url")) {
        (Some("Update"), Some(operation), Some(url)) => {
            let installs = settings.images.version(&url, shown);
            DeviceInput::Update { operation, url, installs }
        }
        (Some("Cancel"), Some(operation), url) => DeviceInput::Cancel { operation, url },
        _ => DeviceInput::Malformed,
    }
}
