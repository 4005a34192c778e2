//! How much passes through: triggers that are durable when they are answered, beside the same router
//! that has nothing to ask the engine; requests through `AppEngine`, beside a bare loop of the HTTP
//! client.
//!
//! `cargo run --release -p hedgerow-astarte --example throughput`. Server and client share the
//! machine. The sides take turns, and what is printed last of each are medians: compare those that
//! stand together.

// Figures for people.
#![allow(clippy::cast_precision_loss)]

use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::any;
use futures::future::{BoxFuture, join_all, ready};
use futures::{FutureExt, StreamExt, stream};
use hedgerow_astarte::triggers::TriggerSettings;
use hedgerow_astarte::{
    Astarte, Credentials, HttpConnections, HttpSettings, Realm, TriggerReceiver,
};
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, DeviceId, GatePolicy, ImageUrl,
    OperationId, Presence, PushRollout, RequestAnswer, RolloutLimits, RolloutMechanism,
    SystemModelHandle, TenantId, Timestamp, TransportError, Version, WhenRunning,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::ports::{DeviceTransport, FleetDirectory};
use hedgerow_engine::{Engine, EngineBuilder, Sighting};
use hedgerow_sqlite::SqliteStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Error = Box<dyn std::error::Error + Send + Sync>;

const DEVICES: u32 = 20_000;
/// What every device reports: each is a step forward and becomes an event, which is checked.
const STATUSES: [&str; 7] =
    ["Acknowledged", "Downloading", "Deploying", "Deployed", "Rebooting", "Error", "Success"];
const CONNECTIONS: usize = 64;
const REQUESTS: usize = 10_000;
const ROUNDS: usize = 9;
const URL: &str = "https://images.example/2.0.0.bin";

fn main() -> Result<(), Error> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let folder = tempfile::tempdir()?;
        triggers(&folder.path().join("hedgerow.db")).await?;
        requests().await
    })
}

