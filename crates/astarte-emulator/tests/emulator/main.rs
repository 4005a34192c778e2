//! The emulator as a whole, over its sockets: what its APIs, its broker and its triggers do.

mod app_engine;
mod mqtt;
mod pairing;
mod real_devices;
mod realm_management;
mod recording;
mod support;
mod triggers;
