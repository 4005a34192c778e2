//! A trigger as it is installed in a realm: checked by Astarte's rules, and asked whether an event
//! is one of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bson::Bson;
use reqwest::{Method, Url};
use serde_json::Value;

use crate::device_id::DeviceId;
use crate::event::{Data, DeviceEvent, Event, EventKind};
use crate::http::Fields;
use crate::interface::Installed;
use crate::value::{LongIntegers, to_json};

/// An installed trigger.
#[derive(Debug, Clone)]
pub(crate) struct Trigger {
    definition: Value,
    pub(crate) name: String,
    pub(crate) policy: Option<String>,
    pub(crate) action: Arc<HttpAction>,
    condition: Condition,
}

/// The request that a trigger makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpAction {
    pub(crate) url: Url,
    pub(crate) method: Method,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) ignore_ssl_errors: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Device {
        on: EventKind,
        filter: Filter,
    },
    Data {
        on: EventKind,
        interface: Option<(String, i32)>,
        path: Vec<Level>,
        value: Comparison,
        filter: Filter,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    All,
    Device(DeviceId),
    Group(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Any,
    /// `/*`: whatever follows.
    Rest,
    Exactly(String),
}

#[derive(Debug, Clone, PartialEq)]
struct Comparison {
    operator: Operator,
    known: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Any,
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Contains,
    NotContains,
}

/// A trigger's definition is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TriggerError {
    Fields(Fields),
    /// Status 400 with this detail.
    Unsupported(&'static str),
}

const URL_LENGTH_MAX: usize = 8192;
const HEADERS_LENGTH_MAX: usize = 8192;
const FORBIDDEN_HEADERS: [&str; 6] =
    ["connection", "content-length", "date", "host", "te", "upgrade"];
const FORBIDDEN_HEADER_PREFIXES: [&str; 2] = ["x-forwarded-", "proxy-auth"];

impl Trigger {
    /// Checks a definition. `interface` finds an installed interface by name and major version.
    pub(crate) fn parse<'a>(
        definition: &Value,
        interface: impl Fn(&str, i32) -> Option<&'a Installed>,
    ) -> Result<Self, TriggerError> {
        let mut fields = Fields::default();
        let name = definition["name"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() {
            fields.add("name", "can't be blank");
        }
        let policy = definition.get("policy").and_then(Value::as_str).map(str::to_owned);
        let action = action(&mut fields, &definition["action"]);
        let simple = match definition["simple_triggers"].as_array().map(Vec::as_slice) {
            Some([simple]) => Some(simple),
            Some(_) => {
                fields.add("simple_triggers", "should have 1 item(s)");
                None
            }
            None => {
                fields.add("simple_triggers", "can't be blank");
                None
            }
        };
        let condition = match simple {
            Some(simple) => condition(&mut fields, simple, interface)?,
            None => None,
        };
        let (Some(action), Some(condition)) = (action, condition) else {
            return Err(TriggerError::Fields(fields));
        };
        let action = Arc::new(action);
        let trigger = Self { definition: definition.clone(), name, policy, action, condition };
        fields.or(trigger).map_err(TriggerError::Fields)
    }

    /// The definition as it was given.
    pub(crate) fn definition(&self) -> &Value {
        &self.definition
    }

    /// Whether the trigger is about `interface` in its major version.
    pub(crate) fn is_about(&self, name: &str, major: i32) -> bool {
        matches!(&self.condition, Condition::Data { interface: Some((other, their)), .. }
            if other == name && *their == major)
    }

    /// Whether the event is one of this trigger's; `is_member` tells whether its device is in a
    /// group.
    pub(crate) fn fires(&self, event: &DeviceEvent, is_member: impl Fn(&str) -> bool) -> bool {
        let (on, filter) = match &self.condition {
            Condition::Device { on, filter } | Condition::Data { on, filter, .. } => (on, filter),
        };
        let concerns = match filter {
            Filter::All => true,
            Filter::Device(device) => *device == event.device,
            Filter::Group(group) => is_member(group),
        };
        if !concerns || *on != event.event.kind() {
            return false;
        }
        match (&self.condition, &event.event) {
            (Condition::Device { .. }, _) => true,
            (Condition::Data { interface, path, value, .. }, Event::Data { data, .. }) => {
                interface
                    .as_ref()
                    .is_none_or(|(name, major)| *name == data.interface && *major == data.major)
                    && matches_path(path, &data.path)
                    && value.holds(data)
            }
            (Condition::Data { .. }, _) => false,
        }
    }
}

fn action(fields: &mut Fields, action: &Value) -> Option<HttpAction> {
    if !action.is_object() {
        fields.add("action", "can't be blank");
        return None;
    }
    let (url, method) = match (action["http_url"].as_str(), action["http_post_url"].as_str()) {
        (Some(url), None) => (url, action["http_method"].as_str().unwrap_or_default()),
        (None, Some(url)) => (url, "post"),
        _ => {
            fields.add("action", "exactly one of http_url and http_post_url must be given; this emulator has no AMQP actions");
            return None;
        }
    };
    let url = Url::parse(url).ok().filter(|parsed| {
        url.len() <= URL_LENGTH_MAX && matches!(parsed.scheme(), "http" | "https")
    });
    if url.is_none() {
        fields.add("http_url", "must be a valid URL");
    }
    let method = match method {
        "delete" => Some(Method::DELETE),
        "get" => Some(Method::GET),
        "head" => Some(Method::HEAD),
        "options" => Some(Method::OPTIONS),
        "patch" => Some(Method::PATCH),
        "post" => Some(Method::POST),
        "put" => Some(Method::PUT),
        _ => {
            fields.add("http_method", "is invalid");
            None
        }
    };
    if action.get("template").is_some_and(|template| !template.is_null()) {
        fields.add("template", "is not supported by this emulator");
    }
    let headers = headers(fields, &action["http_static_headers"]);
    let ignore_ssl_errors = action["ignore_ssl_errors"].as_bool().unwrap_or(false);
    Some(HttpAction { url: url?, method: method?, headers, ignore_ssl_errors })
}

fn headers(fields: &mut Fields, headers: &Value) -> BTreeMap<String, String> {
    let mut accepted = BTreeMap::new();
    if headers.is_null() {
        return accepted;
    }
    let Some(headers) = headers.as_object() else {
        fields.add("http_static_headers", "is invalid");
        return accepted;
    };
    let mut length = 0;
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let forbidden = FORBIDDEN_HEADERS.contains(&lower.as_str())
            || FORBIDDEN_HEADER_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
        let valid = value.as_str().filter(|value| {
            reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
                && reqwest::header::HeaderValue::from_str(value).is_ok()
        });
        match valid {
            Some(value) if !forbidden => {
                length += name.len() + value.len();
                accepted.insert(name.clone(), value.to_owned());
            }
            _ => fields.add("http_static_headers", format!("{name} is invalid")),
        }
    }
    if length > HEADERS_LENGTH_MAX {
        fields.add("http_static_headers", "are too long");
    }
    accepted
}

