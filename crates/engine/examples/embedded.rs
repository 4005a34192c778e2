//! The engine in a service on tokio: a transport, a directory, a store, and a campaign to its end.
//!
//! Run it: `cargo run -p hedgerow-engine --example embedded`. The devices here are three that
//! answer at once; a service has its own transport instead.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, DeviceId, GatePolicy, ImageUrl,
    OperationId, OperationReport, Outcome, Presence, PushRollout, ReportStatus, RequestAnswer,
    RolloutLimits, RolloutMechanism, SystemModelHandle, TenantId, Timestamp, TransportError,
    Version, WhenRunning,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::{Engine, EngineBuilder, Observation, Sighting};

/// Devices that report success as soon as they are asked to update.
#[derive(Default)]
struct ObedientDevices {
    engine: OnceLock<Engine>,
}

impl DeviceTransport for ObedientDevices {
    fn send_update(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        operation: OperationId,
        url: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        println!("update {device} from {}", url.without_query());
        let (engine, tenant) = (self.engine.get().cloned(), tenant.clone());
        let report = OperationReport::new(device, operation, ReportStatus::Success);
        tokio::spawn(async move {
            let Some(engine) = engine else { return };
            // Forget a report only when this is Ok, or an error that is not retryable.
            while let Err(error) =
                engine.observe(&tenant, Observation::Report(report.clone())).await
            {
                if !error.is_retryable() {
                    return eprintln!("{error}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        ready(RequestAnswer::Accepted).boxed()
    }

    fn send_cancel(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        ready(RequestAnswer::Accepted).boxed()
    }

    fn base_image_version(
        &self,
        _: &TenantId,
        _: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        ready(Ok(Some("1.4.0".to_owned()))).boxed()
    }
}

/// Three devices, always online.
struct ThreeDevices;

fn online() -> Sighting {
    let presence = Some(Presence::Online { since: Timestamp::default() });
    Sighting::now(presence)
}

impl FleetDirectory for ThreeDevices {
    fn targets(
        &self,
        _: &TenantId,
        _: &Channel,
        _: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        let devices = [1, 2, 3].map(|number| (DeviceId::from_bytes([number; 16]), online()));
        ready(Ok(devices.to_vec())).boxed()
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        ready(Ok(vec![online(); devices.len()])).boxed()
    }
}

fn definition() -> Result<CampaignDefinition, Box<dyn std::error::Error>> {
    let limits = RolloutLimits::new(NonZeroU32::MIN, "5".parse()?);
    Ok(CampaignDefinition {
        name: "Gateways to 2.0.0".parse()?,
        base_image: BaseImage {
            system_model: "gateway".parse()?,
            version: Version::new(2, 0, 0),
            url: "https://images.example/gateway/2.0.0.bin".parse()?,
            starting_version_requirement: Some(">= 1.0.0".parse()?),
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

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let devices = Arc::new(ObedientDevices::default());
    let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    let engine = EngineBuilder::new(
        Arc::new(MemoryStore::new()),
        devices.clone(),
        Arc::new(ThreeDevices),
        runtime.clone(),
        runtime,
    )
    .start()
    .await?;
    let _ = devices.engine.set(engine.clone());

    let tenant: TenantId = "realm".parse()?;
    let id: CampaignId = "5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa".parse()?;
    engine.create(&tenant, id, definition()?, None).await?;
    let progress = loop {
        let progress = engine.progress(&tenant, id).await?;
        if progress.outcome.is_some() {
            break progress;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    println!(
        "{:?}: {} of {}",
        progress.outcome, progress.targets.successful, progress.targets.total
    );
    assert_eq!(progress.outcome, Some(Outcome::Success));
    engine.shutdown().await;
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(serve())
}
