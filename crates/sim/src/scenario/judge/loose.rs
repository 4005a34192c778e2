//! Values of logs and expectations that anybody may have written, compared as the format's
//! reference checker compares them: numbers by their exact value, whatever their spelling.
//!
//! What cannot be compared at all makes the log unusable instead of merely wrong, and only if the
//! comparison is needed; so everything here that can fail says so with [`Unusable`].

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

/// Why a log or an expectation cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unusable(pub(super) String);

pub(super) type Usable<T> = Result<T, Unusable>;

pub(super) static NULL: Value = Value::Null;

pub(super) fn unusable<T>(why: impl Into<String>) -> Usable<T> {
    Err(Unusable(why.into()))
}

/// An exact decimal number, `mantissa × 10^exponent`, without trailing zeros in the mantissa.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Decimal {
    mantissa: i128,
    exponent: i32,
}

impl Decimal {
    fn new(mut mantissa: i128, mut exponent: i32) -> Self {
        if mantissa == 0 {
            return Self { mantissa, exponent: 0 };
        }
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        Self { mantissa, exponent }
    }

    /// Reads `-12.5e-3` and the like. A JSON number is read from its shortest text, so that 33.3
    /// means 333/10 and not the binary fraction next to it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (text, exponent) = match text.split_once(['e', 'E']) {
            Some((text, exponent)) => (text, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mantissa = format!("{whole}{fraction}").parse().ok()?;
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        (exponent.abs() < 100_000).then(|| Self::new(mantissa, exponent))
    }

    /// The number of a value; true and false count as 1 and 0.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Self::parse(&number.to_string()),
            Value::Bool(truth) => Some(Self::new(i128::from(*truth), 0)),
            _ => None,
        }
    }

    pub(super) fn whole(number: impl TryInto<i128>) -> Self {
        Self::new(number.try_into().unwrap_or(i128::MAX), 0)
    }

    /// The position of the first digit.
    fn magnitude(self) -> i64 {
        i64::from(self.mantissa.unsigned_abs().checked_ilog10().unwrap_or(0))
            + i64::from(self.exponent)
    }

    fn scaled_to(self, exponent: i32) -> Option<i128> {
        let power = u32::try_from(self.exponent.checked_sub(exponent)?).ok()?;
        self.mantissa.checked_mul(10_i128.checked_pow(power)?)
    }

    pub(super) fn plus(self, other: Self) -> Usable<Self> {
        let exponent = if self.mantissa == 0 {
            other.exponent
        } else if other.mantissa == 0 {
            self.exponent
        } else {
            self.exponent.min(other.exponent)
        };
        let scaled = |number: Self| {
            if number.mantissa == 0 { Some(0) } else { number.scaled_to(exponent) }
        };
        match (scaled(self), scaled(other)) {
            (Some(one), Some(two)) => match one.checked_add(two) {
                Some(sum) => Ok(Self::new(sum, exponent)),
                None => unusable("a number is too large"),
            },
            _ => unusable("a number is too large"),
        }
    }

    pub(super) fn minus(self, other: Self) -> Usable<Self> {
        self.plus(Self { mantissa: -other.mantissa, ..other })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.mantissa.signum().cmp(&other.mantissa.signum());
        if signs != Ordering::Equal || self.exponent == other.exponent {
            return signs.then(self.mantissa.cmp(&other.mantissa));
        }
        let sizes = self.magnitude().cmp(&other.magnitude()).then_with(|| {
            // The first digits are at the same place: scaling makes both equally long.
            let exponent = self.exponent.min(other.exponent);
            let digits = |number: &Self| number.scaled_to(exponent).map(i128::unsigned_abs);
            digits(self).unwrap_or(u128::MAX).cmp(&digits(other).unwrap_or(u128::MAX))
        });
        if self.mantissa < 0 { sizes.reverse() } else { sizes }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whatever serves as an id: equal values are equal keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Null,
    Number(Decimal),
    Text(String),
}

impl Key {
    pub(super) fn of(value: &Value) -> Usable<Self> {
        match value {
            Value::Null => Ok(Self::Null),
            Value::String(text) => Ok(Self::Text(text.clone())),
            Value::Array(_) | Value::Object(_) => unusable(format!("{value} cannot be an id")),
            number => Decimal::of(number)
                .map(Self::Number)
                .ok_or_else(|| Unusable(format!("{value} cannot be an id"))),
        }
    }
}

