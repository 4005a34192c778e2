//! The stored shape of every event of a catalogue (E6). A snapshot that changes means that logs in
//! the field cannot be read any more: give the event a new schema version and an upcast instead.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_catalogue::*;
use hedgerow_core::event::EventError;
use hedgerow_core::{DeviceId, NewEvent, StoredEvent, StreamId, Timestamp};
use uuid::Uuid;

fn text<T: std::str::FromStr<Err = TextError>>(text: &str) -> T {
    text.parse().unwrap()
}

fn device() -> DeviceId {
    "f0VMRgIBAQAAAAAAAAAAAA".parse().unwrap()
}

fn parts() -> BTreeSet<PartNumber> {
    ["GG-1", "GG-2"].map(text).into()
}

fn localized() -> Localized {
    [("de-AT", "Garten"), ("en", "Garden")].map(|(tag, words)| (text(tag), words.to_owned())).into()
}

fn picture() -> Picture {
    Picture { url: "https://images.example/g.png".parse().unwrap(), key: Some("g.png".into()) }
}

/// At least one event of every type, with and without what may be left out.
#[allow(clippy::too_many_lines)] // One for each type of event.
fn events() -> Vec<CatalogueEvent> {
    let (handle, name) = (text::<Handle>("garden-gateway"), text::<Name>("Garden gateway"));
    let selector: Selector = r#""garden" in tags AND "v?" ~= tags"#.parse().unwrap();
    let file = ImageFile {
        url: "https://images.example/2.0.0.bin".parse().unwrap(),
        key: Some("hedge/2.0.0.bin".into()),
        size_bytes: Some(5_000_000_000),
        sha256: Some("0f".repeat(32)),
    };
    let bare = ImageFile { key: None, size_bytes: None, sha256: None, ..file.clone() };
    let attributes: BTreeMap<AttributeKey, AttributeValue> = [
        ("blob", AttributeValue::Bytes(vec![1, 2, 255])),
        ("floor", AttributeValue::Integer(-3)),
        ("height", AttributeValue::Number(2.5)),
        ("owner", AttributeValue::Text("Ada".into())),
        ("planted", AttributeValue::Time(Timestamp::from_millis(1_000))),
        ("wet", AttributeValue::Boolean(true)),
    ]
    .map(|(key, value)| (text(key), value))
    .into();
    let (hardware_type, system_model) = (HardwareTypeId::new(1), SystemModelId::new(2));
    let (collection, image) = (BaseImageCollectionId::new(3), BaseImageId::new(4));
    let (group, channel) = (GroupId::new(5), ChannelId::new(6));
    let (some_handle, some_name) = (Some(handle.clone()), Some(name.clone()));
    let requirement = Some(">= 1.2.0 and < 3.0.0".parse().unwrap());
    let nothing = SystemModelChanged {
        id: system_model,
        handle: None,
        name: None,
        part_numbers: None,
        picture: None,
        descriptions: None,
    };
    let same = BaseImageChanged {
        id: image,
        starting_version_requirement: None,
        descriptions: None,
        release_names: None,
    };
    vec![
        HardwareTypeCreated {
            id: hardware_type,
            handle: handle.clone(),
            name: name.clone(),
            part_numbers: parts(),
        }
        .into(),
        HardwareTypeChanged {
            id: hardware_type,
            handle: some_handle.clone(),
            name: None,
            part_numbers: Some(parts()),
        }
        .into(),
        HardwareTypeRemoved { id: hardware_type }.into(),
        SystemModelCreated {
            id: system_model,
            handle: handle.clone(),
            name: name.clone(),
            hardware_type,
            part_numbers: parts(),
            picture: Some(picture()),
            descriptions: localized(),
        }
        .into(),
        SystemModelCreated {
            id: system_model,
            handle: handle.clone(),
            name: name.clone(),
            hardware_type,
            part_numbers: parts(),
            picture: None,
            descriptions: Localized::new(),
        }
        .into(),
        SystemModelChanged {
            handle: some_handle.clone(),
            name: some_name.clone(),
            part_numbers: Some(parts()),
            picture: Some(Some(picture())),
            descriptions: Some(localized()),
            ..nothing.clone()
        }
        .into(),
        SystemModelChanged { picture: Some(None), ..nothing }.into(),
        VersionMappingChanged {
            system_model,
            lines: VersionMapping::new([r"v(?<major>\d+)\.(?<minor>\d+)".to_owned()]).unwrap(),
        }
        .into(),
        SystemModelRemoved { id: system_model }.into(),
        BaseImageCollectionCreated {
            id: collection,
            handle: handle.clone(),
            name: name.clone(),
            system_model,
        }
        .into(),
        BaseImageCollectionChanged { id: collection, handle: None, name: some_name.clone() }.into(),
        BaseImageCollectionRemoved { id: collection }.into(),
        BaseImageCreated {
            id: image,
            collection,
            version: "2.0.0-rc.1+build.5".parse().unwrap(),
            starting_version_requirement: requirement.clone(),
            file,
            descriptions: localized(),
            release_names: localized(),
        }
        .into(),
        BaseImageCreated {
            id: image,
            collection,
            version: "2.0.0".parse().unwrap(),
            starting_version_requirement: None,
            file: bare,
            descriptions: Localized::new(),
            release_names: Localized::new(),
        }
        .into(),
        BaseImageChanged {
            starting_version_requirement: Some(requirement),
            release_names: Some(localized()),
            ..same.clone()
        }
        .into(),
        BaseImageChanged { starting_version_requirement: Some(None), ..same }.into(),
        BaseImageRemoved { id: image }.into(),
        GroupCreated {
            id: group,
            handle: handle.clone(),
            name: name.clone(),
            selector: selector.clone(),
        }
        .into(),
        GroupChanged { id: group, handle: None, name: None, selector: Some(selector) }.into(),
        GroupRemoved { id: group }.into(),
        ChannelCreated { id: channel, handle, name: name.clone(), groups: [group].into() }.into(),
        ChannelChanged { id: channel, handle: some_handle, name: None, groups: Some([].into()) }
            .into(),
        ChannelRemoved { id: channel }.into(),
        DeviceNamed { device: device(), name: some_name }.into(),
        DeviceNamed { device: device(), name: None }.into(),
        DeviceTagged { device: device(), tags: ["garden", "north wing"].map(text).into() }.into(),
        DeviceUntagged { device: device(), tags: [text("garden")].into() }.into(),
        DeviceAttributesSet { device: device(), attributes }.into(),
        DeviceAttributesRemoved { device: device(), keys: [text("wet")].into() }.into(),
    ]
}

