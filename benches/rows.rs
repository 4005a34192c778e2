//! Rows from zero: how fast they are made from a log of many campaigns at once, and where the time
//! goes.
//!
//! Twenty campaigns at a time write to the log in turn, a hundred events at once, over a fleet of
//! 100,000 devices, and then pages of their rows are read. How many there are may be said:
//! `cargo bench --bench rows -- 1000`.

use std::sync::Arc;

use futures::executor::block_on;
use hedgerow_benches::campaigns::{DEVICES, write_campaigns};
use hedgerow_benches::device;
use hedgerow_benches::log::tenant;
use hedgerow_benches::measure::{pages, thousands, told};
use hedgerow_core::{CampaignId, TargetStatus};
use hedgerow_engine::store::EventStore;
use hedgerow_engine::store::checksum::LogReader;
use hedgerow_engine::view::{
    CampaignOrder, CampaignQuery, Follower, MemoryViews, TargetQuery, ViewStore, Views,
};
use hedgerow_sqlite::{SqliteStore, SqliteViews};
use uuid::Uuid;

const CAMPAIGNS: u32 = 100;
/// That is 5,000 events and five.
const TARGETS: u32 = 1_250;
const AT_ONCE: usize = 100;

/// As in the `hedgerow` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let campaigns = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(CAMPAIGNS);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("store.db");
    let store = Arc::new(SqliteStore::open(&path).expect("it opens"));
    let total = write_campaigns(&*store, campaigns, TARGETS, AT_ONCE);
    println!(
        "| Rows of {} events of {} campaigns | Time | Events/s | Processor time for an event |",
        thousands(total),
        thousands(campaigns as usize)
    );
    println!("|---|---:|---:|---:|");
    told("read from SQLite, for comparison", total, || read_all(&store));
    told("read and compared with the checksums", total, || read_and_check(&store));
    let memory = Arc::new(MemoryViews::new());
    told("made in memory", total, || follow(&store, memory));
    let in_file = Arc::new(SqliteViews::open(SqliteViews::beside(&path)).expect("it opens"));
    told("made in a SQLite file", total, || follow(&store, in_file.clone()));
    println!("\n| A page of 50 | Median | 99 of 100 | Slowest |");
    println!("|---|---:|---:|---:|");
    let views = Views::new(in_file);
    read_pages(&views, campaigns);
    store.close();
}

fn read_pages(views: &Views, campaigns: u32) {
    let tenant = tenant();
    pages("operations of a device", |place| {
        let device = device(place.wrapping_mul(7_919) % DEVICES);
        let page = block_on(views.operations(&tenant, device, None, 50)).expect("a page");
        drop(page);
    });
    let campaign = |place: u32| {
        CampaignId::from_uuid(Uuid::from_u128((u128::from(place % campaigns) + 1) << 64))
    };
    pages("targets of a campaign by status", |place| {
        let status = Some(TargetStatus::Successful);
        let query = TargetQuery { status, after: Some(place), ..TargetQuery::default() };
        let page = block_on(views.targets(&tenant, campaign(place), &query)).expect("a page");
        assert_eq!(page.map(|page| page.targets.len()), Some(50));
    });
    for (what, order) in [("newest first", CampaignOrder::Newest), ("by name", CampaignOrder::Name)]
    {
        let mut after = None;
        pages(&format!("campaigns, {what}"), |_| {
            let query = CampaignQuery { after: after.take(), order, ..CampaignQuery::default() };
            after = block_on(views.campaigns(&tenant, &query)).expect("a page").next;
        });
    }
    pages("a campaign", |place| {
        let campaign = block_on(views.campaign(&tenant, campaign(place))).expect("read");
        assert!(campaign.is_some());
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
