//! Version requirements in the language of Elixir's `Version.Requirement` (D6): conditions joined
//! by `and` and `or`, where `and` binds tighter and there are no parentheses.
//!
//! Rust's `semver::VersionReq` is a different language.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::version::{parse_version, precedence};

/// The longest requirement, in bytes.
const LONGEST_REQUIREMENT: usize = 64 * 1024;

/// A condition on a device's current version.
///
/// ```
/// use hedgerow_core::{PreReleases, Version, VersionRequirement};
///
/// let requirement: VersionRequirement = ">= 1.2.0 and < 2.0.0 or ~> 3.1".parse()?;
/// assert!(requirement.matches(&Version::new(3, 7, 0), PreReleases::Allow));
/// assert!(!requirement.matches(&Version::new(2, 0, 0), PreReleases::Allow));
/// # Ok::<(), hedgerow_core::RequirementError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRequirement {
    text: String,
    /// Any of these, each of which is all of its conditions.
    alternatives: Vec<Vec<Condition>>,
}

/// Whether a pre-release may match a condition that names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreReleases {
    /// They are ordinary members of the order; what D6 uses.
    Allow,
    /// They match `>`, `>=` and `~>` only where the condition's own version is a pre-release.
    OnlyIfNamed,
}

/// Why a text is no requirement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequirementError {
    /// Longer than a requirement may be.
    #[error("a version requirement of {length} bytes: give at most 65536")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Not in the language.
    #[error(
        "{text:?} is no version requirement: {problem} at byte {position}; give conditions such as \">= 1.2.0\" or \"~> 2.1\", joined by \"and\" or \"or\""
    )]
    Malformed {
        /// What was given, cut after 64 characters.
        text: String,
        /// Where the problem is, from 0.
        position: usize,
        /// What it is.
        problem: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    /// `~>`: at least the version, below this upper bound.
    Compatible,
}

/// Longer spellings first, as a shorter one may begin a longer one.
const OPERATORS: [(&str, Operator); 8] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("~>", Operator::Compatible),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("!", Operator::NotEqual),
];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    operator: Operator,
    version: Version,
    /// The numbers that `~>` compares: major only, or major and minor.
    fixes_minor: bool,
}

impl Condition {
    fn matches(&self, version: &Version, pre_releases: PreReleases) -> bool {
        let order = precedence(version, &self.version);
        let may_be_pre_release = pre_releases == PreReleases::Allow
            || version.pre.is_empty()
            || !self.version.pre.is_empty();
        match self.operator {
            Operator::Equal => order == Ordering::Equal,
            Operator::NotEqual => order != Ordering::Equal,
            Operator::Less => order == Ordering::Less,
            Operator::LessOrEqual => order != Ordering::Greater,
            Operator::Greater => order == Ordering::Greater && may_be_pre_release,
            Operator::GreaterOrEqual => order != Ordering::Less && may_be_pre_release,
            Operator::Compatible => {
                order != Ordering::Less
                    && may_be_pre_release
                    && version.major == self.version.major
                    && (!self.fixes_minor || version.minor == self.version.minor)
            }
        }
    }
}

impl VersionRequirement {
    /// Whether a version meets the requirement.
    #[must_use]
    pub fn matches(&self, version: &Version, pre_releases: PreReleases) -> bool {
        self.alternatives.iter().any(|conditions| {
            conditions.iter().all(|condition| condition.matches(version, pre_releases))
        })
    }

    /// The requirement as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for VersionRequirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        if text.len() > LONGEST_REQUIREMENT {
            return Err(RequirementError::TooLong { length: text.len() });
        }
        let malformed = |position, problem: String| RequirementError::Malformed {
            text: crate::id::excerpt(text),
            position,
            problem,
        };
        let mut alternatives = vec![Vec::new()];
        let mut words = words(text).peekable();
        loop {
            let Some((position, word)) = words.next() else {
                return Err(malformed(text.len(), "a condition is missing".to_owned()));
            };
            let known = OPERATORS.iter().find_map(|(spelling, operator)| {
                word.strip_prefix(spelling).map(|rest| (spelling.len(), *operator, rest))
            });
            let (length, operator, rest) = known.unwrap_or((0, Operator::Equal, word));
            let (position, version) = if rest.is_empty() {
                words.next().ok_or_else(|| {
                    malformed(text.len(), "a version is missing after the operator".to_owned())
                })?
            } else {
                (position + length, rest)
            };
            let condition =
                condition(operator, version).map_err(|problem| malformed(position, problem))?;
            if let Some(conditions) = alternatives.last_mut() {
                conditions.push(condition);
            }
            match words.next() {
                None => break,
                Some((_, "and")) => {}
                Some((_, "or")) => alternatives.push(Vec::new()),
                Some((position, _)) => {
                    return Err(malformed(position, "\"and\" or \"or\" is expected".to_owned()));
                }
            }
        }
        Ok(Self { text: text.to_owned(), alternatives })
    }
}

/// The words of a text, with their places. Only blanks separate; a tab or newline is part of a
/// word, and so an error.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut position = 0;
    text.split(' ').filter_map(move |word| {
        let start = position;
        position += word.len() + 1;
        (!word.is_empty()).then_some((start, word))
    })
}

fn condition(operator: Operator, text: &str) -> Result<Condition, String> {
    if operator == Operator::Compatible
        && let Some(complete) = complete_minor(text)
    {
        let version = parse_version(&complete).map_err(|error| error.to_string())?;
        return Ok(Condition { operator, version, fixes_minor: false });
    }
    let version = parse_version(text).map_err(|error| error.to_string())?;
    Ok(Condition { operator, version, fixes_minor: true })
}

/// `2.1-dev` as `2.1.0-dev`; `None` if it has a patch number already.
fn complete_minor(text: &str) -> Option<String> {
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    (numbers.split('.').count() == 2).then(|| format!("{numbers}.0{rest}"))
}

impl fmt::Display for VersionRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for VersionRequirement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for VersionRequirement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
