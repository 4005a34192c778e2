//! Plants one small defect after the other in the core and runs its tests, with cargo-mutants, whose
//! settings are in `.cargo/mutants.toml`: a defect that no test notices is a gap in the tests. No
//! part of `cargo xtask test`, as the whole of it takes hours; a share of it says as much about the
//! rest.

use std::path::Path;

use crate::external::{External, ExternalError};
use crate::tool::Tool;

const CARGO_MUTANTS: Tool = Tool { name: "cargo-mutants", version: "27.1.0" };

/// Which of the defects to plant.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only every so many-th defect, such as 0/8, 1/8, ... 7/8: together they are all
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Only defects whose description matches, such as a file's name or a function's
    #[arg(long, value_name = "REGEX")]
    only: Option<String>,
    /// How many to try at once
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    jobs: u16,
}

/// Runs cargo-mutants, after installing it if need be. What it finds stays in
/// `target/mutants/mutants.out`.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), ExternalError> {
    let jobs = options.jobs.to_string();
    let mut command = External::program(&CARGO_MUTANTS.find_or_install(root)?)
        .arguments(["mutants", "--package", "hedgerow-core"])
        .arguments(["--jobs", &jobs])
        .path_argument("--output", &root.join("target").join("mutants"));
    if let Some(shard) = &options.shard {
        command = command.arguments(["--shard", shard, "--sharding", "round-robin"]);
    }
    if let Some(only) = &options.only {
        command = command.arguments(["--re", only]);
    }
    // Enough of each law to notice what is wrong often, and little enough for a thousand runs.
    command.environment("PROPTEST_CASES", "100").directory(root).run()
}
