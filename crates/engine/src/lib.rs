//! Runs update campaigns: records events, performs effects, keeps deadlines, recovers.
//!
//! An [`EngineBuilder`] puts an [`Engine`] together from a [store] and the other [ports]. The
//! futures of the engine may be awaited on any thread and any executor; what runs in the background
//! runs where the [`Spawner`](ports::Spawner) puts it.
//!
//! # Features
//!
//! - `tokio`, on by default: `ports::tokio_runtime::TokioRuntime`, the clock and the spawner of a
//!   service on tokio. Without it the crate depends on no runtime.
//! - `schedules`: for the crate's own tests of every order of threads; nothing else works with it.

#![warn(missing_debug_implementations)]

mod begin;
mod builder;
mod effects;
mod engine;
mod error;
mod in_progress;
mod inbox;
mod interest;
mod live;
mod load;
mod manual;
pub mod ports;
mod queries;
mod recording;
mod registry;
mod shared;
pub mod store;
mod streams;
mod subscription;
mod sync;
mod task;
mod time;

pub use builder::EngineBuilder;
pub use engine::{Engine, Observation};
pub use error::{EngineError, LoadError};
pub use in_progress::{OpenDevice, OperationInProgress};
pub use load::{campaign_at, campaign_in_snapshot, manual_update_at};
pub use manual::ManualUpdateRequest;
pub use queries::{Progress, TargetFilter, TargetPage};
pub use subscription::{RecordedEvent, Subscription};
