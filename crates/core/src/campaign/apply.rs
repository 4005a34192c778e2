//! The fold: what each event makes of the state (E1).
//!
//! It never fails on an event that `decide` produced, and never panics on a log that it reads: an
//! event that cannot follow on the state is a typed error with its place.

use super::{Campaign, CampaignStatus, Settlement, TargetStatus, targets::Targets};
use crate::event::{CampaignCreated, CampaignEvent, Confirmation};
use crate::operation::RecordedReport;
use crate::{
    CampaignId, Cancellation, Delivery, DeviceId, Operation, StreamId, TenantId, Timestamp,
};

/// An event that cannot follow on the events before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "event {version} of {stream}, a {event_type}, cannot follow on the events before it: {why}; restore the store from a backup, other streams are not touched"
)]
pub struct ApplyError {
    /// The stream.
    pub stream: StreamId,
    /// The event's place in it.
    pub version: u64,
    /// Its type.
    pub event_type: &'static str,
    /// What is impossible about it.
    pub why: &'static str,
}

type Impossible = &'static str;

impl Campaign {
    /// The state after the first event of a campaign's stream, recorded at `at`.
    ///
    /// # Errors
    /// [`ApplyError`] if it is not the event that begins a campaign.
    pub fn begin(
        tenant: TenantId,
        id: CampaignId,
        event: &CampaignEvent,
        at: Timestamp,
    ) -> Result<Self, ApplyError> {
        let CampaignEvent::CampaignCreated(CampaignCreated { definition, scheduled_at }) = event
        else {
            return Err(ApplyError {
                stream: StreamId::Campaign(id),
                version: 1,
                event_type: event.event_type(),
                why: "a campaign begins with campaign_created",
            });
        };
        Ok(Self {
            tenant,
            id,
            version: 1,
            definition: (**definition).clone(),
            scheduled_at: *scheduled_at,
            status: initial_status(*scheduled_at),
            outcome: None,
            created_at: at,
            started_at: None,
            finished_at: None,
            targets: Targets::default(),
            operations: std::collections::BTreeMap::new(),
            not_before: std::collections::BTreeMap::new(),
        })
    }

    /// Folds one more event, recorded at `at`, into the state.
    ///
    /// # Errors
    /// [`ApplyError`] if the event cannot follow; the state is then to be thrown away.
    pub fn apply(&mut self, event: &CampaignEvent, at: Timestamp) -> Result<(), ApplyError> {
        self.fold(event, at).map_err(|why| ApplyError {
            stream: self.stream(),
            version: self.version + 1,
            event_type: event.event_type(),
            why,
        })?;
        self.version += 1;
        Ok(())
    }

    fn fold(&mut self, event: &CampaignEvent, at: Timestamp) -> Result<(), Impossible> {
        use CampaignEvent as E;
        match event {
            E::CampaignCreated(_) => Err("the campaign exists already"),
            E::CampaignEdited(edited) => {
                if self.targets.len() > 0 {
                    return Err("its snapshot has begun");
                }
                self.move_to(CampaignStatus::Idle)
                    .or_else(|_| self.move_to(CampaignStatus::Scheduled))?;
                self.definition = (*edited.definition).clone();
                self.scheduled_at = edited.scheduled_at;
                self.status = initial_status(edited.scheduled_at);
                Ok(())
            }
            E::CampaignDeleted(_) => self.move_to(CampaignStatus::Deleted),
            E::SnapshotExtended(chunk) => self.extend_snapshot(&chunk.devices),
            E::CampaignStarted(started) => {
                if self.status.is_running() {
                    return Err("the campaign has started already");
                }
                if started.targets != self.targets.len() {
                    return Err("the snapshot has another number of targets");
                }
                self.move_to(CampaignStatus::InProgress)?;
                self.started_at = Some(at);
                Ok(())
            }
            E::CampaignPausing(_) => self.move_to(CampaignStatus::Pausing),
            E::CampaignPaused(_) => self.move_to(CampaignStatus::Paused),
            E::CampaignResumed(_) => {
                if !self.status.is_running() {
                    return Err("the campaign has not started");
                }
                self.move_to(CampaignStatus::InProgress)
            }
            E::LimitsChanged(changed) => {
                self.definition.rollout.push_mut().limits = changed.limits.clone();
                Ok(())
            }
            E::CampaignFinished(finished) => {
                self.move_to(CampaignStatus::Finished)?;
                self.outcome = Some(finished.outcome);
                self.finished_at = Some(at);
                if finished.outcome.cancels_idle_targets() {
                    self.cancel_idle_targets();
                }
                if finished.stop_operations {
                    for operation in self.operations.values_mut() {
                        operation.cancellation = Cancellation::Wanted;
                    }
                }
                Ok(())
            }
            E::TargetUpToDate(e) => {
                let target = self.target_in(e.device, TargetStatus::Idle)?;
                self.settle(target, Settlement::UpToDate);
                Ok(())
            }
            E::TargetFailed(e) => {
                let target = self.target_in(e.device, TargetStatus::Idle)?;
                self.settle(target, Settlement::Failed(e.reason.reason()));
                Ok(())
            }
            E::AttemptDeferred(e) => {
                let target = self.target_in(e.device, TargetStatus::Idle)?;
                self.defer(target, e.not_before);
                Ok(())
            }
            _ => self.fold_operation(event, at),
        }
    }

