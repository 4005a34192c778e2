//! The AppEngine API: devices, their status, and the way to their groups and values.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Bound;
use std::str::FromStr;

use serde_json::{Map, Value, json};

use super::interface_values::{self, Target};
use super::reply::{ApiError, Reply};
use super::request::Request;
use super::{groups, version};
use crate::device_id::DeviceId;
use crate::platform::Platform;
use crate::realm::{Realm, State};

/// Devices on one page of a list, unless asked otherwise, and at most.
pub(super) const PAGE_DEFAULT: usize = 1000;
const PAGE_MAX: usize = 10_000;
/// Aliases and attributes of one device.
const ATTRIBUTES_MAX: usize = 1000;

pub(super) fn handle(
    platform: &Platform,
    realm: &Realm,
    request: &Request,
    rest: &[&str],
    loses_message: bool,
) -> Result<Reply, ApiError> {
    match (request.method.as_str(), rest) {
        ("GET", ["version"]) => Ok(version(platform)),
        ("GET", ["stats", "devices"]) => {
            let state = realm.lock();
            let connected = state.devices.values().filter(|device| device.link.is_some()).count();
            let total = state.devices.len();
            Ok(Reply::data(json!({"total_devices": total, "connected_devices": connected})))
        }
        ("GET", ["devices"]) => list(realm, request),
        (_, ["devices", id, rest @ ..]) => {
            let id = parse_id(id)?;
            device(platform, realm, request, id, rest, loses_message)
        }
        (_, ["devices-by-alias", alias, rest @ ..]) => {
            let id = realm.lock().by_alias(alias).ok_or_else(|| ApiError::not_found("Device"))?;
            device(platform, realm, request, id, rest, loses_message)
        }
        (_, ["groups", group, "devices", id, rest @ ..])
            if !(rest.is_empty() && request.method == "DELETE") =>
        {
            let id = parse_id(id)?;
            if !realm.lock().is_member(group, id) {
                return Err(ApiError::not_found("Device"));
            }
            device(platform, realm, request, id, rest, loses_message)
        }
        (_, ["groups", rest @ ..]) => groups::handle(realm, request, rest),
        _ => Err(ApiError::endpoint_not_found()),
    }
}

pub(super) fn parse_id(id: &str) -> Result<DeviceId, ApiError> {
    id.parse().map_err(|_| ApiError::bad_request())
}

fn device(
    platform: &Platform,
    realm: &Realm,
    request: &Request,
    id: DeviceId,
    rest: &[&str],
    loses_message: bool,
) -> Result<Reply, ApiError> {
    match (request.method.as_str(), rest) {
        ("GET", []) => status(&realm.lock(), id).map(Reply::data),
        ("PATCH", []) => patch(realm, request, id),
        ("GET", ["interfaces"]) => {
            let state = realm.lock();
            let device = state.devices.get(&id).ok_or_else(|| ApiError::not_found("Device"))?;
            Ok(Reply::data(device.introspection.keys().collect::<Vec<_>>()))
        }
        (method, ["interfaces", interface, path @ ..]) => {
            let target = Target { device: id, interface, path: format!("/{}", path.join("/")) };
            match method {
                "GET" => interface_values::get(platform, realm, request, &target),
                "POST" | "PUT" => {
                    let value = request.data()?;
                    interface_values::send(platform, realm, &target, &value, loses_message)
                }
                "DELETE" => interface_values::unset(realm, &target, loses_message),
                _ => Err(ApiError::endpoint_not_found()),
            }
        }
        _ => Err(ApiError::endpoint_not_found()),
    }
}

pub(super) fn status(state: &State, id: DeviceId) -> Result<Value, ApiError> {
    let device = state.devices.get(&id).ok_or_else(|| ApiError::not_found("Device"))?;
    Ok(device.status(&state.groups_of(id)))
}

/// How much of a list a request wants.
/// Which page of a list is asked for, where each device has a token of its own.
pub(super) struct Paging<T> {
    limit: usize,
    details: bool,
    after: Option<T>,
}

