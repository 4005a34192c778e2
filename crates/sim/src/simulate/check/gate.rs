//! The gates once more, naively (D5, D6): written from the rules and from nothing else, so that a
//! mistake in the core is not made twice. It knows what the simulation's campaigns use.

use std::cmp::Ordering;

use hedgerow_core::GateRefusal;

/// What a target's turn comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    UpToDate,
    Refused(&'static str),
    Start,
}

/// What the gates are told beside the device's version.
pub(super) struct Gates<'a> {
    pub(super) image: &'a str,
    pub(super) requirement: Option<&'a str>,
    pub(super) force_downgrade: bool,
    pub(super) enforce_requirement: bool,
}

/// What an event itself says of the version that was read for its decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stated<'a> {
    Nothing,
    NoVersion,
    /// Cut after [`LONGEST`] characters.
    Version(&'a str),
}

/// The most characters of a version that an event keeps.
const LONGEST: usize = 256;

impl<'a> Stated<'a> {
    /// What a refused or failed target's event says.
    pub(super) fn by(refusal: &'a GateRefusal) -> Self {
        match refusal {
            GateRefusal::MissingVersion {} => Self::NoVersion,
            GateRefusal::InvalidVersion { current }
            | GateRefusal::DowngradeNotAllowed { current }
            | GateRefusal::AmbiguousVersionOrdering { current }
            | GateRefusal::VersionRequirementNotMet { current } => Self::Version(current),
        }
    }

    /// Whether it is what was read.
    pub(super) fn agrees(self, read: Stated<'_>) -> bool {
        match (self, read) {
            (Self::Nothing, _) => true,
            (Self::Version(stated), Stated::Version(read)) => {
                read.chars().take(LONGEST).eq(stated.chars())
            }
            (stated, read) => stated == read,
        }
    }

    /// Whether it says all that the gates need to know.
    pub(super) fn is_whole(self) -> bool {
        match self {
            Self::Nothing => false,
            Self::NoVersion => true,
            Self::Version(text) => text.len() < LONGEST,
        }
    }

    pub(super) fn version(self) -> Option<&'a str> {
        match self {
            Self::Version(text) => Some(text),
            Self::Nothing | Self::NoVersion => None,
        }
    }
}

#[derive(PartialEq, Eq)]
struct Parsed<'a> {
    numbers: [u64; 3],
    pre: Vec<&'a str>,
    build: Option<&'a str>,
}

fn parse(text: &str) -> Option<Parsed<'_>> {
    let (front, build) = match text.split_once('+') {
        Some((front, build)) => (front, Some(build)),
        None => (text, None),
    };
    let (core, pre) = match front.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (front, None),
    };
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let canonical = part == "0" || !part.starts_with('0');
        if digits && canonical { part.parse::<u64>().ok() } else { None }
    };
    let parts: Vec<&str> = core.split('.').collect();
    let [major, minor, patch] = parts[..] else { return None };
    let part = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let numeric = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let pre: Vec<&str> = pre.map(|pre| pre.split('.').collect()).unwrap_or_default();
    let canonical = |text: &&str| part(text) && (!numeric(text) || number(text).is_some());
    if !pre.iter().all(canonical) || !build.is_none_or(|build| build.split('.').all(part)) {
        return None;
    }
    Some(Parsed { numbers: [number(major)?, number(minor)?, number(patch)?], pre, build })
}

