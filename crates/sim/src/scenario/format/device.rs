//! The devices of a scenario and their scripts.

use serde::{Deserialize, Deserializer};

use super::or_default;

/// A device: what it is, how it answers requests, and how the platform answers calls about it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Its System Model.
    #[serde(default)]
    pub system_model: Option<String>,
    /// The groups that it is in.
    #[serde(default, deserialize_with = "or_default")]
    pub groups: Vec<String>,
    /// What it reports as its base image; may be no version at all.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether it is connected. Absent means yes; a connection that is `null` is none.
    #[serde(default = "yes", deserialize_with = "or_default")]
    pub online: bool,
    /// What the n-th accepted request of an operation sets off; the last repeats.
    #[serde(default)]
    pub on_request: Option<Vec<Script>>,
    /// The same for the m-th operation of the device; instead of `on_request`.
    #[serde(default)]
    pub on_operation: Option<Vec<Vec<Script>>>,
    /// What a Cancel request sets off.
    #[serde(default, deserialize_with = "or_default")]
    pub on_cancel: Script,
    /// The answers to Update calls.
    #[serde(default, deserialize_with = "or_default")]
    pub api_update: ApiAnswers,
    /// The answers to reading its version.
    #[serde(default, deserialize_with = "or_default")]
    pub version_read: ApiAnswers,
}

impl Device {
    /// What a request sets off, if the device is online: the `request`-th accepted one of the
    /// `operation`-th operation that it gets, both counted from 0.
    #[must_use]
    pub fn script(&self, operation: usize, request: usize) -> &[Step] {
        let scripts = match self.on_operation.as_deref() {
            Some(operations @ [.., _]) => nth_or_last(operations, operation).map(Vec::as_slice),
            _ => self.on_request.as_deref(),
        };
        scripts.and_then(|scripts| nth_or_last(scripts, request)).map_or(&[], Vec::as_slice)
    }
}

fn nth_or_last<T>(list: &[T], index: usize) -> Option<&T> {
    list.get(index).or(list.last())
}

fn yes() -> bool {
    true
}

/// What a device does, step by step.
pub type Script = Vec<Step>;

/// One step of a script.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// When, counted from the request.
    pub after_ms: i64,
    /// The status that the device reports; without one it reports nothing.
    #[serde(default)]
    pub status: Option<String>,
    /// The progress that it reports.
    #[serde(default)]
    pub progress: Option<i64>,
    /// The status code that it reports.
    #[serde(default)]
    pub code: Option<String>,
    /// The message that it reports.
    #[serde(default)]
    pub message: Option<String>,
    /// The report's time by the device's clock; the time of sending if absent.
    #[serde(default)]
    pub stamp_ms: Option<i64>,
    /// What the device reports as its base image from now on; `Some(None)` is no version.
    #[serde(default, deserialize_with = "present")]
    pub set_version: Option<Option<String>>,
    /// Whether the device is connected from now on.
    #[serde(default, deserialize_with = "switched")]
    pub set_online: Option<bool>,
}

/// Tells a key that is `null` from one that is absent.
#[expect(clippy::option_option, reason = "a version may be unchanged, none, or some")]
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// A connection that is set to `null` is none.
fn switched<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    or_default(from).map(Some)
}

/// How the platform answers one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Api {
    /// It takes it.
    Ok,
    /// It cannot be reached.
    ConnectionRefused,
    /// It does not answer in time.
    Timeout,
    /// It does not take the token.
    TokenExpired,
    /// It answers with this HTTP status.
    Http(u16),
}

/// The answers to calls one after the other; the last repeats. A file may give one answer alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "OneOrMany")]
pub struct ApiAnswers(Vec<Api>);

impl ApiAnswers {
    /// The answer to the n-th call, counted from 0.
    #[must_use]
    pub fn nth(&self, call: usize) -> Api {
        nth_or_last(&self.0, call).copied().unwrap_or(Api::Ok)
    }
}

impl Default for ApiAnswers {
    fn default() -> Self {
        Self(vec![Api::Ok])
    }
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "an answer is \"ok\", \"connection_refused\", \"timeout\", \
    \"token_expired\", {\"http\": STATUS}, or a list of these"
)]
enum OneOrMany {
    One(Api),
    Many(Vec<Api>),
}

impl From<OneOrMany> for ApiAnswers {
    fn from(answers: OneOrMany) -> Self {
        match answers {
            OneOrMany::One(answer) => Self(vec![answer]),
            OneOrMany::Many(answers) => Self(answers),
        }
    }
}
