//! What Astarte tells a backend about its devices, and the JSON of each.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bson::Bson;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::clock::iso;
use crate::device_id::DeviceId;
use crate::value::{LongIntegers, to_json};

/// The kinds of events, by the names that triggers give them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A device has connected.
    DeviceConnected,
    /// A device has disconnected.
    DeviceDisconnected,
    /// A device did something that Astarte does not accept.
    DeviceError,
    /// A device was registered.
    DeviceRegistered,
    /// The deletion of a device has begun.
    DeviceDeletionStarted,
    /// A device is deleted.
    DeviceDeletionFinished,
    /// A device told which interfaces it has.
    IncomingIntrospection,
    /// A device has an interface more.
    InterfaceAdded,
    /// A device has an interface less.
    InterfaceRemoved,
    /// A device has an interface in another minor version.
    InterfaceMinorUpdated,
    /// A value has come from a device.
    IncomingData,
    /// A value has come and is stored.
    ValueStored,
    /// A property gets another value.
    ValueChange,
    /// A property has got another value.
    ValueChangeApplied,
    /// A property has got its first value.
    PathCreated,
    /// A property is no longer set.
    PathRemoved,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    DeviceConnected { address: IpAddr },
    DeviceDisconnected,
    DeviceError { name: &'static str, metadata: BTreeMap<&'static str, String> },
    DeviceRegistered,
    DeviceDeletionStarted,
    DeviceDeletionFinished,
    IncomingIntrospection { interfaces: BTreeMap<String, (i32, i32)> },
    InterfaceAdded { interface: String, major: i32, minor: i32 },
    InterfaceRemoved { interface: String, major: i32 },
    InterfaceMinorUpdated { interface: String, major: i32, old_minor: i32, new_minor: i32 },
    Data { kind: EventKind, data: Box<Data> },
}

/// What happened to a value. Which of the fields are told depends on the event's kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Data {
    pub(crate) interface: String,
    pub(crate) major: i32,
    pub(crate) path: String,
    /// `None` when a property was unset.
    pub(crate) value: Option<Bson>,
    pub(crate) old: Option<Bson>,
}

/// What happened to which device, and when.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeviceEvent {
    pub(crate) device: DeviceId,
    pub(crate) timestamp: DateTime<Utc>,
    pub(crate) event: Event,
}

impl Event {
    pub(crate) fn kind(&self) -> EventKind {
        match self {
            Self::DeviceConnected { .. } => EventKind::DeviceConnected,
            Self::DeviceDisconnected => EventKind::DeviceDisconnected,
            Self::DeviceError { .. } => EventKind::DeviceError,
            Self::DeviceRegistered => EventKind::DeviceRegistered,
            Self::DeviceDeletionStarted => EventKind::DeviceDeletionStarted,
            Self::DeviceDeletionFinished => EventKind::DeviceDeletionFinished,
            Self::IncomingIntrospection { .. } => EventKind::IncomingIntrospection,
            Self::InterfaceAdded { .. } => EventKind::InterfaceAdded,
            Self::InterfaceRemoved { .. } => EventKind::InterfaceRemoved,
            Self::InterfaceMinorUpdated { .. } => EventKind::InterfaceMinorUpdated,
            Self::Data { kind, .. } => *kind,
        }
    }

    /// The interface that the event is about, if it is about one.
    pub(crate) fn interface(&self) -> Option<&str> {
        match self {
            Self::InterfaceAdded { interface, .. }
            | Self::InterfaceRemoved { interface, .. }
            | Self::InterfaceMinorUpdated { interface, .. } => Some(interface),
            Self::Data { data, .. } => Some(&data.interface),
            _ => None,
        }
    }

