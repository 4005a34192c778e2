//! The phases of an operation and the one table of their transitions (D11).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::excerpt;

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Requested; the device has not reported anything.
    Pending,
    /// The device knows of it.
    Acknowledged,
    /// The device downloads the image.
    Downloading,
    /// The device installs the image.
    Deploying,
    /// The image is installed.
    Deployed,
    /// The device is about to restart.
    Rebooting,
    /// The device met an error and may go on, from downloading.
    Error,
    /// Final: the device runs the image.
    Success,
    /// Final: it does not.
    Failure,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Acknowledged,
        Self::Downloading,
        Self::Deploying,
        Self::Deployed,
        Self::Rebooting,
        Self::Error,
        Self::Success,
        Self::Failure,
    ];

    /// Whether nothing changes any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failure)
    }

    /// Whether an operation in this phase may move to `next`: forward only, with a recoverable
    /// error from everywhere and on from it to downloading or later. Early reports skip phases.
    ///
    /// This is the whole table; everything else that a device reports changes nothing.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use Phase::{
            Acknowledged, Deployed, Deploying, Downloading, Error, Failure, Pending, Rebooting,
            Success,
        };
        match self {
            Pending => next != Pending,
            Acknowledged => !matches!(next, Pending | Acknowledged),
            Downloading => {
                matches!(next, Deploying | Deployed | Rebooting | Error | Success | Failure)
            }
            Deploying => matches!(next, Deployed | Rebooting | Error | Success | Failure),
            Deployed => matches!(next, Rebooting | Error | Success | Failure),
            Rebooting => matches!(next, Error | Success | Failure),
            Error => !matches!(next, Pending | Acknowledged | Error),
            Success | Failure => false,
        }
    }

    /// The name, in snake case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Acknowledged => "acknowledged",
            Self::Downloading => "downloading",
            Self::Deploying => "deploying",
            Self::Deployed => "deployed",
            Self::Rebooting => "rebooting",
            Self::Error => "error",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a device can report. Unlike a [`Phase`] it is never pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportStatus {
    /// See [`Phase::Acknowledged`].
    Acknowledged,
    /// See [`Phase::Downloading`].
    Downloading,
    /// See [`Phase::Deploying`].
    Deploying,
    /// See [`Phase::Deployed`].
    Deployed,
    /// See [`Phase::Rebooting`].
    Rebooting,
    /// See [`Phase::Error`].
    Error,
    /// See [`Phase::Success`].
    Success,
    /// See [`Phase::Failure`].
    Failure,
}

/// A status that no device of this protocol sends (D11).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no status of an OTA operation: expected Acknowledged, Downloading, Deploying, Deployed, Rebooting, Error, Success or Failure"
)]
#[non_exhaustive]
pub struct UnknownStatus {
    /// What was given, cut after 64 characters.
    pub text: String,
}

impl ReportStatus {
    /// Reads the `status` of an `OTAEvent`.
    ///
    /// # Errors
    /// [`UnknownStatus`] for any other text.
    pub fn from_wire(text: &str) -> Result<Self, UnknownStatus> {
        Ok(match text {
            "Acknowledged" => Self::Acknowledged,
            "Downloading" => Self::Downloading,
            "Deploying" => Self::Deploying,
            "Deployed" => Self::Deployed,
            "Rebooting" => Self::Rebooting,
            "Error" => Self::Error,
            "Success" => Self::Success,
            "Failure" => Self::Failure,
            _ => return Err(UnknownStatus { text: excerpt(text) }),
        })
    }

    /// The status as devices write it.
    #[must_use]
    pub fn as_wire(self) -> &'static str {
        match self {
            Self::Acknowledged => "Acknowledged",
            Self::Downloading => "Downloading",
            Self::Deploying => "Deploying",
            Self::Deployed => "Deployed",
            Self::Rebooting => "Rebooting",
            Self::Error => "Error",
            Self::Success => "Success",
            Self::Failure => "Failure",
        }
    }

    /// The phase that the report speaks of.
    #[must_use]
    pub fn phase(self) -> Phase {
        match self {
            Self::Acknowledged => Phase::Acknowledged,
            Self::Downloading => Phase::Downloading,
            Self::Deploying => Phase::Deploying,
            Self::Deployed => Phase::Deployed,
            Self::Rebooting => Phase::Rebooting,
            Self::Error => Phase::Error,
            Self::Success => Phase::Success,
            Self::Failure => Phase::Failure,
        }
    }
}

impl fmt::Display for ReportStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_wire())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_is_written() {
        for status in Phase::ALL.map(|phase| phase.to_string()) {
            let written = status[..1].to_uppercase() + &status[1..];
            let read = ReportStatus::from_wire(&written).map(|status| status.to_string());
            assert_eq!(read.ok(), (status != "pending").then_some(written));
        }
    }

    #[test]
    fn the_transition_table_is_the_one_that_was_agreed() {
        let mut table = String::new();
        for from in Phase::ALL {
            let next: Vec<_> =
                Phase::ALL.into_iter().filter(|to| from.may_become(*to)).map(Phase::name).collect();
            table = format!("{table}{} -> {}\n", from.name(), next.join(" "));
        }
        insta::assert_snapshot!(table, @r"
        pending -> acknowledged downloading deploying deployed rebooting error success failure
        acknowledged -> downloading deploying deployed rebooting error success failure
        downloading -> deploying deployed rebooting error success failure
        deploying -> deployed rebooting error success failure
        deployed -> rebooting error success failure
        rebooting -> error success failure
        error -> downloading deploying deployed rebooting success failure
        success -> 
        failure -> 
        ");
    }
}
