//! All that Astarte knows of one device, and its status as AppEngine tells it.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use mqttbytes::v4::Packet;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::iso;
use crate::device_id::DeviceId;
use crate::mqtt::session::{Fate, Message, Session};
use crate::properties_list::Format;
use crate::values::Values;

/// An interface of a device, and how much came over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Known {
    pub(crate) major: i32,
    pub(crate) minor: i32,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl Known {
    fn to_json(self) -> Value {
        json!({
            "major": self.major, "minor": self.minor,
            "exchanged_msgs": self.messages, "exchanged_bytes": self.bytes,
        })
    }
}

/// The connection of a device: where the tasks that serve it meet its state.
#[derive(Debug)]
pub(crate) struct Link {
    /// Tells this connection from the device's earlier and later ones.
    pub(crate) number: u64,
    pub(crate) outgoing: VecDeque<Packet>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) close: CancellationToken,
    /// Whether the session outlives the connection.
    pub(crate) is_persistent: bool,
}

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) credentials_secret: String,
    pub(crate) first_registration: DateTime<Utc>,
    pub(crate) first_credentials_request: Option<DateTime<Utc>>,
    pub(crate) last_credentials_request_address: Option<IpAddr>,
    pub(crate) is_inhibited: bool,
    pub(crate) aliases: BTreeMap<String, String>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) last_connection: Option<DateTime<Utc>>,
    pub(crate) last_disconnection: Option<DateTime<Utc>>,
    pub(crate) last_seen_address: Option<IpAddr>,
    pub(crate) introspection: BTreeMap<String, Known>,
    pub(crate) previous_interfaces: BTreeMap<(String, i32), Known>,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) values: Values,
    pub(crate) session: Option<Session>,
    pub(crate) link: Option<Link>,
    /// How lists of its properties are written.
    pub(crate) properties_format: Format,
    /// How much the device's own timestamps are shifted, to emulate a wrong clock.
    pub(crate) clock_offset: TimeDelta,
}

impl Device {
    pub(crate) fn new(id: DeviceId, credentials_secret: String, now: DateTime<Utc>) -> Self {
        Self {
            id,
            credentials_secret,
            first_registration: now,
            first_credentials_request: None,
            last_credentials_request_address: None,
            is_inhibited: false,
            aliases: BTreeMap::new(),
            attributes: BTreeMap::new(),
            last_connection: None,
            last_disconnection: None,
            last_seen_address: None,
            introspection: BTreeMap::new(),
            previous_interfaces: BTreeMap::new(),
            messages: 0,
            bytes: 0,
            values: Values::default(),
            session: None,
            link: None,
            properties_format: Format::default(),
            clock_offset: TimeDelta::zero(),
        }
    }

    /// A message for the device.
    pub(crate) fn publish(&mut self, message: Message) -> Fate {
        let Some(session) = &mut self.session else { return Fate::Unmatched };
        let Some(link) = &mut self.link else { return session.publish(message, None) };
        let fate = session.publish(message, Some(&mut link.outgoing));
        link.wake.notify_one();
        fate
    }

    /// Counts a message from the device.
    pub(crate) fn count(&mut self, interface: Option<&str>, bytes: usize) {
        let bytes = bytes as u64;
        self.messages += 1;
        self.bytes += bytes;
        if let Some(known) = interface.and_then(|name| self.introspection.get_mut(name)) {
            known.messages += 1;
            known.bytes += bytes;
        }
    }

    /// The status as AppEngine tells it.
    pub(crate) fn status(&self, groups: &[&str]) -> Value {
        let time = |time: Option<DateTime<Utc>>| time.map_or(Value::Null, |time| json!(iso(time)));
        let address =
            |address: Option<IpAddr>| address.map_or(Value::Null, |address| json!(address));
        let introspection: Map<_, _> = self
            .introspection
            .iter()
            .map(|(name, known)| (name.clone(), known.to_json()))
            .collect();
        let previous: Vec<Value> = self
            .previous_interfaces
            .iter()
            .map(|((name, _), known)| {
                let mut known = known.to_json();
                known["name"] = json!(name);
                known
            })
            .collect();
        json!({
            "id": self.id,
            "connected": self.link.is_some(),
            "introspection": introspection,
            "last_connection": time(self.last_connection),
            "last_disconnection": time(self.last_disconnection),
            "first_registration": time(Some(self.first_registration)),
            "first_credentials_request": time(self.first_credentials_request),
            "last_credentials_request_ip": address(self.last_credentials_request_address),
            "last_seen_ip": address(self.last_seen_address),
            "credentials_inhibited": self.is_inhibited,
            "aliases": self.aliases,
            "attributes": self.attributes,
            "groups": groups,
            "previous_interfaces": previous,
            "total_received_msgs": self.messages,
            "total_received_bytes": self.bytes,
            "deletion_in_progress": false,
        })
    }
}
