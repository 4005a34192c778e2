//! Keeps what went over the wire, for tests that compare it with what went over it before.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mqttbytes::QoS;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::iso;
use crate::device_id::DeviceId;
use crate::faults::Api;
use crate::mqtt::topic::Incoming;
use crate::properties_list::{self, Format};
use crate::value::{LongIntegers, Payload, to_json};

/// Lists of properties that are longer are recorded as they came.
const PROPERTIES_LIST_LENGTH_MAX: u64 = 64 * 1024;

/// One thing that went over the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Recorded {
    /// A request to one of the APIs, and its answer.
    Request {
        /// Which of them.
        api: Api,
        /// Such as `POST`.
        method: String,
        /// What follows the realm, without the query.
        path: String,
        /// The query, as it was sent.
        query: String,
        /// The headers, by their names in lower case, without those that are about this one
        /// connection or carry secrets.
        headers: BTreeMap<String, String>,
        /// What the token claims; `null` if there was none, or the API is Pairing.
        claims: Value,
        /// The `data` of the body; `null` if there was none, it was no JSON, or the API is Pairing, whose bodies
        /// are secrets.
        body: Value,
        /// The status of the answer.
        status: u16,
        /// The body of the answer, under the same conditions.
        answer: Value,
    },
    /// A message from a device.
    FromDevice {
        /// Which of them.
        device: DeviceId,
        /// The topic after realm and device, without the slash between.
        topic: String,
        /// The quality of service.
        quality: u8,
        /// The payload: BSON as JSON, lists of properties unpacked, texts, or base64.
        payload: Value,
    },
    /// A message to a device.
    ToDevice {
        /// Which of them.
        device: DeviceId,
        /// The topic after realm and device, without the slash between.
        topic: String,
        /// The quality of service.
        quality: u8,
        /// The payload, as with [`Recorded::FromDevice`].
        payload: Value,
    },
    /// A request of a trigger, and the status of its answer.
    Trigger {
        /// Where it went, without its query.
        url: String,
        /// The headers, by their names in lower case. Those that the trigger adds may be secrets:
        /// their values are left out.
        headers: BTreeMap<String, String>,
        /// The body.
        body: Value,
        /// 503 if there was no answer.
        status: u16,
    },
}

pub(crate) struct Recorder {
    entries: Mutex<Vec<Recorded>>,
    limit: usize,
}

impl Recorder {
    /// Keeps the first `limit` things.
    pub(crate) fn new(limit: usize) -> Self {
        Self { entries: Mutex::default(), limit }
    }

    /// Keeps what `make` makes, unless enough is kept.
    pub(crate) fn record(&self, make: impl FnOnce() -> Recorded) {
        if self.limit == 0 {
            return;
        }
        let mut entries = self.lock();
        if entries.len() < self.limit {
            entries.push(make());
        }
    }

    /// What is kept, in the order in which it happened.
    pub(crate) fn entries(&self) -> Vec<Recorded> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Recorded>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message from a device, as it is recorded.
pub(crate) fn from_device(
    device: DeviceId,
    topic: &str,
    prefix: &str,
    quality: QoS,
    bytes: &[u8],
) -> Recorded {
    let (topic, payload) = readable(topic, prefix, bytes);
    Recorded::FromDevice { device, topic, quality: quality as u8, payload }
}

/// A message to a device, as it is recorded.
pub(crate) fn to_device(
    device: DeviceId,
    topic: &str,
    prefix: &str,
    quality: QoS,
    bytes: &[u8],
) -> Recorded {
    let (topic, payload) = readable(topic, prefix, bytes);
    Recorded::ToDevice { device, topic, quality: quality as u8, payload }
}

fn readable(topic: &str, prefix: &str, bytes: &[u8]) -> (String, Value) {
    let incoming = crate::mqtt::topic::incoming(topic, prefix);
    let rest = topic.strip_prefix(prefix).unwrap_or(topic).trim_start_matches('/');
    let base64 = || json!({"base64": STANDARD.encode(bytes)});
    let payload = match incoming {
        _ if bytes.is_empty() => Value::Null,
        Some(Incoming::Data { .. }) => match Payload::decode(bytes) {
            Ok(Payload { value, timestamp }) => {
                let mut payload = json!({"v": to_json(&value, LongIntegers::Text)});
                if let Some(timestamp) = timestamp {
                    payload["t"] = json!(iso(timestamp));
                }
                payload
            }
            Err(_) => base64(),
        },
        _ if rest.ends_with("/properties") => {
            // In the format that fits: which one was agreed upon does not stand in the message.
            [Format::Zlib, Format::Plain]
                .into_iter()
                .find_map(|format| {
                    properties_list::decode(bytes, format, PROPERTIES_LIST_LENGTH_MAX)
                })
                .map_or_else(base64, |list| json!(list.split(';').collect::<Vec<_>>()))
        }
        _ => std::str::from_utf8(bytes).map_or_else(|_| base64(), |text| json!(text)),
    };
    (rest.to_owned(), payload)
}

#[cfg(test)]
mod tests {
    use bson::bson;

    use super::*;

    const PREFIX: &str = "test/91JGyz9XRv5Esp6jNQFP7g";

    fn payload(rest: &str, bytes: &[u8]) -> Value {
        readable(&format!("{PREFIX}{rest}"), PREFIX, bytes).1
    }

    #[test]
    fn payloads_are_recorded_as_a_reader_wants_them() {
        let bytes = Payload::encode(&bson!({"a": 1})).expect("bytes");
        assert_eq!(payload("/org.example.A/path", &bytes), json!({"v": {"a": 1}}));
        assert_eq!(payload("/org.example.A/path", b""), Value::Null);
        assert_eq!(payload("/org.example.A/path", b"x"), json!({"base64": "eA=="}));
        assert_eq!(payload("", b"org.example.A:1:0"), json!("org.example.A:1:0"));
        let list = properties_list::encode(&["org.example.A/a".to_owned()], Format::Zlib);
        assert_eq!(payload("/control/consumer/properties", &list), json!(["org.example.A/a"]));
    }

    #[test]
    fn no_more_is_kept_than_was_asked_for() {
        let recorder = Recorder::new(2);
        let trigger = |status| Recorded::Trigger {
            url: String::new(),
            headers: BTreeMap::new(),
            body: Value::Null,
            status,
        };
        for status in 1..=3 {
            recorder.record(|| trigger(status));
        }
        assert_eq!(recorder.entries().len(), 2);
        let off = Recorder::new(0);
        off.record(|| trigger(200));
        assert_eq!(off.entries(), []);
    }
}
