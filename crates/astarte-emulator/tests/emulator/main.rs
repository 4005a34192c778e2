//! The emulator as a whole, over its sockets: what its APIs, its broker and its triggers do.

#![allow(
    clippy::needless_pass_by_value,
    reason = "JSON is written where it is passed, so references would be noise"
)]
#![allow(clippy::similar_names, reason = "`receiver` and what it `received` are good names")]

mod app_engine;
mod mqtt;
mod pairing;
mod program;
mod python_device;
mod real_devices;
mod realm_management;
mod recording;
mod support;
mod triggers;
