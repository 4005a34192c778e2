//! The `hedgerow` command: see a campaign run, run scenarios, ask version questions, read logs.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::{demo, log, scenario, version};

/// Rolls OTA updates out to fleets of devices, and shows how
#[derive(Parser)]
#[command(name = "hedgerow", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Scenario(scenario::ScenarioArgs),
    Log(log::LogArgs),
    Show(log::ShowArgs),
    Version(version::VersionArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Scenario(args) => scenario::run(&args),
        Command::Log(args) => log::log(&args),
        Command::Show(args) => log::show(&args),
        Command::Version(args) => version::run(args),
    }
}
