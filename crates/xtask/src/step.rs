//! The steps of `cargo xtask test`: what each runs, in which order, and how its end is reported.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::book::{self, BookError};
use crate::dependencies::{self, DependencyError};
use crate::external::{External, ExternalError};
use crate::fuzz::{self, FuzzError};
use crate::guarantees::{self, GuaranteesError};
use crate::instructions::{self, InstructionsError};
use crate::licenses;
use crate::model;
use crate::msrv::{self, MsrvError};
use crate::packages::{self, PackageError};
use crate::public_api::{self, PublicApiError};
use crate::python_device::{self, PythonError};
use crate::report;
use crate::s3::{self, S3Error};
use crate::sabotage::{self, SabotageError};
use crate::simulate;
use crate::usage;

/// The folders of all workspaces: what is not to be built with the rest has its own.
const WORKSPACES: [&str; 6] = [
    "",
    "fuzz",
    "benches",
    "benches/instructions",
    "benches/libraries/cqrs-es",
    "benches/libraries/eventcore",
];

/// One check of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Format,
    Dependencies,
    Msrv,
    Packages,
    Clippy,
    Tests,
    PythonDevice,
    S3,
    Docs,
    Book,
    Api,
    Instructions,
    Model,
    Simulate,
    Sabotage,
    Fuzz,
    Guarantees,
    Licenses,
}

