//! The pages of the guides, as a service on axum adds them, asked over HTTP: campaigns, targets that
//! failed, and what happens, as it happens, for a browser that goes away and comes back.
#![allow(clippy::needless_pass_by_value)] // As `map_err` hands errors over.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use fleet::{Fleet, definition, tenant};
use hedgerow_engine::EngineBuilder;
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_sqlite::{SqliteStore, SqliteViews};
use serde_json::Value;

mod fleet;
mod http;

// ANCHOR: uses
use std::convert::Infallible;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::{Json, Router, routing::get};
use futures::future::ready;
use futures::{StreamExt, stream};
use hedgerow_core::{CampaignId, TenantId};
use hedgerow_engine::view::{CampaignEntry, CampaignQuery, Page, TargetEntries, TargetQuery};
use hedgerow_engine::{Engine, EngineError, Position};
// ANCHOR_END: uses

const CAMPAIGN: CampaignId = CampaignId::from_uuid(uuid::Uuid::from_u128(1));

// ANCHOR: service
#[derive(Clone)]
struct Service {
    engine: Engine,
    tenant: TenantId,
}

type Ours = State<Service>;
type Refusal = (StatusCode, String);

fn refusal(error: EngineError) -> Refusal {
    let later = error.is_retryable();
    let status = if later { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT };
    (status, error.to_string())
}

fn router(service: Service) -> Router {
    Router::new()
        .route("/campaigns", get(campaigns))
        .route("/campaigns/{id}/targets", get(targets))
        .route("/live", get(live))
        .with_state(service)
}
// ANCHOR_END: service

// ANCHOR: campaigns
async fn campaigns(
    our: Ours,
    query: Query<CampaignQuery>,
) -> Result<Json<Page<CampaignEntry>>, Refusal> {
    our.engine.campaigns(&our.tenant, &query).await.map(Json).map_err(refusal)
}
// ANCHOR_END: campaigns

// ANCHOR: targets
async fn targets(
    our: Ours,
    id: Path<CampaignId>,
    query: Query<TargetQuery>,
) -> Result<Json<TargetEntries>, Refusal> {
    let page = our.engine.targets(&our.tenant, *id, &query).await.map_err(refusal)?;
    page.map(Json).ok_or((StatusCode::NOT_FOUND, "there is no such campaign".to_owned()))
}
// ANCHOR_END: targets

// ANCHOR: live
async fn live(our: Ours, headers: HeaderMap) -> Result<impl IntoResponse, Refusal> {
    // A browser that comes back says which event it has seen last.
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let from = seen.map_or(Position::Now, Position::After);
    let events = our.engine.subscribe(&our.tenant, from).await.map_err(refusal)?;
    // So that one that is cut before anything happens comes back to where it was.
    let here = Event::default().id(events.position().to_string()).event("here").data("");
    let events = events.map(|told| {
        Ok::<_, Infallible>(match told {
            Ok(stored) => Event::default()
                .id(stored.position.to_string())
                .event(stored.event.event_type)
                .data(String::from_utf8_lossy(&stored.event.data)),
            Err(error) => Event::default().event("error").data(error.to_string()),
        })
    });
    let events = stream::once(ready(Ok(here))).chain(events);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
// ANCHOR_END: live

/// The ids and kinds of the next events that a browser is told.
fn told(address: SocketAddr, last: Option<u64>, until: &str) -> Vec<(u64, String)> {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let seen = last.map_or_else(String::new, |last| format!("Last-Event-ID: {last}\r\n"));
    write!(stream, "GET /live HTTP/1.1\r\nHost: localhost\r\n{seen}\r\n").expect("sent");
    let (mut told, mut id, mut kind) = (Vec::new(), None, None);
    for line in BufReader::new(stream).lines() {
        let line = line.expect("it goes on");
        if let Some(found) = line.strip_prefix("id: ") {
            id = found.parse().ok();
        } else if let Some(found) = line.strip_prefix("event: ") {
            kind = Some(found.to_owned());
        }
        if line.is_empty()
            && let (Some(id), Some(kind)) = (id.take(), kind.take())
        {
            if kind == "here" {
                assert!(last.is_none_or(|last| last == id), "it is where it was: {id}");
                continue;
            }
            let is_last = kind == until;
            told.push((id, kind));
            if is_last {
                return told;
            }
        }
    }
    panic!("it ends after {told:?}");
}

#[test]
fn pages_show_campaigns_and_failures_and_a_live_page_goes_on_where_it_was_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pages.db");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Arc::new(SqliteStore::open(&file).expect("a new store"));
        let rows = SqliteViews::open(SqliteViews::beside(&file)).expect("new rows");
        let clock = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
        let fleet = Arc::new(Fleet::new(2, "2.0.0"));
        let ports = EngineBuilder::new(store, fleet.clone(), fleet, clock.clone(), clock);
        let engine = ports.views(Arc::new(rows)).start().await.expect("a store");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let service = Service { engine: engine.clone(), tenant: tenant() };
        tokio::spawn(async move { axum::serve(listener, router(service)).await });

        engine
            .create(&tenant(), CAMPAIGN, definition("stable", 1), None)
            .await
            .expect("it is created");
        let browse = |path: String| async move {
            let call = move || http::call(address, "GET", &path, &Value::Null);
            tokio::task::spawn_blocking(call).await.expect("no panic")
        };
        let all = tokio::task::spawn_blocking(move || told(address, Some(0), "campaign_finished"));
        let all = all.await.expect("no panic");
        assert_eq!(all[0], (1, "campaign_created".to_owned()));
        // One that was cut behind any of them is told the others.
        for cut in 0..all.len() - 1 {
            let last = Some(all[cut].0);
            let back =
                tokio::task::spawn_blocking(move || told(address, last, "campaign_finished"));
            assert_eq!(back.await.expect("no panic"), all[cut + 1..]);
        }

        let (status, page) = browse("/campaigns?status=finished&limit=5".to_owned()).await;
        assert_eq!(status, 200, "{page}");
        assert_eq!(page["entries"][0]["definition"]["name"], "spring");
        assert_eq!(page["next"], Value::Null);
        let targets = format!("/campaigns/{CAMPAIGN}/targets?status=successful&limit=1");
        let (status, page) = browse(targets).await;
        assert_eq!((status, &page["next"]), (200, &Value::from(0)), "{page}");
        assert_eq!(page["targets"][0]["status"], "successful");
        let failed = format!("/campaigns/{CAMPAIGN}/targets?reason=network_error");
        assert_eq!(browse(failed).await.1["targets"], Value::Array(Vec::new()));
        let (status, _) = browse("/campaigns?state=finished".to_owned()).await;
        assert_eq!(status, 400, "a key that nobody knows is refused");
        engine.shutdown().await;
    });
    runtime.shutdown_background();
}
