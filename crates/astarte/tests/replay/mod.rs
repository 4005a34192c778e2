//! A recording, and a server that answers from it: to each request what was answered at the place
//! that the replay has reached.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A request to Astarte: what was sent.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Request {
    pub(crate) api: String,
    pub(crate) method: String,
    pub(crate) path: String,
    query: String,
    headers: BTreeMap<String, String>,
    #[serde(default)]
    claims: Value,
    pub(crate) body: Value,
}

/// A delivery of a trigger, and the status of its answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Trigger {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
    pub(crate) status: u16,
}

/// One thing of the recording.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Request(Request),
    Trigger(Trigger),
    /// What went between Astarte and devices.
    Else,
}

fn lines() -> Vec<Value> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/campaign.jsonl");
    let text = std::fs::read_to_string(file).expect("a recording");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The whole recording.
pub(crate) fn recording() -> Vec<What> {
    let read = |line: Value| match line["kind"].as_str() {
        Some("request") => What::Request(serde_json::from_value(line).expect("a request")),
        Some("trigger") => What::Trigger(serde_json::from_value(line).expect("a trigger")),
        _ => What::Else,
    };
    lines().into_iter().map(read).collect()
}

impl Request {
    /// What tells which answer belongs to it. The stamp in a query depends on what came first.
    fn key(&self) -> (&str, &str, &str) {
        let query = self.query.split_once("since_after=").map_or(&*self.query, |_| "since_after");
        (&self.method, &self.path, query)
    }

    fn is_sent_as(&self, recorded: &Self) -> bool {
        self.key() == recorded.key()
            && (&self.headers, &self.claims, &self.body)
                == (&recorded.headers, &recorded.claims, &recorded.body)
    }
}

/// A request of the recording, and its answer.
struct Answered {
    place: usize,
    request: Request,
    status: u16,
    answer: Value,
}

/// The server.
pub(crate) struct Replay {
    pub(crate) base_url: String,
    shared: Arc<Shared>,
}

struct Shared {
    answered: Vec<Answered>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reached: usize,
    asked: Vec<Request>,
    unknown: BTreeSet<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// The latest answer to that request so far, or else the first one after.
    fn answer(&self, request: Request) -> Response {
        let mut state = self.state();
        let fitting = || self.answered.iter().filter(|one| request.is_sent_as(&one.request));
        let latest = fitting().take_while(|one| one.place <= state.reached).last();
        let answer = latest.or_else(|| fitting().next());
        if answer.is_none() {
            state.unknown.insert(format!("{request:?}"));
        }
        state.asked.push(request);
        let (status, body) =
            answer.map_or((500, json!(null)), |one| (one.status, one.answer.clone()));
        let status = StatusCode::from_u16(status).expect("a status");
        (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    }
}

impl Replay {
    /// Answers what was asked of that API.
    pub(crate) async fn start(api: &str) -> Self {
        let places = lines().into_iter().enumerate().filter(|(_, line)| line["api"] == api);
        let answered = places.map(|(place, line)| Answered {
            place,
            status: line["status"].as_u64().and_then(|s| s.try_into().ok()).expect("a status"),
            answer: line["answer"].clone(),
            request: serde_json::from_value(line).expect("a request"),
        });
        let shared = Arc::new(Shared { answered: answered.collect(), state: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("http://{}", listener.local_addr().expect("an address"));
        let answering = Arc::clone(&shared);
        let router = Router::new().fallback(move |request: axum::extract::Request| {
            let shared = Arc::clone(&answering);
            async move { shared.answer(read(request).await) }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base_url, shared }
    }

    /// The replay has come to that place of the recording.
    pub(crate) fn reached(&self, place: usize) {
        self.shared.state().reached = place;
    }

    /// The requests of the recording, in order.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.shared.answered.iter().map(|answered| &answered.request)
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.shared.state().asked.clone()
    }

    /// What was asked, but is not in the recording.
    pub(crate) fn unknown(&self) -> BTreeSet<String> {
        self.shared.state().unknown.clone()
    }

    /// Waits until that was asked.
    pub(crate) async fn until_asked(&self, request: &Request) {
        let waits = async {
            while !self.shared.state().asked.iter().any(|asked| asked.is_sent_as(request)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), waits).await;
        assert!(waited.is_ok(), "not asked: {request:?}\nbut: {:#?}", self.unknown());
    }
}

/// A request as it came, in the form of the recording.
async fn read(request: axum::extract::Request) -> Request {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a body");
    let path = parts.uri.path().trim_start_matches('/');
    let (api, path) = path.split_once("/v1/gardens/").expect("a path in the realm");
    let api = if api == "appengine" { "app_engine" } else { "realm_management" };
    let text = |name: &header::HeaderName| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let token = text(&header::AUTHORIZATION).strip_prefix("Bearer ").expect("a token");
    let token = jsonwebtoken::dangerous::insecure_decode::<Value>(token).expect("a JWT");
    let mut claims = token.claims;
    let seconds = |claim: &Value| claim.as_i64().expect("seconds");
    let lasts = seconds(&claims["exp"]) - seconds(&claims["iat"]);
    (claims["iat"], claims["exp"]) = (json!(0), json!(lasts));
    let unrecorded =
        [header::AUTHORIZATION, header::CONNECTION, header::CONTENT_LENGTH, header::HOST];
    let headers = parts.headers.keys().filter(|name| !unrecorded.contains(name));
    let headers = headers.map(|name| {
        let value = match name.as_str() {
            "x-request-id" => "ID".to_owned(),
            "user-agent" => {
                format!("{}/VERSION", text(name).split('/').next().unwrap_or_default())
            }
            _ => text(name).to_owned(),
        };
        (name.to_string(), value)
    });
    let mut body: Value = serde_json::from_slice(&body).unwrap_or_default();
    Request {
        api: api.to_owned(),
        method: parts.method.to_string(),
        path: path.to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        claims,
        body: body.get_mut("data").map(Value::take).unwrap_or_default(),
    }
}
