//! One realm's HTTP API: connections that are reused, a bound on calls at once, a time-out for each,
//! tokens, and errors with their detail kept and their secrets cut.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, Url};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::breaker::Breaker;
use crate::redact::{excerpt, without_queries};
use crate::token::{Api, TokenSource};
use crate::{ApiError, Credentials};

/// The largest answer that is read.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;
/// The most of an answer that an error keeps, in characters.
const LONGEST_DETAIL: usize = 400;

/// How Astarte is called.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpSettings {
    /// How long one request may take, its answer included; default 10 s. The engine gives its calls
    /// 20 s by default, and one of them can be two requests.
    pub request_timeout: Duration,
    /// How many requests run at once, for each realm; default 128.
    pub concurrent_requests: usize,
    /// Certificates that are trusted beside those of the machine, in PEM: one or more in each text.
    pub root_certificates: Vec<String>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            concurrent_requests: 128,
            root_certificates: Vec::new(),
        }
    }
}

/// Why the client of a realm could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The base URL is none.
    #[error(
        "{text:?} is not the base URL of an Astarte: give one such as https://api.astarte.example, without a query"
    )]
    BaseUrl {
        /// What was given, without its query.
        text: String,
    },
    /// No realm has such a name: not every tenant of Hedgerow can be one.
    #[error(
        "{text:?} is not the name of an Astarte realm: give a lower case letter followed by at most 63 lower case letters, digits or underscores"
    )]
    Realm {
        /// What was given, cut after 64 characters.
        text: String,
    },
    /// A root certificate is none.
    #[error("root certificate {index} cannot be read: give it in PEM")]
    RootCertificate {
        /// Which one, counted from 0.
        index: usize,
    },
    /// TLS could not be set up.
    #[error("TLS could not be set up: {detail}")]
    Tls {
        /// What the library said.
        detail: String,
    },
}

/// Astarte's own rule. What else could be a tenant would be another place in the paths of its APIs.
fn is_realm_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let starts_well = bytes.next().is_some_and(|first| first.is_ascii_lowercase());
    let goes_on_well = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    starts_well && goes_on_well && text.len() <= 64
}

/// Connections that the clients of several realms can share.
#[derive(Clone, Debug)]
pub struct HttpConnections {
    client: reqwest::Client,
    concurrent_requests: usize,
}

impl HttpConnections {
    /// Connections with these settings.
    ///
    /// # Errors
    /// [`SettingsError::RootCertificate`], [`SettingsError::Tls`].
    pub fn new(settings: &HttpSettings) -> Result<Self, SettingsError> {
        let mut roots = Vec::new();
        for (index, pem) in settings.root_certificates.iter().enumerate() {
            roots.extend(certificates(pem).ok_or(SettingsError::RootCertificate { index })?);
        }
        let client = reqwest::Client::builder()
            .timeout(settings.request_timeout)
            .connect_timeout(settings.request_timeout)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(settings.concurrent_requests)
            // A redirected POST would be repeated as a GET; where Astarte is, is configured.
            .redirect(reqwest::redirect::Policy::none())
            // Whether the environment names one would depend on what else is linked.
            .no_proxy()
            .user_agent(concat!("hedgerow/", env!("CARGO_PKG_VERSION")))
            .tls_certs_merge(roots)
            .build()
            .map_err(|error| SettingsError::Tls { detail: chain(&error.without_url()) })?;
        Ok(Self { client, concurrent_requests: settings.concurrent_requests.max(1) })
    }
}

/// The certificates of a text; `None` if one cannot be read, or there is none at all: the HTTP
/// library would pass over such a text without a word, and nobody would know why nothing is trusted.
fn certificates(pem: &str) -> Option<Vec<reqwest::Certificate>> {
    let read = |der: Result<CertificateDer<'_>, _>| reqwest::Certificate::from_der(&der.ok()?).ok();
    let found: Option<Vec<_>> = CertificateDer::pem_slice_iter(pem.as_bytes()).map(read).collect();
    found.filter(|found| !found.is_empty())
}

/// The HTTP API of one realm. Clones share everything.
#[derive(Clone)]
pub struct RealmClient {
    shared: Arc<Shared>,
}

