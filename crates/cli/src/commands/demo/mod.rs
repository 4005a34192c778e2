//! `hedgerow demo`: a campaign over a fleet of simulated devices, recorded in a `SQLite` file.
//!
//! The simulated devices live in a file of their own beside the log, and are as old as that says:
//! a demo that was killed goes on where both stand.

#[cfg(feature = "astarte")]
mod on_astarte;
mod progress;
mod report;
mod world_file;

use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, GatePolicy, OperationLimits, Percentage,
    PushRollout, RolloutLimits, RolloutMechanism, TenantId, Timestamp, WhenRunning,
};
use hedgerow_engine::store::{EventStore, StoreError};
use hedgerow_engine::{EngineError, Progress};
use hedgerow_sim::device::DeviceProfile;
use hedgerow_sim::fleet::{Fleet, FleetPlan};
use hedgerow_sim::fleet_run::{FleetRun, FleetRunError};
use hedgerow_sim::runtime::wait;
use hedgerow_sqlite::{OpenError, SqliteStore};
use uuid::Uuid;

use self::progress::Display;
use self::world_file::{Settings, WorldError, WorldFile};
use crate::commands::output;

/// When the simulated world begins: 2026-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// Where a campaign is recorded unless that is given.
const FILE: &str = "hedgerow-demo.db";
/// How long a demo on a terminal takes, about.
const SHOW: Duration = Duration::from_secs(15);

/// Roll a campaign out to a fleet of simulated devices
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  hedgerow demo                                    1,000 devices, in hedgerow-demo.db
  hedgerow demo --devices 100000 --speed max       a large fleet, as fast as it goes
  hedgerow demo --db /tmp/a.db --seed 7 --json     another fleet, the report as JSON
  hedgerow demo --astarte                          36 devices over a real protocol, about a minute

Interrupt it at any moment and start it again on the same file: it goes on (not with --astarte,
whose emulator lives and dies with it).

