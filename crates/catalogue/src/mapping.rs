//! Versions that are no semantic versions: how what the devices of a system model report is read.

use std::fmt;
use std::sync::Arc;

use hedgerow_core::parse_version;
use regex::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::excerpt;

/// The most lines of a mapping.
const MOST_LINES: usize = 50;
/// The longest line, in bytes.
const LONGEST_LINE: usize = 1_000;
/// How large a compiled line may be, in bytes.
const LARGEST: usize = 64 * 1024;
/// The longest report that is looked at, in bytes.
const LONGEST_REPORT: usize = 1_000;
/// What parts of a version may be called.
const PARTS: [&str; 5] = ["major", "minor", "patch", "pre", "build"];

/// Why a line is none of a version mapping.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// There are too many lines.
    #[error("{lines} lines: give at most 50")]
    TooManyLines {
        /// How many were given.
        lines: usize,
    },
    /// A line is too long.
    #[error("line {line} has {length} bytes: give at most 1000")]
    TooLong {
        /// Which, from 1.
        line: usize,
        /// Its length in bytes.
        length: usize,
    },
    /// A line is no regular expression.
    #[error("line {line}, {text:?}, is no regular expression, or one that is too large: {detail}")]
    Malformed {
        /// Which, from 1.
        line: usize,
        /// The line, cut after 64 characters.
        text: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A line names no major version.
    #[error("line {line}, {text:?}, has no part (?<major>…): name one")]
    NoMajor {
        /// Which, from 1.
        line: usize,
        /// The line, cut after 64 characters.
        text: String,
    },
    /// A line names a part that versions have not.
    #[error("line {line} names a part {part:?}: there are major, minor, patch, pre and build")]
    UnknownPart {
        /// Which, from 1.
        line: usize,
        /// What it names.
        part: String,
    },
}

/// An ordered list of regular expressions, each over the whole of what a device reports, whose named
/// parts `major`, `minor`, `patch`, `pre` and `build` make a semantic version.
///
/// ```
/// use hedgerow_catalogue::VersionMapping;
///
/// let mapping = VersionMapping::new([
///     r"v(?<major>\d+)\.(?<minor>\d+)".to_owned(),
///     r"(?<major>\d+)\.(?<minor>\d+)\.(?<patch>\d+)\.(?<build>\d+)".to_owned(),
/// ])?;
/// assert_eq!(mapping.read("v1.04"), "1.4.0");
/// assert_eq!(mapping.read("1.4.0.211"), "1.4.0+211");
/// assert_eq!(mapping.read("nightly"), "nightly", "what no line matches stays as it is");
/// # Ok::<(), hedgerow_catalogue::MappingError>(())
/// ```
#[derive(Clone, Default)]
pub struct VersionMapping {
    lines: Arc<Vec<String>>,
    compiled: Arc<Vec<Regex>>,
}

impl VersionMapping {
    /// A mapping of these lines.
    ///
    /// # Errors
    /// [`MappingError`]
    pub fn new(lines: impl IntoIterator<Item = String>) -> Result<Self, MappingError> {
        let lines: Vec<String> = lines.into_iter().collect();
        if lines.len() > MOST_LINES {
            return Err(MappingError::TooManyLines { lines: lines.len() });
        }
        let compiled = lines.iter().zip(1..).map(|(text, line)| compile(text, line));
        let compiled = compiled.collect::<Result<_, _>>()?;
        Ok(Self { lines: Arc::new(lines), compiled: Arc::new(compiled) })
    }

    /// Its lines.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// What a device reports, as the first line that matches it reads it; as it is if none does, or
    /// if no semantic version comes of it.
    #[must_use]
    pub fn read(&self, reported: &str) -> String {
        let is_short = reported.len() <= LONGEST_REPORT;
        let lines = self.compiled.iter().filter(|_| is_short);
        let mut read = lines.filter_map(|line| version(&line.captures(reported)?));
        read.next().unwrap_or_else(|| reported.to_owned())
    }
}

