//! Simulates one seed after the other until an invariant does not hold, and prints as JSON how many
//! it took: `cargo run -p hedgerow-sim --example first_failure -- 500`.
//!
//! The project's sabotage check runs it on sources with a deliberate defect.

use std::process::ExitCode;

use hedgerow_sim::simulate::{MemoryStorage, Profile, Setup, SimulateError, Violation, simulate};
use serde_json::json;

fn main() -> ExitCode {
    let seeds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let Some(seeds) = seeds else {
        eprintln!("usage: first_failure SEEDS");
        return ExitCode::from(2);
    };
    match first_failure(seeds) {
        Ok((tried, failure)) => {
            let failure = failure.map(
                |(seed, violation)| json!({ "seed": seed, "invariant": violation.invariant.name() }),
            );
            println!("{}", json!({ "tried": tried, "failure": failure }));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How many seeds were run, and the first that failed.
fn first_failure(seeds: u64) -> Result<(u64, Option<(u64, Violation)>), SimulateError> {
    let mut storage = MemoryStorage::default();
    for seed in 0..seeds {
        let report = simulate(&Setup::new(seed, Profile::mixed(seed)), &mut storage)?;
        if let Some(violation) = report.violation {
            return Ok((seed + 1, Some((seed, violation))));
        }
    }
    Ok((seeds, None))
}
