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
    for run in RUNS {
        simulate(root, run).run()?;
    }
    Ok(())
}

/// The first of the runs, with its outcome as JSON.
pub(crate) fn as_json(root: &Path) -> External {
    simulate(root, RUNS[0]).arguments(["--json"])
}

/// As the tests are built: building once more, for release, takes longer than it would gain.
fn simulate(root: &Path, arguments: &[&str]) -> External {
    External::cargo(["run", "--quiet", "--package", "hedgerow", "--", "simulate"])
        .arguments(arguments.iter().copied())
        .directory(root)
}
