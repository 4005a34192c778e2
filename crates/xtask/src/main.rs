//! The project's own commands, so that a contributor and a build server run the same checks in the
//! same way: `cargo xtask test` passes them all.

mod book;
mod dependencies;
mod external;
mod fuzz;
mod guarantees;
mod instructions;
mod licenses;
mod model;
mod msrv;
mod mutants;
mod packages;
mod public_api;
mod python_device;
mod real_processes;
mod report;
mod s3;
mod sabotage;
mod simulate;
mod step;
mod tool;
mod usage;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::external::workspace_root;
use crate::step::{Failure, Step};

/// Runs the tests and checks of the project.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: ProjectCommand,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask test           Everything that has to pass before a change is merged
  cargo xtask dependencies   Only the rule about which crate may depend on which
  cargo xtask clippy         Only the lints, as `cargo xtask test` runs them
  cargo xtask api --update   Record the public API after a change of it that is meant";

#[derive(Subcommand)]
enum ProjectCommand {
    /// Pass every test and check, in order; stop at the first that fails
    Test,
    /// Check that the code is formatted
    #[command(name = "fmt", visible_alias = "format")]
    Format,
    /// Check which crate depends on which
    Dependencies,
    /// Check that no dependency demands a newer Rust than is stated
    Msrv,
    /// Check that the crates are ready for crates.io; publishes nothing
    Packages,
    /// Check the lints
    Clippy,
    /// Run the unit, integration and documentation tests
    Tests,
    /// Try a device on the Python SDK, which is installed into target/ the first time
    PythonDevice,
    /// Try images in buckets on an S3 server, which is installed into target/ the first time
    S3,
    /// Build the documentation; warnings are errors
    Docs,
    /// Build the book in docs/ into target/book and check its links
    Book {
        /// Write anew what the book takes from the code and from the command, instead
        #[arg(long)]
        update: bool,
    },
    /// Compare the public API of the libraries with its listing in docs/api
    Api {
        /// Write the listing anew instead
        #[arg(long)]
        update: bool,
    },
    /// Count the instructions of the hot paths and compare with benches/instructions/figures.json
    Instructions {
        /// Record what is counted instead
        #[arg(long)]
        update: bool,
    },
    /// Try every order of what can happen to a campaign, within small bounds
    Model {
        /// Larger bounds: many minutes, and gigabytes of memory
        #[arg(long)]
        deep: bool,
    },
    /// Try thousands of whole fleets under faults, and some of them twice
    Simulate,
    /// Try every fuzz target for some seconds
    Fuzz,
    /// Check the licences and the origin of every dependency
    Licenses,
    /// Compare docs/guarantees.md with the checks that there are
    Guarantees {
        /// Run the tools, which takes many minutes, and write the page anew
        #[arg(long)]
        update: bool,
        /// Run only the real processes, and write the page anew with the other numbers as they are
        #[arg(long, conflicts_with = "update")]
        processes: bool,
        /// Plant the defects only, and write the page anew with the other numbers as they are
        #[arg(long, conflicts_with_all = ["update", "processes"])]
        defects: bool,
        /// Write the page anew from the numbers of the last run
        #[arg(long, conflicts_with_all = ["update", "processes", "defects"])]
        page: bool,
    },
    /// Plant small defects in the core, one after the other; its tests should notice each
    Mutants(mutants::Options),
    /// Plant deliberate defects in a copy of the sources; the simulation must find each
    Sabotage {
        /// Only the defects whose names contain this
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// How many seeds each defect may need
        #[arg(long, default_value_t = sabotage::SEEDS)]
        seeds: u32,
        /// Only those that the simulation finds, as `cargo xtask test` does
        #[arg(long)]
        simulation: bool,
    },
}

impl ProjectCommand {
    /// Does what the command says, in the workspace with this root.
    fn run(&self, root: &Path) -> Result<(), Failure> {
        match self {
            Self::Book { update: true } => book::update(root),
            Self::Api { update: true } => Ok(public_api::update(root)?),
            Self::Mutants(options) => Ok(mutants::run(root, options)?),
            Self::Sabotage { only, seeds, simulation } => {
                let (only, seeds) = (only.clone(), *seeds);
                sabotage::run(root, &sabotage::Options { only, seeds, tests: !simulation })
            }
            Self::Guarantees { update: true, .. } => Ok(guarantees::update(root)?),
            Self::Guarantees { processes: true, .. } => Ok(guarantees::update_processes(root)?),
            Self::Guarantees { defects: true, .. } => Ok(guarantees::update_sabotage(root)?),
            Self::Guarantees { page: true, .. } => Ok(guarantees::rewrite(root)?),
            Self::Model { deep: true } => Ok(model::check_deep(root)?),
            Self::Instructions { update: true } => Ok(instructions::update(root)?),
            _ => step::run_all(self.steps(), root),
        }
    }

    fn steps(&self) -> &'static [Step] {
        match self {
            Self::Test => &Step::ALL,
            Self::Format => &[Step::Format],
            Self::Dependencies => &[Step::Dependencies],
            Self::Msrv => &[Step::Msrv],
            Self::Packages => &[Step::Packages],
            Self::Clippy => &[Step::Clippy],
            Self::Tests => &[Step::Tests],
            Self::PythonDevice => &[Step::PythonDevice],
            Self::S3 => &[Step::S3],
            Self::Docs => &[Step::Docs],
            Self::Book { .. } => &[Step::Book],
            Self::Api { .. } => &[Step::Api],
            Self::Instructions { .. } => &[Step::Instructions],
            Self::Model { .. } => &[Step::Model],
            Self::Simulate => &[Step::Simulate],
            Self::Fuzz => &[Step::Fuzz],
            Self::Licenses => &[Step::Licenses],
            Self::Guarantees { .. } => &[Step::Guarantees],
            Self::Sabotage { .. } => &[Step::Sabotage],
            Self::Mutants(_) => &[],
        }
    }
}

fn main() -> ExitCode {
    if public_api::is_rustdoc() {
        return public_api::as_rustdoc();
    }
    // Asked for its own sake: what is found now is found later too. A failure is told when it matters.
    let _ = public_api::this_program();
    let arguments = Arguments::parse();
    let outcome = workspace_root().and_then(|root| arguments.command.run(&root));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::error(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_step_is_a_command_of_its_own() {
        for step in Step::ALL {
            let arguments = Arguments::try_parse_from(["xtask", step.name()])
                .unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(arguments.command.steps(), &[step]);
        }
    }
}
