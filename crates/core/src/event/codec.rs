//! Between events and what is stored: the event's type and schema version stand beside the
//! payload, so that it is decoded straight from its bytes.

use crate::envelope::StreamId;

/// A stored event that cannot be read. It stops its own campaign only (E6, D21).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// A type that this version does not know.
    #[error(
        "event {version} of {stream} is of the unknown type {event_type:?}: it was written by a newer version of Hedgerow, use that one"
    )]
    UnknownType {
        /// The stream.
        stream: StreamId,
        /// The event's place in it.
        version: u64,
        /// Its type.
        event_type: String,
    },
    /// A schema that this version does not know.
    #[error(
        "event {version} of {stream} is a {event_type} of schema {schema_version}, this version reads up to {newest}: it was written by a newer version of Hedgerow, use that one"
    )]
    NewerSchema {
        /// The stream.
        stream: StreamId,
        /// The event's place in it.
        version: u64,
        /// Its type.
        event_type: String,
        /// Its schema version.
        schema_version: u16,
        /// The newest schema version that can be read.
        newest: u16,
    },
    /// A payload that is not what its type says.
    #[error(
        "event {version} of {stream} is a damaged {event_type}: {detail}; restore the store from a backup, other campaigns are not touched"
    )]
    Malformed {
        /// The stream.
        stream: StreamId,
        /// The event's place in it.
        version: u64,
        /// Its type.
        event_type: String,
        /// What is wrong with it.
        detail: String,
    },
}

/// Why a payload was not decoded, without its place; see [`EventError`].
#[derive(Debug)]
pub(super) enum DecodeError {
    UnknownType,
    NewerSchema { newest: u16 },
    Malformed(String),
}

impl DecodeError {
    pub(super) fn at(
        self,
        stream: StreamId,
        version: u64,
        event: &crate::envelope::NewEvent,
    ) -> EventError {
        let event_type = crate::id::excerpt(&event.event_type);
        match self {
            Self::UnknownType => EventError::UnknownType { stream, version, event_type },
            Self::NewerSchema { newest } => EventError::NewerSchema {
                stream,
                version,
                event_type,
                schema_version: event.schema_version,
                newest,
            },
            Self::Malformed(detail) => {
                EventError::Malformed { stream, version, event_type, detail }
            }
        }
    }
}

/// Defines the events of one kind of stream: a struct for each, an enum of them, and the way to
/// and from stored bytes.
macro_rules! events {
    (
        $(#[$enum_meta:meta])* $enum_name:ident;
        $(
            $(#[$meta:meta])*
            $name:ident = $event_type:literal, schema $($schema:literal)? $($fact:ident :: SCHEMA)? {
                $( $(#[$field_meta:meta])* $field:ident : $field_type:ty ),* $(,)?
            }
        )*
    ) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
            pub struct $name {
                $( $(#[$field_meta])* pub $field: $field_type ),*
            }

            impl From<$name> for $enum_name {
                fn from(event: $name) -> Self {
                    Self::$name(event)
                }
            }
        )*

        $(#[$enum_meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $enum_name {
            $( $(#[$meta])* $name($name) ),*
        }

        impl $enum_name {
            /// All event types with their newest schema version.
            pub const TYPES: &[(&str, u16)] = &[ $( ($event_type, $($schema)? $($fact::SCHEMA)?) ),* ];

            /// The type under which the event is stored.
            #[must_use]
            pub fn event_type(&self) -> &'static str {
                match self { $( Self::$name(_) => $event_type ),* }
            }

            /// The version of the shape in which the event is stored.
            #[must_use]
            pub fn schema_version(&self) -> u16 {
                match self { $( Self::$name(_) => $($schema)? $($fact::SCHEMA)? ),* }
            }

            /// The payload as JSON.
            #[must_use]
            pub fn to_json(&self) -> Vec<u8> {
                let json = match self { $( Self::$name(event) => serde_json::to_vec(event) ),* };
                // Maps with text keys, numbers and texts: nothing here can fail to serialise.
                json.unwrap_or_default()
            }

            fn decode(event_type: &str, schema: u16, data: &[u8]) -> Result<Self, DecodeError> {
                match event_type {
                    $( $event_type => decode_payload(event_type, schema, $($schema)? $($fact::SCHEMA)?, data)
                        .map(Self::$name), )*
                    _ => Err(DecodeError::UnknownType),
                }
            }

            /// Reads an event as it was handed to a store.
            ///
            /// # Errors
            /// [`EventError`] with the stream, and 0 for the place that the event has not got yet.
            pub fn from_new(stream: StreamId, event: &NewEvent) -> Result<Self, EventError> {
                Self::decode(&event.event_type, event.schema_version, &event.data)
                    .map_err(|error| error.at(stream, 0, event))
            }

            /// Reads a stored event, an older one through its upcaster.
            ///
            /// # Errors
            /// [`EventError`] with the event's place.
            pub fn from_stored(stored: &StoredEvent) -> Result<Self, EventError> {
                let event = &stored.event;
                Self::decode(&event.event_type, event.schema_version, &event.data)
                    .map_err(|error| error.at(stored.stream, stored.version, event))
            }
        }
    };
}

pub(super) use events;

/// Decodes a payload of schema `schema`, of which `newest` is the newest.
pub(super) fn decode_payload<T: serde::de::DeserializeOwned>(
    event_type: &str,
    schema: u16,
    newest: u16,
    data: &[u8],
) -> Result<T, DecodeError> {
    if schema == newest {
        return serde_json::from_slice(data).map_err(|e| DecodeError::Malformed(e.to_string()));
    }
    if schema > newest {
        return Err(DecodeError::NewerSchema { newest });
    }
    let mut value =
        serde_json::from_slice(data).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    super::upcast::upcast(event_type, schema, newest, &mut value)
        .map_err(DecodeError::Malformed)?;
    serde_json::from_value(value).map_err(|error| DecodeError::Malformed(error.to_string()))
}
