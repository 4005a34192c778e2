//! Objects that are only a few values: made where they are needed, with nothing to look up.

use async_graphql::Value;

use crate::record::{Answer, Ask, Record};

/// An object of values that are at hand.
pub(crate) struct Plain {
    type_name: &'static str,
    fields: Vec<(&'static str, Value)>,
}

impl Plain {
    pub(crate) fn new(type_name: &'static str) -> Self {
        Self { type_name, fields: Vec::new() }
    }

    /// With a field of that value.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// With a field that was answered already.
    pub(crate) fn answering(self, name: &'static str, answer: Answer) -> Self {
        match answer {
            Answer::Value(value) => self.with(name, value),
            Answer::Object(_) | Answer::Objects(_) => self,
        }
    }
}

impl Record for Plain {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn at_hand(&self, field: &str, _: &Ask) -> Option<Answer> {
        let value = self.fields.iter().find(|(name, _)| *name == field);
        value.map(|(_, value)| Answer::Value(value.clone()))
    }
}
