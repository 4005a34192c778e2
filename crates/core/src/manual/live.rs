//! A manual OTA update at work: what it is told, and what follows (D8, D9, D11, D12, D14, D20).

use super::decide::{self, ManualRejection};
use super::{ManualStatus, ManualUpdate};
use crate::answer::{BaseImageAnswer, ReadPurpose, RequestAnswer};
use crate::effect::{Effect, Reaction};
use crate::event::{ManualFailed, ManualUpdateEvent, OperationFailure};
use crate::id::DeviceId;
use crate::input::{Command, Input, Presence};
use crate::operation::at_work::{
    AFTER_RESTART, AtWork, Connection, Fact, Looked, Reach, SETTLING, Situation, Unreadable,
    at_deadline,
};
use crate::operation::timer::{Due, Stage, Timer};
use crate::operation::{Cancellation, Operation, OperationReport, backoff};
use crate::question::{Question, Questions};
use crate::time::Timestamp;

/// What an input led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManualDecision {
    /// What is to be recorded, in order. Already folded into the state.
    pub events: Vec<ManualUpdateEvent>,
    /// What is to be done once the events are durable.
    pub effects: Vec<Effect>,
    /// What became of the input.
    pub reaction: Reaction,
}

/// A manual OTA update at work.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveManualUpdate {
    update: ManualUpdate,
    /// `None`: nobody has told yet.
    online: Option<bool>,
    work: AtWork,
    questions: Questions,
    late: u16,
    /// Until a loaded update knows whether its device is online, nothing is due.
    recovered: bool,
}

impl LiveManualUpdate {
    /// Puts a new manual update to work; then do [`LiveManualUpdate::first_request`].
    #[must_use]
    pub fn new(update: ManualUpdate) -> Self {
        Self {
            update,
            online: None,
            work: AtWork::default(),
            questions: Questions::default(),
            late: 0,
            recovered: true,
        }
    }

    /// Puts a manual update to work that was loaded. Tell it the presence of its device, then
    /// [`Input::Recovered`]: until then nothing is due.
    #[must_use]
    pub fn loaded(update: ManualUpdate) -> Self {
        Self { recovered: false, ..Self::new(update) }
    }

    /// The number of the latest question that was asked.
    #[must_use]
    pub fn latest_question(&self) -> Question {
        self.questions.latest()
    }

    /// Numbers its questions after `latest`, as
    /// [`LiveCampaign::asking_after`](crate::LiveCampaign::asking_after) does.
    #[must_use]
    pub fn asking_after(self, latest: Question) -> Self {
        Self { questions: Questions::after(latest), ..self }
    }

    /// The folded state.
    #[must_use]
    pub fn update(&self) -> &ManualUpdate {
        &self.update
    }

    /// The effect of the event that began it.
    pub fn first_request(&mut self) -> Effect {
        self.send_update()
    }

    fn send_update(&mut self) -> Effect {
        let question = self.questions.ask();
        self.work.calling = Some(question);
        let definition = &self.update.definition;
        Effect::SendUpdate {
            device: definition.device,
            operation: self.update.id,
            url: definition.url.clone(),
            question,
        }
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let operation = self.update.operation()?;
        if self.work.reading.is_some() || !self.recovered {
            return None;
        }
        self.work.timers.next(stage(operation), Some(operation))
    }

    /// Tells it something at `now`, which never goes back. What only a campaign can be told
    /// changes nothing.
    ///
    /// # Errors
    /// [`ManualRejection`]: the input was refused and nothing has changed.
    pub fn handle(
        &mut self,
        input: Input,
        now: Timestamp,
    ) -> Result<ManualDecision, ManualRejection> {
        let mut decision = ManualDecision::default();
        if shown_device(&input).is_some_and(|device| device != self.update.definition.device) {
            decision.reaction = Reaction::Unchanged;
            return Ok(decision);
        }
        match input {
            Input::Command(Command::Cancel { .. }) => self.cancel(&mut decision, now)?,
            Input::Command(command) => {
                let (id, command) = (self.update.id, command.name());
                return Err(ManualRejection::NotForManualUpdates { id, command });
            }
            Input::Report(report) => self.report(&mut decision, &report, now)?,
            Input::Presence { presence, .. } => self.presence(presence, now),
            Input::BaseImageChanged { .. } => {
                self.work.timers.begin(Timer::Settled, now + SETTLING);
            }
            Input::DeviceRemoved { .. } if self.update.operation().is_some() => {
                let reason = OperationFailure::DeviceRemoved;
                self.record(&mut decision, ManualFailed { reason }, now);
            }
            Input::BaseImageRead { question, answer, .. } => {
                self.base_image_read(&mut decision, question, &answer, now);
            }
            Input::RequestAnswered { question, answer, .. } => {
                self.request_answered(&mut decision, question, &answer, now);
            }
            Input::CancelAnswered { question, answer, .. } => {
                self.cancel_answered(&mut decision, question, &answer, now);
            }
            Input::Recovered => {
                self.recovered = true;
                self.work.timers.begin(Timer::Settled, now + AFTER_RESTART);
                self.send_wanted_cancel(&mut decision);
                self.timers(&mut decision, now);
            }
            Input::Tick => self.timers(&mut decision, now),
            _ => {}
        }
        Ok(decision)
    }

