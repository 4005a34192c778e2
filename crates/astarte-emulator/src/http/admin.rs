//! The emulator's own endpoint: faults, what a test waits for, and what no Astarte would do.

use chrono::TimeDelta;
use serde_json::json;

use super::app_engine::parse_id;
use super::reply::{ApiError, Reply};
use super::request::Request;
use crate::faults::{EventRule, RequestRule, RuleError};
use crate::platform::Platform;

/// `rest` is what follows `emulator`.
pub(super) fn handle(
    platform: &Platform,
    request: &Request,
    rest: &[&str],
) -> Result<Reply, ApiError> {
    let rule_error = |error: RuleError| ApiError::detail(422, error.to_string());
    let unreadable = |error: serde_json::Error| ApiError::detail(422, error.to_string());
    match (request.method.as_str(), rest) {
        ("GET", ["deliveries"]) => Ok(Reply::data(platform.engine.counts())),
        ("POST", ["faults", "events"]) => {
            let rule: EventRule = serde_json::from_value(request.data()?).map_err(unreadable)?;
            platform.faults.add_event_rule(rule).map_err(rule_error)?;
            Ok(Reply::created_empty(None))
        }
        ("POST", ["faults", "requests"]) => {
            let rule: RequestRule = serde_json::from_value(request.data()?).map_err(unreadable)?;
            platform.faults.add_request_rule(rule).map_err(rule_error)?;
            Ok(Reply::created_empty(None))
        }
        ("DELETE", ["faults"]) => {
            platform.faults.clear();
            Ok(Reply::no_content())
        }
        ("PUT", ["seed"]) => {
            let seed = request.data()?.as_u64().ok_or_else(ApiError::bad_request)?;
            platform.faults.seed(seed);
            Ok(Reply::no_content())
        }
        ("PUT", ["broker-down"]) => {
            let is_down = request.data()?.as_bool().ok_or_else(ApiError::bad_request)?;
            platform.set_broker_down(is_down);
            Ok(Reply::no_content())
        }
        ("PUT", ["clock-offset-milliseconds"]) => {
            platform.set_clock(offset(request)?);
            Ok(Reply::no_content())
        }
        (method, ["realms", realm, "devices", device, what]) => {
            let realm = platform.realms.get(*realm).ok_or_else(|| ApiError::not_found("Realm"))?;
            let id = parse_id(device)?;
            match (method, *what) {
                ("DELETE", "connection") => {
                    let was_connected = platform.disconnect(realm, id);
                    Ok(Reply::data(json!({"was_connected": was_connected})))
                }
                ("DELETE", "session") => {
                    platform.lose_session(realm, id);
                    Ok(Reply::no_content())
                }
                ("PUT", "clock-offset-milliseconds") => {
                    if platform.set_device_clock(realm, id, offset(request)?) {
                        Ok(Reply::no_content())
                    } else {
                        Err(ApiError::not_found("Device"))
                    }
                }
                _ => Err(ApiError::endpoint_not_found()),
            }
        }
        _ => Err(ApiError::endpoint_not_found()),
    }
}

fn offset(request: &Request) -> Result<TimeDelta, ApiError> {
    let millis = request.data()?.as_i64().ok_or_else(ApiError::bad_request)?;
    TimeDelta::try_milliseconds(millis).ok_or_else(ApiError::bad_request)
}
