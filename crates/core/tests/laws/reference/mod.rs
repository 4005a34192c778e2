//! A running campaign as simple as can be, written from the rules: one list of structs, looked
//! through from end to end whenever something is asked. It shares no code with the crate's own
//! campaign but the names of things, and is there to be compared with it.
//!
//! It decides whose turn it is, when and what every operation sends, and what everything that is
//! told leads to. Left to the campaign, and to laws of their own, are reads between deadlines (D12),
//! turns while the transport is down (D10), and when a Cancel leaves (D17).

mod operation;
mod target;

use std::time::Duration;

use hedgerow_core::*;

pub(crate) use operation::{Became, Sent};
pub(crate) use target::{Target, Volatile};

use crate::gates::gate;
use crate::limits::is_exceeded;
use crate::support::{busy_delay, delay};
use crate::world::version_in;

pub(crate) struct Reference {
    pub(crate) id: CampaignId,
    pub(crate) image: BaseImage,
    /// Whether operations get URLs of their own (D23).
    pub(crate) urls: bool,
    pub(crate) gates: GatePolicy,
    pub(crate) limits: RolloutLimits,
    pub(crate) minimum_targets: u32,
    pub(crate) started_at: Timestamp,
    /// What is asked of users, and whether the time to answer is over (P15).
    pub(crate) consent: Option<ConsentPolicy>,
    pub(crate) consent_is_over: bool,
    pub(crate) status: CampaignStatus,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) devices: Vec<DeviceId>,
    pub(crate) targets: Vec<Target>,
    pub(crate) attempts: u32,
    pub(crate) now: Timestamp,
    pub(crate) recovered: bool,
    /// Whether the transport was down before this input, and is after it.
    pub(crate) down: (bool, bool),
    /// Of the latest input: how many events, whose turn has come, what is read at a deadline, sent.
    pub(crate) events: usize,
    pub(crate) turns: Vec<usize>,
    pub(crate) reads: Vec<usize>,
    pub(crate) calls: Vec<usize>,
}

impl Reference {
    /// Whether the input is taken.
    pub(crate) fn tell(&mut self, input: &Input) -> bool {
        let place = |device: &DeviceId| self.devices.iter().position(|other| other == device);
        let taken = match input {
            Input::Command(command) => self.command(command),
            Input::Report(report) => place(&report.device).is_some_and(|n| self.report(n, report)),
            Input::Tick | Input::Recovered => self.deadlines(*input == Input::Recovered),
            Input::Presence { device: d, presence } => {
                let judged_at = self.now + self.limits.operation.reboot_timeout;
                let recovered = self.recovered;
                place(d).is_none_or(|n| self.targets[n].presence(*presence, judged_at, recovered))
            }
            Input::BaseImageChanged { device: d } => {
                let target = place(d).map(|n| &mut self.targets[n]);
                if let Some(target) = target.filter(|t| t.status == TargetStatus::InProgress) {
                    target.volatile.settling = true;
                }
                true
            }
            Input::DeviceRemoved { device: d } => place(d).is_none_or(|n| self.removed(n)),
            Input::DeviceFact { device: d, fact: DeviceFact::Free } => {
                place(d).is_none_or(|n| self.targets[n].is_busy(false))
            }
            Input::BaseImageRead { device: d, purpose, answer, .. } => {
                place(d).is_none_or(|n| self.read(n, *purpose, answer))
            }
            Input::RequestAnswered { device: d, operation, answer, .. } => {
                place(d).is_none_or(|n| self.answered(n, *operation, answer))
            }
            _ => true,
        };
        if taken {
            self.follow_up();
            self.advance();
        }
        taken
    }

    fn recorded(&mut self) -> bool {
        self.events += 1;
        true
    }

    fn move_to(&mut self, status: CampaignStatus) -> bool {
        self.status = status;
        self.recorded()
    }

