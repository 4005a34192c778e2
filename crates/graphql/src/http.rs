//! Requests over HTTP: who asks is checked, what is asked is read, and the answer is written.

use std::sync::Arc;

use async_graphql::{Request as Question, Variables};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Path, Request, State};
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::api::Shared;
use crate::auth::{Caller, Origin, Refused};
use crate::document::{self, Checked};
use crate::errors::{self, Failure};
use crate::record::Ask;
use crate::{graphql_ws, multipart, phoenix};

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let cors = shared.origins.layer();
    Router::new()
        // Bodies are limited where they are read: a file may be long, and all else may not.
        .route("/tenants/{slug}/api", post(api).layer(DefaultBodyLimit::disable()))
        .route("/tenants/{slug}/socket", get(graphql_ws::socket))
        .route("/socket/websocket", get(phoenix::socket))
        .route("/version", get(version))
        .layer(cors)
        .with_state(shared)
}

async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}

/// A refusal as Edgehog words it: `detail` in an object, not a list of errors.
pub(crate) struct Refusal(pub(crate) Refused);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0 {
            Refused::NoToken => StatusCode::UNAUTHORIZED,
            Refused::Forbidden => StatusCode::FORBIDDEN,
        };
        (status, Json(json!({"errors": {"detail": self.0.to_string()}}))).into_response()
    }
}

/// Who asks, in a tenant and with a token, if it may.
pub(crate) fn admitted(
    shared: &Shared,
    tenant: &str,
    token: Option<&str>,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Caller, Refusal> {
    let caller =
        shared.access.check(tenant, token, Origin::of(headers, extensions)).map_err(Refusal)?;
    if shared.origins.allow(headers, shared.access.is_open(&caller.tenant)) {
        Ok(caller)
    } else {
        Err(Refusal(Refused::Forbidden))
    }
}

/// The token of a header `Authorization: Bearer`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn api(
    State(shared): State<Arc<Shared>>,
    Path(slug): Path<String>,
    request: Request<Body>,
) -> Response {
    let (headers, extensions) = (request.headers(), request.extensions());
    let caller = match admitted(&shared, &slug, bearer(headers), headers, extensions) {
        Ok(caller) => caller,
        Err(refusal) => return refusal.into_response(),
    };
    let ask = match Ask::begin(Arc::clone(&shared), caller).await {
        Ok(ask) => Arc::new(ask),
        Err(failure) => return Json(errors::only(&failure)).into_response(),
    };
    let answer = match read(&ask, request).await {
        Ok(question) => Json(answered(&ask, question).await).into_response(),
        Err((status, failure)) => (status, Json(errors::only(&failure))).into_response(),
    };
    ask.remove_the_rest().await;
    answer
}

/// Looks a question through and answers it, in Edgehog's shape.
async fn answered(ask: &Arc<Ask>, question: Question) -> Value {
    match document::checked(question, &ask.api.limits) {
        Ok(checked) => executed(ask, checked).await,
        Err(refused) => errors::answer(*refused),
    }
}

/// Answers a question, in Edgehog's shape.
pub(crate) async fn executed(ask: &Arc<Ask>, checked: Checked) -> Value {
    let question = checked.question.data(Arc::clone(ask));
    errors::answer(ask.api.schema.execute(question).await)
}

async fn read(ask: &Arc<Ask>, request: Request<Body>) -> Result<Question, (StatusCode, Failure)> {
    let content = request.headers().get(header::CONTENT_TYPE);
    let content = content.and_then(|content| content.to_str().ok()).unwrap_or_default();
    let content = content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match content.as_str() {
        "multipart/form-data" => {
            let ahead = multipart::Ahead::default();
            let request = request.map(|body| ahead.watch(body));
            let parts = Multipart::from_request(request, &()).await;
            let parts = parts.map_err(|error| (StatusCode::BAD_REQUEST, unreadable(&error)))?;
            multipart::read(ask, parts, &ahead).await
        }
        "application/json" | "application/graphql-response+json" => {
            let body = to_bytes(request.into_body(), ask.api.limits.request_bytes).await;
            let body = body.map_err(|error| {
                let is_long = std::error::Error::source(&error)
                    .is_some_and(|source| source.to_string().contains("limit"));
                let status =
                    if is_long { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
                (status, unreadable(&error))
            })?;
            let body = serde_json::from_slice(&body)
                .map_err(|error| (StatusCode::BAD_REQUEST, unreadable(&error)))?;
            question(body).map_err(|failure| (StatusCode::BAD_REQUEST, failure))
        }
        _ => Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Failure::new("invalid_query", "send application/json or multipart/form-data"),
        )),
    }
}

pub(crate) fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new("invalid_query", format!("the request cannot be read: {error}"))
}

/// A question from `query`, `variables` and `operationName`.
pub(crate) fn question(body: Value) -> Result<Question, Failure> {
    let Value::Object(mut body) = body else {
        return Err(Failure::new("invalid_query", "send an object with a query"));
    };
    let Some(Value::String(query)) = body.remove("query") else {
        return Err(Failure::required("query"));
    };
    let variables = match body.remove("variables") {
        None | Some(Value::Null) => Variables::default(),
        Some(variables @ Value::Object(_)) => Variables::from_json(variables),
        Some(_) => return Err(Failure::invalid_argument("variables", "must be an object")),
    };
    let question = Question::new(query).variables(variables);
    Ok(match body.remove("operationName") {
        Some(Value::String(name)) if !name.is_empty() => question.operation_name(name),
        _ => question,
    })
}
