//! Deterministic simulation: fleets of devices that behave as real ones do, in virtual time.
//!
//! Everything here follows from a seed and from the inputs: no clock, no thread, no chance from
//! outside. The same seed replays the same run on every machine and in every later version.

pub mod blocking;
pub mod device;
pub mod fleet;
pub mod fleet_run;
pub mod platform;
pub mod random;
pub mod runtime;
pub mod scenario;
pub mod simulate;
