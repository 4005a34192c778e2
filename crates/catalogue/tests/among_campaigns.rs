//! A catalogue among campaigns, in one file: an engine takes its targets from it and passes over
//! its stream, and everything that is done with a log goes on working.

mod common;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use futures::future::ready;
use hedgerow_catalogue::*;
use hedgerow_core::{
    CampaignDefinition, CampaignId, DeviceId, GatePolicy, ImageUrl, OperationId, OperationReport,
    Outcome, PushRollout, ReportStatus, RequestAnswer, RolloutLimits, RolloutMechanism, StreamId,
    TenantId, Timestamp, TransportError, WhenRunning,
};
use hedgerow_engine::archive::{ArchiveIndex, ArchiveSelection, Run, archive, import, prune};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::ports::{BoxFuture, DeviceTransport};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::view::{CampaignQuery, MemoryViews};
use hedgerow_engine::{Engine, EngineBuilder, Moment, Observation, Position};
use hedgerow_sim::simulate::audit;
use hedgerow_sqlite::{SqliteStore, SqliteViews};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);

/// Takes every request; devices show an old version.
#[derive(Clone, Default)]
struct Outbox(Arc<Mutex<Vec<(DeviceId, OperationId)>>>);

impl DeviceTransport for Outbox {
    fn send_update(
        &self,
        _: &TenantId,
        device: DeviceId,
        operation: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        self.0.lock().unwrap().push((device, operation));
        Box::pin(ready(RequestAnswer::Accepted))
    }

    fn send_cancel(
        &self,
        _: &TenantId,
        _: DeviceId,
        _: OperationId,
        _: &ImageUrl,
    ) -> BoxFuture<'static, RequestAnswer> {
        Box::pin(ready(RequestAnswer::Accepted))
    }

    fn base_image_version(
        &self,
        _: &TenantId,
        _: DeviceId,
    ) -> BoxFuture<'static, Result<Option<String>, TransportError>> {
        Box::pin(ready(Ok(Some("1.4.0".to_owned()))))
    }
}

async fn engine(store: &Arc<SqliteStore>, catalogue: &Catalogue, outbox: &Outbox) -> Engine {
    let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    let directory = Arc::new(CatalogueDirectory::new(catalogue.clone()));
    let (store, outbox) = (Arc::clone(store), Arc::new(outbox.clone()));
    EngineBuilder::new(store, outbox, directory, runtime.clone(), runtime)
        .views(Arc::new(MemoryViews::new()))
        .start()
        .await
        .expect("it starts")
}

fn open(path: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(path).expect("it opens"))
}

fn campaign() -> CampaignId {
    CampaignId::from_uuid(Uuid::from_u128(7))
}

