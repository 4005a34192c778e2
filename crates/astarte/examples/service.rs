//! A whole service over Astarte: the engine, the trigger endpoint, and one campaign to its end.
//!
//! `docs/astarte.md` walks through it against the emulator. It is started with
//!
//! ```text
//! service BASE_URL REALM KEY_FILE LISTEN DATABASE VERSION IMAGE_URL
//! ```
//!
//! and rolls the image out to the devices of group `gardens` whose attribute `system_model` is
//! `garden-gateway`. Killed and started again, it goes on.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_astarte::triggers::TriggerSettings;
use hedgerow_astarte::{
    Astarte, AstarteFleet, Credentials, HttpConnections, HttpSettings, Realm, Reconciler,
    SystemModelSource, TriggerReceiver,
};
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, GatePolicy, OperationLimits, PushRollout,
    RolloutLimits, RolloutMechanism, TenantId, WhenRunning,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::{Engine, EngineBuilder, EngineError};
use hedgerow_sqlite::{SqliteStore, SqliteViews};
use tokio::net::TcpListener;

type Error = Box<dyn std::error::Error>;

struct Arguments {
    base_url: String,
    tenant: TenantId,
    key_file: String,
    listen: String,
    database: String,
    version: String,
    image_url: String,
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base_url, realm, key_file, listen, database, version, image_url] = &arguments[..] else {
        return Err("give BASE_URL REALM KEY_FILE LISTEN DATABASE VERSION IMAGE_URL".into());
    };
    let arguments = Arguments {
        base_url: base_url.clone(),
        tenant: realm.parse()?,
        key_file: key_file.clone(),
        listen: listen.clone(),
        database: database.clone(),
        version: version.clone(),
        image_url: image_url.clone(),
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(&arguments))
}

async fn serve(arguments: &Arguments) -> Result<(), Error> {
    // 1. The realm, and where its devices show their System Model.
    let realm = Realm {
        tenant: arguments.tenant.clone(),
        base_url: arguments.base_url.clone(),
        credentials: Credentials::private_key(&std::fs::read_to_string(&arguments.key_file)?)?,
    };
    let astarte = Astarte::new(&HttpConnections::new(&HttpSettings::default())?, [realm])?;
    let (fleet, hold) =
        AstarteFleet::new(astarte.clone(), SystemModelSource::attribute("system_model"))
            .on_progress(|p| println!("{} devices found, {} selected", p.found, p.selected))
            .hold_presence();

    // 2. The engine, on a store that outlives the process.
    let store = Arc::new(SqliteStore::open(Path::new(&arguments.database))?);
    let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    let (clock, transport) = (runtime.clone(), Arc::new(astarte.clone()));
    let rows = SqliteViews::open(SqliteViews::beside(Path::new(&arguments.database)))?;
    let builder = EngineBuilder::new(store.clone(), transport, Arc::new(fleet), clock, runtime);
    let engine = builder.views(Arc::new(rows)).start().await?;

    // 3. What devices reported while nobody listened, before anything is sent again.
    let reconciler = Reconciler::new(astarte.clone(), engine.clone());
    println!("{:?}", reconciler.fetch_reports().await);
    drop(hold);
    let rounds = reconciler.clone();
    tokio::spawn(async move { rounds.run(Duration::from_secs(60)).await });

    // 4. The endpoint that the triggers deliver to.
    let receiver = TriggerReceiver::new(astarte, engine.clone(), TriggerSettings::default())
        .with_reconciler(reconciler);
    let listener = TcpListener::bind(&arguments.listen).await?;
    let router = receiver.router();
    tokio::spawn(async move { axum::serve(listener, router).await });

    // 5. A campaign.
    let id = CampaignId::from_uuid(uuid::Uuid::new_v5(
        &uuid::Uuid::NAMESPACE_OID,
        arguments.image_url.as_bytes(),
    ));
    match engine.create(&arguments.tenant, id, definition(arguments)?, None).await {
        Ok(()) => println!("campaign {id} begins"),
        Err(EngineError::CampaignExists { .. }) => println!("campaign {id} goes on"),
        Err(error) => return Err(error.into()),
    }
    follow(&engine, &arguments.tenant, id).await?;
    println!("{:?}", receiver.counts());
    engine.shutdown().await;
    store.close();
    Ok(())
}

async fn follow(engine: &Engine, tenant: &TenantId, id: CampaignId) -> Result<(), Error> {
    let mut last = None;
    loop {
        let progress = engine.progress(tenant, id).await?;
        let t = progress.targets;
        if last != Some(t) {
            println!(
                "{} targets: {} idle, {} in progress, {} successful, {} failed",
                t.total, t.idle, t.in_progress, t.successful, t.failed
            );
            last = Some(t);
        }
        if let Some(outcome) = progress.outcome.filter(|_| t.in_progress == 0) {
            println!("campaign {id}: {}", outcome.name());
            for (reason, targets) in engine.failure_reasons(tenant, id).await?.unwrap_or_default() {
                println!("  {targets} failed: {}", reason.name());
            }
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn definition(arguments: &Arguments) -> Result<CampaignDefinition, Error> {
    let limits = RolloutLimits {
        operation: OperationLimits {
            request_timeout: Duration::from_secs(60),
            reboot_timeout: Duration::from_secs(120),
            ..OperationLimits::default()
        },
        ..RolloutLimits::new(NonZeroU32::new(10).ok_or("not 0")?, "10".parse()?)
    };
    Ok(CampaignDefinition {
        name: format!("Gateways to {}", arguments.version).parse()?,
        base_image: BaseImage {
            system_model: "garden-gateway".parse()?,
            version: arguments.version.parse()?,
            url: arguments.image_url.parse()?,
            starting_version_requirement: None,
        },
        channel: Channel::new("stable".parse()?, ["gardens".parse()?])?,
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    })
}
