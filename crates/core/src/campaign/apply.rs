//! The folded state of a campaign, and the fold: what each event makes of it (E1).
//!
//! It never fails on an event that `decide` produced, and never panics on a log that it reads: an
//! event that cannot follow on the state is a typed error with its place.

use serde::{Deserialize, Serialize};

use super::target_map::TargetMap;
use super::targets::Targets;
use crate::definition::CampaignDefinition;
use crate::envelope::{ApplyError, StreamId};
use crate::event::{
    CampaignCreated, CampaignEvent, Confirmation, OperationReported, OperationStarted,
};
use crate::fleet::ImageUrl;
use crate::id::{CampaignId, DeviceId, TenantId};
use crate::operation::{Cancellation, Delivery, Operation, RecordedReport};
use crate::rollout::{Change, PolicyFact, PolicyState};
use crate::status::{CampaignStatus, Outcome, Settlement, TargetStatus};
use crate::time::Timestamp;

/// The state of a campaign: the fold of its events, and nothing else (E1).
///
/// It serialises, so that a store can keep it beside the log and opening a long log is fast; after
/// reading one back call [`Campaign::restore`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    pub(super) tenant: TenantId,
    pub(super) id: CampaignId,
    pub(super) version: u64,
    pub(super) definition: CampaignDefinition,
    pub(super) scheduled_at: Option<Timestamp>,
    pub(super) status: CampaignStatus,
    pub(super) outcome: Option<Outcome>,
    pub(super) created_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) targets: Targets,
    /// Operations that have not ended: those of all targets in progress, and of idle ones whose
    /// request failed but may have been delivered (D10).
    pub(super) operations: TargetMap<Operation>,
    /// The URLs of those that have one of their own (D23).
    pub(super) urls: TargetMap<ImageUrl>,
    /// When idle targets may be attempted again (D10, D14).
    pub(super) not_before: TargetMap<Timestamp>,
    /// What devices show that contradicts how their targets ended (D22).
    pub(super) contradictions: TargetMap<String>,
    /// What the rollout's policies go by.
    pub(super) policies: PolicyState,
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
            operations: TargetMap::default(),
            urls: TargetMap::default(),
            not_before: TargetMap::default(),
            contradictions: TargetMap::default(),
            policies: PolicyState::of(&definition.rollout),
        })
    }

    /// Folds one more event, recorded at `at`, into the state.
    ///
    /// # Errors
    /// [`ApplyError`] if the event cannot follow; the state is then to be thrown away.
    pub fn apply(&mut self, event: &CampaignEvent, at: Timestamp) -> Result<(), ApplyError> {
        let target = event.device().and_then(|device| self.targets.find(device));
        self.apply_to(target, event, at)
    }

    /// As [`Campaign::apply`], with the target of the event's device, which was looked up already.
    pub(super) fn apply_to(
        &mut self,
        target: Option<u32>,
        event: &CampaignEvent,
        at: Timestamp,
    ) -> Result<(), ApplyError> {
        self.fold(target, event, at).map_err(|why| ApplyError {
            stream: self.stream(),
            version: self.version + 1,
            event_type: event.event_type(),
            why,
        })?;
        self.version += 1;
        Ok(())
    }

    fn fold(
        &mut self,
        target: Option<u32>,
        event: &CampaignEvent,
        at: Timestamp,
    ) -> Result<(), Impossible> {
        match target {
            Some(target) => self.fold_target(target, event, at),
            None => self.fold_campaign(event, at),
        }
    }

    /// What is about the campaign, or about all of its targets.
    fn fold_campaign(&mut self, event: &CampaignEvent, at: Timestamp) -> Result<(), Impossible> {
        use CampaignEvent as E;
        match event {
            E::CampaignCreated(_) => Err("the campaign exists already"),
            E::CampaignEdited(edited) => {
                if self.targets.len() > 0 {
                    return Err("its snapshot has begun");
                }
                if self.status != CampaignStatus::Scheduled {
                    return Err("only a scheduled campaign can be changed");
                }
                self.definition = (*edited.definition).clone();
                self.policies = PolicyState::of(&self.definition.rollout);
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
                self.definition.rollout.limits_mut().clone_from(&changed.limits);
                Ok(())
            }
            E::CampaignFinished(finished) => {
                self.move_to(CampaignStatus::Finished)?;
                self.outcome = Some(finished.outcome);
                self.finished_at = Some(at);
                self.end_idle_targets(finished.outcome);
                if finished.stop_operations {
                    for operation in self.operations.values_mut() {
                        operation.cancellation = Cancellation::Wanted;
                    }
                }
                Ok(())
            }
            E::PolicyFactRecorded(e) if e.device.is_none() => {
                self.fold_fact(None, &e.fact)?;
                self.give_up_idle_targets();
                Ok(())
            }
            _ => Err("the device is not in the snapshot"),
        }
    }

    fn fold_fact(&mut self, target: Option<u32>, fact: &PolicyFact) -> Result<(), Impossible> {
        if !self.status.is_running() {
            return Err("the campaign does not run");
        }
        self.policies.fold(target, fact)
    }

    fn fold_target(
        &mut self,
        target: u32,
        event: &CampaignEvent,
        at: Timestamp,
    ) -> Result<(), Impossible> {
        use CampaignEvent as E;
        match event {
            E::PolicyFactRecorded(e) => self.fold_fact(Some(target), &e.fact)?,
            E::TargetUpToDate(_) => {
                self.require(target, TargetStatus::Idle)?;
                self.settle(target, Settlement::UpToDate);
            }
            E::TargetFailed(e) => {
                self.require(target, TargetStatus::Idle)?;
                self.settle(target, Settlement::Failed(e.reason.reason()));
            }
            E::AttemptDeferred(e) => {
                self.require(target, TargetStatus::Idle)?;
                self.defer(target, e.not_before);
            }
            E::OperationStarted(e) => self.start_operation(target, e, at)?,
            E::RequestAccepted(_) => {
                let operation = self.operation(target)?;
                operation.delivery = Delivery::Accepted;
                operation.accepted = true;
            }
            E::OperationDeferred(e) => {
                self.require(target, TargetStatus::InProgress)?;
                let operation = self.operation(target)?;
                operation.delivery = Delivery::Failed;
                operation.deadline = None;
                self.give_back(target, e.not_before);
            }
            E::RequestResent(_) => {
                let idle = self.targets.status(target) == TargetStatus::Idle;
                if idle && !self.operation(target)?.kept_back {
                    return Err("its resend was not kept back");
                }
                self.resend(target, at)?;
                if idle {
                    self.targets.attempted(target);
                    self.not_before.remove(target);
                    self.targets.reopen(target, TargetStatus::InProgress);
                }
            }
            E::ResendMissed(_) => {
                // Nothing leaves: only the count moves on. Of one that no call is known to have been
                // accepted of, the call has still to leave (E4).
                let before = self.operation(target)?;
                let (sends, accepted, delivery) = (before.sends, before.accepted, before.delivery);
                let operation = self.resend(target, at)?;
                operation.sends = sends;
                if accepted {
                    operation.delivery = delivery;
                }
            }
            E::ResendKeptBack(_) => {
                self.require(target, TargetStatus::InProgress)?;
                self.operation(target)?.keep_back();
                self.targets.attempted(target);
                self.targets.reopen(target, TargetStatus::Idle);
            }
            E::ContradictionSeen(e) => {
                let status = self.targets.status(target);
                if !matches!(status, TargetStatus::Successful | TargetStatus::Failed) {
                    return Err("only a target that succeeded or failed can be contradicted");
                }
                self.contradictions.insert(target, e.version.clone());
            }
            E::RequestReissued(_) => {
                let limits = self.limits().operation.clone();
                let operation = self.operation(target)?;
                operation.sent_again(at, &limits);
                operation.reissued = true;
            }
            E::ResendFailed(_) => self.operation(target)?.delivery = Delivery::Failed,
            E::OperationReported(e) => self.report(target, e, at)?,
            E::OperationReadmitted(_) => {
                self.require(target, TargetStatus::Idle)?;
                self.operation(target)?;
                self.targets.reopen(target, TargetStatus::InProgress);
            }
            E::OperationRefused(e) => {
                self.operation(target)?;
                self.end_operation(target);
                self.targets.next_series(target);
                self.give_back(target, e.not_before);
            }
            E::OperationSucceeded(e) => {
                self.operation(target)?;
                let settlement = match e.confirmation {
                    Confirmation::Reported => Settlement::Reported,
                    Confirmation::BaseImage => Settlement::Confirmed,
                };
                self.settle(target, settlement);
            }
            E::OperationFailed(e) => {
                self.operation(target)?;
                self.settle(target, Settlement::Failed(e.reason.reason()));
            }
            E::CancelSent(_) => self.operation(target)?.cancellation = Cancellation::Sent,
            E::LateReportReceived(_) => {}
            _ => return Err("it is no event of a target"),
        }
        Ok(())
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
            self.policies.changed(self.targets.len(), Change::Joined);
            if !self.targets.add(*device) {
                return Err("a device is twice in the snapshot");
            }
        }
        Ok(())
    }

    fn start_operation(
        &mut self,
        target: u32,
        event: &OperationStarted,
        at: Timestamp,
    ) -> Result<(), Impossible> {
        self.require(target, TargetStatus::Idle)?;
        let limits = &self.definition.rollout.limits().operation;
        match self.operations.get_mut(target) {
            Some(operation) if operation.id == event.operation => {
                if self.urls.get(target) != event.url.as_ref() {
                    return Err("the operation has another URL");
                }
                operation.sent_again(at, limits);
            }
            Some(_) => return Err("the device has another operation that has not ended"),
            None => {
                self.operations.insert(target, Operation::started(event.operation, at, limits));
                self.policies.changed(target, Change::Started);
                if let Some(url) = &event.url {
                    self.urls.insert(target, url.clone());
                }
                self.targets.set_retries(target, 0);
            }
        }
        self.targets.attempted(target);
        self.not_before.remove(target);
        self.targets.reopen(target, TargetStatus::InProgress);
        Ok(())
    }

    fn report(
        &mut self,
        target: u32,
        event: &OperationReported,
        at: Timestamp,
    ) -> Result<(), Impossible> {
        if event.phase.is_final() || event.phase == crate::operation::Phase::Pending {
            return Err("only a phase between pending and final is reported");
        }
        let stall = self.limits().operation.stall_timeout;
        let report = RecordedReport {
            phase: event.phase,
            progress: event.progress,
            observed_at: event.observed_at,
            at,
        };
        self.operation(target)?.reported(&report, stall);
        self.not_before.remove(target);
        self.targets.forget_deferrals(target);
        Ok(())
    }

    fn resend(&mut self, target: u32, at: Timestamp) -> Result<&mut Operation, Impossible> {
        let limits = self.limits().operation.clone();
        let operation = self.operation(target)?;
        operation.sent_again(at, &limits);
        operation.resends = operation.resends.saturating_add(1);
        let resends = operation.resends;
        self.targets.set_retries(target, resends);
        self.operation(target)
    }

    /// An attempt came to nothing: the target is idle again, or ends with its campaign. Nothing is
    /// tried again after the outcome, so that its operation has ended too and its device is free.
    fn give_back(&mut self, target: u32, not_before: Timestamp) {
        match self.outcome {
            Some(outcome) if outcome.cancels_idle_targets() => {
                self.settle(target, Settlement::Cancelled);
            }
            Some(_) => {
                self.end_operation(target);
                self.not_before.remove(target);
                self.targets.reopen(target, TargetStatus::Idle);
            }
            None => {
                self.targets.reopen(target, TargetStatus::Idle);
                self.defer(target, not_before);
            }
        }
    }

    fn defer(&mut self, target: u32, not_before: Timestamp) {
        self.targets.attempted(target);
        self.targets.count_deferral(target);
        self.not_before.insert(target, not_before);
    }

    #[inline]
    fn end_operation(&mut self, target: u32) {
        self.operations.remove(target);
        if !self.urls.is_empty() {
            self.urls.remove(target);
        }
    }

    fn settle(&mut self, target: u32, settlement: Settlement) {
        self.end_operation(target);
        self.not_before.remove(target);
        self.targets.settle(target, settlement);
        if !self.policies.follow_targets() {
            return;
        }
        let change = match settlement {
            Settlement::Open => return,
            Settlement::UpToDate => Change::UpToDate,
            Settlement::Reported | Settlement::Confirmed => Change::Successful,
            Settlement::Failed(_) => Change::Failed,
            Settlement::Cancelled | Settlement::GivenUp(_) => Change::Cancelled,
        };
        self.policies.changed(target, change);
    }

    /// The campaign has its outcome: idle targets are cancelled with it, or stay as they are. Either
    /// way an operation that was deferred ends: a device must not stay taken for one that nobody
    /// will send again (D14).
    fn end_idle_targets(&mut self, outcome: Outcome) {
        for target in 0..self.targets.len() {
            if self.targets.status(target) != TargetStatus::Idle {
                continue;
            }
            if outcome.cancels_idle_targets() {
                self.settle(target, Settlement::Cancelled);
            } else {
                self.end_operation(target);
                self.not_before.remove(target);
            }
        }
    }

    /// What a policy has given up is cancelled (P15).
    fn give_up_idle_targets(&mut self) {
        for target in 0..self.targets.len() {
            if self.targets.status(target) == TargetStatus::Idle
                && let Some(reason) = self.policies.has_given_up(target)
            {
                self.settle(target, Settlement::GivenUp(reason));
            }
        }
    }

    fn require(&self, target: u32, status: TargetStatus) -> Result<(), Impossible> {
        if self.targets.status(target) == status {
            Ok(())
        } else {
            Err("the target's status does not allow it")
        }
    }

    fn operation(&mut self, target: u32) -> Result<&mut Operation, Impossible> {
        self.operations.get_mut(target).ok_or("the target has no active operation")
    }
}

fn initial_status(scheduled_at: Option<Timestamp>) -> CampaignStatus {
    if scheduled_at.is_some() { CampaignStatus::Scheduled } else { CampaignStatus::Idle }
}
