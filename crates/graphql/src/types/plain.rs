//! Objects whose few fields are at hand where they are made: there is nothing to look up.

use async_graphql::Value;

use crate::record::{Answer, Ask, Record};

/// An object of what is at hand.
pub(crate) struct Plain {
    type_name: &'static str,
    fields: Vec<(&'static str, Answer)>,
}

impl Plain {
    pub(crate) fn new(type_name: &'static str) -> Self {
        Self { type_name, fields: Vec::new() }
    }

    /// With a field of that value.
    pub(crate) fn with(self, name: &'static str, value: impl Into<Value>) -> Self {
        self.answering(name, Answer::value(value))
    }

    /// With a field that was answered already.
    pub(crate) fn answering(mut self, name: &'static str, answer: Answer) -> Self {
        self.fields.push((name, answer));
        self
    }
}

impl Record for Plain {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn at_hand(&self, field: &str, _: &Ask) -> Option<Answer> {
        let found = self.fields.iter().find(|(name, _)| *name == field);
        found.map(|(_, answer)| answer.clone())
    }
}