    fn command(&mut self, command: &Command) -> bool {
        use CampaignStatus::{InProgress, Paused, Pausing};
        let open = self.outcome.is_none();
        match command {
            Command::Pause => self.status == InProgress && self.move_to(Pausing),
            Command::Resume => matches!(self.status, Paused | Pausing) && self.move_to(InProgress),
            Command::Supersede => open && self.finish(Outcome::Superseded, false),
            Command::Cancel { running } => {
                open && self.finish(Outcome::Cancelled, *running == RunningOperations::Stop)
            }
            Command::Edit(edit) => {
                let limits = edit.limits.of(&self.limits);
                let only = CampaignEdit { limits: edit.limits.clone(), ..CampaignEdit::default() };
                let allowed = open && **edit == only && limits.validate().is_ok();
                self.limits = if allowed { limits } else { self.limits.clone() };
                allowed && self.recorded()
            }
            Command::Record { device, fact: PolicyFact::Consent(consent) } => {
                let place = self.devices.iter().position(|other| other == device);
                self.status.is_running() && place.is_some_and(|n| self.consented(n, consent))
            }
            Command::Record { .. } | Command::Delete => false,
        }
    }

    fn finish(&mut self, outcome: Outcome, stop: bool) -> bool {
        self.outcome = Some(outcome);
        let (status, how) = self.idle_becomes();
        for target in &mut self.targets {
            if target.status == TargetStatus::Idle {
                target.close(status, how);
            }
            target.operation.iter_mut().for_each(|operation| operation.stop |= stop);
        }
        self.move_to(CampaignStatus::Finished)
    }

    /// What idle targets are after the outcome.
    fn idle_becomes(&self) -> (TargetStatus, &'static str) {
        match self.outcome {
            Some(Outcome::Cancelled | Outcome::Superseded) => {
                (TargetStatus::Cancelled, "cancelled")
            }
            _ => (TargetStatus::Idle, ""),
        }
    }

    fn end(&mut self, n: usize, status: TargetStatus, how: &'static str) -> bool {
        self.targets[n].close(status, how);
        self.recorded()
    }

    /// Takes in what became of a target.
    fn take(&mut self, n: usize, became: Became) -> bool {
        match became {
            Became::Unchanged => true,
            Became::Recorded => self.recorded(),
            Became::Succeeded(how) => self.end(n, TargetStatus::Successful, how),
            Became::Failed(reason) => self.end(n, TargetStatus::Failed, reason),
            Became::Deferred => {
                let wait = delay(self.id, self.devices[n], self.targets[n].deferrals);
                self.defer(n, wait)
            }
            Became::Refused => {
                let wait = busy_delay(self.id, self.devices[n], self.targets[n].refusals);
                self.defer(n, wait)
            }
            Became::Resent => {
                self.calls.push(n);
                self.recorded()
            }
            Became::KeptBack => {
                self.attempts += 1;
                let target = &mut self.targets[n];
                (target.status, target.attempt) = (TargetStatus::Idle, self.attempts);
                (target.volatile.settling, target.volatile.back) = (false, None);
                self.recorded()
            }
        }
    }

    /// Back to idle, to be tried again later; after the outcome nothing is.
    fn defer(&mut self, n: usize, wait: Duration) -> bool {
        if self.outcome.is_some() {
            let (status, how) = self.idle_becomes();
            return self.end(n, status, how);
        }
        self.attempts += 1;
        let target = &mut self.targets[n];
        (target.status, target.not_before) = (TargetStatus::Idle, Some(self.now + wait));
        (target.attempt, target.deferrals) = (self.attempts, target.deferrals + 1);
        self.recorded()
    }

    fn removed(&mut self, n: usize) -> bool {
        let target = &mut self.targets[n];
        target.volatile.online = false;
        let idle = target.status == TargetStatus::Idle && self.outcome.is_none();
        let open = idle || target.operation.is_some();
        !open || self.end(n, TargetStatus::Failed, "device_removed")
    }

    fn id(&self, n: usize, series: u16) -> OperationId {
        OperationId::of_campaign(self.id, self.devices[n], series)
    }