/// Whether two values are equal.
pub(super) fn same(one: &Value, two: &Value) -> bool {
    if let (Some(one), Some(two)) = (Decimal::of(one), Decimal::of(two)) {
        return one == two;
    }
    match (one, two) {
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same(one, two))
        }
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len()
                && one.iter().all(|(key, value)| two.get(key).is_some_and(|two| same(value, two)))
        }
        _ => one == two,
    }
}

/// Whether a value is the one that is wanted, or among those that are.
pub(super) fn wanted(want: &Value, got: &Value) -> bool {
    same(want, got)
        || want.as_array().is_some_and(|allowed| allowed.iter().any(|want| same(want, got)))
}

/// Which of two values is greater, if they can be compared.
pub(super) fn compare(one: &Value, two: &Value) -> Usable<Ordering> {
    if let (Some(one), Some(two)) = (Decimal::of(one), Decimal::of(two)) {
        return Ok(one.cmp(&two));
    }
    match (one, two) {
        (Value::String(one), Value::String(two)) => Ok(one.cmp(two)),
        (Value::Array(one), Value::Array(two)) => {
            match one.iter().zip(two).find(|(one, two)| !same(one, two)) {
                Some((one, two)) => compare(one, two),
                None => Ok(one.len().cmp(&two.len())),
            }
        }
        _ => unusable(format!("{one} and {two} cannot be compared")),
    }
}

/// The number that a comparison with a number needs.
pub(super) fn number(value: &Value) -> Usable<Decimal> {
    Decimal::of(value).ok_or_else(|| Unusable(format!("{value} is not a number")))
}

pub(super) fn object(value: &Value) -> Usable<&Map<String, Value>> {
    value.as_object().ok_or_else(|| Unusable(format!("{value} is not an object")))
}

/// The members of an object under a key that may be absent.
pub(super) fn members<'a>(
    of: &'a Map<String, Value>,
    key: &str,
) -> Usable<impl Iterator<Item = (&'a String, &'a Value)> + use<'a>> {
    let members = of.get(key).map(object).transpose()?;
    Ok(members.into_iter().flatten())
}

/// The elements of a list; of a text its characters, of an object its keys.
pub(super) fn elements(value: &Value) -> Usable<Vec<Cow<'_, Value>>> {
    match value {
        Value::Array(list) => Ok(list.iter().map(Cow::Borrowed).collect()),
        Value::String(text) => {
            Ok(text.chars().map(|c| Cow::Owned(Value::from(c.to_string()))).collect())
        }
        Value::Object(map) => {
            Ok(map.keys().map(|key| Cow::Owned(Value::from(key.as_str()))).collect())
        }
        _ => unusable(format!("{value} is not a list")),
    }
}

/// The elements of a list under a key that may be absent.
pub(super) fn elements_at<'a>(
    of: &'a Map<String, Value>,
    key: &str,
) -> Usable<Vec<Cow<'a, Value>>> {
    of.get(key).map_or_else(|| Ok(Vec::new()), elements)
}

/// The elements in order.
pub(super) fn sorted(list: &Value) -> Usable<Value> {
    let mut list: Vec<Value> = elements(list)?.into_iter().map(Cow::into_owned).collect();
    let mut failure = None;
    list.sort_by(|one, two| {
        compare(one, two).unwrap_or_else(|error| {
            failure = Some(error);
            Ordering::Equal
        })
    });
    failure.map_or(Ok(Value::Array(list)), Err)
}

/// A value that stands for yes.
pub(super) fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(number) => Decimal::of(number) != Some(Decimal::whole(0)),
    }
}

/// The two ends of a range.
pub(super) fn range(value: &Value) -> Usable<(Cow<'_, Value>, Cow<'_, Value>)> {
    match <[_; 2]>::try_from(elements(value)?) {
        Ok([from, to]) => Ok((from, to)),
        Err(_) => unusable(format!("{value} is not a range of two numbers")),
    }
}

/// Whether a number is in a range; the upper end is looked at only if the lower one allows it.
pub(super) fn within(from: &Value, got: Decimal, to: &Value) -> Usable<bool> {
    Ok(number(from)? <= got && got <= number(to)?)
}

/// Whether a count is the wanted one, or between the wanted `min` and `max`.
pub(super) fn count_fits(want: &Value, got: Option<usize>) -> Usable<bool> {
    let got = got.map_or(Value::Null, Value::from);
    match want {
        Value::Object(bounds) => {
            let (zero, billion) = (Value::from(0), Value::from(1_000_000_000));
            let got = number(&got)?;
            within(bounds.get("min").unwrap_or(&zero), got, bounds.get("max").unwrap_or(&billion))
        }
        want => Ok(same(want, &got)),
    }
}
