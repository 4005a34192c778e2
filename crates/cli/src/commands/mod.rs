//! The commands, one module each.

pub(crate) mod astarte;
pub(crate) mod audit;
pub(crate) mod bar;
pub(crate) mod demo;
pub(crate) mod log;
pub(crate) mod output;
pub(crate) mod scenario;
pub(crate) mod simulate;
pub(crate) mod version;
