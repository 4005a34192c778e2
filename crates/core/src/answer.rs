//! What the world answers to what was asked of it: a version that was read, what the transport said.

use crate::fleet::ImageUrl;
use crate::id::OperationId;
use crate::rollout::DeviceFact;

/// What a base image is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadPurpose {
    /// The target's turn has come: the gates need it (D5). A device that another operation keeps
    /// busy is to be answered [`BaseImageAnswer::Held`] (D14).
    Gate,
    /// A deadline passed: has the device updated in silence (D8, D9)?
    Deadline,
    /// It has settled after a connection, a change or a restart of the engine (D12).
    Settled,
    /// The device has been back long enough to judge a roll-back (D12).
    RebootTimeout,
    /// The device came back and has reported nothing since: it may have forgotten its operation
    /// (D24).
    Forgotten,
    /// Its target is final: does it show something else (D22)?
    Contradiction,
}

/// What reading a base image gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseImageAnswer {
    /// The version that the device reports, as it reports it; `None`: it reports none.
    Version(Option<String>),
    /// The same, with the URL of the operation that may start on it, which was asked for before (D23).
    Prepared {
        /// The version that the device reports.
        version: Option<String>,
        /// The operation that the URL is for.
        operation: OperationId,
        /// Its URL; `None`: the base image's own.
        url: Option<ImageUrl>,
    },
    /// It was not read: this keeps the device from starting, until the opposite is told (D14).
    Held(DeviceFact),
    /// It could not be read, or there was no URL to be had. Always a temporary error (D5, D10, D23).
    Failed(TransportError),
}

/// What the transport said to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestAnswer {
    /// It took it. The device may still never see it.
    Accepted,
    /// It failed for now (D10).
    Temporary(TransportError),
    /// It will not take it (D10).
    Permanent(TransportError),
}

impl RequestAnswer {
    /// What an HTTP status means (D10): a wrong or expired token (401, 403) is our fault, never
    /// the device's, and so temporary.
    #[must_use]
    pub fn of_http_status(status: u16, error: TransportError) -> Self {
        match status {
            200..=299 => Self::Accepted,
            401 | 403 | 408 | 429 => Self::Temporary(error),
            400..=499 => Self::Permanent(error),
            _ => Self::Temporary(error),
        }
    }
}

/// What went wrong in a transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TransportError {
    /// The transport's answer, for people; without the query of any URL. Cut after 500 characters
    /// where it is recorded.
    pub detail: String,
}

impl TransportError {
    /// An error with that detail.
    pub fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into() }
    }

    pub(crate) fn short(&self) -> String {
        self.detail.chars().take(500).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_of_a_long_error_is_its_beginning() {
        let error = TransportError::new("\u{e9}x".repeat(1_000));
        assert_eq!(error.short(), "\u{e9}x".repeat(250));
        assert_eq!(TransportError::new("HTTP 503").short(), "HTTP 503");
    }
}
