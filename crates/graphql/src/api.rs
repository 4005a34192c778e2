//! The API as a service mounts it: what it is put together from, its limits, its router.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::dynamic::Schema;
use axum::Router;
use hedgerow_catalogue::Catalogue;
use hedgerow_catalogue::files::ImageFiles;
use hedgerow_engine::Engine;
use tokio::sync::Semaphore;

use crate::auth::Access;
use crate::feeds::Feeds;
use crate::http;
use crate::origins::Origins;
use crate::schema::{self, SchemaError};
use crate::subscriptions::Live;

/// How much one client may ask for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How deep a document may be nested; default 24.
    pub depth: usize,
    /// How many fields a document may have, with those of its fragments wherever they stand; default
    /// 4,000.
    pub complexity: usize,
    /// How many objects an answer may have or have been looked through for; default 500,000.
    pub objects: usize,
    /// The longest request without its files, in bytes; default 1 MiB.
    pub request_bytes: usize,
    /// The largest uploaded file, in bytes; default 4 GiB. The store of files may have a smaller limit
    /// of its own.
    pub upload_bytes: u64,
    /// How many sockets may be open at once; default 4,096.
    pub sockets: usize,
    /// How many subscriptions one socket may have; default 64.
    pub subscriptions: usize,
    /// How many messages a subscription is sent in a second, at most, where much happens; default 4.
    pub messages_per_second: u32,
    /// After so long without a word a socket is closed; default one minute.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 24,
            complexity: 4_000,
            objects: 500_000,
            request_bytes: 1024 * 1024,
            upload_bytes: 4 * 1024 * 1024 * 1024,
            sockets: 4_096,
            subscriptions: 64,
            messages_per_second: 4,
            silence: Duration::from_secs(60),
        }
    }
}

/// What the API is put together from.
#[derive(Debug)]
pub struct Api {
    /// The engine, put together with [rows](hedgerow_engine::EngineBuilder::views).
    pub engine: Engine,
    /// What campaigns are made from; on the same store.
    pub catalogue: Catalogue,
    /// Where uploaded files are kept; `None`: nothing can be uploaded.
    pub files: Option<ImageFiles>,
    /// Who may ask. Shared with whatever else a service serves.
    pub access: Arc<Access>,
    /// Which pages of browsers may ask.
    pub origins: Origins,
    /// How much may be asked for.
    pub limits: Limits,
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) catalogue: Catalogue,
    pub(crate) files: Option<ImageFiles>,
    pub(crate) access: Arc<Access>,
    pub(crate) origins: Origins,
    pub(crate) limits: Limits,
    pub(crate) schema: Schema,
    pub(crate) live: Live,
    pub(crate) feeds: Feeds,
    pub(crate) sockets: Arc<Semaphore>,
    /// Places for sockets whose client has not said yet who it is.
    pub(crate) strangers: Arc<Semaphore>,
}

/// How many sockets may be open whose client has not said yet who it is.
const STRANGERS: usize = 256;

impl Api {
    /// The API's routes: `POST /tenants/{slug}/api`, `GET /socket/websocket` for Phoenix' frames and
    /// `GET /tenants/{slug}/socket` for `graphql-transport-ws`, `GET /version`.
    ///
    /// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`: a tenant without keys is
    /// open to this machine only, and without the address nobody is known to be on it.
    ///
    /// # Errors
    /// [`SchemaError`]: a defect.
    pub fn router(self) -> Result<Router, SchemaError> {
        let schema = schema::build(&self.limits)?;
        let live = Live::of(self.engine.clone(), self.catalogue.clone());
        let Self { engine, catalogue, files, access, origins, limits } = self;
        let sockets = Arc::new(Semaphore::new(limits.sockets.min(Semaphore::MAX_PERMITS)));
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        let feeds = Feeds::default();
        let shared = Arc::new(Shared {
            engine,
            catalogue,
            files,
            access,
            origins,
            limits,
            schema,
            live,
            feeds,
            sockets,
            strangers,
        });
        Ok(http::router(shared))
    }
}

/// The schema in GraphQL's own language, as clients may ask for it.
///
/// # Errors
/// [`SchemaError`]: a defect.
pub fn sdl() -> Result<String, SchemaError> {
    Ok(schema::build(&Limits::default())?.sdl())
}
