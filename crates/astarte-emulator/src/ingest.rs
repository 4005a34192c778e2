//! What Astarte's data updater does with a message from a device: checks it against the installed
//! interfaces, stores it, and tells what happened.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bson::{Bson, Document};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::device::{Device, Known};
use crate::event::{Data, DeviceEvent, Event, EventKind};
use crate::interface::{Endpoint, Installed};
use crate::mqtt::session::Message;
use crate::mqtt::topic::Incoming;
use crate::properties_list::{self, Format};
use crate::value::{Payload, ValueError, checked};
use crate::values::InterfaceKey;

/// Interfaces that a device may have.
const INTERFACES_MAX: usize = 1000;
/// The list of a device's properties, after decompression.
const PROPERTIES_LIST_LENGTH_MAX: u64 = 1024 * 1024;

/// The interfaces of a realm, by name and major version.
pub(crate) type Interfaces = BTreeMap<String, BTreeMap<i32, Installed>>;

/// Why a message is refused. The device is told by being disconnected, the backend by a
/// `device_error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) name: &'static str,
    pub(crate) metadata: BTreeMap<&'static str, String>,
}

fn refuse(name: &'static str) -> Refusal {
    Refusal { name, metadata: BTreeMap::new() }
}

/// What a message led to.
#[derive(Debug, Default)]
pub(crate) struct Ingested {
    pub(crate) events: Vec<DeviceEvent>,
    /// What is sent to the device in answer.
    pub(crate) messages: Vec<Message>,
}

/// Takes one message of a device in. `prefix` is that of the device's topics.
pub(crate) fn ingest(
    device: &mut Device,
    interfaces: &Interfaces,
    prefix: &str,
    incoming: Incoming<'_>,
    payload: &Bytes,
    now: DateTime<Utc>,
) -> Result<Ingested, Refusal> {
    let interface =
        if let Incoming::Data { interface, .. } = incoming { Some(interface) } else { None };
    device.count(interface, payload.len());
    let mut ingested = Ingested::default();
    let id = device.id;
    let mut tell = |timestamp, event| {
        ingested.events.push(DeviceEvent { device: id, timestamp, event });
    };
    match incoming {
        Incoming::Introspection => {
            for event in introspection(device, payload)? {
                tell(now, event);
            }
        }
        Incoming::EmptyCache => ingested.messages = server_properties(device, interfaces, prefix)?,
        Incoming::ProducerProperties => {
            for event in purge(device, interfaces, payload)? {
                tell(now, event);
            }
        }
        Incoming::Capabilities => {
            capabilities(device, payload).ok_or_else(|| refuse("invalid_capabilities"))?;
        }
        Incoming::UnknownControl => return Err(refuse("unexpected_control_message")),
        Incoming::Data { interface, path } => {
            let (timestamp, events) = data(device, interfaces, interface, path, payload, now)
                .map_err(|mut refusal| {
                    refusal.metadata.insert("interface", interface.to_owned());
                    refusal.metadata.insert("path", path.to_owned());
                    refusal.metadata.insert("base64_payload", STANDARD.encode(payload));
                    refusal
                })?;
            for event in events {
                tell(timestamp, event);
            }
        }
    }
    Ok(ingested)
}

/// What the device says that it can do; `None` if that cannot be read.
fn capabilities(device: &mut Device, payload: &[u8]) -> Option<()> {
    let said = bson::RawDocument::from_bytes(payload).ok()?;
    if let Some(format) = said.get("purge_properties_compression_format").ok()? {
        device.properties_format = Format::named(format.as_str()?)?;
    }
    Some(())
}

fn introspection(device: &mut Device, payload: &[u8]) -> Result<Vec<Event>, Refusal> {
    let interfaces = std::str::from_utf8(payload)
        .ok()
        .and_then(parse_introspection)
        .ok_or_else(|| refuse("invalid_introspection"))?;
    let mut events = vec![Event::IncomingIntrospection { interfaces: interfaces.clone() }];
    let old = std::mem::take(&mut device.introspection);
    for (name, (major, minor)) in &interfaces {
        let (name, major, minor) = (name.clone(), *major, *minor);
        let mut known = Known { major, minor, ..Known::default() };
        match old.get(&name) {
            Some(same) if same.major == major => {
                known = Known { minor, ..*same };
                if same.minor != minor {
                    events.push(Event::InterfaceMinorUpdated {
                        interface: name.clone(),
                        major,
                        old_minor: same.minor,
                        new_minor: minor,
                    });
                }
            }
            _ => {
                events.push(Event::InterfaceAdded { interface: name.clone(), major, minor });
                if let Some(back) = device.previous_interfaces.remove(&(name.clone(), major)) {
                    known = Known { minor, ..back };
                }
            }
        }
        device.introspection.insert(name, known);
    }
    for (name, known) in old {
        if interfaces.get(&name).is_none_or(|(major, _)| *major != known.major) {
            events.push(Event::InterfaceRemoved { interface: name.clone(), major: known.major });
            device.previous_interfaces.insert((name, known.major), known);
        }
    }
    Ok(events)
}

