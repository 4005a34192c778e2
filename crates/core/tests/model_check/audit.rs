//! The promises, checked on every decision from its events and effects alone, with as little
//! bookkeeping as each needs. Nothing here looks at how the campaign keeps its own books.

use std::hash::{Hash, Hasher};

use hedgerow_core::event::{CampaignEvent, Confirmation, OperationFailure};
use hedgerow_core::{
    Campaign, ClaimChange, Decision, DeviceId, Effect, OperationId, Outcome, TargetStatus,
    Timestamp,
};

use crate::device::Device;
use crate::network::Report;
use crate::setup::{DEVICES, REQUEST_TIMEOUT, URL, device_number};

/// What is promised. The name of each is that of a property of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Promise {
    Bound,
    Attempts,
    Spacing,
    SameRequest,
    RecordedFirst,
    Outage,
    Final,
    Refused,
    Truth,
    FailureLimit,
    OneOperation,
    Pause,
    Cancel,
    Fold,
}

impl Promise {
    pub(crate) const ALL: [(Self, &str); 14] = [
        (Self::Bound, "D7: never more in progress than allowed"),
        (Self::Attempts, "D8: resent at most request_retries times"),
        (Self::Spacing, "D8: not resent before its time"),
        (Self::SameRequest, "D8: every call of an operation has the same UUID and URL"),
        (Self::RecordedFirst, "E4: every request that leaves was recorded, once"),
        (Self::Outage, "D10: no target fails without a cause"),
        (Self::Final, "D11: what is final stays so"),
        (Self::Refused, "D11: no report of a real operation is refused"),
        (Self::Truth, "D12: successful means updated"),
        (
            Self::FailureLimit,
            "D13: the outcome is what the counts say, and nothing starts after it",
        ),
        (Self::OneOperation, "D14: one operation per device, claimed while it is active"),
        (Self::Pause, "D16: nothing starts after a recorded pause"),
        (Self::Cancel, "D17: nothing starts or is sent again after a recorded cancel"),
        (Self::Fold, "E1: the recorded events give the live state"),
    ];
}

/// What has been recorded of one device's operation.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Account {
    operation: Option<OperationId>,
    claimed: bool,
    resends: u8,
    reissues: u8,
    reported: bool,
    /// A failure of this operation was reported.
    accused: bool,
    /// The device said that it was busy (D14).
    turned_away: bool,
    /// A Cancel of it was recorded.
    cancelled: bool,
    called_at: Option<Timestamp>,
}

impl Account {
    /// The operation has ended; the claim is given back with the same decision.
    fn close(&mut self) {
        *self = Self { claimed: self.claimed, ..Self::default() };
    }
}

/// The books of the audit: part of the model's state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    accounts: [Account; DEVICES],
    paused: bool,
    outcome: Option<Outcome>,
    crashes: u8,
}

type Audited = Result<(), Promise>;

fn ensure(holds: bool, promise: Promise) -> Audited {
    if holds { Ok(()) } else { Err(promise) }
}

impl Audit {
    pub(crate) fn crashed(&mut self) {
        self.crashes += 1;
    }

    /// What a device says of an operation is about to be told to the campaign.
    pub(crate) fn told(&mut self, device: usize, operation: OperationId, report: Report) {
        let account = &mut self.accounts[device];
        if account.operation == Some(operation) {
            account.accused |= report.is_failure();
            account.turned_away |= report == Report::Busy;
        }
    }

    /// Whether any operation was resent, or sent again after a crash; for the model's examples.
    pub(crate) fn has_resent(&self) -> bool {
        self.accounts.iter().any(|account| account.resends > 0)
    }

    pub(crate) fn has_reissued(&self) -> bool {
        self.accounts.iter().any(|account| account.reissues > 0)
    }

