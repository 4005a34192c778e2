//! `hedgerow serve`: the whole service, from a configuration file, or with a small world of its own
//! to be tried out.

mod demo;
mod furnish;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use hedgerow_astarte::provisioning::{InstallError, InstallSettingsError};
use hedgerow_astarte::{ApiError, SettingsError, TokenError};
use hedgerow_astarte_emulator::{HookError, KeyError, StartError as EmulatorError};
use hedgerow_catalogue::CatalogueError;
use hedgerow_catalogue::files::FileError;
use hedgerow_engine::EngineError;
use hedgerow_service::logs::{self, LogError};
use hedgerow_service::{Config, ConfigError, Service, StartError};
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::output;

/// Serve campaigns, images and devices over GraphQL: a service, or a demonstration of one
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow serve --demo
  hedgerow serve --example > hedgerow.toml
  hedgerow serve --config hedgerow.toml --check-config
  hedgerow serve --config hedgerow.toml

--demo runs an Astarte emulator and devices on the real device SDK in this process, on this machine
alone, and forgets them when it ends. Look at it with `hedgerow campaign watch`, in another terminal.
SIGTERM and Ctrl-C stop the service when what is under way has ended.

Exit status: 0 stopped, or --check-config found nothing wrong, 2 wrong usage or a configuration that
cannot be used, 3 the service could not be started.")]
#[command(group = clap::ArgGroup::new("what").args(["config", "demo", "example"]).required(true))]
// Each is a word of the command line.
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct ServeArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look at everything in the configuration file, and start nothing
    #[arg(long, requires = "config")]
    check_config: bool,
    /// A small world to try things out in
    #[arg(long)]
    demo: bool,
    /// Print a configuration file that has every key with what it means
    #[arg(long)]
    example: bool,
    /// How many devices the demonstration has
    #[arg(long, value_name = "N", default_value_t = 36, requires = "demo", value_parser = clap::value_parser!(u32).range(1..=500))]
    devices: u32,
    /// Where the demonstration listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4080", requires = "demo")]
    listen: SocketAddr,
    /// Where the demonstration keeps what it records; a folder that is removed at the end, if left out
    #[arg(long, value_name = "FOLDER", requires = "demo")]
    data: Option<PathBuf>,
    /// Another seed makes other devices
    #[arg(long, value_name = "N", default_value_t = 1, requires = "demo")]
    seed: u64,
    /// Let every update of the demonstration go well; a few in a hundred fail otherwise, as they do
    #[arg(long, requires = "demo")]
    no_faults: bool,
    /// Let the demonstration begin without a campaign
    #[arg(long, requires = "demo")]
    no_campaign: bool,
}

#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("log.{0}")]
    Log(#[from] LogError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{} has a store already, whose devices are gone: give another folder", .0.display())]
    Exists(PathBuf),
    #[error(
        "--listen {0}: the demonstration asks nobody who they are, so give an address of this machine alone, such as 127.0.0.1:4081"
    )]
    NotLoopback(SocketAddr),
    #[error("the emulator could not be started: {0}")]
    Emulator(#[from] EmulatorError),
    #[error("the emulator refused: {0}")]
    Hook(#[from] HookError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    InstallSettings(#[from] InstallSettingsError),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Files(#[from] FileError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

pub(crate) fn run(args: &ServeArgs) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may listen.
            let _ = writeln!(io::stderr(), "error: {error}");
            let is_usage = matches!(
                error,
                ServeError::Config(_)
                    | ServeError::Log(_)
                    | ServeError::Exists(_)
                    | ServeError::NotLoopback(_)
            );
            ExitCode::from(if is_usage { 2 } else { 3 })
        }
    }
}

fn serve(args: &ServeArgs) -> Result<(), ServeError> {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
    if args.example {
        return Ok(output::print(|out| out.write_all(hedgerow_service::EXAMPLE.as_bytes()))?);
    }
    let Some(file) = &args.config else { return runtime()?.block_on(demo::run(args)) };
    let config = Config::read(file)?;
    let setup = config.check(file)?;
    if args.check_config {
        let _ = writeln!(io::stdout(), "{} can be used", file.display());
        return Ok(());
    }
    logs::begin(&config.log)?;
    runtime()?.block_on(async {
        // Before anything is there that a signal could end halfway.
        let stop = stop()?;
        let service = Service::start(setup).await?;
        say_where(&service);
        service.run(stop).await;
        Ok(())
    })
}

/// For whoever starts it and does not know which port the system chose.
fn say_where(service: &Service) {
    let _ = writeln!(io::stdout(), "listening on {}", service.address());
    let _ = io::stdout().flush();
}

/// Ends when the process is told to stop.
fn stop() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    })
}
