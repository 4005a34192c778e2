//! A server that answers as a test tells it to, and remembers what it was asked.

// Each test file uses some of it.
#![allow(dead_code, unreachable_pub)]

pub mod world;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hedgerow_astarte::{Astarte, Credentials, HttpConnections, HttpSettings, Realm};
use hedgerow_core::{DeviceId, TenantId};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A token that no server here looks into.
pub const TOKEN: &str = "aaa.bbb.ccc";

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// The path behind the realm, with its API.
    pub path: String,
    pub query: String,
    pub authorization: String,
    pub body: Value,
}

/// What to answer: a status and a body.
pub type Told = (u16, Value);

#[derive(Clone)]
pub struct Fake {
    pub base_url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// A server on a free port that answers with what `tell` says.
    pub async fn start(tell: impl Fn(&Asked) -> Told + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base_url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (seen, tell) = (Arc::clone(&asked), Arc::new(tell));
        let router = Router::new().fallback(move |request: Request| {
            let (seen, tell) = (Arc::clone(&seen), Arc::clone(&tell));
            async move {
                let asked = read(request).await;
                // A test may keep an answer back, which must hold nothing else up.
                let of = asked.clone();
                let told = tokio::task::spawn_blocking(move || tell(&of));
                let (status, body) = told.await.expect("no panic");
                seen.lock().expect("no panic").push(asked);
                answer(status, &body)
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base_url, asked }
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// The realm `realm` at this server.
    pub fn astarte(&self) -> Astarte {
        astarte_at(&self.base_url)
    }
}

/// The realm `realm` at an Astarte.
pub fn astarte_at(base_url: &str) -> Astarte {
    let connections = HttpConnections::new(&HttpSettings::default()).expect("TLS");
    let credentials = Credentials::token(TOKEN).expect("a token");
    let realm = Realm { tenant: tenant(), base_url: base_url.to_owned(), credentials };
    Astarte::new(&connections, [realm]).expect("a base URL")
}

async fn read(request: Request) -> Asked {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a body");
    let path = parts.uri.path().trim_start_matches('/').to_owned();
    let (api, rest) = path.split_once("/v1/realm").unwrap_or(("", &path));
    let authorization = parts.headers.get(header::AUTHORIZATION);
    Asked {
        method: parts.method.to_string(),
        path: format!("{api}{rest}"),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        authorization: authorization.map_or("", |v| v.to_str().unwrap_or("")).to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

fn answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    // A text stands for the page of a proxy.
    match body {
        Value::String(text) => (status, text.clone()).into_response(),
        body => (status, body.to_string()).into_response(),
    }
}

pub fn tenant() -> TenantId {
    "realm".parse().expect("a tenant")
}

pub fn device(byte: u8) -> DeviceId {
    DeviceId::from_bytes([byte; 16])
}

pub fn data(data: &Value) -> Value {
    json!({ "data": data })
}

pub fn error(detail: &str) -> Value {
    json!({ "errors": { "detail": detail } })
}

/// The status of a connected device that can update.
pub fn status(device: DeviceId) -> Value {
    json!({
        "id": device,
        "connected": true,
        "last_connection": "2026-08-21T10:00:00.000Z",
        "last_disconnection": null,
        "introspection": {
            "io.edgehog.devicemanager.OTARequest": { "major": 1, "minor": 0, "exchanged_msgs": 3 },
            "io.edgehog.devicemanager.OTAEvent": { "major": 0, "minor": 1, "exchanged_msgs": 3 },
            "io.edgehog.devicemanager.BaseImage": { "major": 0, "minor": 1, "exchanged_msgs": 3 },
        },
        "attributes": { "model": "gateway" },
        "deletion_in_progress": false,
    })
}
