//! What is recorded of a manual OTA update. Every function here is pure: the same state and input give
//! the same events (E2).

use super::ManualUpdate;
use crate::answer::RequestAnswer;
use crate::definition::ManualUpdateDefinition;
use crate::event::{
    Confirmation, ManualCancelRequested, ManualCancelSent, ManualFailed, ManualLateReport,
    ManualReported, ManualRequestAccepted, ManualRequestFailed, ManualRequestReissued,
    ManualRequestResent, ManualResendKeptBack, ManualStarted, ManualSucceeded, ManualUpdateEvent,
    OperationFailure,
};
use crate::id::{DeviceId, OperationId};
use crate::operation::at_work::{self, Answered, CancelAnswered, Fact};
use crate::operation::{Cancellation, Delivery, Operation, OperationReport, Verdict};
use crate::rollout::RolloutError;

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

/// A person wants it to be cancelled (D17). Nothing, if that was recorded already.
pub(super) fn cancel(update: &ManualUpdate) -> Result<Option<ManualUpdateEvent>, ManualRejection> {
    let Some(operation) = update.operation() else {
        return Err(ManualRejection::Ended { id: update.id });
    };
    let is_new = operation.cancellation == Cancellation::NotWanted;
    Ok(is_new.then(|| ManualCancelRequested {}.into()))
}

/// What is recorded of a report about its operation, if anything (D9, D11).
pub(super) fn reported(report: &OperationReport, verdict: Verdict) -> Option<ManualUpdateEvent> {
    Some(match verdict {
        Verdict::Unchanged | Verdict::TooSoon => return None,
        Verdict::Now(phase) => ManualReported {
            phase,
            progress: report.progress.min(100),
            code: report.code.clone(),
            message: report.short_message(),
            observed_at: report.observed_at,
        }
        .into(),
        Verdict::Succeeded => ManualSucceeded { confirmation: Confirmation::Reported }.into(),
        // There is no target that a new operation could be for.
        Verdict::Refused => failed(OperationFailure::UpdateAlreadyInProgress),
        Verdict::Failed => {
            let code = report.code.clone();
            failed(OperationFailure::Reported { code, message: report.short_message() })
        }
    })
}

/// A report that came after its end (D11).
pub(super) fn late(report: &OperationReport) -> ManualUpdateEvent {
    ManualLateReport { status: report.status, code: report.code.clone() }.into()
}

/// What is recorded of the answer to a request, if that was not known already (D10).
pub(super) fn request_answered(
    operation: &Operation,
    answer: &RequestAnswer,
) -> Option<ManualUpdateEvent> {
    if operation.delivery != Delivery::Unanswered {
        return None;
    }
    Some(match at_work::request_answered(operation, answer) {
        Answered::Accepted => ManualRequestAccepted {}.into(),
        Answered::Refused { detail } => failed(OperationFailure::RequestRejected { detail }),
        Answered::Failed { detail, .. } => ManualRequestFailed { detail }.into(),
    })
}

/// The transport has taken a Cancel request, or refused it for good (D17).
pub(super) fn cancel_answered(answered: CancelAnswered) -> ManualUpdateEvent {
    ManualCancelSent { refused: answered.refused }.into()
}

/// What has become of its operation (D8, D9, D12).
pub(super) fn fact(fact: Fact) -> ManualUpdateEvent {
    match fact {
        Fact::Confirmed => ManualSucceeded { confirmation: Confirmation::BaseImage }.into(),
        Fact::RolledBack { version } => failed(OperationFailure::SystemRollback { version }),
        Fact::Stalled => failed(OperationFailure::Stalled),
        Fact::RequestTimeout => failed(OperationFailure::RequestTimeout),
        Fact::Resend => ManualRequestResent {}.into(),
        Fact::ResendWhileOffline => ManualResendKeptBack {}.into(),
        Fact::Reissue => ManualRequestReissued {}.into(),
    }
}

fn failed(reason: OperationFailure) -> ManualUpdateEvent {
    ManualFailed { reason }.into()
}
