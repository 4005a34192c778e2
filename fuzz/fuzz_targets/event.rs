//! Bytes as stored events: the first byte chooses the type, the second is the schema version, the
//! rest is the payload. What decodes must encode and decode to the same, or a log would change by
//! being copied.

#![no_main]

use hedgerow_core::event::{CampaignEvent, EventError, ManualUpdateEvent};
use hedgerow_core::{CampaignId, NewEvent, OperationId, StreamId, Timestamp};
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

fuzz_target!(|bytes: &[u8]| {
    let [kind, schema_version, data @ ..] = bytes else { return };
    let campaign = CampaignEvent::TYPES.iter().map(|(name, _)| (*name, true));
    let manual = ManualUpdateEvent::TYPES.iter().map(|(name, _)| (*name, false));
    let types: Vec<_> = campaign.chain(manual).chain([("no_such_event", true)]).collect();
    let (event_type, of_campaign) = types[usize::from(*kind) % types.len()];
    let stored = new_event(event_type, u16::from(*schema_version), data.to_vec());
    if of_campaign {
        let stream = StreamId::Campaign(CampaignId::from_uuid(Uuid::nil()));
        let read = |stored: &NewEvent| CampaignEvent::from_new(stream, stored);
        let write = |event: &CampaignEvent| {
            new_event(event.event_type(), event.schema_version(), event.to_json())
        };
        reads_back(&stored, read, write);
    } else {
        let stream = StreamId::ManualUpdate(OperationId::from_uuid(Uuid::nil()));
        let read = |stored: &NewEvent| ManualUpdateEvent::from_new(stream, stored);
        let write = |event: &ManualUpdateEvent| {
            new_event(event.event_type(), event.schema_version(), event.to_json())
        };
        reads_back(&stored, read, write);
    }
});

fn reads_back<E: PartialEq + std::fmt::Debug>(
    stored: &NewEvent,
    read: impl Fn(&NewEvent) -> Result<E, EventError>,
    write: impl Fn(&E) -> NewEvent,
) {
    match read(stored) {
        Ok(event) => {
            let written = write(&event);
            assert_eq!(written.event_type, stored.event_type);
            assert_eq!(read(&written).as_ref(), Ok(&event), "it decodes to the same");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn new_event(event_type: &str, schema_version: u16, data: Vec<u8>) -> NewEvent {
    NewEvent {
        event_type: event_type.to_owned(),
        schema_version,
        recorded_at: Timestamp::default(),
        correlation_id: Uuid::nil(),
        causation_id: Uuid::nil(),
        data,
    }
}
