//! The snapshot: asking for it, and taking it in chunk by chunk (D1, E9).

use super::Handling;
use crate::campaign::decide::{self, Rejection};
use crate::effect::Reaction;
use crate::id::DeviceId;
use crate::operation::at_work::SETTLING;
use crate::question::Question;

impl Handling<'_> {
    pub(in crate::campaign) fn snapshot_chunk(
        &mut self,
        question: Question,
        devices: &[DeviceId],
    ) -> Result<(), Rejection> {
        if self.live.observations.snapshot_asked != Some(question) {
            self.decision.reaction = Reaction::Unchanged;
            return Ok(());
        }
        for event in decide::snapshot::extend(self.campaign(), devices)? {
            self.record(event);
        }
        Ok(())
    }

    pub(in crate::campaign) fn snapshot_complete(&mut self, question: Question) {
        if self.live.observations.snapshot_asked != Some(question) {
            self.decision.reaction = Reaction::Unchanged;
            return;
        }
        self.live.observations.snapshot_asked = None;
        let event = decide::snapshot::complete(self.campaign());
        self.record(event);
    }

    pub(in crate::campaign) fn snapshot_unavailable(&mut self, question: Question) {
        if self.live.observations.snapshot_asked == Some(question) {
            self.live.observations.snapshot_asked = None;
            self.live.schedule.snapshot_at = Some(self.now + SETTLING);
        }
    }

    pub(in crate::campaign) fn ask_for_snapshot(&mut self) {
        let waits = self.live.schedule.snapshot_at.is_some_and(|at| at > self.now);
        if !waits && decide::snapshot::is_due(self.campaign(), self.now) {
            self.live.schedule.snapshot_at = None;
            self.asking().take_snapshot();
        }
    }
}
