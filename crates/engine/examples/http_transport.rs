//! A transport that talks to a gateway over HTTP, and a gateway with three devices to try it on.
//!
//! Run it: `cargo run -p hedgerow-engine --example http_transport`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Json, Path, State};
use axum::routing::{get, post};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, DeviceId, GatePolicy, ImageUrl,
    OperationId, OperationReport, Outcome, Presence, PushRollout, ReportStatus, RequestAnswer,
    RolloutLimits, RolloutMechanism, SystemModelHandle, TenantId, Timestamp, TransportError,
    Version, WhenRunning,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::{EngineBuilder, Observation, Sighting};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

// ANCHOR: transport
/// Sends requests to the gateway that the devices of all tenants are connected to.
#[derive(Clone)]
pub(crate) struct HttpTransport {
    client: reqwest::Client,
    /// Such as `http://gateway.example:4000`.
    gateway: String,
}

/// The body of a request to a device.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) action: String,
    pub(crate) operation: OperationId,
    pub(crate) url: String,
}

/// The body of the answer about a device's base image.
#[derive(Serialize, Deserialize)]
struct Shown {
    version: Option<String>,
}

impl HttpTransport {
    pub(crate) fn new(gateway: String) -> Self {
        Self { client: reqwest::Client::new(), gateway }
    }

    fn address(&self, tenant: &TenantId, device: DeviceId, what: &str) -> String {
        format!("{}/{tenant}/devices/{device}/{what}", self.gateway)
    }

    fn send(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        request: &Request,
    ) -> BoxFuture<'static, RequestAnswer> {
        let address = self.address(tenant, device, "requests");
        let request = self.client.post(address).json(request);
        async move {
            match request.send().await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    let error = TransportError::new(format!("HTTP {status}"));
                    RequestAnswer::of_http_status(status, error)
                }
                // Refused, interrupted, too slow: perhaps it arrived all the same.
                Err(error) => RequestAnswer::Temporary(described(error)),
            }
        }
        .boxed()
    }
}

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 4_096;

/// Reads an answer. A gateway that answers without end must not fill the memory.
async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(described)? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(TransportError::new("the gateway's answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The error without the address, which may hold what is nobody's business.
fn described(error: reqwest::Error) -> TransportError {
    TransportError::new(error.without_url().to_string())
}

impl DeviceTransport for HttpTransport {
    fn send_update(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        let (action, url) = ("update".to_owned(), url.as_str().to_owned());
        self.send(tenant, device, &Request { action, operation, url })
    }

    fn send_cancel(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        let (action, url) = ("cancel".to_owned(), url.as_str().to_owned());
        self.send(tenant, device, &Request { action, operation, url })
    }

    fn base_image_version(
        &self,
        tenant: &TenantId,
        device: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        let request = self.client.get(self.address(tenant, device, "base-image"));
        async move {
            let response = request.send().await.and_then(reqwest::Response::error_for_status);
            let body = read(response.map_err(described)?).await?;
            let shown: Shown = serde_json::from_slice(&body)
                .map_err(|error| TransportError::new(error.to_string()))?;
            Ok(shown.version)
        }
        .boxed()
    }
}
// ANCHOR_END: transport

/// Knows that there are three devices, and that they are online.
struct ThreeDevices;

fn online() -> Sighting {
    let presence = Some(Presence::Online { since: Timestamp::default() });
    Sighting::now(presence)
}

impl FleetDirectory for ThreeDevices {
    fn targets(
        &self,
        _: &TenantId,
        _: &Channel,
        _: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        let devices = [1, 2, 3].map(|number| (DeviceId::from_bytes([number; 16]), online()));
        ready(Ok(devices.to_vec())).boxed()
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        ready(Ok(vec![online(); devices.len()])).boxed()
    }
}

/// What a device tells through the gateway.
type Told = (DeviceId, OperationId);

/// The gateway: its devices take every request, and tell that they succeeded.
async fn gateway(listener: tokio::net::TcpListener, told: mpsc::UnboundedSender<Told>) {
    async fn take(
        State(told): State<mpsc::UnboundedSender<Told>>,
        Path((_, device)): Path<(String, DeviceId)>,
        Json(request): Json<Request>,
    ) {
        println!("gateway: {} {device} from {}", request.action, request.url);
        let _ = told.send((device, request.operation));
    }
    let router = axum::Router::new()
        .route("/{tenant}/devices/{device}/requests", post(take))
        .route(
            "/{tenant}/devices/{device}/base-image",
            get(async || Json(Shown { version: Some("1.4.0".to_owned()) })),
        )
        .with_state(told);
    if let Err(error) = axum::serve(listener, router).await {
        eprintln!("gateway: {error}");
    }
}

fn definition() -> Result<CampaignDefinition, Box<dyn std::error::Error>> {
    let limits = RolloutLimits::new(NonZeroU32::MIN, "5".parse()?);
    Ok(CampaignDefinition {
        name: "Gateways to 2.0.0".parse()?,
        base_image: BaseImage {
            system_model: "gateway".parse()?,
            version: Version::new(2, 0, 0),
            url: "https://images.example/gateway/2.0.0.bin".parse()?,
            starting_version_requirement: Some(">= 1.0.0".parse()?),
        },
        channel: Channel::new("stable".parse()?, ["gardens".parse()?])?,
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    })
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let transport = HttpTransport::new(format!("http://{}", listener.local_addr()?));
    let (tell, mut told) = mpsc::unbounded_channel();
    tokio::spawn(gateway(listener, tell));

    let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    let (store, directory) = (Arc::new(MemoryStore::new()), Arc::new(ThreeDevices));
    let ports = EngineBuilder::new(store, Arc::new(transport), directory, runtime.clone(), runtime);
    let engine = ports.start().await?;
    let tenant: TenantId = "realm".parse()?;
    let id: CampaignId = "5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa".parse()?;
    engine.create(&tenant, id, definition()?, None).await?;
    // ANCHOR: observe
    while let Some((device, operation)) = told.recv().await {
        let report = OperationReport::new(device, operation, ReportStatus::Success);
        // Forget a report only when this is Ok, or an error that is not retryable.
        while let Err(error) = engine.observe(&tenant, Observation::Report(report.clone())).await {
            if !error.is_retryable() {
                return Err(error.into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // ANCHOR_END: observe
        let progress = engine.progress(&tenant, id).await?;
        if let Some(outcome) = progress.outcome {
            println!("{outcome:?}: {} of {}", progress.targets.successful, progress.targets.total);
            assert_eq!(outcome, Outcome::Success);
            break;
        }
    }
    engine.shutdown().await;
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}
