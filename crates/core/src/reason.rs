//! Why targets fail, in one word each.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::gate::GateRefusal;
use crate::operation::StatusCode;

/// Why a target failed, without the values (those are in its history).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureReason {
    /// D5, gate 1.
    MissingVersion,
    /// D5, gate 2.
    InvalidVersion,
    /// D5, gate 4.
    DowngradeNotAllowed,
    /// D5, gate 5.
    AmbiguousVersionOrdering,
    /// D5, gate 6.
    VersionRequirementNotMet,
    /// D8.
    RequestTimeout,
    /// D9.
    Stalled,
    /// D10.
    RequestRejected,
    /// D14.
    UpdateAlreadyInProgress,
    /// D15.
    DeviceRemoved,
    /// The device did not understand the request.
    InvalidRequest,
    /// The device could not download the image.
    NetworkError,
    /// The device could not read or write.
    IoError,
    /// Something else went wrong on the device.
    InternalError,
    /// The image is not one for the device.
    InvalidBaseImage,
    /// The device went back to its old image; reported or inferred (D12).
    SystemRollback,
    /// The operation was cancelled on the device (D17).
    Canceled,
    /// The device reported a failure without a code, or with one that this version does not know.
    ReportedFailure,
}

impl FailureReason {
    /// All reasons. A reason that is new stands at the end.
    pub const ALL: [Self; 18] = [
        Self::MissingVersion,
        Self::InvalidVersion,
        Self::DowngradeNotAllowed,
        Self::AmbiguousVersionOrdering,
        Self::VersionRequirementNotMet,
        Self::RequestTimeout,
        Self::Stalled,
        Self::RequestRejected,
        Self::UpdateAlreadyInProgress,
        Self::DeviceRemoved,
        Self::InvalidRequest,
        Self::NetworkError,
        Self::IoError,
        Self::InternalError,
        Self::InvalidBaseImage,
        Self::SystemRollback,
        Self::Canceled,
        Self::ReportedFailure,
    ];

    pub(crate) fn of_gate(refusal: &GateRefusal) -> Self {
        match refusal {
            GateRefusal::MissingVersion { .. } => Self::MissingVersion,
            GateRefusal::InvalidVersion { .. } => Self::InvalidVersion,
            GateRefusal::DowngradeNotAllowed { .. } => Self::DowngradeNotAllowed,
            GateRefusal::AmbiguousVersionOrdering { .. } => Self::AmbiguousVersionOrdering,
            GateRefusal::VersionRequirementNotMet { .. } => Self::VersionRequirementNotMet,
        }
    }

    pub(crate) fn of_report(code: Option<&StatusCode>) -> Self {
        match code {
            Some(StatusCode::RequestTimeout) => Self::RequestTimeout,
            Some(StatusCode::InvalidRequest) => Self::InvalidRequest,
            Some(StatusCode::UpdateAlreadyInProgress) => Self::UpdateAlreadyInProgress,
            Some(StatusCode::NetworkError) => Self::NetworkError,
            Some(StatusCode::IoError) => Self::IoError,
            Some(StatusCode::InternalError) => Self::InternalError,
            Some(StatusCode::InvalidBaseImage) => Self::InvalidBaseImage,
            Some(StatusCode::SystemRollback) => Self::SystemRollback,
            Some(StatusCode::Canceled) => Self::Canceled,
            Some(StatusCode::Other(_)) | None => Self::ReportedFailure,
        }
    }

    /// The name, in snake case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingVersion => "missing_version",
            Self::InvalidVersion => "invalid_version",
            Self::DowngradeNotAllowed => "downgrade_not_allowed",
            Self::AmbiguousVersionOrdering => "ambiguous_version_ordering",
            Self::VersionRequirementNotMet => "version_requirement_not_met",
            Self::RequestTimeout => "request_timeout",
            Self::Stalled => "stalled",
            Self::RequestRejected => "request_rejected",
            Self::UpdateAlreadyInProgress => "update_already_in_progress",
            Self::DeviceRemoved => "device_removed",
            Self::InvalidRequest => "invalid_request",
            Self::NetworkError => "network_error",
            Self::IoError => "io_error",
            Self::InternalError => "internal_error",
            Self::InvalidBaseImage => "invalid_base_image",
            Self::SystemRollback => "system_rollback",
            Self::Canceled => "canceled",
            Self::ReportedFailure => "reported_failure",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
