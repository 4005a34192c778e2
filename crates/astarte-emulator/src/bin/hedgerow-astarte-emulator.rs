//! The emulator as a program: starts it, tells where everything is, and runs until it is interrupted.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use hedgerow_astarte_emulator::{
    Emulator, EmulatorBuilder, HookError, InterfaceError, KeyError, RealmKeys, StartError,
};
use tracing_subscriber::EnvFilter;

/// A small Astarte in one process: pairing, MQTT over TLS, AppEngine, Realm Management, HTTP triggers.
///
/// Everything is kept in memory and gone at the end; keys are written to a directory and used again.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// A realm to have; can be given more than once.
    #[arg(long = "realm", value_name = "NAME", default_value = "test")]
    realms: Vec<String>,
    /// An interface to install in every realm, or a directory whose *.json are such; can be given
    /// more than once.
    #[arg(long = "interface", value_name = "PATH")]
    interfaces: Vec<PathBuf>,
    /// Where the HTTP APIs listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4000")]
    http: SocketAddr,
    /// Where the MQTT broker listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8883")]
    mqtt: SocketAddr,
    /// The name or address under which devices and backends reach this machine.
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    host: String,
    /// Where the certificate of the authority, the realms' keys and a token each are written; keys
    /// that are there already are used.
    #[arg(long, value_name = "DIRECTORY", default_value = "astarte-emulator")]
    directory: PathBuf,
    /// The seed of random faults.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Let the capacity and the time to live of delivery policies have an effect, which Astarte 1.3
    /// does not.
    #[arg(long)]
    enforce_policy_limits: bool,
    /// How many trigger engines consume each queue; with more than one, events overtake each other.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    trigger_engines: usize,
    /// The version of Astarte to play: before 1.3 there are no triggers about registered and deleted
    /// devices, before 1.1.1 no delivery policies.
    #[arg(long, value_name = "VERSION", default_value = "1.3.0")]
    astarte_version: String,
    /// Set every realm up as Edgehog does, with triggers that deliver to this URL.
    #[arg(long, value_name = "URL")]
    edgehog: Option<String>,
    /// Do not serve the endpoint for faults at /emulator, which asks for no token.
    #[arg(long)]
    no_admin: bool,
}

const EXAMPLES: &str = "\
Examples:
  hedgerow-astarte-emulator --interface interfaces/
  curl -H \"Authorization: Bearer $(cat astarte-emulator/test.jwt)\" \\
      http://localhost:4000/appengine/v1/test/devices

  Register a device:
  curl -H \"Authorization: Bearer $(cat astarte-emulator/test.jwt)\" \\
      -H 'Content-Type: application/json' -d '{\"data\":{\"hw_id\":\"91JGyz9XRv5Esp6jNQFP7g\"}}' \\
      http://localhost:4000/pairing/v1/test/agent/devices

  Lose every second event of triggers, and answer the next ten requests of AppEngine with 503:
  curl -d '{\"data\":{\"probability\":0.5,\"fault\":\"drop\"}}' \\
      http://localhost:4000/emulator/faults/events
  curl -d '{\"data\":{\"api\":\"app_engine\",\"times\":10,\"fault\":{\"status\":{\"code\":503}}}}' \\
      http://localhost:4000/emulator/faults/requests

