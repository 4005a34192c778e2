//! Performing effects: each calls a port and comes back to its task as an input.

use std::sync::Arc;

use futures::channel::mpsc;
use futures::future::{BoxFuture, Either, select};
use hedgerow_core::{
    BaseImageAnswer, CampaignDefinition, Command, DeviceId, Effect, Input, ReadPurpose,
    RequestAnswer, StreamId, TenantId, TransportError, WhenRunning,
};

use crate::Engine;
use crate::registry::Reserved;
use crate::shared::Shared;
use crate::store::Claim;
use crate::task::Message;

type Inbox = mpsc::UnboundedSender<Message>;

/// Devices of one chunk of a snapshot or of one look-up of presence.
const CHUNK: usize = 10_000;

/// Performs one effect and sends its answer.
pub(crate) async fn perform(
    shared: Arc<Shared>,
    tenant: TenantId,
    stream: StreamId,
    definition: Option<CampaignDefinition>,
    effect: Effect,
    inbox: Inbox,
) {
    let message = match effect {
        Effect::TakeSnapshot { asked } => match definition {
            Some(definition) => {
                take_snapshot(&shared, &tenant, stream, &definition, asked, &inbox).await
            }
            None => Message::answer(Input::SnapshotUnavailable { asked }),
        },
        Effect::ReadBaseImage { device, purpose } => {
            let answer = read_base_image(&shared, &tenant, stream, device, purpose).await;
            Message::answer(Input::BaseImageRead { device, purpose, answer })
        }
        Effect::SendUpdate { device, operation, url } => {
            let call = shared.transport.send_update(&tenant, device, operation, &url);
            let answer = in_time(&shared, call).await.unwrap_or_else(RequestAnswer::Temporary);
            Message::answer(Input::RequestAnswered { device, operation, answer })
        }
        Effect::SendCancel { device, operation, url } => {
            let call = shared.transport.send_cancel(&tenant, device, operation, &url);
            let answer = in_time(&shared, call).await.unwrap_or_else(RequestAnswer::Temporary);
            Message::answer(Input::CancelAnswered { device, operation, answer })
        }
    };
    // The task has ended: after a restart it will be asked again.
    let _ = inbox.unbounded_send(message);
}

/// Waits for a call, but not for ever.
pub(crate) async fn in_time<T>(
    shared: &Shared,
    call: BoxFuture<'_, T>,
) -> Result<T, TransportError> {
    let timeout = shared.settings.call_timeout;
    let sleep = shared.clock.sleep(timeout);
    match select(call, sleep).await {
        Either::Left((answer, _)) => Ok(answer),
        Either::Right(_) => {
            Err(TransportError::new(format!("no answer from the transport within {timeout:?}")))
        }
    }
}

async fn read_base_image(
    shared: &Shared,
    tenant: &TenantId,
    stream: StreamId,
    device: DeviceId,
    purpose: ReadPurpose,
) -> BaseImageAnswer {
    if purpose == ReadPurpose::Gate {
        let reserved = shared.registry().reserve(tenant, device, stream);
        if let Reserved::Busy(_) = reserved {
            return BaseImageAnswer::Busy;
        }
    }
    let call = shared.transport.base_image_version(tenant, device);
    match in_time(shared, call).await {
        Ok(Ok(version)) => BaseImageAnswer::Version(version),
        Ok(Err(error)) | Err(error) => BaseImageAnswer::Failed(error),
    }
}

/// Resolves the channel, makes an older campaign give way (D18), and sends the snapshot in chunks.
async fn take_snapshot(
    shared: &Arc<Shared>,
    tenant: &TenantId,
    stream: StreamId,
    definition: &CampaignDefinition,
    asked: u64,
    inbox: &Inbox,
) -> Message {
    let unavailable = Message::answer(Input::SnapshotUnavailable { asked });
    let system_model = &definition.base_image.system_model;
    let call = shared.directory.targets(tenant, &definition.channel, system_model);
    let targets = match in_time(shared, call).await {
        Ok(Ok(targets)) => targets,
        Ok(Err(error)) | Err(error) => {
            tracing::warn!(%stream, %error, "the targets could not be resolved; trying again");
            return unavailable;
        }
    };
    if !make_way(shared, tenant, stream, definition).await {
        return unavailable;
    }
    for chunk in targets.chunks(CHUNK) {
        let devices = chunk.iter().map(|(device, _)| *device).collect();
        let inputs = vec![Input::SnapshotChunk { asked, devices }];
        // If the task has ended nobody misses it.
        let _ = inbox.unbounded_send(Message::Inputs { inputs, ends_effect: false });
    }
    let mut inputs: Vec<Input> = targets
        .iter()
        .map(|(device, presence)| Input::Presence { device: *device, presence: *presence })
        .collect();
    inputs.push(Input::SnapshotComplete { asked });
    Message::Inputs { inputs, ends_effect: true }
}

/// `false` if an older campaign is in the way and stays there.
async fn make_way(
    shared: &Arc<Shared>,
    tenant: &TenantId,
    stream: StreamId,
    definition: &CampaignDefinition,
) -> bool {
    let claim = Claim::Rollout {
        system_model: definition.base_image.system_model.to_string(),
        channel: definition.channel.name().to_string(),
    }
    .key();
    let holder = shared.rollout_holder(tenant, &claim).await;
    let Some(older) = holder.filter(|holder| *holder != stream) else { return true };
    if definition.when_running == WhenRunning::Refuse {
        return false;
    }
    let engine = Engine { shared: Arc::clone(shared) };
    // It may have finished by itself in this very moment: what counts is that it is out of the way.
    let _ = engine.tell(tenant, older, Input::Command(Command::Supersede)).await;
    let holder = shared.rollout_holder(tenant, &claim).await;
    holder.is_none_or(|holder| holder == stream)
}

/// Looks up the presence of a loaded stream's devices, and tells that it is recovered (E7).
pub(crate) async fn presence(
    shared: Arc<Shared>,
    tenant: TenantId,
    devices: Vec<DeviceId>,
    inbox: Inbox,
) {
    let mut inputs = Vec::with_capacity(devices.len() + 1);
    for chunk in devices.chunks(CHUNK) {
        let presences = look_up(&shared, &tenant, chunk).await;
        inputs.extend(chunk.iter().zip(presences).map(|(device, presence)| match presence {
            Some(presence) => Input::Presence { device: *device, presence },
            None => Input::DeviceRemoved { device: *device },
        }));
    }
    inputs.push(Input::Recovered);
    let _ = inbox.unbounded_send(Message::Inputs { inputs, ends_effect: true });
}

/// Asks until there is an answer: without presence nothing can go on.
async fn look_up(
    shared: &Shared,
    tenant: &TenantId,
    devices: &[DeviceId],
) -> Vec<Option<hedgerow_core::Presence>> {
    loop {
        let call = shared.directory.presence(tenant, devices.to_vec());
        match in_time(shared, call).await {
            Ok(Ok(presences)) if presences.len() == devices.len() => return presences,
            Ok(Ok(presences)) => {
                let (asked, told) = (devices.len(), presences.len());
                tracing::error!(asked, told, "the directory told the presence of too few devices");
            }
            Ok(Err(error)) | Err(error) => {
                tracing::warn!(%error, "the presence of devices could not be looked up");
            }
        }
        let again = shared.now() + std::time::Duration::from_secs(5);
        shared.clock.sleep_until(again).await;
        if shared.registry().shutting_down {
            return Vec::new();
        }
    }
}
