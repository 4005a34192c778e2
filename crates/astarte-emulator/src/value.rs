//! Astarte's values: checked against the type of their mapping, and carried between BSON (MQTT) and
//! JSON (HTTP).

use astarte_interfaces::schema::MappingType;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, RawBsonRef, RawDocument};
use chrono::{DateTime, Utc};
use serde_json::{Map, Number, Value, json};

use crate::clock::{at_millis, iso};

/// Astarte's limit for strings and blobs.
const BLOB_LENGTH_MAX: usize = 65536;
/// Astarte's limit for arrays.
const ARRAY_LENGTH_MAX: usize = 1024;
/// `{v: {key: [element]}}` is the deepest that the protocol has.
const DEPTH_MAX: usize = 3;

/// Why a value is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("the payload is not BSON with a key `v`")]
    Undecodable,
    #[error("a value of type {expected} is expected")]
    Type { expected: MappingType },
    #[error("the value exceeds the size limits")]
    Size,
}

/// What a device's or the server's message carries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Payload {
    pub(crate) value: Bson,
    pub(crate) timestamp: Option<DateTime<Utc>>,
}

impl Payload {
    /// Reads `{v: value, t?: datetime}`, never going deeper than the protocol does.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        let raw = RawDocument::from_bytes(bytes).map_err(|_| ValueError::Undecodable)?;
        if !is_at_most_deep(raw, DEPTH_MAX) {
            return Err(ValueError::Undecodable);
        }
        let document = Document::try_from(raw).map_err(|_| ValueError::Undecodable)?;
        let value = document.get("v").cloned().ok_or(ValueError::Undecodable)?;
        let timestamp = document.get_datetime("t").ok().map(|t| at_millis(t.timestamp_millis()));
        Ok(Self { value, timestamp })
    }

    /// The bytes of `{v: value}`.
    pub(crate) fn encode(value: &Bson) -> Result<Vec<u8>, ValueError> {
        let mut document = Document::new();
        document.insert("v", value.clone());
        document.to_vec().map_err(|_| ValueError::Undecodable)
    }
}

fn is_at_most_deep(document: &RawDocument, depth: usize) -> bool {
    depth > 0
        && document
            .iter()
            .all(|element| element.is_ok_and(|(_, value)| is_value_at_most_deep(value, depth - 1)))
}

fn is_value_at_most_deep(value: RawBsonRef<'_>, depth: usize) -> bool {
    match value {
        RawBsonRef::Document(inner) => is_at_most_deep(inner, depth),
        RawBsonRef::Array(inner) => {
            depth > 0
                && inner.into_iter().all(|element| {
                    element.is_ok_and(|value| is_value_at_most_deep(value, depth - 1))
                })
        }
        // No value of Astarte's, but one that holds a document.
        RawBsonRef::JavaScriptCodeWithScope(_) => false,
        _ => true,
    }
}

/// The type of an array's elements.
fn element_of(kind: MappingType) -> Option<MappingType> {
    Some(match kind {
        MappingType::DoubleArray => MappingType::Double,
        MappingType::IntegerArray => MappingType::Integer,
        MappingType::BooleanArray => MappingType::Boolean,
        MappingType::LongIntegerArray => MappingType::LongInteger,
        MappingType::StringArray => MappingType::String,
        MappingType::BinaryBlobArray => MappingType::BinaryBlob,
        MappingType::DateTimeArray => MappingType::DateTime,
        _ => return None,
    })
}

