//! What is asked of the world: effects, each with the number of its question, which is noted with the
//! target (E11). The campaign is only read: whatever is to be recorded was recorded before (E4).

use crate::answer::ReadPurpose;
use crate::campaign::Campaign;
use crate::campaign::decide;
use crate::campaign::observations::Observations;
use crate::effect::Effect;
use crate::operation::timer::Timer;
use crate::question::Questions;

/// Something being asked.
pub(super) struct Asking<'a> {
    pub(super) campaign: &'a Campaign,
    pub(super) observations: &'a mut Observations,
    pub(super) questions: &'a mut Questions,
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Asking<'_> {
    pub(super) fn read(&mut self, target: u32, purpose: ReadPurpose) {
        let question = self.questions.ask();
        self.observations.watch(target).work.reading = Some((purpose, question));
        let device = self.campaign.targets.device(target);
        self.effects.push(Effect::ReadBaseImage { device, purpose, question });
    }

    /// A target's turn has come: its version is read for the gates, and before that the URL of its
    /// operation is asked for if it has none yet and `asks_url` (D23).
    pub(super) fn turn(&mut self, target: u32, asks_url: bool) {
        if !asks_url || self.campaign.operations.contains(target) {
            return self.read(target, ReadPurpose::Gate);
        }
        let question = self.questions.ask();
        self.observations.watch(target).work.reading = Some((ReadPurpose::Gate, question));
        let device = self.campaign.targets.device(target);
        let operation = decide::attempt::next_operation(self.campaign, target);
        self.effects.push(Effect::PrepareStart { device, operation, question });
    }

    pub(super) fn send_update(&mut self, target: u32) {
        let campaign = self.campaign;
        if let Some(operation) = campaign.operations.get(target) {
            let question = self.questions.ask();
            self.observations.watch(target).work.calling = Some(question);
            self.effects.push(Effect::SendUpdate {
                device: campaign.targets.device(target),
                operation: operation.id,
                url: campaign.url(target).clone(),
                question,
            });
        }
    }

    /// `false`: it waits.
    pub(super) fn send_cancel(&mut self, target: u32) -> bool {
        let work = &mut self.observations.watch(target).work;
        // A Cancel must not overtake its Update: it waits for that call's answer.
        if work.calling.is_some() || work.cancelling.is_some() {
            return false;
        }
        work.timers.stop(Timer::Cancel);
        let campaign = self.campaign;
        if let Some(operation) = campaign.operations.get(target) {
            let question = self.questions.ask();
            work.cancelling = Some(question);
            self.effects.push(Effect::SendCancel {
                device: campaign.targets.device(target),
                operation: operation.id,
                url: campaign.url(target).clone(),
                question,
            });
        }
        true
    }

    /// Asks for the snapshot, unless that is under way.
    pub(super) fn take_snapshot(&mut self) {
        if self.observations.snapshot_asked.is_none() {
            let question = self.questions.ask();
            self.observations.snapshot_asked = Some(question);
            self.effects.push(Effect::TakeSnapshot { question });
        }
    }
}