/// Why a step did not pass.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    #[error(transparent)]
    External(#[from] ExternalError),
    #[error(transparent)]
    Dependencies(#[from] DependencyError),
    #[error(transparent)]
    Msrv(#[from] MsrvError),
    #[error(transparent)]
    Packages(#[from] PackageError),
    #[error(transparent)]
    Book(#[from] BookError),
    #[error(transparent)]
    PublicApi(#[from] PublicApiError),
    #[error(transparent)]
    Python(#[from] PythonError),
    #[error(transparent)]
    S3(#[from] S3Error),
    #[error(transparent)]
    Fuzz(#[from] FuzzError),
    #[error(transparent)]
    Guarantees(#[from] GuaranteesError),
    #[error(transparent)]
    Sabotage(#[from] SabotageError),
    #[error(transparent)]
    Instructions(#[from] InstructionsError),
    #[error("step `{name}` failed after {time}: {cause}\nTo run it alone: cargo xtask {name}", time = seconds(*elapsed))]
    Step { name: &'static str, elapsed: Duration, cause: Box<Failure> },
}

impl Step {
    /// In the order of running: what is fast or fails most often comes first.
    pub(crate) const ALL: [Self; 18] = [
        Self::Format,
        Self::Dependencies,
        Self::Msrv,
        Self::Packages,
        Self::Clippy,
        Self::Tests,
        Self::PythonDevice,
        Self::S3,
        Self::Docs,
        Self::Book,
        Self::Api,
        Self::Instructions,
        Self::Model,
        Self::Simulate,
        Self::Sabotage,
        Self::Fuzz,
        Self::Guarantees,
        Self::Licenses,
    ];

    /// The sub-command that runs this step alone.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Format => "fmt",
            Self::Dependencies => "dependencies",
            Self::Msrv => "msrv",
            Self::Packages => "packages",
            Self::Clippy => "clippy",
            Self::Tests => "tests",
            Self::PythonDevice => "python-device",
            Self::S3 => "s3",
            Self::Docs => "docs",
            Self::Book => "book",
            Self::Api => "api",
            Self::Instructions => "instructions",
            Self::Model => "model",
            Self::Simulate => "simulate",
            Self::Sabotage => "sabotage",
            Self::Fuzz => "fuzz",
            Self::Guarantees => "guarantees",
            Self::Licenses => "licenses",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Format => "The code is formatted",
            Self::Dependencies => "Crates depend only on what the design allows",
            Self::Msrv => "No dependency demands a newer Rust than is stated",
            Self::Packages => "The crates are ready for crates.io",
            Self::Clippy => "No lint has anything to say",
            Self::Tests => "The tests pass",
            Self::PythonDevice => "A device on the published Python SDK works with the emulator",
            Self::S3 => "Images in a bucket work with an S3 server",
            Self::Docs => "The documentation builds without warnings",
            Self::Book => "The book builds, and what it refers to is there",
            Self::Api => "The public API is as listed",
            Self::Instructions => "The hot paths take no more instructions than recorded",
            Self::Model => "The promises hold in every order of what can happen",
            Self::Simulate => "No fleet under faults breaks an invariant",
            Self::Sabotage => "The simulation finds every defect that is planted",
            Self::Fuzz => "What is read from outside stands short fuzzing",
            Self::Guarantees => "The page of guarantees names what there is",
            Self::Licenses => "Dependencies have acceptable licences and origins",
        }
    }

    fn run(self, root: &Path) -> Result<(), Failure> {
        match self {
            Self::Format => {
                for workspace in WORKSPACES {
                    External::cargo(["fmt", "--all", "--check"])
                        .directory(&root.join(workspace))
                        .run()?;
                }
            }
            Self::Dependencies => dependencies::check(root)?,
            Self::Msrv => msrv::check(root)?,
            Self::Packages => packages::check(root)?,
            Self::Clippy => {
                // What the other workspaces have beside these is built by steps of their own, or by
                // the benchmarks.
                for workspace in ["", "benches"] {
                    External::cargo(["clippy", "--workspace", "--all-targets", "--all-features"])
                        .path_argument("--target-dir", &root.join("target"))
                        .arguments(["--", "-D", "warnings"])
                        .directory(&root.join(workspace))
                        .run()?;
                }
            }
            Self::Tests => {
                External::cargo(["test", "--workspace"]).directory(root).run()?;
                // What the command has with its features; of the whole workspace, so that no
                // dependency is built anew.
                External::cargo(["test", "--workspace", "--features", "hedgerow/full"])
                    .arguments(["--bin", "hedgerow"])
                    .arguments(["--test", "astarte_install_command", "--test", "simulate_command"])
                    .arguments(["--test", "serve_command"])
                    .directory(root)
                    .run()?;
                // Its locks are others, so that nothing else can be built with it.
                External::cargo(["test", "--workspace", "--test", "schedules"])
                    .arguments(["--features", "hedgerow-engine/schedules"])
                    .directory(root)
                    .run()?;
            }
            Self::PythonDevice => python_device::check(root)?,
            Self::S3 => s3::check(root)?,
            Self::Docs => External::cargo(["doc", "--workspace", "--no-deps", "--all-features"])
                .environment("RUSTDOCFLAGS", "-D warnings")
                .directory(root)
                .run()?,
            Self::Api => public_api::check(root)?,
            Self::Instructions => instructions::check(root)?,
            Self::Model => model::check(root)?,
            Self::Simulate => simulate::check(root)?,
            Self::Sabotage => sabotage::check(root)?,
            Self::Fuzz => fuzz::check(root)?,
            Self::Book => book::check(root)?,
            Self::Guarantees => guarantees::check(root)?,
            Self::Licenses => licenses::check(root)?,
        }
        Ok(())
    }
}

/// Runs the steps in order and stops at the first that fails; says what each took, and at the end
/// what `target` holds.
pub(crate) fn run_all(steps: &[Step], root: &Path) -> Result<(), Failure> {
    let start = Taken::now();
    let count = steps.len();
    let mut table = String::new();
    for (index, step) in steps.iter().enumerate() {
        let name = step.name();
        report::line(&format!("\n== {}/{count} {name}: {}", index + 1, step.title()));
        let step_start = Taken::now();
        step.run(root).map_err(|cause| Failure::Step {
            name,
            elapsed: step_start.clock.elapsed(),
            cause: Box::new(cause),
        })?;
        let taken = step_start.shown();
        report::line(&format!("== {name} passed in {taken}"));
        table = format!("{table}\n  {name:<14} {taken}");
    }
    if count > 1 {
        report::line(&table);
    }
    let steps = if count == 1 { "step" } else { "steps" };
    report::line(&format!("\nall {count} {steps} passed in {}", start.shown()));
    let bytes = usage::bytes_on_disk(&root.join("target"));
    report::line(&format!(
        "target holds {}.{} GB",
        bytes / 1_000_000_000,
        bytes / 100_000_000 % 10
    ));
    Ok(())
}

/// A moment, to say afterwards what was taken since.
struct Taken {
    clock: Instant,
    processor: Option<Duration>,
}

impl Taken {
    fn now() -> Self {
        Self { clock: Instant::now(), processor: usage::processor_time() }
    }

    fn shown(&self) -> String {
        let clock = seconds(self.clock.elapsed());
        match (self.processor, usage::processor_time()) {
            (Some(before), Some(now)) => {
                format!("{clock}, {} of processor time", seconds(now.saturating_sub(before)))
            }
            _ => clock,
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_says_which_command_failed_and_how_to_run_it_alone() {
        let cause = External::program(Path::new("no-such-program")).run();
        let message = cause.map_err(|cause| {
            let cause = Box::new(cause.into());
            Failure::Step { name: "clippy", elapsed: Duration::from_millis(1260), cause }
                .to_string()
        });
        assert!(
            message.as_ref().is_err_and(|text| {
                text.starts_with("step `clippy` failed after 1.3s: `no-such-program`")
                    && text.ends_with("\nTo run it alone: cargo xtask clippy")
            }),
            "{message:?}"
        );
    }
}
