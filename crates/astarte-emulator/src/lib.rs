//! A small Astarte in one process, for tests and demonstrations.
//!
//! Real devices pair with it, connect to it over TLS with the certificates that it signed, and speak
//! Astarte's MQTT protocol; a backend talks to its AppEngine and Realm Management APIs and gets the
//! HTTP triggers that it installed. Faults can be had on demand: events that are lost, late, doubled
//! or out of order, requests that fail, messages that never arrive, sessions that are lost, clocks
//! that are wrong.
//!
//! ```
//! use hedgerow_astarte_emulator::{Emulator, RealmKeys};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let emulator = Emulator::builder().realm("test", RealmKeys::generate()?).start().await?;
//! let device = "91JGyz9XRv5Esp6jNQFP7g".parse()?;
//! let credentials_secret = emulator.register_device("test", device)?;
//! println!("AppEngine is at {}/appengine/v1/test", emulator.base_url());
//! println!("the broker's certificate is signed by {}", emulator.ca_certificate_pem());
//! # assert!(!credentials_secret.is_empty());
//! emulator.shutdown().await;
//! # Ok(())
//! # }
//! ```

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

mod auth;
mod authority;
mod builder;
mod clock;
mod device;
mod device_id;
mod edgehog;
mod emulator;
mod event;
mod faults;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod hooks;
mod http;
mod ingest;
mod interface;
mod keys;
mod mqtt;
mod platform;
mod properties_list;
mod realm;
mod recorder;
mod servers;
mod trigger;
mod value;
mod values;
mod version;

pub use authority::AuthorityError;
pub use builder::{EmulatorBuilder, StartError};
pub use device_id::{DeviceId, DeviceIdError};
pub use emulator::{Emulator, HookError};
pub use event::EventKind;
pub use faults::{
    Api, EventFault, EventRule, Frequency, RULES_MAX, RequestFault, RequestRule, RuleError,
};
pub use hooks::Hook;
pub use interface::InterfaceError;
pub use keys::{KeyError, RealmKeys};
pub use recorder::Recorded;
pub use trigger::delivery::DeliveryCounts;
