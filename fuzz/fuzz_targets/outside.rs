//! Up to three texts, with a zero byte between them, as the definition of a campaign, an edit of it
//! and a question about targets or campaigns, as a person or another program gives them. No panic; a
//! refusal is short; an unknown key is never passed over; a definition is written and reads back the
//! same; and what an engine records of a definition and its edit folds to the live state (E1) and
//! reads back (E6).

#![no_main]

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{
    Campaign, CampaignDefinition, CampaignEdit, CampaignId, Command, Input, LiveCampaign, NewEvent,
    StreamId, Timestamp,
};
use hedgerow_engine::view::{CampaignQuery, TargetQuery};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use uuid::Uuid;

const ID: CampaignId = CampaignId::from_uuid(Uuid::from_u128(1));
const NOW: Timestamp = Timestamp::from_millis(0);

fuzz_target!(|bytes: &[u8]| {
    let mut texts = bytes.splitn(3, |byte| *byte == 0);
    let definition = texts.next().and_then(|text| {
        let read = read(text, CampaignDefinition::from_json)?;
        let written = serde_json::to_vec(&read).expect("a definition is JSON");
        assert_eq!(CampaignDefinition::from_json(&written).as_ref(), Ok(&read));
        Some(read)
    });
    let edit = texts.next().and_then(|text| read(text, CampaignEdit::from_json));
    if let Some(text) = texts.next() {
        let _ = read(text, |text| serde_json::from_slice::<TargetQuery>(text));
        let _ = read(text, |text| serde_json::from_slice::<CampaignQuery>(text));
    }
    if let Some(definition) = definition {
        play(definition, edit);
    }
});

/// Reads a text; with a key that nobody knows it would be refused.
fn read<T, E: std::fmt::Display>(text: &[u8], from: impl Fn(&[u8]) -> Result<T, E>) -> Option<T> {
    match from(text) {
        Ok(read) => {
            let mut value: Value = serde_json::from_slice(text).expect("it was read as JSON");
            // A list can stand for an object; it has no keys.
            if let Some(object) = value.as_object_mut() {
                object.insert("no such key".to_owned(), Value::Null);
                assert!(
                    from(value.to_string().as_bytes()).is_err(),
                    "an unknown key is passed over"
                );
            }
            Some(read)
        }
        Err(error) => {
            let error = error.to_string();
            assert!(!error.is_empty() && error.len() < 4_000, "{} bytes", error.len());
            None
        }
    }
}

/// Creates the campaign for later, and edits it.
fn play(definition: CampaignDefinition, edit: Option<CampaignEdit>) {
    let later = Timestamp::from_millis(1);
    let Ok(created) = Campaign::create(definition, Some(later), NOW) else { return };
    reads_back(&created);
    let realm = "realm".parse().expect("a tenant");
    let mut fold = Campaign::begin(realm, ID, &created, NOW).expect("it was just created");
    let mut live = LiveCampaign::new(fold.clone());
    let Some(edit) = edit else { return };
    let edit = Input::Command(Command::Edit(Box::new(edit)));
    let Ok(decision) = live.handle(edit, NOW) else {
        assert_eq!(live.campaign(), &fold, "what is refused changes nothing");
        return;
    };
    for event in &decision.events {
        reads_back(event);
        assert_eq!(fold.apply(event, NOW), Ok(()), "a decided event follows");
    }
    assert_eq!(live.campaign(), &fold, "E1");
}

fn reads_back(event: &CampaignEvent) {
    let stored = NewEvent {
        event_type: event.event_type().to_owned(),
        schema_version: event.schema_version(),
        recorded_at: NOW,
        correlation_id: Uuid::nil(),
        causation_id: Uuid::nil(),
        data: event.to_json(),
    };
    let read = CampaignEvent::from_new(StreamId::Campaign(ID), &stored);
    assert_eq!(read.as_ref(), Ok(event));
}