    fn fold_operation(&mut self, event: &CampaignEvent, at: Timestamp) -> Result<(), Impossible> {
        use CampaignEvent as E;
        match event {
            E::OperationStarted(e) => self.start_operation(e, at),
            E::RequestAccepted(e) => {
                let (_, operation) = self.operation(e.device)?;
                operation.delivery = Delivery::Accepted;
                operation.accepted = true;
                Ok(())
            }
            E::OperationDeferred(e) => {
                let target = self.target_in(e.device, TargetStatus::InProgress)?;
                let operation = self.operation(e.device)?.1;
                operation.delivery = Delivery::Failed;
                operation.deadline = None;
                if self.outcome.is_some_and(super::Outcome::cancels_idle_targets) {
                    self.settle(target, Settlement::Cancelled);
                } else {
                    self.targets.reopen(target, TargetStatus::Idle);
                    self.defer(target, e.not_before);
                }
                Ok(())
            }
            E::RequestResent(e) => {
                self.resend(e.device, at)?;
                Ok(())
            }
            E::ResendMissed(e) => {
                // The call has still to leave, so it stays unanswered; only the count moves on.
                let sends = self.operation(e.device)?.1.sends;
                self.resend(e.device, at)?.sends = sends;
                Ok(())
            }
            E::RequestReissued(e) => {
                let limits = self.limits().operation.clone();
                let (_, operation) = self.operation(e.device)?;
                operation.sent_again(at, &limits);
                operation.reissued = true;
                Ok(())
            }
            E::ResendFailed(e) => {
                self.operation(e.device)?.1.delivery = Delivery::Failed;
                Ok(())
            }
            E::OperationReported(e) => {
                if e.phase.is_final() || e.phase == crate::Phase::Pending {
                    return Err("only a phase between pending and final is reported");
                }
                let stall = self.limits().operation.stall_timeout;
                let (target, operation) = self.operation(e.device)?;
                operation.reported(
                    &RecordedReport {
                        phase: e.phase,
                        progress: e.progress,
                        observed_at: e.observed_at,
                        at,
                    },
                    stall,
                );
                self.not_before.remove(&target);
                self.targets.forget_deferrals(target);
                Ok(())
            }
            E::OperationReadmitted(e) => {
                let target = self.target_in(e.device, TargetStatus::Idle)?;
                self.operation(e.device)?;
                self.targets.reopen(target, TargetStatus::InProgress);
                Ok(())
            }
            E::OperationRefused(e) => {
                let (target, _) = self.operation(e.device)?;
                self.operations.remove(&target);
                self.targets.next_series(target);
                if self.outcome.is_some_and(super::Outcome::cancels_idle_targets) {
                    self.settle(target, Settlement::Cancelled);
                } else {
                    self.targets.reopen(target, TargetStatus::Idle);
                    self.defer(target, e.not_before);
                }
                Ok(())
            }
            E::OperationSucceeded(e) => {
                let (target, _) = self.operation(e.device)?;
                let settlement = match e.confirmation {
                    Confirmation::Reported => Settlement::Reported,
                    Confirmation::BaseImage => Settlement::Confirmed,
                };
                self.settle(target, settlement);
                Ok(())
            }
            E::OperationFailed(e) => {
                let (target, _) = self.operation(e.device)?;
                self.settle(target, Settlement::Failed(e.reason.reason()));
                Ok(())
            }
            E::CancelSent(e) => {
                self.operation(e.device)?.1.cancellation = Cancellation::Sent;
                Ok(())
            }
            E::LateReportReceived(e) => self.known(e.device).map(|_| ()),
            _ => Err("it is no event of an operation"),
        }
    }

