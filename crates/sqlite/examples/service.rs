//! A service that embeds the engine: operators steer campaigns over HTTP, and devices poll for
//! what they are asked to do. `cargo run -p hedgerow-sqlite --example service -- service.db`
#![allow(clippy::wildcard_imports)] // Nearly everything of the domain is named once.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex};

use axum::extract::{Json, Path, State};
use axum::{Router, http::StatusCode, routing::get, routing::post};
use futures::future::{BoxFuture, FutureExt, ready};
use hedgerow_core::*;
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory, tokio_runtime::TokioRuntime};
use hedgerow_engine::{Engine, EngineBuilder, EngineError, Observation, Progress, Sighting};
use hedgerow_sqlite::{SqliteStore, SqliteViews};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The devices: what they have shown since this process started, and what they are asked to do.
#[derive(Default)]
struct Fleet {
    shown: Mutex<BTreeMap<DeviceId, (Presence, Option<String>)>>,
    asked: Mutex<BTreeMap<DeviceId, Value>>,
}

type Sent = BoxFuture<'static, RequestAnswer>;
type Found<T> = BoxFuture<'static, Result<T, TransportError>>;
type Targets = Vec<(DeviceId, Sighting)>;

impl DeviceTransport for Fleet {
    fn send_update(&self, _: &TenantId, to: DeviceId, id: OperationId, url: &ImageUrl) -> Sent {
        self.asked.lock().unwrap().insert(to, json!({"update": id, "url": url}));
        ready(RequestAnswer::Accepted).boxed()
    }

    fn send_cancel(&self, _: &TenantId, to: DeviceId, id: OperationId, url: &ImageUrl) -> Sent {
        self.asked.lock().unwrap().insert(to, json!({"cancel": id, "url": url}));
        ready(RequestAnswer::Accepted).boxed()
    }

    fn base_image_version(&self, _: &TenantId, of: DeviceId) -> Found<Option<String>> {
        let version = self.shown.lock().unwrap().get(&of).map(|shown| shown.1.clone());
        ready(version.ok_or_else(|| TransportError::new("it has not shown up yet"))).boxed()
    }
}

impl FleetDirectory for Fleet {
    fn targets(&self, _: &TenantId, _: &Channel, _: &SystemModelHandle) -> Found<Targets> {
        let shown = self.shown.lock().unwrap();
        let seen = |presence: &Presence| Sighting::now(Some(*presence));
        ready(Ok(shown.iter().map(|(id, (presence, _))| (*id, seen(presence))).collect())).boxed()
    }

    fn presence(&self, _: &TenantId, of: Vec<DeviceId>) -> Found<Vec<Sighting>> {
        // `None` would say that a device exists no more. One that is silent is offline.
        let shown = self.shown.lock().unwrap();
        let presence = |id| shown.get(id).map_or(Presence::Offline, |shown| shown.0);
        ready(Ok(of.iter().map(|id| Sighting::now(Some(presence(id)))).collect())).boxed()
    }
}

#[derive(Clone)]
struct Service {
    engine: Engine,
    fleet: Arc<Fleet>,
    tenant: TenantId,
}

type Ours = State<Service>;
type Id = Path<CampaignId>;
type Answer<T> = Result<Json<T>, (StatusCode, String)>;

fn answer<T>(result: Result<T, EngineError>) -> Answer<T> {
    result.map(Json).map_err(|error| {
        let later = error.is_retryable();
        let status = if later { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT };
        (status, error.to_string())
    })
}

async fn create(our: Ours, id: Id, new: Json<CampaignDefinition>) -> Answer<()> {
    answer(our.engine.create(&our.tenant, id.0, new.0, None).await)
}

async fn progress(our: Ours, id: Id) -> Answer<Progress> {
    answer(our.engine.progress(&our.tenant, id.0).await)
}

async fn pause(our: Ours, id: Id) -> Answer<()> {
    answer(our.engine.pause(&our.tenant, id.0).await)
}

async fn resume(our: Ours, id: Id) -> Answer<()> {
    answer(our.engine.resume(&our.tenant, id.0).await)
}

async fn asked(our: Ours, device: Path<DeviceId>) -> Json<Option<Value>> {
    Json(our.fleet.asked.lock().unwrap().get(&device.0).cloned())
}

/// What a device tells.
#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Presence { online: bool, version: Option<String> },
    Report { operation: OperationId, status: ReportStatus },
}

async fn tell(our: Ours, device: Path<DeviceId>, told: Json<Told>) -> Answer<()> {
    let device = device.0;
    let observation = match told.0 {
        Told::Report { operation, status } => {
            Observation::Report(OperationReport::new(device, operation, status))
        }
        Told::Presence { online, version } => {
            let since = our.engine.now();
            let presence = if online { Presence::Online { since } } else { Presence::Offline };
            our.fleet.shown.lock().unwrap().insert(device, (presence, version));
            Observation::Presence { device, presence }
        }
    };
    // A device that gets an error tells the same again later: nothing of it was recorded.
    answer(our.engine.observe(&our.tenant, observation).await.map(drop))
}

pub(crate) async fn serve(listener: TcpListener, file: &str) -> Result<(), Box<dyn Error>> {
    let (store, fleet) = (Arc::new(SqliteStore::open(file)?), Arc::<Fleet>::default());
    let clock = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    // ANCHOR: rows
    let rows = Arc::new(SqliteViews::open(SqliteViews::beside(file))?);
    let ports = EngineBuilder::new(store, fleet.clone(), fleet.clone(), clock.clone(), clock);
    let engine = ports.views(rows).start().await?;
    // ANCHOR_END: rows
    let service = Service { engine, fleet, tenant: "realm".parse()? };
    let router = Router::new()
        .route("/campaigns/{id}", get(progress).put(create))
        .route("/campaigns/{id}/pause", post(pause))
        .route("/campaigns/{id}/resume", post(resume))
        .route("/devices/{id}", get(asked).post(tell))
        .with_state(service);
    Ok(axum::serve(listener, router).await?)
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("which file are campaigns recorded in?")?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:8080").await?;
        println!("listening on {}", listener.local_addr()?);
        serve(listener, &file).await
    })
}
