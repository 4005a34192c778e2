//! Hedgerow put together from one configuration file: engine, store, Astarte, catalogue and GraphQL
//! API, as `hedgerow serve` runs it.
//!
//! A [`Config`] is read from a file and [checked](Config::check), which gives a [`Setup`]: values
//! that are ready to be used, each error found at once and with what to do about it. A [`Service`]
//! is started on a setup, and [runs](Service::run) until it is told to stop. Who has another store,
//! another way to devices or an own router puts the same parts together in the same way; each of
//! them is a crate of its own.

mod config;
mod directory;
mod feed;
mod health;
mod hurry;
mod images;
mod listen;
pub mod logs;
mod metrics;
mod paths;
mod rounds;
mod service;
mod setup;
mod urls;

pub use config::{
    AstarteConfig, BucketConfig, Config, EXAMPLE, HttpConfig, ImagesConfig, LogConfig, LogFormat,
    TenantAstarteConfig, TenantConfig,
};
pub use images::router as image_router;
pub use listen::ListenError;
pub use service::{Service, StartError};
pub use setup::{ConfigError, ImagePlace, Problem, Setup, TenantSetup};
