//! Puts into a realm what Hedgerow needs of it: the interfaces of OTA updates, a delivery policy that
//! keeps trying, and triggers that tell the service what happens. Doing it again changes nothing.
//!
//! `wanted` says what is to be there, `difference` how what is there differs, `plan` what is to be
//! done about it.

mod difference;
mod plan;
mod wanted;

pub use plan::{Action, Change, InstallError, Plan};
pub use wanted::{InstallSettings, InstallSettingsError, Installation, Kind};
