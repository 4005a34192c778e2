//! `hedgerow demo --astarte`: a campaign over devices on the real Astarte device SDK, through an
//! Astarte emulator in this process: TLS, MQTT, HTTP and back, in real time.

mod world;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hedgerow_astarte::provisioning::{InstallError, InstallSettingsError};
use hedgerow_astarte::triggers::{TriggerCounts, TriggerSettings};
use hedgerow_astarte::{
    ApiError, AstarteFleet, Reconciler, SettingsError, SystemModelSource, TokenError,
    TriggerReceiver,
};
use hedgerow_astarte_emulator::{HookError, KeyError, StartError};
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, FailureReason, GatePolicy, OperationLimits,
    Outcome, PushRollout, RolloutLimits, RolloutMechanism, TenantId, WhenRunning,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::store::StoreError;
use hedgerow_engine::view::MemoryViews;
use hedgerow_engine::{Engine, EngineBuilder, EngineError, Progress};
use hedgerow_sqlite::{OpenError, SqliteStore};
use indicatif::ProgressBar;
use serde_json::json;
use uuid::Uuid;

use self::world::{ATTRIBUTE, GROUP, IMAGE, SYSTEM_MODEL, World};
use super::{DemoArgs, constant, tenant};
use crate::commands::bar::{self, clock};
use crate::commands::output;

/// How many devices there are unless that is given.
const DEVICES: u32 = 36;
/// Each has a connection, certificates and an SDK of its own.
const MOST_DEVICES: u32 = 500;
/// How often what was told is compared with what the emulator knows.
const ROUNDS: Duration = Duration::from_secs(10);
/// Where the campaign is recorded unless that is given.
const FILE: &str = "hedgerow-astarte-demo.db";