    fn move_to(&mut self, status: CampaignStatus) -> Result<(), Impossible> {
        if !self.status.may_become(status) {
            return Err("the campaign's status does not allow it");
        }
        self.status = status;
        Ok(())
    }

    fn extend_snapshot(&mut self, devices: &[DeviceId]) -> Result<(), Impossible> {
        if !matches!(self.status, CampaignStatus::Idle | CampaignStatus::Scheduled) {
            return Err("the snapshot was complete");
        }
        self.targets.reserve(devices.len());
        for device in devices {
            if !self.targets.add(*device) {
                return Err("a device is twice in the snapshot");
            }
        }
        Ok(())
    }

    fn start_operation(
        &mut self,
        event: &crate::event::OperationStarted,
        at: Timestamp,
    ) -> Result<(), Impossible> {
        let target = self.target_in(event.device, TargetStatus::Idle)?;
        let limits = &self.definition.rollout.push().limits.operation;
        match self.operations.get_mut(&target) {
            Some(operation) if operation.id == event.operation => {
                operation.sent_again(at, limits);
            }
            Some(_) => return Err("the device has another operation that has not ended"),
            None => {
                let operation = Operation::started(event.operation, at, limits);
                self.operations.insert(target, operation);
                self.targets.set_retries(target, 0);
            }
        }
        self.targets.attempted(target);
        self.not_before.remove(&target);
        self.targets.reopen(target, TargetStatus::InProgress);
        Ok(())
    }

    fn resend(&mut self, device: DeviceId, at: Timestamp) -> Result<&mut Operation, Impossible> {
        let limits = self.limits().operation.clone();
        let (target, operation) = self.operation(device)?;
        operation.sent_again(at, &limits);
        operation.resends = operation.resends.saturating_add(1);
        let resends = operation.resends;
        self.targets.set_retries(target, resends);
        Ok(self.operation(device)?.1)
    }

    fn defer(&mut self, target: u32, not_before: Timestamp) {
        self.targets.attempted(target);
        self.targets.count_deferral(target);
        self.not_before.insert(target, not_before);
    }

    fn settle(&mut self, target: u32, settlement: Settlement) {
        self.operations.remove(&target);
        self.not_before.remove(&target);
        self.targets.settle(target, settlement);
    }

    fn cancel_idle_targets(&mut self) {
        for target in 0..self.targets.len() {
            if self.targets.status(target) == TargetStatus::Idle {
                self.settle(target, Settlement::Cancelled);
            }
        }
    }

    fn known(&self, device: DeviceId) -> Result<u32, Impossible> {
        self.targets.find(device).ok_or("the device is not in the snapshot")
    }

    fn target_in(&self, device: DeviceId, status: TargetStatus) -> Result<u32, Impossible> {
        let target = self.known(device)?;
        if self.targets.status(target) == status {
            Ok(target)
        } else {
            Err("the target's status does not allow it")
        }
    }

    fn operation(&mut self, device: DeviceId) -> Result<(u32, &mut Operation), Impossible> {
        let target = self.known(device)?;
        let operation =
            self.operations.get_mut(&target).ok_or("the target has no active operation")?;
        Ok((target, operation))
    }
}

fn initial_status(scheduled_at: Option<Timestamp>) -> CampaignStatus {
    if scheduled_at.is_some() { CampaignStatus::Scheduled } else { CampaignStatus::Idle }
}
