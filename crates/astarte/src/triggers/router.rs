//! The receiver behind HTTP: a router that a service mounts where its triggers point to.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::{TriggerAnswer, TriggerReceiver};

/// Where the router takes deliveries.
const PATH: &str = "/triggers";

impl TriggerReceiver {
    /// A router that takes deliveries at `POST /triggers`; merge or nest it into the service's own.
    pub fn router(&self) -> Router {
        Router::new().route(PATH, post(deliver)).with_state(self.clone())
    }

    /// Reads the body of a delivery within the limits, and takes it.
    async fn deliver(&self, request: Request) -> TriggerAnswer {
        let Some(_permit) = self.shared.limiter.admit() else { return TriggerAnswer::Overloaded };
        let (parts, body) = request.into_parts();
        let tenant = match self.admit(&parts.headers) {
            Ok(tenant) => tenant,
            Err(answer) => return answer,
        };
        let settings = &self.shared.settings;
        let body: Body = body;
        match tokio::time::timeout(settings.body_timeout, to_bytes(body, settings.largest_body))
            .await
        {
            Ok(Ok(body)) => self.take(&tenant, &body).await,
            Ok(Err(error)) if is_too_large(&error) => TriggerAnswer::TooLarge,
            // The connection broke: nobody reads this answer.
            Ok(Err(error)) => TriggerAnswer::Malformed(format!("the body broke off: {error}")),
            Err(_) => TriggerAnswer::NotNow("the body took too long to arrive".to_owned()),
        }
    }
}

/// Whether a body broke the limit, and not the connection.
fn is_too_large(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(inner) = cause {
        if inner.to_string().contains("length limit exceeded") {
            return true;
        }
        cause = inner.source();
    }
    false
}

async fn deliver(State(receiver): State<TriggerReceiver>, request: Request) -> Response {
    let answer = receiver.deliver(request).await;
    let answer = receiver.counted(answer);
    let status = StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::json!({ "detail": answer.text() }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
