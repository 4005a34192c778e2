//! `hedgerow astarte`: sets up an Astarte realm for updates.

mod install;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Set an Astarte realm up for updates
#[derive(Args)]
pub(crate) struct AstarteArgs {
    #[command(subcommand)]
    command: AstarteCommand,
}

#[derive(Subcommand)]
enum AstarteCommand {
    Install(install::InstallArgs),
}

pub(crate) fn run(args: &AstarteArgs) -> ExitCode {
    match &args.command {
        AstarteCommand::Install(args) => install::run(args),
    }
}