fn stored(event_type: &str, schema_version: u16, data: &[u8]) -> StoredEvent {
    StoredEvent {
        tenant: "realm".parse().unwrap(),
        stream: StreamId::Catalogue,
        version: 7,
        position: 70,
        checksum: None,
        event: NewEvent {
            event_type: event_type.to_owned(),
            schema_version,
            recorded_at: Timestamp::from_millis(0),
            correlation_id: Uuid::nil(),
            causation_id: Uuid::nil(),
            data: data.to_vec(),
        },
    }
}

#[test]
fn every_event_is_stored_in_its_agreed_shape_and_reads_back() {
    let by: Actor = text("ada@example.org");
    for (event_type, schema) in CatalogueEvent::TYPES {
        let of_type: Vec<_> =
            events().into_iter().filter(|event| event.event_type() == *event_type).collect();
        assert!(!of_type.is_empty(), "{event_type} has no golden file");
        let mut shape = format!("{event_type}, schema {schema}\n");
        for event in of_type {
            let recorded = RecordedEvent { by: by.clone(), event };
            let new = recorded.to_new(Timestamp::from_millis(0), Uuid::nil());
            assert_eq!((new.event_type.as_str(), new.schema_version), (*event_type, *schema));
            let read = RecordedEvent::from_stored(&stored(event_type, *schema, &new.data));
            assert_eq!(read, Ok(recorded), "it reads back");
            shape += &String::from_utf8(new.data).unwrap();
            shape.push('\n');
        }
        insta::assert_snapshot!(*event_type, shape);
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    let newer = RecordedEvent::from_stored(&stored("group_removed", 2, b"{}"));
    assert!(matches!(newer, Err(EventError::NewerSchema { newest: 1, version: 7, .. })));
    let unknown = RecordedEvent::from_stored(&stored("group_painted", 1, b"{}"));
    assert!(matches!(unknown, Err(EventError::UnknownType { .. })));
    let damaged: [&[u8]; 5] =
        [b"{}", b"{", br#"{"id":1}"#, br#"{"by":"a","id":-1}"#, br#"{"by":"","id":1}"#];
    for data in damaged {
        let read = RecordedEvent::from_stored(&stored("group_removed", 1, data));
        assert!(matches!(read, Err(EventError::Malformed { .. })), "{read:?}");
    }
}