    /// The `event` of the payload of a trigger.
    pub(crate) fn to_json(&self) -> Value {
        let mut event = match self {
            Self::DeviceConnected { address } => json!({"device_ip_address": address.to_string()}),
            Self::DeviceDisconnected
            | Self::DeviceRegistered
            | Self::DeviceDeletionStarted
            | Self::DeviceDeletionFinished => json!({}),
            Self::DeviceError { name, metadata } => {
                json!({"error_name": name, "metadata": metadata})
            }
            Self::IncomingIntrospection { interfaces } => {
                let map: Map<_, _> = interfaces
                    .iter()
                    .map(|(name, (major, minor))| {
                        (name.clone(), json!({"major": major, "minor": minor}))
                    })
                    .collect();
                json!({"introspection_map": map})
            }
            Self::InterfaceAdded { interface, major, minor } => {
                json!({"interface": interface, "major_version": major, "minor_version": minor})
            }
            Self::InterfaceRemoved { interface, major } => {
                json!({"interface": interface, "major_version": major})
            }
            Self::InterfaceMinorUpdated { interface, major, old_minor, new_minor } => json!({
                "interface": interface, "major_version": major,
                "old_minor_version": old_minor, "new_minor_version": new_minor,
            }),
            Self::Data { kind, data } => data.to_json(*kind),
        };
        event["type"] = json!(self.kind());
        event
    }
}

impl Data {
    fn to_json(&self, kind: EventKind) -> Value {
        let value = |bson: &Option<Bson>| {
            bson.as_ref().map_or(Value::Null, |bson| to_json(bson, LongIntegers::Number))
        };
        let mut event = json!({"interface": self.interface, "path": self.path});
        match kind {
            EventKind::ValueChange | EventKind::ValueChangeApplied => {
                event["old_value"] = value(&self.old);
                event["new_value"] = value(&self.value);
            }
            EventKind::PathRemoved => {}
            _ => event["value"] = value(&self.value),
        }
        event
    }
}

impl DeviceEvent {
    /// The body of the request that the trigger named `trigger` makes.
    pub(crate) fn to_json(&self, trigger: &str) -> Value {
        json!({
            "timestamp": iso(self.timestamp),
            "device_id": self.device,
            "trigger_name": trigger,
            "event": self.event.to_json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use bson::bson;

    use super::*;
    use crate::clock::at_millis;

    fn data(kind: EventKind) -> Value {
        let data = Data {
            interface: "org.example.Image".to_owned(),
            major: 0,
            path: "/version".to_owned(),
            value: Some(bson!(9_007_199_254_740_993_i64)),
            old: None,
        };
        Event::Data { kind, data: Box::new(data) }.to_json()
    }

    #[test]
    fn a_payload_tells_time_device_trigger_and_event() {
        let event = DeviceEvent {
            device: DeviceId::from_bytes([0; 16]),
            timestamp: at_millis(1_700_000_000_000),
            event: Event::DeviceConnected { address: [127, 0, 0, 1].into() },
        };
        assert_eq!(
            event.to_json("presence"),
            json!({
                "timestamp": "2023-11-14T22:13:20.000Z",
                "device_id": "AAAAAAAAAAAAAAAAAAAAAA",
                "trigger_name": "presence",
                "event": {"type": "device_connected", "device_ip_address": "127.0.0.1"},
            })
        );
    }

    #[test]
    fn each_kind_of_data_event_tells_its_values() {
        let (interface, path) = ("org.example.Image", "/version");
        let number = 9_007_199_254_740_993_i64;
        assert_eq!(
            data(EventKind::IncomingData),
            json!({"type": "incoming_data", "interface": interface, "path": path, "value": number})
        );
        assert_eq!(
            data(EventKind::ValueChange),
            json!({"type": "value_change", "interface": interface, "path": path,
                   "old_value": null, "new_value": number})
        );
        assert_eq!(
            data(EventKind::PathRemoved),
            json!({"type": "path_removed", "interface": interface, "path": path})
        );
    }

    #[test]
    fn the_kinds_have_the_names_of_astarte() {
        let error = Event::DeviceError { name: "invalid_path", metadata: BTreeMap::new() };
        assert_eq!(
            error.to_json(),
            json!({"type": "device_error", "error_name": "invalid_path", "metadata": {}})
        );
        let interfaces = BTreeMap::from([("org.example.A".to_owned(), (1, 2))]);
        assert_eq!(
            Event::IncomingIntrospection { interfaces }.to_json(),
            json!({"type": "incoming_introspection",
                   "introspection_map": {"org.example.A": {"major": 1, "minor": 2}}})
        );
    }
}
