//! Events: facts in the past tense, each with a type, a schema version and stable JSON (E6).
//!
//! [`campaign`](CampaignEvent) events make the stream of an update campaign,
//! [`manual`](ManualUpdateEvent) events that of a manual OTA update. What they share stands here.
//! Golden files keep the JSON; a changed shape gets a new schema version and a step in `upcast`.

mod campaign;
mod codec;
mod manual;
mod upcast;

use serde::{Deserialize, Serialize};

pub use campaign::*;
pub use codec::EventError;
pub use manual::*;

use crate::gate::GateRefusal;
use crate::operation::StatusCode;
use crate::reason::FailureReason;

/// How a success is known (D12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// The device said so.
    Reported,
    /// Inferred: the device shows the campaign's base image.
    BaseImage,
}

/// Why a target failed without an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetFailure {
    /// It did not pass a gate (D5).
    Gate(GateRefusal),
    /// Its device was removed (D15).
    DeviceRemoved,
}

impl TargetFailure {
    /// The reason, without its values.
    #[must_use]
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Gate(refusal) => FailureReason::of_gate(refusal),
            Self::DeviceRemoved => FailureReason::DeviceRemoved,
        }
    }
}

/// Why an operation failed, and its target with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationFailure {
    /// No report came in time, and no resend was left (D8).
    RequestTimeout,
    /// Nothing was reported for too long after the first report (D9).
    Stalled,
    /// The transport refused the request for good (D10).
    RequestRejected {
        /// The transport's answer.
        detail: String,
    },
    /// The device reported a failure (D11).
    Reported {
        /// Its code, if it sent one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<StatusCode>,
        /// Its own words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
    },
    /// Inferred: the device restarted and still shows another base image (D12).
    SystemRollback {
        /// What it shows, if anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
    },
    /// The device kept answering that it is busy with another update (D14).
    UpdateAlreadyInProgress,
    /// The device was removed (D15).
    DeviceRemoved,
}

impl OperationFailure {
    /// The reason, without its values.
    #[must_use]
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::RequestTimeout => FailureReason::RequestTimeout,
            Self::Stalled => FailureReason::Stalled,
            Self::RequestRejected { .. } => FailureReason::RequestRejected,
            Self::Reported { code, .. } => FailureReason::of_report(code.as_ref()),
            Self::SystemRollback { .. } => FailureReason::SystemRollback,
            Self::UpdateAlreadyInProgress => FailureReason::UpdateAlreadyInProgress,
            Self::DeviceRemoved => FailureReason::DeviceRemoved,
        }
    }

    /// Whether it was concluded from what the device shows and not from a report (D12).
    #[must_use]
    pub fn is_inferred(&self) -> bool {
        matches!(self, Self::SystemRollback { .. })
    }

    /// The status code that a user reads beside the failed operation.
    #[must_use]
    pub fn status_code(&self) -> Option<StatusCode> {
        match self {
            Self::RequestTimeout => Some(StatusCode::RequestTimeout),
            Self::Reported { code, .. } => code.clone(),
            Self::SystemRollback { .. } => Some(StatusCode::SystemRollback),
            Self::UpdateAlreadyInProgress => Some(StatusCode::UpdateAlreadyInProgress),
            Self::Stalled | Self::RequestRejected { .. } | Self::DeviceRemoved => None,
        }
    }
}
