//! Runs update campaigns: records events, performs effects, keeps deadlines, recovers.

mod begin;
mod builder;
mod effects;
mod engine;
mod error;
mod in_progress;
mod live;
mod load;
mod manual;
pub mod ports;
mod queries;
mod registry;
mod shared;
pub mod store;
mod task;

pub use builder::EngineBuilder;
pub use engine::{Engine, Observation};
pub use error::{EngineError, LoadError};
pub use in_progress::{OpenDevice, OperationInProgress};
pub use load::{campaign_at, manual_update_at};
pub use manual::ManualUpdateRequest;
pub use queries::{Progress, TargetFilter, TargetPage};
pub use shared::RecordedEvent;
