//! A script of what a device and a backend send to the Astarte emulator: raw bytes and messages of
//! MQTT, with BSON, lists of properties and introspections in them, and requests to its APIs. No
//! panic, and nothing that is kept grows beyond its limit.

#![no_main]

use std::cell::LazyCell;

use hedgerow_astarte_emulator::fuzzing::Bench;
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// Its keys take a moment to make; each script begins with an empty realm all the same.
    static BENCH: LazyCell<Bench> = LazyCell::new(|| Bench::new().expect("an emulator"));
}

fuzz_target!(|script: &[u8]| BENCH.with(|bench| bench.perform(script)));
