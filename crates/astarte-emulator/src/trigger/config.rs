//! A trigger as it is installed in a realm: its definition, checked by Astarte's rules, and the
//! request that it makes.

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::{Method, Url};
use serde_json::Value;

use super::condition::Condition;
use crate::event::DeviceEvent;
use crate::http::Fields;
use crate::interface::Installed;
use crate::version::Version;

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
            Some(simple) => Condition::parse(&mut fields, simple, interface)?,
            None => None,
        };
        let (Some(action), Some(condition)) = (action, condition) else {
            return Err(TriggerError::Fields(fields));
        };
        let action = Arc::new(action);
        let trigger = Self { definition: definition.clone(), name, policy, action, condition };
        fields.or(trigger).map_err(TriggerError::Fields)
    }

    /// Whether that version of Astarte has such triggers.
    pub(crate) fn is_known_to(&self, version: &Version) -> bool {
        version.has_triggers_on(self.condition.on())
    }

    /// The definition as it was given.
    pub(crate) fn definition(&self) -> &Value {
        &self.definition
    }

    /// Whether the trigger is about the interface in its major version.
    pub(crate) fn is_about(&self, name: &str, major: i32) -> bool {
        self.condition.is_about(name, major)
    }

    /// Whether the event is one of this trigger's; `is_member` tells whether its device is in a
    /// group.
    pub(crate) fn fires(&self, event: &DeviceEvent, is_member: impl Fn(&str) -> bool) -> bool {
        self.condition.holds(event, is_member)
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
