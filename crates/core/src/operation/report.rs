//! What a device's report does to its operation (D11).

use super::{Operation, Phase, ReportStatus, StatusCode};
use crate::id::{DeviceId, OperationId};
use crate::rollout::OperationLimits;
use crate::time::Timestamp;

/// The longest message that is kept, in characters.
const LONGEST_MESSAGE: usize = 1_000;

/// A report of a device about an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationReport {
    /// The device that sent it.
    pub device: DeviceId,
    /// The operation that it speaks of.
    pub operation: OperationId,
    /// What it says.
    pub status: ReportStatus,
    /// Progress within the phase, in per cent.
    pub progress: u8,
    /// Why, for an error or a failure.
    pub code: Option<StatusCode>,
    /// The device's own words.
    pub message: String,
    /// When the device sent it, by its own clock, which may be years off.
    pub observed_at: Option<Timestamp>,
    /// Whether it was fetched later from what the platform has stored: within one phase it is no
    /// sign of life then (D9).
    pub from_storage: bool,
}

impl OperationReport {
    /// A report without progress, code, message or stamp, as it arrives from the device.
    #[must_use]
    pub fn new(device: DeviceId, operation: OperationId, status: ReportStatus) -> Self {
        Self {
            device,
            operation,
            status,
            progress: 0,
            code: None,
            message: String::new(),
            observed_at: None,
            from_storage: false,
        }
    }

    /// The message, cut to what is kept.
    pub(crate) fn short_message(&self) -> String {
        self.message.chars().take(LONGEST_MESSAGE).collect()
    }
}

/// What a report does to an active operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It changes nothing: a duplicate, one stamped before the newest seen, a step backwards, one
    /// of the present phase that was only fetched from storage.
    Unchanged,
    /// Progress too soon after the last that was recorded (D9): it changes nothing.
    TooSoon,
    /// The operation is in this phase now.
    Now(Phase),
    /// The operation ended with success.
    Succeeded,
    /// The operation ended with a failure.
    Failed,
    /// The device turned the only request away because it is busy with another update (D14).
    Refused,
}

/// What was heard of the present phase, recorded or not, since the operation was loaded (D11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Heard {
    /// The newest progress, in per cent.
    pub progress: u8,
    /// The newest stamp, by the device's own clock.
    pub observed_at: Option<Timestamp>,
    /// A bit for each progress that came with that stamp: a duplicate need not repeat the latest
    /// report. What has an older stamp is passed over anyway.
    with_that_stamp: [u64; 2],
}

impl Heard {
    /// Nothing but what is recorded.
    fn recorded(progress: u8, observed_at: Option<Timestamp>) -> Self {
        let mut recorded = Self { progress, observed_at, with_that_stamp: [0; 2] };
        recorded.mark(progress);
        recorded
    }

    /// This report, beside what was heard before it.
    fn and(mut self, report: &OperationReport) -> Self {
        self.progress = as_recorded(report);
        if report.observed_at.is_some() && report.observed_at >= self.observed_at {
            if report.observed_at > self.observed_at {
                (self.observed_at, self.with_that_stamp) = (report.observed_at, [0; 2]);
            }
            self.mark(self.progress);
        }
        self
    }

    fn mark(&mut self, progress: u8) {
        self.with_that_stamp[usize::from(progress / 64 % 2)] |= 1 << (progress % 64);
    }

    /// Whether the device has said this before: the same progress, and if it has a stamp, the same.
    fn has(self, report: &OperationReport) -> bool {
        let progress = as_recorded(report);
        if report.observed_at.is_none() {
            return progress == self.progress;
        }
        let marked = self.with_that_stamp[usize::from(progress / 64 % 2)];
        report.observed_at == self.observed_at && marked & (1 << (progress % 64)) != 0
    }
}

/// The progress as it is recorded: what is beyond 100 would be news for ever.
fn as_recorded(report: &OperationReport) -> u8 {
    report.progress.min(100)
}

impl Operation {
    /// What `report`, which arrives at `now`, does to this operation. `heard`: what was heard of the
    /// present phase since the operation was loaded, if that is more than what is recorded.
    #[must_use]
    pub fn judge(
        &self,
        report: &OperationReport,
        heard: Option<Heard>,
        now: Timestamp,
        limits: &OperationLimits,
    ) -> Verdict {
        match report.status {
            // A stamp never decides alone about a final report: clocks jump.
            ReportStatus::Success => return Verdict::Succeeded,
            ReportStatus::Failure if report.code == Some(StatusCode::UpdateAlreadyInProgress) => {
                return self.judge_already_in_progress();
            }
            ReportStatus::Failure => return Verdict::Failed,
            _ => {}
        }
        let next = report.status.phase();
        if self.phase == next {
            if report.from_storage || !self.is_news(report, heard) {
                return Verdict::Unchanged;
            }
            let recorded = self.reported_at.unwrap_or(now);
            return if now.since(recorded) >= limits.recording_interval() {
                Verdict::Now(next)
            } else {
                Verdict::TooSoon
            };
        }
        // Where the phases decide, the stamp does not: a clock may have been put back.
        let phases_decide = self.phase != Phase::Error && next != Phase::Error;
        if self.phase.may_become(next) && (phases_decide || !self.is_stale(report, heard)) {
            Verdict::Now(next)
        } else {
            Verdict::Unchanged
        }
    }

