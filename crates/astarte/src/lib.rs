//! Rolls updates out over Astarte.

mod appengine;
mod breaker;
mod client;
mod directory;
mod error;
mod interfaces;
mod jobs;
mod presence;
mod realms;
mod redact;
mod selection;
mod token;
mod transport;

pub use appengine::{AppEngine, DeviceStatus, OtaRequest, Page};
pub use client::{HttpConnections, HttpSettings, RealmClient, SettingsError};
pub use directory::{AstarteFleet, PresenceHold};
pub use error::ApiError;
pub use interfaces::{
    BASE_IMAGE, InterfaceVersion, Introspection, OTA_EVENT, OTA_REQUEST, OTA_RESPONSE,
    lacks_ota_updates,
};
pub use realms::{Astarte, Realm};
pub use selection::{SelectionProgress, SystemModelSource};
pub use token::{Credentials, TokenError};
