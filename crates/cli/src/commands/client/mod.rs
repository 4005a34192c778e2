//! The commands that ask a running service over GraphQL: `hedgerow campaign`, `model`, `image`,
//! `group`, `channel`, and `device` with a word behind it.

pub(crate) mod campaign;
pub(crate) mod devices;
pub(crate) mod fleet;
pub(crate) mod image;
pub(crate) mod model;
mod socket;
pub(crate) mod token;
mod watch;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::{Body, RequestBuilder, StatusCode, header};
use serde_json::{Value, json};

use super::output;

/// The largest answer that is read.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Where the service is, and who asks.
#[derive(clap::Args)]
// What is written here is what the help says.
#[allow(clippy::doc_markdown, rustdoc::bare_urls)]
pub(crate) struct Connection {
    /// Where the service is [default: HEDGEROW_URL, or http://127.0.0.1:4080]
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
    /// The tenant [default: HEDGEROW_TENANT, or demo]
    #[arg(long, value_name = "NAME", global = true)]
    tenant: Option<String>,
    /// A file with the token to ask with [default: the token in HEDGEROW_TOKEN, or none]
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("{0} cannot be reached ({1}): is the service running there? Give --url")]
    Unreachable(String, String),
    #[error("the service asks for a token: give --token-file, or set HEDGEROW_TOKEN")]
    NoToken,
    #[error(
        "the service refuses: the tenant {0:?} does not exist, or the token is not one of its own, has expired, or has no role"
    )]
    Forbidden(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    NotFound(String),
    #[error(
        "the service answers, but opens no socket ({0}): let what stands between here and there hand websockets on"
    )]
    NoSocket(String),
    #[error("the service answered {0}, which is none of GraphQL: is another service there?")]
    Unreadable(String),
    #[error("{0:?} is no address of a service: give one such as http://127.0.0.1:4080")]
    Address(String),
    #[error("{0} holds no token: give what `hedgerow token` prints, and nothing else")]
    Token(String),
    #[error("{} cannot be read: {error}", file.display())]
    File { file: PathBuf, error: io::Error },
    #[error("there is no {0} {1:?}: `hedgerow {2}` lists those that there are")]
    Absent(&'static str, String, &'static str),
    #[error("standard output: {0}")]
    Output(io::Error),
    #[error("{0}")]
    Io(io::Error),
}

impl ClientError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::NotFound(_) | Self::Absent(..) => 1,
            Self::NoToken
            | Self::Forbidden(_)
            | Self::Address(_)
            | Self::Token(_)
            | Self::File { .. } => 2,
            _ => 3,
        }
    }
}

/// A service that is asked.
pub(super) struct Client {
    http: reqwest::Client,
    /// Of HTTP/1.1 alone, as sockets are.
    sockets: reqwest::Client,
    address: String,
    tenant: String,
    token: Option<String>,
}

/// A setting, or what a variable of the environment says, or a default.
fn setting(given: Option<&String>, variable: &str, default: &str) -> String {
    let said = || std::env::var(variable).ok().filter(|said| !said.is_empty());
    given.cloned().or_else(said).unwrap_or_else(|| default.to_owned())
}

