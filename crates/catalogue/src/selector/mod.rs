//! The language in which a group says which devices are in it.
//!
//! ```text
//! selector := term ( OR term )*            AND binds tighter than OR; keywords in any case
//! term     := factor ( AND factor )*
//! factor   := "(" selector ")" | filter
//! filter   := STRING ["not"] "in" "tags"
//!           | ( STRING | /REGEX/ ) ( "~=" | "!~=" ) "tags"
//!           | attributes["NAMESPACE:KEY"] ( "==" | "!=" | ">" | ">=" | "<" | "<=" ) VALUE
//! VALUE    := STRING | number | true | false | now() | datetime("ISO 8601") | binaryblob("base64")
//! STRING   := "…", with \" for a quote and \\ for a backslash inside
//! ```
//!
//! `~=` asks whether some tag matches: a string is a pattern over the whole tag, in which `*` is any
//! run of characters and `?` is one; `/…/` is a regular expression that is found anywhere in the tag,
//! with `\/` for a slash. The namespaces are `custom`, for what people set, and `astarte-attributes`,
//! for a device's attributes in Astarte, which are texts and are read as what they are compared with.
//! A device without the attribute, or with a value of another kind, meets no comparison, nor `!=`.

mod error;
mod evaluate;
#[cfg(test)]
mod laws;
mod parse;
mod pattern;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hedgerow_core::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::attribute::AttributeValue;
pub use error::SelectorError;
use pattern::Pattern;

/// The longest selector, in bytes.
const LONGEST: usize = 16 * 1024;
/// The most parentheses in each other.
const DEEPEST: usize = 64;
/// The most filters.
const MOST_FILTERS: usize = 1_000;
/// The most regular expressions.
const MOST_REGEXES: usize = 16;
/// How large a compiled regular expression may be, in bytes, when somebody enters it.
const LARGEST_REGEX: usize = 256 * 1024;
/// The same in what was recorded: what an expression takes compiled is the affair of a library, and
/// another version of it must not make a log unreadable (E6).
const LARGEST_RECORDED_REGEX: usize = 16 * LARGEST_REGEX;

/// A selector: which devices are in a group. Two are equal if their texts are.
#[derive(Clone)]
pub struct Selector {
    text: Arc<str>,
    root: Arc<Expression>,
}

/// A selector that was parsed.
#[derive(Debug)]
enum Expression {
    /// Some of these.
    Any(Vec<Expression>),
    /// All of these.
    All(Vec<Expression>),
    /// It has that tag, or not.
    HasTag(String, bool),
    /// Some tag matches, or none does.
    TagMatches(Pattern, bool),
    /// An attribute compares so.
    Attribute { namespace: Namespace, key: String, comparison: Comparison, with: Operand },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    Custom,
    Astarte,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Debug)]
enum Operand {
    Value(AttributeValue),
    /// The time of the question.
    Now,
}

/// What a selector asks of a device.
pub trait Subject {
    /// Whether it has that tag.
    fn has_tag(&self, tag: &str) -> bool;
    /// Whether the question is answered with yes for some tag.
    fn some_tag(&self, is_it: &mut dyn FnMut(&str) -> bool) -> bool;
    /// What people set under that key.
    fn custom(&self, key: &str) -> Option<&AttributeValue>;
    /// What Astarte has under that key.
    fn astarte(&self, key: &str) -> Option<&str>;
}

impl Selector {
    fn read(text: &str, largest_regex: usize) -> Result<Self, SelectorError> {
        let root = parse::parse(text, largest_regex)?;
        Ok(Self { text: text.into(), root: Arc::new(root) })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a device is selected at that time.
    pub fn matches(&self, device: &impl Subject, now: Timestamp) -> bool {
        evaluate::is_met(&self.root, device, now)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::read(text, LARGEST_REGEX)
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Selector {}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Selector").field(&self.text).finish()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// From what was recorded; what people enter is parsed by [`FromStr`].
impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text, LARGEST_RECORDED_REGEX).map_err(serde::de::Error::custom)
    }
}
