//! Trigger delivery policies: what becomes of an event whose delivery failed.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::http::Fields;

/// How one class of failures is treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handler {
    codes: BTreeSet<u16>,
    retry: bool,
}

/// A delivery policy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    definition: Value,
    pub(crate) name: String,
    handlers: Vec<Handler>,
    pub(crate) maximum_capacity: usize,
    /// Attempts in all.
    pub(crate) retry_times: u32,
    pub(crate) event_ttl_seconds: Option<u32>,
    pub(crate) prefetch_count: usize,
}

/// How many events a consumer takes from a queue ahead, unless the policy says so.
pub(crate) const PREFETCH_DEFAULT: usize = 300;

#[derive(Deserialize)]
#[serde(untagged)]
enum On {
    Keyword(String),
    Codes(Vec<u16>),
}

#[derive(Deserialize)]
struct HandlerDefinition {
    on: On,
    strategy: String,
}

#[derive(Deserialize)]
struct Definition {
    name: Option<String>,
    maximum_capacity: Option<i64>,
    error_handlers: Option<Vec<HandlerDefinition>>,
    retry_times: Option<i64>,
    event_ttl: Option<i64>,
    prefetch_count: Option<i64>,
}

impl Policy {
    /// Checks a definition by Astarte's rules; each field that breaks one is told.
    pub(crate) fn parse(definition: &Value) -> Result<Self, Fields> {
        let mut fields = Fields::default();
        let Ok(parsed) = Definition::deserialize(definition) else {
            fields.add("error_handlers", "is invalid");
            return Err(fields);
        };
        let name = parsed.name.unwrap_or_default();
        if name.is_empty() {
            fields.add("name", "can't be blank");
        } else if name.len() > 128 || name.starts_with('@') {
            fields.add("name", "has invalid format");
        }
        let maximum_capacity = in_range(
            &mut fields,
            "maximum_capacity",
            parsed.maximum_capacity,
            1..=1_000_000,
            Presence::Required,
        );
        let handlers = handlers(&mut fields, parsed.error_handlers.unwrap_or_default());
        let retries = handlers.iter().any(|handler| handler.retry);
        let presence = if retries { Presence::Required } else { Presence::Forbidden };
        let retry_times =
            in_range(&mut fields, "retry_times", parsed.retry_times, 1..=100, presence);
        let event_ttl =
            in_range(&mut fields, "event_ttl", parsed.event_ttl, 1..=86_400, Presence::Optional);
        let prefetch = in_range(
            &mut fields,
            "prefetch_count",
            parsed.prefetch_count,
            1..=300,
            Presence::Optional,
        );
        fields.or(Self {
            definition: definition.clone(),
            name,
            handlers,
            maximum_capacity: maximum_capacity.map_or(1, |capacity| capacity as usize),
            retry_times: retry_times.unwrap_or(1),
            event_ttl_seconds: event_ttl,
            prefetch_count: prefetch.map_or(PREFETCH_DEFAULT, |count| count as usize),
        })
    }

    /// The definition as it was given.
    pub(crate) fn definition(&self) -> &Value {
        &self.definition
    }

    /// Whether an event is tried again whose delivery failed for the `attempts`th time with
    /// `status`.
    pub(crate) fn retries(&self, status: u16, attempts: u32) -> bool {
        attempts < self.retry_times
            && self
                .handlers
                .iter()
                .find(|handler| handler.codes.contains(&status))
                .is_some_and(|handler| handler.retry)
    }
}

enum Presence {
    Required,
    Optional,
    Forbidden,
}

fn in_range(
    fields: &mut Fields,
    field: &'static str,
    value: Option<i64>,
    range: std::ops::RangeInclusive<i64>,
    presence: Presence,
) -> Option<u32> {
    match (value, presence) {
        (None, Presence::Required) => fields.add(field, "can't be blank"),
        (None, _) => {}
        (Some(_), Presence::Forbidden) => {
            fields.add(field, "must not be set when no handler retries");
        }
        (Some(value), _) if !range.contains(&value) => {
            fields.add(field, format!("must be between {} and {}", range.start(), range.end()));
        }
        (Some(value), _) => return u32::try_from(value).ok(),
    }
    None
}

fn handlers(fields: &mut Fields, definitions: Vec<HandlerDefinition>) -> Vec<Handler> {
    if definitions.is_empty() || definitions.len() > 200 {
        fields.add("error_handlers", "should have between 1 and 200 items");
        return Vec::new();
    }
    let mut taken = BTreeSet::new();
    let mut handlers = Vec::new();
    for definition in definitions {
        let codes: BTreeSet<u16> = match definition.on {
            On::Keyword(keyword) => match keyword.as_str() {
                "client_error" => (400..=499).collect(),
                "server_error" => (500..=599).collect(),
                "any_error" => (400..=599).collect(),
                _ => BTreeSet::new(),
            },
            On::Codes(codes) => codes.into_iter().collect(),
        };
        if codes.is_empty() || codes.iter().any(|code| !(400..=599).contains(code)) {
            fields.add("error_handlers", "on is invalid");
        }
        if codes.iter().any(|code| !taken.insert(*code)) {
            fields.add("error_handlers", "must be disjoint");
        }
        let retry = match definition.strategy.as_str() {
            "retry" => true,
            "discard" => false,
            _ => {
                fields.add("error_handlers", "strategy is invalid");
                false
            }
        };
        handlers.push(Handler { codes, retry });
    }
    handlers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn edgehog() -> Value {
        json!({
            "name": "retry-on-server-error", "maximum_capacity": 100, "retry_times": 3,
            "event_ttl": 30,
            "error_handlers": [
                {"on": "server_error", "strategy": "retry"},
                {"on": [404, 410], "strategy": "discard"},
            ],
        })
    }

    fn with(key: &str, value: Value) -> Value {
        let mut definition = edgehog();
        definition[key] = value;
        definition
    }

    #[test]
    fn retry_times_counts_all_attempts() {
        let policy = Policy::parse(&edgehog()).expect("a policy");
        assert!(policy.retries(503, 1) && policy.retries(500, 2));
        assert!(!policy.retries(503, 3));
        assert!(!policy.retries(404, 1), "its handler discards");
        assert!(!policy.retries(400, 1), "no handler at all discards");
    }

    #[test]
    fn a_definition_that_breaks_a_rule_is_told_the_field() {
        for (field, definition) in [
            ("name", with("name", json!("@mine"))),
            ("name", with("name", Value::Null)),
            ("maximum_capacity", with("maximum_capacity", json!(0))),
            ("maximum_capacity", with("maximum_capacity", Value::Null)),
            ("retry_times", with("retry_times", json!(101))),
            ("retry_times", with("retry_times", Value::Null)),
            ("event_ttl", with("event_ttl", json!(86_401))),
            ("prefetch_count", with("prefetch_count", json!(301))),
            ("error_handlers", with("error_handlers", json!([]))),
            ("error_handlers", with("error_handlers", json!("x"))),
            ("error_handlers", with("error_handlers", json!([{"on": [200], "strategy": "retry"}]))),
            ("error_handlers", with("error_handlers", json!([{"on": "any", "strategy": "retry"}]))),
            (
                "error_handlers",
                with(
                    "error_handlers",
                    json!([{"on": "any_error", "strategy": "retry"}, {"on": [404], "strategy": "discard"}]),
                ),
            ),
            (
                "retry_times",
                with("error_handlers", json!([{"on": "any_error", "strategy": "discard"}])),
            ),
        ] {
            let fields = Policy::parse(&definition).expect_err("a rule is broken");
            assert!(fields.has(field), "{field}: {fields:?}");
        }
    }
}