impl Client {
    fn new(connection: &Connection) -> Result<Self, ClientError> {
        let address = setting(connection.url.as_ref(), "HEDGEROW_URL", "http://127.0.0.1:4080");
        let token = match &connection.token_file {
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| ClientError::File { file: file.clone(), error })?,
            None => setting(None, "HEDGEROW_TOKEN", ""),
        };
        let is_address = reqwest::Url::parse(&address)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !is_address {
            return Err(ClientError::Address(address));
        }
        if !token.trim().bytes().all(|byte| byte.is_ascii_graphic()) {
            let file = connection.token_file.as_ref().map(|file| file.display().to_string());
            return Err(ClientError::Token(file.unwrap_or_else(|| "HEDGEROW_TOKEN".to_owned())));
        }
        let builder = || {
            reqwest::Client::builder()
                .no_proxy()
                .connect_timeout(Duration::from_secs(10))
                .user_agent(concat!("hedgerow/", env!("CARGO_PKG_VERSION")))
        };
        let unusable =
            |error: reqwest::Error| ClientError::Unreachable(address.clone(), error.to_string());
        Ok(Self {
            http: builder().build().map_err(unusable)?,
            sockets: builder().http1_only().build().map_err(unusable)?,
            address: address.trim_end_matches('/').to_owned(),
            tenant: setting(connection.tenant.as_ref(), "HEDGEROW_TENANT", "demo"),
            token: Some(token.trim().to_owned()).filter(|token| !token.is_empty()),
        })
    }

    fn post(&self) -> RequestBuilder {
        let post = self.http.post(format!("{}/tenants/{}/api", self.address, self.tenant));
        match &self.token {
            Some(token) => post.bearer_auth(token),
            None => post,
        }
    }

    /// Asks, and gives what is in `data`.
    pub(super) async fn ask(&self, query: &str, variables: Value) -> Result<Value, ClientError> {
        let question = json!({"query": query, "variables": variables});
        self.answer(self.post().timeout(Duration::from_secs(60)).json(&question)).await
    }

    /// Asks with a file, which is sent as it is read; as the multipart specification has it.
    pub(super) async fn ask_with_file(
        &self,
        (query, variables): (&str, Value),
        place: &str,
        file: &std::path::Path,
    ) -> Result<Value, ClientError> {
        let unread = |error| ClientError::File { file: file.to_owned(), error };
        let opened = tokio::fs::File::open(file).await.map_err(unread)?;
        let name =
            file.file_name().unwrap_or_default().to_string_lossy().replace(['"', '\r', '\n'], "_");
        let boundary = format!("hedgerow-{}", uuid::Uuid::new_v4().simple());
        let operations = json!({"query": query, "variables": variables});
        let map = json!({"0": [place]});
        let part =
            |head: &str| format!("--{boundary}\r\ncontent-disposition: form-data; {head}\r\n");
        let before = format!(
            "{}\r\n{operations}\r\n{}\r\n{map}\r\n{}content-type: application/octet-stream\r\n\r\n",
            part("name=\"operations\""),
            part("name=\"map\""),
            part(&format!("name=\"0\"; filename=\"{name}\"")),
        );
        let after = format!("\r\n--{boundary}--\r\n");
        let text =
            |text: String| futures::stream::iter([Ok::<_, io::Error>(bytes::Bytes::from(text))]);
        let whole = futures::StreamExt::chain(
            futures::StreamExt::chain(text(before), tokio_util::io::ReaderStream::new(opened)),
            text(after),
        );
        let kind = format!("multipart/form-data; boundary={boundary}");
        let post = self.post().header(header::CONTENT_TYPE, kind).body(Body::wrap_stream(whole));
        self.answer(post).await
    }

    fn unreachable(&self, cause: &str) -> ClientError {
        ClientError::Unreachable(self.address.clone(), cause.to_owned())
    }

    /// With the innermost cause, which is what the system said.
    fn broken(&self, error: reqwest::Error) -> ClientError {
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        self.unreachable(&cause.to_string())
    }

    async fn answer(&self, post: RequestBuilder) -> Result<Value, ClientError> {
        let mut answer = post.send().await.map_err(|error| self.broken(error))?;
        let status = answer.status();
        match status {
            StatusCode::UNAUTHORIZED => return Err(ClientError::NoToken),
            StatusCode::FORBIDDEN => return Err(ClientError::Forbidden(self.tenant.clone())),
            _ => {}
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.broken(error))? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(ClientError::Unreadable("more than 64 MiB".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        let Ok(mut read) = serde_json::from_slice::<Value>(&body) else {
            return Err(ClientError::Unreadable(status.to_string()));
        };
        if let Some(said) = sentences(&read["errors"]) {
            let mut errors = read["errors"].as_array().into_iter().flatten();
            let is_absent = errors.all(|error| error["code"] == "not_found");
            let kind = if is_absent { ClientError::NotFound } else { ClientError::Refused };
            return Err(kind(said));
        }
        match read["data"].take() {
            Value::Null => Err(ClientError::Unreadable(status.to_string())),
            data => Ok(data),
        }
    }
}

/// What errors of GraphQL say; `None` if there are none.
fn sentences(errors: &Value) -> Option<String> {
    let said: Vec<_> = errors.as_array()?.iter().map(sentence).collect();
    Some(said.join("; ")).filter(|_| !said.is_empty())
}

/// An error of GraphQL, with the fields that it is about.
fn sentence(error: &Value) -> String {
    let fields = error["fields"].as_array();
    let fields: Vec<_> = fields.into_iter().flatten().filter_map(Value::as_str).collect();
    let message = error["message"].as_str().unwrap_or("something is wrong");
    if fields.is_empty() { message.to_owned() } else { format!("{} {message}", fields.join(", ")) }
}

/// What the nodes of a connection are.
pub(super) fn nodes(connection: &Value) -> impl Iterator<Item = &Value> {
    connection["edges"].as_array().into_iter().flatten().map(|edge| &edge["node"])
}

/// A text of an object; empty if there is none.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Runs a command against the service.
pub(super) fn run<F>(connection: &Connection, command: impl FnOnce(Client) -> F) -> ExitCode
where
    F: Future<Output = Result<(), ClientError>>,
{
    let done = Client::new(connection).and_then(|client| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(ClientError::Io)?.block_on(command(client))
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            // Nobody may listen.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints JSON, or lines for people.
pub(super) fn print(
    as_json: bool,
    value: &Value,
    lines: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> Result<(), ClientError> {
    let printed =
        output::print(|out| if as_json { writeln!(out, "{value:#}") } else { lines(out) });
    printed.map_err(ClientError::Output)
}
