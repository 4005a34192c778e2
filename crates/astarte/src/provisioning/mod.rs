//! Puts into a realm what Hedgerow needs of it: the interfaces of OTA updates, a delivery policy that
//! keeps trying, and triggers that tell the service what happens. Doing it again changes nothing.
//!
//! `wanted` says what is to be there, `release` which Astarte has it, `difference` how what is there
//! differs, `plan` what is to be done about it; `apply` does it, and `problem` says what could not be
//! done.

mod apply;
mod difference;
mod plan;
mod problem;
mod release;
mod wanted;

pub use plan::{Action, Change, Plan};
pub use problem::InstallError;
pub use wanted::{InstallSettings, InstallSettingsError, Installation, Kind};
