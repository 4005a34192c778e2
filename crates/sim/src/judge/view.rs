//! The entries of a log that are about one campaign.

use serde_json::Value;

use super::values::{Judged, is, member, or_null, same};

/// One entry, with its index in the whole log.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) index: usize,
    pub(super) value: &'a Value,
}

impl<'a> Entry<'a> {
    pub(super) fn at(&self) -> Judged<&'a Value> {
        member(self.value, "at_ms")
    }

    pub(super) fn get(&self, key: &str) -> Judged<&'a Value> {
        member(self.value, key)
    }

    pub(super) fn or_null(&self, key: &str) -> Judged<&'a Value> {
        or_null(self.value, key)
    }

    pub(super) fn has_kind(&self, kind: &str) -> Judged<bool> {
        Ok(is(self.get("kind")?, kind))
    }
}

/// All entries of a log.
pub(super) fn entries(log: &[Value]) -> impl Iterator<Item = Entry<'_>> {
    log.iter().enumerate().map(|(index, value)| Entry { index, value })
}

/// The entries about one campaign.
pub(super) struct View<'a> {
    pub(super) entries: Vec<Entry<'a>>,
}

impl<'a> View<'a> {
    pub(super) fn new(campaign: &Value, log: &'a [Value]) -> Judged<Self> {
        let mut of_campaign = Vec::new();
        for entry in entries(log) {
            if same(entry.or_null("campaign")?, campaign) {
                of_campaign.push(entry);
            }
        }
        Ok(Self { entries: of_campaign })
    }

    pub(super) fn of_kind(&self, kind: &str) -> Judged<Vec<Entry<'a>>> {
        let mut found = Vec::new();
        for entry in &self.entries {
            if entry.has_kind(kind)? {
                found.push(*entry);
            }
        }
        Ok(found)
    }

    /// The requests to a device; all requests if the device is null.
    pub(super) fn requests_to(&self, device: &Value) -> Judged<Vec<Entry<'a>>> {
        let mut found = Vec::new();
        for entry in self.of_kind("request")? {
            if device.is_null() || same(entry.get("device")?, device) {
                found.push(entry);
            }
        }
        Ok(found)
    }
}
