//! Whatever bytes a trigger has, they are read or refused, and nothing panics.

use hedgerow_astarte::triggers::TriggerEvent;
use proptest::prelude::*;
use serde_json::{Value, json};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "Success",
            "Error",
            "Done",
            "67e55044-10b1-426f-9247-bb680e5fe0c8"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let key = prop::sample::select(vec![
            "requestUUID",
            "status",
            "statusProgress",
            "statusCode",
            "message",
            "uuid",
            "x",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6).prop_map(|pairs| {
                let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value));
                Value::Object(pairs.collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = TriggerEvent::read(&bytes);
    }

    #[test]
    fn any_value_in_any_event(
        value in value(),
        at in "[0-9]{4}-[0-9]{2}-[0-9]{2}T10:00:00(Z|[+-][0-9]{2}:00)",
        event_type in prop::sample::select(vec!["incoming_data", "path_removed", "device_connected"]),
        interface in prop::sample::select(vec!["OTAEvent", "OTAResponse", "BaseImage"]),
        path in prop::sample::select(vec!["/event", "/response", "/version", "/"]),
    ) {
        let body = json!({
            "timestamp": at, "device_id": "f0VMRgIBAQAAAAAAAAAAAA",
            "event": {
                "type": event_type, "path": path, "value": value,
                "interface": format!("io.edgehog.devicemanager.{interface}"),
            },
        });
        if let Ok(event) = TriggerEvent::read(body.to_string().as_bytes()) {
            let _ = event.observation();
        }
    }
}
