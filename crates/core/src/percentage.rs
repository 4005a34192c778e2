//! Percentages that compare exactly (D13): a decimal is kept as a whole number of its smallest
//! part, so that 33.3 is 33.3 and not the binary fraction next to it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::excerpt;

/// Decimals that are kept. An `f64` between 0 and 100 is always written with fewer significant
/// digits, so a percentage that came as a JSON number never loses one that matters.
const DECIMALS: u32 = 17;
/// One per cent, in the smallest part.
const ONE: u64 = 10_u64.pow(DECIMALS);

/// A percentage from 0 to 100, exact to 17 decimals.
///
/// ```
/// use hedgerow_core::Percentage;
///
/// let limit: Percentage = "33.3".parse()?;
/// assert!(!limit.is_exceeded_by(333, 1_000), "exactly at the limit is not beyond it");
/// assert!(limit.is_exceeded_by(334, 1_000));
/// # Ok::<(), hedgerow_core::PercentageError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentage(u64);

/// A text that is no percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PercentageError {
    /// Below 0 or above 100.
    #[error("{text} is not between 0 and 100: give a percentage in that range")]
    OutOfRange {
        /// What was given.
        text: String,
    },
    /// No decimal number.
    #[error("{text:?} is not a decimal number: give a percentage such as 5 or 33.3")]
    Malformed {
        /// What was given, cut after 64 characters.
        text: String,
    },
    /// More than 17 decimals.
    #[error("{text} has more than 17 decimals: round it")]
    TooPrecise {
        /// What was given, cut after 64 characters.
        text: String,
    },
}

impl Percentage {
    /// 0 %: the first failure is one too many.
    pub const ZERO: Self = Self(0);
    /// 100 %: no number of failures is too many.
    pub const HUNDRED: Self = Self(100 * ONE);

    /// Whether `failed` of `total` is more than this share: strictly, and exactly (D13).
    #[must_use]
    pub fn is_exceeded_by(self, failed: u32, total: u32) -> bool {
        // failed / total * 100 > self, without a division.
        u128::from(failed) * 100 * u128::from(ONE) > u128::from(self.0) * u128::from(total)
    }
}

impl FromStr for Percentage {
    type Err = PercentageError;

    /// Reads a decimal, also in the notation `2.5e-7` that JSON writers use for small numbers.
    fn from_str(text: &str) -> Result<Self, PercentageError> {
        let malformed = || PercentageError::Malformed { text: excerpt(text) };
        if text.len() > 64 {
            return Err(malformed());
        }
        let (sign, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => {
                (mantissa, exponent.parse::<i32>().map_err(|_| malformed())?)
            }
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(malformed());
        }
        let out_of_range = || PercentageError::OutOfRange { text: excerpt(text) };
        let too_precise = || PercentageError::TooPrecise { text: excerpt(text) };
        // The place of each digit, counted in powers of ten from the decimal point.
        let highest = i32::try_from(whole.len()).unwrap_or(i32::MAX) - 1;
        let mut sum: u128 = 0;
        for (index, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
            let digit = u128::from(digit - b'0');
            if digit == 0 {
                continue;
            }
            let place = highest
                .saturating_sub(i32::try_from(index).unwrap_or(i32::MAX))
                .saturating_add(exponent);
            if place > 2 {
                return Err(out_of_range());
            }
            let power = u32::try_from(place.saturating_add(17)).map_err(|_| too_precise())?;
            sum += digit * 10_u128.pow(power);
        }
        let parts = u64::try_from(sum).map_err(|_| out_of_range())?;
        if parts > Self::HUNDRED.0 || (sign && parts != 0) {
            return Err(out_of_range());
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / ONE, self.0 % ONE);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let decimals = format!("{fraction:017}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

impl Serialize for Percentage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percentage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn percentage(text: &str) -> Percentage {
        text.parse().unwrap()
    }

    #[test]
    fn a_decimal_is_read_exactly_and_written_back() {
        for text in ["0", "100", "33.3", "0.1", "29.9", "99.99999999999999", "12.34567890123456789"]
        {
            assert_eq!(percentage(text).to_string(), text);
        }
        assert_eq!(percentage("10.0"), percentage("10"));
        assert_eq!(percentage("2.5e-7"), percentage("0.00000025"));
        assert_eq!(percentage("1e1"), percentage("10"));
        assert_eq!(percentage("-0.0"), Percentage::ZERO);
    }

    #[test]
    fn what_lies_outside_is_refused_with_the_reason() {
        for text in ["-10", "-0.0001", "100.0001", "110.0", "1e3", "100.00000000000000001"] {
            assert!(
                matches!(text.parse::<Percentage>(), Err(PercentageError::OutOfRange { .. })),
                "{text}"
            );
        }
        for text in ["", "5%", "NaN", "inf", ".5", "5.", "+5", "1e", "0x10", "1_0"] {
            assert!(
                matches!(text.parse::<Percentage>(), Err(PercentageError::Malformed { .. })),
                "{text}"
            );
        }
        let text = "0.000000000000000001";
        assert!(matches!(text.parse::<Percentage>(), Err(PercentageError::TooPrecise { .. })));
    }

    proptest! {
        #[test]
        fn every_f64_between_zero_and_hundred_that_has_17_decimals_is_kept(value in 0.1..=100.0_f64) {
            let text = value.to_string();
            prop_assert_eq!(percentage(&text).to_string(), text);
        }

        #[test]
        fn the_limit_agrees_with_whole_number_arithmetic(hundredths in 0..=10_000_u32, failed: u32, total: u32) {
            let limit = percentage(&format!("{}.{:02}", hundredths / 100, hundredths % 100));
            let exceeded = u128::from(failed) * 10_000 > u128::from(hundredths) * u128::from(total);
            prop_assert_eq!(limit.is_exceeded_by(failed, total), exceeded);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[-+0-9.eE]{0,40}|.{0,80}") {
            let _ = text.parse::<Percentage>();
        }
    }
}