struct Shared {
    client: reqwest::Client,
    base: Url,
    realm: String,
    tokens: TokenSource,
    permits: Semaphore,
    breaker: Breaker,
    /// How often an outage has ended.
    outages_ended: AtomicU64,
    request_prefix: u64,
    requests: AtomicU64,
}

impl fmt::Debug for RealmClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = &self.shared;
        f.debug_struct("RealmClient")
            .field("base", &shared.base.as_str())
            .field("realm", &shared.realm)
            .finish_non_exhaustive()
    }
}

/// One request.
pub(crate) struct Request<'a, B: Serialize = ()> {
    pub(crate) method: Method,
    pub(crate) api: Api,
    /// The segments of the path behind the realm, not yet encoded.
    pub(crate) path: &'a [&'a str],
    pub(crate) query: &'a [(&'a str, String)],
    /// What goes into `data`.
    pub(crate) body: Option<B>,
}

impl<'a> Request<'a> {
    pub(crate) fn get(api: Api, path: &'a [&'a str]) -> Self {
        Self { method: Method::GET, api, path, query: &[], body: None }
    }

    pub(crate) fn delete(api: Api, path: &'a [&'a str]) -> Self {
        Self { method: Method::DELETE, api, path, query: &[], body: None }
    }
}

#[derive(Serialize)]
struct Envelope<B> {
    data: B,
}

/// An answer of Astarte.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Answer<T> {
    pub(crate) data: T,
    #[serde(default)]
    pub(crate) links: Links,
}

/// Where a list goes on.
#[derive(Debug, Default, serde::Deserialize)]
pub(crate) struct Links {
    pub(crate) next: Option<String>,
}