impl<T: FromStr + Ord + Display> Paging<T> {
    pub(super) fn read(request: &Request) -> Result<Self, ApiError> {
        let limit = match request.query("limit") {
            None => PAGE_DEFAULT,
            Some(text) => match text.parse() {
                Ok(limit) if limit > 0 => std::cmp::min(limit, PAGE_MAX),
                _ => return Err(ApiError::field("limit", "must be greater than 0")),
            },
        };
        let details = match request.query("details") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(ApiError::field("details", "is invalid")),
        };
        let invalid = |_| ApiError::field("from_token", "is invalid");
        let after = request.query("from_token").map(|text| text.parse().map_err(invalid));
        Ok(Self { limit, details, after: after.transpose()? })
    }

    /// The page of `all`, which continues after the token of its last device.
    pub(super) fn page(
        &self,
        request: &Request,
        state: &State,
        all: &BTreeMap<T, DeviceId>,
    ) -> Result<Reply, ApiError> {
        let first = self.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        // One more, to see whether there are more.
        let following = all.range((first, Bound::Unbounded)).take(self.limit + 1);
        let mut devices: Vec<(&T, DeviceId)> = following.map(|(token, id)| (token, *id)).collect();
        // As Astarte writes paths: without the part that its ingress takes away.
        let path = request.path.trim_start_matches("/appengine");
        let mut links = Map::new();
        let own = request.query.iter().map(|(key, value)| format!("{key}={value}"));
        let own: Vec<String> = own.collect();
        let question = if own.is_empty() { "" } else { "?" };
        links.insert("self".to_owned(), json!(format!("{path}{question}{}", own.join("&"))));
        if devices.len() > self.limit {
            devices.truncate(self.limit);
            if let Some((token, _)) = devices.last() {
                let details = if self.details { "details=true&" } else { "" };
                let next = format!("{path}?{details}from_token={token}&limit={}", self.limit);
                links.insert("next".to_owned(), json!(next));
            }
        }
        let data = devices
            .into_iter()
            .map(|(_, id)| if self.details { status(state, id) } else { Ok(json!(id)) })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Reply::page(&data, &links))
    }
}

fn list(realm: &Realm, request: &Request) -> Result<Reply, ApiError> {
    let paging = Paging::read(request)?;
    let state = realm.lock();
    paging.page(request, &state, &state.order)
}

fn patch(realm: &Realm, request: &Request, id: DeviceId) -> Result<Reply, ApiError> {
    if !request.content_type.starts_with("application/merge-patch+json") {
        return Err(ApiError::detail(415, "Unsupported media type"));
    }
    let data = request.data()?;
    let mut state = realm.lock();
    let device = state.devices.get(&id).ok_or_else(|| ApiError::not_found("Device"))?;
    let aliases = merged(&device.aliases, &data["aliases"], "alias")?;
    let attributes = merged(&device.attributes, &data["attributes"], "attribute")?;
    let is_inhibited = match &data["credentials_inhibited"] {
        Value::Null => device.is_inhibited,
        Value::Bool(is_inhibited) => *is_inhibited,
        _ => return Err(ApiError::field("credentials_inhibited", "is invalid")),
    };
    let is_taken =
        aliases.values().any(|alias| state.by_alias(alias).is_some_and(|other| other != id));
    if is_taken {
        return Err(ApiError::detail(409, "Alias already in use"));
    }
    if let Some(device) = state.devices.get_mut(&id) {
        device.aliases = aliases;
        device.attributes = attributes;
        device.is_inhibited = is_inhibited;
    }
    status(&state, id).map(Reply::data)
}

/// A JSON merge patch of a map of texts.
fn merged(
    old: &BTreeMap<String, String>,
    patch: &Value,
    what: &str,
) -> Result<BTreeMap<String, String>, ApiError> {
    let mut new = old.clone();
    let patch = match patch {
        Value::Null => return Ok(new),
        Value::Object(patch) => patch,
        _ => return Err(ApiError::bad_request()),
    };
    for (key, value) in patch {
        match value {
            _ if key.is_empty() => {
                return Err(ApiError::detail(400, format!("Invalid {what} key")));
            }
            Value::Null if new.remove(key).is_some() => {}
            Value::Null => return Err(ApiError::not_found(&format!("{what} key"))),
            Value::String(text) => {
                new.insert(key.clone(), text.clone());
            }
            _ => return Err(ApiError::detail(400, format!("Invalid {what} value"))),
        }
    }
    if new.len() > ATTRIBUTES_MAX {
        return Err(ApiError::detail(400, format!("More than {ATTRIBUTES_MAX} {what} keys")));
    }
    Ok(new)
}