fn condition<'a>(
    fields: &mut Fields,
    simple: &Value,
    interface: impl Fn(&str, i32) -> Option<&'a Installed>,
) -> Result<Option<Condition>, TriggerError> {
    let on: Option<EventKind> = serde_json::from_value(simple["on"].clone()).ok();
    let filter = filter(fields, simple);
    match (simple["type"].as_str(), on) {
        (Some("device_trigger"), Some(on)) if !is_about_data(on) => {
            Ok(filter.map(|filter| Condition::Device { on, filter }))
        }
        (Some("data_trigger"), Some(on)) if is_about_data(on) => {
            data_condition(fields, simple, on, filter, interface)
        }
        (Some("device_trigger" | "data_trigger"), _) => {
            fields.add("on", "is invalid");
            Ok(None)
        }
        _ => {
            fields.add("type", "is invalid");
            Ok(None)
        }
    }
}

fn is_about_data(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::IncomingData
            | EventKind::ValueStored
            | EventKind::ValueChange
            | EventKind::ValueChangeApplied
            | EventKind::PathCreated
            | EventKind::PathRemoved
    )
}

fn filter(fields: &mut Fields, simple: &Value) -> Option<Filter> {
    match (simple["device_id"].as_str(), simple["group_name"].as_str()) {
        (None | Some("*"), None) => Some(Filter::All),
        (Some(device), None) => {
            let device = device.parse().ok();
            if device.is_none() {
                fields.add("device_id", "is not a valid device id");
            }
            device.map(Filter::Device)
        }
        (None, Some(group)) => Some(Filter::Group(group.to_owned())),
        (Some(_), Some(_)) => {
            fields.add("group_name", "must not be set if device_id is set");
            None
        }
    }
}