    /// What is known to have been heard in the present phase after one more report of it that was
    /// taken, whether it came too soon to be recorded or not.
    pub(crate) fn heard(&self, report: &OperationReport, heard: Option<Heard>) -> Heard {
        heard.unwrap_or(self.recorded()).and(report)
    }

    /// The same, for a report that is about to be recorded: another phase begins with its record.
    pub(crate) fn heard_on(&self, report: &OperationReport, heard: Option<Heard>) -> Option<Heard> {
        (self.phase == report.status.phase()).then(|| self.heard(report, heard))
    }

    /// Whether the report shows that the device is still at it: any but one that is fetched later,
    /// repeated or overtaken (D9, D24).
    pub(crate) fn is_sign_of_life(&self, report: &OperationReport, heard: Option<Heard>) -> bool {
        let repeated = self.phase == report.status.phase() && !self.is_news(report, heard);
        !report.from_storage && !repeated && !self.is_stale(report, heard)
    }

    fn recorded(&self) -> Heard {
        Heard::recorded(self.progress, self.newest_stamp)
    }

    /// Whether the device stamped it before the newest one seen in the present phase.
    fn is_stale(&self, report: &OperationReport, heard: Option<Heard>) -> bool {
        let newest = heard.unwrap_or(self.recorded()).observed_at;
        report.observed_at.zip(newest).is_some_and(|(stamp, newest)| stamp < newest)
    }

    /// Whether a report of the present phase is neither stale nor a duplicate, which has the same
    /// progress and stamp as one before.
    fn is_news(&self, report: &OperationReport, heard: Option<Heard>) -> bool {
        let is_duplicate =
            self.recorded().has(report) || heard.is_some_and(|heard| heard.has(report));
        !is_duplicate && !self.is_stale(report, heard)
    }

