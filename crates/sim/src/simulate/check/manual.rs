//! A manual update, as naive bookkeeping sees it (D20).

use hedgerow_core::event::{Confirmation, ManualUpdateEvent, OperationFailure};
use hedgerow_core::{ManualUpdate, ManualUpdateDefinition, OperationId, Timestamp};

use uuid::Uuid;

use super::facts::{Facts, Timeout, Witness};
use super::gate::shows;
use super::operation::{Op, of};
use crate::simulate::invariant::{Checked, Invariant, ensure};

/// The namespace of the operations of manual updates, as the documentation gives it (E3).
const OPERATIONS: Uuid = Uuid::from_u128(0x0b3d_3a5c_7c52_58f4_8d0e_4b0f_9a6e_77c3);

pub(super) struct Manual {
    pub(super) id: OperationId,
    pub(super) definition: ManualUpdateDefinition,
    pub(super) ended: bool,
    pub(super) version: u64,
    pub(super) cancels: u32,
    pub(super) fold: ManualUpdate,
}

impl Manual {
    /// The first event, recorded at `at`.
    pub(super) fn begin(
        fold: ManualUpdate,
        at: Timestamp,
        facts: &mut Facts,
    ) -> Result<Self, (Invariant, String)> {
        let id = fold.id();
        let definition = fold.definition().clone();
        let name = format!("{}/{}", fold.tenant(), definition.request_id);
        let derived = Uuid::new_v5(&OPERATIONS, name.as_bytes());
        ensure(derived == id.as_uuid(), Invariant::DerivedId, || {
            format!("operation {id} of request {name} should be {derived}")
        })?;
        facts.take_device(definition.device, id)?;
        let mut operation = Op::new(definition.device, fold.stream(), definition.url.as_str());
        let expected = definition.expected_version.as_ref().map(ToString::to_string);
        let before = definition.version_before.as_deref();
        // What the device shows tells nothing if it showed the same before, or that is not known.
        operation.image = expected.filter(|image| before.is_some() && !shows(before, image));
        if facts.witness == Witness::Log {
            operation = operation.unwitnessed();
        }
        operation.events += 1;
        operation.started(definition.url.as_str(), at, &definition.limits).map_err(of(id))?;
        facts.operations.insert(id, operation);
        Ok(Self { id, definition, ended: false, version: 1, cancels: 0, fold })
    }

    pub(super) fn take(
        &mut self,
        event: &ManualUpdateEvent,
        at: Timestamp,
        facts: &mut Facts,
    ) -> Checked {
        use ManualUpdateEvent as E;
        self.version += 1;
        let id = self.id;
        if let E::ManualLateReport(e) = event {
            ensure(self.ended, Invariant::ForwardOnly, || {
                "a report of an active operation is recorded as late".to_owned()
            })?;
            return facts.late(id, e.status, at).map_err(of(id));
        }
        ensure(!self.ended, Invariant::ForwardOnly, || {
            format!("{} is recorded after the end", event.event_type())
        })?;
        let kept_back = facts.operation(id)?.is_kept_back();
        let timeout = match event {
            E::ManualRequestResent(_) | E::ManualFailed(_) if kept_back => None,
            E::ManualRequestResent(_) | E::ManualResendKeptBack(_) => Some(Timeout::Request),
            E::ManualFailed(e) => Timeout::of(&e.reason),
            _ => None,
        };
        if let Some(timeout) = timeout {
            facts.in_time(id, timeout, at)?;
        }
        if timeout == Some(Timeout::Stall) {
            facts.judged_in_time(id, self.definition.limits.reboot_timeout, at)?;
        }
        let limits = &self.definition.limits;
        let image = self.definition.expected_version.as_ref().map(ToString::to_string);
        let explains = |shown: &Option<String>| explains(event, shown.as_deref(), image.as_deref());
        let shown = facts.shown(self.definition.device, explains);
        let rollback_from = facts.rollback_from(self.definition.device, limits.reboot_timeout);
        let disturbed_at = facts.calm_since;
        let operation = facts.operation(id)?;
        operation.events += 1;
        match event {
            E::ManualRequestAccepted(_) => operation.was_accepted(),
            E::ManualRequestResent(_) => operation.resent(at, limits),
            E::ManualResendKeptBack(_) => operation.keep_back(at, limits),
            E::ManualRequestReissued(_) => operation
                .reissued(at, limits, disturbed_at)
                .and_then(|()| facts.looked_before_reissue(self.definition.device)),
            E::ManualReported(e) => {
                operation.reported(e.phase, e.progress, e.observed_at, at, limits)
            }
            E::ManualCancelRequested(_) => {
                operation.cancel_is_wanted(at);
                operation.cancel_ends_waiting(at, limits);
                self.cancels += 1;
                Ok(())
            }
            E::ManualCancelSent(_) => operation.cancel_sent(),
            E::ManualSucceeded(e) => {
                let checked = match e.confirmation {
                    Confirmation::Reported => operation.succeeded_by_report(),
                    Confirmation::BaseImage => {
                        operation.succeeded_by_image(shown.ok().flatten().as_deref())
                    }
                };
                self.ended = true;
                checked.and_then(|()| facts.end(id, at))
            }
            E::ManualFailed(e) => {
                let checked = operation.failed(&e.reason, at, limits, &shown, rollback_from);
                self.ended = true;
                checked.and_then(|()| facts.end(id, at))
            }
            _ => Ok(()),
        }
        .map_err(of(id))
    }
}

/// Whether what a device shows is what this event can follow from (D12).
fn explains(event: &ManualUpdateEvent, shown: Option<&str>, image: Option<&str>) -> bool {
    match event {
        ManualUpdateEvent::ManualSucceeded(_) => image.is_some_and(|image| shows(shown, image)),
        ManualUpdateEvent::ManualFailed(e) => match &e.reason {
            OperationFailure::SystemRollback { version } => shown == version.as_deref(),
            _ => true,
        },
        _ => true,
    }
}