fn data_condition<'a>(
    fields: &mut Fields,
    simple: &Value,
    on: EventKind,
    filter: Option<Filter>,
    find: impl Fn(&str, i32) -> Option<&'a Installed>,
) -> Result<Option<Condition>, TriggerError> {
    let path_text = simple["match_path"].as_str().unwrap_or_default();
    if !path_text.starts_with('/') {
        fields.add("match_path", "is invalid");
    }
    let Some(operator) = Operator::parse(simple["value_match_operator"].as_str()) else {
        fields.add("value_match_operator", "is invalid");
        return Ok(None);
    };
    let known = simple.get("known_value").cloned().unwrap_or(Value::Null);
    if operator != Operator::Any && known.is_null() {
        fields.add("known_value", "can't be blank");
    }
    let change = matches!(on, EventKind::ValueChange | EventKind::ValueChangeApplied);
    if change && path_text == "/*" {
        return Err(TriggerError::Unsupported("Unsupported trigger type"));
    }
    let name = simple["interface_name"].as_str().unwrap_or_default();
    let interface = if name == "*" {
        None
    } else {
        let major = simple["interface_major"].as_i64().and_then(|major| i32::try_from(major).ok());
        let Some(installed) = major.and_then(|major| find(name, major)) else {
            fields.add("interface_name", "interface not found");
            return Ok(None);
        };
        if !installed.is_properties()
            && on != EventKind::IncomingData
            && on != EventKind::ValueStored
        {
            return Err(TriggerError::Unsupported("Invalid datastream trigger"));
        }
        let plain = on == EventKind::IncomingData && path_text == "/*" && operator == Operator::Any;
        if installed.is_object() && !plain {
            return Err(TriggerError::Unsupported("Invalid object aggregation trigger"));
        }
        if path_text != "/*" && !is_path_of(installed, path_text) {
            fields.add("match_path", "is not a path of the interface");
        }
        Some((name.to_owned(), installed.major()))
    };
    let path = levels(path_text);
    let value = Comparison { operator, known };
    Ok(filter.map(|filter| Condition::Data { on, interface, path, value, filter }))
}

/// Whether some endpoint of the interface has the shape of `path`, in which `%{name}` and `*` stand
/// for any level.
fn is_path_of(installed: &Installed, path: &str) -> bool {
    let given = levels(path);
    installed.endpoints().iter().any(|endpoint| {
        let endpoint = levels(endpoint);
        endpoint.len() == given.len()
            && endpoint.iter().zip(&given).all(|pair| match pair {
                (Level::Exactly(left), Level::Exactly(right)) => left == right,
                _ => true,
            })
    })
}

fn levels(path: &str) -> Vec<Level> {
    let levels: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    if levels == ["*"] {
        return vec![Level::Rest];
    }
    levels
        .into_iter()
        .map(|level| match level {
            "*" => Level::Any,
            parameter if parameter.starts_with("%{") => Level::Any,
            exact => Level::Exactly(exact.to_owned()),
        })
        .collect()
}

fn matches_path(levels: &[Level], path: &str) -> bool {
    if levels == [Level::Rest] {
        return true;
    }
    let mut path = path.trim_start_matches('/').split('/');
    levels.iter().all(|level| {
        path.next().is_some_and(|actual| match level {
            Level::Exactly(expected) => expected == actual,
            Level::Any | Level::Rest => true,
        })
    }) && path.next().is_none()
}

impl Operator {
    fn parse(text: Option<&str>) -> Option<Self> {
        Some(match text? {
            "*" => Self::Any,
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            "contains" => Self::Contains,
            "not_contains" => Self::NotContains,
            _ => return None,
        })
    }
}

impl Comparison {
    fn holds(&self, data: &Data) -> bool {
        if self.operator == Operator::Any {
            return true;
        }
        let Some(value) = &data.value else { return false };
        let json = to_json(value, LongIntegers::Number);
        let order = || match (json.as_f64(), self.known.as_f64()) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            _ => Some(json.as_str()?.cmp(self.known.as_str()?)),
        };
        let equal = || order().map_or(json == self.known, std::cmp::Ordering::is_eq);
        match self.operator {
            Operator::Any => true,
            Operator::Equal => equal(),
            Operator::NotEqual => !equal(),
            Operator::Greater => order().is_some_and(std::cmp::Ordering::is_gt),
            Operator::GreaterOrEqual => order().is_some_and(std::cmp::Ordering::is_ge),
            Operator::Less => order().is_some_and(std::cmp::Ordering::is_lt),
            Operator::LessOrEqual => order().is_some_and(std::cmp::Ordering::is_le),
            Operator::Contains => self.contained_in(value, &json),
            Operator::NotContains => !self.contained_in(value, &json),
        }
    }

    fn contained_in(&self, value: &Bson, json: &Value) -> bool {
        match (value, json) {
            (Bson::String(text), _) => {
                self.known.as_str().is_some_and(|known| text.contains(known))
            }
            (_, Value::Array(elements)) => elements.contains(&self.known),
            _ => false,
        }
    }
}
