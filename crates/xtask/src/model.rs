//! Runs the model checking of the campaign's state machine
//! (`crates/core/tests/model_check/main.rs`) within bounds that are too large for a test without
//! optimisation.

use std::path::Path;

use crate::external::{External, ExternalError};

/// About a minute on two cores.
pub(crate) fn check(root: &Path) -> Result<(), ExternalError> {
    larger_bounds(root).run()
}

/// What [`check`] runs.
pub(crate) fn larger_bounds(root: &Path) -> External {
    within(root, "larger_bounds")
}

/// Many minutes, and gigabytes of memory.
pub(crate) fn check_deep(root: &Path) -> Result<(), ExternalError> {
    within(root, "deep_bounds").run()
}

fn within(root: &Path, bounds: &str) -> External {
    External::cargo(["test", "--release", "--package", "hedgerow-core", "--test", "model_check"])
        .arguments(["--", "--ignored", "--nocapture", bounds])
        .directory(root)
}
