//! The codes that explain a report of an error or failure.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest unknown code that is kept, in characters.
const LONGEST_CODE: usize = 64;

/// Why a device reports an error or a failure. An unknown code is kept as text (D11): firmware
/// such as the ESP32's sends codes that the interface does not list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StatusCode {
    /// The request was not answered in time; made by the engine.
    RequestTimeout,
    /// The device did not understand the request.
    InvalidRequest,
    /// The device is busy with an update.
    UpdateAlreadyInProgress,
    /// The download failed.
    NetworkError,
    /// The device could not read or write.
    IoError,
    /// Anything else went wrong on the device.
    InternalError,
    /// The image is not one for this device.
    InvalidBaseImage,
    /// The device runs the image that it had before.
    SystemRollback,
    /// The operation was cancelled.
    Canceled,
    /// A code that this crate does not know, cut after 64 characters.
    Other(String),
}

impl StatusCode {
    /// Reads the `statusCode` of an `OTAEvent`; an empty one is none.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Self> {
        Some(match text {
            "" => return None,
            "RequestTimeout" => Self::RequestTimeout,
            "InvalidRequest" => Self::InvalidRequest,
            "UpdateAlreadyInProgress" => Self::UpdateAlreadyInProgress,
            "NetworkError" => Self::NetworkError,
            "IOError" => Self::IoError,
            "InternalError" => Self::InternalError,
            "InvalidBaseImage" => Self::InvalidBaseImage,
            "SystemRollback" => Self::SystemRollback,
            "Canceled" => Self::Canceled,
            _ => Self::Other(text.chars().take(LONGEST_CODE).collect()),
        })
    }

    /// The code as devices write it.
    #[must_use]
    pub fn as_wire(&self) -> &str {
        match self {
            Self::RequestTimeout => "RequestTimeout",
            Self::InvalidRequest => "InvalidRequest",
            Self::UpdateAlreadyInProgress => "UpdateAlreadyInProgress",
            Self::NetworkError => "NetworkError",
            Self::IoError => "IOError",
            Self::InternalError => "InternalError",
            Self::InvalidBaseImage => "InvalidBaseImage",
            Self::SystemRollback => "SystemRollback",
            Self::Canceled => "Canceled",
            Self::Other(text) => text,
        }
    }

    /// The name in snake case; `other` for an unknown code.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RequestTimeout => "request_timeout",
            Self::InvalidRequest => "invalid_request",
            Self::UpdateAlreadyInProgress => "update_already_in_progress",
            Self::NetworkError => "network_error",
            Self::IoError => "io_error",
            Self::InternalError => "internal_error",
            Self::InvalidBaseImage => "invalid_base_image",
            Self::SystemRollback => "system_rollback",
            Self::Canceled => "canceled",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_wire())
    }
}

impl Serialize for StatusCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_wire())
    }
}

impl<'de> Deserialize<'de> for StatusCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_wire(&text).ok_or_else(|| serde::de::Error::custom("an empty status code"))
    }
}
