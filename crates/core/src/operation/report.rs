//! What a device's report does to its operation (D11).

use std::time::Duration;

use super::{Operation, Phase, ReportStatus, StatusCode};
use crate::{DeviceId, OperationId, Timestamp};

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
}

impl OperationReport {
    /// A report without progress, code, message or stamp.
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
    /// It changes nothing: a duplicate, one stamped before the newest seen, a step backwards.
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

impl Operation {
    /// What `report`, which arrives at `now`, does to this operation.
    #[must_use]
    pub fn judge(&self, report: &OperationReport, now: Timestamp, interval: Duration) -> Verdict {
        match report.status {
            // A stamp never decides alone about a final report: clocks jump.
            ReportStatus::Success => return Verdict::Succeeded,
            ReportStatus::Failure if report.code == Some(StatusCode::UpdateAlreadyInProgress) => {
                return self.judge_already_in_progress();
            }
            ReportStatus::Failure => return Verdict::Failed,
            _ => {}
        }
        let stale = match (report.observed_at, self.newest_stamp) {
            (Some(stamp), Some(newest)) => stamp < newest,
            _ => false,
        };
        let next = report.status.phase();
        if stale {
            Verdict::Unchanged
        } else if self.phase.may_become(next) {
            Verdict::Now(next)
        } else if self.phase == next && self.is_news(report) {
            let recorded = self.reported_at.unwrap_or(now);
            if now.since(recorded) >= interval { Verdict::Now(next) } else { Verdict::TooSoon }
        } else {
            Verdict::Unchanged
        }
    }

    /// Whether a report of the present phase says more than the last one: further progress,
    /// progress that began anew (a download does after a break), another try that met an error.
    fn is_news(&self, report: &OperationReport) -> bool {
        let later = report.observed_at.is_some() && report.observed_at > self.newest_stamp;
        // As it is recorded: what is beyond 100 would be news for ever.
        let progress = report.progress.min(100);
        let differs = progress != self.progress || self.phase == Phase::Error;
        progress > self.progress || (later && differs)
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
    use super::*;
    use crate::OperationLimits;
    use uuid::Uuid;

    const MINUTE: Duration = Duration::from_secs(60);

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

    #[test]
    fn a_report_stamped_before_the_newest_one_changes_nothing_unless_it_is_final() {
        let operation = operation(Phase::Deploying);
        let stamped = |status| OperationReport { observed_at: Some(at(99)), ..report(status) };
        let judge = |status| operation.judge(&stamped(status), at(1), MINUTE);
        assert_eq!(judge(ReportStatus::Error), Verdict::Unchanged);
        assert_eq!(judge(ReportStatus::Rebooting), Verdict::Unchanged);
        assert_eq!(judge(ReportStatus::Success), Verdict::Succeeded);
        assert_eq!(judge(ReportStatus::Failure), Verdict::Failed);
    }

    #[test]
    fn progress_within_a_phase_is_recorded_once_a_minute() {
        let operation = operation(Phase::Downloading);
        let progress = OperationReport { progress: 40, ..report(ReportStatus::Downloading) };
        assert_eq!(operation.judge(&progress, at(59), MINUTE), Verdict::TooSoon);
        assert_eq!(operation.judge(&progress, at(60), MINUTE), Verdict::Now(Phase::Downloading));
        let repeated = report(ReportStatus::Downloading);
        assert_eq!(operation.judge(&repeated, at(60), MINUTE), Verdict::Unchanged);
    }

    #[test]
    fn progress_beyond_all_bounds_is_no_news_when_it_is_repeated() {
        let operation = Operation { progress: 100, ..operation(Phase::Downloading) };
        let repeated = OperationReport { progress: 255, ..report(ReportStatus::Downloading) };
        assert_eq!(operation.judge(&repeated, at(60), MINUTE), Verdict::Unchanged);
    }

    #[test]
    fn already_in_progress_means_refused_once_and_running_when_sent_again() {
        let busy = OperationReport {
            code: Some(StatusCode::UpdateAlreadyInProgress),
            ..report(ReportStatus::Failure)
        };
        let once = operation(Phase::Pending);
        assert_eq!(once.judge(&busy, at(1), MINUTE), Verdict::Refused);
        let twice = Operation { sends: 2, ..once };
        assert_eq!(twice.judge(&busy, at(1), MINUTE), Verdict::Now(Phase::Acknowledged));
        let running = Operation { phase: Phase::Deploying, ..twice };
        assert_eq!(running.judge(&busy, at(1), MINUTE), Verdict::Unchanged);
    }
}
