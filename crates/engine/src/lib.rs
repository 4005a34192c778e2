//! Runs update campaigns: records events, performs effects, keeps deadlines, recovers.
//!
//! An [`EngineBuilder`] puts an [`Engine`] together from a [store] and the other [ports]. The
//! futures of the engine may be awaited on any thread and any executor; what runs in the background
//! runs where the [`Spawner`](ports::Spawner) puts it.
//!
//! # A campaign from its creation to its end
//!
//! The engine asks the service for three things: to send a request to a device, to tell which
//! version a device runs, and to say which devices there are. The service tells the engine what it
//! hears from them. Everything else, such as who is next, when to ask again and when to give up, is
//! the engine's.
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # mod example {
//! use std::num::NonZeroU32;
//! use std::sync::{Arc, Mutex};
//!
//! use futures::FutureExt;
//! use futures::future::{BoxFuture, ready};
//! use hedgerow_core::*;
//! use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
//! use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};
//! use hedgerow_engine::store::memory::MemoryStore;
//! use hedgerow_engine::{EngineBuilder, Moment, Observation, Sighting};
//!
//! // 1. A transport sends requests and reads versions. This one only notes what it should send.
//! #[derive(Default)]
//! struct Outbox(Mutex<Vec<(DeviceId, OperationId)>>);
//!
//! impl DeviceTransport for Outbox {
//!     fn send_update(&self, _: &TenantId, device: DeviceId, operation: OperationId, _: &ImageUrl)
//!         -> BoxFuture<'static, RequestAnswer>
//!     {
//!         self.0.lock().unwrap().push((device, operation));
//!         ready(RequestAnswer::Accepted).boxed()
//!     }
//!     fn send_cancel(&self, _: &TenantId, _: DeviceId, _: OperationId, _: &ImageUrl)
//!         -> BoxFuture<'static, RequestAnswer>
//!     {
//!         ready(RequestAnswer::Accepted).boxed()
//!     }
//!     fn base_image_version(&self, _: &TenantId, _: DeviceId)
//!         -> BoxFuture<'static, Result<Option<String>, TransportError>>
//!     {
//!         ready(Ok(Some("1.4.0".to_owned()))).boxed()
//!     }
//! }
//!
//! // 2. A directory knows the devices of a channel, and who is online. This fleet is one device.
//! struct OneGateway;
//! const GATEWAY: DeviceId = DeviceId::from_bytes([7; 16]);
//!
//! fn online() -> Sighting {
//!     let presence = Some(Presence::Online { since: Timestamp::from_millis(0) });
//!     Sighting::now(presence)
//! }
//!
//! impl FleetDirectory for OneGateway {
//!     fn targets(&self, _: &TenantId, _: &Channel, _: &SystemModelHandle)
//!         -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>>
//!     {
//!         ready(Ok(vec![(GATEWAY, online())])).boxed()
//!     }
//!     fn presence(&self, _: &TenantId, devices: Vec<DeviceId>)
//!         -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>>
//!     {
//!         ready(Ok(vec![online(); devices.len()])).boxed()
//!     }
//! }
//!
//! # pub async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! // 3. Put it together with a store, a clock and a spawner. It goes on with what the store holds.
//! let outbox = Arc::new(Outbox::default());
//! let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
//! let store = Arc::new(MemoryStore::new());
//! let directory = Arc::new(OneGateway);
//! let engine =
//!     EngineBuilder::new(store, outbox.clone(), directory, runtime.clone(), runtime).start().await?;
//!
//! // 4. Create a campaign. From here on the engine works by itself.
//! let tenant: TenantId = "realm".parse()?;
//! let id: CampaignId = "5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa".parse()?;
//! let limits = RolloutLimits::new(NonZeroU32::MIN, "5".parse()?);
//! let definition = CampaignDefinition {
//!     name: "Gateways to 2.0.0".parse()?,
//!     base_image: BaseImage {
//!         system_model: "gateway".parse()?,
//!         version: Version::new(2, 0, 0),
//!         url: "https://images.example/gateway/2.0.0.bin".parse()?,
//!         starting_version_requirement: Some(">= 1.0.0".parse()?),
//!     },
//!     channel: Channel::new("stable".parse()?, ["gardens".parse()?])?,
//!     rollout: RolloutMechanism::Push(PushRollout { limits, gates: GatePolicy::default(), minimum_targets: 0 }),
//!     when_running: WhenRunning::Supersede,
//! };
//! engine.create(&tenant, id, definition, None).await?;
//!
//! // 5. It has read the device's version, recorded that it starts, and sent a request.
//! let (device, operation) = loop {
//!     if let Some(sent) = outbox.0.lock().unwrap().pop() {
//!         break sent;
//!     }
//!     tokio::task::yield_now().await;
//! };
//!
//! // 6. Tell it what the device reports. When that is `Ok`, what follows from it is durable.
//! let report = OperationReport::new(device, operation, ReportStatus::Success);
//! engine.observe(&tenant, Observation::Report(report)).await?;
//!
//! // 7. Ask how things stand.
//! let progress = engine.progress(&tenant, id).await?;
//! assert_eq!(progress.outcome, Some(Outcome::Success));
//! assert_eq!(progress.targets.successful, 1);
//! assert_eq!(engine.stats().requests, 1);
//! engine.shutdown().await;
//! # Ok(())
//! # }
//! # }
//! # #[cfg(feature = "tokio")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #     tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(example::serve())
//! # }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
//!
//! In a service the transport and the directory talk to devices and to a database: the repository
//! has a whole one in `crates/sqlite/examples/service.rs`, and a store and a transport to copy from
//! in `crates/engine/examples`. What the engine does can be watched with [`Engine::stats`] and with
//! `tracing`: each stream works in a span `stream` of its own.
//!
//! # Features
//!
//! - `tokio`, on by default: `ports::tokio_runtime::TokioRuntime`, the clock and the spawner of a
//!   service on tokio. Without it the crate depends on no runtime.
//! - `schedules`: for the crate's own tests of every order of threads; nothing else works with it.

#![warn(missing_debug_implementations)]

pub mod archive;
mod awaited;
mod begin;
mod builder;
mod effects;
mod engine;
mod error;
mod inbox;
mod interest;
mod lists;
mod live;
mod load;
mod loss;
mod manual;
mod opening;
pub mod ports;
mod queries;
mod recording;
mod registry;
mod rows;
mod shared;
mod sighting;
mod signal;
mod stats;
pub mod store;
mod streams;
mod subscription;
mod sync;
mod tail;
mod task;
mod time;
pub mod view;

pub use awaited::{AwaitedDevice, OperationInProgress};
pub use builder::EngineBuilder;
pub use engine::{Engine, Observation};
pub use error::{EngineError, LoadError};
pub use load::{campaign_at, campaign_in_snapshot, manual_update_at};
pub use manual::ManualUpdateRequest;
pub use queries::Progress;
pub use rows::RowStats;
pub use sighting::{Moment, Sighting};
pub use stats::{EngineStats, Refusals, TransportErrors};
pub use subscription::{Position, Subscription, SubscriptionError};