async fn triggers(db: &Path) -> Result<(), Error> {
    let store = Arc::new(SqliteStore::open(db)?);
    let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    let fleet = Arc::new(Obedient::default());
    let (transport, clock) = (fleet.clone(), runtime.clone());
    let builder = EngineBuilder::new(store.clone(), transport, fleet.clone(), clock, runtime);
    let engine = builder.start().await?;
    start_campaign(&engine).await?;
    while fleet.asked.load(Ordering::Relaxed) < DEVICES as usize {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let astarte = astarte("http://127.0.0.1:9")?;
    let receiver = TriggerReceiver::new(astarte, engine.clone(), TriggerSettings::default());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let router = receiver.router();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let post = |event_type: &'static str, status: &'static str| {
        let deliveries = (0..DEVICES).map(|number| delivery(number, event_type, status)).collect();
        post_all(&address, deliveries)
    };
    // The same words under a type that means nothing to the engine: they are received, read and
    // answered by the same router. Once without a look at the figure.
    post("device_registered", "Acknowledged").await?;
    let mut rounds = Vec::new();
    for status in STATUSES {
        let bare = post("device_registered", status).await?;
        let before = engine.progress(&tenant()?, campaign_id()).await?.events;
        let durable = post("incoming_data", status).await?;
        let events = engine.progress(&tenant()?, campaign_id()).await?.events - before;
        println!("  {status}: {durable:.0}/s, {events} events; without the engine {bare:.0}/s");
        if events < u64::from(DEVICES) {
            return Err("not every report became an event: these figures mean nothing".into());
        }
        rounds.push((durable, bare));
    }
    let fsync = fsync(&db.with_extension("fsync"))?;
    println!("triggers over {CONNECTIONS} connections: {}; one fsync {fsync:?}", medians(&rounds));
    let progress = engine.progress(&tenant()?, campaign_id()).await?;
    println!("the campaign: {:?}, {:?}", progress.outcome, receiver.counts());
    engine.shutdown().await;
    store.close();
    Ok(())
}

fn delivery(number: u32, event_type: &str, status: &str) -> Vec<u8> {
    let device = device(number);
    let operation = OperationId::of_campaign(campaign_id(), device, 0);
    let body = format!(
        r#"{{"timestamp":"2026-08-21T10:00:00.000Z","device_id":"{device}","trigger_name":"t","event":{{"type":"{event_type}","interface":"io.edgehog.devicemanager.OTAEvent","path":"/event","value":{{"requestUUID":"{operation}","status":"{status}","statusProgress":0,"statusCode":"","message":""}}}}}}"#
    );
    format!(
        "POST /triggers HTTP/1.1\r\nhost: a\r\nastarte-realm: realm\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// How long it takes until 4 KiB more of a file are on the disk; the median of some.
fn fsync(path: &Path) -> Result<Duration, Error> {
    let mut file = std::fs::File::create(path)?;
    let mut took = Vec::new();
    for _ in 0..51 {
        let began = Instant::now();
        file.write_all(&[0; 4_096])?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

/// Of rounds of one side and of that which it is compared with: the medians of both and of their
/// ratio.
fn medians(rounds: &[(f64, f64)]) -> String {
    let median = |of: fn(&(f64, f64)) -> f64| {
        let mut figures: Vec<f64> = rounds.iter().map(of).collect();
        figures.sort_unstable_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (ours, other) = (median(|round| round.0), median(|round| round.1));
    let ratio = 100.0 * median(|round| round.0 / round.1);
    format!("{ours:.0}/s beside {other:.0}/s, {ratio:.0} %")
}

/// Sends all requests over the connections, each waiting for its answer; requests in a second.
async fn post_all(address: &str, requests: Vec<Vec<u8>>) -> Result<f64, Error> {
    let (count, requests) = (requests.len(), Arc::new(requests));
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let connections = (0..CONNECTIONS).map(|_| {
        let (address, requests, next) = (address.to_owned(), requests.clone(), next.clone());
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            let mut buffer = vec![0; 4_096];
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                stream.write_all(request).await?;
                let mut filled = 0;
                // The answers are small JSON objects.
                while filled == 0 || buffer[filled - 1] != b'}' {
                    match stream.read(&mut buffer[filled..]).await? {
                        0 => return Err(Error::from("the connection broke")),
                        read => filled += read,
                    }
                }
                if !buffer.starts_with(b"HTTP/1.1 200") {
                    return Err(String::from_utf8_lossy(&buffer[..filled]).into_owned().into());
                }
            }
            Ok(())
        })
    });
    for connection in join_all(connections).await {
        connection??;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

async fn requests() -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let status = |id: &str| {
        format!(
            r#"{{"data":{{"id":"{id}","connected":true,"introspection":{{"io.edgehog.devicemanager.OTARequest":{{"major":1,"minor":0}},"io.edgehog.devicemanager.OTAEvent":{{"major":0,"minor":1}}}}}}}}"#
        )
    };
    let router = Router::new()
        .route(
            "/appengine/v1/realm/devices/{id}",
            any(move |path: axum::extract::Path<String>| ready(status(&path.0))),
        )
        .fallback(any(|| ready(r#"{"data":{}}"#)));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let astarte = astarte(&address)?;
    let url: ImageUrl = URL.parse()?;
    let (tenant, operation) = (tenant()?, OperationId::of_campaign(campaign_id(), device(0), 0));
    let send = |number: usize| {
        let device = device(u32::try_from(number % 1_000).unwrap_or(0));
        astarte.send_update(&tenant, device, operation, &url)
    };
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(128).build()?;
    let bare = |number: usize| {
        let device = device(u32::try_from(number % 1_000).unwrap_or(0));
        let path = format!(
            "{address}/appengine/v1/realm/devices/{device}/interfaces/io.edgehog.devicemanager.OTARequest/request"
        );
        let body =
            format!(r#"{{"data":{{"operation":"Update","url":"{URL}","uuid":"{operation}"}}}}"#);
        let request = client
            .post(path)
            .header("authorization", "Bearer a.b.c")
            .header("content-type", "application/json")
            .body(body);
        async move {
            let answer = request.send().await?;
            let status = answer.status().as_u16();
            answer.bytes().await.map(|_| status)
        }
    };
    // The first round makes connections and reads introspections: it is not looked at.
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let answers = stream::iter(0..REQUESTS).map(bare).buffer_unordered(CONNECTIONS);
        let taken = answers.filter(|answer| ready(matches!(answer, Ok(200)))).count().await;
        let of_bare = rate(taken, began)?;
        let began = Instant::now();
        let answers = stream::iter(0..REQUESTS).map(send).buffer_unordered(CONNECTIONS);
        let taken = answers.filter(|answer| ready(*answer == RequestAnswer::Accepted)).count();
        let of_ours = rate(taken.await, began)?;
        println!("  {of_ours:.0}/s; a bare loop {of_bare:.0}/s");
        rounds.extend((round > 0).then_some((of_ours, of_bare)));
    }
    println!("requests, {CONNECTIONS} at once: {}", medians(&rounds));
    Ok(())
}

fn rate(taken: usize, began: Instant) -> Result<f64, Error> {
    if taken < REQUESTS {
        return Err("not every request was taken: these figures mean nothing".into());
    }
    Ok(taken as f64 / began.elapsed().as_secs_f64())
}

fn astarte(base_url: &str) -> Result<Astarte, Error> {
    let connections = HttpConnections::new(&HttpSettings::default())?;
    let credentials = Credentials::token("a.b.c")?;
    let realm = Realm { tenant: tenant()?, base_url: base_url.to_owned(), credentials };
    Ok(Astarte::new(&connections, [realm])?)
}

fn tenant() -> Result<TenantId, Error> {
    Ok("realm".parse()?)
}

fn campaign_id() -> CampaignId {
    CampaignId::from_uuid(uuid::Uuid::from_u128(1))
}

fn device(number: u32) -> DeviceId {
    DeviceId::from_bytes((u128::from(number) << 64).to_be_bytes())
}

async fn start_campaign(engine: &Engine) -> Result<(), Error> {
    let most = NonZeroU32::new(DEVICES).unwrap_or(NonZeroU32::MIN);
    let limits = RolloutLimits::new(most, "5".parse()?);
    let definition = CampaignDefinition {
        name: "To 2.0.0".parse()?,
        base_image: BaseImage {
            system_model: "gateway".parse()?,
            version: Version::new(2, 0, 0),
            url: URL.parse()?,
            starting_version_requirement: None,
        },
        channel: Channel::new("stable".parse()?, ["all".parse()?])?,
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    };
    Ok(engine.create(&tenant()?, campaign_id(), definition, None).await?)
}

/// Devices that are online and accept everything at once.
#[derive(Default)]
struct Obedient {
    asked: AtomicUsize,
}

impl DeviceTransport for Obedient {
    fn send_update(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        self.asked.fetch_add(1, Ordering::Relaxed);
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
        ready(Ok(Some("1.0.0".to_owned()))).boxed()
    }
}

fn online() -> Sighting {
    let presence = Some(Presence::Online { since: Timestamp::default() });
    Sighting::now(presence)
}

impl FleetDirectory for Obedient {
    fn targets(
        &self,
        _: &TenantId,
        _: &Channel,
        _: &SystemModelHandle,
    ) -> BoxFuture<'static, Result<Vec<(DeviceId, Sighting)>, TransportError>> {
        ready(Ok((0..DEVICES).map(|number| (device(number), online())).collect())).boxed()
    }

    fn presence(
        &self,
        _: &TenantId,
        devices: Vec<DeviceId>,
    ) -> BoxFuture<'static, Result<Vec<Sighting>, TransportError>> {
        ready(Ok(vec![online(); devices.len()])).boxed()
    }
}
