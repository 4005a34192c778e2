//! Bytes as deliveries of triggers: the first byte chooses whether the rest is the whole body or the
//! value of an event on one of the interfaces. What is read is within its bounds and is about the
//! device that the delivery names; what is refused is refused in a few words, since the words go
//! back to whoever sent it.

#![no_main]

use hedgerow_astarte::triggers::{Happening, TriggerEvent};
use hedgerow_engine::Observation;
use libfuzzer_sys::fuzz_target;

/// The most characters of an answer to what cannot be read.
const LONGEST_REFUSAL: usize = 600;
/// The most characters of a device's words that an engine is told.
const LONGEST_MESSAGE: usize = 2_000;

fuzz_target!(|bytes: &[u8]| {
    let [kind, rest @ ..] = bytes else { return };
    let body = match kind % 4 {
        0 => rest.to_vec(),
        1 => around("OTAEvent", "/event", rest),
        2 => around("OTAResponse", "/response", rest),
        _ => around("BaseImage", "/version", rest),
    };
    match TriggerEvent::read(&body) {
        Ok(event) => check(&event, &body),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && text.chars().count() <= LONGEST_REFUSAL, "{text}");
        }
    }
});

fn check(event: &TriggerEvent, body: &[u8]) {
    match event.observation() {
        Some(Observation::Report(report)) => {
            assert_eq!(report.device, event.device);
            assert_eq!(report.observed_at, Some(event.at));
            assert!(report.progress <= 100);
            assert!(report.message.chars().count() <= LONGEST_MESSAGE);
        }
        Some(
            Observation::Presence { device, .. }
            | Observation::BaseImageChanged { device }
            | Observation::DeviceRemoved { device },
        ) => assert_eq!(device, event.device),
        None => {
            if let Happening::Other { event_type } = &event.happening {
                assert!(event_type.chars().count() <= 64);
            }
        }
    }
    // What is ignored while reading may be no number that fits: then there is no other way to read.
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) {
        let again = value.to_string();
        assert_eq!(TriggerEvent::read(again.as_bytes()).as_ref(), Ok(event), "{again}");
    }
}

fn around(interface: &str, path: &str, value: &[u8]) -> Vec<u8> {
    let mut body = format!(
        r#"{{"timestamp":"2026-08-21T10:00:00.000Z","device_id":"f0VMRgIBAQAAAAAAAAAAAA","trigger_name":"t","event":{{"type":"incoming_data","interface":"io.edgehog.devicemanager.{interface}","path":"{path}","value":"#
    )
    .into_bytes();
    body.extend_from_slice(value);
    body.extend_from_slice(b"}}");
    body
}
