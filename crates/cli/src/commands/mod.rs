//! The commands, one module each.

pub(crate) mod archive;
#[cfg(feature = "astarte")]
pub(crate) mod astarte;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod bar;
pub(crate) mod campaigns;
#[cfg(feature = "serve")]
pub(crate) mod client;
pub(crate) mod demo;
pub(crate) mod device;
mod keeping;
#[cfg(not(all(feature = "astarte", feature = "plot", feature = "serve")))]
pub(crate) mod left_out;
pub(crate) mod log;
mod naming;
pub(crate) mod output;
pub(crate) mod prune;
mod reading;
mod rows;
pub(crate) mod scenario;
#[cfg(feature = "serve")]
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod simulate;
pub(crate) mod targets;
mod times;
pub(crate) mod version;
pub(crate) mod views;
