//! Rolls updates out over [Astarte](https://astarte.cloud): what an engine needs of the world,
//! where the world is an Astarte.
//!
//! - [`Astarte`] holds the realms of a service. It is the engine's `DeviceTransport`.
//! - [`AstarteFleet`] is its `FleetDirectory`: groups, System Models, who is online.
//! - [`TriggerReceiver`] takes what Astarte tells over HTTP, behind the service's own router.
//! - [`Reconciler`] makes up for deliveries that were lost: reports, and who is online.
//! - [`provisioning`] puts interfaces, a delivery policy and triggers into a realm.
//!
//! Put together, in the order that loses nothing over a restart:
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use hedgerow_astarte::{
//!     Astarte, AstarteFleet, Credentials, HttpConnections, HttpSettings, Realm, Reconciler,
//!     SystemModelSource, TriggerReceiver, triggers::TriggerSettings,
//! };
//! use hedgerow_engine::{EngineBuilder, ports::tokio_runtime::TokioRuntime};
//! # use hedgerow_engine::store::memory::MemoryStore;
//!
//! # async fn serve(key: &str) -> Result<axum::Router, Box<dyn std::error::Error>> {
//! // 1. The realms, and where a device shows its System Model.
//! let realm = Realm {
//!     tenant: "gardens".parse()?,
//!     base_url: "https://api.astarte.example".to_owned(),
//!     credentials: Credentials::private_key(key)?,
//! };
//! let astarte = Astarte::new(&HttpConnections::new(&HttpSettings::default())?, [realm])?;
//! let source = SystemModelSource::attribute("system_model");
//!
//! // 2. The engine. While the hold is kept it sends nothing for campaigns that it found.
//! let (fleet, hold) = AstarteFleet::new(astarte.clone(), source).hold_presence();
//! let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
//! let (clock, store) = (Arc::clone(&runtime), Arc::new(MemoryStore::new()));
//! let transport = Arc::new(astarte.clone());
//! let builder = EngineBuilder::new(store, transport, Arc::new(fleet), clock, runtime);
//! let engine = builder.start().await?;
//!
//! // 3. What devices reported meanwhile, before anything is sent again.
//! let reconciler = Reconciler::new(astarte.clone(), engine.clone());
//! reconciler.fetch_reports().await;
//! drop(hold);
//! let rounds = reconciler.clone();
//! tokio::spawn(async move { rounds.run(Duration::from_secs(600)).await });
//!
//! // 4. What Astarte tells from now on.
//! let receiver = TriggerReceiver::new(astarte, engine, TriggerSettings::default())
//!     .with_reconciler(reconciler);
//! Ok(receiver.router())
//! # }
//! ```

mod appengine;
mod breaker;
mod client;
mod directory;
mod error;
mod interfaces;
mod jobs;
mod management;
mod presence;
pub mod provisioning;
mod realms;
mod reconcile;
mod redact;
mod selection;
mod token;
mod told;
mod transport;
pub mod triggers;
mod whereabouts;

pub use appengine::{AppEngine, DeviceStatus, OtaRequest, Page};
pub use client::{HttpConnections, HttpSettings, RealmClient, SettingsError};
pub use directory::{AstarteFleet, PresenceHold};
pub use error::ApiError;
pub use interfaces::{
    BASE_IMAGE, InterfaceVersion, Introspection, OTA_EVENT, OTA_REQUEST, OTA_RESPONSE, SYSTEM_INFO,
    lacks_ota_updates,
};
pub use management::RealmManagement;
pub use realms::{Astarte, Realm};
pub use reconcile::{Reconciled, Reconciler};
pub use selection::{SelectionProgress, SystemModelSource};
pub use token::{Credentials, TokenError};
pub use triggers::TriggerReceiver;
