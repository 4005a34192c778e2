//! Runs update campaigns.

pub mod store;