/// Checks a value that came as BSON, and brings numbers to the width of their type.
pub(crate) fn checked(value: Bson, expected: MappingType) -> Result<Bson, ValueError> {
    let wrong = || ValueError::Type { expected };
    if let Some(element) = element_of(expected) {
        let Bson::Array(elements) = value else { return Err(wrong()) };
        if elements.len() > ARRAY_LENGTH_MAX {
            return Err(ValueError::Size);
        }
        let elements = elements
            .into_iter()
            .map(|value| {
                checked(value, element).map_err(|error| match error {
                    ValueError::Type { .. } => wrong(),
                    other => other,
                })
            })
            .collect::<Result<_, _>>()?;
        return Ok(Bson::Array(elements));
    }
    match (expected, value) {
        (MappingType::Double, Bson::Double(number)) if number.is_finite() => {
            Ok(Bson::Double(number))
        }
        (MappingType::Double, Bson::Int32(number)) => Ok(Bson::Double(f64::from(number))),
        #[expect(clippy::cast_precision_loss, reason = "a double has been asked for")]
        (MappingType::Double, Bson::Int64(number)) => Ok(Bson::Double(number as f64)),
        (MappingType::Integer, Bson::Int32(number)) => Ok(Bson::Int32(number)),
        (MappingType::Integer, Bson::Int64(number)) => {
            i32::try_from(number).map(Bson::Int32).map_err(|_| wrong())
        }
        (MappingType::LongInteger, Bson::Int32(number)) => Ok(Bson::Int64(number.into())),
        (MappingType::LongInteger, Bson::Int64(number)) => Ok(Bson::Int64(number)),
        (MappingType::Boolean, value @ Bson::Boolean(_))
        | (MappingType::DateTime, value @ Bson::DateTime(_)) => Ok(value),
        (MappingType::String, Bson::String(text)) => {
            if text.len() > BLOB_LENGTH_MAX {
                Err(ValueError::Size)
            } else {
                Ok(Bson::String(text))
            }
        }
        (MappingType::BinaryBlob, Bson::Binary(blob)) => {
            if blob.bytes.len() > BLOB_LENGTH_MAX {
                Err(ValueError::Size)
            } else {
                Ok(Bson::Binary(blob))
            }
        }
        _ => Err(wrong()),
    }
}

/// Reads a value that came as JSON in a request.
pub(crate) fn from_json(value: &Value, expected: MappingType) -> Result<Bson, ValueError> {
    let wrong = || ValueError::Type { expected };
    if let Some(element) = element_of(expected) {
        let elements = value.as_array().ok_or_else(wrong)?;
        if elements.len() > ARRAY_LENGTH_MAX {
            return Err(ValueError::Size);
        }
        let elements = elements
            .iter()
            .map(|value| {
                from_json(value, element).map_err(|error| match error {
                    ValueError::Type { .. } => wrong(),
                    other => other,
                })
            })
            .collect::<Result<_, _>>()?;
        return Ok(Bson::Array(elements));
    }
    let bson = match expected {
        MappingType::Double => value.as_f64().map(Bson::Double),
        MappingType::Integer => {
            value.as_i64().and_then(|number| i32::try_from(number).ok()).map(Bson::Int32)
        }
        // Beyond 2^53 JSON numbers are not safe, so Astarte takes text too.
        MappingType::LongInteger => value
            .as_i64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
            .map(Bson::Int64),
        MappingType::Boolean => value.as_bool().map(Bson::Boolean),
        MappingType::String => value.as_str().map(|text| Bson::String(text.to_owned())),
        MappingType::BinaryBlob => value
            .as_str()
            .and_then(|text| STANDARD.decode(text).ok())
            .map(|bytes| Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes })),
        _ => value
            .as_str()
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
            .map(|time| Bson::DateTime(bson::DateTime::from_millis(time.timestamp_millis()))),
    };
    checked(bson.ok_or_else(wrong)?, expected)
}

/// How long integers are written in JSON: AppEngine takes care of readers whose numbers are
/// doubles, triggers do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LongIntegers {
    Text,
    Number,
}

