//! The events of a manual OTA update (D20).

use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, decode_payload, events};
use super::{Confirmation, EventError, OperationFailure};
use crate::definition::ManualUpdateDefinition;
use crate::envelope::{NewEvent, StoredEvent, StreamId};
use crate::operation::{Phase, ReportStatus, StatusCode};
use crate::time::Timestamp;

events! {
    /// A fact about a manual OTA update.
    ManualUpdateEvent;

    /// The decision to send the first request.
    ManualStarted = "manual_started", schema 1 {
        /// Everything that was asked for.
        definition: ManualUpdateDefinition,
    }
    /// The transport accepted the latest request.
    ManualRequestAccepted = "manual_request_accepted", schema 1 {}
    /// A request failed for now: the update waits for its next resend (D8).
    ManualRequestFailed = "manual_request_failed", schema 1 {
        /// What the transport said.
        detail: String,
    }
    /// The decision to send the request again, as no report came (D8).
    ManualRequestResent = "manual_request_resent", schema 1 {}
    /// A resend was due and the device was offline: it leaves when the device is back (D8).
    ManualResendKeptBack = "manual_resend_kept_back", schema 1 {}
    /// The decision to send a request that may not have left before a restart (E4).
    ManualRequestReissued = "manual_request_reissued", schema 1 {}
    /// The operation moved on, or showed progress (D11).
    ManualReported = "manual_reported", schema 1 {
        /// Where the operation stands now.
        phase: Phase,
        /// Progress within the phase, in per cent.
        progress: u8,
        /// Why, for an error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<StatusCode>,
        /// The device's own words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
        /// When the device sent it, by its own clock.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        observed_at: Option<Timestamp>,
    }
    /// Somebody asked to cancel it on the device.
    ManualCancelRequested = "manual_cancel_requested", schema 1 {}
    /// The transport answered the Cancel request.
    ManualCancelSent = "manual_cancel_sent", schema 1 {
        /// What the transport said, if it refused for good.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    }
    /// It ended with success.
    ManualSucceeded = "manual_succeeded", schema 1 {
        /// How that is known.
        confirmation: Confirmation,
    }
    /// It ended with a failure.
    ManualFailed = "manual_failed", schema 1 {
        /// Why.
        reason: OperationFailure,
    }
    /// A report came after the end (D11).
    ManualLateReport = "manual_late_report", schema 1 {
        /// What the device said.
        status: ReportStatus,
        /// Why, for an error or failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<StatusCode>,
    }
}
