//! The commands, one module each.

pub(crate) mod demo;
pub(crate) mod log;
pub(crate) mod scenario;
pub(crate) mod version;
