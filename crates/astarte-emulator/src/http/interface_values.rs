//! The values of a device's interfaces: what AppEngine reads from what is stored, and what it sends
//! to the device.

use bson::{Bson, Document};
use chrono::{DateTime, Utc};
use mqttbytes::QoS;
use serde_json::{Map, Value, json};

use super::reply::{ApiError, Reply};
use super::request::Request;
use crate::clock::iso;
use crate::device::Device;
use crate::device_id::DeviceId;
use crate::ingest::Interfaces;
use crate::interface::{Endpoint, Installed};
use crate::mqtt::session::{Fate, Message};
use crate::platform::Platform;
use crate::realm::{Realm, State};
use crate::value::{LongIntegers, Payload, ValueError, from_json, to_json};
use crate::values::{InterfaceKey, Sample, Window};

/// What a request is about.
pub(super) struct Target<'a> {
    pub(super) device: DeviceId,
    pub(super) interface: &'a str,
    /// With a leading slash; `/` is the interface as a whole.
    pub(super) path: String,
}

impl Target<'_> {
    fn installed<'a>(
        &self,
        device: &Device,
        interfaces: &'a Interfaces,
    ) -> Result<&'a Installed, ApiError> {
        let known = device.introspection.get(self.interface).ok_or_else(not_in_introspection)?;
        interfaces
            .get(self.interface)
            .and_then(|majors| majors.get(&known.major))
            .ok_or_else(|| ApiError::not_found("Interface"))
    }
}

fn not_in_introspection() -> ApiError {
    ApiError::detail(404, "Interface not found in device introspection")
}

fn key_of(installed: &Installed) -> InterfaceKey {
    (installed.name().to_owned(), installed.major())
}

/// Sends a value to the device, and stores it.
pub(super) fn send(
    platform: &Platform,
    realm: &Realm,
    target: &Target<'_>,
    value: &Value,
    loses_message: bool,
) -> Result<Reply, ApiError> {
    let now = platform.clock.now();
    let prefix = realm.prefix(target.device);
    let mut state = realm.lock();
    let State { devices, interfaces, .. } = &mut *state;
    let device = devices.get_mut(&target.device).ok_or_else(|| ApiError::not_found("Device"))?;
    let installed = target.installed(device, interfaces)?;
    let endpoint = writable(installed, &target.path)?;
    let bson = read_value(installed, &endpoint, value)?;
    let payload =
        Payload::encode(&bson).map_err(|_| ApiError::detail(500, "Internal server error"))?;
    deliver(device, installed, &endpoint, &prefix, &target.path, payload, loses_message)?;
    let key = key_of(installed);
    if installed.is_properties() {
        device.values.set_property(&key, &target.path, Some(bson));
    } else {
        device.values.append(&key, &target.path, bson, now, now, endpoint.time_to_live);
    }
    Ok(Reply::data(value))
}

/// Unsets a property.
pub(super) fn unset(
    realm: &Realm,
    target: &Target<'_>,
    loses_message: bool,
) -> Result<Reply, ApiError> {
    let prefix = realm.prefix(target.device);
    let mut state = realm.lock();
    let State { devices, interfaces, .. } = &mut *state;
    let device = devices.get_mut(&target.device).ok_or_else(|| ApiError::not_found("Device"))?;
    let installed = target.installed(device, interfaces)?;
    let endpoint = writable(installed, &target.path)?;
    if !endpoint.allow_unset {
        return Err(ApiError::detail(422, "Unset not allowed"));
    }
    deliver(device, installed, &endpoint, &prefix, &target.path, Vec::new(), loses_message)?;
    device.values.set_property(&key_of(installed), &target.path, None);
    Ok(Reply::no_content())
}

