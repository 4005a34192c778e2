//! What the log says of a stream as a whole: that it was removed, or that what follows was imported.
//!
//! A note stands among the events with a position of its own, and with the version 0, which no event
//! has. Of each stream the log has the newest note alone. Its checksum is over itself and over the
//! last checksum of the events that it speaks of, which it names.

use hedgerow_core::{Checksum, DeviceId, NewEvent, StoredEvent, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::StoreError;
use super::super::checksum::Chain;

/// The type of a note that says that a stream was removed.
pub const REMOVED: &str = "stream_removed";
/// The type of a note that says that the events of a stream that follow were imported.
pub const IMPORTED: &str = "stream_imported";
/// The shape of both.
const SCHEMA: u16 = 1;

/// What became of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// Its events are not in the store any more.
    Removed,
    /// Its events follow, with the times that they had.
    Imported,
}

/// What the log says of a stream as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What became of it.
    pub kind: NoteKind,
    /// How many events it has, or had.
    pub events: u64,
    /// The checksum of the last one.
    pub checksum: Option<Checksum>,
    /// Of a manual update its device and when it began, by which its row is found.
    pub update: Option<(DeviceId, Timestamp)>,
}

#[derive(Serialize, Deserialize)]
struct Data {
    events: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    began_at: Option<Timestamp>,
}

/// 64 hexadecimal digits as the checksum that they are.
pub(crate) fn parse_checksum(text: &str) -> Option<Checksum> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Checksum::from_bytes(bytes))
}

impl Note {
    /// The note as it is recorded. `run`: what it is part of, such as one call of `hedgerow prune`.
    #[must_use]
    pub fn event(&self, at: Timestamp, run: Uuid) -> NewEvent {
        let data = Data {
            events: self.events,
            checksum: self.checksum.map(|checksum| checksum.to_string()),
            device: self.update.map(|(device, _)| device),
            began_at: self.update.map(|(_, began_at)| began_at),
        };
        let event_type = match self.kind {
            NoteKind::Removed => REMOVED,
            NoteKind::Imported => IMPORTED,
        };
        NewEvent {
            event_type: event_type.to_owned(),
            schema_version: SCHEMA,
            recorded_at: at,
            correlation_id: run,
            causation_id: run,
            // Numbers and texts: nothing here can fail to serialise.
            data: serde_json::to_vec(&data).unwrap_or_default(),
        }
    }

    /// The note that an entry of the log is; `None`: it is an event of its stream.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is a note that does not fit its checksum, or that this version
    /// cannot read.
    pub fn of(stored: &StoredEvent) -> Result<Option<Self>, StoreError> {
        if stored.version != 0 {
            return Ok(None);
        }
        let read = || {
            let kind = match &*stored.event.event_type {
                REMOVED => NoteKind::Removed,
                IMPORTED => NoteKind::Imported,
                _ => return None,
            };
            let data: Data = serde_json::from_slice(&stored.event.data).ok()?;
            let checksum = match &data.checksum {
                Some(text) => Some(parse_checksum(text)?),
                None => None,
            };
            let update = data.device.zip(data.began_at);
            Some(Self { kind, events: data.events, checksum, update })
        };
        let note = read().filter(|note| stored.checksum == Some(note.checksum_of(stored)));
        note.map(Some).ok_or_else(|| {
            let (stream, tenant) = (stored.stream, &stored.tenant);
            let detail = format!(
                "the note of {stream} of tenant {tenant} was changed or damaged, or a newer version of Hedgerow wrote it: use the newest one; if it cannot read it either, keep a copy of the store, and restore it from a backup"
            );
            StoreError::Corrupt { detail }
        })
    }

    fn checksum_of(&self, stored: &StoredEvent) -> Checksum {
        Chain::note(self.checksum, &stored.tenant, stored.stream, &stored.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{stream, tenant};

    fn stored(note: &Note) -> StoredEvent {
        let event = note.event(Timestamp::from_millis(1_700_000_000_000), Uuid::from_u128(1));
        let checksum = Some(Chain::note(note.checksum, &tenant(), stream(7), &event));
        StoredEvent {
            tenant: tenant(),
            stream: stream(7),
            version: 0,
            position: 9,
            checksum,
            event,
        }
    }

    fn notes() -> [Note; 2] {
        let checksum = Some(Checksum::from_bytes([0xab; 32]));
        let update = Some((DeviceId::from_bytes([1; 16]), Timestamp::from_millis(5)));
        [
            Note { kind: NoteKind::Removed, events: 12, checksum, update },
            Note { kind: NoteKind::Imported, events: 1, checksum: None, update: None },
        ]
    }

    #[test]
    fn a_note_is_stored_as_versions_to_come_will_find_it() {
        let [removed, imported] = notes().map(|note| stored(&note).event);
        assert_eq!((&*removed.event_type, removed.schema_version), ("stream_removed", 1));
        assert_eq!((&*imported.event_type, imported.schema_version), ("stream_imported", 1));
        let text = |event: &NewEvent| String::from_utf8(event.data.clone()).expect("UTF-8");
        let checksum = "ab".repeat(32);
        assert_eq!(
            text(&removed),
            format!(
                r#"{{"events":12,"checksum":"{checksum}","device":"AQEBAQEBAQEBAQEBAQEBAQ","began_at":5}}"#
            )
        );
        assert_eq!(text(&imported), r#"{"events":1}"#);
    }

    #[test]
    fn a_note_is_read_as_what_it_was_and_a_changed_one_is_told() {
        for note in notes() {
            assert_eq!(Note::of(&stored(&note)), Ok(Some(note.clone())));
            let changes: [fn(&mut StoredEvent); 5] = [
                |stored| stored.stream = stream(8),
                |stored| stored.event.recorded_at = Timestamp::from_millis(0),
                |stored| stored.event.data[10] ^= 1,
                |stored| stored.event.event_type.push('x'),
                |stored| stored.checksum = None,
            ];
            for change in changes {
                let mut other = stored(&note);
                change(&mut other);
                assert!(matches!(Note::of(&other), Err(StoreError::Corrupt { .. })));
            }
        }
        let mut event = stored(&notes()[0]);
        event.version = 1;
        assert_eq!(Note::of(&event), Ok(None), "an event of its stream");
    }

    #[test]
    fn a_checksum_is_sixty_four_digits_and_nothing_else() {
        assert_eq!(parse_checksum(&"0f".repeat(32)), Some(Checksum::from_bytes([15; 32])));
        for text in ["", "0f", &"0g".repeat(32), &"+f".repeat(32), &"é".repeat(32)] {
            assert_eq!(parse_checksum(text), None, "{text}");
        }
    }
}
