//! People: they create, pause, resume, cancel and edit campaigns, and start manual updates.

use futures::FutureExt;
use futures::future::BoxFuture;
use hedgerow_core::{
    CampaignEdit, CampaignId, CampaignStatus, Consent, ConsentAnswer, DeviceId, LimitsEdit,
    OperationId, RequestId, RunningOperations, TenantId,
};
use hedgerow_engine::{Engine, EngineError, ManualUpdateRequest};

use super::cast::{self, CampaignPart, Casting, constant};
use super::check::{Asked, Checker};
use super::fault::FaultKind;

/// Something that a person asks for.
pub(super) struct Request {
    /// The number of the tenant.
    pub(super) tenant: usize,
    pub(super) asked: Asked,
    pub(super) text: String,
    pub(super) ask: Ask,
}

/// The call that asks for it; it can be made again.
pub(super) type Ask =
    Box<dyn Fn(Engine, TenantId) -> BoxFuture<'static, Result<(), EngineError>> + Send>;

/// What a person does for this kind of fault, if there is anything to do it to.
pub(super) fn draw(
    kind: FaultKind,
    tenant: usize,
    casting: &mut Casting<'_>,
    checker: &Checker,
    devices: &[hedgerow_core::DeviceId],
    number: u32,
) -> Option<Request> {
    use CampaignStatus::{InProgress, Paused, Pausing, Scheduled};
    let mut one_of = |wanted: &[CampaignStatus]| {
        let found: Vec<CampaignId> = checker
            .campaigns()
            .filter(|id| checker.status(*id).is_some_and(|status| wanted.contains(&status)))
            .collect();
        let place = casting.random().below(found.len() as u64);
        found.get(usize::try_from(place).unwrap_or(0)).copied()
    };
    match kind {
        FaultKind::OperatorPauses => Some(pause(tenant, one_of(&[InProgress])?)),
        FaultKind::OperatorResumes => Some(resume(tenant, one_of(&[Pausing, Paused])?)),
        FaultKind::OperatorCancels => {
            // Often one whose targets are being looked up.
            let waiting = one_of(&[CampaignStatus::Idle]);
            let any = one_of(&[Scheduled, CampaignStatus::Idle, InProgress, Pausing, Paused])?;
            let id = waiting.unwrap_or(any);
            let scheduled = checker.status(id) == Some(Scheduled);
            if scheduled && casting.random().chance(700) {
                return Some(delete(tenant, id));
            }
            let stop = casting.random().chance(600);
            Some(cancel(
                tenant,
                id,
                if stop { RunningOperations::Stop } else { RunningOperations::Finish },
            ))
        }
        FaultKind::OperatorEdits => {
            let id = one_of(&[Scheduled, InProgress, Pausing, Paused])?;
            Some(edit(tenant, id, checker.status(id) == Some(Scheduled), casting))
        }
        FaultKind::OperatorStartsManual => {
            let place = casting.random().below(devices.len() as u64);
            let device = *devices.get(usize::try_from(place).unwrap_or(0))?;
            Some(start_manual(tenant, device, number, casting))
        }
        FaultKind::OperatorCancelsManual => {
            let active = checker.active_manuals();
            let place = casting.random().below(active.len() as u64);
            Some(cancel_manual(tenant, *active.get(usize::try_from(place).unwrap_or(0))?))
        }
        _ => None,
    }
}

pub(super) fn create(part: CampaignPart) -> Request {
    let tenant = part.tenant;
    let text = format!(
        "operator creates campaign {} of {} in {}{}",
        part.id,
        part.definition.base_image.version,
        part.definition.channel.name(),
        part.scheduled_at.map(|at| format!(" for {at}")).unwrap_or_default()
    );
    let asked = Asked::Create(part.id);
    let ask: Ask = Box::new(move |engine, tenant| {
        let CampaignPart { id, definition, scheduled_at, .. } = part.clone();
        async move {
            match engine.create(&tenant, id, definition, scheduled_at).await {
                // An earlier call that was never answered has created it.
                Err(EngineError::CampaignExists { .. }) => Ok(()),
                other => other,
            }
        }
        .boxed()
    });
    Request { tenant, asked, text, ask }
}

