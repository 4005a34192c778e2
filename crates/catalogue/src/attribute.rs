//! The value of an attribute that people give a device, and how values are compared.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hedgerow_core::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest text or run of bytes, in bytes.
const LONGEST: usize = 4_096;

/// A value that no attribute has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// A text, or bytes, that are too long.
    #[error("a value of {length} bytes is too long: give at most 4096")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A number that is none.
    #[error("an infinite number, or one that is not a number, is no value: give a finite one")]
    NotFinite,
}

/// The value of an attribute of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttributeValue {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number, which is finite.
    Number(f64),
    /// Yes or no.
    Boolean(bool),
    /// An instant.
    Time(Timestamp),
    /// Bytes.
    Bytes(#[serde(serialize_with = "to_base64", deserialize_with = "from_base64")] Vec<u8>),
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

impl AttributeValue {
    /// Whether a device may have it.
    ///
    /// # Errors
    /// [`AttributeError`]
    pub fn check(&self) -> Result<(), AttributeError> {
        let length = match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Number(number) if !number.is_finite() => return Err(AttributeError::NotFinite),
            _ => 0,
        };
        if length > LONGEST { Err(AttributeError::TooLong { length }) } else { Ok(()) }
    }

    /// The order of two values of one kind, whole and other numbers being one; `None` of two that
    /// have none.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(b)),
            (Self::Number(a), Self::Number(b)) => a.partial_cmp(b),
            (Self::Integer(a), Self::Number(b)) => compare_mixed(*a, *b),
            (Self::Number(a), Self::Integer(b)) => compare_mixed(*b, *a).map(Ordering::reverse),
            (Self::Boolean(a), Self::Boolean(b)) => Some(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// 2 to the power of 63: the first number above all whole numbers of 64 bits.
const ABOVE: f64 = 9_223_372_036_854_775_808.0;

/// Exactly, also where a whole number has more digits than a number with a fraction can hold.
fn compare_mixed(whole: i64, number: f64) -> Option<Ordering> {
    if number.is_nan() {
        return None;
    }
    if number >= ABOVE {
        return Some(Ordering::Less);
    }
    if number < -ABOVE {
        return Some(Ordering::Greater);
    }
    let floor = number.floor();
    // It is within what 64 bits hold, and has no fraction.
    #[allow(clippy::cast_possible_truncation)]
    let order = whole.cmp(&(floor as i64));
    Some(if number > floor { order.then(Ordering::Less) } else { order })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_compared_exactly() {
        let cases = [
            (1, 1.0, Ordering::Equal),
            (1, 1.5, Ordering::Less),
            (2, 1.5, Ordering::Greater),
            (-1, -1.5, Ordering::Greater),
            (-2, -1.5, Ordering::Less),
            (i64::MAX, ABOVE, Ordering::Less),
            (i64::MIN, -ABOVE, Ordering::Equal),
            (9_007_199_254_740_993, 9_007_199_254_740_992.0, Ordering::Greater),
            (0, f64::NEG_INFINITY, Ordering::Greater),
        ];
        for (whole, number, expected) in cases {
            assert_eq!(compare_mixed(whole, number), Some(expected), "{whole} and {number}");
        }
        assert_eq!(compare_mixed(0, f64::NAN), None);
    }

    proptest! {
        #[test]
        fn a_number_reads_back_to_its_last_bit(number in proptest::num::f64::NORMAL) {
            let json = serde_json::to_string(&AttributeValue::Number(number)).expect("finite");
            let read = serde_json::from_str::<AttributeValue>(&json).ok();
            prop_assert_eq!(read, Some(AttributeValue::Number(number)));
        }

        #[test]
        fn small_whole_numbers_compare_as_numbers_do(a in -1_000_i32..1_000, b in -1_000.0..1_000.0) {
            let expected = f64::from(a).partial_cmp(&b);
            prop_assert_eq!(compare_mixed(i64::from(a), b), expected);
        }
    }
}