/// A gateway in the gardens, and all that a campaign for it is made from.
async fn garden(desk: &Desk) -> (CampaignDefinition, DeviceId) {
    let board = desk.hardware("board").await;
    let model = desk.model("gateway", board).await;
    let images = desk.collection("images", model).await;
    let image = desk.image(images, "2.0.0").await;
    let gardens = desk.group("gardens", r#""garden" in tags"#).await;
    let channel = desk.channel("stable", &[gardens]).await;
    let (garden, _shed) = (desk.device(1, "gateway-1"), desk.device(2, "gateway-1"));
    for device in [1, 2].map(device) {
        let connection = Some(Connection { online: true, ..Connection::default() });
        let news = DeviceNews { connection, ..DeviceNews::new(device, Moment::now()) };
        desk.catalogue.observe(&tenant(), [news]);
    }
    desk.done(Command::AddDeviceTags { device: garden, tags: vec!["garden".into()] }).await;
    let fleet = desk.fleet().await;
    let limits = RolloutLimits::new(NonZeroU32::MIN, "5".parse().unwrap());
    let definition = CampaignDefinition {
        name: "Gardens to 2.0.0".parse().unwrap(),
        base_image: fleet.image_for_campaign(image).unwrap(),
        channel: fleet.channel_for_campaign(channel).unwrap().unwrap(),
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Refuse,
    };
    (definition, garden)
}

/// Runs a campaign for the garden to its end, while people go on entering things.
async fn roll_out(desk: &Desk, engine: &Engine, outbox: &Outbox) {
    let (definition, garden) = garden(desk).await;
    engine.create(&tenant(), campaign(), definition, None).await.expect("it is created");
    let (device, operation) = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(sent) = outbox.0.lock().unwrap().pop() {
                break sent;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("a request is sent");
    assert_eq!(device, garden, "the one that the selector matches");
    desk.channel("beta", &[]).await;
    let report = OperationReport::new(device, operation, ReportStatus::Success);
    engine.observe(&tenant(), Observation::Report(report)).await.expect("it is recorded");
    desk.group("sheds", r#""shed" in tags"#).await;
    let progress = engine.progress(&tenant(), campaign()).await.expect("it is known");
    assert_eq!(progress.outcome, Some(Outcome::Success));
    assert_eq!(progress.targets.successful, 1);
}

/// A store with a catalogue and a campaign that has ended, closed.
async fn written(path: &Path) {
    let store = open(path);
    let desk = Desk::on(store.clone());
    let outbox = Outbox::default();
    let engine = engine(&store, &desk.catalogue, &outbox).await;
    roll_out(&desk, &engine, &outbox).await;
    engine.shutdown().await;
    store.close();
}

fn is_sound(store: &dyn EventStore) -> u64 {
    let audit = audit(store, &mut |_| {}).expect("it can be read");
    assert_eq!(audit.findings, []);
    assert_eq!(audit.unread, []);
    audit.campaigns
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_runs_a_campaign_from_the_catalogue_and_passes_over_its_stream() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hedgerow.db");
    let store = open(&path);
    let desk = Desk::on(store.clone());
    let outbox = Outbox::default();
    let engine_at_first = engine(&store, &desk.catalogue, &outbox).await;
    let mut subscription =
        engine_at_first.subscribe(&tenant(), Position::Start).await.expect("there is room");
    roll_out(&desk, &engine_at_first, &outbox).await;

    // Whoever subscribes to a tenant gets both, in one order; to a stream, that one alone.
    let all = store.read_all(0, 1_000).await.unwrap();
    for expected in &all {
        let next = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("in time");
        assert_eq!(next.expect("it goes on").as_ref(), Ok(expected));
    }
    let of_catalogue = all.iter().filter(|it| it.stream == StreamId::Catalogue).count();
    assert_eq!(of_catalogue, 9, "six to begin with, a tag, a channel and a group");
    let mut alone = engine_at_first
        .subscribe_to(&tenant(), StreamId::Catalogue, Position::Start)
        .await
        .expect("there is room");
    for version in 1..=9 {
        let next = alone.next().await.expect("it goes on").expect("it is whole");
        assert_eq!((next.stream, next.version), (StreamId::Catalogue, version));
    }

    // Rows tell of the campaign alone, also when they are made anew.
    let listed = async |engine: &Engine| {
        let page = engine.campaigns(&tenant(), &CampaignQuery::default()).await.expect("rows");
        page.entries.iter().map(|it| it.campaign).collect::<Vec<_>>()
    };
    assert_eq!(listed(&engine_at_first).await, [campaign()]);
    engine_at_first.shutdown().await;
    let again = engine(&store, &desk.catalogue, &outbox).await;
    assert_eq!(again.quarantined(&tenant()), []);
    assert_eq!(listed(&again).await, [campaign()]);
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_reads_the_same_catalogue_and_goes_on_counting_its_ids() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hedgerow.db");
    written(&path).await;
    let store = open(&path);
    let views = || SqliteViews::open(folder.path().join("devices.rows")).expect("it opens");
    let desk = Desk::on(store.clone());
    let fleet = desk.fleet().await;
    let handles: Vec<_> = fleet.channels().map(|it| it.handle.to_string()).collect();
    assert_eq!(handles, ["stable", "beta"]);
    assert_eq!(desk.group("parks", r#""park" in tags"#).await.number(), 3);
    assert_eq!(fleet.device_facts(device(1)).map(|facts| facts.tags.len()), Some(1));
    assert_eq!(fleet.device_count(), 0, "no cache was kept");

    let catalogue = desk.catalogue.with_cache(Arc::new(views())).await.expect("it opens");
    let system = Some(SystemInfo { part_number: Some("gateway-1".into()), serial_number: None });
    let news = DeviceNews { system, ..DeviceNews::new(device(1), Moment::now()) };
    catalogue.observe(&tenant(), [news]);
    assert_eq!(catalogue.keep_heard().await, Ok(1));
    drop(catalogue);
    let again = Desk::on(store).catalogue.with_cache(Arc::new(views())).await.expect("it opens");
    let fleet = again.tenant(&tenant()).await.expect("it can be read");
    let found = fleet.device(device(1)).expect("it was kept");
    assert_eq!(found.system_model().map(|it| it.handle.to_string()), Some("gateway".into()));
    assert!(found.has_tag("garden"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_enter_things_at_once_take_each_name_and_each_id_once() {
    const EACH: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("hedgerow.db"));
    // As two processes would have it: nothing is shared but the store.
    let work = |_| {
        let desk = Desk::on(store.clone());
        tokio::spawn(async move {
            let mut entered = 0;
            for number in 0..EACH {
                match desk.record(hardware(&format!("board-{number}"))).await {
                    Ok(_) => entered += 1,
                    Err(CatalogueError::Refused(Refusal::Taken { field: "handle", .. })) => {}
                    other => panic!("{other:?}"),
                }
            }
            entered
        })
    };
    let at_work: Vec<_> = (0..4).map(work).collect();
    let mut entered = 0;
    for each in at_work {
        entered += each.await.expect("it does not panic");
    }
    assert_eq!(entered, EACH, "each by one of them");
    let fleet = Desk::on(store).fleet().await;
    let ids: Vec<_> = fleet.hardware_types().map(|it| it.id.number() as usize).collect();
    assert_eq!(ids, (1..=EACH).collect::<Vec<_>>());
}

#[test]
fn an_audit_archives_and_copies_work_with_a_catalogue_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hedgerow.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(written(&path));
    let store = open(&path);
    assert_eq!(is_sound(&*store), 1);

    // It is in no archive, and stays when what ended is removed.
    let late = Timestamp::from_millis(i64::MAX);
    let (mut file, run) = (Vec::new(), Run { at: Timestamp::default(), id: Uuid::from_u128(1) });
    let selection = ArchiveSelection::default();
    let archived =
        runtime.block_on(archive(&*store, &mut file, &selection, late, &mut |_| {})).unwrap();
    assert_eq!((archived.campaigns, archived.manual_updates), (1, 0));
    let mut index = ArchiveIndex::default();
    index.add(&file[..]).unwrap();
    let pruned = runtime.block_on(prune(&*store, &index, late, run, &mut |_| {})).unwrap();
    assert_eq!((pruned.removed, pruned.kept.active), (1, 1));
    let handles = || {
        let fleet = runtime.block_on(Desk::on(store.clone()).fleet());
        fleet.channels().map(|it| it.handle.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(handles(), ["stable", "beta"]);
    assert_eq!(is_sound(&*store), 0);
    let file = Box::new(std::io::Cursor::new(file));
    let imported = runtime.block_on(import(&*store, &index, file, run, &mut |_| {})).unwrap();
    assert_eq!(imported.imported, 1);
    assert_eq!(is_sound(&*store), 1);
    assert_eq!(handles(), ["stable", "beta"]);

    // A copy has it too.
    let copy = folder.path().join("copy.db");
    runtime.block_on(store.back_up(&copy)).expect("it is copied");
    let copy = open(&copy);
    assert_eq!(is_sound(&*copy), 1);
    let fleet = runtime.block_on(Desk::on(copy).fleet());
    assert_eq!(fleet.system_models().len(), 1);
}

#[test]
fn an_audit_finds_an_event_of_the_catalogue_that_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hedgerow.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(written(&path));
    // Some bytes of the file are a name that somebody entered.
    let mut bytes = std::fs::read(&path).unwrap();
    let name = b"\"The gateway\"";
    let places: Vec<_> =
        bytes.windows(name.len()).enumerate().filter(|(_, it)| it == name).collect();
    assert!(!places.is_empty());
    let places: Vec<_> = places.into_iter().map(|(place, _)| place).collect();
    for place in places {
        bytes[place + 1] = b't';
    }
    std::fs::write(&path, bytes).unwrap();
    let store = open(&path);
    let audit = audit(&*store, &mut |_| {}).expect("it can be read");
    assert_eq!(audit.findings.len(), 1, "{:?}", audit.findings);
    assert_eq!(audit.findings[0].stream, Some(StreamId::Catalogue));
    assert_eq!(audit.campaigns, 1, "the campaign is not touched");
    let read = runtime.block_on(Desk::on(store).catalogue.tenant(&tenant()));
    assert!(matches!(read, Err(CatalogueError::Store(_))), "{read:?}");
}