Exit status: 0 the campaign succeeded, 1 it ended otherwise, 2 wrong usage, 3 a file or store failed.")]
pub(crate) struct DemoArgs {
    /// How many devices there are [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    devices: Option<u32>,
    /// Run devices on the real Astarte device SDK against an Astarte emulator in this process, in
    /// real time: TLS, MQTT, HTTP and back
    #[cfg_attr(not(feature = "astarte"), doc = "(not in this build, which says how to have it)")]
    #[arg(long)]
    astarte: bool,
    /// The file that the campaign is recorded in; the devices are kept in FILE.world
    /// [default: hedgerow-demo.db, with --astarte hedgerow-astarte-demo.db]
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// What everything by chance follows from [default: 1]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// The most devices that update at once [default: a twentieth of them, at least 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_pending: Option<u32>,
    /// Simulated seconds in each second, or `max` [default: about 15 s in all on a terminal,
    /// `max` elsewhere]
    #[arg(long, value_name = "X", value_parser = speed)]
    speed: Option<Speed>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// How fast simulated time goes.
#[derive(Clone, Copy, Debug)]
enum Speed {
    Max,
    Times(f64),
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse::<f64>() {
        Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err("give a number above 0, or max".to_owned()),
    }
}

/// Why the demo did not go on. What was recorded is whole.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    World(#[from] WorldError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("{0}; what was recorded is whole, start the demo again on the same file to go on")]
    Run(FleetRunError<WorldError>),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{} holds campaigns but {} is missing, where the simulated devices are kept: give another --db", db.display(), world.display()
    )]
    NoWorld { db: PathBuf, world: PathBuf },
    #[error(
        "{} was made with --{flag} {found}, not {given}: leave --{flag} out to go on with it, or give another --db", db.display()
    )]
    Contradiction { db: PathBuf, flag: &'static str, found: u64, given: u64 },
    #[error("the campaign does not end: nothing is left to happen")]
    Endless,
    #[error("the campaign has ended, and its report cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

impl From<FleetRunError<WorldError>> for DemoError {
    fn from(error: FleetRunError<WorldError>) -> Self {
        match error {
            // What is damaged is not whole: say no more than the store does.
            FleetRunError::Store(error @ StoreError::Corrupt { .. }) => Self::Store(error),
            FleetRunError::Keep(error @ WorldError::Damaged { .. }) => Self::World(error),
            error => Self::Run(error),
        }
    }
}

/// Runs the demo.
pub(crate) fn run(args: &DemoArgs) -> ExitCode {
    if args.astarte {
        #[cfg(feature = "astarte")]
        return on_astarte::run(args);
        #[cfg(not(feature = "astarte"))]
        return crate::commands::left_out::say("astarte");
    }
    match demo(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error @ DemoError::Contradiction { .. }) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}

/// `true` if the campaign succeeded.
fn demo(args: &DemoArgs) -> Result<bool, DemoError> {
    let began = std::time::Instant::now();
    let db = args.db.clone().unwrap_or_else(|| PathBuf::from(FILE));
    let store: Arc<dyn EventStore> = Arc::new(SqliteStore::open(&db)?);
    let (world, settings) = open_world(args, &db, &*store)?;
    let plan = plan(&settings);
    let now = world.now()?.max(last_recorded(&*store)?).max(BEGINNING);
    let fleet = Fleet::new(plan.clone(), now);
    world.restore(&fleet)?;

    let tenant = tenant();
    let id = campaign_id(&settings);
    let mut run = FleetRun::start(tenant.clone(), fleet, world, store, now)?;
    match run.campaign(id)? {
        Some(campaign) if !args.json => progress::say_it_goes_on(&db, &Progress::from(&campaign)),
        Some(_) => {}
        None => {
            let (engine, asked) = (run.engine(), tenant.clone());
            let definition = definition(&settings, &plan);
            run.ask(async move { engine.create(&asked, id, definition, None).await })??;
        }
    }

    let pace = Pace::of(args, &settings);
    let mut display = Display::new(args.json, &db, &settings);
    let progress = roll_out(&mut run, &tenant, id, pace, &mut display)?;
    display.finish(&progress);
    let real_time = began.elapsed();
    let report = report::make(&mut run, id, &progress, real_time, &db)?;
    output::print(|out| if args.json { report.print_json(out) } else { report.print(out) })?;
    Ok(progress.outcome == Some(hedgerow_core::Outcome::Success))
}

/// Steps on until the campaign has ended, and everything that was in progress with it.
fn roll_out(
    run: &mut FleetRun<WorldFile>,
    tenant: &TenantId,
    id: CampaignId,
    mut pace: Pace,
    display: &mut Display,
) -> Result<Progress, DemoError> {
    loop {
        let (engine, tenant) = (run.engine(), tenant.clone());
        let progress = match run.ask(async move { engine.progress(&tenant, id).await })? {
            // One that has ended long ago is not in memory any more.
            Err(EngineError::NoRows) => {
                run.campaign(id)?.as_ref().map(Progress::from).ok_or(EngineError::NoRows)?
            }
            told => told?,
        };
        display.show(&progress, run.now());
        if progress.outcome.is_some() && progress.targets.in_progress == 0 {
            return Ok(progress);
        }
        let passed = run.step(pace.step)?.ok_or(DemoError::Endless)?;
        pace.wait(passed);
    }
}

/// How far each step goes, and how long it takes.
struct Pace {
    step: Duration,
    speed: Speed,
    due: std::time::Instant,
}

impl Pace {
    fn of(args: &DemoArgs, settings: &Settings) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let speed = args.speed.unwrap_or(if on_terminal {
            // An update takes some two minutes; the last few wait for time-outs.
            let rounds = f64::from(settings.devices) / f64::from(settings.max_pending);
            Speed::Times((rounds.max(1.0) * 130.0 + 900.0) / SHOW.as_secs_f64())
        } else {
            Speed::Max
        });
        let step = match speed {
            Speed::Times(_) => Duration::from_secs(1),
            Speed::Max => Duration::from_secs(if settings.devices > 20_000 { 5 } else { 2 }),
        };
        Self { step, speed, due: std::time::Instant::now() }
    }

    fn wait(&mut self, passed: Duration) {
        let Speed::Times(times) = self.speed else { return };
        // Nobody wants to watch the hours in which nothing happens.
        let shown = passed.min(self.step * 10);
        self.due += shown.div_f64(times);
        std::thread::sleep(self.due.saturating_duration_since(std::time::Instant::now()));
    }
}

