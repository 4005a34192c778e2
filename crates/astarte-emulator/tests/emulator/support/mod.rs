//! What the tests of this crate share: an emulator with a realm, a client of its APIs, a receiver of
//! triggers.

pub(crate) mod mqtt;

use std::time::Duration;

use axum::body::to_bytes;
use axum::http::StatusCode;
use hedgerow_astarte_emulator::{DeviceId, Emulator, EmulatorBuilder, RealmKeys};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub(crate) const REALM: &str = "test";
pub(crate) const OTA_REQUEST: &str = "io.edgehog.devicemanager.OTARequest";
pub(crate) const OTA_EVENT: &str = "io.edgehog.devicemanager.OTAEvent";
pub(crate) const BASE_IMAGE: &str = "io.edgehog.devicemanager.BaseImage";
pub(crate) const SETTINGS: &str = "org.hedgerow.emulator.test.Settings";
pub(crate) const COMMANDS: &str = "org.hedgerow.emulator.test.Commands";

pub(crate) const INTERFACES: [&str; 5] = [
    include_str!("../../interfaces/io.edgehog.devicemanager.OTARequest.json"),
    include_str!("../../interfaces/io.edgehog.devicemanager.OTAEvent.json"),
    include_str!("../../interfaces/io.edgehog.devicemanager.BaseImage.json"),
    include_str!("../../interfaces/org.hedgerow.emulator.test.Settings.json"),
    include_str!("../../interfaces/org.hedgerow.emulator.test.Commands.json"),
];

/// Far more than anything here takes, so that a test that would hang fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn device(number: u8) -> DeviceId {
    DeviceId::from_bytes([number; 16])
}

pub(crate) fn builder() -> EmulatorBuilder {
    let keys = RealmKeys::generate().expect("keys");
    INTERFACES.into_iter().fold(Emulator::builder().realm(REALM, keys), |builder, definition| {
        builder.interface(REALM, definition)
    })
}

pub(crate) async fn start() -> (Emulator, Api) {
    started(builder()).await
}

pub(crate) async fn started(builder: EmulatorBuilder) -> (Emulator, Api) {
    let emulator = builder.start().await.expect("an emulator");
    let api = Api::new(&emulator);
    (emulator, api)
}

/// A client of the APIs that may do everything, unless it has another token.
#[derive(Clone)]
pub(crate) struct Api {
    base: String,
    token: String,
    client: reqwest::Client,
}

impl Api {
    pub(crate) fn new(emulator: &Emulator) -> Self {
        let keys = emulator.realm_keys(REALM).expect("the realm");
        Self {
            base: emulator.base_url().to_owned(),
            token: keys.all_access_token().expect("a token"),
            client: reqwest::Client::builder().no_proxy().build().expect("a client"),
        }
    }

    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// A request to `{api}/v1/test/{path}`.
    pub(crate) fn request(&self, method: Method, api: &str, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}/{api}/v1/{REALM}/{path}", self.base))
            .bearer_auth(&self.token)
    }

    pub(crate) fn emulator(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}/emulator/{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, "appengine", path)).await
    }

    pub(crate) async fn post(&self, path: &str, data: Value) -> (u16, Value) {
        answer(with_data(self.request(Method::POST, "appengine", path), data)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::DELETE, "appengine", path)).await
    }

    pub(crate) async fn patch(&self, path: &str, data: Value) -> (u16, Value) {
        let request = self
            .request(Method::PATCH, "appengine", path)
            .header("content-type", "application/merge-patch+json")
            .body(json!({"data": data}).to_string());
        answer(request).await
    }

    pub(crate) async fn manage(
        &self,
        method: Method,
        path: &str,
        data: Option<Value>,
    ) -> (u16, Value) {
        let request = self.request(method, "realmmanagement", path);
        answer(match data {
            Some(data) => with_data(request, data),
            None => request,
        })
        .await
    }

    /// Installs a trigger that posts to `url`; `simple` is its simple trigger.
    pub(crate) async fn install(&self, name: &str, url: &str, simple: Value, policy: Option<&str>) {
        let mut trigger = json!({
            "name": name,
            "action": {"http_url": url, "http_method": "post",
                       "http_static_headers": {"x-secret": "open sesame"}},
            "simple_triggers": [simple],
        });
        if let Some(policy) = policy {
            trigger["policy"] = json!(policy);
        }
        let (status, body) = self.manage(Method::POST, "triggers", Some(trigger)).await;
        assert_eq!(status, 201, "{body}");
    }
}

/// Adds a body `{"data": data}`.
pub(crate) fn with_data(request: reqwest::RequestBuilder, data: Value) -> reqwest::RequestBuilder {
    request.header("content-type", "application/json").body(json!({"data": data}).to_string())
}

/// The status and the JSON of an answer; `null` if it has no body.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.text().await.expect("a body");
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// What a trigger sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Received {
    pub(crate) realm: String,
    pub(crate) secret: String,
    pub(crate) body: Value,
}

impl Received {
    pub(crate) fn event(&self) -> &Value {
        &self.body["event"]
    }
}

/// A receiver of triggers. It answers with the statuses that it was given, then always 200.
pub(crate) struct Receiver {
    pub(crate) url: String,
    events: mpsc::UnboundedReceiver<Received>,
}

impl Receiver {
    pub(crate) async fn start(statuses: &[u16]) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let statuses: Vec<u16> = statuses.iter().rev().copied().collect();
        let statuses = std::sync::Arc::new(std::sync::Mutex::new(statuses));
        let handler = move |request: axum::extract::Request| {
            let (sender, statuses) = (sender.clone(), statuses.clone());
            async move {
                let (parts, body) = request.into_parts();
                let header = |name: &str| {
                    let value = parts.headers.get(name);
                    value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
                };
                let (realm, secret) = (header("astarte-realm"), header("x-secret"));
                let body = to_bytes(body, 1 << 20).await.expect("a body");
                let body = serde_json::from_slice(&body).expect("JSON");
                let status = statuses.lock().expect("no panic").pop().unwrap_or(200);
                // Nobody listens any more at the end of a test.
                drop(sender.send(Received { realm, secret, body }));
                StatusCode::from_u16(status).expect("a status")
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/triggers", listener.local_addr().expect("an address"));
        let router = axum::Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, events }
    }

    pub(crate) async fn next(&mut self) -> Received {
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event in time")
            .expect("the receiver runs")
    }

    /// What came and was not yet looked at.
    pub(crate) fn all(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

/// The simple trigger for all data of an interface.
pub(crate) fn incoming(interface: &str, major: i32) -> Value {
    json!({
        "type": "data_trigger", "on": "incoming_data", "interface_name": interface,
        "interface_major": major, "match_path": "/*", "value_match_operator": "*",
    })
}

pub(crate) fn on_device(kind: &str) -> Value {
    json!({"type": "device_trigger", "on": kind})
}
