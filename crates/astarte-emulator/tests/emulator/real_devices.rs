//! Devices on the real device SDK, a dozen in one process, over pairing, TLS, MQTT, AppEngine and
//! triggers.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{
    Api, BASE_IMAGE, INTERFACES, OTA_EVENT, OTA_REQUEST, REALM, Receiver, incoming, on_device,
    start, with_data,
};
use astarte_device_sdk::aggregate::AstarteObject;
use astarte_device_sdk::builder::DeviceBuilder;
use astarte_device_sdk::pairing::api::PairingApi;
use astarte_device_sdk::prelude::*;
use astarte_device_sdk::store::memory::MemoryStore;
use astarte_device_sdk::transport::mqtt::{Credential, Mqtt, MqttArgs, MqttConfig};
use astarte_device_sdk::{AstarteData, DeviceClient, Value as SdkValue};
use hedgerow_astarte_emulator::{DeviceId, Emulator};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How many devices there are, unless this variable says so.
const DEVICES: u128 = 12;
const DEVICES_VARIABLE: &str = "HEDGEROW_EMULATOR_DEVICES";

type RealClient = DeviceClient<Mqtt<MemoryStore, PairingApi>>;

/// A device that tells its image and answers every request to update.
struct Device {
    client: RealClient,
    _directory: TempDir,
}

impl Device {
    /// Registers the device through the Pairing API, and connects it.
    async fn start(emulator: &Emulator, api: &Api, id: DeviceId) -> Self {
        let request = api.request(reqwest::Method::POST, "pairing", "agent/devices");
        let (status, body) = crate::support::answer(with_data(request, json!({"hw_id": id}))).await;
        assert_eq!(status, 201, "{body}");
        let secret = body["data"]["credentials_secret"].as_str().expect("a secret");

        let directory = TempDir::new().expect("a directory");
        let config = MqttConfig::new(MqttArgs {
            realm: REALM.to_owned(),
            device_id: id.to_string(),
            credential: Credential::secret(secret),
            pairing_url: emulator.pairing_url().parse().expect("a URL"),
        })
        // The SDK trusts the system's authorities only; that our certificates are good is tested
        // with a client that checks them.
        .ignore_ssl_errors();
        let builder = INTERFACES.into_iter().fold(
            DeviceBuilder::new().store(MemoryStore::new()).writable_dir(directory.path()),
            |builder, definition| builder.interface_str(definition).expect("an interface"),
        );
        let (client, connection) =
            builder.connection(config).build().await.expect("a paired device");
        tokio::spawn(connection.handle_events());
        let mut device = Self { client, _directory: directory };
        device
            .client
            .set_property(BASE_IMAGE, "/version", AstarteData::String("1.0.0".to_owned()))
            .await
            .expect("a property");
        let mut client = device.client.clone();
        tokio::spawn(async move {
            while let Some(event) = client.recv().await {
                answer(&mut client, event).await;
            }
        });
        device
    }
}

async fn answer(client: &mut RealClient, event: astarte_device_sdk::DeviceEvent) {
    let SdkValue::Object { data, .. } = event.data else { return };
    let Some(AstarteData::String(uuid)) = data.get("uuid") else { return };
    let report = [
        ("requestUUID", AstarteData::String(uuid.clone())),
        ("status", AstarteData::String("Acknowledged".to_owned())),
        ("statusProgress", AstarteData::Integer(0)),
        ("statusCode", AstarteData::String(String::new())),
        ("message", AstarteData::String(String::new())),
    ];
    let report: AstarteObject =
        report.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    client
        .send_object_with_timestamp(OTA_EVENT, "/event", report, chrono::Utc::now())
        .await
        .expect("an event");
}

fn request_path(id: DeviceId) -> String {
    format!("devices/{id}/interfaces/{OTA_REQUEST}/request")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dozen_real_devices_connect_and_answer_requests() {
    let (emulator, api) = start().await;
    let mut presence = Receiver::start(&[]).await;
    let mut images = Receiver::start(&[]).await;
    let mut reports = Receiver::start(&[]).await;
    api.install("connected", &presence.url, on_device("device_connected"), None).await;
    api.install("image", &images.url, incoming(BASE_IMAGE, 0), None).await;
    api.install("report", &reports.url, incoming(OTA_EVENT, 0), None).await;

    let number =
        std::env::var(DEVICES_VARIABLE).map_or(DEVICES, |number| number.parse().expect("a number"));
    let ids: Vec<DeviceId> =
        (1..=number).map(|number| DeviceId::from_bytes(number.to_be_bytes())).collect();
    let mut devices = Vec::new();
    for id in &ids {
        devices.push(Device::start(&emulator, &api, *id).await);
    }
    let texts: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
    let mut seen = BTreeSet::new();
    // The image comes last: by then the device has told its interfaces and subscribed.
    while seen.len() < ids.len() {
        let received = images.next().await;
        assert_eq!(received.event()["path"], "/version");
        assert_eq!(received.event()["value"], "1.0.0");
        seen.insert(text(&received.body["device_id"]));
    }
    assert_eq!(seen, texts);
    for _ in &ids {
        let received = presence.next().await;
        assert_eq!(received.event()["type"], "device_connected");
        assert_eq!(received.event()["device_ip_address"], "127.0.0.1");
    }

    for id in &ids {
        let (_, status) = api.get(&format!("devices/{id}")).await;
        assert_eq!(status["data"]["connected"], true, "{status}");
        assert_eq!(status["data"]["introspection"][OTA_REQUEST]["major"], 1, "{status}");
        let (_, image) = api.get(&format!("devices/{id}/interfaces/{BASE_IMAGE}")).await;
        assert_eq!(image["data"], json!({"version": "1.0.0"}));
    }

    let mut expected = BTreeMap::new();
    for id in &ids {
        let uuid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, id.as_bytes()).to_string();
        let request = json!({"operation": "Update", "url": "http://localhost/a", "uuid": uuid});
        let (status, body) = api.post(&request_path(*id), request.clone()).await;
        assert_eq!((status, &body["data"]), (200, &request));
        expected.insert(id.to_string(), uuid);
    }
    let mut answered = BTreeMap::new();
    for _ in &ids {
        let received = reports.next().await;
        let event = received.event();
        assert_eq!((&event["type"], &event["path"]), (&json!("incoming_data"), &json!("/event")));
        assert_eq!(event["value"]["status"], "Acknowledged");
        assert_eq!((received.realm.as_str(), received.secret.as_str()), (REALM, "open sesame"));
        let device = text(&received.body["device_id"]);
        answered.insert(device, text(&event["value"]["requestUUID"]));
    }
    assert_eq!(answered, expected);

    // What was reported is stored, and can be read after a given time.
    let (_, series) = api.get(&format!("devices/{}/interfaces/{OTA_EVENT}/event", ids[0])).await;
    let timestamp = text(&series["data"][0]["timestamp"]);
    assert_eq!(series["data"][0]["requestUUID"], json!(expected[&ids[0].to_string()]));
    let later = format!("devices/{}/interfaces/{OTA_EVENT}/event?since_after={timestamp}", ids[0]);
    assert_eq!(api.get(&later).await.0, 404, "nothing is later");

    for device in &mut devices {
        device.client.disconnect().await.expect("a goodbye");
    }
    emulator.shutdown().await;
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
