//! What devices report about operations: on `OTAEvent`, and on the legacy `OTAResponse`.

use hedgerow_core::{
    DeviceId, OperationId, OperationReport, ReportStatus, StatusCode, Timestamp, UnknownStatus,
};
use serde::Deserialize;
use serde_json::Value;

use crate::redact::{excerpt, without_queries};

/// More than any engine keeps of a device's words.
const LONGEST_MESSAGE: usize = 2_000;

/// Why a report cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// It lacks something, or a key has the wrong type.
    #[error("the report cannot be read: {detail}")]
    Malformed {
        /// What is wrong, cut after 200 characters.
        detail: String,
    },
    /// The operation is no UUID.
    #[error("the report names operation {text:?}, which is not a UUID")]
    Operation {
        /// What was given, cut after 64 characters.
        text: String,
    },
    /// The status is unknown (D11).
    #[error(transparent)]
    Status(#[from] UnknownStatus),
    /// The status of a legacy response is unknown.
    #[error("the legacy status {text:?} is unknown: InProgress, Done and Error are known")]
    LegacyStatus {
        /// What was given, cut after 64 characters.
        text: String,
    },
}

#[derive(Deserialize)]
struct EventValue {
    #[serde(rename = "requestUUID")]
    request: String,
    status: String,
    #[serde(default, rename = "statusProgress")]
    progress: Option<f64>,
    #[serde(default, rename = "statusCode")]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct ResponseValue {
    uuid: String,
    status: String,
    #[serde(default, rename = "statusCode")]
    code: Option<String>,
}

fn value_of<T: serde::de::DeserializeOwned>(value: Option<Value>) -> Result<T, ReportError> {
    serde_json::from_value(value.unwrap_or(Value::Null))
        .map_err(|error| ReportError::Malformed { detail: said(&error) })
}

/// What the JSON library said: it repeats texts that stand where they should not, however long
/// they are and whatever URL they hold.
pub(super) fn said(error: &serde_json::Error) -> String {
    excerpt(&without_queries(&error.to_string()), 200)
}

fn operation(text: &str) -> Result<OperationId, ReportError> {
    text.parse().map_err(|_| ReportError::Operation { text: excerpt(text, 64) })
}

/// Reads the value of an `OTAEvent`.
pub(crate) fn read_event(
    device: DeviceId,
    at: Option<Timestamp>,
    value: Option<Value>,
) -> Result<OperationReport, ReportError> {
    let value: EventValue = value_of(value)?;
    let status = ReportStatus::from_wire(&value.status)?;
    let mut report = OperationReport::new(device, operation(&value.request)?, status);
    report.progress = percent(value.progress.unwrap_or(0.0));
    report.code = value.code.as_deref().and_then(StatusCode::from_wire);
    // Firmware repeats the image's URL in its words, signature and all.
    let message = without_queries(&value.message.unwrap_or_default());
    report.message = excerpt(&message, LONGEST_MESSAGE);
    report.observed_at = at;
    Ok(report)
}

/// Reads the value of a legacy `OTAResponse`, which knows three statuses and codes of its own.
pub(crate) fn read_response(
    device: DeviceId,
    at: Timestamp,
    value: Option<Value>,
) -> Result<OperationReport, ReportError> {
    let value: ResponseValue = value_of(value)?;
    let status = match value.status.as_str() {
        "InProgress" => ReportStatus::Acknowledged,
        "Done" => ReportStatus::Success,
        "Error" => ReportStatus::Failure,
        text => return Err(ReportError::LegacyStatus { text: excerpt(text, 64) }),
    };
    let mut report = OperationReport::new(device, operation(&value.uuid)?, status);
    report.code = match value.code.as_deref().unwrap_or_default() {
        "" | "OTAFailed" | "OTAErrorNvs" => None,
        "OTAErrorNetwork" => Some(StatusCode::NetworkError),
        "OTAAlreadyInProgress" => Some(StatusCode::UpdateAlreadyInProgress),
        "OTAErrorDeploy" => Some(StatusCode::IoError),
        "OTAErrorBootWrongPartition" => Some(StatusCode::SystemRollback),
        // As of the newer interface: a code that is unknown is kept as text.
        other => StatusCode::from_wire(other),
    };
    report.observed_at = Some(at);
    Ok(report)
}

/// A progress of 0 to 100; what lies outside is brought in.
fn percent(progress: f64) -> u8 {
    // The cast saturates, and makes 0 of what is no number.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let progress = progress as u8;
    progress.min(100)
}
