//! Tries whole fleets under faults with `hedgerow simulate`, as every build does: many seeds, some
//! of them twice to compare their logs byte for byte, and a few on `SQLite` files.

use std::path::Path;

use crate::external::{External, ExternalError};

/// What is tried, in this order.
const RUNS: [&[&str]; 3] = [
    &["--seeds", "0..2000", "--profile", "mixed"],
    &["--seeds", "2000..2100", "--profile", "mixed", "--twice"],
    &["--seeds", "0..4", "--profile", "hostile", "--store", "sqlite"],
];

pub(crate) fn check(root: &Path) -> Result<(), ExternalError> {
    for run in RUNS {
        // As the tests are built: building once more, for release, takes longer than it would gain.
        External::cargo(["run", "--quiet", "--package", "hedgerow", "--", "simulate"])
            .arguments(run.iter().copied())
            .directory(root)
            .run()?;
    }
    Ok(())
}
