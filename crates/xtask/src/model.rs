//! Runs the model checking of the campaign's state machine
//! (`crates/core/tests/model_check/main.rs`) within bounds that take too long for a test
//! that everybody runs.

use std::path::Path;

use crate::external::{External, ExternalError};

/// As the tests are built, with debug assertions and little optimisation: building once more, for
/// release, takes as long as it would gain.
pub(crate) fn check(root: &Path) -> Result<(), ExternalError> {
    larger_bounds(root).run()
}

/// What [`check`] runs.
pub(crate) fn larger_bounds(root: &Path) -> External {
    External::cargo(["test", "--workspace", "--test", "model_check"])
        .arguments(within("larger_bounds"))
        .directory(root)
}

/// Many minutes, and gigabytes of memory.
pub(crate) fn check_deep(root: &Path) -> Result<(), ExternalError> {
    External::cargo(["test", "--release", "--package", "hedgerow-core", "--test", "model_check"])
        .arguments(within("deep_bounds"))
        .directory(root)
        .run()
}

fn within(bounds: &str) -> [&str; 4] {
    ["--", "--ignored", "--nocapture", bounds]
}
