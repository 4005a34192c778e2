//! A service beside an Astarte that answers as the test says: what it makes of devices, and which
//! files it keeps for them.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::{Json, Router};
use bytes::Bytes;
use futures::stream;
use hedgerow_astarte::{BASE_IMAGE, Credentials, HttpConnections, HttpSettings, SYSTEM_INFO};
use hedgerow_astarte_emulator::RealmKeys;
use hedgerow_catalogue::files::{FileError, FileKey, ImageFiles};
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, DeviceId, GatePolicy, OperationLimits,
    PushRollout, RolloutLimits, RolloutMechanism, TenantId, Timestamp, WhenRunning,
};
use hedgerow_engine::ManualUpdateRequest;
use hedgerow_graphql::auth::TenantAccess;
use hedgerow_service::{ImagePlace, Service, Setup, TenantSetup};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

type Outcome = Result<(), Box<dyn Error>>;

/// No wait takes longer, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn tenant() -> TenantId {
    "gardens".parse().expect("a tenant")
}

fn device(byte: u8) -> DeviceId {
    DeviceId::from_bytes([byte; 16])
}

/// Every device as the list has it, and how often the list was asked for.
#[derive(Default)]
struct Realm {
    devices: Vec<Value>,
    lists: u64,
}

/// An Astarte with these devices; each shows a part number where it declares the interface.
async fn astarte(realm: Arc<Mutex<Realm>>) -> Result<String, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = Router::new().fallback(async move |request: Request| {
        let path = request.uri().path().to_owned();
        let rest = path.strip_prefix("/appengine/v1/gardens/devices").unwrap_or("/nothing");
        let mut realm = realm.lock().expect("no panic");
        let device = |id: &str| realm.devices.iter().find(|it| it["id"] == id).cloned();
        let found = match rest.split('/').collect::<Vec<_>>()[..] {
            _ if request.method() == Method::POST => Some(Value::Null),
            [""] => {
                realm.lists += 1;
                Some(json!(realm.devices))
            }
            ["", id] => device(id),
            ["", id, "interfaces", interface] => {
                let declares =
                    device(id).is_some_and(|it| it["introspection"][interface].is_object());
                let shown = match interface {
                    SYSTEM_INFO => json!({"partNumber": "GG-1", "serialNumber": "7"}),
                    _ => json!({"version": "1.0.0"}),
                };
                declares.then_some(shown)
            }
            _ => None,
        };
        if let Some(data) = found {
            return (StatusCode::OK, Json(json!({"data": data, "links": {}})));
        }
        let detail = json!({"detail": "Interface not found in device introspection"});
        (StatusCode::NOT_FOUND, Json(json!({"errors": detail})))
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

fn setup(folder: &Path, astarte: &str) -> Result<Setup, Box<dyn Error>> {
    let keys = RealmKeys::generate()?;
    let credentials = Credentials::private_key(keys.private_key_pem().expect("generated"))?;
    let tenant = TenantSetup::new(tenant(), TenantAccess::default(), astarte, credentials);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let images = ImagePlace::Folder(folder.join("images"));
    let connections = HttpConnections::new(&HttpSettings::default())?;
    let store = folder.join("hedgerow.db");
    let mut setup = Setup::new(store, listen, images, connections, vec![tenant]);
    setup.round = Duration::from_millis(100);
    Ok(setup)
}

/// Waits until it is so.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A device that connected at that second, with these interfaces.
fn connected(byte: u8, second: u8, interfaces: &[&str]) -> Value {
    let introspection: serde_json::Map<_, _> = interfaces
        .iter()
        .map(|name| ((*name).to_owned(), json!({"major": 0, "minor": 1})))
        .collect();
    json!({
        "id": device(byte), "connected": true, "introspection": introspection,
        "last_connection": format!("2026-01-01T00:00:{second:02}.000Z"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_declares_an_interface_no_longer_shows_nothing_on_it_any_more() -> Outcome {
    let folder = tempfile::tempdir()?;
    let realm = Arc::new(Mutex::new(Realm::default()));
    let both = [SYSTEM_INFO, BASE_IMAGE];
    let all = |second| (1..=3).map(|byte| connected(byte, second, &both)).collect();
    realm.lock().expect("no panic").devices = all(1);
    let url = astarte(Arc::clone(&realm)).await?;
    let service = Service::start(setup(folder.path(), &url)?).await?;
    let catalogue = service.catalogue().clone();
    let shows = |byte| {
        let fleet = catalogue.heard(&tenant());
        let known = fleet.device(device(byte)).map(|device| device.known().clone());
        let known = known.unwrap_or_default();
        (known.system.part_number, known.base_image.version)
    };
    let whole = (Some("GG-1".to_owned()), Some("1.0.0".to_owned()));
    eventually("all are read", async || (1..=3).all(|byte| shows(byte) == whole)).await;

    // The first lost one interface, the second another. The third was reset: it declares nothing until
    // it has connected again, and what it showed is what is known of it.
    let lists = {
        let mut realm = realm.lock().expect("no panic");
        realm.devices = vec![
            connected(1, 2, &[BASE_IMAGE]),
            connected(2, 2, &[SYSTEM_INFO]),
            connected(3, 2, &[]),
        ];
        realm.lists
    };
    eventually("the first shows no part number", async || shows(1) == (None, whole.1.clone()))
        .await;
    eventually("the second shows no version", async || shows(2) == (whole.0.clone(), None)).await;
    // The round that was under way has ended, and one after it.
    eventually("a round ends", async || realm.lock().expect("no panic").lists > lists + 2).await;
    assert_eq!(shows(3), whole);

    realm.lock().expect("no panic").devices = all(3);
    eventually("all show all", async || (1..=3).all(|byte| shows(byte) == whole)).await;
    service.run(std::future::ready(())).await;
    Ok(())
}

async fn file(files: &ImageFiles) -> Result<FileKey, Box<dyn Error>> {
    let pieces = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"image"))]);
    Ok(files.store(&tenant(), "a.bin", pieces).await?.key)
}

async fn is_gone(files: &ImageFiles, key: &FileKey) -> bool {
    matches!(files.size_bytes(key).await, Err(FileError::Missing { .. }))
}

fn campaign(url: hedgerow_core::ImageUrl) -> Result<CampaignDefinition, Box<dyn Error>> {
    let limits = RolloutLimits::new(1.try_into()?, "10".parse()?);
    Ok(CampaignDefinition {
        name: "kept".parse()?,
        base_image: BaseImage {
            url,
            version: "2.0.0".parse()?,
            system_model: "gateway".parse()?,
            starting_version_requirement: None,
        },
        channel: Channel::new("stable".parse()?, ["early".parse()?])?,
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::default(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_devices_are_told_to_fetch_stay_until_they_are_told_no_more() -> Outcome {
    let folder = tempfile::tempdir()?;
    let realm = Arc::new(Mutex::new(Realm::default()));
    realm.lock().expect("no panic").devices = vec![connected(1, 1, &[])];
    let url = astarte(realm).await?;
    let mut setup = setup(folder.path(), &url)?;
    setup.keep_unnamed = Duration::from_secs(1);
    let service = Service::start(setup).await?;
    let (engine, files) = (service.engine().clone(), service.files().clone());
    let triggers = format!("http://{}/triggers", service.address());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(service.run(async move {
        let _ = stopped.await;
    }));

    // One for a device alone, and one of a campaign whose image nothing names any more.
    let by_hand = file(&files).await?;
    let request = ManualUpdateRequest {
        request_id: "one".parse()?,
        device: device(1),
        url: files.url(&by_hand)?,
        expected_version: None,
        limits: OperationLimits::default(),
    };
    let operation = engine.start_manual_update(&tenant(), request).await?;
    let planned = file(&files).await?;
    let id: CampaignId = serde_json::from_value(json!("5f0c7a0e-3d0b-4a7e-9f6d-8a41c2d410aa"))?;
    let far = Timestamp::from_millis(4_102_444_800_000);
    engine.create(&tenant(), id, campaign(files.url(&planned)?)?, Some(far)).await?;

    // Younger than both, so that the round that removes it has looked at them.
    let unnamed = file(&files).await?;
    eventually("what nothing names is removed", async || is_gone(&files, &unnamed).await).await;
    assert!(!is_gone(&files, &by_hand).await && !is_gone(&files, &planned).await);

    let value = json!({
        "requestUUID": operation, "status": "Failure", "statusProgress": 0,
        "statusCode": "NetworkError", "message": "",
    });
    let event = json!({
        "type": "incoming_data", "interface": "io.edgehog.devicemanager.OTAEvent",
        "path": "/event", "value": value,
    });
    let trigger =
        json!({"timestamp": "2100-01-01T00:00:10.000Z", "device_id": device(1), "event": event});
    let posted = reqwest::Client::new().post(triggers).header("Astarte-Realm", "gardens");
    assert_eq!(posted.json(&trigger).send().await?.status(), 200);
    eventually("the update has ended", async || is_gone(&files, &by_hand).await).await;
    assert!(!is_gone(&files, &planned).await);
    engine.delete(&tenant(), id).await?;
    eventually("the campaign is deleted", async || is_gone(&files, &planned).await).await;
    stop.send(()).map_err(|()| "it ended by itself")?;
    tokio::time::timeout(PATIENCE, running).await??;
    Ok(())
}
