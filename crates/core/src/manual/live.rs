//! A manual OTA update at work: what it is told, and what follows (D8, D9, D11, D12, D14, D20).

use super::{ManualStatus, ManualUpdate, ManualUpdateDefinition};
use crate::campaign::AFTER_RESTART;
use crate::event::{
    Confirmation, ManualCancelRequested, ManualCancelSent, ManualFailed, ManualLateReport,
    ManualReported, ManualRequestAccepted, ManualRequestFailed, ManualRequestReissued,
    ManualRequestResent, ManualResendKeptBack, ManualStarted, ManualSucceeded, ManualUpdateEvent,
    OperationFailure,
};
use crate::question::Questions;
use crate::{
    BaseImageAnswer, Cancellation, Command, Delivery, DeviceId, Effect, Heard, Input, OperationId,
    OperationReport, Phase, Presence, Question, Reaction, ReadPurpose, RequestAnswer, RolloutError,
    SETTLING, Timestamp, Verdict,
};

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

/// Why an input was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManualRejection {
    /// It has ended.
    #[error("manual update {id} has ended: there is nothing to cancel")]
    Ended {
        /// Its operation.
        id: OperationId,
    },
    /// A command that only a campaign takes.
    #[error("manual update {id} cannot {command}: it can only be cancelled")]
    NotForManualUpdates {
        /// Its operation.
        id: OperationId,
        /// The command: `pause`, `resume`, `supersede`, `edit` or `delete`.
        command: &'static str,
    },
    /// A report of another device or operation (D11).
    #[error("operation {operation} is none of device {device}: the report is refused")]
    UnknownOperation {
        /// The device that reported.
        device: DeviceId,
        /// The operation that it named.
        operation: OperationId,
    },
    /// A limit outside its range.
    #[error(transparent)]
    Limits(#[from] RolloutError),
}

/// A manual OTA update at work.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveManualUpdate {
    update: ManualUpdate,
    /// `None`: nobody has told yet.
    online: Option<bool>,
    calling: Option<Question>,
    cancelling: Option<Question>,
    reading: Option<(ReadPurpose, Question)>,
    questions: Questions,
    /// Until when nothing is done at the deadline, as the device could not be read.
    deadline_rests: Option<Timestamp>,
    settled_at: Option<Timestamp>,
    reboot_at: Option<Timestamp>,
    cancel_at: Option<Timestamp>,
    /// When the resend that was kept back has its turn, as the device is back (D8).
    turn_at: Option<Timestamp>,
    /// What was heard of the present phase, recorded or not (D9, D11).
    heard: Option<Heard>,
    late: u16,
    /// Until a loaded update knows whether its device is online, nothing is due.
    recovered: bool,
}

impl ManualUpdate {
    /// Decides the event that begins a manual update (D20).
    ///
    /// # Errors
    /// [`ManualRejection::Limits`] if a limit is outside its range.
    pub fn create(
        definition: ManualUpdateDefinition,
    ) -> Result<ManualUpdateEvent, ManualRejection> {
        definition.limits.validate()?;
        Ok(ManualStarted { definition }.into())
    }
}

