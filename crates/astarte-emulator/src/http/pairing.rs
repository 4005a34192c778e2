//! The Pairing API: how devices are registered and get their certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::reply::{ApiError, Reply};
use super::request::Request;
use super::version;
use crate::auth::bearer;
use crate::authority::Verdict;
use crate::clock::iso;
use crate::device_id::DeviceId;
use crate::event::Event;
use crate::platform::Platform;
use crate::realm::Realm;

/// What agents do, with a token.
pub(super) fn agent(
    platform: &Platform,
    realm: &Realm,
    request: &Request,
    rest: &[&str],
) -> Result<Reply, ApiError> {
    match (request.method.as_str(), rest) {
        ("GET", ["version"]) => Ok(version(platform)),
        ("POST", ["agent", "devices"]) => {
            let data = request.data()?;
            let id: DeviceId =
                data["hw_id"].as_str().and_then(|id| id.parse().ok()).ok_or_else(|| {
                    ApiError::field("hw_id", "is not a valid base64 encoded 128 bits id")
                })?;
            let secret = platform
                .authority
                .secret::<32>()
                .map_err(|error| ApiError::detail(500, error.to_string()))?;
            let secret = platform
                .register(realm, id, STANDARD.encode(secret))
                .ok_or_else(|| ApiError::field("hw_id", "Device already registered"))?;
            initial_introspection(platform, realm, id, &data["initial_introspection"]);
            Ok(Reply::created(json!({"credentials_secret": secret})))
        }
        ("DELETE", ["agent", "devices", id]) => {
            let id: DeviceId = id.parse().map_err(|_| ApiError::bad_request())?;
            let mut state = realm.lock();
            let device = state.devices.get_mut(&id).ok_or_else(|| ApiError::not_found("Device"))?;
            // The device can be registered again and gets a new secret; what it stored stays.
            device.first_credentials_request = None;
            device.credentials_secret.clear();
            Ok(Reply::no_content())
        }
        _ => Err(ApiError::endpoint_not_found()),
    }
}

fn initial_introspection(platform: &Platform, realm: &Realm, id: DeviceId, interfaces: &Value) {
    let Some(interfaces) = interfaces.as_object() else { return };
    let entries: Vec<String> = interfaces
        .iter()
        .map(|(name, version)| format!("{name}:{}:{}", version["major"], version["minor"]))
        .collect();
    let Some(parsed) = crate::ingest::parse_introspection(&entries.join(";")) else { return };
    let mut state = realm.lock();
    let Some(device) = state.devices.get_mut(&id) else { return };
    for (name, (major, minor)) in &parsed {
        let known = crate::device::Known { major: *major, minor: *minor, ..Default::default() };
        device.introspection.insert(name.clone(), known);
    }
    platform.emit_now(realm, &state, id, Event::IncomingIntrospection { interfaces: parsed });
}

/// What devices do, with their credentials secret.
pub(super) fn device(
    platform: &Platform,
    realm: &Realm,
    request: &Request,
    device: &str,
    rest: &[&str],
) -> Result<Reply, ApiError> {
    let forbidden = || ApiError::detail(403, "Forbidden");
    let id: DeviceId = device.parse().map_err(|_| ApiError::bad_request())?;
    let secret = request
        .authorization
        .as_deref()
        .and_then(bearer)
        .ok_or_else(|| ApiError::detail(401, "Missing authorization token"))?;
    let now = platform.clock.now();
    let mut state = realm.lock();
    let device = state.devices.get_mut(&id).ok_or_else(forbidden)?;
    if !is_same(secret, &device.credentials_secret) {
        return Err(forbidden());
    }
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            let status = match (device.is_inhibited, device.first_credentials_request) {
                (true, _) => "inhibited",
                (false, Some(_)) => "confirmed",
                (false, None) => "pending",
            };
            Ok(Reply::data(json!({
                "version": platform.version.text(),
                "status": status,
                "protocols": {"astarte_mqtt_v1": {"broker_url": platform.broker_url}},
            })))
        }
        ("POST", ["protocols", "astarte_mqtt_v1", "credentials"]) => {
            if device.is_inhibited {
                return Err(forbidden());
            }
            let data = request.data()?;
            let csr =
                data["csr"].as_str().ok_or_else(|| ApiError::field("csr", "can't be blank"))?;
            let certificate = platform
                .authority
                .sign(csr, &realm.prefix(id), now)
                .map_err(|_| ApiError::field("csr", "is invalid"))?;
            device.first_credentials_request.get_or_insert(now);
            device.last_credentials_request_address = Some(request.address);
            Ok(Reply::created(json!({"client_crt": certificate})))
        }
        ("POST", ["protocols", "astarte_mqtt_v1", "credentials", "verify"]) => {
            let data = request.data()?;
            let certificate = data["client_crt"]
                .as_str()
                .ok_or_else(|| ApiError::field("client_crt", "can't be blank"))?;
            Ok(Reply::data(match platform.authority.judge(certificate, &realm.prefix(id), now) {
                Verdict::Valid { until } => {
                    json!({"valid": true, "timestamp": iso(now), "until": iso(until)})
                }
                Verdict::Invalid { cause, details } => json!({
                    "valid": false, "timestamp": iso(now), "cause": cause, "details": details,
                }),
            }))
        }
        _ => Err(ApiError::endpoint_not_found()),
    }
}

/// Compares without telling by its duration how much is right. The empty secret is that of an
/// unregistered device.
fn is_same(given: &str, secret: &str) -> bool {
    !secret.is_empty()
        && given.len() == secret.len()
        && given.bytes().zip(secret.bytes()).fold(0, |sum, (left, right)| sum | (left ^ right)) == 0
}
