//! Whether the process is there, and whether it can do its work now: for whoever starts it, stops it
//! or sends it requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hedgerow_catalogue::files::ImageFiles;
use hedgerow_engine::store::EventStore;
use serde_json::json;

/// Nobody asks whether a service is ready and then waits for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the answers are made from.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) files: ImageFiles,
    pub(crate) stopping: Arc<AtomicBool>,
}

/// `/health`: the process answers. `/ready`: it takes requests, its store can be read and its images
/// written. (`/version`, which it is, the API has.)
pub(crate) fn router(health: Health) -> Router {
    Router::new()
        .route("/health", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/ready", get(ready))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> Response {
    let mut wrong = Vec::new();
    if health.stopping.load(Ordering::Relaxed) {
        wrong.push("the service is stopping".to_owned());
    }
    // Whatever is newest: that it can be read matters.
    match tokio::time::timeout(PATIENCE, health.store.last_recorded_at()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => wrong.push(error.to_string()),
        Err(_) => wrong.push("the store does not answer".to_owned()),
    }
    match tokio::time::timeout(PATIENCE, health.files.check()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => wrong.push(error.to_string()),
        Err(_) => wrong.push("the image store does not answer".to_owned()),
    }
    if wrong.is_empty() {
        return Json(json!({"status": "ready"})).into_response();
    }
    tracing::warn!(?wrong, "not ready");
    let body = Json(json!({"status": "not ready", "reasons": wrong}));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}
