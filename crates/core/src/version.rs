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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        parse_version(text).expect("a version")
    }

    #[test]
    fn a_number_above_64_bits_is_refused_and_the_largest_of_64_bits_taken() {
        assert_eq!(version("18446744073709551615.0.0").major, u64::MAX);
        assert!(matches!(
            parse_version("18446744073709551616.0.0"),
            Err(VersionError::Malformed { .. })
        ));
    }

    #[test]
    fn a_number_in_a_pre_release_may_be_of_any_size_and_is_compared_by_value() {
        let larger = version("1.0.0-100000000000000000000");
        assert_eq!(precedence(&version("1.0.0-99999999999999999999"), &larger), Ordering::Less);
    }

    #[test]
    fn what_surrounds_a_version_is_no_part_of_it() {
        for text in ["v1.0.0", " 1.0.0", "1.0.0 ", "1.0.0\n", "=1.0.0", "1.0", "", "1.0.0-\u{e9}"] {
            assert!(parse_version(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_version_above_the_limit_is_refused_by_its_length() {
        let longest = format!("1.0.0+{}", "a".repeat(LONGEST_VERSION - 6));
        assert!(parse_version(&longest).is_ok());
        let length = longest.len() + 1;
        assert_eq!(parse_version(&(longest + "a")), Err(VersionError::TooLong { length }));
    }

    #[test]
    fn builds_are_the_same_to_the_letter_only() {
        assert!(same_build(&version("1.0.0+1"), &version("2.0.0+1")));
        assert!(!same_build(&version("1.0.0+1"), &version("1.0.0+01")));
        assert!(!same_build(&version("1.0.0"), &version("1.0.0+1")));
    }

    fn any_version() -> impl Strategy<Value = Version> {
        "[0-2]\\.[0-2]\\.[0-2](-(0|1|10|a|A|rc|-)(\\.(0|2|b))?)?(\\+[a0]{1,2})?"
            .prop_map(|text| version(&text))
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = parse_version(&text);
        }

        #[test]
        fn a_version_is_shown_as_it_was_read(
            text in "(0|[1-9][0-9]{0,3})\\.0\\.(0|[1-9]{1,9})(-[a-zA-Z-]{1,5}(\\.[1-9]{1,3})?)?(\\+[a-z0-9-]{1,5})?"
        ) {
            prop_assert_eq!(parse_version(&text)?.to_string(), text);
        }

        #[test]
        fn the_order_is_total(a in any_version(), b in any_version(), c in any_version()) {
            prop_assert_eq!(precedence(&a, &a), Ordering::Equal);
            prop_assert_eq!(precedence(&a, &b), precedence(&b, &a).reverse());
            let mut sorted = [a, b, c];
            sorted.sort_by(precedence);
            let [low, _, high] = &sorted;
            prop_assert_ne!(precedence(low, high), Ordering::Greater);
        }

        #[test]
        fn build_metadata_plays_no_part_in_the_order(a in any_version(), b in any_version()) {
            let bare = Version { build: semver::BuildMetadata::EMPTY, ..a.clone() };
            prop_assert_eq!(precedence(&a, &b), precedence(&bare, &b));
        }
    }
}
