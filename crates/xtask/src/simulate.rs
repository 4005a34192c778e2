//! Tries whole fleets under faults with `hedgerow simulate`, as every build does: many seeds, some
//! of them twice to compare their logs byte for byte, a few on `SQLite` files, and fleets of 200,
//! 2,000 and more than 10,000 devices.

use std::path::Path;

use crate::external::{External, ExternalError};

/// The seeds that are tried, and that `docs/guarantees.md` tells of.
pub(crate) const SEEDS: &str = "0..2000";

/// What is tried, in this order.
const RUNS: [&[&str]; 6] = [
    &["--seeds", SEEDS, "--profile", "mixed"],
    &["--seeds", "2000..2100", "--profile", "mixed", "--twice"],
    &["--seeds", "0..4", "--profile", "hostile", "--store", "sqlite"],
    &["--seeds", "3000..3030", "--profile", "mixed", "--devices", "200", "--campaigns", "6"],
    &["--seeds", "4000..4003", "--profile", "mixed", "--devices", "2000", "--campaigns", "6"],
    // More targets than one chunk of a snapshot has.
    &["--seeds", "5000..5001", "--profile", "calm", "--devices", "17500", "--campaigns", "1"],
];

pub(crate) fn check(root: &Path) -> Result<(), ExternalError> {
    build(root)?;
    for run in RUNS {
        simulate(root, run).run()?;
    }
    Ok(())
}

/// The first of the runs, with its outcome as JSON.
pub(crate) fn as_json(root: &Path) -> Result<String, ExternalError> {
    build(root)?;
    simulate(root, RUNS[0]).arguments(["--json"]).read()
}

/// Builds the command as the tests of the workspace do, which have it built already: building it
/// alone would build most dependencies once more, with fewer features, and building it for release
/// takes longer than it would gain.
fn build(root: &Path) -> Result<(), ExternalError> {
    External::cargo(["test", "--quiet", "--workspace", "--no-run", "--test", "simulate_command"])
        .directory(root)
        .run()
}

fn simulate(root: &Path, arguments: &[&str]) -> External {
    let program = format!("hedgerow{}", std::env::consts::EXE_SUFFIX);
    External::program(&root.join("target").join("debug").join(program))
        .arguments(["simulate"])
        .arguments(arguments.iter().copied())
        .directory(root)
}
