//! A manual OTA update: an operation started by a person, outside any campaign, without checks of
//! System Model or version (D20). The folded state, and the fold; `live` has it at work, `decide` says what is
//! recorded.

mod decide;
mod live;

use serde::{Deserialize, Serialize};

pub use decide::ManualRejection;
pub use live::{LiveManualUpdate, ManualDecision};

use crate::definition::ManualUpdateDefinition;
use crate::envelope::{ApplyError, StreamId};
use crate::event::{ManualStarted, ManualUpdateEvent, OperationFailure};
use crate::id::{OperationId, TenantId};
use crate::operation::{Cancellation, Delivery, Operation, Phase, RecordedReport};
use crate::time::Timestamp;

/// How a manual OTA update stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManualStatus {
    /// Its operation has not ended.
    Active(Operation),
    /// It ended with success.
    Successful,
    /// It failed.
    Failed(OperationFailure),
}

/// The state of a manual OTA update: the fold of its events (E1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManualUpdate {
    tenant: TenantId,
    id: OperationId,
    version: u64,
    definition: ManualUpdateDefinition,
    started_at: Timestamp,
    status: ManualStatus,
}

impl ManualUpdate {
    /// The state after the first event of a manual update's stream, recorded at `at`.
    ///
    /// # Errors
    /// [`ApplyError`] if it is not the event that begins one.
    pub fn begin(
        tenant: TenantId,
        id: OperationId,
        event: &ManualUpdateEvent,
        at: Timestamp,
    ) -> Result<Self, ApplyError> {
        let ManualUpdateEvent::ManualStarted(ManualStarted { definition }) = event else {
            return Err(ApplyError {
                stream: StreamId::ManualUpdate(id),
                version: 1,
                event_type: event.event_type(),
                why: "a manual update begins with manual_started",
            });
        };
        let operation = Operation::started(id, at, &definition.limits);
        Ok(Self {
            tenant,
            id,
            version: 1,
            definition: definition.clone(),
            started_at: at,
            status: ManualStatus::Active(operation),
        })
    }

    /// The tenant that it belongs to (D21).
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Its operation's id.
    #[must_use]
    pub fn id(&self) -> OperationId {
        self.id
    }

    /// Its stream (E10).
    #[must_use]
    pub fn stream(&self) -> StreamId {
        StreamId::ManualUpdate(self.id)
    }

    /// How many events were folded into it.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What it is to do.
    #[must_use]
    pub fn definition(&self) -> &ManualUpdateDefinition {
        &self.definition
    }

    /// When it was started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> &ManualStatus {
        &self.status
    }

    /// Its operation, if that has not ended.
    #[must_use]
    pub fn operation(&self) -> Option<&Operation> {
        match &self.status {
            ManualStatus::Active(operation) => Some(operation),
            _ => None,
        }
    }

    /// Folds one more event, recorded at `at`, into the state.
    ///
    /// # Errors
    /// [`ApplyError`] if the event cannot follow; the state is then to be thrown away.
    pub fn apply(&mut self, event: &ManualUpdateEvent, at: Timestamp) -> Result<(), ApplyError> {
        self.fold(event, at).map_err(|why| ApplyError {
            stream: self.stream(),
            version: self.version + 1,
            event_type: event.event_type(),
            why,
        })?;
        self.version += 1;
        Ok(())
    }

    fn fold(&mut self, event: &ManualUpdateEvent, at: Timestamp) -> Result<(), &'static str> {
        use ManualUpdateEvent as E;
        if matches!(event, E::ManualLateReport(_)) {
            return Ok(());
        }
        let limits = &self.definition.limits;
        let ManualStatus::Active(operation) = &mut self.status else {
            return Err("the manual update has ended");
        };
        match event {
            E::ManualStarted(_) => return Err("the manual update exists already"),
            E::ManualLateReport(_) => {}
            E::ManualRequestAccepted(_) => {
                operation.delivery = Delivery::Accepted;
                operation.accepted = true;
            }
            E::ManualRequestFailed(_) => operation.delivery = Delivery::Failed,
            E::ManualRequestResent(_) => {
                operation.sent_again(at, limits);
                operation.resends = operation.resends.saturating_add(1);
            }
            E::ManualResendKeptBack(_) => operation.keep_back(),
            E::ManualRequestReissued(_) => {
                operation.sent_again(at, limits);
                operation.reissued = true;
            }
            E::ManualReported(e) => {
                if e.phase.is_final() || e.phase == Phase::Pending {
                    return Err("only a phase between pending and final is reported");
                }
                let report = RecordedReport {
                    phase: e.phase,
                    progress: e.progress,
                    observed_at: e.observed_at,
                    at,
                };
                operation.reported(&report, limits.stall_timeout);
            }
            E::ManualCancelRequested(_) => {
                operation.cancellation = Cancellation::Wanted;
                // The Update is never sent again, so what was kept back times out.
                if std::mem::take(&mut operation.kept_back) {
                    operation.deadline = Some(at + limits.request_timeout);
                }
            }
            E::ManualCancelSent(_) => operation.cancellation = Cancellation::Sent,
            E::ManualSucceeded(_) => self.status = ManualStatus::Successful,
            E::ManualFailed(e) => self.status = ManualStatus::Failed(e.reason.clone()),
        }
        Ok(())
    }
}
