//! A served API over a real loopback socket, with simulated devices behind it, and a client that
//! speaks HTTP and Phoenix' frames.
#![allow(dead_code, unreachable_pub, reason = "no test uses all of it")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, ready};
use futures::{SinkExt, StreamExt};
use hedgerow_catalogue::files::{FileSettings, ImageFiles};
use hedgerow_catalogue::{Catalogue, Connection, DeviceNews, SystemInfo};
use hedgerow_core::*;
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::view::{MemoryViews, ViewStore};
use hedgerow_engine::{Engine, EngineBuilder, Moment, Observation, Sighting};
use hedgerow_graphql::auth::{Access, TenantAccess};
use hedgerow_graphql::{Api, Limits, Origins};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// The tenant that is open to this machine.
pub const TENANT: &str = "demo";

/// Devices that do what they are told, when they are told.
#[derive(Default)]
pub struct Devices {
    engine: OnceLock<Engine>,
    /// The operations that were asked for and not answered yet.
    pub asked: Mutex<BTreeMap<DeviceId, OperationId>>,
    /// Whether they report success as soon as they are asked.
    pub obey: std::sync::atomic::AtomicBool,
    /// How many there are.
    pub count: std::sync::atomic::AtomicU32,
}

pub fn device(number: u32) -> DeviceId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&(number + 1).to_be_bytes());
    DeviceId::from_bytes(bytes)
}

impl DeviceTransport for Devices {
    fn send_update(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        if self.obey.load(std::sync::atomic::Ordering::Relaxed) {
            let (engine, tenant) = (self.engine.get().cloned().unwrap(), tenant.clone());
            tokio::spawn(async move {
                let report = OperationReport::new(device, operation, ReportStatus::Success);
                engine.observe(&tenant, Observation::Report(report)).await.unwrap();
            });
        } else {
            self.asked.lock().unwrap().insert(device, operation);
        }
        ready(RequestAnswer::Accepted).boxed()
    }

    fn send_cancel(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        ready(RequestAnswer::Accepted).boxed()
    }

    fn base_image_version(
        &self,
        _: &TenantId,
        _: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        ready(Ok(Some("1.4.0".to_owned()))).boxed()
    }
}

impl FleetDirectory for Devices {
    fn targets(
        &self,
        _: &TenantId,
        _: &Channel,
        _: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        let count = self.count.load(std::sync::atomic::Ordering::Relaxed);
        ready(Ok((0..count).map(|number| (device(number), online())).collect())).boxed()
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        ready(Ok(vec![online(); devices.len()])).boxed()
    }
}

fn online() -> Sighting {
    Sighting::now(Some(Presence::Online { since: Timestamp::default() }))
}

/// A served API.
pub struct Served {
    pub address: SocketAddr,
    pub engine: Engine,
    pub catalogue: Catalogue,
    pub files: ImageFiles,
    pub devices: Arc<Devices>,
    pub tenant: TenantId,
    /// Where uploads go, and a store may be.
    pub folder: tempfile::TempDir,
}

/// Serves with those tenants beside the open one.
pub async fn serve_with(tenants: Vec<(&str, TenantAccess)>, limits: Limits) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let (store, views) = (Arc::new(MemoryStore::new()), Arc::new(MemoryViews::default()));
    serve_on(store, views, folder, tenants, limits).await
}

/// Serves on that store.
pub async fn serve_on(
    store: Arc<dyn EventStore>,
    views: Arc<dyn ViewStore>,
    folder: tempfile::TempDir,
    tenants: Vec<(&str, TenantAccess)>,
    limits: Limits,
) -> Served {
    let devices = Arc::new(Devices::default());
    let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    let catalogue = Catalogue::open(store.clone(), runtime.clone());
    let images = folder.path().join("images");
    std::fs::create_dir_all(&images).unwrap();
    let files =
        ImageFiles::in_folder(&images, "http://127.0.0.1/images", FileSettings::default()).unwrap();
    let engine =
        EngineBuilder::new(store, devices.clone(), devices.clone(), runtime.clone(), runtime)
            .views(views)
            .start()
            .await
            .unwrap();
    let _ = devices.engine.set(engine.clone());
    let open = [(TENANT, TenantAccess::default())];
    let tenants = open.into_iter().chain(tenants);
    let access: Access = tenants.map(|(name, access)| (name.parse().unwrap(), access)).collect();
    let api = Api {
        engine: engine.clone(),
        catalogue: catalogue.clone(),
        files: Some(files.clone()),
        access: Arc::new(access),
        origins: Origins::Own,
        limits,
    };
    let router = api.router().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).await.unwrap();
    });
    let tenant = TENANT.parse().unwrap();
    Served { address, engine, catalogue, files, devices, tenant, folder }
}

