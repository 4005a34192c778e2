//! Devices: what people say of one, which is recorded, and what Astarte knows of it, which is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hedgerow_core::{DeviceId, Timestamp};
use hedgerow_engine::Moment;
use serde::{Deserialize, Serialize};

use crate::attribute::AttributeValue;
use crate::fleet::Fleet;
use crate::text::{AttributeKey, Name, Tag};
use crate::thing::{Group, SystemModel};

/// What people say of a device.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DeviceFacts {
    /// Its name; without one it goes by its id.
    pub name: Option<Name>,
    /// Its tags.
    pub tags: BTreeSet<Tag>,
    /// Its attributes of the namespace `custom`.
    pub attributes: BTreeMap<AttributeKey, AttributeValue>,
}

impl DeviceFacts {
    pub(crate) fn is_empty(&self) -> bool {
        self.name.is_none() && self.tags.is_empty() && self.attributes.is_empty()
    }
}

/// Whether a device is connected to Astarte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// It is.
    pub online: bool,
    /// When it connected last, by Astarte's clock.
    pub last_connection: Option<Timestamp>,
    /// When it went away last, by Astarte's clock.
    pub last_disconnection: Option<Timestamp>,
    /// The address that it was last seen at.
    pub last_seen_ip: Option<String>,
}

/// What a device reports of itself in `io.edgehog.devicemanager.SystemInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemInfo {
    /// Its serial number.
    pub serial_number: Option<String>,
    /// Its part number, by which its system model is found.
    pub part_number: Option<String>,
}

/// What a device reports in `io.edgehog.devicemanager.BaseImage`, as it reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseImageInfo {
    /// The name of its image.
    pub name: Option<String>,
    /// The version of its image.
    pub version: Option<String>,
    /// The build of its image.
    pub build_id: Option<String>,
    /// The fingerprint of its image.
    pub fingerprint: Option<String>,
}

/// The version of an interface that a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InterfaceVersion {
    /// The major version.
    pub major: u32,
    /// The minor version.
    pub minor: u32,
}

/// The interfaces that a device has, by name.
pub type Interfaces = BTreeMap<String, InterfaceVersion>;

/// The most attributes or interfaces of a device that are looked at.
const MOST_PARTS: usize = 1_000;
/// The longest text of a device, in bytes; what is longer is cut.
const LONGEST_TEXT: usize = 4_096;

/// What Astarte knows of a device, as it was heard last. `None`, or nothing, where it was not heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownDevice {
    /// Whether it is connected.
    pub connection: Connection,
    /// What it reports of itself.
    pub system: SystemInfo,
    /// What it runs.
    pub base_image: BaseImageInfo,
    /// The interfaces that it has, by name.
    pub interfaces: Arc<Interfaces>,
    /// Its attributes in Astarte.
    pub attributes: BTreeMap<String, String>,
    /// As of when each part of it was heard; nothing of what was read from a cache.
    pub(crate) heard: Heard,
}

/// As of when each part was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) connection: Option<Moment>,
    pub(crate) system: Option<Moment>,
    pub(crate) base_image: Option<Moment>,
    pub(crate) interfaces: Option<Moment>,
    pub(crate) attributes: Option<Moment>,
}

/// What was heard of a device: those parts that it says something of, each whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNews {
    /// The device.
    pub device: DeviceId,
    /// It was so at this moment or later: one that was taken before Astarte was asked, or when a
    /// trigger arrived. What was heard as of a later moment stays.
    pub as_of: Moment,
    /// Whether it is connected.
    pub connection: Option<Connection>,
    /// What it reports of itself.
    pub system: Option<SystemInfo>,
    /// What it runs.
    pub base_image: Option<BaseImageInfo>,
    /// The interfaces that it has, by name.
    pub interfaces: Option<Interfaces>,
    /// Its attributes in Astarte.
    pub attributes: Option<BTreeMap<String, String>>,
}