#[derive(Debug, thiserror::Error)]
enum AstarteDemoError {
    #[error("{} exists: the emulated devices of a demo are gone with it, so give another --db, or remove the file", .0.display())]
    Exists(PathBuf),
    #[error("--astarte runs at most {MOST_DEVICES} devices: give fewer with --devices")]
    TooManyDevices,
    #[error("--astarte runs in real time: leave --speed out")]
    Speed,
    #[error("the campaign has ended, and its report cannot be written: {0}")]
    Output(io::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the emulator could not be started: {0}")]
    Emulator(#[from] StartError),
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
    #[error("no port to listen on: {0}")]
    Listen(std::io::Error),
}

/// Runs the demo.
pub(super) fn run(args: &DemoArgs) -> ExitCode {
    match demo(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            let is_usage = matches!(
                error,
                AstarteDemoError::Exists(_)
                    | AstarteDemoError::TooManyDevices
                    | AstarteDemoError::Speed
            );
            ExitCode::from(if is_usage { 2 } else { 3 })
        }
    }
}

/// `true` if the campaign succeeded.
fn demo(args: &DemoArgs) -> Result<bool, AstarteDemoError> {
    let devices = args.devices.unwrap_or(DEVICES);
    if devices > MOST_DEVICES {
        return Err(AstarteDemoError::TooManyDevices);
    }
    if args.speed.is_some() {
        return Err(AstarteDemoError::Speed);
    }
    let db = args.db.clone().unwrap_or_else(|| PathBuf::from(FILE));
    if db.exists() {
        return Err(AstarteDemoError::Exists(db));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(AstarteDemoError::Listen)?;
    runtime.block_on(roll_out(args, devices, &db))
}

async fn roll_out(args: &DemoArgs, devices: u32, db: &Path) -> Result<bool, AstarteDemoError> {
    let began = Instant::now();
    let tenant = tenant();
    let max_pending = args.max_pending.unwrap_or((devices / 3).max(4));
    let quiet = args.json && !std::io::stderr().is_terminal();
    let say = |line: String| {
        if !quiet {
            eprintln!("{line}");
        }
    };
    let world = World::start(&tenant, devices, args.seed.unwrap_or(1)).await?;
    say(format!("an Astarte emulator is at {}", world.emulator.base_url()));
    say(format!(
        "its realm {tenant} has interfaces, policy and triggers, which deliver to {}",
        world.address
    ));
    say(format!("{devices} devices on the real device SDK pair with it and connect"));

    let store = Arc::new(SqliteStore::open(db)?);
    let source = SystemModelSource::attribute(ATTRIBUTE);
    let fleet = AstarteFleet::new(world.astarte.clone(), source);
    let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    let (clock, transport) = (Arc::clone(&runtime), Arc::new(world.astarte.clone()));
    let engine = EngineBuilder::new(store.clone(), transport, Arc::new(fleet), clock, runtime)
        .views(Arc::new(MemoryViews::new()))
        .start();
    let engine = engine.await?;
    let reconciler = Reconciler::new(world.astarte.clone(), engine.clone());
    let rounds = reconciler.clone();
    let rounds = tokio::spawn(async move { rounds.run(ROUNDS).await });
    let receiver =
        TriggerReceiver::new(world.astarte.clone(), engine.clone(), TriggerSettings::default())
            .with_reconciler(reconciler);
    let router = receiver.router();
    let World { emulator, listener, devices: fleet, .. } = world;
    let endpoint = tokio::spawn(async move { axum::serve(listener, router).await });

    let id = campaign_id(args.seed.unwrap_or(1), devices);
    say(format!(
        "rolling 2.0.0 out to them, at most {max_pending} at once, recorded in {}",
        db.display()
    ));
    engine.create(&tenant, id, definition(max_pending), None).await?;
    let progress = follow(&engine, &tenant, id, devices, quiet).await?;
    let reasons = engine.failure_reasons(&tenant, id).await?.unwrap_or_default();

    fleet.stop().await;
    emulator.shutdown().await;
    endpoint.abort();
    rounds.abort();
    engine.shutdown().await;
    store.close();
    let report = Report { progress, reasons, counts: receiver.counts(), took: began.elapsed() };
    output::print(|out| report.print(args.json, db, out)).map_err(AstarteDemoError::Output)?;
    Ok(report.progress.outcome == Some(Outcome::Success))
}

/// Shows how the campaign goes until it has ended, and everything that was in progress with it.
async fn follow(
    engine: &Engine,
    tenant: &TenantId,
    id: CampaignId,
    devices: u32,
    quiet: bool,
) -> Result<Progress, AstarteDemoError> {
    let bar = if quiet { ProgressBar::hidden() } else { bar::of(devices.into()) };
    loop {
        let progress = engine.progress(tenant, id).await?;
        let targets = progress.targets;
        bar.set_position((targets.successful + targets.failed + targets.cancelled).into());
        bar.set_message(format!(
            "{} ok, {} failed, {} in flight, {} waiting, {}",
            targets.successful,
            targets.failed,
            targets.in_progress,
            targets.idle,
            clock(bar.elapsed()),
        ));
        if progress.outcome.is_some() && targets.in_progress == 0 {
            bar.abandon_with_message("");
            return Ok(progress);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct Report {
    progress: Progress,
    reasons: BTreeMap<FailureReason, u32>,
    counts: TriggerCounts,
    took: Duration,
}

impl Report {
    fn print(&self, as_json: bool, db: &Path, out: &mut dyn Write) -> io::Result<()> {
        let Self { progress, reasons, counts, took } = self;
        let outcome = progress.outcome.map(Outcome::name);
        let targets = progress.targets;
        if as_json {
            let reasons: Vec<_> = reasons
                .iter()
                .map(|(reason, targets)| json!({"reason": reason.name(), "targets": targets}))
                .collect();
            let report = json!({
                "campaign": progress.campaign, "outcome": outcome, "targets": targets,
                "failures": reasons, "events": progress.events,
                "triggers_taken": counts.taken,
                "triggers_turned_away": counts.malformed + counts.foreign + counts.refused,
                "real_seconds": (took.as_secs_f64() * 1_000.0).round() / 1_000.0, "log": db,
            });
            return writeln!(out, "{report:#}");
        }
        writeln!(out, "campaign {}: {}", progress.campaign, outcome.unwrap_or("unfinished"))?;
        writeln!(
            out,
            "  {} targets: {} successful, {} failed, {} cancelled, {} idle",
            targets.total, targets.successful, targets.failed, targets.cancelled, targets.idle
        )?;
        for (reason, targets) in reasons {
            writeln!(out, "    {targets:>6}  {}", reason.name())?;
        }
        writeln!(
            out,
            "  {} events from {} triggers in {:.1} s",
            progress.events,
            counts.taken,
            took.as_secs_f64()
        )?;
        writeln!(out, "  the log is in {0}; next:\n    hedgerow show {0}", db.display())
    }
}

fn campaign_id(seed: u64, devices: u32) -> CampaignId {
    let name = format!("hedgerow demo --astarte {seed} {devices}");
    CampaignId::from_uuid(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
}

/// Time-outs as short as they can be: a person waits.
fn definition(max_pending: u32) -> CampaignDefinition {
    let limits = RolloutLimits {
        operation: OperationLimits {
            request_timeout: Duration::from_secs(30),
            request_retries: 1,
            stall_timeout: Some(Duration::from_secs(60)),
            reboot_timeout: Duration::from_secs(20),
            ..OperationLimits::default()
        },
        ..RolloutLimits::new(
            NonZeroU32::new(max_pending).unwrap_or(NonZeroU32::MIN),
            constant("20"),
        )
    };
    let channel = Channel::new(constant("stable"), [constant(GROUP)]);
    CampaignDefinition {
        name: constant("Gateways to 2.0.0"),
        base_image: BaseImage {
            system_model: constant(SYSTEM_MODEL),
            version: constant("2.0.0"),
            url: constant(IMAGE),
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
