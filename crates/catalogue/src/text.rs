//! The texts that people enter, each checked once: a value of one of these types is a valid one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// The longest handle, name, tag, part number or key, in bytes.
const LONGEST: usize = 255;
/// The longest language tag, in bytes: that of RFC 5646, section 4.4.1.
const LONGEST_LANGUAGE: usize = 35;

/// A text that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: give {expected}")]
#[non_exhaustive]
pub struct TextError {
    /// What it should be.
    pub what: &'static str,
    /// What was given, cut after 64 characters.
    pub text: String,
    /// What to give instead.
    pub expected: &'static str,
}

/// The beginning of a text, for errors.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

macro_rules! texts {
    ($( $(#[$meta:meta])* $name:ident = $what:literal, $expected:literal, $check:expr; )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    return Ok(Self(text.to_owned()));
                }
                Err(TextError { what: $what, text: excerpt(text), expected: $expected })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )* };
}

texts! {
    /// What a thing is called by programs: lower case letters, digits and hyphens. What uses it may
    /// ask for more, such as that it begins with a letter.
    Handle = "handle", "1 to 255 lower case letters, digits or hyphens", is_handle;
    /// What a thing is called by people.
    Name = "name", "1 to 255 bytes of text without control characters", is_line;
    /// The number under which a manufacturer sells a part: what devices report as theirs.
    PartNumber = "part number", "1 to 255 bytes of text without control characters", is_line;
    /// A word that people put on devices.
    Tag = "tag", "1 to 255 bytes of text without control characters", is_line;
    /// The key of an attribute of a device.
    AttributeKey = "key of an attribute", "1 to 255 lower case letters, hyphens or underscores",
        is_key;
    /// A language, such as `en` or `de-AT`.
    LanguageTag = "language tag", "one such as \"en\" or \"de-AT\"", is_language;
}

impl Handle {
    /// Whether it begins with a letter.
    #[must_use]
    pub fn begins_with_letter(&self) -> bool {
        self.0.starts_with(|first: char| first.is_ascii_lowercase())
    }
}

fn is_handle(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_line(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control)
}

fn is_key(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'_')
}

fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    text.len() <= LONGEST_LANGUAGE
        && (2..=8).contains(&first.len())
        && first.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_malformed_is_refused_with_what_to_give() {
        for text in ["", "Gateway", "a b", "a_b", "ä", &"x".repeat(256)] {
            assert!(text.parse::<Handle>().is_err(), "{text}");
        }
        for text in ["1st", "-", "a-b-2", &"x".repeat(255)] {
            assert!(text.parse::<Handle>().is_ok(), "{text}");
        }
        for text in ["", " ", "a\nb", &"x".repeat(256)] {
            assert!(text.parse::<Name>().is_err(), "{text:?}");
        }
        for text in ["", "d", "de_AT", "de-", "d1", &"de-".repeat(20)] {
            assert!(text.parse::<LanguageTag>().is_err(), "{text:?}");
        }
        for text in ["en", "de-AT", "zh-Hant-TW", "x-klingon"] {
            assert_eq!(text.parse::<LanguageTag>().is_ok(), text != "x-klingon", "{text:?}");
        }
        let error = "A".parse::<Handle>().expect_err("upper case").to_string();
        assert_eq!(
            error,
            "\"A\" is no handle: give 1 to 255 lower case letters, digits or hyphens"
        );
    }

    proptest! {
        #[test]
        fn what_is_read_back_is_the_same(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<Name>() {
                let json = serde_json::to_string(&name).expect("it is text");
                prop_assert_eq!(serde_json::from_str::<Name>(&json).ok(), Some(name));
            }
        }
    }
}
