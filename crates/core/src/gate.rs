//! The gates (D5): what a device's current version means for its update. This is the one place
//! where they are evaluated, in the order of the table.

use std::cmp::Ordering;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::version::{parse_version, precedence, same_build};
use crate::{PreReleases, VersionRequirement};

/// The most of a device's version that is kept, in characters.
const LONGEST_VERSION: usize = 256;

/// What the gates let pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatePolicy {
    /// Lifts the gates against downgrades, and the version requirement with them.
    #[serde(default)]
    pub force_downgrade: bool,
    /// Keeps the version requirement even so.
    #[serde(default)]
    pub enforce_version_requirement: bool,
}

/// What the gates decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateDecision {
    /// The device runs the image: nothing is to be done.
    AlreadyUpToDate,
    /// The target fails.
    Refused(GateRefusal),
    /// The operation starts.
    Start,
}

/// Why a device did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum GateRefusal {
    /// Gate 1.
    #[error("the device reports no version: check that it publishes its base image")]
    MissingVersion {},
    /// Gate 2.
    #[error("the device reports {current:?}, which is no semantic version: correct its image")]
    InvalidVersion {
        /// What it reports.
        current: String,
    },
    /// Gate 4.
    #[error(
        "the device runs {current}, which is newer than the image: use force downgrade if that is wanted"
    )]
    DowngradeNotAllowed {
        /// What it runs.
        current: Version,
    },
    /// Gate 5.
    #[error(
        "the device runs {current}, another build of the image's version: which of the two is newer is not defined, use force downgrade to install it all the same"
    )]
    AmbiguousVersionOrdering {
        /// What it runs.
        current: Version,
    },
    /// Gate 6.
    #[error(
        "the device runs {current}, which does not meet the image's version requirement: bring it to a version that does first"
    )]
    VersionRequirementNotMet {
        /// What it runs.
        current: Version,
    },
}

impl GateRefusal {
    /// The name that D5 gives it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::MissingVersion {} => "missing_version",
            Self::InvalidVersion { .. } => "invalid_version",
            Self::DowngradeNotAllowed { .. } => "downgrade_not_allowed",
            Self::AmbiguousVersionOrdering { .. } => "ambiguous_version_ordering",
            Self::VersionRequirementNotMet { .. } => "version_requirement_not_met",
        }
    }
}

/// Evaluates the gates on the version that a device reports at this moment.
#[must_use]
pub fn evaluate(
    current: Option<&str>,
    image: &Version,
    requirement: Option<&VersionRequirement>,
    policy: GatePolicy,
) -> GateDecision {
    let Some(text) = current else {
        return GateDecision::Refused(GateRefusal::MissingVersion {});
    };
    let Ok(current) = parse_version(text) else {
        let current = text.chars().take(LONGEST_VERSION).collect();
        return GateDecision::Refused(GateRefusal::InvalidVersion { current });
    };
    let order = precedence(image, &current);
    if order == Ordering::Equal && same_build(image, &current) {
        return GateDecision::AlreadyUpToDate;
    }
    if !policy.force_downgrade {
        match order {
            Ordering::Less => {
                return GateDecision::Refused(GateRefusal::DowngradeNotAllowed { current });
            }
            Ordering::Equal => {
                return GateDecision::Refused(GateRefusal::AmbiguousVersionOrdering { current });
            }
            Ordering::Greater => {}
        }
    }
    let enforced = !policy.force_downgrade || policy.enforce_version_requirement;
    let is_met = requirement.is_none_or(|r| r.matches(&current, PreReleases::Allow));
    if enforced && !is_met {
        return GateDecision::Refused(GateRefusal::VersionRequirementNotMet { current });
    }
    GateDecision::Start
}