    fn record(
        &mut self,
        decision: &mut ManualDecision,
        event: impl Into<ManualUpdateEvent>,
        now: Timestamp,
    ) {
        let event = event.into();
        let applied = self.update.apply(&event, now);
        debug_assert_eq!(applied, Ok(()), "decided an event that cannot follow: {event:?}");
        decision.events.push(event);
    }

    fn cancel(
        &mut self,
        decision: &mut ManualDecision,
        now: Timestamp,
    ) -> Result<(), ManualRejection> {
        if let Some(event) = decide::cancel(&self.update)? {
            self.record(decision, event, now);
            self.send_wanted_cancel(decision);
        } else {
            decision.reaction = Reaction::Unchanged;
        }
        Ok(())
    }

    /// A Cancel must not overtake its Update: it waits for that call's answer.
    fn send_wanted_cancel(&mut self, decision: &mut ManualDecision) {
        let wanted = self.update.operation().map(|operation| operation.cancellation);
        let calling = self.work.calling.is_some() || self.work.cancelling.is_some();
        if wanted == Some(Cancellation::Wanted) && !calling {
            let question = self.questions.ask();
            self.work.cancelling = Some(question);
            self.work.timers.stop(Timer::Cancel);
            let definition = &self.update.definition;
            decision.effects.push(Effect::SendCancel {
                device: definition.device,
                operation: self.update.id,
                url: definition.url.clone(),
                question,
            });
        }
    }