impl LiveManualUpdate {
    /// Puts a new manual update to work; then do [`LiveManualUpdate::first_request`].
    #[must_use]
    pub fn new(update: ManualUpdate) -> Self {
        Self {
            update,
            online: None,
            calling: None,
            cancelling: None,
            reading: None,
            questions: Questions::default(),
            deadline_rests: None,
            settled_at: None,
            reboot_at: None,
            cancel_at: None,
            turn_at: None,
            heard: None,
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
        self.calling = Some(question);
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
        if self.reading.is_some() || !self.recovered {
            return None;
        }
        let deadline =
            operation.deadline.map(|at| self.deadline_rests.map_or(at, |rests| at.max(rests)));
        let turn = self.turn_at.filter(|_| operation.kept_back);
        let timers = [deadline, turn, self.settled_at, self.reboot_at, self.cancel_at];
        timers.into_iter().flatten().min()
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
                self.settled_at.get_or_insert(now + SETTLING);
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
                self.settled_at.get_or_insert(now + AFTER_RESTART);
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
        let Some(operation) = self.update.operation() else {
            return Err(ManualRejection::Ended { id: self.update.id });
        };
        if operation.cancellation == Cancellation::NotWanted {
            self.record(decision, ManualCancelRequested {}, now);
            self.send_wanted_cancel(decision);
        } else {
            decision.reaction = Reaction::Unchanged;
        }
        Ok(())
    }

    /// A Cancel must not overtake its Update: it waits for that call's answer.
    fn send_wanted_cancel(&mut self, decision: &mut ManualDecision) {
        let wanted = self.update.operation().map(|operation| operation.cancellation);
        let calling = self.calling.is_some() || self.cancelling.is_some();
        if wanted == Some(Cancellation::Wanted) && !calling {
            let question = self.questions.ask();
            self.cancelling = Some(question);
            self.cancel_at = None;
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
                let earliest = if self.recovered { now } else { now + AFTER_RESTART };
                // The stamp is of another clock, which may be ahead of this one.
                self.settled_at = Some((since.min(now) + SETTLING).max(earliest));
                if self.update.operation().is_some_and(|operation| operation.kept_back) {
                    self.turn_at = Some(earliest);
                }
                let phase = self.update.operation().map(|operation| operation.phase);
                if phase == Some(Phase::Rebooting) {
                    self.reboot_at = Some(now + self.update.definition.limits.reboot_timeout);
                }
            }
            Presence::Offline => {
                self.online = Some(false);
                self.turn_at = None;
                self.reboot_at = None;
            }
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
                let (status, code) = (report.status, report.code.clone());
                self.record(decision, ManualLateReport { status, code }, now);
            } else {
                decision.reaction = Reaction::Unchanged;
            }
            return Ok(());
        };
        let event: ManualUpdateEvent =
            match operation.judge(report, self.heard, now, &definition.limits) {
                Verdict::Unchanged => {
                    decision.reaction = Reaction::Unchanged;
                    return Ok(());
                }
                Verdict::TooSoon => {
                    decision.reaction = Reaction::Unchanged;
                    self.heard = Some(operation.heard(report, self.heard));
                    return Ok(());
                }
                Verdict::Now(phase) => ManualReported {
                    phase,
                    progress: report.progress.min(100),
                    code: report.code.clone(),
                    message: report.short_message(),
                    observed_at: report.observed_at,
                }
                .into(),
                Verdict::Succeeded => {
                    ManualSucceeded { confirmation: Confirmation::Reported }.into()
                }
                // There is no target that a new operation could be for.
                Verdict::Refused => {
                    ManualFailed { reason: OperationFailure::UpdateAlreadyInProgress }.into()
                }
                Verdict::Failed => {
                    let code = report.code.clone();
                    let message = report.short_message();
                    ManualFailed { reason: OperationFailure::Reported { code, message } }.into()
                }
            };
        // A device that went on after a reboot is not judged by that one any more (D12).
        let rebooting = matches!(
            &event,
            ManualUpdateEvent::ManualReported(reported) if reported.phase == Phase::Rebooting
        );
        self.reboot_at = self.reboot_at.filter(|_| rebooting);
        self.heard = operation.heard_on(report, self.heard);
        self.record(decision, event, now);
        Ok(())
    }

    fn request_answered(
        &mut self,
        decision: &mut ManualDecision,
        question: Question,
        answer: &RequestAnswer,
        now: Timestamp,
    ) {
        if self.calling.take_if(|open| *open == question).is_none() {
            decision.reaction = Reaction::Unchanged;
            return;
        }
        let Some(operation) = self.update.operation() else { return };
        if operation.delivery == Delivery::Unanswered {
            let is_first = operation.sends == 1 && !operation.is_reported();
            match answer {
                RequestAnswer::Accepted => self.record(decision, ManualRequestAccepted {}, now),
                RequestAnswer::Permanent(error) if is_first => {
                    let reason = OperationFailure::RequestRejected { detail: error.short() };
                    self.record(decision, ManualFailed { reason }, now);
                }
                RequestAnswer::Temporary(error) | RequestAnswer::Permanent(error) => {
                    let detail = error.short();
                    self.record(decision, ManualRequestFailed { detail }, now);
                }
            }
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
        if self.cancelling.take_if(|open| *open == question).is_none() {
            decision.reaction = Reaction::Unchanged;
            return;
        }
        let wanted = self.update.operation().map(|operation| operation.cancellation);
        if wanted != Some(Cancellation::Wanted) {
            return;
        }
        let refused = match answer {
            RequestAnswer::Temporary(_) => {
                self.cancel_at = Some(now + SETTLING);
                return;
            }
            RequestAnswer::Accepted => None,
            RequestAnswer::Permanent(error) => Some(error.short()),
        };
        self.record(decision, ManualCancelSent { refused }, now);
    }

    fn timers(&mut self, decision: &mut ManualDecision, now: Timestamp) {
        let Some(operation) = self.update.operation() else { return };
        if self.reading.is_some() || !self.recovered {
            return;
        }
        let is_due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let rests = self.deadline_rests.is_some_and(|rests| rests > now);
        let turn = operation.kept_back && is_due(self.turn_at);
        let purpose = if turn {
            self.turn_at = None;
            ReadPurpose::Deadline
        } else if is_due(operation.deadline) && !rests {
            self.deadline_rests = None;
            ReadPurpose::Deadline
        } else if is_due(self.reboot_at) {
            ReadPurpose::RebootTimeout
        } else if is_due(self.settled_at) {
            self.settled_at = None;
            ReadPurpose::Settled
        } else {
            if is_due(self.cancel_at) {
                self.send_wanted_cancel(decision);
            }
            return;
        };
        let question = self.questions.ask();
        self.reading = Some((purpose, question));
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
        let Some((purpose, _)) = self.reading.take_if(|(_, open)| *open == question) else {
            decision.reaction = Reaction::Unchanged;
            return;
        };
        let Some(operation) = self.update.operation() else { return };
        let version = match answer {
            BaseImageAnswer::Version(version) => Some(version.as_deref()),
            BaseImageAnswer::Busy | BaseImageAnswer::Failed(_) => None,
        };
        let definition = &self.update.definition;
        if version.is_some_and(|version| definition.is_shown_by(version)) {
            let confirmation = Confirmation::BaseImage;
            return self.record(decision, ManualSucceeded { confirmation }, now);
        }
        let owed = operation.may_not_have_left()
            && !operation.kept_back
            && self.calling.is_none()
            && self.is_online();
        match (purpose, version) {
            (ReadPurpose::Deadline, version) if operation.kept_back => {
                let resend = operation.resends < definition.limits.request_retries;
                if !self.is_online() {
                    return; // its turn comes when it is back
                }
                match (version, resend) {
                    (None, _) => self.turn_at = Some(now + SETTLING),
                    (Some(_), true) => self.resend(decision, now),
                    (Some(_), false) => {
                        let reason = OperationFailure::RequestTimeout;
                        self.record(decision, ManualFailed { reason }, now);
                    }
                }
            }
            (ReadPurpose::Deadline, version) => {
                if operation.deadline.is_none_or(|deadline| deadline > now) {
                    return;
                }
                let resend = operation.resends < definition.limits.request_retries
                    && operation.cancellation == Cancellation::NotWanted;
                if owed {
                    // The engine was down for so long: no time-out of a request that never left.
                    if version.is_some() {
                        self.reissue(decision, now);
                    } else {
                        self.deadline_rests = Some(now + SETTLING);
                    }
                } else if operation.is_reported() {
                    let reason = OperationFailure::Stalled;
                    self.record(decision, ManualFailed { reason }, now);
                } else if resend && self.online == Some(false) {
                    self.record(decision, ManualResendKeptBack {}, now);
                } else if resend {
                    self.resend(decision, now);
                } else {
                    let reason = OperationFailure::RequestTimeout;
                    self.record(decision, ManualFailed { reason }, now);
                }
            }
            (ReadPurpose::RebootTimeout, Some(version)) => {
                let is_back = self.reboot_at.take_if(|at| *at <= now).is_some();
                let rebooting = operation.phase == Phase::Rebooting;
                if is_back && rebooting && definition.can_be_reconciled() {
                    let version = version.map(|text| text.chars().take(256).collect());
                    let reason = OperationFailure::SystemRollback { version };
                    self.record(decision, ManualFailed { reason }, now);
                }
            }
            (ReadPurpose::RebootTimeout, None) => {
                // One that went offline meanwhile is judged when it is back (D12).
                self.reboot_at = self.reboot_at.map(|at| at.max(now + SETTLING));
            }
            (_, Some(_)) => {
                if owed {
                    self.reissue(decision, now);
                }
            }
            (_, None) => self.settled_at = Some(now + SETTLING),
        }
    }

    fn resend(&mut self, decision: &mut ManualDecision, now: Timestamp) {
        self.record(decision, ManualRequestResent {}, now);
        let effect = self.send_update();
        decision.effects.push(effect);
    }

    /// Sends a request that may never have left before a restart (E4).
    fn reissue(&mut self, decision: &mut ManualDecision, now: Timestamp) {
        self.record(decision, ManualRequestReissued {}, now);
        let effect = self.send_update();
        decision.effects.push(effect);
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !matches!(self.update.status, ManualStatus::Active(_))
    }
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
