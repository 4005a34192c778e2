//! The log of an observation as the judge reads it: entries of any author, whose fields are asked
//! for only when a check needs them.

use serde_json::{Map, Value};

use super::loose::{Decimal, Key, NULL, Unusable, Usable, number, object};

/// One entry of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) index: usize,
    pub(super) at: Decimal,
    /// Empty for a kind that is no text: no check knows it.
    pub(super) kind: &'a str,
    fields: &'a Map<String, Value>,
}

impl<'a> Record<'a> {
    fn new(index: usize, entry: &'a Value) -> Usable<Self> {
        let place = |Unusable(why)| Unusable(format!("entry {index}: {why}"));
        let fields = object(entry).map_err(place)?;
        let missing = |name| Unusable(format!("entry {index} has no {name}"));
        let kind = fields.get("kind").ok_or_else(|| missing("kind"))?.as_str().unwrap_or("");
        let at = fields.get("at_ms").ok_or_else(|| missing("at_ms"))?;
        let at = number(at).map_err(place)?;
        Ok(Self { index, at, kind, fields })
    }

    /// A field that an entry may lack; null if it does.
    pub(super) fn get(&self, name: &str) -> &'a Value {
        self.fields.get(name).unwrap_or(&NULL)
    }

    /// A field that an entry of this kind has.
    pub(super) fn field(&self, name: &str) -> Usable<&'a Value> {
        self.fields.get(name).ok_or_else(|| Unusable(format!("entry {} has no {name}", self.index)))
    }

    pub(super) fn key(&self, name: &str) -> Usable<Key> {
        Key::of(self.field(name)?)
    }

    pub(super) fn is(&self, name: &str, text: &str) -> Usable<bool> {
        Ok(self.field(name)? == text)
    }

    /// The time, as the entry has it.
    pub(super) fn at_ms(&self) -> &'a Value {
        self.get("at_ms")
    }
}

/// All entries of a log.
pub(super) fn read(log: &[Value]) -> Usable<Vec<Record<'_>>> {
    log.iter().enumerate().map(|(index, entry)| Record::new(index, entry)).collect()
}

/// The entries about one campaign.
pub(super) fn about<'a>(log: &[Record<'a>], campaign: &str) -> Vec<Record<'a>> {
    log.iter().filter(|entry| entry.get("campaign") == campaign).copied().collect()
}
