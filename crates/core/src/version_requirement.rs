//! Version requirements in the language of Elixir's `Version.Requirement` (D6): conditions joined
//! by `and` and `or`, where `and` binds tighter and there are no parentheses.
//!
//! Rust's `semver::VersionReq` is a different language.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::version::{VersionError, parse_version, precedence};

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
                Some((position, word)) => {
                    let why = hint(word).unwrap_or("join conditions by \"and\" or \"or\"");
                    let problem =
                        format!("{:?} follows a version ({why})", crate::id::excerpt(word));
                    return Err(malformed(position, problem));
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
    let completed = if operator == Operator::Compatible { complete_minor(text) } else { None };
    let version = parse_version(completed.as_deref().unwrap_or(text)).map_err(|error| {
        let detail = match error {
            VersionError::Malformed { detail, .. } => detail,
            other => other.to_string(),
        };
        let why = hint(text).map_or(detail, str::to_owned);
        format!("{:?} is no version ({why})", crate::id::excerpt(text))
    })?;
    Ok(Condition { operator, version, fixes_minor: completed.is_none() })
}

/// What to write instead of a word that looks like one of another language for requirements.
fn hint(word: &str) -> Option<&'static str> {
    let is_wildcard = |part: &str| matches!(part, "*" | "x" | "X");
    Some(match word {
        "and" | "or" => "a condition is missing beside it",
        _ if word.contains(['\t', '\n', '\r']) => "separate words by blanks only",
        _ if word.eq_ignore_ascii_case("and") || word.eq_ignore_ascii_case("or") => {
            "write \"and\" and \"or\" in lower case"
        }
        _ if word.contains([',', '&']) => "join conditions by \"and\"",
        _ if word.contains('|') => "join conditions by \"or\"",
        _ if word.contains(['(', ')']) => {
            "there are no parentheses, \"and\" binds tighter than \"or\""
        }
        _ if word.starts_with('^') => {
            "there is no \"^\", write both bounds, as in \">= 1.2.3 and < 2.0.0\""
        }
        _ if word.starts_with('~') => "the operator is \"~>\"",
        _ if word.starts_with('=') => "the operators are \"==\", \">=\" and \"<=\"",
        _ if word.starts_with(['>', '<', '!']) => "one operator is enough",
        _ if word.starts_with(['v', 'V']) => "leave the \"v\" out",
        _ if word.split('.').any(is_wildcard) => {
            "there are no wildcards, write \"~> 1.2\" for 1.2 and all later ones below 2.0.0"
        }
        _ if is_short(word) => "give all three numbers, only \"~>\" takes MAJOR.MINOR",
        _ => return None,
    })
}

/// Whether a word has a number or two where a version has three.
fn is_short(word: &str) -> bool {
    let numbers = word.split(['-', '+']).next().unwrap_or(word);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    numbers.split('.').all(is_number) && numbers.split('.').count() < 3
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position_and_problem(text: &str) -> (usize, String) {
        match text.parse::<VersionRequirement>() {
            Err(RequirementError::Malformed { position, problem, .. }) => (position, problem),
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn the_syntax_of_another_language_is_refused_with_what_to_write_instead() {
        for (text, place, advice) in [
            ("^1.2.3", 0, ">= 1.2.3 and < 2.0.0"),
            ("~1.2.3", 0, "\"~>\""),
            ("= 1.2.3", 0, "\"==\""),
            (">= 1.2.3, < 2.0.0", 3, "\"and\""),
            (">= 1.2.3 && < 2.0.0", 9, "\"and\""),
            ("1.2.3 || 2.0.0", 6, "\"or\""),
            ("1.2.3 OR 2.0.0", 6, "lower case"),
            ("(1.2.3 or 2.0.0)", 0, "parentheses"),
            ("1.2.*", 0, "wildcards"),
            ("*", 0, "wildcards"),
            ("v1.2.3", 0, "leave"),
            (">= 1.2", 3, "MAJOR.MINOR"),
            ("~> 1", 3, "MAJOR.MINOR"),
            (">= > 1.2.3", 3, "one operator"),
            ("1.2.3\tand 2.0.0", 0, "blanks"),
            ("1.2.3 2.0.0", 6, "\"or\""),
            ("1.2.3 and and 2.0.0", 10, "missing"),
            ("1.2.3 and", 9, "missing"),
            ("1.2.3 and >=", 12, "missing"),
            ("", 0, "missing"),
        ] {
            let (position, problem) = position_and_problem(text);
            assert_eq!(position, place, "{text:?}: {problem}");
            assert!(problem.contains(advice), "{text:?}: {problem}");
        }
    }

    #[test]
    fn a_requirement_above_the_limit_is_refused_by_its_length() {
        let text = format!("1.0.0{}", " ".repeat(LONGEST_REQUIREMENT));
        let refused = text.parse::<VersionRequirement>();
        assert_eq!(refused, Err(RequirementError::TooLong { length: text.len() }));
        assert!(text[..LONGEST_REQUIREMENT].parse::<VersionRequirement>().is_ok());
    }

    #[test]
    fn the_upper_bound_of_a_compatible_version_excludes_its_pre_releases() {
        let requirement: VersionRequirement = "~> 2.1.0".parse().expect("valid");
        let version = |text| parse_version(text).expect("valid");
        assert!(requirement.matches(&version("2.1.9"), PreReleases::Allow));
        assert!(!requirement.matches(&version("2.2.0-rc.1"), PreReleases::Allow));
    }

    #[test]
    fn a_compatible_version_at_the_largest_number_has_a_bound_all_the_same() {
        let requirement: VersionRequirement =
            "~> 18446744073709551615.18446744073709551615.0".parse().expect("valid");
        assert!(requirement.matches(&Version::new(u64::MAX, u64::MAX, 7), PreReleases::Allow));
        assert!(!requirement.matches(&Version::new(u64::MAX, 0, 7), PreReleases::Allow));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = text.parse::<VersionRequirement>();
        }

        #[test]
        fn no_text_of_the_language_s_letters_makes_it_panic(text in "[-+=!<>~ .0-9andor]{0,40}") {
            let _ = text.parse::<VersionRequirement>();
        }

        #[test]
        fn what_is_shown_or_stored_is_what_was_given(
            text in " {0,2}(==|!=|>|>=|<|<=|~>|!|) {0,2}[1-9]\\.0\\.[1-9](-rc\\.1)? {0,2}( or ~> 1\\.2)?"
        ) {
            let requirement: VersionRequirement = text.parse()?;
            prop_assert_eq!(requirement.to_string(), text);
            let stored = serde_json::to_string(&requirement)?;
            prop_assert_eq!(serde_json::from_str::<VersionRequirement>(&stored)?, requirement);
        }

        #[test]
        fn an_operator_and_its_opposite_divide_all_versions(
            a in (0..3_u64, 0..3_u64, 0..3_u64), b in (0..3_u64, 0..3_u64, 0..3_u64)
        ) {
            let version = Version::new(a.0, a.1, a.2);
            let other = Version::new(b.0, b.1, b.2);
            for (operator, opposite) in [("==", "!="), ("<", ">="), (">", "<=")] {
                let [one, two] = [operator, opposite].map(|operator| {
                    format!("{operator} {other}")
                        .parse::<VersionRequirement>()
                        .map(|requirement| requirement.matches(&version, PreReleases::Allow))
                });
                prop_assert_ne!(one?, two?);
            }
        }
    }
}
