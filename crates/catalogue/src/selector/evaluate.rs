//! Whether a device meets a selector.

use std::cmp::Ordering;

use hedgerow_core::Timestamp;

use super::parse::instant;
use super::{Comparison, Expression, Namespace, Operand, Subject};
use crate::attribute::AttributeValue;

/// As deep as parentheses may be in each other.
pub(super) fn is_met(expression: &Expression, device: &impl Subject, now: Timestamp) -> bool {
    match expression {
        Expression::Any(some) => some.iter().any(|each| is_met(each, device, now)),
        Expression::All(all) => all.iter().all(|each| is_met(each, device, now)),
        Expression::HasTag(tag, wanted) => device.has_tag(tag) == *wanted,
        Expression::TagMatches(pattern, wanted) => {
            device.some_tag(&mut |tag| pattern.matches(tag)) == *wanted
        }
        Expression::Attribute { namespace, key, comparison, with } => {
            let time;
            let with = match with {
                Operand::Value(value) => value,
                Operand::Now => {
                    time = AttributeValue::Time(now);
                    &time
                }
            };
            let order = match namespace {
                Namespace::Custom => device.custom(key).and_then(|value| value.compare(with)),
                Namespace::Astarte => {
                    device.astarte(key).and_then(|text| read_as(text, with)?.compare(with))
                }
            };
            order.is_some_and(|order| comparison.is_met(order))
        }
    }
}

impl Comparison {
    fn is_met(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
        }
    }
}

/// A text, read as a value of the kind of another one.
fn read_as(text: &str, other: &AttributeValue) -> Option<AttributeValue> {
    match other {
        AttributeValue::Text(_) => Some(AttributeValue::Text(text.to_owned())),
        AttributeValue::Integer(_) | AttributeValue::Number(_) => match text.parse() {
            Ok(whole) => Some(AttributeValue::Integer(whole)),
            Err(_) => text.parse().ok().map(AttributeValue::Number),
        },
        AttributeValue::Boolean(_) => text.parse().ok().map(AttributeValue::Boolean),
        AttributeValue::Time(_) => instant(text).map(AttributeValue::Time),
        AttributeValue::Bytes(_) => Some(AttributeValue::Bytes(text.as_bytes().to_vec())),
    }
}
