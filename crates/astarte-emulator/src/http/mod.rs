//! The HTTP side: takes a request apart, checks its token, gives it to the API that it is for, and
//! lets faults strike.

mod admin;
mod app_engine;
mod groups;
mod interface_values;
mod pairing;
mod realm_management;
mod reply;
mod request;
mod triggers;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::ConnectInfo;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use crate::auth::{Claim, Denied};
use crate::faults::{Api, RequestFault, delay};
use crate::platform::Platform;
use crate::realm::Realm;
use crate::recorder::Recorded;
pub(crate) use reply::Fields;
use reply::{ApiError, Reply};
use request::Request;

/// The router of all APIs.
pub(crate) fn router(platform: Arc<Platform>, with_admin: bool) -> axum::Router {
    axum::Router::new().fallback(
        move |ConnectInfo(peer): ConnectInfo<SocketAddr>, request: axum::extract::Request| {
            let platform = Arc::clone(&platform);
            async move { respond(&platform, request, peer.ip(), with_admin).await }
        },
    )
}

/// Answers a request from `address`.
pub(crate) async fn respond(
    platform: &Platform,
    request: axum::extract::Request,
    address: IpAddr,
    with_admin: bool,
) -> Response {
    match Request::read(request, address).await {
        Ok(request) => answer(platform, &request, with_admin).await,
        Err(error) => error.into_response(),
    }
}

async fn answer(platform: &Platform, request: &Request, with_admin: bool) -> Response {
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    let result = match segments.as_slice() {
        ["appengine" | "realmmanagement" | "pairing", "version"]
        | ["appengine" | "realmmanagement" | "pairing", "v1", "version"] => Ok(version(platform)),
        ["appengine", "v1", realm, rest @ ..] => {
            api(platform, request, Api::AppEngine, realm, rest).await
        }
        ["realmmanagement", "v1", realm, rest @ ..] => {
            api(platform, request, Api::RealmManagement, realm, rest).await
        }
        ["pairing", "v1", realm, rest @ ..] => {
            api(platform, request, Api::Pairing, realm, rest).await
        }
        ["emulator", rest @ ..] if with_admin => admin::handle(platform, request, rest),
        _ => Err(ApiError::endpoint_not_found()),
    };
    result.into_response()
}

fn version(platform: &Platform) -> Reply {
    Reply::data(platform.version.text())
}

async fn api(
    platform: &Platform,
    request: &Request,
    api: Api,
    realm: &str,
    rest: &[&str],
) -> Result<Reply, ApiError> {
    let fault = platform.faults.on_request(
        api,
        request.method.as_str(),
        &request.path_in_realm,
        &request.body,
    );
    match fault {
        Some(RequestFault::Status { code }) => return Err(ApiError::injected(code)),
        Some(RequestFault::Delay { milliseconds }) => {
            tokio::select! {
                () = tokio::time::sleep(delay(milliseconds)) => {}
                () = platform.stop.cancelled() => {}
            }
        }
        Some(RequestFault::LoseAnswer | RequestFault::LoseMessage) | None => {}
    }
    let loses_message = fault == Some(RequestFault::LoseMessage);
    let result = perform(platform, request, api, realm, rest, loses_message);
    platform.recorder.record(|| recorded(request, api, &result));
    if fault == Some(RequestFault::LoseAnswer) {
        // Until the client gives up, which drops this future, or the emulator ends.
        platform.stop.cancelled().await;
    }
    result
}

fn recorded(request: &Request, api: Api, result: &Result<Reply, ApiError>) -> Recorded {
    let (status, answer) = match result {
        Ok(reply) => (reply.status(), reply.body()),
        Err(error) => (error.status(), error.body()),
    };
    let (claims, body, answer) = if api == Api::Pairing {
        (Value::Null, Value::Null, Value::Null)
    } else {
        let claims = request.authorization.as_deref().and_then(crate::auth::claims);
        (claims.unwrap_or_default(), request.data().unwrap_or_default(), answer)
    };
    Recorded::Request {
        api,
        method: request.method.to_string(),
        path: request.path_in_realm.clone(),
        query: request.raw_query.clone(),
        headers: request.headers.clone(),
        claims,
        body,
        status: status.as_u16(),
        answer,
    }
}

fn perform(
    platform: &Platform,
    request: &Request,
    api: Api,
    realm: &str,
    rest: &[&str],
    loses_message: bool,
) -> Result<Reply, ApiError> {
    let realm = platform.realms.get(realm).ok_or_else(ApiError::unauthorized)?;
    let permit = |claim| permit(platform, realm, request, claim);
    match (api, rest) {
        // A device shows its credentials secret, which the handler checks.
        (Api::Pairing, ["devices", device, rest @ ..]) => {
            pairing::device(platform, realm, request, device, rest)
        }
        (Api::Pairing, _) => {
            permit(Claim::Pairing)?;
            pairing::agent(platform, realm, request, rest)
        }
        (Api::AppEngine, _) => {
            permit(Claim::AppEngine)?;
            app_engine::handle(platform, realm, request, rest, loses_message)
        }
        (Api::RealmManagement, _) => {
            permit(Claim::RealmManagement)?;
            realm_management::handle(platform, realm, request, rest)
        }
    }
}

fn permit(
    platform: &Platform,
    realm: &Realm,
    request: &Request,
    claim: Claim,
) -> Result<(), ApiError> {
    let authorization = request.authorization.as_deref();
    let (method, path) = (request.method.as_str(), &request.path_in_realm);
    realm.guard.check(authorization, claim, method, path, &platform.clock).map_err(|denied| {
        match denied {
            Denied::Missing => ApiError::detail(401, "Missing authorization token"),
            Denied::Invalid => ApiError::detail(401, "Invalid JWT token"),
            Denied::Unauthorized => ApiError::detail(
                403,
                format!("Unauthorized access to {method} {path}. Please verify your permissions"),
            ),
        }
    })
}
