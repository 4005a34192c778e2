//! What happens to an operation in the world: what leaves, what is answered, what its device says
//! (D8, D11, D17, E4).

use hedgerow_core::{OperationLimits, OperationReport, Phase, ReportStatus, StatusCode, Timestamp};

use super::{Op, Said, rank};
use crate::simulate::invariant::{Checked, Invariant, ensure};

const STATUSES: [ReportStatus; 8] = [
    ReportStatus::Acknowledged,
    ReportStatus::Downloading,
    ReportStatus::Deploying,
    ReportStatus::Deployed,
    ReportStatus::Rebooting,
    ReportStatus::Error,
    ReportStatus::Success,
    ReportStatus::Failure,
];

impl Op {
    pub(in crate::simulate::check) fn leaves(
        &mut self,
        url: &str,
        alone: bool,
        loaded_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Checked {
        let decided_at = self.decided_at;
        let is_void = decided_at < loaded_at && loaded_at < Some(now);
        ensure(decided_at.is_none() || !is_void, Invariant::VoidAnswers, || {
            format!(
                "its request leaves at {now}, which was decided at {decided_at:?}: the state was \
                 loaded at {loaded_at:?}"
            )
        })?;
        ensure(url == self.url, Invariant::SameRequest, || {
            format!("its request carries {url:?}, the image is at {:?}", self.url)
        })?;
        self.left += 1;
        self.decided_at = None;
        // What ends it at the very instant may be recorded while the call is made.
        // What another engine ends this one does not know until its next append.
        let ended_at = self.ended_at.filter(|ended_at| alone && *ended_at < now);
        ensure(ended_at.is_none(), Invariant::RecordThenAct, || {
            format!("its request leaves at {now}, after its end at {ended_at:?}")
        })?;
        ensure(self.left <= self.decided, Invariant::RecordThenAct, || {
            format!("request {} leaves, {} are recorded", self.left, self.decided)
        })
    }

    /// Its Cancel is recorded.
    pub(in crate::simulate::check) fn cancel_is_wanted(&mut self, at: Timestamp) {
        self.cancel_wanted_at.get_or_insert(at);
    }

    /// Of a manual update a resend that was kept back times out then: no Update is sent any more.
    pub(in crate::simulate::check) fn cancel_ends_waiting(
        &mut self,
        at: Timestamp,
        limits: &hedgerow_core::OperationLimits,
    ) {
        if std::mem::take(&mut self.kept_back) {
            self.deadline = Some(at + limits.request_timeout);
        }
    }

    pub(super) fn is_cancel_wanted(&self) -> bool {
        self.cancel_wanted_at.is_some()
    }

    /// Since when a Cancel that is wanted is to leave, if none has left.
    pub(in crate::simulate::check) fn cancel_waits_since(&self) -> Option<Timestamp> {
        self.cancel_wanted_at.filter(|_| !self.cancel_left)
    }

    /// Since when a request that was decided is to leave, if one is.
    pub(in crate::simulate::check) fn request_waits_since(&self) -> Option<Timestamp> {
        self.decided_at
    }

    /// `again`: after trouble a Cancel may leave twice, as its answer may not have been looked at.
    pub(in crate::simulate::check) fn cancel_leaves(&mut self, url: &str, again: bool) -> Checked {
        self.cancel_left = true;
        ensure(url == self.url, Invariant::SameRequest, || {
            format!("its Cancel carries {url:?}, its Update {:?}", self.url)
        })?;
        ensure(self.is_cancel_wanted(), Invariant::RecordThenAct, || {
            "a Cancel leaves that is not recorded".to_owned()
        })?;
        ensure(again || !self.cancel_answered, Invariant::RecordThenAct, || {
            "a Cancel leaves again although its answer is recorded".to_owned()
        })
    }

    pub(in crate::simulate::check) fn cancel_sent(&mut self) -> Checked {
        self.cancel_answered = true;
        ensure(self.is_cancel_wanted(), Invariant::Cancel, || {
            "a Cancel is answered that nobody wanted".to_owned()
        })
    }

    pub(in crate::simulate::check) fn answered(&mut self, said: Said) {
        self.answers += 1;
        self.latest_said = Some(said);
        match said {
            Said::Accepted => self.accepted = true,
            Said::Permanent => self.refused = true,
            Said::Nothing => self.unanswered = true,
            Said::Temporary => {}
        }
    }

    /// Whether its latest call was answered is not known any more.
    pub(in crate::simulate::check) fn fate_is_unknown(&mut self) {
        self.unanswered = true;
    }

    /// Whether every call of it was answered.
    pub(in crate::simulate::check) fn is_answered(&self) -> bool {
        !self.unanswered && self.answers >= self.decided
    }

    /// `now`: when it was told.
    pub(in crate::simulate::check) fn told(&mut self, report: &OperationReport, now: Timestamp) {
        if !report.from_storage {
            self.alive_at = Some(now);
            let phase = rank(report.status.phase());
            self.live.insert((phase, report.progress.min(100), report.observed_at));
        }
        let busy = report.status == ReportStatus::Failure
            && report.code == Some(StatusCode::UpdateAlreadyInProgress);
        if busy {
            self.told_busy = true;
        } else {
            self.told |= 1 << (report.status as u16);
            let heard = self.heard.entry(report.status as u16).or_default();
            *heard = (*heard).max(report.observed_at);
            if report.status.phase() == self.phase {
                self.heard_stamp = self.heard_stamp.max(report.observed_at);
                self.heard_other |= report.progress.min(100) != self.progress;
            }
        }
    }

    /// Whether this phase comes after the present one; from an error a device may go on.
    pub(super) fn goes_on(&self, phase: Phase) -> bool {
        let from_error = self.phase == Phase::Error && phase != Phase::Error;
        rank(phase) > rank(self.phase) || from_error && rank(phase) >= rank(Phase::Downloading)
    }

    /// Whether the engine must record this report of the device, which arrives at `now` (D9, D11).
    pub(in crate::simulate::check) fn is_news(
        &self,
        report: &OperationReport,
        now: Timestamp,
        limits: &OperationLimits,
    ) -> bool {
        if self.has_ended() || report.status == ReportStatus::Failure {
            return false;
        }
        let phase = report.status.phase();
        let decided = phase != self.phase && phase != Phase::Error && self.phase != Phase::Error;
        // What waits behind a slow append is heard in the phase that it brings: all that was said of
        // the present phase counts, whenever that was.
        let present = STATUSES.into_iter().find(|status| status.phase() == self.phase);
        let heard = present.and_then(|status| self.heard.get(&(status as u16)).copied());
        let heard_stamp = self.heard_stamp.max(heard.flatten());
        let newest = self.newest_stamp.max(heard_stamp);
        let stale = report.observed_at.zip(newest).is_some_and(|(stamp, newest)| stamp < newest);
        if stale && !decided {
            return false;
        }
        // What says the same as one that came too soon to be recorded is a duplicate of it.
        let newer = report.observed_at > heard_stamp;
        let further = newer && report.progress.min(100) > self.progress && !report.from_storage;
        let since = now.since(self.reported_at.unwrap_or(now));
        let rested = since >= super::recording_interval(limits);
        self.goes_on(phase) || phase == self.phase && further && rested
    }

    pub(super) fn was_told(&self, phase: Phase) -> bool {
        STATUSES
            .into_iter()
            .any(|status| status.phase() == phase && self.told & (1 << (status as u16)) != 0)
    }
}