Set RUST_LOG=hedgerow_astarte_emulator=debug to see what devices do.";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Key { path: PathBuf, source: KeyError },
    #[error("{path}: {source}")]
    Interface { path: PathBuf, source: InterfaceError },
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error("cannot wait for an interruption: {0}")]
    Signal(#[source] std::io::Error),
    #[error("cannot print: {0}")]
    Print(#[source] std::io::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Error> {
    let directory = &arguments.directory;
    fs::create_dir_all(directory).map_err(|source| in_file(directory, source))?;
    let mut builder = Emulator::builder()
        .http_address(arguments.http)
        .mqtt_address(arguments.mqtt)
        .host(&arguments.host)
        .seed(arguments.seed)
        .enforce_policy_limits(arguments.enforce_policy_limits)
        .trigger_engines(arguments.trigger_engines)
        .admin_endpoint(!arguments.no_admin)
        .astarte_version(&arguments.astarte_version)?;
    if let Some(url) = &arguments.edgehog {
        builder = arguments
            .realms
            .iter()
            .fold(builder, |builder, realm| builder.set_up_by_edgehog(realm, url));
    }
    for realm in &arguments.realms {
        builder = builder.realm(realm, keys(directory, realm)?);
    }
    for path in &arguments.interfaces {
        for file in interface_files(path)? {
            let definition = fs::read_to_string(&file).map_err(|source| in_file(&file, source))?;
            EmulatorBuilder::check_interface(&definition)
                .map_err(|source| Error::Interface { path: file, source })?;
            builder = install(builder, &arguments.realms, &definition);
        }
    }
    // Before anybody is told that the emulator runs, and may want to end it.
    let interruption = Interruption::listen().map_err(Error::Signal)?;
    let emulator = builder.start().await?;
    tell(&emulator, arguments)?;
    interruption.wait().await.map_err(Error::Signal)?;
    emulator.shutdown().await;
    Ok(())
}

fn in_file(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}

fn install(builder: EmulatorBuilder, realms: &[String], definition: &str) -> EmulatorBuilder {
    realms.iter().fold(builder, |builder, realm| builder.interface(realm, definition))
}

/// The realm's key from the directory; a new one is written there if there is none.
fn keys(directory: &Path, realm: &str) -> Result<RealmKeys, Error> {
    let path = directory.join(format!("{realm}-private-key.pem"));
    match fs::read_to_string(&path) {
        Ok(pem) => {
            RealmKeys::from_private_key_pem(&pem).map_err(|source| Error::Key { path, source })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let keys = RealmKeys::generate()?;
            write_private(&path, keys.private_key_pem().unwrap_or_default())?;
            Ok(keys)
        }
        Err(source) => Err(in_file(&path, source)),
    }
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| in_file(path, source))
}

fn interface_files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|source| in_file(path, source))? {
        let file = entry.map_err(|source| in_file(path, source))?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Writes what clients need, and prints where everything is.
fn tell(emulator: &Emulator, arguments: &Arguments) -> Result<(), Error> {
    let directory = &arguments.directory;
    let ca = directory.join("ca.pem");
    fs::write(&ca, emulator.ca_certificate_pem()).map_err(|source| in_file(&ca, source))?;
    let base = emulator.base_url();
    let mut rows = vec![
        ("AppEngine, Realm Management, Pairing".to_owned(), base.to_owned()),
        ("MQTT broker".to_owned(), emulator.broker_url().to_owned()),
        ("certificate of the authority".to_owned(), ca.display().to_string()),
    ];
    for realm in &arguments.realms {
        let token = directory.join(format!("{realm}.jwt"));
        write_private(&token, &emulator.realm_keys(realm)?.all_access_token()?)?;
        let key = directory.join(format!("{realm}-private-key.pem"));
        rows.push((format!("pairing URL of {realm}"), emulator.pairing_url()));
        rows.push((format!("private key of {realm}"), key.display().to_string()));
        rows.push((format!("token for all of {realm}"), token.display().to_string()));
    }
    if !arguments.no_admin {
        rows.push(("faults".to_owned(), format!("{base}/emulator")));
    }
    let mut output = std::io::stdout().lock();
    let mut print = || {
        for (what, place) in &rows {
            writeln!(output, "{what:<38} {place}")?;
        }
        writeln!(output, "press Ctrl-C to end")?;
        output.flush()
    };
    print().map_err(Error::Print)
}

/// What ends the program: Ctrl-C, or what a service manager sends.
struct Interruption {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
}

impl Interruption {
    /// From here on interruptions are noticed instead of ending the program at once.
    #[cfg(unix)]
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?] })
    }

    #[cfg(unix)]
    async fn wait(mut self) -> std::io::Result<()> {
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn listen() -> std::io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn wait(self) -> std::io::Result<()> {
        tokio::signal::ctrl_c().await
    }
}