/// Opens or creates what is beside the log, and checks the flags against it.
fn open_world(
    args: &DemoArgs,
    db: &Path,
    store: &dyn EventStore,
) -> Result<(WorldFile, Settings), DemoError> {
    let path = world_path(db);
    let is_new = !path.exists();
    if is_new && !wait(store.streams())?.is_empty() {
        return Err(DemoError::NoWorld { db: db.to_owned(), world: path });
    }
    let devices = args.devices.unwrap_or(1_000);
    let wanted = Settings {
        seed: args.seed.unwrap_or(1),
        devices,
        max_pending: args.max_pending.unwrap_or((devices / 20).max(10)),
    };
    let (world, settings) = WorldFile::open(&path, &wanted)?;
    let given = [
        ("devices", args.devices.map(u64::from), u64::from(settings.devices)),
        ("seed", args.seed, settings.seed),
        ("max-pending", args.max_pending.map(u64::from), u64::from(settings.max_pending)),
    ];
    for (flag, given, found) in given {
        if let Some(given) = given.filter(|given| *given != found) {
            return Err(DemoError::Contradiction { db: db.to_owned(), flag, found, given });
        }
    }
    Ok((world, settings))
}

fn world_path(db: &Path) -> PathBuf {
    let mut path = db.as_os_str().to_owned();
    path.push(".world");
    PathBuf::from(path)
}

/// When the newest event was recorded: time never goes back.
fn last_recorded(store: &dyn EventStore) -> Result<Timestamp, StoreError> {
    let mut newest = Timestamp::default();
    for stream in wait(store.streams())? {
        let last = stream.version.saturating_sub(1);
        let events = wait(store.read_stream(&stream.tenant, stream.stream, last, 1))?;
        newest = events.iter().map(|stored| stored.event.recorded_at).fold(newest, Ord::max);
    }
    Ok(newest)
}

fn tenant() -> TenantId {
    "demo".parse().unwrap_or_else(|_| unreachable!("a valid realm name"))
}

fn campaign_id(settings: &Settings) -> CampaignId {
    let name = format!("hedgerow demo {} {}", settings.seed, settings.devices);
    CampaignId::from_uuid(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
}

fn plan(settings: &Settings) -> FleetPlan {
    FleetPlan {
        seed: settings.seed,
        devices: settings.devices,
        system_model: constant("garden-gateway"),
        version: "1.4.0".to_owned(),
        image_version: "2.0.0".to_owned(),
        profile: DeviceProfile::typical(),
    }
}

fn definition(settings: &Settings, plan: &FleetPlan) -> CampaignDefinition {
    let limits = RolloutLimits {
        operation: OperationLimits {
            request_timeout: Duration::from_secs(60),
            stall_timeout: Some(Duration::from_secs(6 * 3_600)),
            ..OperationLimits::default()
        },
        ..RolloutLimits::new(
            NonZeroU32::new(settings.max_pending).unwrap_or(NonZeroU32::MIN),
            constant::<Percentage>("10"),
        )
    };
    let channel = Channel::new(constant("stable"), [constant("gardens")]);
    CampaignDefinition {
        name: constant("Gateways to 2.0.0"),
        base_image: BaseImage {
            system_model: plan.system_model.clone(),
            version: constant(&plan.image_version),
            url: constant("https://images.example/garden-gateway/2.0.0.bin"),
            starting_version_requirement: Some(constant(">= 1.2.0")),
        },
        channel: channel.unwrap_or_else(|_| unreachable!("a channel with a group")),
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::default(),
    }
}

/// Reads a text of this file.
fn constant<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| unreachable!("{text} is valid"))
}