    /// Checks one decision, taken on `before` at `now`, that led to `after`.
    pub(crate) fn check(
        &mut self,
        before: &Campaign,
        decision: &Decision,
        after: &Campaign,
        devices: &[Device; DEVICES],
        now: Timestamp,
    ) -> Audited {
        let mut fold = before.clone();
        for event in &decision.events {
            self.event(event, &fold, devices, now)?;
            fold.apply(event, now).map_err(|_| Promise::Fold)?;
            let most = fold.limits().max_pending_operations.get();
            ensure(fold.counts().in_progress <= most, Promise::Bound)?;
        }
        ensure(fold == *after, Promise::Fold)?;
        for (was, mut is) in before.targets().zip(after.targets()) {
            // What contradicts it is no change (D22).
            is.contradiction.clone_from(&was.contradiction);
            ensure(!was.status.is_final() || was == is, Promise::Final)?;
        }
        ensure(before.outcome().is_none() || before.outcome() == after.outcome(), Promise::Final)?;
        self.effects(decision)?;
        self.claims(decision, after)
    }

    fn event(
        &mut self,
        event: &CampaignEvent,
        fold: &Campaign,
        devices: &[Device; DEVICES],
        now: Timestamp,
    ) -> Audited {
        let retries = fold.limits().operation.request_retries;
        match event {
            CampaignEvent::CampaignPausing(_) => self.paused = true,
            CampaignEvent::CampaignResumed(_) => self.paused = false,
            CampaignEvent::CampaignPaused(_) => {
                ensure(self.paused && fold.counts().in_progress == 0, Promise::Pause)?;
            }
            CampaignEvent::CampaignFinished(finished) => {
                ensure(self.outcome.is_none(), Promise::FailureLimit)?;
                self.outcome = Some(finished.outcome);
                outcome(finished.outcome, fold)?;
                if finished.stop_operations {
                    for (device, _) in fold.active_operations() {
                        self.account(device).cancelled = true;
                    }
                }
            }
            CampaignEvent::OperationStarted(started) => {
                self.may_start(fold)?;
                let account = self.account(started.device);
                match account.operation {
                    Some(own) if own != started.operation => return Err(Promise::SameRequest),
                    Some(_) => {}
                    None => account.operation = Some(started.operation),
                }
                account.called_at = Some(now);
            }
            CampaignEvent::OperationReadmitted(_) => self.may_start(fold)?,
            CampaignEvent::RequestResent(e) => self.resend(e.device, now, retries)?,
            CampaignEvent::ResendMissed(e) => self.resend(e.device, now, retries)?,
            CampaignEvent::RequestReissued(e) => {
                let crashes = self.crashes;
                let operation = fold.target(e.device).and_then(|target| target.operation);
                let asked_again = operation.is_some_and(|operation| operation.asked_again);
                let account = self.account(e.device);
                account.reissues += 1;
                account.called_at = Some(now);
                ensure(!account.reported || asked_again, Promise::Attempts)?;
                ensure(!account.cancelled, Promise::Cancel)?;
                // A crash each, or a resend that could not leave as the device was offline.
                let owed = u16::from(crashes) + u16::from(account.resends);
                ensure(u16::from(account.reissues) <= owed, Promise::Attempts)?;
            }
            CampaignEvent::OperationReported(e) => {
                let account = self.account(e.device);
                account.reported = true;
                account.called_at = None;
            }
            CampaignEvent::OperationRefused(e) => self.account(e.device).close(),
            CampaignEvent::OperationSucceeded(e) => {
                let device = device_number(e.device).map(|number| devices[number]);
                let true_now = device.is_some_and(|device| match e.confirmation {
                    Confirmation::BaseImage => device.updated,
                    Confirmation::Reported => device.was_updated,
                });
                ensure(true_now, Promise::Truth)?;
                self.account(e.device).close();
            }
            CampaignEvent::OperationFailed(e) => {
                let device = device_number(e.device).map(|number| devices[number]);
                let account = self.account(e.device);
                let cause = match &e.reason {
                    OperationFailure::RequestTimeout => {
                        !account.reported
                            && (u16::from(account.resends) == retries || account.cancelled)
                    }
                    OperationFailure::Stalled => account.reported,
                    OperationFailure::Reported { .. } => account.accused,
                    OperationFailure::SystemRollback { .. } => {
                        account.reported && device.is_some_and(|device| !device.updated)
                    }
                    OperationFailure::UpdateAlreadyInProgress => account.turned_away,
                    _ => false,
                };
                ensure(cause, Promise::Outage)?;
                account.close();
            }
            CampaignEvent::TargetFailed(_) => return Err(Promise::Outage),
            _ => {}
        }
        Ok(())
    }

