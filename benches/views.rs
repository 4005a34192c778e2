//! The read side: how fast rows are made from a log of millions of events, and how long a page of
//! them takes, however much there is beside it.
//!
//! The log of a campaign of 1,000,000 targets and those of 100,000 small campaigns lie in a SQLite
//! file; the rows are made in memory and in a SQLite file. `TMPDIR` says where the files lie.

use std::sync::Arc;

use futures::executor::block_on;
use hedgerow_benches::log::{encoded, stream, tenant, write};
use hedgerow_benches::measure::{PAGES, pages, thousands, told};
use hedgerow_benches::{MAX_PENDING, NOW, Script};
use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{Campaign, CampaignId, DeviceId, StreamId, TargetStatus};
use hedgerow_engine::store::checksum::LogReader;
use hedgerow_engine::store::{Activity, EventStore, StreamAppend};
use hedgerow_engine::view::{
    CampaignOrder, CampaignQuery, Follower, MemoryViews, TargetQuery, ViewStore, Views,
};
use hedgerow_sqlite::{SqliteStore, SqliteViews};
use uuid::Uuid;

const TARGETS: u32 = 1_000_000;
const CAMPAIGNS: u32 = 100_000;

/// As in the `hedgerow` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let script = Script::new(TARGETS, TARGETS, MAX_PENDING);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.db");
    let store = Arc::new(SqliteStore::open(&path).expect("it opens"));
    let events = script.events();
    write(&*store, 0, std::slice::from_ref(&script.created));
    write(&*store, 1, &events);
    let devices = devices(&script, &events);
    let total = events.len() + 1;
    drop(events);

    let in_file = Arc::new(SqliteViews::open(SqliteViews::beside(&path)).expect("it opens"));
    println!(
        "| Rows of {} events | Time | Events/s | Processor time for an event |",
        thousands(total)
    );
    println!("|---|---:|---:|---:|");
    told("read from SQLite, for comparison", total, || read_all(&store));
    told("read and compared with the checksums", total, || read_and_check(&store));
    let memory = Arc::new(MemoryViews::new());
    told("made in memory", total, || follow(&store, memory));
    told("made in a SQLite file", total, || follow(&store, in_file.clone()));

    write_small_campaigns(&*store, &script);
    told(
        &format!("{} campaigns more, in a SQLite file", thousands(CAMPAIGNS as usize)),
        CAMPAIGNS as usize,
        || follow(&store, in_file.clone()),
    );

    let views = Views::new(in_file);
    let StreamId::Campaign(id) = stream() else { return };
    println!("\n| A page of 50 | Median | 99 of 100 | Slowest |");
    println!("|---|---:|---:|---:|");
    pages("targets by status, anywhere in the snapshot", |place| {
        let after = Some(place * (TARGETS / PAGES));
        let status = Some(TargetStatus::Successful);
        let query = TargetQuery { status, after, ..TargetQuery::default() };
        let page = block_on(views.targets(&tenant(), id, &query)).expect("a page");
        assert_eq!(page.map(|page| page.targets.len()), Some(50));
    });
    let mut after = None;
    pages("campaigns, one page after the other", |_| {
        let query = CampaignQuery { after: after.take(), ..CampaignQuery::default() };
        let page = block_on(views.campaigns(&tenant(), &query)).expect("a page");
        assert_eq!(page.entries.len(), 50);
        after = page.next;
    });
    let mut after = None;
    pages("campaigns by name", |_| {
        let order = CampaignOrder::Name;
        let query = CampaignQuery { after: after.take(), order, ..CampaignQuery::default() };
        let page = block_on(views.campaigns(&tenant(), &query)).expect("a page");
        assert_eq!(page.entries.len(), 50);
        after = page.next;
    });
    pages("the target of a device", |place| {
        let device = devices[(place * (TARGETS / PAGES)) as usize];
        let target = block_on(views.target(&tenant(), id, device)).expect("read");
        assert_eq!(target.map(|target| target.device), Some(device));
    });
    pages("operations of a device", |place| {
        let device = devices[(place * (TARGETS / PAGES)) as usize];
        let page = block_on(views.operations(&tenant(), device, None, 50)).expect("a page");
        assert_eq!(page.entries.len(), 1);
    });
}

fn follow(store: &Arc<SqliteStore>, rows: Arc<dyn ViewStore>) {
    let log: Arc<dyn EventStore> = store.clone();
    block_on(Follower::new(log, rows).catch_up()).expect("it is followed");
}

fn read_all(store: &SqliteStore) {
    let mut position = 0;
    loop {
        let page = block_on(store.read_all(position, 10_000)).expect("it is read");
        let Some(last) = page.last() else { return };
        position = last.position;
    }
}

fn read_and_check(store: &SqliteStore) {
    block_on(async {
        let mut reader = LogReader::new(store).await.expect("it is read");
        while !reader.page(10_000).await.expect("every checksum fits").is_empty() {}
    });
}

fn write_small_campaigns(store: &dyn EventStore, script: &Script) {
    for chunk in 0..CAMPAIGNS / 1_000 {
        let batch = (0..1_000).map(|place| {
            let id =
                CampaignId::from_uuid(Uuid::from_u128(u128::from(chunk * 1_000 + place) << 64));
            Campaign::begin(tenant(), id, &script.created, NOW).expect("it begins");
            StreamAppend {
                tenant: tenant(),
                stream: StreamId::Campaign(id),
                expected_version: 0,
                events: vec![encoded(&script.created)],
                claims_taken: Vec::new(),
                claims_released: Vec::new(),
                operations: Vec::new(),
                activity: Activity::Active,
            }
        });
        block_on(store.append(batch.collect())).expect("it is written");
    }
}

/// The devices of the snapshot.
fn devices(script: &Script, events: &[CampaignEvent]) -> Vec<DeviceId> {
    let mut campaign = script.begin();
    let extends = |event: &&CampaignEvent| matches!(event, CampaignEvent::SnapshotExtended(_));
    for event in events.iter().filter(extends) {
        campaign.apply(event, NOW).expect("it follows");
    }
    campaign.devices().to_vec()
}
