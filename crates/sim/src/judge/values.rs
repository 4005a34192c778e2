//! Loosely typed JSON values, compared as the format's reference judge compares them.
//!
//! An observation comes from any program, so nothing about its types is certain. Whatever the
//! reference judge can work with must work here and whatever stops it must stop this judge: numbers
//! are equal by value, `true` is 1 and `false` is 0, and only scalars can name a device or an operation.

use std::cmp::Ordering;

use serde_json::Value;

/// What makes an observation, or the scenario beside it, impossible to judge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("the key {key:?} is missing in {place}")]
    Missing { key: String, place: String },
    #[error("{place} should be {wanted}")]
    WrongType { wanted: &'static str, place: String },
    #[error("no setting {key:?} is in force at {at}")]
    NoSetting { key: &'static str, at: String },
}

pub(super) type Judged<T> = Result<T, Unusable>;

const SHORT_CHARACTERS: usize = 80;

/// The beginning of a value, for messages.
pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHORT_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

pub(super) fn wrong(value: &Value, wanted: &'static str) -> Unusable {
    Unusable::WrongType { wanted, place: short(value) }
}

/// The member `key` of an object that must have it.
pub(super) fn member<'a>(value: &'a Value, key: &str) -> Judged<&'a Value> {
    let object = value.as_object().ok_or_else(|| wrong(value, "an object"))?;
    object.get(key).ok_or_else(|| Unusable::Missing { key: key.to_owned(), place: short(value) })
}

/// The member `key` of an object, if the object has it.
pub(super) fn optional<'a>(value: &'a Value, key: &str) -> Judged<Option<&'a Value>> {
    Ok(value.as_object().ok_or_else(|| wrong(value, "an object"))?.get(key))
}

/// The member `key` of an object, null if the object lacks it.
pub(super) fn or_null<'a>(value: &'a Value, key: &str) -> Judged<&'a Value> {
    Ok(optional(value, key)?.unwrap_or(&Value::Null))
}

/// The members of the object `value`; none if it is absent.
pub(super) fn members(value: Option<&Value>) -> Judged<impl Iterator<Item = (&String, &Value)>> {
    let object = match value {
        Some(value) => Some(value.as_object().ok_or_else(|| wrong(value, "an object"))?),
        None => None,
    };
    Ok(object.into_iter().flatten())
}

/// The elements of anything that has elements; none if it is absent. A string has its characters
/// and an object its keys, as in the reference judge.
pub(super) fn elements(value: Option<&Value>) -> Judged<Vec<Value>> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(values)) => Ok(values.clone()),
        Some(Value::String(text)) => {
            Ok(text.chars().map(|character| Value::String(character.to_string())).collect())
        }
        Some(Value::Object(object)) => Ok(object.keys().cloned().map(Value::String).collect()),
        Some(other) => Err(wrong(other, "a list")),
    }
}

/// Two elements, such as the ends of a span of time.
pub(super) fn pair(value: &Value) -> Judged<(Value, Value)> {
    let mut values = elements(Some(value))?.into_iter();
    match (values.next(), values.next(), values.next()) {
        (Some(first), Some(second), None) => Ok((first, second)),
        _ => Err(wrong(value, "a list of two elements")),
    }
}

pub(super) fn contains(container: &Value, item: &Value) -> Judged<bool> {
    match container {
        Value::Array(values) => Ok(values.iter().any(|value| same(value, item))),
        Value::Object(object) => Ok(item.as_str().is_some_and(|key| object.contains_key(key))),
        Value::String(text) => {
            Ok(text.contains(item.as_str().ok_or_else(|| wrong(item, "a string"))?))
        }
        other => Err(wrong(other, "a list")),
    }
}

/// Whether `text` is what a value says.
pub(super) fn is(value: &Value, text: &str) -> bool {
    value.as_str() == Some(text)
}

pub(super) fn is_one_of(value: &Value, texts: &[&str]) -> bool {
    value.as_str().is_some_and(|value| texts.contains(&value))
}

pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(_) => number(value).is_ok_and(|number| number != Number::Whole(0)),
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

pub(super) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| right.get(key).is_some_and(|other| same(value, other)))
        }
        (Value::Number(_) | Value::Bool(_), Value::Number(_) | Value::Bool(_)) => {
            matches!(compare(left, right), Ok(Ordering::Equal))
        }
        _ => left == right,
    }
}

/// Whether a value is the wanted one, or one of those in the wanted list.
pub(super) fn matches_wanted(wanted: &Value, actual: &Value) -> bool {
    same(wanted, actual)
        || wanted.as_array().is_some_and(|allowed| allowed.iter().any(|value| same(value, actual)))
}

