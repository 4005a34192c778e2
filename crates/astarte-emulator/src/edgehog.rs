//! A realm as Edgehog sets it up: its interfaces, whose values the database keeps for a year, its
//! delivery policy and its triggers.

use serde_json::{Value, json};

/// How long values are kept, in seconds.
const YEAR: u64 = 31_556_952;
pub(crate) const POLICY: &str = "edgehog-retry-on-server-error";

/// The definitions of the interfaces that updates need.
pub(crate) fn interfaces() -> [Value; 3] {
    let kept = |mut mapping: Value| {
        mapping["database_retention_policy"] = json!("use_ttl");
        mapping["database_retention_ttl"] = json!(YEAR);
        mapping
    };
    let mapping = |endpoint: &str| json!({"endpoint": endpoint, "type": "string"});
    let event = |(key, kind): (&str, &str)| {
        kept(json!({
            "endpoint": format!("/event/{key}"), "type": kind, "reliability": "unique",
            "explicit_timestamp": true,
        }))
    };
    let events = [
        ("requestUUID", "string"),
        ("status", "string"),
        ("statusProgress", "integer"),
        ("statusCode", "string"),
        ("message", "string"),
    ];
    let events = events.map(event);
    let requests = ["/request/operation", "/request/url", "/request/uuid"];
    let requests = requests.map(|endpoint| kept(mapping(endpoint)));
    let images = ["/fingerprint", "/name", "/version", "/buildId"].map(mapping);
    [
        json!({
            "interface_name": "io.edgehog.devicemanager.OTARequest",
            "version_major": 1, "version_minor": 0,
            "type": "datastream", "ownership": "server", "aggregation": "object",
            "mappings": requests,
        }),
        json!({
            "interface_name": "io.edgehog.devicemanager.OTAEvent",
            "version_major": 0, "version_minor": 1,
            "type": "datastream", "ownership": "device", "aggregation": "object",
            "mappings": events,
        }),
        json!({
            "interface_name": "io.edgehog.devicemanager.BaseImage",
            "version_major": 0, "version_minor": 1, "type": "properties", "ownership": "device",
            "mappings": images,
        }),
    ]
}

pub(crate) fn policy() -> Value {
    json!({
        "name": POLICY, "maximum_capacity": 100, "retry_times": 3, "event_ttl": 30,
        "error_handlers": [
            {"on": "client_error", "strategy": "discard"},
            {"on": "server_error", "strategy": "retry"},
        ],
    })
}

/// Triggers that deliver to that URL.
pub(crate) fn triggers(url: &str) -> [Value; 3] {
    let trigger = |name: &str, simple: Value| {
        json!({
            "name": name, "policy": POLICY, "simple_triggers": [simple],
            "action": {"http_url": url, "http_method": "post", "ignore_ssl_errors": false},
        })
    };
    let device = |on: &str| json!({"type": "device_trigger", "on": on});
    [
        trigger("edgehog-connection", device("device_connected")),
        trigger("edgehog-disconnection", device("device_disconnected")),
        trigger(
            "edgehog-ota-event",
            json!({
                "type": "data_trigger", "on": "incoming_data",
                "interface_name": "io.edgehog.devicemanager.OTAEvent", "interface_major": 0,
                "match_path": "/*", "value_match_operator": "*",
            }),
        ),
    ]
}
