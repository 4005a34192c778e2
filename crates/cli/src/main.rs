//! The `hedgerow` command: see a campaign run, run scenarios, ask version questions, read and audit
//! logs.

mod commands;

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Parser, Subcommand};

#[cfg(feature = "astarte")]
use crate::commands::astarte;
#[cfg(feature = "serve")]
use crate::commands::client::{
    campaign::{CampaignArgs, campaign},
    fleet::{ChannelArgs, GroupArgs, channel, group},
    image::{ImageArgs, image},
    model::{ModelArgs, model},
    token::{TokenArgs, token},
};
#[cfg(not(feature = "astarte"))]
use crate::commands::left_out::astarte;
#[cfg(not(feature = "serve"))]
use crate::commands::left_out::serve::{
    self, CampaignArgs, ChannelArgs, GroupArgs, ImageArgs, ModelArgs, TokenArgs, campaign, channel,
    group, image, model, token,
};
#[cfg(feature = "serve")]
use crate::commands::serve;
use crate::commands::{
    archive, audit, backup, campaigns, demo, device, log, prune, scenario, show, simulate, targets,
    version, views,
};

/// The version of the command, and of the zones that are built into it.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!("{} (zones {})", env!("CARGO_PKG_VERSION"), hedgerow_core::zone_data_version())
});

/// Rolls OTA updates out to fleets of devices, and shows how
#[derive(Parser)]
#[command(name = "hedgerow", version = VERSION.as_str(), arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Scenario(scenario::ScenarioArgs),
    Simulate(simulate::SimulateArgs),
    Log(log::LogArgs),
    Show(show::ShowArgs),
    Campaigns(campaigns::CampaignsArgs),
    Targets(targets::TargetsArgs),
    Device(device::DeviceArgs),
    Views(views::ViewsArgs),
    Audit(audit::AuditArgs),
    Archive(archive::ArchiveArgs),
    Prune(prune::PruneArgs),
    Import(archive::ImportArgs),
    Backup(backup::BackupArgs),
    Version(version::VersionArgs),
    Astarte(astarte::AstarteArgs),
    Serve(serve::ServeArgs),
    Campaign(CampaignArgs),
    Model(ModelArgs),
    Image(ImageArgs),
    Group(GroupArgs),
    Channel(ChannelArgs),
    Token(TokenArgs),
}

/// Events are read on one thread and freed on another, which costs the system's allocator a fifth of
/// the time in which rows are made (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Scenario(args) => scenario::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Log(args) => log::log(&args),
        Command::Show(args) => show::show(&args),
        Command::Campaigns(args) => campaigns::campaigns(&args),
        Command::Targets(args) => targets::targets(&args),
        Command::Device(args) => device::device(&args),
        Command::Views(args) => views::views(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Archive(args) => archive::archive(&args),
        Command::Prune(args) => prune::prune(&args),
        Command::Import(args) => archive::import(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Version(args) => version::run(args),
        Command::Astarte(args) => astarte::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Campaign(args) => campaign(&args),
        Command::Model(args) => model(&args),
        Command::Image(args) => image(&args),
        Command::Group(args) => group(&args),
        Command::Channel(args) => channel(&args),
        Command::Token(args) => token(&args),
    }
}
