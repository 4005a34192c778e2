//! What one input leads to: exactly these events and these effects. The first test to read, and the
//! first to look at after a change: `cargo insta review` shows what it changed.
//!
//! One module for each kind of input, and one file in `snapshots/` with what comes of it.

mod answers;
mod batch;
mod commands;
mod given;
mod returns;
mod snapshot;
mod time;
mod world;
