//! Simulates one seed after the other until an invariant does not hold, and prints as JSON how many
//! it took, and what an audit of its log alone finds: `cargo run -p hedgerow-sim --example first_failure -- 500`.
//!
//! The project's sabotage check runs it on sources with a deliberate defect.

use std::process::ExitCode;

use hedgerow_sim::simulate::{
    Invariant, MemoryStorage, Profile, Setup, SimulateError, Storage, audit, simulate,
};
use serde_json::json;

fn main() -> ExitCode {
    let seeds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let Some(seeds) = seeds else {
        eprintln!("usage: first_failure SEEDS");
        return ExitCode::from(2);
    };
    match first_failure(seeds) {
        Ok((tried, failure)) => {
            let failure = failure.map(|Failure { seed, invariant, in_log }| {
                let in_log = in_log.map(Invariant::name);
                json!({ "seed": seed, "invariant": invariant.name(), "in_log": in_log })
            });
            println!("{}", json!({ "tried": tried, "failure": failure }));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Failure {
    seed: u64,
    invariant: Invariant,
    /// What the log alone shows.
    in_log: Option<Invariant>,
}

/// How many seeds were run, and the first that failed.
fn first_failure(seeds: u64) -> Result<(u64, Option<Failure>), SimulateError> {
    let mut storage = MemoryStorage::default();
    for seed in 0..seeds {
        let report = simulate(&Setup::new(seed, Profile::mixed(seed)), &mut storage)?;
        if let Some(violation) = report.violation {
            let audited = audit(&*storage.open()?, &mut |_events| {})?;
            let in_log = audited.findings.first().map(|finding| finding.invariant);
            return Ok((seed + 1, Some(Failure { seed, invariant: violation.invariant, in_log })));
        }
    }
    Ok((seeds, None))
}