pub async fn serve() -> Served {
    serve_with(Vec::new(), Limits::default()).await
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

impl Served {
    /// Sends bytes as they are, and reads the answer to its end.
    pub async fn raw(&self, request: &[u8]) -> Answered {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A server that refuses a long body may close before it has read it.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = serde_json::from_str(body).unwrap_or(Value::String(body.to_owned()));
        Answered { status, head: head.to_owned(), body }
    }

    /// Posts a body with further lines of the head.
    pub async fn post(&self, slug: &str, head: &str, body: &[u8]) -> Answered {
        let host = self.address;
        let mut request = format!(
            "POST /tenants/{slug}/api HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{head}Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.raw(&request).await
    }

    /// Asks the open tenant, and returns the whole answer.
    pub async fn ask(&self, query: &str, variables: Value) -> Value {
        let body = json!({"query": query, "variables": variables}).to_string();
        let head = "Content-Type: application/json\r\nAccept-Language: en\r\n";
        let answer = self.post(TENANT, head, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Asks the open tenant for what there is to be, without errors.
    pub async fn data(&self, query: &str, variables: Value) -> Value {
        let mut answer = self.ask(query, variables).await;
        assert!(answer.get("errors").is_none(), "{query}: {answer:#}");
        answer["data"].take()
    }

    /// The first error of what is refused, and what there is of data.
    pub async fn refused(&self, query: &str, variables: Value) -> (Value, Value) {
        let mut answer = self.ask(query, variables).await;
        let error = answer["errors"][0].take();
        assert!(error["fields"].is_array() && error["code"].is_string(), "{query}: {answer:#}");
        (error, answer["data"].take())
    }

    /// Makes so many devices known, all of one part number, and has them be a campaign's targets.
    pub fn fleet(&self, count: u32, part_number: &str) {
        self.devices.count.store(count, std::sync::atomic::Ordering::Relaxed);
        let news = (0..count).map(|number| DeviceNews {
            connection: Some(Connection {
                online: true,
                last_connection: Some(Timestamp::from_millis(1_700_000_000_000)),
                ..Connection::default()
            }),
            system: Some(SystemInfo {
                part_number: Some(part_number.to_owned()),
                serial_number: Some(format!("SN-{number}")),
            }),
            ..DeviceNews::new(device(number), Moment::now())
        });
        self.catalogue.observe(&self.tenant, news);
    }

    /// Sends a form, and returns the whole answer. Parts with a file name are files.
    pub async fn form(&self, parts: &[(&str, Option<&str>, &[u8])]) -> Answered {
        let mut body = Vec::new();
        for (name, file, content) in parts {
            let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
            let head =
                format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--edge--\r\n");
        self.post(TENANT, "Content-Type: multipart/form-data; boundary=edge\r\n", &body).await
    }

    /// How many files there are in the store of files.
    pub fn stored_files(&self) -> usize {
        fn count(folder: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
        }
        count(&self.folder.path().join("images"))
    }

    /// Opens a socket as the dashboard does.
    pub async fn socket(&self) -> Socket {
        let url =
            format!("ws://{}/socket/websocket?vsn=2.0.0&token=&tenant={TENANT}", self.address);
        let (stream, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let mut socket = Socket { stream, next: 0 };
        let reply = socket.call("__absinthe__:control", "phx_join", json!({})).await;
        assert_eq!(reply["status"], "ok");
        socket
    }

    /// Creates a campaign beside the API, as a service in Rust does.
    pub async fn campaign(&self, name: &str, pending: u32) -> CampaignId {
        let id = CampaignId::from_uuid(uuid::Uuid::new_v4());
        let pending = std::num::NonZeroU32::new(pending).unwrap();
        let definition = CampaignDefinition {
            name: name.parse().unwrap(),
            base_image: BaseImage {
                system_model: "gateway".parse().unwrap(),
                version: Version::new(2, 0, 0),
                url: "https://images.example/2.0.0.bin".parse().unwrap(),
                starting_version_requirement: None,
            },
            channel: Channel::new("stable".parse().unwrap(), ["gardens".parse().unwrap()]).unwrap(),
            rollout: RolloutMechanism::Push(PushRollout {
                limits: RolloutLimits::new(pending, "33.3".parse().unwrap()),
                gates: GatePolicy::default(),
                minimum_targets: 0,
            }),
            when_running: WhenRunning::Supersede,
        };
        self.engine.create(&self.tenant, id, definition, None).await.unwrap();
        id
    }

    /// Waits until a campaign satisfies something.
    pub async fn until(&self, id: CampaignId, is_so: impl Fn(&hedgerow_engine::Progress) -> bool) {
        soon(async {
            while !is_so(&self.engine.progress(&self.tenant, id).await.unwrap()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Lets a device report about the operation that it was asked for.
    pub async fn report(&self, number: u32, status: ReportStatus) {
        let device = device(number);
        let operation = self.devices.asked.lock().unwrap()[&device];
        let report = OperationReport::new(device, operation, status);
        self.engine.observe(&self.tenant, Observation::Report(report)).await.unwrap();
    }
}

/// What must happen, happens: a test that would wait for ever fails.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it happens soon")
}

pub fn global(kind: &str, key: impl std::fmt::Display) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("{kind}:{key}"))
}

/// A socket that speaks Phoenix' frames.
pub struct Socket {
    pub stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: u32,
}

impl Socket {
    pub async fn send(&mut self, frame: &Value) {
        self.stream.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame; `None`: the socket is closed.
    pub async fn receive(&mut self) -> Option<Value> {
        soon(async {
            loop {
                match self.stream.next().await? {
                    Ok(Message::Text(text)) => {
                        return Some(serde_json::from_str(&text).unwrap());
                    }
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        })
        .await
    }

    /// Sends a frame and returns the payload of its reply. Events that come before are passed over.
    pub async fn call(&mut self, topic: &str, event: &str, payload: Value) -> Value {
        self.next += 1;
        let reference = self.next.to_string();
        self.send(&json!([null, reference, topic, event, payload])).await;
        loop {
            let mut frame = self.receive().await.expect("a reply");
            if frame[1] == reference.as_str() {
                assert_eq!((&frame[0], &frame[2]), (&Value::Null, &json!(topic)), "{frame}");
                assert_eq!(frame[3], "phx_reply");
                return frame[4].take();
            }
        }
    }

    /// Sends a document that is no subscription, or subscribes.
    pub async fn doc(&mut self, query: &str, variables: Value) -> Value {
        let payload = json!({"query": query, "variables": variables});
        self.call("__absinthe__:control", "doc", payload).await
    }

    /// Subscribes, and returns the id of the subscription.
    pub async fn subscribe(&mut self, query: &str, variables: Value) -> String {
        let reply = self.doc(query, variables).await;
        assert_eq!(reply["status"], "ok", "{query}: {reply:#}");
        reply["response"]["subscriptionId"].as_str().expect("an id").to_owned()
    }

    /// The data of the next event, and of which subscription it is.
    pub async fn event(&mut self) -> (String, Value) {
        loop {
            let mut frame = self.receive().await.expect("an event");
            if frame[3] == "subscription:data" {
                assert_eq!((&frame[0], &frame[1]), (&Value::Null, &Value::Null), "{frame}");
                let mut payload = frame[4].take();
                assert_eq!(payload["subscriptionId"], frame[2], "{frame}");
                assert!(payload["result"].get("errors").is_none(), "{payload:#}");
                let id = frame[2].as_str().unwrap().to_owned();
                return (id, payload["result"]["data"].take());
            }
        }
    }

    /// Waits for an event that satisfies something.
    pub async fn event_that(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        soon(async {
            loop {
                let (_, data) = self.event().await;
                if is_it(&data) {
                    return data;
                }
            }
        })
        .await
    }
}
