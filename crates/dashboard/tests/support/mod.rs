//! Pages over an engine in memory, whose devices do what a test says.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::Router;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use futures::future::ready;
use futures::{FutureExt, StreamExt};
use hedgerow_catalogue::Catalogue;
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, CampaignStatus, Channel, DeviceId, GatePolicy,
    ImageUrl, OperationId, OperationReport, Presence, PushRollout, ReportStatus, RequestAnswer,
    RolloutLimits, RolloutMechanism, SystemModelHandle, TenantId, Timestamp, TransportError,
    WhenRunning,
};
use hedgerow_dashboard::Dashboard;
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::ports::{BoxFuture, DeviceTransport, FleetDirectory};
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::view::MemoryViews;
use hedgerow_engine::{Engine, EngineBuilder, Observation, Sighting};
use hedgerow_graphql::auth::{Access, PublicKey, ROLE_CLAIM, TenantAccess};
use semver::Version;
use serde_json::json;
use tower::ServiceExt;

const PATIENCE: Duration = Duration::from_secs(60);

/// Devices that take every request and do nothing by themselves.
#[derive(Default)]
struct Devices {
    count: Mutex<u32>,
    asked: Mutex<HashMap<DeviceId, OperationId>>,
}

pub(crate) fn device(number: u32) -> DeviceId {
    DeviceId::from_bytes((u128::from(number) + 1).to_be_bytes())
}

impl DeviceTransport for Devices {
    fn send_update(
        &self,
        _: &TenantId,
        device: DeviceId,
        operation: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        self.asked.lock().unwrap().insert(device, operation);
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
        let count = *self.count.lock().unwrap();
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

/// The pages of two tenants: `gardens` is open, `guarded` asks for tokens.
pub(crate) struct Pages {
    router: Router,
    engine: Engine,
    devices: Arc<Devices>,
    key: Vec<u8>,
    pub(crate) stopping: Arc<AtomicBool>,
}

pub(crate) fn get(path: &str) -> Builder {
    Request::get(path)
}

/// A form, as a page of the service's own sends it.
pub(crate) fn post(path: &str, form: &str) -> Builder {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    request.extension(form.to_owned())
}

impl Pages {
    pub(crate) async fn open() -> Self {
        let devices = Arc::new(Devices::default());
        let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
        let store = Arc::new(MemoryStore::new());
        let catalogue = Catalogue::open(store.clone(), runtime.clone());
        let (transport, directory) = (devices.clone(), devices.clone());
        let builder = EngineBuilder::new(store, transport, directory, runtime.clone(), runtime);
        let engine = builder.views(Arc::new(MemoryViews::default())).start().await.unwrap();
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let public = base64::engine::general_purpose::STANDARD
            .encode(pair.public_key().as_der().unwrap().as_ref());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{public}\n-----END PUBLIC KEY-----\n");
        let keys = vec![PublicKey::from_pem(&pem).unwrap()];
        let access: Access = [
            ("gardens".parse().unwrap(), TenantAccess::default()),
            ("guarded".parse().unwrap(), TenantAccess { keys, edgehog_tokens: false }),
        ]
        .into_iter()
        .collect();
        let stopping = Arc::new(AtomicBool::new(false));
        let dashboard = Dashboard {
            engine: engine.clone(),
            catalogue,
            access: Arc::new(access),
            stopping: stopping.clone(),
        };
        let key = pair.to_pkcs8v1().unwrap().as_ref().to_vec();
        Self { router: dashboard.router(), engine, devices, key, stopping }
    }

    /// Sends a request from this machine.
    async fn send(&self, request: Builder) -> axum::response::Response {
        let has_host = request.headers_ref().is_some_and(|headers| headers.contains_key("host"));
        let request = if has_host { request } else { request.header("host", "localhost") };
        let peer = ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 4_000)));
        let form = request.extensions_ref().and_then(|all| all.get::<String>().cloned());
        let body = form.map_or_else(Body::empty, Body::from);
        let request = request.extension(peer).body(body).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn ask(&self, request: Builder) -> (StatusCode, HeaderMap, String) {
        let (parts, body) = self.send(request).await.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
    }

