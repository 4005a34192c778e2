//! Bytes as a scenario file: no panic, an error says something, and who reads a scenario again from
//! its JSON gets the same one.

#![no_main]

use hedgerow_sim::scenario::format::Scenario;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Scenario::read(bytes) {
        Ok(scenario) => {
            let value: serde_json::Value =
                serde_json::from_slice(bytes).expect("a scenario is JSON");
            assert_eq!(Scenario::from_value(&value).as_ref(), Ok(&scenario));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
