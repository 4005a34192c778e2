//! Triggers: which events go where.

mod condition;
mod config;
pub(crate) mod delivery;
pub(crate) mod policy;
mod queue;

pub(crate) use config::{HttpAction, Trigger, TriggerError};