/// A text of a device, which may be as long as it likes.
fn cut(text: &mut String) {
    if text.len() > LONGEST_TEXT {
        let mut end = LONGEST_TEXT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

impl DeviceNews {
    /// Without what is more than anybody looks at: what a device reports has no bounds.
    pub(crate) fn bounded(mut self) -> Self {
        let system =
            self.system.iter_mut().flat_map(|it| [&mut it.serial_number, &mut it.part_number]);
        let base_image = self.base_image.iter_mut();
        let base_image = base_image
            .flat_map(|it| [&mut it.name, &mut it.version, &mut it.build_id, &mut it.fingerprint]);
        let address = self.connection.iter_mut().map(|it| &mut it.last_seen_ip);
        system.chain(base_image).chain(address).flatten().for_each(cut);
        if let Some(attributes) = &mut self.attributes {
            attributes.retain(|key, _| key.len() <= LONGEST_TEXT);
            if let Some(first) = attributes.keys().nth(MOST_PARTS).cloned() {
                drop(attributes.split_off(&first));
            }
            attributes.values_mut().for_each(cut);
        }
        if let Some(interfaces) = &mut self.interfaces {
            interfaces.retain(|name, _| name.len() <= LONGEST_TEXT);
            if let Some(first) = interfaces.keys().nth(MOST_PARTS).cloned() {
                drop(interfaces.split_off(&first));
            }
        }
        self
    }

    /// That there is such a device, and nothing else yet.
    #[must_use]
    pub fn new(device: DeviceId, as_of: Moment) -> Self {
        Self {
            device,
            as_of,
            connection: None,
            system: None,
            base_image: None,
            interfaces: None,
            attributes: None,
        }
    }
}

fn put<T: PartialEq>(
    into: &mut T,
    heard: &mut Option<Moment>,
    news: Option<T>,
    as_of: Moment,
) -> bool {
    let Some(news) = news else { return false };
    if heard.is_some_and(|heard| heard > as_of) {
        return false;
    }
    *heard = Some(as_of);
    let is_other = *into != news;
    *into = news;
    is_other
}

impl KnownDevice {
    /// Hears news; `true` if anything is other than it was.
    pub(crate) fn hear(
        &mut self,
        news: DeviceNews,
        shared: impl FnOnce(Interfaces) -> Arc<Interfaces>,
    ) -> bool {
        let (heard, as_of) = (&mut self.heard, news.as_of);
        let interfaces = news.interfaces.map(shared);
        // Each of them is to be heard, whatever the ones before it say.
        let is_other = [
            put(&mut self.connection, &mut heard.connection, news.connection, as_of),
            put(&mut self.system, &mut heard.system, news.system, as_of),
            put(&mut self.base_image, &mut heard.base_image, news.base_image, as_of),
            put(&mut self.interfaces, &mut heard.interfaces, interfaces, as_of),
            put(&mut self.attributes, &mut heard.attributes, news.attributes, as_of),
        ];
        is_other.contains(&true)
    }

    /// The newest moment as of which anything of it was heard.
    pub(crate) fn newest(&self) -> Option<Moment> {
        let Heard { connection, system, base_image, interfaces, attributes } = self.heard;
        [connection, system, base_image, interfaces, attributes].into_iter().flatten().max()
    }
}

/// A device of a [`Fleet`].
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) id: DeviceId,
    pub(crate) facts: Option<&'a DeviceFacts>,
    pub(crate) known: &'a KnownDevice,
}

impl<'a> Device<'a> {
    /// Its id in Astarte.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        self.id
    }

    /// Its name: the one that people gave it, or else its id.
    #[must_use]
    pub fn name(&self) -> String {
        match self.facts.and_then(|facts| facts.name.as_ref()) {
            Some(name) => name.to_string(),
            None => self.id.to_string(),
        }
    }

    /// Its tags, in order.
    pub fn tags(&self) -> impl Iterator<Item = &'a Tag> + use<'a> {
        self.facts.into_iter().flat_map(|facts| &facts.tags)
    }

    /// Whether it has a tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.facts.is_some_and(|facts| facts.tags.contains(tag))
    }

    /// Its attributes of the namespace `custom`, in the order of their keys.
    pub fn attributes(
        &self,
    ) -> impl Iterator<Item = (&'a AttributeKey, &'a AttributeValue)> + use<'a> {
        self.facts.into_iter().flat_map(|facts| &facts.attributes)
    }

    /// What Astarte knows of it.
    #[must_use]
    pub fn known(&self) -> &'a KnownDevice {
        self.known
    }

    /// Its system model: the one that has the part number which it reports.
    #[must_use]
    pub fn system_model(&self) -> Option<&'a Arc<SystemModel>> {
        let part_number = self.known.system.part_number.as_deref()?;
        self.fleet.system_model_with_part_number(part_number)
    }

    /// The groups that it is in, in the order of their ids.
    pub fn groups(self) -> impl Iterator<Item = &'a Arc<Group>> {
        self.fleet.groups().filter(move |group| self.fleet.is_in(&self, group.id))
    }
}
