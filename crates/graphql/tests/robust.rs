//! Clients that mean harm, or are slow, and rows that are: nobody else is to notice.

mod support;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use hedgerow_core::ReportStatus;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::view::{
    Direction, MemoryViews, Reached, Row, RowKey, Step, StepError, ViewError, ViewStore,
};
use hedgerow_graphql::Limits;
use serde_json::{Value, json};
use support::{TENANT, global, serve, serve_on, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A document whose fragments spread the next one twice.
fn doubling(depth: usize) -> String {
    let fragments = (0..depth).map(|n| {
        let next = n + 1;
        format!("fragment f{n} on RootQueryType {{ ...f{next} ...f{next} }}")
    });
    let last = format!("fragment f{depth} on RootQueryType {{ __typename }}");
    let all = ["{ ...f0 }".to_owned()].into_iter().chain(fragments).chain([last]);
    all.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn documents_that_would_use_up_a_stack_or_years_are_refused_on_every_way_in() {
    let served = serve().await;
    let deep = "[".repeat(6_000) + &"]".repeat(6_000);
    let deep = format!("{{ campaigns(filter: {{name: {{in: {deep}}}}}) {{ count }} }}");
    for text in [deep, doubling(30)] {
        let answer = soon(served.ask(&text, json!({}))).await;
        assert_eq!(answer["errors"][0]["code"], "invalid_query", "{answer}");
        let form = soon(served.form(&[("query", None, text.as_bytes())])).await;
        assert_eq!(form.body["errors"][0]["code"], "invalid_query", "{form:?}");
        let mut socket = served.socket().await;
        let reply = socket.doc(&text, json!({})).await;
        assert_eq!(reply["status"], "error");
        let url = format!("ws://{}/tenants/{TENANT}/socket", served.address);
        let (mut stream, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        for message in [
            json!({"type": "connection_init"}),
            json!({"type": "subscribe", "id": "a", "payload": {"query": text}}),
        ] {
            let message = tokio_tungstenite::tungstenite::Message::text(message.to_string());
            futures::SinkExt::send(&mut stream, message).await.unwrap();
        }
        let mut told = soon(futures::StreamExt::next(&mut stream)).await.unwrap().unwrap();
        assert!(told.to_text().unwrap().contains("connection_ack"), "{told}");
        told = soon(futures::StreamExt::next(&mut stream)).await.unwrap().unwrap();
        assert!(told.to_text().unwrap().contains("\"error\""), "{told}");
    }
    assert!(served.data("{ tenantInfo { slug } }", json!({})).await.is_object());
}

/// Opens a socket by hand, and returns how that was answered.
async fn stranger(served: &support::Served, path: &str) -> (TcpStream, u16) {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        served.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(soon(stream.read_u8()).await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    (stream, answer.split(' ').nth(1).unwrap().parse().unwrap())
}

#[tokio::test]
async fn strangers_have_few_places_and_short_frames_and_take_nothing_from_others() {
    let served = serve().await;
    // It says that it has two megabytes to tell, and tells nothing.
    let long = [0x81, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 1, 2, 3, 4];
    for path in ["/tenants/elsewhere/socket", "/socket/websocket?vsn=2.0.0&tenant=demo"] {
        let (mut stream, status) = stranger(&served, path).await;
        assert_eq!(status, 101);
        stream.write_all(&long).await.unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
        let _ = end.await.expect("it is closed at once");
        let waited = rest.windows(14).any(|part| part == b"initialisation");
        assert!(!waited, "it is closed for its length, and not as it says nothing");
    }
    let mut all = Vec::new();
    let mut refused = false;
    for _ in 0..300 {
        let (stream, status) = stranger(&served, "/tenants/elsewhere/socket").await;
        all.push(stream);
        refused |= status == 503;
        if refused {
            break;
        }
    }
    assert!(refused, "there is an end to strangers");
    // Who is known has a place.
    let mut socket = served.socket().await;
    let reply = socket.call("phoenix", "heartbeat", json!({})).await;
    assert_eq!(reply["status"], "ok");
}

#[tokio::test]
async fn a_form_has_only_so_many_parts_and_so_long_heads() {
    let served = serve().await;
    let many: Vec<_> = (0..200).map(|_| ("query", None, &b""[..])).collect();
    assert_eq!(served.form(&many).await.status, 400);
    let mut body = b"--edge\r\nContent-Disposition: form-data; name=\"query\"\r\nX: ".to_vec();
    body.resize(3 * 1024 * 1024, b'a');
    body.extend_from_slice(b"\r\n\r\n{ tenantInfo { slug } }\r\n--edge--\r\n");
    let head = "Content-Type: multipart/form-data; boundary=edge\r\n";
    let answer = served.post(TENANT, head, &body).await;
    assert_ne!(answer.status, 200, "{answer:?}");
    let whole = served.form(&[("query", None, b"{ tenantInfo { slug } }")]).await;
    assert_eq!(whole.body["data"]["tenantInfo"]["slug"], TENANT);
}

/// Rows that are written late, once they are told to be.
#[derive(Default)]
struct SlowViews {
    rows: MemoryViews,
    are_slow: Arc<AtomicBool>,
}

impl ViewStore for SlowViews {
    fn reached(&self) -> BoxFuture<'_, Result<Option<Reached>, ViewError>> {
        self.rows.reached()
    }

    fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>> {
        async move {
            if self.are_slow.load(Ordering::Relaxed) {
                // Longer than a question waits for rows.
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
            self.rows.write(step).await
        }
        .boxed()
    }

    fn get(&self, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ViewError>> {
        self.rows.get(keys)
    }

    fn scan(
        &self,
        range: Range<RowKey>,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, ViewError>> {
        self.rows.scan(range, direction, limit)
    }

    fn clear(&self, from: Option<Reached>) -> BoxFuture<'_, Result<(), StepError>> {
        self.rows.clear(from)
    }
}

#[tokio::test]
async fn the_end_of_a_campaign_is_told_also_where_rows_are_slow() {
    let views = SlowViews::default();
    let are_slow = Arc::clone(&views.are_slow);
    let folder = tempfile::tempdir().unwrap();
    let (store, views) = (Arc::new(MemoryStore::new()), Arc::new(views));
    let served = serve_on(store, views, folder, Vec::new(), Limits::default()).await;
    served.devices.count.store(1, Ordering::Relaxed);
    let id = served.campaign("c", 1).await;
    soon(async {
        while served.devices.asked.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let global_id = global("campaign", id);
    let (mut one, mut all, mut targets) =
        (served.socket().await, served.socket().await, served.socket().await);
    let document = "subscription ($id: ID!) { campaign(id: $id) { updated { status outcome } } }";
    one.subscribe(document, json!({"id": global_id})).await;
    // How it stands is told at once: it may have changed since the client asked.
    let (_, first) = one.event().await;
    assert_eq!(first["campaign"]["updated"]["status"], "IN_PROGRESS");
    // And so it is to whoever joins.
    let mut late = served.socket().await;
    late.subscribe(document, json!({"id": global_id})).await;
    let (_, first) = late.event().await;
    assert_eq!(first["campaign"]["updated"]["status"], "IN_PROGRESS");
    all.subscribe("subscription { campaigns { updated { status } } }", json!({})).await;
    let document = "subscription ($id: ID!) { campaignTargetsByCampaign(campaignId: $id) { updated { status } } }";
    targets.subscribe(document, json!({"id": global_id})).await;

    are_slow.store(true, Ordering::Relaxed);
    served.report(0, ReportStatus::Success).await;
    served.until(id, |progress| progress.outcome.is_some()).await;
    one.event_that(|data| data["campaign"]["updated"]["status"] == "FINISHED").await;
    late.event_that(|data| data["campaign"]["updated"]["outcome"] == "SUCCESS").await;
    all.event_that(|data| data["campaigns"]["updated"]["status"] == "FINISHED").await;
    let is_final =
        |data: &Value| data["campaignTargetsByCampaign"]["updated"]["status"] == "SUCCESSFUL";
    targets.event_that(is_final).await;
}

#[tokio::test]
async fn what_a_page_shows_may_be_sent_back_while_a_campaign_runs() {
    let served = serve().await;
    served.devices.count.store(2, Ordering::Relaxed);
    let id = global("campaign", served.campaign("c", 1).await);
    let shown = served
        .data("query ($id: ID!) { campaign(id: $id) { scheduledAtTimestamp } }", json!({"id": id}))
        .await;
    let update = "mutation ($id: ID!, $input: UpdateCampaignInput!) { updateCampaign(id: $id, input: $input) { result { campaignMechanism { ... on FirmwareUpgrade { maxInProgressOperations } } } } }";
    let at = &shown["campaign"]["scheduledAtTimestamp"];
    let input = json!({"scheduledAtTimestamp": at, "maxInProgressOperations": 2});
    let updated = served.data(update, json!({"id": id, "input": input})).await;
    let mechanism = &updated["updateCampaign"]["result"]["campaignMechanism"];
    assert_eq!(mechanism["maxInProgressOperations"], 2);
}

#[tokio::test]
async fn a_list_goes_on_behind_what_has_left_it() {
    let served = serve().await;
    served.devices.count.store(4, Ordering::Relaxed);
    let id = served.campaign("c", 4).await;
    soon(async {
        while served.devices.asked.lock().unwrap().len() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let query = "query ($id: ID!, $after: String, $before: String, $first: Int, $last: Int) { campaign(id: $id) { campaignTargets(filter: {status: {eq: IN_PROGRESS}}, sort: [{field: ID, order: ASC}], after: $after, before: $before, first: $first, last: $last) { count edges { cursor } } } }";
    let page = |variables: Value| {
        let served = &served;
        let mut variables = variables;
        variables["id"] = json!(global("campaign", id));
        async move {
            let page = served.data(query, variables).await;
            let edges = page["campaign"]["campaignTargets"]["edges"].as_array().unwrap();
            edges.iter().map(|edge| edge["cursor"].clone()).collect::<Vec<_>>()
        }
    };
    let all = page(json!({})).await;
    assert_eq!(all.len(), 4);
    // The second of them ends between two pages.
    let (device, _) = (0..4)
        .map(|number| {
            (number, global("campaign_target", format!("{id}/{}", support::device(number))))
        })
        .find(|(_, key)| all[1] == key.as_str())
        .unwrap();
    served.report(device, ReportStatus::Success).await;
    served.until(id, |progress| progress.targets.successful == 1).await;
    assert_eq!(page(json!({"first": 2, "after": all[1]})).await, all[2..4]);
    assert_eq!(page(json!({"last": 2, "before": all[1]})).await, all[..1]);

    // What has no outcome is neither that nor not that.
    let query = "query ($filter: CampaignFilterInput) { campaigns(filter: $filter) { edges { node { id } } } }";
    for (filter, count) in [
        (json!({"not": [{"outcome": {"eq": "SUCCESS"}}]}), 0),
        (json!({"not": [{"outcome": {"isNil": false}}]}), 1),
        (json!({"not": [{"name": {"eq": "d"}}]}), 1),
    ] {
        let found = served.data(query, json!({"filter": filter})).await;
        let found = found["campaigns"]["edges"].as_array().unwrap().len();
        assert_eq!(found, count, "{filter}");
    }
}