fn compile(text: &str, line: usize) -> Result<Regex, MappingError> {
    if text.len() > LONGEST_LINE {
        return Err(MappingError::TooLong { line, length: text.len() });
    }
    // By itself first: what ends the group around it is no expression.
    let build = |text: &str| {
        RegexBuilder::new(text).size_limit(LARGEST).dfa_size_limit(LARGEST).nest_limit(50).build()
    };
    let compiled = build(text).and_then(|_| build(&format!("^(?:{text})$")));
    let compiled = compiled.map_err(|error| {
        let (text, detail) = (excerpt(text), error.to_string());
        let detail = detail.lines().last().unwrap_or_default().to_owned();
        MappingError::Malformed { line, text, detail }
    })?;
    let mut names = compiled.capture_names().flatten();
    if let Some(part) = names.find(|name| !PARTS.contains(name)) {
        return Err(MappingError::UnknownPart { line, part: excerpt(part) });
    }
    if compiled.capture_names().flatten().all(|name| name != "major") {
        return Err(MappingError::NoMajor { line, text: excerpt(text) });
    }
    Ok(compiled)
}

/// The version that the parts of a match make.
fn version(parts: &Captures<'_>) -> Option<String> {
    let number = |name| match parts.name(name) {
        Some(digits) => digits.as_str().parse::<u64>().ok(),
        None => Some(0),
    };
    let mut text = format!("{}.{}.{}", number("major")?, number("minor")?, number("patch")?);
    for (name, sign) in [("pre", '-'), ("build", '+')] {
        if let Some(part) = parts.name(name).filter(|part| !part.is_empty()) {
            text.push(sign);
            text.push_str(part.as_str());
        }
    }
    parse_version(&text).is_ok().then_some(text)
}

impl PartialEq for VersionMapping {
    fn eq(&self, other: &Self) -> bool {
        self.lines == other.lines
    }
}

impl Eq for VersionMapping {}

impl fmt::Debug for VersionMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VersionMapping").field(&self.lines).finish()
    }
}

impl Serialize for VersionMapping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.lines.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for VersionMapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<String>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapping(lines: &[&str]) -> Result<VersionMapping, MappingError> {
        VersionMapping::new(lines.iter().map(|line| (*line).to_owned()))
    }

    #[test]
    fn the_first_line_that_makes_a_version_of_a_report_reads_it() {
        let mapping = mapping(&[
            r"(?<major>\d{4})\.(?<minor>\d\d)\.(?<patch>\d\d)",
            r"v?(?<major>\d+)(\.(?<minor>\d+)(\.(?<patch>\d+))?)?(-(?<pre>.+))?",
            r"r(?<build>\d+)-(?<major>\d+)",
        ])
        .expect("in order");
        for (reported, read) in [
            ("2026.11.30", "2026.11.30"),
            ("2026.01.05", "2026.1.5"),
            ("v1.4", "1.4.0"),
            ("7", "7.0.0"),
            ("1.2.3-rc.1", "1.2.3-rc.1"),
            // No semantic version comes of it.
            ("1.2.3-rc_1", "1.2.3-rc_1"),
            ("99999999999999999999", "99999999999999999999"),
            ("r211-3", "3.0.0+211"),
            ("xv1.4", "xv1.4"),
            ("v1.4\n", "v1.4\n"),
            ("", ""),
        ] {
            assert_eq!(mapping.read(reported), read, "{reported:?}");
        }
    }

    #[test]
    fn lines_that_are_none_are_refused() {
        assert_eq!(mapping(&[]).map(|it| it.read("v1")), Ok("v1".to_owned()));
        assert!(matches!(mapping(&[r"(\d+)"]), Err(MappingError::NoMajor { line: 1, .. })));
        let unknown = mapping(&[r"(?<major>\d+)", r"(?<major>\d+)(?<micro>\d)"]);
        assert_eq!(unknown, Err(MappingError::UnknownPart { line: 2, part: "micro".into() }));
        for line in [r"(?<major>\d+", r"(?<major>\d+))|(?:", r"(?<major>\pL{1000})"] {
            assert!(matches!(mapping(&[line]), Err(MappingError::Malformed { .. })), "{line}");
        }
        let long = format!("(?<major>{})", "1".repeat(1_000));
        assert!(matches!(mapping(&[&long]), Err(MappingError::TooLong { .. })));
        assert!(matches!(mapping(&["(?<major>1)"; 51]), Err(MappingError::TooManyLines { .. })));
    }

    proptest! {
        #[test]
        fn what_is_read_is_a_version_or_what_was_reported(
            reported in r"v?[0-9]{1,3}(\.[0-9a-z]{1,3}){0,4}",
        ) {
            let mapping = mapping(&[
                r"v(?<major>\d+)\.(?<minor>\w+)",
                r"(?<major>\d+)\.(?<minor>\d+)\.(?<patch>\d+)\.(?<build>.*)",
            ]).expect("in order");
            let read = mapping.read(&reported);
            prop_assert!(read == reported || parse_version(&read).is_ok());
        }
    }
}