fn writable(installed: &Installed, path: &str) -> Result<Endpoint, ApiError> {
    if !installed.is_server_owned() {
        return Err(ApiError::detail(405, "Cannot write to device owned resource"));
    }
    if let Some(endpoint) = installed.endpoint(path) {
        return Ok(endpoint);
    }
    if installed.is_object() {
        // Astarte has no answer for it.
        return Err(ApiError::detail(500, "Internal server error"));
    }
    let levels = path.trim_matches('/').split('/').filter(|level| !level.is_empty()).count();
    let is_incomplete =
        installed.endpoints().iter().any(|endpoint| endpoint.matches('/').count() > levels);
    Err(if is_incomplete {
        ApiError::detail(405, "Cannot write to read-only resource")
    } else {
        ApiError::not_found("Mapping")
    })
}

fn read_value(installed: &Installed, endpoint: &Endpoint, value: &Value) -> Result<Bson, ApiError> {
    let Some(kind) = endpoint.kind else {
        let object = value.as_object().ok_or_else(|| {
            ApiError::detail(422, "Unexpected value type").with("expected_type", "object")
        })?;
        let mut document = Document::new();
        for (key, value) in object {
            let kind =
                installed.key(key).ok_or_else(|| ApiError::detail(400, "Unexpected object key"))?;
            document.insert(key, from_json(value, kind).map_err(error_of)?);
        }
        if installed.required_keys().iter().any(|key| !document.contains_key(key)) {
            return Err(ApiError::detail(422, "Missing required mapping key"));
        }
        return Ok(Bson::Document(document));
    };
    from_json(value, kind).map_err(error_of)
}

fn error_of(error: ValueError) -> ApiError {
    match error {
        ValueError::Type { expected } => ApiError::detail(422, "Unexpected value type")
            .with("expected_type", expected.to_string()),
        ValueError::Size => ApiError::detail(422, "Value size exceeds size limits"),
        ValueError::Undecodable => ApiError::bad_request(),
    }
}

fn deliver(
    device: &mut Device,
    installed: &Installed,
    endpoint: &Endpoint,
    prefix: &str,
    path: &str,
    payload: Vec<u8>,
    loses_message: bool,
) -> Result<(), ApiError> {
    if loses_message {
        return Ok(());
    }
    let fate = device.publish(Message {
        topic: format!("{prefix}/{}{path}", installed.name()),
        payload: payload.into(),
        quality: endpoint.quality,
    });
    // A session that matches is all that Astarte asks for; whether it is online, it does not know.
    let needs_match = !installed.is_properties() && endpoint.quality != QoS::AtMostOnce;
    if fate == Fate::Unmatched && needs_match {
        return Err(ApiError::detail(503, "Cannot push to device"));
    }
    Ok(())
}

/// Reads what is stored.
pub(super) fn get(
    platform: &Platform,
    realm: &Realm,
    request: &Request,
    target: &Target<'_>,
) -> Result<Reply, ApiError> {
    let options = Options::read(request)?;
    let state = realm.lock();
    let device = state.devices.get(&target.device).ok_or_else(|| ApiError::not_found("Device"))?;
    let installed = target.installed(device, &state.interfaces)?;
    let key = key_of(installed);
    if installed.is_properties() {
        return properties(device, &key, &target.path, &options).map(Reply::data);
    }
    let now = platform.clock.now();
    let series = |path: &str, window: &Window| -> Vec<Value> {
        let samples = device.values.series(&key, path, window, now);
        samples.into_iter().map(|sample| options.sample(sample)).collect()
    };
    if target.path != "/" {
        let values = series(&target.path, &options.window);
        // Astarte does not tell an empty series from a path that never had a value.
        return if values.is_empty() {
            Err(ApiError::not_found("Path"))
        } else {
            Ok(Reply::data(values))
        };
    }
    let paths = device.values.series_paths(&key);
    if installed.is_object() {
        // Without parameters an object has one path, and the answer is its series.
        if let [path] = paths.as_slice()
            && !installed.endpoints().iter().any(|endpoint| endpoint.contains("%{"))
        {
            return Ok(Reply::data(series(path, &options.window)));
        }
        return Ok(Reply::data(nested(
            paths.iter().map(|path| (*path, Value::Array(series(path, &options.window)))),
        )));
    }
    let latest = Window { limit: Some(1), ..Window::default() };
    Ok(Reply::data(nested(
        paths.iter().filter_map(|path| Some((*path, series(path, &latest).pop()?))),
    )))
}