impl RealmClient {
    /// The client of a realm at an Astarte whose APIs lie below `base_url`, as in
    /// `{base_url}/appengine/v1/{realm}`.
    ///
    /// # Errors
    /// [`SettingsError::BaseUrl`], [`SettingsError::Realm`].
    pub fn new(
        connections: &HttpConnections,
        base_url: &str,
        realm: &str,
        credentials: Credentials,
    ) -> Result<Self, SettingsError> {
        if !is_realm_name(realm) {
            return Err(SettingsError::Realm { text: excerpt(realm, 64) });
        }
        let refused = || SettingsError::BaseUrl { text: excerpt(&without_queries(base_url), 200) };
        let base = Url::parse(base_url).map_err(|_| refused())?;
        let is_http = matches!(base.scheme(), "http" | "https");
        let is_plain = base.query().is_none() && base.fragment().is_none();
        if !is_http || !is_plain || !base.username().is_empty() || base.password().is_some() {
            return Err(refused());
        }
        // Tells the requests of one process from those of another; it need not be a secret.
        let request_prefix = std::hash::RandomState::new().hash_one(realm);
        let shared = Shared {
            client: connections.client.clone(),
            base,
            realm: realm.to_owned(),
            tokens: TokenSource::new(credentials),
            permits: Semaphore::new(connections.concurrent_requests),
            breaker: Breaker::default(),
            outages_ended: AtomicU64::new(0),
            request_prefix,
            requests: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How often Astarte was unreachable and came back: more than at the last look means that
    /// events may have been lost meanwhile.
    pub(crate) fn outages_ended(&self) -> u64 {
        self.shared.outages_ended.load(Ordering::Relaxed)
    }

    fn url(&self, api: Api, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.shared.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend([api.path(), "v1", &self.shared.realm]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Makes a request and reads its answer.
    pub(crate) async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        request: Request<'_, B>,
    ) -> Result<Answer<T>, ApiError> {
        let (method, path) = (request.method.to_string(), request.path.join("/"));
        let body = self.send(request).await?;
        serde_json::from_slice(&body).map_err(|error| ApiError::Unreadable {
            detail: error.to_string(),
            method,
            path,
        })
    }

    /// Makes a request whose answer does not matter once it is a good one.
    pub(crate) async fn send<B: Serialize>(
        &self,
        request: Request<'_, B>,
    ) -> Result<Vec<u8>, ApiError> {
        let shared = &*self.shared;
        // The semaphore is never closed.
        let _permit = shared.permits.acquire().await;
        if !shared.breaker.admits() {
            return Err(ApiError::NotTried);
        }
        let count = shared.requests.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{count:08x}", shared.request_prefix);
        let Request { method, api, path, query, body } = request;
        let mut building = shared
            .client
            .request(method.clone(), self.url(api, path, query))
            .header(AUTHORIZATION, shared.tokens.bearer(api)?)
            .header("x-request-id", &id);
        if let Some(data) = body {
            let body = serde_json::to_vec(&Envelope { data }).unwrap_or_default();
            let content_type = match method {
                Method::PATCH => "application/merge-patch+json",
                _ => "application/json",
            };
            building = building.header(CONTENT_TYPE, content_type).body(body);
        }
        let path = path.join("/");
        tracing::debug!(request = id, realm = shared.realm, %method, path, "asking astarte");
        let answered = async {
            let response = building.send().await?;
            let status = response.status().as_u16();
            read_limited(response).await.map(|body| (status, body))
        };
        match answered.await {
            Ok((status, body)) => {
                if shared.breaker.answered() {
                    shared.outages_ended.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(realm = shared.realm, "astarte can be reached again");
                }
                tracing::debug!(request = id, status, "astarte answered");
                if status == 401 {
                    shared.tokens.renew(api);
                }
                let Some(body) = body else {
                    let detail = format!("it is larger than {LARGEST_ANSWER} bytes");
                    return Err(ApiError::Unreadable { detail, method: method.to_string(), path });
                };
                if (200..300).contains(&status) {
                    return Ok(body);
                }
                let error = refusal(status, &body, method.to_string(), path, api);
                tracing::debug!(request = id, %error, "astarte refused");
                Err(error)
            }
            Err(error) => {
                shared.breaker.failed();
                // Our own URL has no secret in it, but it is long and the path says the same.
                let detail = without_queries(&chain(&error.without_url()));
                tracing::warn!(request = id, realm = shared.realm, detail, "astarte not reached");
                Err(ApiError::Unreachable { detail })
            }
        }
    }
}

/// Reads a body up to the limit; `None` if it is larger.
async fn read_limited(mut response: reqwest::Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let expected = response.content_length().unwrap_or(0);
    let capacity = usize::try_from(expected).unwrap_or(usize::MAX).min(64 * 1024);
    let mut body = Vec::with_capacity(capacity);
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// What an answer that is no success means. Astarte's own errors are JSON with `errors`; anything
/// else was said by a proxy in front of it, and says nothing about the device.
fn refusal(status: u16, body: &[u8], method: String, path: String, api: Api) -> ApiError {
    #[derive(serde::Deserialize)]
    struct Errors {
        errors: serde_json::Map<String, serde_json::Value>,
    }
    let short = |text: &str| excerpt(&without_queries(text), LONGEST_DETAIL);
    let Ok(Errors { errors }) = serde_json::from_slice::<Errors>(body) else {
        let detail = short(&String::from_utf8_lossy(body));
        return ApiError::NotAstarte { status, detail, method, path };
    };
    let detail = match errors.get("detail") {
        Some(serde_json::Value::String(detail)) if errors.len() == 1 => short(detail),
        _ => short(&serde_json::Value::Object(errors).to_string()),
    };
    ApiError::Refused { status, detail, method, path, claim: api.claim() }
}

/// An error with its causes, which the library's own text leaves out.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    excerpt(&text, LONGEST_DETAIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_no_certificate_is_refused_and_says_which_it_was() {
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        for text in ["", "s3cret", key, broken] {
            let settings = HttpSettings {
                root_certificates: vec![text.to_owned()],
                ..HttpSettings::default()
            };
            let refused = HttpConnections::new(&settings).err();
            assert_eq!(refused, Some(SettingsError::RootCertificate { index: 0 }), "{text:?}");
        }
    }

    #[test]
    fn a_tenant_that_no_realm_can_be_is_refused_before_it_gets_into_a_path() {
        let connections = HttpConnections::new(&HttpSettings::default()).expect("connections");
        let client = |realm: &str| {
            let token = Credentials::token("a.b.c").expect("a token");
            RealmClient::new(&connections, "https://api.astarte.example", realm, token)
        };
        for realm in ["gardens", "g", "g_1"] {
            assert!(client(realm).is_ok(), "{realm}");
        }
        for realm in ["", "Gardens", "gar.dens", "gar-dens", "..", "_g", "1g", &"g".repeat(65)] {
            let text = realm.chars().take(64).collect();
            let refused = client(realm).err();
            assert_eq!(refused, Some(SettingsError::Realm { text }), "{realm:?}");
        }
    }
}