    /// A device that answers a request sent more than once so is at work on the first one.
    fn judge_already_in_progress(&self) -> Verdict {
        if self.sends <= 1 {
            Verdict::Refused
        } else if self.phase == Phase::Pending {
            Verdict::Now(Phase::Acknowledged)
        } else {
            Verdict::Unchanged
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::operation::RecordedReport;
    use uuid::Uuid;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn operation(phase: Phase) -> Operation {
        let limits = OperationLimits::default();
        let id = OperationId::from_uuid(Uuid::nil());
        Operation {
            phase,
            reported_at: Some(at(0)),
            newest_stamp: Some(at(100)),
            ..Operation::started(id, at(0), &limits)
        }
    }

    fn report(status: ReportStatus) -> OperationReport {
        let operation = OperationId::from_uuid(Uuid::nil());
        OperationReport::new(DeviceId::from_bytes([0; 16]), operation, status)
    }

    fn judge(operation: &Operation, report: &OperationReport, now: Timestamp) -> Verdict {
        operation.judge(report, None, now, &OperationLimits::default())
    }

    #[test]
    fn where_the_phases_do_not_decide_a_report_stamped_before_the_newest_changes_nothing() {
        let operation = operation(Phase::Deploying);
        let stamped = |status| OperationReport { observed_at: Some(at(99)), ..report(status) };
        let judge = |operation, status| judge(operation, &stamped(status), at(60));
        assert_eq!(judge(&operation, ReportStatus::Error), Verdict::Unchanged);
        assert_eq!(judge(&operation, ReportStatus::Deploying), Verdict::Unchanged);
        assert_eq!(judge(&operation, ReportStatus::Rebooting), Verdict::Now(Phase::Rebooting));
        assert_eq!(judge(&operation, ReportStatus::Success), Verdict::Succeeded);
        assert_eq!(judge(&operation, ReportStatus::Failure), Verdict::Failed);
        let error = Operation { phase: Phase::Error, ..operation };
        assert_eq!(judge(&error, ReportStatus::Downloading), Verdict::Unchanged);
    }

    #[test]
    fn only_the_stamps_of_the_present_phase_are_looked_at() {
        let mut operation = operation(Phase::Acknowledged);
        let moved = RecordedReport {
            phase: Phase::Downloading,
            progress: 0,
            observed_at: Some(at(50)),
            at: at(1),
        };
        operation.reported(&moved, None);
        assert_eq!(operation.newest_stamp, Some(at(50)));
        let error = OperationReport { observed_at: Some(at(51)), ..report(ReportStatus::Error) };
        assert_eq!(judge(&operation, &error, at(2)), Verdict::Now(Phase::Error));
    }

    #[test]
    fn what_was_heard_and_not_recorded_counts_for_stamps_and_duplicates() {
        let operation = operation(Phase::Downloading);
        let limits = OperationLimits::default();
        let stamped = |status, progress, stamp| OperationReport {
            progress,
            observed_at: Some(at(stamp)),
            ..report(status)
        };
        let soon = stamped(ReportStatus::Downloading, 40, 120);
        assert_eq!(operation.judge(&soon, None, at(1), &limits), Verdict::TooSoon);
        let heard = Some(operation.heard(&soon, None));
        assert_eq!(operation.judge(&soon, heard, at(60), &limits), Verdict::Unchanged);
        let error = stamped(ReportStatus::Error, 0, 110);
        assert_eq!(operation.judge(&error, heard, at(60), &limits), Verdict::Unchanged);
        assert_eq!(operation.judge(&error, None, at(60), &limits), Verdict::Now(Phase::Error));
    }

    #[test]
    fn a_duplicate_of_a_report_before_the_latest_with_its_stamp_is_none_the_less_one() {
        let mut operation = operation(Phase::Downloading);
        let limits = OperationLimits::default();
        let stamped = |progress| OperationReport {
            progress,
            observed_at: Some(at(120)),
            ..report(ReportStatus::Downloading)
        };
        let soon = stamped(20);
        assert_eq!(operation.judge(&soon, None, at(1), &limits), Verdict::TooSoon);
        let mut heard = Some(operation.heard(&soon, None));
        let later = stamped(99);
        assert_eq!(
            operation.judge(&later, heard, at(60), &limits),
            Verdict::Now(Phase::Downloading)
        );
        heard = operation.heard_on(&later, heard);
        let recorded = RecordedReport {
            phase: Phase::Downloading,
            progress: 99,
            observed_at: Some(at(120)),
            at: at(60),
        };
        operation.reported(&recorded, None);
        for progress in [20, 99] {
            let again = operation.judge(&stamped(progress), heard, at(600), &limits);
            assert_eq!(again, Verdict::Unchanged, "{progress}");
            assert!(!operation.is_sign_of_life(&stamped(progress), heard), "{progress}");
        }
        // Without a stamp nobody can tell a repetition from a device that begins anew.
        let unstamped = OperationReport { observed_at: None, ..stamped(20) };
        let news = operation.judge(&unstamped, heard, at(600), &limits);
        assert_eq!(news, Verdict::Now(Phase::Downloading));
        let next = report(ReportStatus::Deploying);
        assert_eq!(operation.heard_on(&next, heard), None);
    }

    #[test]
    fn a_report_from_storage_is_taken_only_if_it_moves_the_operation_forward() {
        let operation = operation(Phase::Downloading);
        let stored = |status| OperationReport {
            progress: 70,
            observed_at: Some(at(200)),
            from_storage: true,
            ..report(status)
        };
        let judge = |status| judge(&operation, &stored(status), at(600));
        assert_eq!(judge(ReportStatus::Downloading), Verdict::Unchanged);
        assert_eq!(judge(ReportStatus::Deploying), Verdict::Now(Phase::Deploying));
        assert_eq!(judge(ReportStatus::Success), Verdict::Succeeded);
    }

    #[test]
    fn progress_within_a_phase_is_recorded_once_a_minute() {
        let operation = operation(Phase::Downloading);
        let progress = OperationReport { progress: 40, ..report(ReportStatus::Downloading) };
        assert_eq!(judge(&operation, &progress, at(59)), Verdict::TooSoon);
        assert_eq!(judge(&operation, &progress, at(60)), Verdict::Now(Phase::Downloading));
        let repeated = report(ReportStatus::Downloading);
        assert_eq!(judge(&operation, &repeated, at(60)), Verdict::Unchanged);
        let alive = OperationReport { observed_at: Some(at(101)), ..repeated };
        assert_eq!(judge(&operation, &alive, at(60)), Verdict::Now(Phase::Downloading));
    }

    #[test]
    fn a_short_stall_timeout_makes_the_interval_half_as_long() {
        let operation = operation(Phase::Downloading);
        let progress = OperationReport { progress: 40, ..report(ReportStatus::Downloading) };
        let stall_timeout = Some(Duration::from_secs(40));
        let limits = OperationLimits { stall_timeout, ..OperationLimits::default() };
        assert_eq!(operation.judge(&progress, None, at(19), &limits), Verdict::TooSoon);
        let recorded = Verdict::Now(Phase::Downloading);
        assert_eq!(operation.judge(&progress, None, at(20), &limits), recorded);
    }

    #[test]
    fn progress_beyond_all_bounds_is_no_news_when_it_is_repeated() {
        let operation = Operation { progress: 100, ..operation(Phase::Downloading) };
        let repeated = OperationReport { progress: 255, ..report(ReportStatus::Downloading) };
        assert_eq!(judge(&operation, &repeated, at(60)), Verdict::Unchanged);
    }

    #[test]
    fn already_in_progress_means_refused_once_and_running_when_sent_again() {
        let busy = OperationReport {
            code: Some(StatusCode::UpdateAlreadyInProgress),
            ..report(ReportStatus::Failure)
        };
        let once = operation(Phase::Pending);
        assert_eq!(judge(&once, &busy, at(1)), Verdict::Refused);
        let twice = Operation { sends: 2, ..once };
        assert_eq!(judge(&twice, &busy, at(1)), Verdict::Now(Phase::Acknowledged));
        let running = Operation { phase: Phase::Deploying, ..twice };
        assert_eq!(judge(&running, &busy, at(1)), Verdict::Unchanged);
    }
}
