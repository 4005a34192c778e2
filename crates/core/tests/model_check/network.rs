//! What is under way between the campaign and its devices: calls that were recorded and have not
//! left, answers of the transport, messages.

use hedgerow_core::{
    OperationId, OperationReport, Question, ReadPurpose, ReportStatus, StatusCode,
};

use crate::setup::device_id;

/// A call that was recorded and has still to leave (E4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Read { device: usize, purpose: ReadPurpose, question: Question },
    Update { device: usize, operation: OperationId, question: Question },
    Cancel { device: usize, operation: OperationId, question: Question },
}

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Course {
    /// It is accepted at once, and its message is on its way.
    Well,
    /// Its message is on its way, and the transport takes its time to accept it.
    Slow,
    /// Its message is on its way, and the engine dies before it is told so.
    CutOff,
    /// It is accepted, and its message is lost.
    Lost,
    /// It fails for now, and nothing left.
    Failed,
    /// It fails for now, and its message is on its way all the same (D10).
    FailedButSent,
}

/// The transport's answer to a request, still to be told to the campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Answer {
    pub(crate) device: usize,
    pub(crate) operation: OperationId,
    pub(crate) question: Question,
    pub(crate) cancels: bool,
    pub(crate) accepted: bool,
}

/// A message under way, in no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Message {
    pub(crate) device: usize,
    pub(crate) operation: OperationId,
    pub(crate) body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Body {
    /// To the device.
    Update,
    /// To the device.
    Cancel,
    /// From the device.
    Report(Report),
}

/// What a device says of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Report {
    Acknowledged,
    Rebooting,
    Success,
    /// It is at work on an update already (D11, D14).
    Busy,
    /// It could not write the image.
    Broken,
    RolledBack,
    Canceled,
}

impl Report {
    /// Whether it says that the operation has failed.
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::Broken | Self::RolledBack | Self::Canceled)
    }
}

impl Message {
    /// The report that it carries, as the campaign is told it.
    pub(crate) fn report(&self) -> Option<OperationReport> {
        let Body::Report(report) = self.body else { return None };
        let (status, code) = match report {
            Report::Acknowledged => (ReportStatus::Acknowledged, None),
            Report::Rebooting => (ReportStatus::Rebooting, None),
            Report::Success => (ReportStatus::Success, None),
            Report::Busy => (ReportStatus::Failure, Some(StatusCode::UpdateAlreadyInProgress)),
            Report::Broken => (ReportStatus::Failure, Some(StatusCode::IoError)),
            Report::RolledBack => (ReportStatus::Failure, Some(StatusCode::SystemRollback)),
            Report::Canceled => (ReportStatus::Failure, Some(StatusCode::Canceled)),
        };
        let report = OperationReport::new(device_id(self.device), self.operation, status);
        Some(OperationReport { code, ..report })
    }
}