fn properties(
    device: &Device,
    key: &InterfaceKey,
    path: &str,
    options: &Options,
) -> Result<Value, ApiError> {
    if let Some(value) = device.values.property(key, path) {
        return Ok(to_json(value, options.long_integers));
    }
    let prefix = if path == "/" { String::new() } else { path.to_owned() };
    let below: Vec<(&str, Value)> = device
        .values
        .properties(key)
        .filter_map(|(path, value)| {
            let rest = path.strip_prefix(prefix.as_str()).filter(|rest| rest.starts_with('/'))?;
            Some((rest, to_json(value, options.long_integers)))
        })
        .collect();
    if below.is_empty() && path != "/" {
        return Err(ApiError::not_found("Path"));
    }
    Ok(nested(below.into_iter()))
}

/// Values by path as a tree by the paths' levels.
fn nested<'a>(values: impl Iterator<Item = (&'a str, Value)>) -> Value {
    let mut tree = Map::new();
    for (path, value) in values {
        let levels: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        insert(&mut tree, &levels, value);
    }
    Value::Object(tree)
}

fn insert(tree: &mut Map<String, Value>, levels: &[&str], value: Value) {
    match levels {
        [] => {}
        [last] => {
            tree.insert((*last).to_owned(), value);
        }
        [first, rest @ ..] => {
            let branch = tree.entry(*first).or_insert_with(|| json!({}));
            // No path of an interface goes on where another ends, so it is an object.
            if let Value::Object(branch) = branch {
                insert(branch, rest, value);
            }
        }
    }
}

/// The options in a query.
struct Options {
    window: Window,
    long_integers: LongIntegers,
    keep_milliseconds: bool,
}

impl Options {
    fn read(request: &Request) -> Result<Self, ApiError> {
        let time = |field: &'static str| match request.query(field) {
            None => Ok(None),
            Some(text) => match DateTime::parse_from_rfc3339(text) {
                Ok(time) => Ok(Some(time.with_timezone(&Utc))),
                Err(_) => Err(ApiError::field(field, "is invalid")),
            },
        };
        let flag = |field: &str| request.query(field) == Some("true");
        let (since, since_after, to) = (time("since")?, time("since_after")?, time("to")?);
        if since.is_some() && since_after.is_some() {
            return Err(ApiError::field("since_after", "must not be set together with since"));
        }
        let limit = match request.query("limit") {
            None => None,
            Some(text) => match text.parse() {
                Ok(limit) if limit > 0 => Some(limit),
                _ => return Err(ApiError::field("limit", "must be greater than 0")),
            },
        };
        if request.query("format").is_some_and(|format| format != "structured") {
            return Err(ApiError::field("format", "is not supported by this emulator"));
        }
        if request.query("downsample_to").is_some() {
            return Err(ApiError::field("downsample_to", "is not supported by this emulator"));
        }
        let as_numbers = flag("allow_bigintegers") || flag("allow_safe_bigintegers");
        Ok(Self {
            window: Window { since, since_after, to, limit },
            long_integers: if as_numbers { LongIntegers::Number } else { LongIntegers::Text },
            keep_milliseconds: flag("keep_milliseconds"),
        })
    }

    fn sample(&self, sample: &Sample) -> Value {
        let timestamp = if self.keep_milliseconds {
            json!(sample.timestamp.timestamp_millis())
        } else {
            json!(iso(sample.timestamp))
        };
        let mut json = match to_json(&sample.value, self.long_integers) {
            Value::Object(object) => Value::Object(object),
            value => json!({"value": value}),
        };
        json["timestamp"] = timestamp;
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_nested_by_the_levels_of_their_paths() {
        let values =
            [("/name", json!("a")), ("/rooms/1/on", json!(true)), ("/rooms/2/on", json!(false))];
        assert_eq!(
            nested(values.into_iter()),
            json!({"name": "a", "rooms": {"1": {"on": true}, "2": {"on": false}}})
        );
        assert_eq!(nested(std::iter::empty()), json!({}));
    }
}
