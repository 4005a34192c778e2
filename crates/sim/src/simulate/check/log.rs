//! The judge over the log of a store alone: events are taken in one by one, and what a finding
//! spoils is left out afterwards, so that one defect is told once.

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{Campaign, CampaignId, OperationId, Outcome, StreamId, TenantId, Timestamp};

use super::campaign::Model;
use super::facts::Witness;
use super::{Checker, Event, Moment};
use crate::simulate::invariant::Violation;

impl Checker {
    /// A judge that is shown nothing but a log. `is_partial`: other streams may have been removed.
    pub(crate) fn of_log(tenant: TenantId, is_partial: bool) -> Self {
        let mut checker = Self::new(tenant, usize::MAX);
        checker.facts.witness = Witness::Log;
        checker.facts.is_partial = is_partial;
        checker
    }

    /// The version of the last event that was taken in of a stream; 0: none was.
    pub(crate) fn version_of(&self, stream: StreamId) -> u64 {
        self.version(stream)
    }

    /// Takes in the next event of a stream.
    pub(crate) fn read(
        &mut self,
        stream: StreamId,
        event: &Event,
        at: Timestamp,
    ) -> Result<(), Violation> {
        let (checked, device) = self.take(stream, event, at, Moment { now: at, step: 0 });
        self.note(checked, at, Some(stream), device);
        self.violation.take().map_or(Ok(()), Err)
    }

    /// The append that the last event was in is over.
    pub(crate) fn append_ends(&mut self, stream: StreamId, at: Timestamp) -> Result<(), Violation> {
        self.append_is_over(stream, at);
        self.violation.take().map_or(Ok(()), Err)
    }

    /// Nothing more is taken in of a stream: what it had says nothing of others any more.
    pub(crate) fn give_up(&mut self, stream: StreamId) {
        let operations = &self.facts.operations;
        self.facts.holders.retain(|_, holder| {
            operations.get(holder).is_none_or(|operation| operation.stream != stream)
        });
        match stream {
            StreamId::Campaign(id) => drop(self.campaigns.remove(&id)),
            StreamId::ManualUpdate(id) => drop(self.manuals.remove(&id)),
            StreamId::Catalogue => {}
        }
    }

    /// Whether something may still happen by itself in a stream.
    pub(crate) fn goes_on(&self, stream: StreamId) -> bool {
        match stream {
            StreamId::Campaign(id) => self.campaigns.get(&id).is_some_and(Model::is_open),
            StreamId::ManualUpdate(id) => self.manuals.get(&id).is_some_and(|manual| !manual.ended),
            StreamId::Catalogue => self.catalogue > 0,
        }
    }

    /// The operations that are active, with their streams.
    pub(crate) fn active(&self) -> impl Iterator<Item = (OperationId, StreamId)> + '_ {
        self.facts.holders.values().filter_map(|id| {
            let operation = self.facts.operations.get(id)?;
            Some((*id, operation.stream))
        })
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> usize {
        self.facts.operations.len()
    }

    /// A campaign as folded from the log; `None` also once it was given up.
    pub(crate) fn folded(&self, stream: StreamId) -> Option<&Campaign> {
        match stream {
            StreamId::Campaign(id) => self.fold(id),
            StreamId::ManualUpdate(_) | StreamId::Catalogue => None,
        }
    }

    /// An event of the catalogue is in its place; what it says is not judged.
    pub(crate) fn read_catalogue(&mut self) {
        self.catalogue += 1;
    }

    /// A cancelled campaign is believed to be one that somebody cancelled; a superseded one needs
    /// another that has not begun yet, unless that may have been removed.
    pub(super) fn believe_reason(&mut self, id: CampaignId, event: &CampaignEvent) {
        let CampaignEvent::CampaignFinished(finished) = event else { return };
        let newer = finished.outcome == Outcome::Superseded
            && self.campaigns.get(&id).is_some_and(|older| {
                let of = |model: &Model| {
                    let definition = &model.definition;
                    let system_model = definition.base_image.system_model.clone();
                    (system_model, definition.channel.name().clone())
                };
                let same = of(older);
                let is_partial = self.facts.is_partial;
                is_partial
                    || self
                        .campaigns
                        .values()
                        .any(|other| other.fold.started_at().is_none() && of(other) == same)
            });
        if let Some(model) = self.campaigns.get_mut(&id) {
            (model.cancel_asked, model.stop_asked) = (true, true);
            model.newer = newer;
        }
    }
}