/// A value as JSON.
pub(crate) fn to_json(value: &Bson, long_integers: LongIntegers) -> Value {
    match value {
        Bson::Double(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Bson::String(text) => json!(text),
        Bson::Boolean(flag) => json!(flag),
        Bson::Int32(number) => json!(number),
        Bson::Int64(number) if long_integers == LongIntegers::Text => json!(number.to_string()),
        Bson::Int64(number) => json!(number),
        Bson::DateTime(time) => json!(iso(at_millis(time.timestamp_millis()))),
        Bson::Binary(blob) => json!(STANDARD.encode(&blob.bytes)),
        Bson::Array(elements) => {
            elements.iter().map(|element| to_json(element, long_integers)).collect()
        }
        Bson::Document(document) => Value::Object(
            document
                .iter()
                .map(|(key, value)| (key.clone(), to_json(value, long_integers)))
                .collect::<Map<_, _>>(),
        ),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};

    use super::*;

    #[test]
    fn every_type_survives_json_bson_and_json() {
        for (kind, value) in [
            (MappingType::Double, json!(1.5)),
            (MappingType::Integer, json!(-7)),
            (MappingType::Boolean, json!(true)),
            (MappingType::LongInteger, json!("9007199254740993")),
            (MappingType::String, json!("text")),
            (MappingType::BinaryBlob, json!("AQID")),
            (MappingType::DateTime, json!("2026-01-02T03:04:05.678Z")),
            (MappingType::DoubleArray, json!([1.5, 2.5])),
            (MappingType::StringArray, json!(["a", "b"])),
            (MappingType::LongIntegerArray, json!(["1"])),
            (MappingType::DateTimeArray, json!(["2026-01-02T03:04:05.678Z"])),
        ] {
            let bson = from_json(&value, kind).expect("a value");
            let bytes = Payload::encode(&bson).expect("bytes");
            let back = Payload::decode(&bytes).expect("a payload");
            assert_eq!(back.timestamp, None);
            let back = checked(back.value, kind).expect("the same type");
            assert_eq!(to_json(&back, LongIntegers::Text), value, "{kind}");
        }
    }

    #[test]
    fn values_of_another_type_are_refused() {
        for (kind, value) in [
            (MappingType::Integer, json!(1.5)),
            (MappingType::Integer, json!(3_000_000_000_i64)),
            (MappingType::String, json!(1)),
            (MappingType::Boolean, Value::Null),
            (MappingType::BinaryBlob, json!("not base64!")),
            (MappingType::DateTime, json!("yesterday")),
            (MappingType::StringArray, json!(["a", 1])),
            (MappingType::StringArray, json!("a")),
        ] {
            assert_eq!(from_json(&value, kind), Err(ValueError::Type { expected: kind }));
        }
        let expected = MappingType::Double;
        assert_eq!(checked(bson!(f64::NAN), expected), Err(ValueError::Type { expected }));
    }

    #[test]
    fn values_beyond_astartes_limits_are_refused() {
        let text = "a".repeat(BLOB_LENGTH_MAX + 1);
        assert_eq!(from_json(&json!(text), MappingType::String), Err(ValueError::Size));
        let array = vec![1; ARRAY_LENGTH_MAX + 1];
        assert_eq!(from_json(&json!(array), MappingType::IntegerArray), Err(ValueError::Size));
    }

    #[test]
    fn the_timestamp_of_a_payload_is_read() {
        let time = bson::DateTime::from_millis(1_700_000_000_123);
        let bytes = doc! {"v": {"a": 1}, "t": time}.to_vec().expect("bytes");
        let payload = Payload::decode(&bytes).expect("a payload");
        assert_eq!(payload.timestamp, Some(at_millis(1_700_000_000_123)));
        assert_eq!(payload.value, bson!({"a": 1}));
    }

    #[test]
    fn payloads_that_are_cut_deep_or_foreign_are_refused() {
        let good = doc! {"v": {"a": [1, 2]}}.to_vec().expect("bytes");
        assert!(Payload::decode(&good).is_ok());
        for cut in 0..good.len() {
            assert_eq!(Payload::decode(&good[..cut]), Err(ValueError::Undecodable));
        }
        // 4,000 documents in each other, fewer bytes than the largest packet has.
        let mut bytes = vec![0x10, b'v', 0, 1, 0, 0, 0];
        for _ in 0..4000 {
            let mut document = Vec::with_capacity(bytes.len() + 8);
            document.extend_from_slice(&[0x03, b'v', 0]);
            let length = u32::try_from(bytes.len() + 5).expect("short");
            document.extend_from_slice(&length.to_le_bytes());
            document.append(&mut bytes);
            document.push(0);
            bytes = document;
        }
        let length = u32::try_from(bytes.len() + 5).expect("short");
        let document = [&length.to_le_bytes()[..], &bytes, &[0]].concat();
        assert_eq!(Payload::decode(&document), Err(ValueError::Undecodable));
        assert_eq!(
            Payload::decode(&doc! {"x": 1}.to_vec().expect("bytes")),
            Err(ValueError::Undecodable)
        );
    }
}