/// Reads `name:major:minor;...`.
pub(crate) fn parse_introspection(text: &str) -> Option<BTreeMap<String, (i32, i32)>> {
    let mut interfaces = BTreeMap::new();
    for entry in text.split(';').filter(|entry| !entry.is_empty()) {
        let mut parts = entry.split(':');
        let (name, major, minor) = (parts.next()?, parts.next()?, parts.next()?);
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        let is_valid = astarte_interfaces::interface::name::InterfaceName::from_str_ref(name)
            .is_ok()
            && parts.next().is_none()
            && major >= 0
            && minor >= 0;
        if !is_valid || interfaces.len() >= INTERFACES_MAX {
            return None;
        }
        interfaces.insert(name.to_owned(), (major, minor));
    }
    Some(interfaces)
}

/// The answer to `emptyCache`: which server-owned properties are set, and each of them.
fn server_properties(
    device: &Device,
    interfaces: &Interfaces,
    prefix: &str,
) -> Result<Vec<Message>, Refusal> {
    let mut set = Vec::new();
    let mut messages = Vec::new();
    for installed in known_interfaces(device, interfaces) {
        if !installed.is_properties() || !installed.is_server_owned() {
            continue;
        }
        let key = (installed.name().to_owned(), installed.major());
        for (path, value) in device.values.properties(&key) {
            set.push(format!("{}{path}", installed.name()));
            let payload = Payload::encode(value).map_err(|_| refuse("empty_cache_error"))?;
            messages.push(Message {
                topic: format!("{prefix}/{}{path}", installed.name()),
                payload: payload.into(),
                quality: mqttbytes::QoS::ExactlyOnce,
            });
        }
    }
    let list = Message {
        topic: format!("{prefix}/control/consumer/properties"),
        payload: properties_list::encode(&set, device.properties_format).into(),
        quality: mqttbytes::QoS::ExactlyOnce,
    };
    messages.insert(0, list);
    Ok(messages)
}

fn known_interfaces<'a>(
    device: &'a Device,
    interfaces: &'a Interfaces,
) -> impl Iterator<Item = &'a Installed> {
    device.introspection.iter().filter_map(|(name, known)| interfaces.get(name)?.get(&known.major))
}

/// Forgets the device's own properties that are not in its list.
fn purge(
    device: &mut Device,
    interfaces: &Interfaces,
    payload: &[u8],
) -> Result<Vec<Event>, Refusal> {
    let list =
        properties_list::decode(payload, device.properties_format, PROPERTIES_LIST_LENGTH_MAX)
            .ok_or_else(|| refuse("invalid_properties"))?;
    let set: BTreeSet<&str> = list.split(';').collect();
    let gone: Vec<(InterfaceKey, String)> = known_interfaces(device, interfaces)
        .filter(|installed| installed.is_properties() && !installed.is_server_owned())
        .flat_map(|installed| {
            let key = (installed.name().to_owned(), installed.major());
            let paths: Vec<String> = device
                .values
                .properties(&key)
                .map(|(path, _)| path.to_owned())
                .filter(|path| !set.contains(format!("{}{path}", installed.name()).as_str()))
                .collect();
            paths.into_iter().map(move |path| (key.clone(), path))
        })
        .collect();
    Ok(gone
        .into_iter()
        .map(|(key, path)| {
            let old = device.values.set_property(&key, &path, None);
            let (interface, major) = key;
            let data = Data { interface, major, path, value: None, old };
            Event::Data { kind: EventKind::PathRemoved, data: Box::new(data) }
        })
        .collect())
}