fn order(a: &Parsed<'_>, b: &Parsed<'_>) -> Ordering {
    let by_numbers = a.numbers.cmp(&b.numbers);
    if by_numbers != Ordering::Equal {
        return by_numbers;
    }
    match (a.pre.is_empty(), b.pre.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    for (x, y) in a.pre.iter().zip(&b.pre) {
        let by_part = match (x.parse::<u64>(), y.parse::<u64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => x.cmp(y),
        };
        if by_part != Ordering::Equal {
            return by_part;
        }
    }
    a.pre.len().cmp(&b.pre.len())
}

/// Whether a version meets a requirement of the form `OP VERSION [and|or OP VERSION]...`.
fn meets(version: &Parsed<'_>, requirement: &str) -> bool {
    requirement.split(" or ").any(|either| {
        either.split(" and ").all(|condition| {
            let (operator, text) = condition.trim().split_once(' ').unwrap_or(("==", condition));
            let Some(wanted) = parse(text.trim()) else { return false };
            let order = order(version, &wanted);
            match operator {
                "==" => order == Ordering::Equal,
                "!=" => order != Ordering::Equal,
                ">" => order == Ordering::Greater,
                ">=" => order != Ordering::Less,
                "<" => order == Ordering::Less,
                "<=" => order != Ordering::Greater,
                "~>" => {
                    order != Ordering::Less
                        && version.numbers[0] == wanted.numbers[0]
                        && version.numbers[1] == wanted.numbers[1]
                }
                _ => false,
            }
        })
    })
}

/// What the gates say to a device that reports `version`.
pub(super) fn expected(version: Option<&str>, gates: &Gates<'_>) -> Expected {
    let Some(version) = version else { return Expected::Refused("missing_version") };
    let (Some(current), Some(image)) = (parse(version), parse(gates.image)) else {
        return Expected::Refused("invalid_version");
    };
    let order = order(&image, &current);
    if order == Ordering::Equal && image.build == current.build {
        return Expected::UpToDate;
    }
    if !gates.force_downgrade && order == Ordering::Less {
        return Expected::Refused("downgrade_not_allowed");
    }
    if !gates.force_downgrade && order == Ordering::Equal {
        return Expected::Refused("ambiguous_version_ordering");
    }
    let lifted = gates.force_downgrade && !gates.enforce_requirement;
    match gates.requirement {
        Some(requirement) if !lifted && !meets(&current, requirement) => {
            Expected::Refused("version_requirement_not_met")
        }
        _ => Expected::Start,
    }
}

/// Whether a device shows exactly this image, build metadata included (D12).
pub(super) fn shows(version: Option<&str>, image: &str) -> bool {
    match (version.and_then(parse), parse(image)) {
        (Some(version), Some(image)) => version == image,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gate_closes_where_its_rule_says() {
        let gates = |image, requirement, force_downgrade, enforce_requirement| Gates {
            image,
            requirement,
            force_downgrade,
            enforce_requirement,
        };
        let plain = |version| expected(version, &gates("2.0.0", Some(">= 1.2.0"), false, false));
        assert_eq!(plain(None), Expected::Refused("missing_version"));
        assert_eq!(plain(Some("v1")), Expected::Refused("invalid_version"));
        assert_eq!(plain(Some("2.0.0")), Expected::UpToDate);
        assert_eq!(plain(Some("2.0.1")), Expected::Refused("downgrade_not_allowed"));
        assert_eq!(plain(Some("2.0.0+b")), Expected::Refused("ambiguous_version_ordering"));
        assert_eq!(plain(Some("1.0.0")), Expected::Refused("version_requirement_not_met"));
        assert_eq!(plain(Some("2.0.0-rc.1")), Expected::Start);
        let forced = |version| expected(version, &gates("2.0.0", Some(">= 1.2.0"), true, false));
        assert_eq!(forced(Some("3.0.0")), Expected::Start);
        assert_eq!(forced(Some("1.0.0")), Expected::Start);
        let enforced = expected(Some("1.0.0"), &gates("2.0.0", Some(">= 1.2.0"), true, true));
        assert_eq!(enforced, Expected::Refused("version_requirement_not_met"));
    }

    #[test]
    fn pre_releases_come_before_their_release_and_compare_part_by_part() {
        let sorted = ["1.0.0-1", "1.0.0-9", "1.0.0-10", "1.0.0-a", "1.0.0-a.1", "1.0.0", "1.0.1"];
        for pair in sorted.windows(2) {
            let (a, b) = (parse(pair[0]).unwrap(), parse(pair[1]).unwrap());
            assert_eq!(order(&a, &b), Ordering::Less, "{pair:?}");
        }
    }
}