    /// Whether the device is online, as far as the update was told (E7).
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.online == Some(true)
    }

    fn presence(&mut self, presence: Presence, now: Timestamp) {
        match presence {
            Presence::Online { since } => {
                self.online = Some(true);
                let recovered = self.recovered;
                let Some(operation) = self.update.operation() else { return };
                if operation.kept_back {
                    let at = if recovered { now } else { now + AFTER_RESTART };
                    self.work.timers.set(Timer::Resend, at);
                }
                let limits = &self.update.definition.limits;
                let situation = Situation { operation, limits, reach: Reach::Online, now };
                // D24 is of campaigns (D20).
                let connection = Connection { since, recovered, may_forget: false };
                self.work.connected(situation, true, connection);
            }
            Presence::Offline => {
                self.online = Some(false);
                self.work.timers.stop(Timer::Resend);
                self.work.disconnected();
            }
        }
    }

    fn reach(&self) -> Reach {
        match self.online {
            Some(true) => Reach::Online,
            Some(false) => Reach::Offline,
            None => Reach::Unknown,
        }
    }

    fn report(
        &mut self,
        decision: &mut ManualDecision,
        report: &OperationReport,
        now: Timestamp,
    ) -> Result<(), ManualRejection> {
        let definition = &self.update.definition;
        if report.device != definition.device || report.operation != self.update.id {
            return Err(ManualRejection::UnknownOperation {
                device: report.device,
                operation: report.operation,
            });
        }
        let Some(operation) = self.update.operation() else {
            let status = 1 << (report.status as u16);
            if self.late & status == 0 {
                self.late |= status;
                decision.reaction = Reaction::Late;
                self.record(decision, decide::late(report), now);
            } else {
                decision.reaction = Reaction::Unchanged;
            }
            return Ok(());
        };
        let limits = &definition.limits;
        let situation = Situation { operation, limits, reach: self.reach(), now };
        let verdict = self.work.reported(situation, report);
        if let Some(event) = decide::reported(report, verdict) {
            self.record(decision, event, now);
        } else {
            decision.reaction = Reaction::Unchanged;
        }
        Ok(())
    }

    fn request_answered(
        &mut self,
        decision: &mut ManualDecision,
        question: Question,
        answer: &RequestAnswer,
        now: Timestamp,
    ) {
        if self.work.calling.take_if(|open| *open == question).is_none() {
            decision.reaction = Reaction::Unchanged;
            return;
        }
        let Some(operation) = self.update.operation() else { return };
        if let Some(event) = decide::request_answered(operation, answer) {
            self.record(decision, event, now);
        }
        self.send_wanted_cancel(decision);
    }

    fn cancel_answered(
        &mut self,
        decision: &mut ManualDecision,
        question: Question,
        answer: &RequestAnswer,
        now: Timestamp,
    ) {
        if self.work.cancelling.take_if(|open| *open == question).is_none() {
            decision.reaction = Reaction::Unchanged;
            return;
        }
        let wanted = self.update.operation().map(|operation| operation.cancellation);
        if wanted != Some(Cancellation::Wanted) {
            return;
        }
        let (id, device) = (self.update.id.as_uuid(), self.update.definition.device);
        let delay = |failures| backoff::delay(id, device, failures);
        let cancelled = self.work.cancel_answered(answer, now, delay);
        let Some(answered) = cancelled else { return };
        self.record(decision, decide::cancel_answered(answered), now);
    }

    fn timers(&mut self, decision: &mut ManualDecision, now: Timestamp) {
        let Some(operation) = self.update.operation() else { return };
        if self.work.reading.is_some() || !self.recovered {
            return;
        }
        let purpose = match self.work.timers.fire(stage(operation), Some(operation), now) {
            Some(Due::Read(purpose)) => purpose,
            Some(Due::SendCancel) => return self.send_wanted_cancel(decision),
            Some(Due::Turn) | None => return,
        };
        let question = self.questions.ask();
        self.work.reading = Some((purpose, question));
        let device = self.update.definition.device;
        decision.effects.push(Effect::ReadBaseImage { device, purpose, question });
    }

    fn base_image_read(
        &mut self,
        decision: &mut ManualDecision,
        question: Question,
        answer: &BaseImageAnswer,
        now: Timestamp,
    ) {
        let Some((purpose, _)) = self.work.reading.take_if(|(_, open)| *open == question) else {
            decision.reaction = Reaction::Unchanged;
            return;
        };
        let reach = self.reach();
        let Some(operation) = self.update.operation() else { return };
        let version = match answer {
            BaseImageAnswer::Version(version) | BaseImageAnswer::Prepared { version, .. } => {
                Ok(version.as_deref())
            }
            BaseImageAnswer::Held(_) | BaseImageAnswer::Failed(_) => Err(Unreadable),
        };
        let definition = &self.update.definition;
        let limits = &definition.limits;
        let is_shown = version.is_ok_and(|version| definition.is_shown_by(version));
        let fact = if operation.kept_back && purpose == ReadPurpose::Deadline && !is_shown {
            // Its resend leaves when the device is back.
            if version.is_err() && reach == Reach::Online {
                self.work.timers.set(Timer::Resend, now + SETTLING);
            }
            let can_leave = version.is_ok() && reach == Reach::Online;
            can_leave.then(|| at_deadline(operation, limits, reach))
        } else {
            let situation = Situation { operation, limits, reach, now };
            let tells_roll_back = definition.can_be_reconciled();
            let looked = Looked { version, is_shown, tells_roll_back };
            self.work.looked(situation, purpose, looked)
        };
        if let Some(fact) = fact {
            self.happened(decision, fact, now);
        }
    }

    /// Records what has become of it, and sends what follows.
    fn happened(&mut self, decision: &mut ManualDecision, fact: Fact, now: Timestamp) {
        let sends = matches!(fact, Fact::Resend | Fact::Reissue);
        self.record(decision, decide::fact(fact), now);
        if sends {
            let effect = self.send_update();
            decision.effects.push(effect);
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !matches!(self.update.status, ManualStatus::Active(_))
    }
}

/// Which of its timers count.
fn stage(operation: &Operation) -> Stage {
    if operation.kept_back { Stage::KeptBack } else { Stage::InProgress }
}

/// The device of which an input says what it shows; such inputs are told to everybody.
fn shown_device(input: &Input) -> Option<DeviceId> {
    match input {
        Input::Presence { device, .. }
        | Input::BaseImageChanged { device }
        | Input::DeviceRemoved { device } => Some(*device),
        _ => None,
    }
}
