//! The operations of a campaign's targets, event by event (D7, D8, D10 to D12, D14, E3).

use std::time::Duration;

use hedgerow_core::event::{CampaignEvent, Confirmation, OperationFailure};
use hedgerow_core::{OperationId, Outcome, StreamId, TargetStatus, Timestamp};
use uuid::Uuid;

use super::{Model, OPERATIONS};
use crate::simulate::check::facts::{Facts, Timeout, Witness};
use crate::simulate::check::gate::shows;
use crate::simulate::check::operation::{Op, of};
use crate::simulate::invariant::{Checked, Invariant, ensure};

/// How long after its end what a campaign's devices show is looked at (D22).
const WATCHED: Duration = Duration::from_secs(24 * 3_600 + 300);

impl Model {
    pub(super) fn start_operation(
        &mut self,
        place: usize,
        id: OperationId,
        own_url: Option<&str>,
        at: Timestamp,
        facts: &mut Facts,
    ) -> Checked {
        let target = &self.targets[place];
        let device = target.device;
        let mut name = Vec::with_capacity(34);
        name.extend_from_slice(self.id.as_uuid().as_bytes());
        name.extend_from_slice(device.as_bytes());
        name.extend_from_slice(&target.series.to_be_bytes());
        let derived = Uuid::new_v5(&OPERATIONS, &name);
        ensure(derived == id.as_uuid(), Invariant::DerivedId, || {
            format!("operation {id} of series {} should be {derived}", target.series)
        })?;
        facts.take_device(device, id)?;
        let limits = &self.definition.rollout.limits().operation;
        if !facts.operations.contains_key(&id) {
            facts.started_with(id, own_url)?;
        }
        let url = own_url.unwrap_or(self.definition.base_image.url.as_str());
        let image = &self.image;
        let witness = facts.witness;
        let operation = facts.operations.entry(id).or_insert_with(|| {
            let mut operation = Op::new(device, StreamId::Campaign(self.id), url);
            operation.image = Some(image.clone());
            operation.forgives_outages = true;
            match witness {
                Witness::World => operation,
                Witness::Log => operation.unwitnessed(),
            }
        });
        ensure(!operation.has_ended(), Invariant::ForwardOnly, || {
            format!("operation {id} starts again after its end")
        })?;
        operation.events += 1;
        operation.started(url, at, limits).map_err(of(id))?;
        self.targets[place].operation = Some(id);
        self.attempted(place, None);
        self.set(place, TargetStatus::InProgress);
        self.within_bound()
    }