/// A number of an observation: a time or an amount.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(i128),
    /// Not a whole number, or one too large for the other case.
    Fractional(f64),
}

/// Below this magnitude a float that is whole fits into an `i128`.
const WHOLE_FLOAT_LIMIT: f64 = 1e38;

impl Number {
    #[expect(clippy::cast_possible_truncation, reason = "a whole float below the limit is exact")]
    fn of_float(float: f64) -> Self {
        if float.fract() == 0.0 && float.abs() < WHOLE_FLOAT_LIMIT {
            Self::Whole(float as i128)
        } else {
            Self::Fractional(float)
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "mixed sums are done in floats, as in the reference"
    )]
    fn to_float(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Fractional(float) => float,
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => Self::Whole(left.saturating_add(right)),
            _ => Self::of_float(self.to_float() + other.to_float()),
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => Self::Whole(left.saturating_sub(right)),
            _ => Self::of_float(self.to_float() - other.to_float()),
        }
    }

    pub(super) fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => left.cmp(&right),
            (Self::Fractional(left), Self::Fractional(right)) => left.total_cmp(&right),
            (Self::Fractional(left), Self::Whole(right)) => order_float(left, right),
            (Self::Whole(left), Self::Fractional(right)) => order_float(right, left).reverse(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "guarded by the limit")]
fn order_float(float: f64, whole: i128) -> Ordering {
    if float.abs() >= WHOLE_FLOAT_LIMIT {
        return float.total_cmp(&0.0);
    }
    // The float is not whole, so equal floors mean that the float is the greater one.
    (float.floor() as i128).cmp(&whole).then(Ordering::Greater)
}

pub(super) fn number(value: &Value) -> Judged<Number> {
    match value {
        Value::Bool(flag) => Ok(Number::Whole(i128::from(*flag))),
        Value::Number(number) => {
            let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
            whole
                .map(Number::Whole)
                .or_else(|| number.as_f64().map(Number::of_float))
                .ok_or_else(|| wrong(value, "a number"))
        }
        _ => Err(wrong(value, "a number")),
    }
}

/// The order of two numbers.
pub(super) fn compare(left: &Value, right: &Value) -> Judged<Ordering> {
    Ok(number(left)?.order(number(right)?))
}

/// Whether `value` lies within the span, ends included.
pub(super) fn within(low: &Value, value: Number, high: &Value) -> Judged<bool> {
    // The upper end is not looked at when the lower one decides.
    Ok(number(low)?.order(value).is_le() && value.order(number(high)?).is_le())
}

/// An amount matches a wanted amount, or `{min, max}`.
pub(super) fn amount_matches(wanted: &Value, actual: &Value) -> Judged<bool> {
    const UNLIMITED: i128 = 1_000_000_000;
    let Some(limits) = wanted.as_object() else { return Ok(same(wanted, actual)) };
    let actual = number(actual)?;
    let low = limits.get("min").map_or(Ok(Number::Whole(0)), number)?;
    if low.order(actual).is_gt() {
        return Ok(false);
    }
    let high = limits.get("max").map_or(Ok(Number::Whole(UNLIMITED)), number)?;
    Ok(actual.order(high).is_le())
}

/// A scalar as the key of a table: the name of a device, of an operation, of an instant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Null,
    Whole(i128),
    /// The bits of a float that is not whole.
    Fractional(u64),
    Text(String),
}

impl Key {
    pub(super) fn of(value: &Value) -> Judged<Self> {
        match value {
            Value::Null => Ok(Self::Null),
            Value::String(text) => Ok(Self::Text(text.clone())),
            Value::Bool(_) | Value::Number(_) => Ok(match number(value)? {
                Number::Whole(whole) => Self::Whole(whole),
                Number::Fractional(float) => Self::Fractional(float.to_bits()),
            }),
            Value::Array(_) | Value::Object(_) => Err(wrong(value, "a name")),
        }
    }
}

/// The elements in order, if they have one: all names, or all numbers.
pub(super) fn sorted(value: &Value) -> Judged<Vec<Value>> {
    let values = elements(Some(value))?;
    if values.len() < 2 {
        return Ok(values);
    }
    if values.iter().all(Value::is_string) {
        let mut values = values;
        values.sort_by(|left, right| left.as_str().cmp(&right.as_str()));
        return Ok(values);
    }
    let mut numbered = Vec::with_capacity(values.len());
    for value in values {
        numbered.push((number(&value)?, value));
    }
    numbered.sort_by(|left, right| left.0.order(right.0));
    Ok(numbered.into_iter().map(|(_, value)| value).collect())
}

impl std::fmt::Display for Number {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(formatter),
            Self::Fractional(float) => float.fmt(formatter),
        }
    }
}
