//! The id that a caller gives a manual OTA update (D20).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest request id, in bytes.
const LONGEST_REQUEST_ID: usize = 255;

/// The id that a caller gives a manual OTA update: a repeated call with the same one is harmless.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

/// A text that is no request id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request id of {length} bytes: give 1 to 255 visible ASCII characters")]
#[non_exhaustive]
pub struct RequestIdError {
    /// Its length.
    pub length: usize,
}

impl TryFrom<String> for RequestId {
    type Error = RequestIdError;

    fn try_from(text: String) -> Result<Self, RequestIdError> {
        let fits = (1..=LONGEST_REQUEST_ID).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text))
        } else {
            Err(RequestIdError { length: text.len() })
        }
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl RequestId {
    /// Reads a request id.
    ///
    /// # Errors
    /// [`RequestIdError`] if it is empty, too long or not visible ASCII.
    pub fn new(text: impl Into<String>) -> Result<Self, RequestIdError> {
        text.into().try_into()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = RequestIdError;

    fn from_str(text: &str) -> Result<Self, RequestIdError> {
        Self::new(text)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