    fn within_bound(&self) -> Checked {
        let in_progress = self.count(TargetStatus::InProgress);
        let most = self.limits().max_pending_operations.get();
        ensure(in_progress <= most, Invariant::InFlightBound, || {
            format!("{in_progress} targets are in progress, at most {most} may be")
        })
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each event, in one place")]
    pub(super) fn take_operation(
        &mut self,
        event: &CampaignEvent,
        at: Timestamp,
        facts: &mut Facts,
    ) -> Checked {
        use CampaignEvent as E;
        let Some(device) = event.device() else { return Ok(()) };
        let place = self.target(device)?;
        if let E::LateReportReceived(e) = event {
            let own = self.targets[place].operation != Some(e.operation);
            ensure(own, Invariant::ForwardOnly, || {
                "a report of an active operation is recorded as late".to_owned()
            })?;
            return facts.late(e.operation, e.status, at).map_err(of(e.operation));
        }
        if let E::ContradictionSeen(e) = event {
            return self.contradicted(place, &e.version, at, facts);
        }
        let id = self.active(place)?;
        let known = facts.operation(id)?;
        let (reported, kept_back) = (known.is_reported(), known.is_kept_back());
        let timeout = match event {
            E::RequestResent(_) if reported || kept_back => None,
            E::RequestResent(_) | E::ResendMissed(_) | E::ResendKeptBack(_) => {
                Some(Timeout::Request)
            }
            E::OperationFailed(_) if kept_back => None,
            E::OperationFailed(e) => Timeout::of(&e.reason),
            _ => None,
        };
        if let Some(timeout) = timeout {
            facts.in_time(id, timeout, at)?;
        }
        if timeout == Some(Timeout::Stall) {
            facts.judged_in_time(id, self.reboot_timeouts.1, at)?;
            if !self.limits_changed {
                facts.asked_in_time(id, &self.limits().operation, at)?;
            }
        }
        let shown = facts.shown(device, |shown| self.explains(event, shown.as_deref()));
        let finished = self.outcome.is_some();
        match event {
            E::RequestResent(_) if !finished => facts.reached(device, false, at).map_err(of(id))?,
            E::ResendKeptBack(_) => facts.reached(device, true, at).map_err(of(id))?,
            _ => {}
        }
        let backs = facts.backs.get(&device).cloned().unwrap_or_default();
        let rollback_from = facts.rollback_from(device, self.reboot_timeouts.0);
        let limits = &self.definition.rollout.limits().operation;
        let (disturbed_at, alone) = (facts.calm_since, facts.is_alone());
        let operation = facts.operation(id)?;
        operation.events += 1;
        match event {
            E::RequestAccepted(_) => operation.was_accepted().map_err(of(id))?,
            E::RequestResent(_) => {
                let shows_image =
                    shown.as_ref().is_ok_and(|shown| shows(shown.as_deref(), &self.image));
                ensure(!shows_image, Invariant::Reconciliation, || {
                    format!("operation {id} is sent again to a device that shows its image")
                })?;
                if reported {
                    let edited = self.limits_changed;
                    operation.asked_again(&backs, at, limits, edited).map_err(of(id))?;
                } else {
                    operation.resent(at, limits).map_err(of(id))?;
                }
                let idle = self.targets[place].status == TargetStatus::Idle;
                ensure(idle == kept_back, Invariant::Resends, || {
                    format!("operation {id} is sent again, its target idle: {idle}")
                })?;
                if idle {
                    self.may_start()?;
                    self.attempted(place, None);
                    self.set(place, TargetStatus::InProgress);
                    self.within_bound()?;
                }
            }
            E::ResendKeptBack(_) => {
                operation.keep_back(at, limits).map_err(of(id))?;
                ensure(!finished, Invariant::Resends, || {
                    "a resend is kept back in a finished campaign".to_owned()
                })?;
                self.attempted(place, None);
                self.set(place, TargetStatus::Idle);
            }
            E::ResendMissed(_) => {
                operation.missed(at, limits).map_err(of(id))?;
                // An older version knew no better.
                let believed = facts.witness == Witness::Log;
                ensure(finished || believed, Invariant::Resends, || {
                    "a resend is missed that could have been kept back".to_owned()
                })?;
            }
            E::RequestReissued(_) => {
                operation.reissued(at, limits, disturbed_at).map_err(of(id))?;
                facts.looked_before_reissue(device).map_err(of(id))?;
            }
            E::OperationReported(e) => {
                operation
                    .reported(e.phase, e.progress, e.observed_at, at, limits)
                    .map_err(of(id))?;
                self.targets[place].not_before = None;
                self.targets[place].deferrals = 0;
            }
            E::OperationDeferred(e) => {
                operation.deferred(alone).map_err(of(id))?;
                self.give_back(place, at, e.not_before, Some(id), facts)?;
            }
            E::OperationReadmitted(_) => {
                self.may_start()?;
                let idle = self.targets[place].status == TargetStatus::Idle;
                ensure(idle && operation.is_reported(), Invariant::ForwardOnly, || {
                    "a target is readmitted whose device is not at work".to_owned()
                })?;
                operation.readmitted(at);
                self.set(place, TargetStatus::InProgress);
                self.within_bound()?;
            }
            E::OperationRefused(e) => {
                operation.refused_by_device().map_err(of(id))?;
                operation.turned_away = true;
                facts.end(id, at)?;
                let series = self.targets[place].series + 1;
                let most = limits.request_retries;
                ensure(series <= most, Invariant::OneOperation, || {
                    format!("operation series {series} of at most {most}")
                })?;
                self.targets[place].series = series;
                self.targets[place].operation = None;
                self.give_back(place, at, e.not_before, None, facts)?;
            }
            E::OperationSucceeded(e) => {
                match e.confirmation {
                    Confirmation::Reported => operation.succeeded_by_report(),
                    Confirmation::BaseImage => {
                        operation.succeeded_by_image(shown.ok().flatten().as_deref())
                    }
                }
                .map_err(of(id))?;
                facts.end(id, at)?;
                self.become_final(place, TargetStatus::Successful);
            }
            E::OperationFailed(e) => {
                let busy = e.reason == OperationFailure::UpdateAlreadyInProgress;
                let series = self.targets[place].series;
                let most = limits.request_retries;
                ensure(!busy || series >= most, Invariant::OneOperation, || {
                    format!("given up after {series} operations that were turned away of {most}")
                })?;
                operation.failed(&e.reason, at, limits, &shown, rollback_from).map_err(of(id))?;
                facts.end(id, at)?;
                self.become_final(place, TargetStatus::Failed);
            }
            E::CancelSent(_) => operation.cancel_sent().map_err(of(id))?,
            _ => {}
        }
        Ok(())
    }

    /// Whether what a device shows is what this event can follow from (D12).
    fn explains(&self, event: &CampaignEvent, shown: Option<&str>) -> bool {
        use CampaignEvent as E;
        match event {
            E::OperationSucceeded(_) => shows(shown, &self.image),
            E::OperationFailed(e) => match &e.reason {
                OperationFailure::SystemRollback { version } => shown == version.as_deref(),
                _ => true,
            },
            _ => !shows(shown, &self.image),
        }
    }

    /// Whether a version is that of the campaign's image.
    pub(in crate::simulate::check) fn is_image(&self, shown: Option<&str>) -> bool {
        shows(shown, &self.image)
    }

    /// Whether a version contradicts how a target ended, of which nothing is recorded yet (D22).
    pub(in crate::simulate::check) fn would_contradict(
        &self,
        place: usize,
        shown: Option<&str>,
    ) -> bool {
        let target = &self.targets[place];
        let contradicts = match target.status {
            TargetStatus::Successful => !shows(shown, &self.image),
            TargetStatus::Failed => shows(shown, &self.image),
            _ => false,
        };
        shown.is_some() && contradicts && !target.contradicted
    }

    /// What a device shows contradicts how its target ended (D22).
    fn contradicted(
        &mut self,
        place: usize,
        version: &str,
        at: Timestamp,
        facts: &Facts,
    ) -> Checked {
        let target = &mut self.targets[place];
        let first = !std::mem::replace(&mut target.contradicted, true);
        ensure(first, Invariant::Contradiction, || "a second contradiction".to_owned())?;
        let contradicts = match target.status {
            TargetStatus::Successful => !shows(Some(version), &self.image),
            TargetStatus::Failed => shows(Some(version), &self.image),
            _ => false,
        };
        ensure(contradicts, Invariant::Contradiction, || {
            format!("{version:?} contradicts nothing of one that is {}", target.status.name())
        })?;
        let late = self.finished_at.filter(|ended| at.since(*ended) > WATCHED);
        ensure(late.is_none(), Invariant::Contradiction, || {
            format!("a contradiction is recorded at {at}, the campaign ended at {late:?}")
        })?;
        let lately = facts.lately.get(&target.device);
        let cut = |text: &String| text.chars().take(256).eq(version.chars());
        let seen = facts.witness == Witness::Log || lately.is_some_and(|all| all.iter().any(cut));
        ensure(seen, Invariant::Contradiction, || {
            format!("{version:?} is recorded, shown lately: {lately:?}")
        })
    }

    /// An attempt came to nothing: the target is idle again, and ends if the campaign has ended.
    fn give_back(
        &mut self,
        place: usize,
        at: Timestamp,
        not_before: Timestamp,
        kept: Option<OperationId>,
        facts: &mut Facts,
    ) -> Checked {
        if self.outcome.is_some()
            && let Some(id) = kept
        {
            facts.end(id, at)?;
            self.targets[place].operation = None;
        }
        match self.outcome {
            Some(Outcome::Cancelled | Outcome::Superseded) => {
                self.become_final(place, TargetStatus::Cancelled);
            }
            Some(_) => self.set(place, TargetStatus::Idle),
            None => {
                self.set(place, TargetStatus::Idle);
                if kept.is_some() {
                    self.deferred(place, at, not_before)?;
                } else {
                    // An older version waited for less long.
                    let believed = facts.witness == Witness::Log;
                    self.refused(place, at, not_before, believed)?;
                }
            }
        }
        Ok(())
    }
}
