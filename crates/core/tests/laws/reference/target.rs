//! One target as simple as can be: what is known of it, and what answers and reports make of it.

use hedgerow_core::*;

use super::operation::{Became, Sent};

pub(crate) struct Target {
    pub(crate) status: TargetStatus,
    /// How it became final: a reason, or how its success is known.
    pub(crate) how: &'static str,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) operation: Option<Sent>,
    /// What its user has answered last, and whether an operation of it has ever started (P15).
    pub(super) consent: Option<ConsentAnswer>,
    pub(super) started: bool,
    pub(super) attempt: u32,
    pub(super) refusals: u16,
    pub(super) deferrals: u8,
    pub(crate) volatile: Volatile,
}

/// What a restart forgets of a target.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Volatile {
    pub(crate) online: bool,
    pub(crate) reading: Option<ReadPurpose>,
    /// The operation of which the URL is asked for with that (D23).
    pub(crate) prepares: Option<OperationId>,
    pub(super) busy: bool,
    pub(super) calling: bool,
    pub(super) back: Option<Timestamp>,
    pub(super) rests: Option<Timestamp>,
    /// Until when it is not looked at its deadline again.
    pub(super) deadline_rests: Option<Timestamp>,
    /// It is to be looked at once it has settled (D12).
    pub(crate) settling: bool,
    /// It connected, and has neither settled nor reported since; when it is taken to have forgotten
    /// its operation (D24).
    pub(super) returned: bool,
    pub(super) forgotten_at: Option<Timestamp>,
    pub(super) tries: u8,
    pub(super) late: Vec<ReportStatus>,
}

impl Target {
    pub(crate) fn idle() -> Self {
        Self {
            status: TargetStatus::Idle,
            how: "",
            not_before: None,
            operation: None,
            consent: None,
            started: false,
            attempt: 0,
            refusals: 0,
            deferrals: 0,
            volatile: Volatile::default(),
        }
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.operation.as_ref().and_then(|operation| operation.phase)
    }

    pub(super) fn close(&mut self, status: TargetStatus, how: &'static str) {
        (self.status, self.how, self.operation, self.not_before) = (status, how, None, None);
        self.volatile.reading = None;
    }