fn data(
    device: &mut Device,
    interfaces: &Interfaces,
    name: &str,
    path: &str,
    payload: &[u8],
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, Vec<Event>), Refusal> {
    let known = device.introspection.get(name).ok_or_else(|| refuse("interface_loading_failed"))?;
    let installed = interfaces
        .get(name)
        .and_then(|majors| majors.get(&known.major))
        .ok_or_else(|| refuse("interface_loading_failed"))?;
    if installed.is_server_owned() {
        return Err(refuse("write_on_server_owned_interface"));
    }
    let endpoint = installed.endpoint(path).ok_or_else(|| refuse("mapping_not_found"))?;
    let (value, device_time) = read(installed, &endpoint, payload)?;
    let timestamp = match device_time {
        Some(time) if endpoint.explicit_timestamp => {
            time.checked_add_signed(device.clock_offset).unwrap_or(time)
        }
        _ => now,
    };
    let key = (name.to_owned(), known.major);
    let event = |kind, value: &Option<Bson>, old: &Option<Bson>| Event::Data {
        kind,
        data: Box::new(Data {
            interface: name.to_owned(),
            major: key.1,
            path: path.to_owned(),
            value: value.clone(),
            old: old.clone(),
        }),
    };
    // Told on every receipt, and before anything is stored.
    let mut events = vec![event(EventKind::IncomingData, &value, &None)];
    if !installed.is_properties() {
        if let Some(value) = value.clone() {
            device.values.append(&key, path, value, timestamp, now, endpoint.time_to_live);
        }
        events.push(event(EventKind::ValueStored, &value, &None));
        return Ok((timestamp, events));
    }
    let old = device.values.set_property(&key, path, value.clone());
    let changed = old != value;
    if changed {
        events.push(event(EventKind::ValueChange, &value, &old));
    }
    match (&old, &value) {
        (_, Some(_)) => {
            events.push(event(EventKind::ValueStored, &value, &old));
            if old.is_none() {
                events.push(event(EventKind::PathCreated, &value, &old));
            }
        }
        (Some(_), None) => events.push(event(EventKind::PathRemoved, &value, &old)),
        (None, None) => {}
    }
    if changed {
        events.push(event(EventKind::ValueChangeApplied, &value, &old));
    }
    Ok((timestamp, events))
}

/// The value in a payload, `None` if it unsets a property.
fn read(
    installed: &Installed,
    endpoint: &Endpoint,
    payload: &[u8],
) -> Result<(Option<Bson>, Option<DateTime<Utc>>), Refusal> {
    if payload.is_empty() {
        return match (installed.is_properties(), endpoint.allow_unset) {
            (true, true) => Ok((None, None)),
            (true, false) => Err(refuse("unset_not_allowed")),
            (false, _) => Err(refuse("unset_on_datastream")),
        };
    }
    let Payload { value, timestamp } = Payload::decode(payload).map_err(refusal_of)?;
    let Some(kind) = endpoint.kind else {
        let Bson::Document(document) = value else { return Err(refuse("unexpected_value_type")) };
        let mut object = Document::new();
        for (key, value) in document {
            let kind = installed.key(&key).ok_or_else(|| refuse("unexpected_object_key"))?;
            object.insert(key, checked(value, kind).map_err(refusal_of)?);
        }
        return Ok((Some(Bson::Document(object)), timestamp));
    };
    Ok((Some(checked(value, kind).map_err(refusal_of)?), timestamp))
}