    fn report(&mut self, n: usize, report: &OperationReport) -> bool {
        let newest = self.targets[n].refusals;
        if self.id(n, newest) == report.operation && self.targets[n].operation.is_some() {
            let became = self.targets[n].report(report, self.now, &self.limits.operation);
            return self.take(n, became);
        }
        let known = (0..=newest).any(|series| self.id(n, series) == report.operation);
        let late = &mut self.targets[n].volatile.late;
        if known && !late.contains(&report.status) {
            late.push(report.status);
            self.recorded();
        }
        known
    }

    fn read(&mut self, n: usize, purpose: ReadPurpose, answer: &BaseImageAnswer) -> bool {
        let target = &mut self.targets[n];
        if target.volatile.reading != Some(purpose) {
            return true;
        }
        target.volatile.reading = None;
        let prepared = target.volatile.prepares.take();
        let waits = target.not_before.is_some_and(|at| at > self.now);
        let idle = target.status == TargetStatus::Idle && !waits;
        let is_turn = purpose == ReadPurpose::Gate;
        match answer {
            BaseImageAnswer::Version(version) | BaseImageAnswer::Prepared { version, .. }
                if is_turn =>
            {
                self.turn(n, version.as_deref(), prepared)
            }
            BaseImageAnswer::Held(DeviceFact::Busy) if is_turn => target.is_busy(true),
            _ if is_turn && !(idle && self.status == CampaignStatus::InProgress) => true,
            _ if is_turn && self.down.0 => {
                let wait = delay(self.id, self.devices[n], target.volatile.tries);
                target.rests(self.now + wait)
            }
            _ if is_turn => self.take(n, Became::Deferred),
            _ => {
                let shown = version_in(answer).map(|version| self.gate(version.as_deref()));
                let shows_it = shown.map(|gate| gate == "already_up_to_date");
                let limits = &self.limits.operation;
                let finished = self.outcome.is_some();
                let became = self.targets[n].look(purpose, shows_it, self.now, limits, finished);
                self.take(n, became)
            }
        }
    }