    /// Whether its turn may come (D4).
    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        self.status == TargetStatus::Idle
            && self.phase().is_none()
            && self.volatile.online
            && !self.volatile.busy
            && self.volatile.reading.is_none()
            && self.not_before.max(self.volatile.rests).is_none_or(|at| at <= now)
    }

    pub(super) fn starts(&mut self, attempt: u32) {
        (self.status, self.not_before) = (TargetStatus::InProgress, None);
        self.started = true;
        (self.volatile.tries, self.volatile.rests) = (0, None);
        self.attempt = attempt;
    }

    /// Another call leaves.
    pub(super) fn send(&mut self, now: Timestamp, limits: &OperationLimits) -> Became {
        self.volatile.calling = true;
        self.operation.get_or_insert_default().send(now, limits);
        Became::Resent
    }

    /// It comes or goes.
    pub(super) fn presence(
        &mut self,
        presence: Presence,
        judged_at: Timestamp,
        recovered: bool,
    ) -> bool {
        let connects = recovered && !self.volatile.online;
        self.volatile.online = presence != Presence::Offline;
        if !self.volatile.online {
            (self.volatile.returned, self.volatile.forgotten_at) = (false, None);
        } else if self.status == TargetStatus::InProgress {
            self.volatile.settling = true;
            if connects {
                let operation = self.operation.as_ref();
                self.volatile.returned = operation.is_some_and(Sent::may_be_forgotten);
                self.volatile.forgotten_at = None;
            }
        }
        if self.operation.is_some() {
            let rebooting = self.phase() == Some(Phase::Rebooting);
            let back = if rebooting { Some(judged_at) } else { self.volatile.back };
            self.volatile.back = back.filter(|_| self.volatile.online);
        }
        true
    }

    /// Another operation keeps the device busy, or has ended (D14).
    pub(super) fn is_busy(&mut self, busy: bool) -> bool {
        self.volatile.busy = busy;
        true
    }

    /// While the transport is down a failed read is not recorded (D10).
    pub(super) fn rests(&mut self, until: Timestamp) -> bool {
        (self.volatile.rests, self.volatile.tries) = (Some(until), self.volatile.tries + 1);
        true
    }

    pub(super) fn is_read_at_its_deadline(&mut self, now: Timestamp) -> bool {
        let due = self.operation.as_ref().is_some_and(|operation| operation.is_due(now));
        let rests = self.volatile.deadline_rests.is_some_and(|until| until > now);
        let reads = due && !rests && self.volatile.reading.is_none();
        self.volatile.reading =
            if reads { Some(ReadPurpose::Deadline) } else { self.volatile.reading };
        reads
    }

    /// Its device was read, and showed the image, another, or nothing that can be read.
    pub(super) fn look(
        &mut self,
        purpose: ReadPurpose,
        shows_it: Option<bool>,
        now: Timestamp,
        limits: &OperationLimits,
        finished: bool,
    ) -> Became {
        let Self { operation: Some(operation), volatile, .. } = self else {
            return Became::Unchanged;
        };
        let owed = operation.is_owed() && !volatile.calling && volatile.online;
        let is_due = operation.is_due(now);
        match (purpose, shows_it) {
            (_, Some(true)) => Became::Succeeded("confirmed"),
            // Without a look it is not sent again, and not given up (D10, E4).
            (ReadPurpose::Deadline, None) if owed && is_due => {
                volatile.deadline_rests = Some(now + SETTLING);
                Became::Unchanged
            }
            (ReadPurpose::Deadline, _) if !(owed && is_due) => {
                let became = operation.deadline(now, limits, volatile.online, finished);
                volatile.calling |= became == Became::Resent;
                became
            }
            (ReadPurpose::Forgotten, None) => {
                volatile.forgotten_at = volatile.forgotten_at.map(|at| at.max(now + SETTLING));
                Became::Unchanged
            }
            (ReadPurpose::Forgotten, _) => {
                let is_due = volatile.forgotten_at.take_if(|at| *at <= now).is_some();
                let left = operation.resends < limits.request_retries;
                let asks = is_due && left && operation.may_be_forgotten();
                if !asks || volatile.calling || !volatile.online {
                    return Became::Unchanged;
                }
                operation.resends += 1;
                self.send(now, limits)
            }
            (ReadPurpose::RebootTimeout, None) => {
                volatile.back = volatile.back.map(|at| at.max(now + SETTLING));
                Became::Unchanged
            }
            (ReadPurpose::RebootTimeout, _) => {
                let is_back = volatile.back.take_if(|at| *at <= now).is_some();
                let rolled_back = is_back && operation.phase == Some(Phase::Rebooting);
                if rolled_back { Became::Failed("system_rollback") } else { Became::Unchanged }
            }
            _ => {
                if shows_it.is_none() {
                    volatile.settling = true;
                } else if !volatile.settling && std::mem::take(&mut volatile.returned) {
                    let may_be = operation.may_be_forgotten();
                    volatile.forgotten_at = may_be.then_some(now + limits.request_timeout);
                }
                let leaves = owed && shows_it.is_some();
                operation.reissued |= leaves;
                if leaves { self.send(now, limits) } else { Became::Unchanged }
            }
        }
    }

    /// The transport answers (D10).
    pub(super) fn answered(&mut self, answer: &RequestAnswer) -> Became {
        let Some(operation) = &mut self.operation else { return Became::Unchanged };
        self.volatile.calling = false;
        if !std::mem::take(&mut operation.unanswered) {
            return Became::Unchanged;
        }
        let only = operation.resends == 0 && operation.phase.is_none();
        let first = only && !operation.reissued;
        operation.accepted |= *answer == RequestAnswer::Accepted;
        match answer {
            RequestAnswer::Permanent(_) if first => Became::Failed("request_rejected"),
            RequestAnswer::Temporary(_)
                if (first || only && !operation.stop) && !operation.kept_back =>
            {
                operation.due = None;
                Became::Deferred
            }
            _ => Became::Recorded,
        }
    }

    /// Its device reports about the newest operation (D11, D14).
    pub(super) fn report(
        &mut self,
        report: &OperationReport,
        now: Timestamp,
        limits: &OperationLimits,
    ) -> Became {
        let Some(operation) = &mut self.operation else { return Became::Unchanged };
        if operation.is_alive(report) {
            (self.volatile.returned, self.volatile.forgotten_at) = (false, None);
        }
        let became = operation.report(report, now, limits);
        let rebooting = became == Became::Unchanged || operation.phase == Some(Phase::Rebooting);
        self.volatile.back = self.volatile.back.filter(|_| rebooting);
        match became {
            Became::Refused if self.refusals >= limits.request_retries => {
                Became::Failed("update_already_in_progress")
            }
            Became::Refused => {
                (self.operation, self.refusals) = (None, self.refusals + 1);
                Became::Refused
            }
            Became::Recorded => {
                (self.not_before, self.deferrals) = (None, 0);
                Became::Recorded
            }
            other => other,
        }
    }
}
