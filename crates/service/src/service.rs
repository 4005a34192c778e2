//! The service: its parts, put together in the order that loses nothing over a restart, and a stop
//! that lets what is under way end.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use hedgerow_astarte::triggers::TriggerSettings;
use hedgerow_astarte::{
    Astarte, AstarteFleet, Realm, Reconciler, SettingsError, SystemModelSource, TriggerReceiver,
};
use hedgerow_catalogue::files::{FileError, ImageFiles};
use hedgerow_catalogue::{Catalogue, CatalogueDirectory, MappedVersions};
use hedgerow_dashboard::Dashboard;
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::store::StoreError;
use hedgerow_engine::view::ViewError;
use hedgerow_engine::{Engine, EngineBuilder};
use hedgerow_graphql::auth::Access;
use hedgerow_graphql::{Api, Limits, Origins, SchemaError};
use hedgerow_sqlite::{OpenError, SqliteStore, SqliteViews, ViewsError};
use tokio::task::JoinSet;

use crate::directory::Directory;
use crate::feed::{Fed, Feed};
use crate::health::{self, Health};
use crate::hurry::hurry;
use crate::images;
use crate::listen::{ListenError, Port, serve};
use crate::metrics::{self, Counters, Metrics};
use crate::rounds::Rounds;
use crate::setup::{ImagePlace, Setup};
use crate::urls::SignedUrls;

