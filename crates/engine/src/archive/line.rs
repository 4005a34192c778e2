//! The lines of an archive: what stands in them, and the way there and back.

use hedgerow_core::{Checksum, DeviceId, NewEvent, StreamId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::ArchivedStream;
use crate::store::retention::parse_checksum;

/// The most bytes of a line.
pub(super) const LONGEST: usize = 16 << 20;

/// The first line.
#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) hedgerow_archive: u64,
    /// For people.
    pub(super) written_at: String,
}

/// The line before the events of a stream.
#[derive(Serialize, Deserialize)]
pub(super) struct StreamLine {
    stream: StreamId,
    tenant: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<DeviceId>,
    events: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    began_at: Timestamp,
    ended_at: Timestamp,
}

impl From<&ArchivedStream> for StreamLine {
    fn from(of: &ArchivedStream) -> Self {
        Self {
            stream: of.stream,
            tenant: of.tenant.clone(),
            name: of.name.clone(),
            device: of.device,
            events: of.events,
            checksum: of.checksum.map(|checksum| checksum.to_string()),
            began_at: of.began_at,
            ended_at: of.ended_at,
        }
    }
}

impl StreamLine {
    pub(super) fn read(self) -> Result<ArchivedStream, String> {
        if self.events == 0 {
            return Err("a stream without events".to_owned());
        }
        if self.stream == StreamId::Catalogue {
            return Err("a catalogue never ends, and is in no archive".to_owned());
        }
        Ok(ArchivedStream {
            checksum: checksum(self.checksum.as_deref())?,
            tenant: self.tenant,
            stream: self.stream,
            name: self.name,
            device: self.device,
            events: self.events,
            began_at: self.began_at,
            ended_at: self.ended_at,
        })
    }
}

/// The last line.
#[derive(Serialize, Deserialize)]
pub(super) struct EndLine {
    pub(super) end: End,
}

#[derive(Serialize, Deserialize)]
pub(super) struct End {
    pub(super) streams: u64,
    pub(super) events: u64,
    pub(super) sha256: String,
}

/// The line of an event.
#[derive(Serialize, Deserialize)]
pub(super) struct EventLine<'a> {
    pub(super) version: u64,
    #[serde(rename = "type", borrow)]
    event_type: std::borrow::Cow<'a, str>,
    schema: u16,
    recorded_at: Timestamp,
    correlation_id: Uuid,
    causation_id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

impl<'a> EventLine<'a> {
    pub(super) fn of(version: u64, event: &'a NewEvent, checksum: Option<Checksum>) -> Self {
        let data = as_json(&event.data);
        let bytes = data.is_none().then(|| hexadecimal(&event.data));
        Self {
            version,
            event_type: (&*event.event_type).into(),
            schema: event.schema_version,
            recorded_at: event.recorded_at,
            correlation_id: event.correlation_id,
            causation_id: event.causation_id,
            checksum: checksum.map(|checksum| checksum.to_string()),
            data,
            bytes,
        }
    }

    pub(super) fn read(self) -> Result<(NewEvent, Option<Checksum>), String> {
        let data = match (self.data, self.bytes) {
            (Some(data), None) => data.get().as_bytes().to_vec(),
            (None, Some(bytes)) => of_hexadecimal(&bytes).ok_or("its bytes are not hexadecimal")?,
            _ => return Err("it has no data, or has them twice".to_owned()),
        };
        let event = NewEvent {
            event_type: self.event_type.into_owned(),
            schema_version: self.schema,
            recorded_at: self.recorded_at,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            data,
        };
        Ok((event, checksum(self.checksum.as_deref())?))
    }
}

fn checksum(text: Option<&str>) -> Result<Option<Checksum>, String> {
    match text {
        None => Ok(None),
        Some(text) => match parse_checksum(text) {
            Some(checksum) => Ok(Some(checksum)),
            None => Err("a checksum is not 64 hexadecimal digits".to_owned()),
        },
    }
}

/// The bytes as JSON that is read back as the very same bytes.
fn as_json(bytes: &[u8]) -> Option<&RawValue> {
    let text = str::from_utf8(bytes).ok().filter(|text| !text.contains(['\n', '\r']))?;
    let json: &RawValue = serde_json::from_str(text).ok()?;
    (json.get().len() == text.len()).then_some(json)
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn of_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(pair).collect()
}
