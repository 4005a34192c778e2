//! How often rows are asked for one request: as often for a long page as for a short one.

mod support;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hedgerow_engine::ports::BoxFuture;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::view::{Direction, MemoryViews, Row, RowKey, ViewError, ViewLayer, ViewStore};
use hedgerow_graphql::Limits;
use serde_json::json;
use support::{Served, global, serve_on};

/// Rows that count how often they are asked.
#[derive(Default)]
struct Counted {
    rows: MemoryViews,
    asked: AtomicUsize,
}

impl ViewLayer for Counted {
    fn inner(&self) -> &dyn ViewStore {
        &self.rows
    }

    fn get(&self, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ViewError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.rows.get(keys)
    }

    fn scan(
        &self,
        range: Range<RowKey>,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, ViewError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.rows.scan(range, direction, limit)
    }
}

/// A service with a campaign of that many targets, all of them in progress.
async fn with_targets(count: u32) -> (Served, Arc<Counted>, serde_json::Value) {
    let rows = Arc::new(Counted::default());
    let (store, views, folder) =
        (Arc::new(MemoryStore::new()), Arc::clone(&rows), tempfile::tempdir().unwrap());
    let served = serve_on(store, views, folder, Vec::new(), Limits::default()).await;
    served.fleet(count, "GW-1");
    let id = served.campaign("Spring", count).await;
    served.until(id, |progress| progress.targets.in_progress == count).await;
    (served, rows, json!(global("campaign", id)))
}

/// How often rows are asked for a document, once nobody else asks any more.
async fn asked(served: &Served, rows: &Counted, document: &str, id: &serde_json::Value) -> usize {
    // The first is also told what is new since the campaign began.
    served.data(document, json!({"id": id})).await;
    let mut counted = Vec::new();
    for _ in 0..5 {
        let before = rows.asked.load(Ordering::SeqCst);
        served.data(document, json!({"id": id})).await;
        counted.push(rows.asked.load(Ordering::SeqCst) - before);
    }
    // The task that makes rows asks, too, when it happens to look.
    counted.into_iter().min().unwrap()
}

const TARGETS: &str = "query ($id: ID!) { campaign(id: $id) { campaignTargets(first: 250) { edges { node { \
    id status hold { reason } device { id name } campaign { name } \
    otaOperation { status baseImageUrl campaignTarget { status retryCount campaign { name } } } \
    operations { id baseImageUrl campaignTarget { id state fromVersion campaign { id } } } } } } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_targets_costs_as_many_questions_however_long_it_is() {
    let (few, of_few, id) = with_targets(3).await;
    let of_three = asked(&few, &of_few, TARGETS, &id).await;
    let (many, of_many, id) = with_targets(200).await;
    let of_two_hundred = asked(&many, &of_many, TARGETS, &id).await;
    assert!(of_three > 0, "they are answered from rows");
    assert_eq!(of_two_hundred, of_three);
}
