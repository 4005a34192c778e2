//! Reading the parts of definitions that events hold. They look as they do outside, but what is not
//! known is passed over: a log must go on being read by versions that know fewer keys than its writer
//! (E6), while whoever gives a definition must be told of a key that nobody knows.
//!
//! So a type says once, with `deny_unknown_fields`, what it has; here, keys that it does not name are
//! taken away before it sees them, at any depth.

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Error, Value};

/// For a field of an event that is given from outside elsewhere: passes over what its type does not
/// know.
pub(crate) fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    let value = Value::deserialize(from)?;
    T::deserialize(Stored(value)).map_err(D::Error::custom)
}

/// A value of which structures see only the keys that they know.
struct Stored(Value);

impl Stored {
    fn object(self) -> Result<serde_json::Map<String, Value>, Self> {
        match self.0 {
            Value::Object(object) => Ok(object),
            other => Err(Self(other)),
        }
    }
}

fn entries(object: serde_json::Map<String, Value>) -> impl Iterator<Item = (String, Stored)> {
    object.into_iter().map(|(key, value)| (key, Stored(value)))
}

impl IntoDeserializer<'_, Error> for Stored {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Stored {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(array) => {
                visitor.visit_seq(SeqDeserializer::new(array.into_iter().map(Self)))
            }
            Value::Object(object) => visitor.visit_map(MapDeserializer::new(entries(object))),
            value => value.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.object() {
            Ok(mut object) => {
                object.retain(|key, _| fields.contains(&key.as_str()));
                visitor.visit_map(MapDeserializer::new(entries(object)))
            }
            Err(other) => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.object() {
            Ok(object) if object.len() == 1 => visitor
                .visit_enum(MapAccessDeserializer::new(MapDeserializer::new(entries(object)))),
            Ok(object) => Value::Object(object).deserialize_enum(name, variants, visitor),
            Err(other) => other.0.deserialize_enum(name, variants, visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        number: Option<u16>,
        #[serde(default)]
        text: String,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    enum Choice {
        Plain,
        Holding(Inner),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(transparent)]
    struct Wrapped(Vec<Inner>);

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Inner,
        choices: Vec<Choice>,
        wrapped: Wrapped,
        named: BTreeMap<String, Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Event {
        #[serde(deserialize_with = "read")]
        outer: Outer,
    }

    #[test]
    fn what_a_type_does_not_know_is_passed_over_wherever_it_stands() {
        let inner = |number: u16| json!({"number": number, "text": "t", "new": {"deep": [1]}});
        let event = json!({"outer": {
            "inner": inner(1),
            "choices": ["plain", {"holding": inner(2)}],
            "wrapped": [inner(3), {"number": null, "new": 1}],
            "named": {"any name": inner(4)},
            "new": null,
        }});
        assert!(serde_json::from_value::<Outer>(event["outer"].clone()).is_err(), "from outside");
        let Event { outer } = serde_json::from_value(event).expect("passed over");
        let known = |number| Inner { number: Some(number), text: "t".to_owned() };
        let bare = Inner { number: None, text: String::new() };
        assert_eq!(outer.inner, known(1));
        assert_eq!(outer.choices, [Choice::Plain, Choice::Holding(known(2))]);
        assert_eq!(outer.wrapped, Wrapped(vec![known(3), bare]));
        assert_eq!(outer.named, BTreeMap::from([("any name".to_owned(), known(4))]));
    }

    #[test]
    fn what_is_wrong_is_still_refused() {
        let read = |inner: Value| {
            serde_json::from_value::<Event>(json!({"outer": {
                "inner": inner, "choices": [], "wrapped": [], "named": {},
            }}))
        };
        assert!(read(json!({"number": 1})).is_ok());
        for wrong in [json!({"number": -1}), json!({"number": 70_000}), json!(7), json!(null)] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
        let choice = |choice: Value| {
            serde_json::from_value::<Event>(json!({"outer": {
                "inner": {"number": 1}, "choices": [choice], "wrapped": [], "named": {},
            }}))
        };
        for wrong in
            [json!("new"), json!({"new": {}}), json!({"holding": {}, "plain": 1}), json!(1)]
        {
            assert!(choice(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