/// Why a service did not start. Nothing of it goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The rows beside it cannot be opened.
    #[error(transparent)]
    Views(#[from] ViewsError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was heard of devices before cannot be read.
    #[error(
        "the devices that were known cannot be read ({0}): stop everything that uses the store, and remove the file named like it with .devices behind"
    )]
    Devices(#[from] ViewError),
    /// The API is defect.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The images cannot be used.
    #[error(transparent)]
    Files(#[from] FileError),
    /// A realm cannot be reached as it is set.
    #[error(transparent)]
    Astarte(#[from] SettingsError),
}

/// A service that has started.
pub struct Service {
    engine: Engine,
    catalogue: Catalogue,
    store: Arc<SqliteStore>,
    files: ImageFiles,
    port: Port,
    metrics_port: Option<Port>,
    router: Router,
    metrics_router: Router,
    stopping: Arc<AtomicBool>,
    stop_within: Duration,
    background: JoinSet<()>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Service {
    /// Opens the store, starts the engine on what is in it, and listens. It needs a tokio runtime
    /// with time and I/O.
    ///
    /// Astarte need not answer yet: what needs it waits.
    ///
    /// # Errors
    /// [`StartError`].
    // One step after the other, in the order that matters.
    #[allow(clippy::too_many_lines, clippy::similar_names)]
    pub async fn start(mut setup: Setup) -> Result<Self, StartError> {
        // First of all, as the most frequent mistake is that it runs already.
        let port = Port::open(setup.listen, setup.tls.clone(), setup.connections_at_once).await?;
        setup.listens_on(port.address());
        let metrics_port = match setup.metrics_listen {
            Some(address) => Some(Port::open(address, None, METRICS_CONNECTIONS).await?),
            None => None,
        };
        let files = setup.image_files()?;
        let store = Arc::new(SqliteStore::open(&setup.store)?);
        let views = Arc::new(SqliteViews::open(SqliteViews::beside(&setup.store))?);
        let mut tenants = Vec::new();
        let (mut realms, mut access) = (Vec::new(), Vec::new());
        for tenant in setup.tenants {
            tenants.push(tenant.name.clone());
            access.push((tenant.name.clone(), tenant.access));
            realms.push(Realm {
                tenant: tenant.name,
                base_url: tenant.astarte_url,
                credentials: tenant.credentials,
            });
        }
        let astarte = Astarte::new(&setup.connections, realms)?;

        // Which devices a campaign is for the catalogue says; Astarte is asked where they are.
        let (presence, hold) =
            AstarteFleet::new(astarte.clone(), SystemModelSource::attribute("")).hold_presence();
        let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
        let clock = Arc::clone(&runtime);
        let known = Arc::new(SqliteViews::open(devices_beside(&setup.store))?);
        let catalogue = Catalogue::open(store.clone(), clock.clone()).with_cache(known).await?;
        let fed = Arc::new(Fed::default());
        let directory = CatalogueDirectory::new(catalogue.clone());
        let directory = Directory {
            catalogue: directory.with_presence_of(Arc::new(presence)),
            fed: Arc::clone(&fed),
        };
        let mut builder = EngineBuilder::new(
            store.clone(),
            Arc::new(MappedVersions::new(catalogue.clone(), Arc::new(astarte.clone()))),
            Arc::new(directory),
            clock,
            runtime,
        );
        if let Some(valid_for) = setup.images.signed_for() {
            builder = builder.image_urls(Arc::new(SignedUrls { files: files.clone(), valid_for }));
        }
        let engine = builder.views(views).start().await?;

        let mut background = JoinSet::new();
        let reconciler = Reconciler::new(astarte.clone(), engine.clone());
        let (first, round) = (reconciler.clone(), setup.round);
        background.spawn(async move {
            // What devices reported meanwhile, before anything is sent again.
            first.fetch_reports().await;
            drop(hold);
            first.run(round).await;
        });
        let mut triggers = TriggerSettings::default();
        triggers.secret = setup.triggers_secret;
        let feed = Feed::new(astarte.clone(), catalogue.clone(), fed);
        let (listener, heard) = feed.listener();
        let receiver = TriggerReceiver::new(astarte, engine.clone(), triggers)
            .with_reconciler(reconciler)
            .with_listener(listener);
        background.spawn(feed.clone().follow(heard));
        background.spawn(feed.rounds(round));

        let counters = Arc::new(Counters::default());
        let rounds = Rounds {
            files: files.clone(),
            catalogue: catalogue.clone(),
            engine: engine.clone(),
            tenants: tenants.clone(),
            counters: Arc::clone(&counters),
            keep_unnamed: setup.keep_unnamed,
        };
        background.spawn(rounds.run());
        background.spawn(keep_heard(catalogue.clone()));
        let stopping = Arc::new(AtomicBool::new(false));
        let health =
            Health { store: store.clone(), files: files.clone(), stopping: Arc::clone(&stopping) };
        let metrics = Metrics {
            engine: engine.clone(),
            receiver: receiver.clone(),
            tenants,
            counters: Arc::clone(&counters),
        };
        let origins = match setup.allowed_origins {
            none if none.is_empty() => Origins::Own,
            origins => Origins::These(origins),
        };
        let limits = Limits {
            upload_bytes: setup.largest_image_bytes,
            // Questions have room beside them.
            sockets: (setup.connections_at_once / 4 * 3).max(1),
            ..Limits::default()
        };
        let access = Arc::new(Access::from_iter(access));
        let dashboard = Dashboard {
            engine: engine.clone(),
            catalogue: catalogue.clone(),
            access: Arc::clone(&access),
            stopping: Arc::clone(&stopping),
        };
        let api = Api {
            engine: engine.clone(),
            catalogue: catalogue.clone(),
            files: Some(files.clone()),
            access,
            origins,
            limits,
        };
        let mut router = Router::new().merge(receiver.router()).merge(api.router()?);
        router = router.merge(dashboard.router());
        if matches!(setup.images, ImagePlace::Folder(_)) {
            router = router.merge(images::router(files.clone()));
        }
        let router = router
            .layer(from_fn(hurry))
            .layer(from_fn_with_state(counters, metrics::count))
            .merge(health::router(health.clone()))
            .merge(metrics::own_router(metrics.clone()));
        let metrics_router = metrics::open_router(metrics).merge(health::router(health));
        Ok(Self {
            engine,
            catalogue,
            store,
            files,
            port,
            metrics_port,
            router,
            metrics_router,
            stopping,
            stop_within: setup.stop_within,
            background,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Where it listens for those who want metrics, if that is a port of its own.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_port.as_ref().map(Port::address)
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What campaigns are made from.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The files of base images.
    #[must_use]
    pub fn files(&self) -> &ImageFiles {
        &self.files
    }

    /// Serves until `stop` ends. Then it takes no more requests, waits for those that are under way,
    /// and closes everything: what was acknowledged is recorded.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) {
        let Self { engine, catalogue, store, port, metrics_port, mut background, .. } = self;
        let (router, metrics_router, stopping) = (self.router, self.metrics_router, self.stopping);
        tracing::info!(address = %port.address(), "serving");
        if let Some(port) = metrics_port {
            let (never, at_once) = (std::future::pending(), Duration::ZERO);
            background.spawn(serve(port, metrics_router, never, at_once));
        }
        let noted = Arc::clone(&stopping);
        let stop = async move {
            stop.await;
            noted.store(true, Ordering::Relaxed);
            tracing::info!("stopping");
        };
        serve(port, router, stop, self.stop_within).await;
        // The rest waits for nobody: it begins anew with the next start.
        background.shutdown().await;
        engine.shutdown().await;
        keep(&catalogue).await;
        store.close();
        tracing::info!("stopped");
    }
}

/// Connections of those who want metrics.
const METRICS_CONNECTIONS: usize = 64;
/// How often what was heard of devices is kept.
const KEEP: Duration = Duration::from_secs(5);

/// Where what was heard of devices is kept.
fn devices_beside(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".devices");
    PathBuf::from(path)
}

/// Keeps what is heard of devices, for ever.
async fn keep_heard(catalogue: Catalogue) {
    loop {
        tokio::time::sleep(KEEP).await;
        keep(&catalogue).await;
    }
}

async fn keep(catalogue: &Catalogue) {
    if let Err(error) = catalogue.keep_heard().await {
        tracing::warn!(%error, "what was heard of devices is not kept for now");
    }
}
