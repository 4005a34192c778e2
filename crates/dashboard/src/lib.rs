//! The dashboard: pages in which people see and steer rollouts.
//!
//! A service mounts [`Dashboard::router`] at its root. Every page is rendered on the server from the
//! engine's rows and the catalogue; with scripts off everything works but what is live. A page asks
//! nobody but the service that it came from, runs no script but one file of the service's own, and is
//! shown only to who may see it: tokens, roles and tenants are those of the GraphQL API
//! ([`hedgerow_graphql::auth`]).
//!
//! | Module | What it is for |
//! |---|---|
//! | `guard` | who asks, and whether a form may have been sent by another site |
//! | `frame` | what all pages have: head, navigation, errors as pages |
//! | `words` | what people read for the states and reasons of the engine |
//! | `campaigns`, `campaign`, `target` | pages |
//! | `chart` | drawings, as SVG in the page |
//! | `steer` | what buttons do |
//! | `live` | how a campaign's page moves on by itself |

mod assets;
mod campaign;
mod campaigns;
mod chart;
mod frame;
mod guard;
mod live;
mod steer;
mod target;
mod words;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::Redirect;
use axum::routing::{get, post};
use hedgerow_catalogue::Catalogue;
use hedgerow_engine::Engine;
use hedgerow_graphql::auth::Access;

/// The longest form without a file, in bytes: a token is the longest thing in one.
const LONGEST_FORM: usize = 64 * 1024;

/// What the dashboard is put together from.
#[derive(Debug)]
pub struct Dashboard {
    /// The engine, put together with [rows](hedgerow_engine::EngineBuilder::views).
    pub engine: Engine,
    /// What campaigns are made from; on the same store.
    pub catalogue: Catalogue,
    /// Who may see what; the same as the API's.
    pub access: Arc<Access>,
    /// Set when the service stops: pages that are open are told no more within a second, as a service
    /// waits for all requests that are under way.
    pub stopping: Arc<AtomicBool>,
}

/// What all requests share.
pub(crate) type Shared = Arc<Dashboard>;

impl Dashboard {
    /// The routes: `/`, `/assets/…`, and a tenant's pages under `/t/TENANT/`.
    ///
    /// Serve it with `into_make_service_with_connect_info::<SocketAddr>()`: a tenant without keys is
    /// open to this machine only, and without the address nobody is known to be on it.
    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(guard::tenants))
            .route("/assets/{name}", get(assets::asset))
            .route("/t/{tenant}", get(to_campaigns))
            .route("/t/{tenant}/sign-in", get(guard::form).post(guard::sign_in))
            .route("/t/{tenant}/sign-out", post(guard::sign_out))
            .route("/t/{tenant}/campaigns", get(campaigns::page))
            .route("/t/{tenant}/campaigns/{campaign}", get(campaign::page))
            .route("/t/{tenant}/campaigns/{campaign}/live", get(live::events))
            .route("/t/{tenant}/campaigns/{campaign}/{act}", post(steer::act))
            .route("/t/{tenant}/campaigns/{campaign}/devices/{device}", get(target::page))
            .layer(DefaultBodyLimit::max(LONGEST_FORM))
            .layer(axum::middleware::map_response(frame::secured))
            .with_state(Arc::new(self))
    }
}

async fn to_campaigns(path: axum::extract::Path<String>) -> Redirect {
    Redirect::to(&format!("/t/{}/campaigns", frame::encoded(&path)))
}