    fn gate(&self, version: Option<&str>) -> &'static str {
        let requirement = self.image.starting_version_requirement.as_ref().map(ToString::to_string);
        gate(version, &self.image.version.to_string(), requirement.as_deref(), self.gates)
    }

    /// The user of a device has answered (P15).
    fn consented(&mut self, n: usize, consent: &Consent) -> bool {
        let target = &mut self.targets[n];
        let waits = !target.started && !target.status.is_final();
        if self.consent.is_some() && waits && target.consent != Some(consent.answer) {
            target.consent = Some(consent.answer);
            self.recorded();
        }
        self.consent.is_some()
    }

    /// Whether a target's turn may come, as far as its user goes.
    fn agreed(&self, n: usize) -> bool {
        let granted = self.targets[n].consent == Some(ConsentAnswer::Granted);
        self.consent.is_none() || self.consent_is_over || granted
    }

    /// The time to answer is over, and somebody waits for that (P15).
    fn ends_consent(&mut self) {
        let Some(policy) = self.consent.filter(|_| !self.consent_is_over) else { return };
        let waits = |target: &Target| !target.started && !target.status.is_final();
        let is_due = self.now >= self.started_at + policy.deadline;
        if !is_due || self.count(waits) == 0 {
            return;
        }
        for n in 0..self.targets.len() {
            let idle = self.targets[n].status == TargetStatus::Idle;
            if policy.then == AtDeadline::GiveUp && idle && !self.agreed(n) {
                self.targets[n].close(TargetStatus::Cancelled, "no_consent");
            }
        }
        self.consent_is_over = true;
        self.recorded();
    }

    /// A target's turn (D5), with the operation of which the URL was asked for, if it was (D23).
    fn turn(&mut self, n: usize, version: Option<&str>, prepared: Option<OperationId>) -> bool {
        let next = self.id(n, self.targets[n].refusals);
        if self.urls && self.targets[n].operation.is_none() && prepared != Some(next) {
            return true;
        }
        let running = self.status == CampaignStatus::InProgress;
        let ready = self.targets[n].is_ready(self.now) && self.agreed(n);
        if !running || !ready || !self.has_place() {
            return true;
        }
        let (now, limits) = (self.now, &self.limits.operation);
        let kept_back = self.targets[n].operation.as_ref().filter(|sent| sent.kept_back);
        let spent = kept_back.map(|sent| sent.resends >= limits.request_retries);
        let became = match self.gate(version) {
            // Of D5 only gate 3 is asked again of a resend that was kept back.
            "already_up_to_date" if spent.is_some() => Became::Succeeded("confirmed"),
            _ if spent == Some(true) => Became::Failed("request_timeout"),
            _ if spent == Some(false) => {
                self.attempts += 1;
                let target = &mut self.targets[n];
                target.starts(self.attempts);
                target.operation.iter_mut().for_each(|sent| sent.resends += 1);
                target.send(now, limits)
            }
            "already_up_to_date" => Became::Succeeded("up_to_date"),
            "start" => {
                self.attempts += 1;
                self.targets[n].starts(self.attempts);
                self.targets[n].send(self.now, &self.limits.operation)
            }
            reason => Became::Failed(reason),
        };
        self.take(n, became)
    }

    fn answered(&mut self, n: usize, id: OperationId, answer: &RequestAnswer) -> bool {
        let newest = self.id(n, self.targets[n].refusals) == id;
        let became = if newest { self.targets[n].answered(answer) } else { Became::Unchanged };
        self.take(n, became)
    }

    fn deadlines(&mut self, recovers: bool) -> bool {
        self.recovered |= recovers;
        for target in self.targets.iter_mut().filter(|_| recovers) {
            target.volatile.settling |= target.status == TargetStatus::InProgress;
        }
        for (n, target) in self.targets.iter_mut().enumerate().filter(|_| self.recovered) {
            if target.is_read_at_its_deadline(self.now) {
                self.reads.push(n);
            }
        }
        true
    }

    fn count(&self, which: impl Fn(&Target) -> bool) -> u32 {
        u32::try_from(self.targets.iter().filter(|target| which(target)).count()).unwrap()
    }

    fn has_place(&self) -> bool {
        let in_progress = self.count(|target| target.status == TargetStatus::InProgress);
        let held = self.count(|target| target.volatile.reading == Some(ReadPurpose::Gate));
        in_progress + held < self.limits.max_pending_operations.get()
    }

    /// What the counts alone decide (D13, D16).
    fn follow_up(&mut self) {
        use TargetStatus::{Failed, Idle, InProgress};
        let failed = self.count(|target| target.status == Failed);
        let limit = self.limits.max_failure_percentage.to_string();
        let running = self.status.is_running();
        let missed = self.count(|_| true) < self.minimum_targets;
        if running && (missed || is_exceeded(&limit, failed, self.count(|_| true))) {
            self.finish(Outcome::Failure, false);
            return;
        }
        if running {
            self.ends_consent();
        }
        let [in_progress, idle] =
            [InProgress, Idle].map(|status| self.count(|target| target.status == status));
        if running && idle + in_progress == 0 {
            self.finish(Outcome::Success, false);
        } else if self.status == CampaignStatus::Pausing && in_progress == 0 {
            self.move_to(CampaignStatus::Paused);
        }
    }

    /// Whose turn it is (D4, D7, D10).
    fn advance(&mut self) {
        let running = |this: &Self| this.recovered && this.status == CampaignStatus::InProgress;
        while running(self) && self.has_place() {
            let runs = |t: &Target| t.status == TargetStatus::Idle && t.phase().is_some();
            if let Some(n) = self.targets.iter().position(runs) {
                self.targets[n].status = TargetStatus::InProgress;
                self.targets[n].volatile.settling = true;
                self.recorded();
                continue;
            }
            let ready =
                |n: &usize| self.targets[*n].is_ready(self.now) && self.agreed(*n) && !self.down.1;
            let ready = (0..self.targets.len()).filter(ready);
            let Some(n) = ready.min_by_key(|n| (self.targets[*n].attempt, *n)) else { break };
            self.targets[n].volatile.reading = Some(ReadPurpose::Gate);
            self.turns.push(n);
        }
    }
}
