//! The events of a catalogue: facts in the past tense, each with a type, a schema version, stable
//! JSON (E6) and who did it. Golden files keep the JSON.
//!
//! In an event that changes something, what is absent stays as it was. Sets and maps are recorded
//! whole, as they are from then on, but for the tags and attributes of devices.

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::event::EventError;
use hedgerow_core::{
    DeviceId, NewEvent, StoredEvent, StreamId, Timestamp, Version, VersionRequirement,
};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::actor::Actor;
use crate::attribute::AttributeValue;
use crate::id::{
    BaseImageCollectionId, BaseImageId, ChannelId, GroupId, HardwareTypeId, SystemModelId,
};
use crate::mapping::VersionMapping;
use crate::selector::Selector;
use crate::text::{AttributeKey, Handle, Name, PartNumber, Tag, excerpt};
use crate::thing::{ImageFile, Localized, Picture};

/// What is there, `null` included: it says that something was taken away.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// An event as it is stored: who did it beside what it says.
#[derive(Serialize)]
struct Line<'a, T> {
    by: &'a Actor,
    #[serde(flatten)]
    what: &'a T,
}

/// Who did it.
#[derive(Deserialize)]
struct By {
    by: Actor,
}

macro_rules! events {
    ($(
        $(#[$meta:meta])*
        $name:ident = $event_type:literal, schema $schema:literal {
            $( $(#[$field_meta:meta])* $field:ident : $field_type:ty ),* $(,)?
        }
    )*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            pub struct $name {
                $( $(#[$field_meta])* pub $field: $field_type ),*
            }

            impl From<$name> for CatalogueEvent {
                fn from(event: $name) -> Self {
                    Self::$name(event)
                }
            }
        )*

        /// An event of the stream of a catalogue.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum CatalogueEvent {
            $( $(#[$meta])* $name($name) ),*
        }

        impl CatalogueEvent {
            /// All event types with their newest schema version.
            pub const TYPES: &[(&str, u16)] = &[ $( ($event_type, $schema) ),* ];

            /// The type under which the event is stored.
            #[must_use]
            pub fn event_type(&self) -> &'static str {
                match self { $( Self::$name(_) => $event_type ),* }
            }

            /// The version of the shape in which the event is stored.
            #[must_use]
            pub fn schema_version(&self) -> u16 {
                match self { $( Self::$name(_) => $schema ),* }
            }

            fn to_json(&self, by: &Actor) -> Vec<u8> {
                let json = match self {
                    $( Self::$name(what) => serde_json::to_vec(&Line { by, what }) ),*
                };
                // Maps with text keys, finite numbers and texts: nothing here can fail to serialise.
                json.unwrap_or_default()
            }

            fn decode(event: &NewEvent) -> Result<Self, Undecoded> {
                match event.event_type.as_str() {
                    $( $event_type => payload(event, $schema).map(Self::$name), )*
                    _ => Err(Undecoded::UnknownType),
                }
            }
        }
    };
}

events! {
    /// A hardware type was entered.
    HardwareTypeCreated = "hardware_type_created", schema 1 {
        /// Its id.
        id: HardwareTypeId,
        /// Its handle.
        handle: Handle,
        /// Its name.
        name: Name,
        /// Its part numbers.
        part_numbers: BTreeSet<PartNumber>,
    }
    /// A hardware type was changed.
    HardwareTypeChanged = "hardware_type_changed", schema 1 {
        /// Its id.
        id: HardwareTypeId,
        /// Its new handle.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handle: Option<Handle>,
        /// Its new name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// Its part numbers from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part_numbers: Option<BTreeSet<PartNumber>>,
    }
    /// A hardware type was removed.
    HardwareTypeRemoved = "hardware_type_removed", schema 1 {
        /// Its id.
        id: HardwareTypeId,
    }
    /// A system model was entered.
    SystemModelCreated = "system_model_created", schema 1 {
        /// Its id.
        id: SystemModelId,
        /// Its handle.
        handle: Handle,
        /// Its name.
        name: Name,
        /// What it is built on.
        hardware_type: HardwareTypeId,
        /// Its part numbers.
        part_numbers: BTreeSet<PartNumber>,
        /// Its picture.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        picture: Option<Picture>,
        /// What it is, by language.
        #[serde(default, skip_serializing_if = "Localized::is_empty")]
        descriptions: Localized,
    }
    /// A system model was changed.
    SystemModelChanged = "system_model_changed", schema 1 {
        /// Its id.
        id: SystemModelId,
        /// Its new handle.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handle: Option<Handle>,
        /// Its new name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// Its part numbers from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        part_numbers: Option<BTreeSet<PartNumber>>,
        /// Its picture from now on; `null`: none.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
        picture: Option<Option<Picture>>,
        /// What it is from now on, by language.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        descriptions: Option<Localized>,
    }
    /// A system model was removed.
    SystemModelRemoved = "system_model_removed", schema 1 {
        /// Its id.
        id: SystemModelId,
    }
    /// The versions that the devices of a system model report are read in another way from now on.
    VersionMappingChanged = "version_mapping_changed", schema 1 {
        /// The system model.
        system_model: SystemModelId,
        /// The lines of its mapping, in order; without any, versions are read as they are.
        lines: VersionMapping,
    }
    /// A base image collection was entered.
    BaseImageCollectionCreated = "base_image_collection_created", schema 1 {
        /// Its id.
        id: BaseImageCollectionId,
        /// Its handle.
        handle: Handle,
        /// Its name.
        name: Name,
        /// Whose images it holds.
        system_model: SystemModelId,
    }
    /// A base image collection was changed.
    BaseImageCollectionChanged = "base_image_collection_changed", schema 1 {
        /// Its id.
        id: BaseImageCollectionId,
        /// Its new handle.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handle: Option<Handle>,
        /// Its new name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
    }
    /// A base image collection was removed, which had no image any more.
    BaseImageCollectionRemoved = "base_image_collection_removed", schema 1 {
        /// Its id.
        id: BaseImageCollectionId,
    }
    /// A base image was entered; its file is in its place.
    BaseImageCreated = "base_image_created", schema 1 {
        /// Its id.
        id: BaseImageId,
        /// Its collection.
        collection: BaseImageCollectionId,
        /// Its version.
        version: Version,
        /// What a device's current version must meet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        starting_version_requirement: Option<VersionRequirement>,
        /// Its file.
        file: ImageFile,
        /// What is in it, by language.
        #[serde(default, skip_serializing_if = "Localized::is_empty")]
        descriptions: Localized,
        /// What the release is called, by language.
        #[serde(default, skip_serializing_if = "Localized::is_empty")]
        release_names: Localized,
    }
    /// A base image was changed.
    BaseImageChanged = "base_image_changed", schema 1 {
        /// Its id.
        id: BaseImageId,
        /// What a device's current version must meet from now on; `null`: nothing.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
        starting_version_requirement: Option<Option<VersionRequirement>>,
        /// What is in it, by language.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        descriptions: Option<Localized>,
        /// What the release is called from now on, by language.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release_names: Option<Localized>,
    }
    /// A base image was removed.
    BaseImageRemoved = "base_image_removed", schema 1 {
        /// Its id.
        id: BaseImageId,
    }
    /// A group was entered.
    GroupCreated = "group_created", schema 1 {
        /// Its id.
        id: GroupId,
        /// Its handle.
        handle: Handle,
        /// Its name.
        name: Name,
        /// Which devices are in it.
        selector: Selector,
    }
    /// A group was changed.
    GroupChanged = "group_changed", schema 1 {
        /// Its id.
        id: GroupId,
        /// Its new handle.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handle: Option<Handle>,
        /// Its new name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// Which devices are in it from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        selector: Option<Selector>,
    }
    /// A group was removed, also from its channel.
    GroupRemoved = "group_removed", schema 1 {
        /// Its id.
        id: GroupId,
    }
    /// A channel was entered.
    ChannelCreated = "channel_created", schema 1 {
        /// Its id.
        id: ChannelId,
        /// Its handle.
        handle: Handle,
        /// Its name.
        name: Name,
        /// Its groups.
        groups: BTreeSet<GroupId>,
    }
    /// A channel was changed.
    ChannelChanged = "channel_changed", schema 1 {
        /// Its id.
        id: ChannelId,
        /// Its new handle.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handle: Option<Handle>,
        /// Its new name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Name>,
        /// Its groups from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        groups: Option<BTreeSet<GroupId>>,
    }
    /// A channel was removed; its groups are in none from now on.
    ChannelRemoved = "channel_removed", schema 1 {
        /// Its id.
        id: ChannelId,
    }
    /// A device was given a name.
    DeviceNamed = "device_named", schema 1 {
        /// The device.
        device: DeviceId,
        /// Its name; `null`: it goes by its id again.
        name: Option<Name>,
    }
    /// Tags were put on a device.
    DeviceTagged = "device_tagged", schema 1 {
        /// The device.
        device: DeviceId,
        /// Those that it had not.
        tags: BTreeSet<Tag>,
    }
    /// Tags were taken off a device.
    DeviceUntagged = "device_untagged", schema 1 {
        /// The device.
        device: DeviceId,
        /// Those that it had.
        tags: BTreeSet<Tag>,
    }
    /// A device was given attributes, or other values of attributes that it had.
    DeviceAttributesSet = "device_attributes_set", schema 1 {
        /// The device.
        device: DeviceId,
        /// The attributes of the namespace `custom`.
        attributes: BTreeMap<AttributeKey, AttributeValue>,
    }
    /// Attributes were taken from a device.
    DeviceAttributesRemoved = "device_attributes_removed", schema 1 {
        /// The device.
        device: DeviceId,
        /// Those that it had.
        keys: BTreeSet<AttributeKey>,
    }
}

/// Why a payload was not decoded.
enum Undecoded {
    UnknownType,
    NewerSchema { newest: u16 },
    Malformed(String),
}

fn payload<T: serde::de::DeserializeOwned>(event: &NewEvent, newest: u16) -> Result<T, Undecoded> {
    let schema = event.schema_version;
    if schema > newest {
        return Err(Undecoded::NewerSchema { newest });
    }
    if schema < newest {
        return Err(Undecoded::Malformed(format!("there is no schema {schema} of it")));
    }
    serde_json::from_slice(&event.data).map_err(|error| Undecoded::Malformed(error.to_string()))
}

/// An event, and who did it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    /// Who did it.
    pub by: Actor,
    /// What was done.
    pub event: CatalogueEvent,
}

impl RecordedEvent {
    /// The event as it is handed to a store, of the append `causation_id`.
    #[must_use]
    pub fn to_new(&self, recorded_at: Timestamp, causation_id: Uuid) -> NewEvent {
        NewEvent {
            event_type: self.event.event_type().to_owned(),
            schema_version: self.event.schema_version(),
            recorded_at,
            correlation_id: causation_id,
            causation_id,
            data: self.event.to_json(&self.by),
        }
    }

    /// Reads a stored event.
    ///
    /// # Errors
    /// [`EventError`] with the event's place.
    pub fn from_stored(stored: &StoredEvent) -> Result<Self, EventError> {
        Self::read(&stored.event, stored.version)
    }

    /// Reads an event as it was handed to a store.
    ///
    /// # Errors
    /// [`EventError`] with 0 for the place that the event has not got yet.
    pub fn from_new(event: &NewEvent) -> Result<Self, EventError> {
        Self::read(event, 0)
    }

    fn read(event: &NewEvent, version: u64) -> Result<Self, EventError> {
        let (stream, event_type) = (StreamId::Catalogue, excerpt(&event.event_type));
        let malformed = |detail| {
            let event_type = event_type.clone();
            EventError::Malformed { stream, version, event_type, detail }
        };
        let what = CatalogueEvent::decode(event).map_err(|error| match error {
            Undecoded::UnknownType => {
                EventError::UnknownType { stream, version, event_type: event_type.clone() }
            }
            Undecoded::NewerSchema { newest } => EventError::NewerSchema {
                stream,
                version,
                event_type: event_type.clone(),
                schema_version: event.schema_version,
                newest,
            },
            Undecoded::Malformed(detail) => malformed(detail),
        })?;
        let By { by } =
            serde_json::from_slice(&event.data).map_err(|error| malformed(error.to_string()))?;
        Ok(Self { by, event: what })
    }
}
