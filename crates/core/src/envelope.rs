//! What surrounds an event where it is stored: its stream, its place there, its type and schema,
//! when and why it was recorded (E6, E10).
//!
//! A [`StoredEvent`] is what a store keeps: it does not look into the payload. Turning one into an
//! event of the domain, or back, is the business of the event modules.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{CampaignId, IdError, OperationId, TenantId, excerpt};
use crate::time::Timestamp;

/// A sequence of events with one writer: one per campaign, one per manual OTA update (E10), and one
/// for what campaigns are made from.
///
/// Its text is `campaign/UUID`, `manual/UUID` or `catalogue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum StreamId {
    /// The events of an update campaign.
    Campaign(CampaignId),
    /// The events of a manual OTA update.
    ManualUpdate(OperationId),
    /// What people have entered for campaigns to be made from: base images, groups, channels and the
    /// like. A tenant has one, which never ends. The engine passes over it; `hedgerow-catalogue`
    /// reads and writes it.
    Catalogue,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Campaign(id) => write!(f, "campaign/{id}"),
            Self::ManualUpdate(id) => write!(f, "manual/{id}"),
            Self::Catalogue => f.write_str("catalogue"),
        }
    }
}

impl From<StreamId> for String {
    fn from(stream: StreamId) -> Self {
        stream.to_string()
    }
}

/// A text that names no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no stream: expected campaign/UUID, manual/UUID or catalogue")]
#[non_exhaustive]
pub struct StreamIdError {
    /// What was given, cut after 64 characters.
    pub text: String,
}

impl FromStr for StreamId {
    type Err = StreamIdError;

    fn from_str(text: &str) -> Result<Self, StreamIdError> {
        let refused = |_: IdError| StreamIdError { text: excerpt(text) };
        match text.split_once('/') {
            Some(("campaign", id)) => id.parse().map(Self::Campaign).map_err(refused),
            Some(("manual", id)) => id.parse().map(Self::ManualUpdate).map_err(refused),
            None if text == "catalogue" => Ok(Self::Catalogue),
            _ => Err(StreamIdError { text: excerpt(text) }),
        }
    }
}

impl TryFrom<String> for StreamId {
    type Error = StreamIdError;

    fn try_from(text: String) -> Result<Self, StreamIdError> {
        text.parse()
    }
}

/// An event as it is handed to a store: everything but its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The kind of event, in snake case, such as `operation_started`.
    pub event_type: String,
    /// The version of the payload's shape, from 1.
    pub schema_version: u16,
    /// The `now` at which the event was decided.
    pub recorded_at: Timestamp,
    /// Groups all events that one input from outside led to.
    pub correlation_id: Uuid,
    /// The append in which the event was recorded: the same for all events of one batch, so that a
    /// writer whose append was answered by nothing can tell afterwards whether it was written.
    pub causation_id: Uuid,
    /// The payload: JSON in UTF-8.
    pub data: Vec<u8>,
}

/// What an event's checksum is: 32 bytes over the event and over the checksum before it in its
/// stream (E14). Its text is 64 hexadecimal digits.
///
/// This crate only carries it; `hedgerow-engine` says how it is computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Checksum([u8; 32]);

impl Checksum {
    /// A checksum of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checksum({self})")
    }
}

/// An event with its place in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The tenant (D21).
    pub tenant: TenantId,
    /// The stream.
    pub stream: StreamId,
    /// The event's number in its stream, from 1 without a gap.
    pub version: u64,
    /// The event's number in the whole store: it grows, gaps are possible.
    pub position: u64,
    /// Over the event and the checksum before it (E14). Only events that were recorded by versions
    /// of Hedgerow without checksums have none.
    pub checksum: Option<Checksum>,
    /// The event itself.
    pub event: NewEvent,
}

/// An event that cannot follow on the events before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "event {version} of {stream}, a {event_type}, cannot follow on the events before it: {why}; restore the store from a backup, other streams are not touched"
)]
#[non_exhaustive]
pub struct ApplyError {
    /// The stream.
    pub stream: StreamId,
    /// The event's place in it.
    pub version: u64,
    /// Its type.
    pub event_type: &'static str,
    /// What is impossible about it.
    pub why: &'static str,
}
