//! Reading and comparing semantic versions, exactly as Elixir's `Version` does (D5, D6).

use std::cmp::Ordering;

use semver::Version;

/// The longest version, in bytes.
const LONGEST_VERSION: usize = 16 * 1024;

/// Why a text is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// Longer than a version may be.
    #[error("a version of {length} bytes: give at most 16384")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// No semantic version, or one with a number above 2^64 - 1.
    #[error(
        "{text:?} is no semantic version ({detail}): give MAJOR.MINOR.PATCH with optional -PRERELEASE and +BUILD, such as 1.4.0-rc.1+build5"
    )]
    Malformed {
        /// What was given, cut after 64 characters.
        text: String,
        /// What is wrong with it.
        detail: String,
    },
}

/// Reads a semantic version: three numbers, then optionally a pre-release and build metadata.
///
/// A number above 2^64 - 1 is refused as invalid.
///
/// # Errors
/// [`VersionError`] if the text is anything else.
pub fn parse_version(text: &str) -> Result<Version, VersionError> {
    if text.len() > LONGEST_VERSION {
        return Err(VersionError::TooLong { length: text.len() });
    }
    Version::parse(text).map_err(|error| VersionError::Malformed {
        text: crate::id::excerpt(text),
        detail: error.to_string(),
    })
}

/// The order of two versions. Build metadata plays no part in it.
#[must_use]
pub fn precedence(a: &Version, b: &Version) -> Ordering {
    a.cmp_precedence(b)
}

/// Whether two versions have the same build metadata, to the letter; none and some differ.
#[must_use]
pub fn same_build(a: &Version, b: &Version) -> bool {
    a.build == b.build
}
