//! The URLs that operations get of their own, and what is recorded of them (D23).

use std::collections::{BTreeMap, BTreeSet};

use hedgerow_core::{DeviceId, OperationId};

use super::facts::Unread;
use super::{Checker, Moment};
use crate::simulate::invariant::{Checked, Invariant, ensure};

/// A URL that an engine asked for.
#[derive(Clone, Copy)]
pub(crate) struct UrlAsked {
    pub(crate) slot: usize,
    pub(crate) device: DeviceId,
    pub(crate) operation: OperationId,
    /// In which step of the simulation.
    pub(crate) asked_in: u64,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Urls {
    are_given: bool,
    /// What was given last for each operation, to each engine, and in which step it was asked for;
    /// `None`: the image's own.
    given: BTreeMap<(usize, OperationId), (Option<String>, u64)>,
    /// Devices whose version is read next: their turn has begun already.
    read_next: BTreeSet<DeviceId>,
}

impl Urls {
    /// An operation starts for the first time: is it recorded with the URL that was given for it?
    pub(super) fn started(
        &self,
        slot: usize,
        id: OperationId,
        url: Option<&str>,
        loaded_in: u64,
    ) -> Checked {
        let Some((given, asked_in)) = self.given.get(&(slot, id)) else {
            return ensure(!self.are_given && url.is_none(), Invariant::OwnUrl, || {
                format!("operation {id} starts with {url:?}, and none was given for it")
            });
        };
        ensure(given.as_deref() == url, Invariant::OwnUrl, || {
            format!("operation {id} starts with {url:?}, and was given {given:?}")
        })?;
        ensure(*asked_in >= loaded_in, Invariant::VoidAnswers, || {
            format!(
                "operation {id} starts with a URL that was asked for before the state was loaded"
            )
        })
    }

    /// Whether a read that begins is that of a turn that began with asking for a URL.
    pub(super) fn turn_has_begun(&mut self, device: DeviceId) -> bool {
        self.read_next.remove(&device)
    }

    /// The engine died with all its calls.
    pub(super) fn engine_died(&mut self) {
        self.read_next.clear();
    }
}

impl Checker {
    /// Whether operations get URLs of their own.
    pub(crate) fn urls_are_given(&mut self, are_given: bool) {
        self.facts.urls.are_given = are_given;
    }

    /// A target's turn has come, and first of all the URL of its operation is asked for.
    pub(crate) fn url_asked(&mut self, device: DeviceId, moment: Moment) {
        self.read_began(device, moment);
    }

    /// It was given, or could not be had: then the turn is over.
    pub(crate) fn url_answered(
        &mut self,
        asked: UrlAsked,
        url: Result<Option<String>, Unread>,
        moment: Moment,
    ) {
        let UrlAsked { slot, device, operation, asked_in } = asked;
        if let Ok(url) = url {
            self.facts.urls.given.insert((slot, operation), (url, asked_in));
            self.facts.urls.read_next.insert(device);
            return;
        }
        self.turns.read_ended(device, true, moment.now);
        let models = self.campaigns.values();
        self.outages.read_ended(device, true, models, &self.facts, moment.now);
        self.facts.unread_at.insert(device, moment.now);
        self.refresh_device(device, moment);
    }
}