fn refusal_of(error: ValueError) -> Refusal {
    refuse(match error {
        ValueError::Undecodable => "undecodable_bson_payload",
        ValueError::Type { .. } => "unexpected_value_type",
        ValueError::Size => "value_size_exceeded",
    })
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};
    use chrono::TimeDelta;

    use super::*;
    use crate::clock::at_millis;
    use crate::device_id::DeviceId;

    const NAME: &str = "org.example.Image";
    const DEFINITION: &str = r#"{
        "interface_name": "org.example.Image", "version_major": 0, "version_minor": 1,
        "type": "properties", "ownership": "device",
        "mappings": [{"endpoint": "/name", "type": "string", "allow_unset": true}]}"#;

    fn world() -> (Device, Interfaces) {
        let mut device = Device::new(DeviceId::from_bytes([1; 16]), String::new(), at_millis(0));
        device.introspection.insert(NAME.to_owned(), Known { minor: 1, ..Known::default() });
        let installed = Installed::parse(DEFINITION).expect("an interface");
        let interfaces = BTreeMap::from([(NAME.to_owned(), BTreeMap::from([(0, installed)]))]);
        (device, interfaces)
    }

    fn kinds(
        device: &mut Device,
        interfaces: &Interfaces,
        payload: Vec<u8>,
    ) -> Result<Vec<EventKind>, &'static str> {
        let incoming = Incoming::Data { interface: NAME, path: "/name" };
        ingest(device, interfaces, "test/x", incoming, &payload.into(), at_millis(0))
            .map(|ingested| ingested.events.iter().map(|event| event.event.kind()).collect())
            .map_err(|refusal| refusal.name)
    }

    #[test]
    fn a_property_is_told_when_it_comes_changes_and_goes() {
        use EventKind::{
            IncomingData, PathCreated, PathRemoved, ValueChange, ValueChangeApplied, ValueStored,
        };
        let (mut device, interfaces) = world();
        let mut send = |payload| kinds(&mut device, &interfaces, payload);
        let value = |text: &str| doc! {"v": text}.to_vec().expect("BSON");
        let first = [IncomingData, ValueChange, ValueStored, PathCreated, ValueChangeApplied];
        assert_eq!(send(value("a")).as_deref(), Ok(&first[..]));
        assert_eq!(send(value("a")).as_deref(), Ok(&[IncomingData, ValueStored][..]));
        let changed = [IncomingData, ValueChange, ValueStored, ValueChangeApplied];
        assert_eq!(send(value("b")).as_deref(), Ok(&changed[..]));
        let gone = [IncomingData, ValueChange, PathRemoved, ValueChangeApplied];
        assert_eq!(send(Vec::new()).as_deref(), Ok(&gone[..]));
        assert_eq!(send(Vec::new()).as_deref(), Ok(&[IncomingData][..]));
        assert_eq!(send(b"x".to_vec()), Err("undecodable_bson_payload"));
    }

    #[test]
    fn a_device_with_a_wrong_clock_is_believed_where_its_time_counts() {
        let (mut device, mut interfaces) = world();
        let definition = r#"{
            "interface_name": "org.example.Event", "version_major": 0, "version_minor": 1,
            "type": "datastream", "ownership": "device",
            "mappings": [{"endpoint": "/own", "type": "integer", "explicit_timestamp": true},
                         {"endpoint": "/ours", "type": "integer"}]}"#;
        let installed = Installed::parse(definition).expect("an interface");
        let name = "org.example.Event";
        interfaces.insert(name.to_owned(), BTreeMap::from([(0, installed)]));
        device.introspection.insert(name.to_owned(), Known { minor: 1, ..Known::default() });
        device.clock_offset = TimeDelta::milliseconds(-5);
        let payload: Bytes =
            doc! {"v": 1, "t": bson::DateTime::from_millis(100)}.to_vec().expect("BSON").into();
        for (path, millis) in [("/own", 95), ("/ours", 7)] {
            let incoming = Incoming::Data { interface: name, path };
            let ingested = ingest(&mut device, &interfaces, "p", incoming, &payload, at_millis(7));
            assert_eq!(ingested.expect("accepted").events[0].timestamp, at_millis(millis));
        }
    }

    #[test]
    fn introspections_are_read_or_refused_as_a_whole() {
        let read = |text: &str| parse_introspection(text).map(|interfaces| interfaces.len());
        assert_eq!(read(""), Some(0));
        assert_eq!(read("a.b:1:0;c.d:0:12;"), Some(2));
        let many: Vec<String> =
            (0..=INTERFACES_MAX).map(|index| format!("a.b{index}:1:0")).collect();
        for text in ["a.b", "a.b:1", "a.b:1:x", "a.b:-1:0", "a.b:1:0:0", "a b:1:0", &many.join(";")]
        {
            assert_eq!(read(text), None, "{}", &text[..text.len().min(20)]);
        }
    }

    #[test]
    fn a_device_that_asks_for_plain_lists_sends_and_gets_them() {
        let (mut device, interfaces) = world();
        let mut send = |incoming, payload: Vec<u8>| {
            let payload = payload.into();
            ingest(&mut device, &interfaces, "p", incoming, &payload, at_millis(0))
                .map_err(|refusal| refusal.name)
        };
        let said = |format: &str| {
            doc! {"purge_properties_compression_format": format}.to_vec().expect("BSON")
        };
        let told = send(Incoming::Capabilities, said("brotli"));
        assert_eq!(told.map(|_| ()), Err("invalid_capabilities"));
        assert!(send(Incoming::ProducerProperties, b"org.example.Image/name".to_vec()).is_err());
        send(Incoming::Capabilities, said("plaintext")).expect("capabilities");
        let value = doc! {"v": "a"}.to_vec().expect("BSON");
        send(Incoming::Data { interface: NAME, path: "/name" }, value).expect("a property");
        let kept = send(Incoming::ProducerProperties, b"org.example.Image/name".to_vec());
        assert!(kept.expect("a list").events.is_empty());
        let gone = send(Incoming::ProducerProperties, Vec::new()).expect("a list").events;
        assert_eq!(gone.len(), 1, "nothing is set any more: {gone:?}");
        let answer = send(Incoming::EmptyCache, b"1".to_vec()).expect("an answer").messages;
        assert!(answer[0].payload.is_empty(), "a plain list of nothing");
    }

    #[test]
    fn server_owned_properties_are_sent_with_their_list() {
        let (mut device, mut interfaces) = world();
        let definition = DEFINITION.replace("device", "server");
        let installed = Installed::parse(&definition).expect("an interface");
        interfaces.insert(NAME.to_owned(), BTreeMap::from([(0, installed)]));
        device.values.set_property(&(NAME.to_owned(), 0), "/name", Some(bson!("a")));
        let messages = server_properties(&device, &interfaces, "p").expect("messages");
        let topics: Vec<&str> = messages.iter().map(|message| message.topic.as_str()).collect();
        assert_eq!(topics, ["p/control/consumer/properties", "p/org.example.Image/name"]);
        let list = properties_list::decode(&messages[0].payload, Format::Zlib, 100);
        assert_eq!(list.as_deref(), Some("org.example.Image/name"));
    }
}
