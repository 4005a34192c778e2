//! Runs update campaigns: records events, performs effects, keeps deadlines, recovers.

mod begin;
mod effects;
mod engine;
mod error;
mod live;
mod load;
pub mod ports;
mod queries;
mod registry;
mod shared;
pub mod store;
mod task;

pub use engine::{Engine, EngineBuilder, ManualUpdateRequest, Observation};
pub use error::{EngineError, LoadError};
pub use load::{campaign_at, manual_update_at};
pub use queries::{Progress, TargetFilter, TargetPage};
pub use shared::RecordedEvent;
