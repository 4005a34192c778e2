//! One delivery of a trigger, read: which device, when, and what happened. Nothing here needs HTTP,
//! an engine or a clock.

use chrono::DateTime;
use hedgerow_core::{DeviceId, Presence, Timestamp};
use hedgerow_engine::Observation;
use serde::Deserialize;
use serde_json::Value;

use super::report::{ReportError, read_event, read_response, said};
use crate::interfaces::{BASE_IMAGE, OTA_EVENT, OTA_RESPONSE, SYSTEM_INFO};
use crate::redact::excerpt;

/// Why a delivery cannot be read. Sending it again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TriggerError {
    /// Not the JSON of a trigger, nested too deeply, or without something that it must have.
    #[error("this is not the JSON of an astarte trigger: {detail}")]
    NotATrigger {
        /// What is wrong, cut after 200 characters.
        detail: String,
    },
    /// The stamp is no point in time.
    #[error("timestamp {text:?} is not a time such as 2026-08-21T10:00:00.000Z")]
    Timestamp {
        /// What was given, cut after 64 characters.
        text: String,
    },
    /// A report that cannot be read.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// What a trigger told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TriggerEvent {
    /// The device.
    pub device: DeviceId,
    /// Astarte's stamp. For a report it is the device's own, which may be years off.
    pub at: Timestamp,
    /// What happened.
    pub happening: Happening,
}

/// What happened to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// It connected.
    Connected,
    /// It disconnected.
    Disconnected,
    /// It was registered.
    Registered,
    /// Its deletion finished.
    DeletionFinished,
    /// It reports about an operation.
    Reported(hedgerow_core::OperationReport),
    /// It showed or took back part of its base image, whose version may have changed.
    BaseImageShown {
        /// Whether that part belongs to the version.
        is_version: bool,
    },
    /// It showed or took back its serial number or its part number. The engine has no use for it; a
    /// service that keeps a catalogue does.
    SystemInfoShown,
    /// Something that Hedgerow has no use for.
    Other {
        /// The type of the event, cut after 64 characters.
        event_type: String,
    },
}

#[derive(Deserialize)]
struct Delivery {
    timestamp: String,
    device_id: DeviceId,
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    interface: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    value: Option<Value>,
}

impl TriggerEvent {
    /// Reads the body of a delivery.
    ///
    /// ```
    /// use hedgerow_astarte::triggers::{Happening, TriggerEvent};
    ///
    /// let event = TriggerEvent::read(
    ///     br#"{"timestamp": "2026-08-21T10:00:00.000Z", "device_id": "f0VMRgIBAQAAAAAAAAAAAA",
    ///          "event": {"type": "device_connected", "device_ip_address": "10.0.0.1"}}"#,
    /// )?;
    /// assert_eq!(event.happening, Happening::Connected);
    /// # Ok::<(), hedgerow_astarte::triggers::TriggerError>(())
    /// ```
    ///
    /// # Errors
    /// [`TriggerError`].
    pub fn read(body: &[u8]) -> Result<Self, TriggerError> {
        // The library refuses what is nested deeper than 128 levels.
        let delivery: Delivery = serde_json::from_slice(body)
            .map_err(|error| TriggerError::NotATrigger { detail: said(&error) })?;
        let at = DateTime::parse_from_rfc3339(&delivery.timestamp)
            .map_err(|_| TriggerError::Timestamp { text: excerpt(&delivery.timestamp, 64) })?;
        let at = Timestamp::from(at.to_utc());
        let device = delivery.device_id;
        let happening = read_happening(device, at, delivery.event)?;
        Ok(Self { device, at, happening })
    }

    /// What an engine is told of it, if anything. Who receives deliveries beside each other, or
    /// out of order, decides by the stamps first, as [`TriggerReceiver`](crate::TriggerReceiver)
    /// does.
    #[must_use]
    pub fn observation(&self) -> Option<Observation> {
        let device = self.device;
        Some(match &self.happening {
            Happening::Connected => {
                Observation::Presence { device, presence: Presence::Online { since: self.at } }
            }
            Happening::Disconnected => {
                Observation::Presence { device, presence: Presence::Offline }
            }
            Happening::DeletionFinished => Observation::DeviceRemoved { device },
            Happening::Reported(report) => Observation::Report(report.clone()),
            Happening::BaseImageShown { is_version: true } => {
                Observation::BaseImageChanged { device }
            }
            Happening::Registered
            | Happening::SystemInfoShown
            | Happening::BaseImageShown { is_version: false }
            | Happening::Other { .. } => return None,
        })
    }
}

fn read_happening(
    device: DeviceId,
    at: Timestamp,
    event: Event,
) -> Result<Happening, TriggerError> {
    let Event { kind, interface, path, value } = event;
    let other = || Happening::Other { event_type: excerpt(&kind, 64) };
    Ok(match kind.as_str() {
        "device_connected" => Happening::Connected,
        "device_disconnected" => Happening::Disconnected,
        "device_registered" => Happening::Registered,
        "device_deletion_finished" => Happening::DeletionFinished,
        "incoming_data"
        | "value_stored"
        | "path_created"
        | "path_removed"
        | "value_change"
        | "value_change_applied" => match (interface.as_deref(), path.as_deref()) {
            (Some(OTA_EVENT), Some("/event")) => {
                Happening::Reported(read_event(device, Some(at), value)?)
            }
            (Some(OTA_RESPONSE), Some("/response")) => {
                Happening::Reported(read_response(device, at, value)?)
            }
            (Some(BASE_IMAGE), Some(path)) => {
                Happening::BaseImageShown { is_version: matches!(path, "/version" | "/buildId") }
            }
            (Some(SYSTEM_INFO), Some(_)) => Happening::SystemInfoShown,
            _ => other(),
        },
        _ => other(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_short_and_repeats_no_signature_whatever_was_sent() {
        let start =
            r#"{"timestamp": "2026-08-21T10:00:00.000Z", "device_id": "f0VMRgIBAQAAAAAAAAAAAA""#;
        let text = format!("https://images.example/i.bin?signature=secret {}", "x".repeat(10_000));
        let value = format!(
            r#"{{"type": "incoming_data", "interface": "{OTA_EVENT}", "path": "/event", "value": "{text}"}}"#
        );
        for body in
            [format!(r#"{start}, "event": "{text}"}}"#), format!(r#"{start}, "event": {value}}}"#)]
        {
            let refused =
                TriggerEvent::read(body.as_bytes()).expect_err("it is no event").to_string();
            assert!(refused.len() < 600 && refused.contains("images.example"), "{refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
