//! Bytes as a profile file of the simulator: no panic, an error says something, and a profile that
//! was read is written and reads back the same.

#![no_main]

use hedgerow_sim::simulate::Profile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Profile::from_json(bytes) {
        Ok(profile) => {
            assert!((1..=1_440).contains(&profile.minutes));
            assert!(profile.faults.values().all(|rate| *rate <= 1_000));
            let written = serde_json::to_vec(&profile).expect("a profile is JSON");
            let again = Profile::from_json(&written).expect("what was written can be read");
            assert_eq!(again, profile);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
