//! Shares of a whole compared with percentages exactly: by decimal long division, so that no limit
//! is missed or met by the rounding of a binary fraction.

use serde_json::Value;

use super::values::{Judged, wrong};

/// More digits than any JSON number has: a float's exponent goes from -324 to 308.
const MAX_DIGITS: usize = 2_000;

/// A decimal number: its sign, and its digits before and after the point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    whole: Vec<u8>,
    fraction: Vec<u8>,
}

impl Decimal {
    /// The number that a JSON number's text says, digit by digit.
    pub(super) fn of(value: &Value) -> Judged<Self> {
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.trim().to_owned(),
            other => return Err(wrong(other, "a percentage")),
        };
        Self::parse(&text).ok_or_else(|| wrong(value, "a percentage"))
    }

    fn parse(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = |text: &str| -> Option<Vec<u8>> {
            text.bytes().map(|byte| byte.is_ascii_digit().then(|| byte - b'0')).collect()
        };
        let mut all = digits(whole)?;
        let mut point = all.len();
        all.extend(digits(fraction)?);
        let shift = usize::try_from(exponent.unsigned_abs()).ok()?;
        if all.is_empty() || all.len() > MAX_DIGITS || shift > MAX_DIGITS {
            return None;
        }
        if exponent >= 0 {
            point += shift;
            if all.len() < point {
                all.resize(point, 0);
            }
        } else if shift <= point {
            point -= shift;
        } else {
            all.splice(0..0, std::iter::repeat_n(0, shift - point));
            point = 0;
        }
        let fraction = all.split_off(point);
        let leading = all.iter().take_while(|digit| **digit == 0).count();
        all.drain(..leading);
        let zero = all.iter().chain(&fraction).all(|digit| *digit == 0);
        Some(Self { negative: negative && !zero, whole: all, fraction })
    }

    /// Whether `part` of `total`, in per cent, is more than this number. `total` is not 0.
    pub(super) fn is_exceeded_by(&self, part: usize, total: usize) -> bool {
        if self.negative {
            return true;
        }
        let (part, total) = (part as u128 * 100, total.max(1) as u128);
        let Some(whole) = self.whole.iter().try_fold(0_u128, |whole, digit| {
            whole.checked_mul(10)?.checked_add(u128::from(*digit))
        }) else {
            return false;
        };
        let (quotient, mut remainder) = (part / total, part % total);
        if quotient != whole {
            return quotient > whole;
        }
        for digit in &self.fraction {
            remainder *= 10;
            let next = remainder / total;
            remainder %= total;
            if next != u128::from(*digit) {
                return next > u128::from(*digit);
            }
        }
        remainder > 0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn exceeded(part: usize, total: usize, percentage: &Value) -> bool {
        Decimal::of(percentage).expect("a percentage").is_exceeded_by(part, total)
    }

    #[test]
    fn a_share_that_is_exactly_the_limit_does_not_exceed_it() {
        assert!(!exceeded(1, 8, &json!(12.5)));
        assert!(!exceeded(1, 1000, &json!(0.1)));
        assert!(!exceeded(3, 1000, &json!(0.3)));
        assert!(!exceeded(1, 1, &json!(100)));
        assert!(!exceeded(0, 7, &json!(0)));
        assert!(!exceeded(0, 7, &json!(-0.0)));
    }

    #[test]
    fn a_share_just_beyond_the_limit_exceeds_it() {
        assert!(exceeded(1, 3, &json!(33.3)));
        assert!(exceeded(1, 3, &json!(33.333_333_333_333)));
        assert!(!exceeded(1, 3, &json!(33.333_333_333_334)));
        assert!(exceeded(1, 8, &json!(12.499_999_999_999)));
        assert!(exceeded(0, 7, &json!(-1)));
    }

    #[test]
    fn exponents_are_read_exactly() {
        assert!(exceeded(1, 10_000_000, &json!(1e-7)));
        assert!(!exceeded(0, 7, &json!(1e-300)));
        assert!(exceeded(1, 7, &json!(1e-300)));
        assert!(!exceeded(1, 1, &json!(1e300)));
        assert!(!exceeded(1, 1, &json!("1.25e2")));
        assert!(exceeded(1, 8, &json!("124.9e-1")));
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        for value in
            [json!(null), json!(true), json!("x"), json!(""), json!("1e999999"), json!([1])]
        {
            assert!(Decimal::of(&value).is_err(), "{value}");
        }
    }
}
