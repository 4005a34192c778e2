//! One operation as simple as can be, of a campaign or a manual OTA update: D8, D9, D11.

use hedgerow_core::*;

use crate::reports::is_after;
use crate::support::interval;

/// An operation that has not ended.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Sent {
    /// `None`: pending.
    pub(crate) phase: Option<Phase>,
    pub(crate) progress: u8,
    pub(crate) resends: u16,
    pub(crate) sends: u16,
    pub(crate) due: Option<Timestamp>,
    /// It is to be cancelled on the device.
    pub(crate) stop: bool,
    /// The latest call has no answer yet.
    pub(crate) unanswered: bool,
    pub(crate) accepted: bool,
    pub(crate) reissued: bool,
    /// A resend was due while the device was away: it is what leaves next.
    pub(crate) kept_back: bool,
    /// It was sent again after a report.
    pub(crate) asked_again: bool,
    /// The newest stamp that was recorded in the present phase.
    stamp: Option<Timestamp>,
    /// Progress and newest stamp of reports of the present phase, recorded or not, until a restart.
    pub(crate) heard: Option<(u8, Option<Timestamp>)>,
    /// All of them that had a stamp.
    pub(crate) said: Vec<(u8, Timestamp)>,
    reported_at: Option<Timestamp>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Became {
    Unchanged,
    /// Something was recorded, and it goes on.
    Recorded,
    /// It ended, with the way that it is known.
    Succeeded(&'static str),
    /// It ended, with the reason.
    Failed(&'static str),
    /// The device turned its only request away.
    Refused,
    /// Its call failed, and its target is to wait.
    Deferred,
    /// The request is to leave once more.
    Resent,
    /// It leaves when the device is back, and its target is idle until then.
    KeptBack,
}

impl Sent {
    /// A call is recorded (D8).
    pub(crate) fn send(&mut self, now: Timestamp, limits: &OperationLimits) {
        self.sends += 1;
        self.waits(now, limits);
    }

    /// A report is waited for from now on; after one has come the stall goes on.
    pub(crate) fn waits(&mut self, now: Timestamp, limits: &OperationLimits) {
        self.unanswered = true;
        self.kept_back = false;
        self.asked_again = self.phase.is_some();
        if !self.asked_again {
            self.due = Some(now + limits.request_timeout);
        }
    }

    /// Whether its latest call may not have left.
    pub(crate) fn is_owed(&self) -> bool {
        self.unanswered && (self.phase.is_none() || self.asked_again) && !self.stop
    }

    /// Whether the device is at it, and not about to restart (D24).
    pub(crate) fn may_be_forgotten(&self) -> bool {
        let phase = self.phase.unwrap_or(Phase::Pending);
        !self.stop
            && is_after(phase, Phase::Pending)
            && is_after(Phase::Rebooting, phase)
            && phase != Phase::Error
    }

    /// Whether a report shows that the device is at it (D9, D24).
    pub(crate) fn is_alive(&self, report: &OperationReport) -> bool {
        let (progress, stamp) = self.heard.unwrap_or((self.progress, self.stamp));
        let older = report.observed_at.is_some() && report.observed_at < stamp;
        let newer = report.observed_at.is_some() && report.observed_at > stamp;
        let same_phase = self.phase == Some(report.status.phase());
        let said = report.progress.min(100);
        let of_recorded = said == self.progress
            && (report.observed_at.is_none() || report.observed_at == self.stamp);
        let of_former = self.has_said(said, report.observed_at);
        let repeated = same_phase && (of_recorded || of_former || said == progress && !newer);
        !report.from_storage && !older && !repeated
    }

    /// Whether the device has said the same before in the present phase.
    fn has_said(&self, progress: u8, stamp: Option<Timestamp>) -> bool {
        stamp.is_some_and(|stamp| self.said.contains(&(progress, stamp)))
    }

    /// A restart forgets what was heard and not recorded.
    pub(crate) fn restarted(&mut self) {
        self.heard = None;
        self.said = self.stamp.map(|stamp| (self.progress, stamp)).into_iter().collect();
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// A device reports (D11).
    pub(crate) fn report(
        &mut self,
        report: &OperationReport,
        now: Timestamp,
        limits: &OperationLimits,
    ) -> Became {
        let busy = report.code == Some(StatusCode::UpdateAlreadyInProgress);
        let mut phase = report.status.phase();
        match report.status {
            ReportStatus::Success => return Became::Succeeded("reported"),
            ReportStatus::Failure if !busy => {
                let known = report.code.as_ref().map(StatusCode::name);
                return Became::Failed(
                    known.filter(|n| *n != "other").unwrap_or("reported_failure"),
                );
            }
            ReportStatus::Failure if self.sends == 1 => return Became::Refused,
            // Sent more than once, it means running.
            ReportStatus::Failure if self.phase.is_some() => return Became::Unchanged,
            ReportStatus::Failure => phase = Phase::Acknowledged,
            _ => {}
        }
        let progress = report.progress.min(100);
        let (newest_progress, newest_stamp) = self.heard.unwrap_or((self.progress, self.stamp));
        let stale = report.observed_at.is_some() && report.observed_at < newest_stamp;
        let before = self.phase.unwrap_or(Phase::Pending);
        if before == phase {
            let newer = report.observed_at.is_some() && report.observed_at > newest_stamp;
            let of_recorded = progress == self.progress
                && (report.observed_at.is_none() || report.observed_at == self.stamp);
            let of_former = self.has_said(progress, report.observed_at);
            let repeated = of_recorded || of_former || progress == newest_progress && !newer;
            if report.from_storage || stale || repeated {
                return Became::Unchanged;
            }
            self.heard = Some((progress, newest_stamp.max(report.observed_at)));
            self.said.extend(report.observed_at.map(|stamp| (progress, stamp)));
            if now.since(self.reported_at.unwrap()) < interval(limits) {
                return Became::Unchanged;
            }
            self.stamp = self.stamp.max(report.observed_at);
        } else {
            let decided = phase != Phase::Error && before != Phase::Error;
            if !is_after(phase, before) || stale && !decided {
                return Became::Unchanged;
            }
            self.stamp = report.observed_at;
            self.heard = None;
            self.said = report.observed_at.map(|stamp| (progress, stamp)).into_iter().collect();
        }
        (self.kept_back, self.asked_again) = (false, false);
        (self.phase, self.progress, self.reported_at) = (Some(phase), progress, Some(now));
        self.due = limits.stall_timeout.map(|stall| now + stall);
        Became::Recorded
    }

    /// Its deadline has passed, and the device does not show the image (D8, D9).
    pub(crate) fn deadline(
        &mut self,
        now: Timestamp,
        limits: &OperationLimits,
        reachable: bool,
        finished: bool,
    ) -> Became {
        if !self.is_due(now) {
            return Became::Unchanged;
        }
        if self.phase.is_some() {
            return Became::Failed("stalled");
        }
        if self.stop || self.resends >= limits.request_retries {
            return Became::Failed("request_timeout");
        }
        if !reachable && !finished {
            (self.due, self.kept_back) = (None, true);
            return Became::KeptBack;
        }
        self.resends += 1;
        if !reachable {
            // Unsent; of one that was never accepted the call has still to leave.
            let unanswered = self.unanswered || !self.accepted;
            self.waits(now, limits);
            self.unanswered = unanswered;
            return Became::Recorded;
        }
        self.send(now, limits);
        Became::Resent
    }
}