    /// A page that is there.
    pub(crate) async fn shown(&self, request: Builder) -> String {
        let (status, _, page) = self.ask(request).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page
    }

    /// Signs in with a role, and returns the cookie as it is sent back, and as it was set.
    pub(crate) async fn signed_in(&self, role: &str) -> (String, String) {
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        let key = jsonwebtoken::EncodingKey::from_ec_der(&self.key);
        let token = jsonwebtoken::encode(&header, &json!({ROLE_CLAIM: role}), &key).unwrap();
        let form = post("/t/guarded/sign-in", &format!("token={token}"));
        let (status, headers, page) = self.ask(form).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
        let set = headers["set-cookie"].to_str().unwrap().to_owned();
        (set.split(';').next().unwrap().to_owned(), set)
    }

    /// A campaign that has begun: for so many devices, so many at once.
    pub(crate) async fn campaign(&self, name: &str, devices: u32, at_once: u32) -> CampaignId {
        self.campaign_of("gardens", name, devices, at_once).await
    }

    pub(crate) async fn guarded_campaign(&self) -> CampaignId {
        self.campaign_of("guarded", "Autumn", 2, 1).await
    }

    async fn campaign_of(
        &self,
        tenant: &str,
        name: &str,
        devices: u32,
        at_once: u32,
    ) -> CampaignId {
        *self.devices.count.lock().unwrap() = devices;
        let id = CampaignId::from_uuid(uuid::Uuid::new_v4());
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
                limits: RolloutLimits::new(
                    NonZeroU32::new(at_once).unwrap(),
                    "90".parse().unwrap(),
                ),
                gates: GatePolicy::default(),
                minimum_targets: 0,
            }),
            when_running: WhenRunning::Supersede,
        };
        let tenant: TenantId = tenant.parse().unwrap();
        self.engine.create(&tenant, id, definition, None).await.unwrap();
        let wanted = devices.min(at_once);
        self.until(|| async {
            let progress = self.engine.progress(&tenant, id).await.unwrap();
            progress.targets.in_progress == wanted
        })
        .await;
        id
    }

    async fn until<F: Future<Output = bool>>(&self, is_so: impl Fn() -> F) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it becomes so");
    }

    /// Lets a device report about the operation that it was asked for, once it was.
    pub(crate) async fn report(&self, number: u32, status: ReportStatus) {
        let device = device(number);
        let asked = || self.devices.asked.lock().unwrap().get(&device).copied();
        self.until(|| async { asked().is_some() }).await;
        let report = OperationReport::new(device, asked().unwrap(), status);
        let tenant = "gardens".parse().unwrap();
        self.engine.observe(&tenant, Observation::Report(report)).await.unwrap();
    }

    pub(crate) async fn status(&self, id: CampaignId) -> CampaignStatus {
        let tenant = "gardens".parse().unwrap();
        self.engine.progress(&tenant, id).await.unwrap().status
    }

    /// What a page is sent while it is open.
    pub(crate) async fn feed(&self, path: &str) -> Feed {
        let answer = self.send(get(path)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        Feed { stream: answer.into_body().into_data_stream(), told: String::new() }
    }
}

pub(crate) struct Feed {
    stream: BodyDataStream,
    told: String,
}

impl Feed {
    /// All that was sent until a text was.
    pub(crate) async fn until(&mut self, text: &str) -> &str {
        let waiting = async {
            while !self.told.contains(text) {
                let more = self.stream.next().await.expect("it goes on").expect("it can be read");
                self.told.push_str(&String::from_utf8_lossy(&more));
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it is told");
        &self.told
    }

    /// Waits until nothing more is sent.
    pub(crate) async fn ended(&mut self) {
        let waiting = async { while self.stream.next().await.is_some() {} };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it ends");
    }
}