    fn may_start(&self, fold: &Campaign) -> Audited {
        ensure(!self.paused, Promise::Pause)?;
        let cancelled = matches!(self.outcome, Some(Outcome::Cancelled));
        ensure(!cancelled, Promise::Cancel)?;
        let counts = fold.counts();
        let exceeded = fold.limits().max_failure_percentage;
        let exceeded = exceeded.is_exceeded_by(counts.failed, counts.total);
        ensure(self.outcome.is_none() && !exceeded, Promise::FailureLimit)
    }

    fn resend(&mut self, device: DeviceId, now: Timestamp, retries: u16) -> Audited {
        let account = self.account(device);
        account.resends += 1;
        ensure(u16::from(account.resends) <= retries, Promise::Attempts)?;
        ensure(!account.cancelled, Promise::Cancel)?;
        if account.reported {
            return Ok(()); // a device that may have forgotten it: when, is a law of its own (D24)
        }
        let called_at = account.called_at.replace(now);
        let waited = called_at.map(|at| now.since(at));
        ensure(waited.is_some_and(|waited| waited >= REQUEST_TIMEOUT), Promise::Spacing)
    }

    fn effects(&mut self, decision: &Decision) -> Audited {
        for device in 0..DEVICES {
            let account = &self.accounts[device];
            let recorded = decision.events.iter().filter(|event| {
                let calls = matches!(
                    event,
                    CampaignEvent::OperationStarted(_)
                        | CampaignEvent::RequestResent(_)
                        | CampaignEvent::RequestReissued(_)
                );
                calls && event.device().and_then(device_number) == Some(device)
            });
            let mut sent = 0;
            for effect in &decision.effects {
                let Effect::SendUpdate { device: of, operation, url, .. } = effect else {
                    continue;
                };
                if device_number(*of) == Some(device) {
                    sent += 1;
                    let same = account.operation == Some(*operation) && url.as_str() == URL;
                    ensure(same, Promise::SameRequest)?;
                }
            }
            ensure(recorded.count() == sent, Promise::RecordedFirst)?;
        }
        Ok(())
    }

    fn claims(&mut self, decision: &Decision, after: &Campaign) -> Audited {
        for claim in &decision.claims {
            match claim {
                ClaimChange::TakeDevice(device, _) => self.account(*device).claimed = true,
                ClaimChange::ReleaseDevice(device) => self.account(*device).claimed = false,
                _ => {}
            }
        }
        for (device, target) in after.targets().enumerate() {
            let account = &self.accounts[device];
            ensure(account.claimed == target.operation.is_some(), Promise::OneOperation)?;
            let known = target.operation.is_none_or(|own| Some(own.id) == account.operation);
            ensure(known, Promise::OneOperation)?;
            let in_progress = target.status == TargetStatus::InProgress;
            ensure(!in_progress || account.claimed, Promise::OneOperation)?;
        }
        Ok(())
    }

    fn account(&mut self, device: DeviceId) -> &mut Account {
        // Every device of the campaign is one of the model's; the first stands in for none.
        &mut self.accounts[device_number(device).unwrap_or(0)]
    }

    pub(crate) fn hash_from(&self, now: Timestamp, hasher: &mut impl Hasher) {
        for account in &self.accounts {
            let Account { operation, claimed, resends, reissues, .. } = account;
            (operation, claimed, resends, reissues).hash(hasher);
            (account.reported, account.accused, account.turned_away, account.cancelled)
                .hash(hasher);
            account.called_at.map(|at| now.since(at).min(REQUEST_TIMEOUT)).hash(hasher);
        }
        (self.paused, self.outcome, self.crashes).hash(hasher);
    }
}

fn outcome(outcome: Outcome, fold: &Campaign) -> Audited {
    let counts = fold.counts();
    let limit = fold.limits().max_failure_percentage;
    let exceeded = limit.is_exceeded_by(counts.failed, counts.total);
    let follows = match outcome {
        Outcome::Success => !exceeded && counts.idle == 0 && counts.in_progress == 0,
        Outcome::Failure => exceeded,
        _ => true,
    };
    ensure(follows, Promise::FailureLimit)
}
