//! An existing service that mounts the API beside its own routes.
//! `cargo run -p hedgerow-graphql --example mount -- FOLDER [PUBLIC-KEY.pem]`

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::{Router, routing::get};
use futures::future::{BoxFuture, FutureExt, ready};
use hedgerow_catalogue::Catalogue;
use hedgerow_catalogue::files::{FileSettings, ImageFiles};
use hedgerow_core::{
    Channel, DeviceId, ImageUrl, OperationId, RequestAnswer, SystemModelHandle, TenantId,
    TransportError,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};
use hedgerow_engine::{EngineBuilder, Sighting};
use hedgerow_graphql::auth::{PublicKey, TenantAccess};
use hedgerow_graphql::{Api, Limits, Origins};
use hedgerow_sqlite::{SqliteStore, SqliteViews};

/// Your transport and your directory: this fleet has no device yet.
struct NoDevices;

impl DeviceTransport for NoDevices {
    fn send_update(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
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
        ready(Ok(None)).boxed()
    }
}

impl FleetDirectory for NoDevices {
    fn targets(
        &self,
        _: &TenantId,
        _: &Channel,
        _: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        ready(Ok(vec![Sighting::now(None); devices.len()])).boxed()
    }
}

/// The service's router: its own routes, and the API's.
async fn router(folder: &Path, key: Option<&str>) -> Result<Router, Box<dyn Error>> {
    let log = folder.join("hedgerow.db");
    let images = folder.join("images");
    std::fs::create_dir_all(&images)?;
    // ANCHOR: engine
    let store = Arc::new(SqliteStore::open(&log)?);
    let rows = Arc::new(SqliteViews::open(SqliteViews::beside(&log))?);
    let clock = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    let devices = Arc::new(NoDevices);
    let catalogue = Catalogue::open(store.clone(), clock.clone());
    let ports = EngineBuilder::new(store, devices.clone(), devices, clock.clone(), clock);
    let engine = ports.views(rows).start().await?;
    // ANCHOR_END: engine
    // ANCHOR: api
    let keys = key.map(PublicKey::from_pem).transpose()?.into_iter().collect();
    let tenant: TenantId = "gardens".parse()?;
    let api = Api {
        engine,
        catalogue,
        files: Some(ImageFiles::in_folder(
            &images,
            "https://updates.example/images",
            FileSettings::default(),
        )?),
        access: Arc::new(
            [(tenant, TenantAccess { keys, edgehog_tokens: false })].into_iter().collect(),
        ),
        origins: Origins::These(vec!["https://dashboard.example".to_owned()]),
        limits: Limits::default(),
    };
    let router = Router::new().route("/health", get(async || "up")).merge(api.router()?);
    // ANCHOR_END: api
    Ok(router)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("in which folder are campaigns and images kept?")?;
    let key = arguments.next().map(std::fs::read_to_string).transpose()?;
    let router = router(Path::new(&folder), key.as_deref()).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:4080").await?;
    println!("listening on {}", listener.local_addr()?);
    // ANCHOR: serve
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await?;
    // ANCHOR_END: serve
    Ok(())
}
