//! The gates (D5): what a device's current version means for its update. This is the one place
//! where they are evaluated, in the order of the table in `docs/rules.md`.

use std::cmp::Ordering;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::version::{parse_version, precedence, same_build};
use crate::version_requirement::{PreReleases, VersionRequirement};

/// The most of a device's version that is kept, in characters.
const LONGEST_VERSION: usize = 256;

/// What the gates let pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
        /// What it runs, cut after 256 characters.
        current: String,
    },
    /// Gate 5.
    #[error(
        "the device runs {current}, another build of the image's version: which of the two is newer is not defined, use force downgrade to install it all the same"
    )]
    AmbiguousVersionOrdering {
        /// What it runs, cut after 256 characters.
        current: String,
    },
    /// Gate 6.
    #[error(
        "the device runs {current}, which does not meet the image's version requirement: bring it to a version that does first"
    )]
    VersionRequirementNotMet {
        /// What it runs, cut after 256 characters.
        current: String,
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
    // What is recorded of it has a limit.
    let shown = || text.chars().take(LONGEST_VERSION).collect();
    let Ok(current) = parse_version(text) else {
        let current = shown();
        return GateDecision::Refused(GateRefusal::InvalidVersion { current });
    };
    let order = precedence(image, &current);
    if order == Ordering::Equal && same_build(image, &current) {
        return GateDecision::AlreadyUpToDate;
    }
    if !policy.force_downgrade {
        match order {
            Ordering::Less => {
                return GateDecision::Refused(GateRefusal::DowngradeNotAllowed {
                    current: shown(),
                });
            }
            Ordering::Equal => {
                return GateDecision::Refused(GateRefusal::AmbiguousVersionOrdering {
                    current: shown(),
                });
            }
            Ordering::Greater => {}
        }
    }
    let enforced = !policy.force_downgrade || policy.enforce_version_requirement;
    let is_met = requirement.is_none_or(|r| r.matches(&current, PreReleases::Allow));
    if enforced && !is_met {
        return GateDecision::Refused(GateRefusal::VersionRequirementNotMet { current: shown() });
    }
    GateDecision::Start
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decide(current: Option<&str>, image: &str, policy: GatePolicy) -> GateDecision {
        let image = parse_version(image).expect("a version");
        let requirement: VersionRequirement = ">= 1.2.0".parse().expect("a requirement");
        evaluate(current, &image, Some(&requirement), policy)
    }

    fn reason(decision: &GateDecision) -> &'static str {
        match decision {
            GateDecision::AlreadyUpToDate => "already_up_to_date",
            GateDecision::Refused(refusal) => refusal.reason(),
            GateDecision::Start => "start",
        }
    }

    const STRICT: GatePolicy =
        GatePolicy { force_downgrade: false, enforce_version_requirement: false };
    const FORCED: GatePolicy = GatePolicy { force_downgrade: true, ..STRICT };
    const FORCED_WITH_REQUIREMENT: GatePolicy =
        GatePolicy { enforce_version_requirement: true, ..FORCED };

    #[test]
    fn each_gate_stops_what_it_is_there_for() {
        for (current, image, expected) in [
            (None, "2.0.0", "missing_version"),
            (Some("two"), "2.0.0", "invalid_version"),
            (Some("2.0.0+a"), "2.0.0+a", "already_up_to_date"),
            (Some("2.0.1"), "2.0.0", "downgrade_not_allowed"),
            (Some("2.0.0+b"), "2.0.0+a", "ambiguous_version_ordering"),
            (Some("1.1.9"), "2.0.0", "version_requirement_not_met"),
            (Some("1.2.0"), "2.0.0", "start"),
        ] {
            assert_eq!(reason(&decide(current, image, STRICT)), expected, "{current:?}");
        }
    }

    #[test]
    fn force_downgrade_lifts_the_gates_after_the_third_and_no_other() {
        for (current, expected) in [
            (None, "missing_version"),
            (Some("two"), "invalid_version"),
            (Some("2.0.0+a"), "already_up_to_date"),
            (Some("2.0.1"), "start"),
            (Some("2.0.0+b"), "start"),
            (Some("1.1.9"), "start"),
        ] {
            assert_eq!(reason(&decide(current, "2.0.0+a", FORCED)), expected, "{current:?}");
        }
    }

    #[test]
    fn an_enforced_requirement_holds_against_force_downgrade() {
        let decision = decide(Some("1.1.9"), "1.0.0", FORCED_WITH_REQUIREMENT);
        assert_eq!(reason(&decision), "version_requirement_not_met");
        assert_eq!(decide(Some("2.1.0"), "1.0.0", FORCED_WITH_REQUIREMENT), GateDecision::Start);
    }

    #[test]
    fn a_long_text_that_is_no_version_is_kept_in_part() {
        let text = "\u{e9}".repeat(10_000);
        let GateDecision::Refused(GateRefusal::InvalidVersion { current }) =
            decide(Some(&text), "2.0.0", STRICT)
        else {
            panic!("it is no version");
        };
        assert_eq!(current.chars().count(), LONGEST_VERSION);
    }

    #[test]
    fn a_refusal_is_stored_under_the_name_of_its_reason() {
        for current in [None, Some("two"), Some("2.0.1"), Some("2.0.0+b"), Some("1.1.9")] {
            let GateDecision::Refused(refusal) = decide(current, "2.0.0+a", STRICT) else {
                panic!("{current:?} is refused");
            };
            let stored = serde_json::to_value(&refusal).expect("JSON");
            assert!(stored.get(refusal.reason()).is_some(), "{stored}");
            assert_eq!(serde_json::from_value::<GateRefusal>(stored).expect("read"), refusal);
        }
    }

    proptest! {
        #[test]
        fn force_never_stops_what_would_start_without(
            current in "[0-2]\\.[0-3]\\.0(\\+a)?", image in "[0-2]\\.[0-3]\\.0(\\+a)?"
        ) {
            if decide(Some(&current), &image, STRICT) == GateDecision::Start {
                for policy in [FORCED, FORCED_WITH_REQUIREMENT] {
                    prop_assert_eq!(decide(Some(&current), &image, policy), GateDecision::Start);
                }
            }
        }
    }
}
