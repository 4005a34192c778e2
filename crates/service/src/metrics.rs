//! What an operator watches, as Prometheus reads it: `/metrics`.

use std::fmt::{Display, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hedgerow_astarte::TriggerReceiver;
use hedgerow_core::TenantId;
use hedgerow_engine::{Engine, EngineStats};

/// What the numbers are read from.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) engine: Engine,
    pub(crate) receiver: TriggerReceiver,
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) counters: Arc<Counters>,
}

/// What the service counts itself.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Answers, by the first digit of their status.
    answers: [AtomicU64; 6],
    /// Files that were removed because nothing names them.
    pub(crate) files_removed: AtomicU64,
    /// Rounds over files that failed.
    pub(crate) file_rounds_failed: AtomicU64,
    /// Files that a record names and that are not there, at the last round.
    pub(crate) files_missing: AtomicU64,
}

/// Counts what is answered.
pub(crate) async fn count(
    State(counters): State<Arc<Counters>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let class = usize::from(response.status().as_u16() / 100);
    if let Some(answers) = counters.answers.get(class) {
        answers.fetch_add(1, Ordering::Relaxed);
    }
    response
}

/// `/metrics` for whoever asks.
pub(crate) fn open_router(metrics: Metrics) -> Router {
    Router::new()
        .route("/metrics", get(|State(metrics)| async move { text(&metrics) }))
        .with_state(metrics)
}

/// `/metrics` for this machine alone.
pub(crate) fn own_router(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(own)).with_state(metrics)
}

async fn own(
    State(metrics): State<Metrics>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
) -> Response {
    // Without a peer, somebody handed the request on.
    let is_own = peer.is_some_and(|Extension(peer)| peer.0.ip().to_canonical().is_loopback());
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    // A name that leads here and is not this machine's is one that a page has made up.
    if !is_own || !host.is_some_and(is_this_machine) {
        let hint = "metrics are given to this machine only: set http.metrics_listen to open a port for them";
        return (StatusCode::FORBIDDEN, hint).into_response();
    }
    text(&metrics)
}

/// A host that surely is this machine, with or without a port.
fn is_this_machine(host: &str) -> bool {
    let parsed = |text: &str| text.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || parsed(name.trim_matches(['[', ']'])) || parsed(host)
}

fn text(metrics: &Metrics) -> Response {
    let text = metrics.text();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// Lines as Prometheus reads them.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn about(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "# HELP hedgerow_{name} {help}\n# TYPE hedgerow_{name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.about(name, kind, help);
        let _ = writeln!(self.0, "hedgerow_{name} {value}");
    }

    fn of<L: Display>(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        label: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) {
        self.about(name, kind, help);
        for (of, value) in values {
            // Labels are names of this program and tenants, which have no quotes in them.
            let _ = writeln!(self.0, "hedgerow_{name}{{{label}=\"{of}\"}} {value}");
        }
    }
}

impl Metrics {
    fn text(&self) -> String {
        let mut lines = Lines::default();
        let version = [(env!("CARGO_PKG_VERSION"), 1)];
        lines.of(("build_info", "gauge", "Which version this is."), "version", version);
        engine_lines(&mut lines, &self.engine.stats());
        let quarantined = self
            .tenants
            .iter()
            .map(|tenant| (tenant, self.engine.quarantined(tenant).len() as u64));
        let help = "Campaigns that cannot be read and are out of service.";
        lines.of(("quarantined", "gauge", help), "tenant", quarantined);
        let told = self.receiver.counts();
        let help = "Deliveries of Astarte's triggers, by what became of them.";
        let answers = [
            ("taken", told.taken),
            ("passed", told.passed),
            ("unauthorized", told.unauthorized),
            ("foreign", told.foreign),
            ("malformed", told.malformed),
            ("refused", told.refused),
            ("not_now", told.not_now),
            ("overloaded", told.overloaded),
        ];
        lines.of(("triggers_total", "counter", help), "answer", answers);
        let help = "Events that Astarte stamped far ahead of this machine's clock.";
        lines.one("stamped_ahead_total", "counter", help, told.stamped_ahead);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let answers = self.counters.answers.iter().enumerate().skip(1);
        let answers = answers.map(|(class, count)| (format!("{class}xx"), read(count)));
        let help = "HTTP answers, by the class of their status.";
        lines.of(("http_answers_total", "counter", help), "class", answers);
        let help = "Image files that were removed because nothing names them.";
        lines.one("files_removed_total", "counter", help, read(&self.counters.files_removed));
        let help = "Rounds over image files that failed.";
        lines.one(
            "file_rounds_failed_total",
            "counter",
            help,
            read(&self.counters.file_rounds_failed),
        );
        let help = "Image files that a record names and that were not there at the last round.";
        lines.one("files_missing", "gauge", help, read(&self.counters.files_missing));
        lines.0
    }
}

fn engine_lines(lines: &mut Lines, stats: &EngineStats) {
    let errors = &stats.transport_errors;
    for (name, help, value) in [
        ("update_requests_total", "Update requests that were answered or failed.", stats.requests),
        ("resends_total", "Requests that were sent again.", stats.resends),
        ("cancels_total", "Cancel requests that were answered or failed.", stats.cancels),
        ("versions_read_total", "Reads of a device's version.", stats.versions_read),
        ("reports_total", "Reports of devices.", stats.reports),
        ("late_reports_total", "Reports about operations that had ended.", stats.late_reports),
        ("refused_reports_total", "Reports that were refused for good.", stats.refused_reports),
        ("appends_total", "Appends to the log that are durable.", stats.appends),
        ("events_total", "Events in these appends.", stats.events),
        ("event_bytes_total", "Bytes of the payloads of these events.", stats.bytes),
        ("appends_refused_total", "Appends that the store refused.", stats.appends_refused),
        ("appends_failed_total", "Appends that failed, and may be durable.", stats.appends_failed),
    ] {
        lines.one(name, "counter", help, value);
    }
    let kinds = [
        ("temporary", errors.temporary),
        ("permanent", errors.permanent),
        ("timed_out", errors.timed_out),
        ("panicked", errors.panicked),
    ];
    let help = "Calls to Astarte that failed, by kind; those that timed out are temporary, too.";
    lines.of(("transport_errors_total", "counter", help), "kind", kinds);
    let refusals = [
        ("messages", stats.refusals.messages),
        ("opening", stats.refusals.opening),
        ("subscribers", stats.refusals.subscribers),
    ];
    let help = "What was refused because as much was under way as may be.";
    lines.of(("refusals_total", "counter", help), "what", refusals);
    for (name, help, value) in [
        ("streams", "Campaigns and manual updates in memory.", stats.streams),
        ("messages_waiting", "Messages that wait for these.", stats.waiting),
        (
            "messages_waiting_in_fullest",
            "Messages that wait for one of these.",
            stats.waiting_in_fullest,
        ),
        ("subscribers", "Subscriptions to the log.", stats.subscribers),
        ("largest_append_bytes", "The most bytes of one append.", stats.largest_append_bytes),
    ] {
        lines.one(name, "gauge", help, value);
    }
    if let Some(rows) = &stats.rows {
        let help = "How far rows are behind the log, in milliseconds.";
        lines.one("rows_behind_milliseconds", "gauge", help, rows.behind_ms);
        let help = "How often rows could not be made.";
        lines.one("row_failures_total", "counter", help, rows.failures);
    }
}