/// The user of a device answers (P15).
pub(super) fn consent(
    tenant: usize,
    id: CampaignId,
    device: DeviceId,
    answer: ConsentAnswer,
) -> Request {
    let ask: Ask = Box::new(move |engine, tenant| {
        let consent = Consent { answer, by: Some("its user".to_owned()) };
        async move { engine.consent(&tenant, id, device, consent).await }.boxed()
    });
    let text = format!("the user of {device} has {answer:?} campaign {id}");
    Request { tenant, asked: Asked::Consent(id, device, answer), text, ask }
}

fn pause(tenant: usize, id: CampaignId) -> Request {
    let ask: Ask =
        Box::new(move |engine, tenant| async move { engine.pause(&tenant, id).await }.boxed());
    Request { tenant, asked: Asked::Pause(id), text: format!("operator pauses campaign {id}"), ask }
}

pub(super) fn resume(tenant: usize, id: CampaignId) -> Request {
    let ask: Ask =
        Box::new(move |engine, tenant| async move { engine.resume(&tenant, id).await }.boxed());
    Request {
        tenant,
        asked: Asked::Resume(id),
        text: format!("operator resumes campaign {id}"),
        ask,
    }
}

fn cancel(tenant: usize, id: CampaignId, running: RunningOperations) -> Request {
    let ask: Ask = Box::new(move |engine, tenant| {
        async move { engine.cancel(&tenant, id, running).await }.boxed()
    });
    let text = format!("operator cancels campaign {id}, what runs is to {running:?}");
    Request { tenant, asked: Asked::Cancel(id, running), text, ask }
}

fn delete(tenant: usize, id: CampaignId) -> Request {
    let ask: Ask =
        Box::new(move |engine, tenant| async move { engine.delete(&tenant, id).await }.boxed());
    Request {
        tenant,
        asked: Asked::Delete(id),
        text: format!("operator deletes campaign {id}"),
        ask,
    }
}

fn edit(tenant: usize, id: CampaignId, scheduled: bool, casting: &mut Casting<'_>) -> Request {
    let limits = casting.limits();
    let part = casting.random().below(3);
    let mut change = LimitsEdit::default();
    if part != 1 {
        change.max_pending_operations = Some(limits.max_pending_operations);
    }
    if part == 0 {
        change.max_failure_percentage = Some(limits.max_failure_percentage);
    }
    if part != 0 {
        change.request_retries = Some(limits.operation.request_retries);
        change.request_timeout = Some(limits.operation.request_timeout);
        change.stall_timeout = Some(limits.operation.stall_timeout);
        change.reboot_timeout = Some(limits.operation.reboot_timeout);
        change.progress_interval = Some(limits.operation.progress_interval);
    }
    let mut edit = CampaignEdit { limits: change, ..CampaignEdit::default() };
    if scheduled {
        edit.name = Some(constant("edited"));
        if casting.random().chance(300) {
            edit.scheduled_at = Some(None);
        }
    }
    let text = format!("operator edits campaign {id}: {:?}", edit.limits);
    let ask: Ask = Box::new(move |engine, tenant| {
        let edit = edit.clone();
        async move { engine.edit(&tenant, id, edit).await }.boxed()
    });
    Request { tenant, asked: Asked::Edit(id), text, ask }
}

fn start_manual(
    tenant: usize,
    device: hedgerow_core::DeviceId,
    number: u32,
    casting: &mut Casting<'_>,
) -> Request {
    let (version, url) = casting.image();
    let expected = casting.random().chance(700);
    let limits = casting.operation_limits();
    let name = format!("manual-{number}");
    let request_id = RequestId::new(name.clone()).unwrap_or_else(|_| unreachable!("a short name"));
    let request = ManualUpdateRequest {
        request_id,
        device,
        url: constant(&url),
        expected_version: expected.then(|| constant(version)),
        limits,
    };
    let id = OperationId::of_manual_update(&cast::tenant(tenant), &name);
    let ask: Ask = Box::new(move |engine, tenant| {
        let request = request.clone();
        async move { engine.start_manual_update(&tenant, request).await.map(drop) }.boxed()
    });
    let text = format!("operator starts manual update {id} of {device} to {version}");
    Request { tenant, asked: Asked::StartManual(id, device), text, ask }
}

fn cancel_manual(tenant: usize, id: OperationId) -> Request {
    let ask: Ask = Box::new(move |engine, tenant| {
        async move { engine.cancel_manual_update(&tenant, id).await }.boxed()
    });
    let text = format!("operator cancels manual update {id}");
    Request { tenant, asked: Asked::CancelManual(id), text, ask }
}
