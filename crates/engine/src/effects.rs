//! Performing effects: each calls a port and comes back to its task as an input.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use hedgerow_core::{
    BaseImage, BaseImageAnswer, CampaignDefinition, Command, DeviceId, Effect, Input, OperationId,
    Question, ReadPurpose, RequestAnswer, StreamId, TenantId, TransportError, WhenRunning,
};

use crate::inbox::{Inbox, Message};
use crate::ports::StartingOperation;
use crate::shared::Shared;
use crate::store::Claim;
use crate::task::LookUp;
use crate::{Engine, Moment, Sighting};

/// Performs one effect and sends its answer. `image`: that of the campaign, of which a URL is asked for
/// an operation of its own.
pub(crate) async fn perform(
    shared: Arc<Shared>,
    tenant: TenantId,
    stream: StreamId,
    effect: Effect,
    image: Option<BaseImage>,
    inbox: Inbox,
) {
    let transport = &shared.transport;
    let input = match effect {
        // The task asks for it with `snapshot`.
        Effect::TakeSnapshot { question } => Input::SnapshotUnavailable { question },
        Effect::ReadBaseImage { device, purpose, question } => {
            let call = in_time(&shared, || transport.base_image_version(&tenant, device)).await;
            let answer = match call.and_then(|answer| answer) {
                Ok(version) => BaseImageAnswer::Version(version),
                Err(error) => BaseImageAnswer::Failed(error),
            };
            Input::BaseImageRead { device, purpose, question, answer }
        }
        Effect::PrepareStart { device, operation, question } => {
            let answer = match prepared(&shared, &tenant, stream, device, operation, image).await {
                Ok(prepared) => prepared,
                Err(error) => BaseImageAnswer::Failed(error),
            };
            Input::BaseImageRead { device, purpose: ReadPurpose::Gate, question, answer }
        }
        Effect::SendUpdate { device, operation, url, question } => {
            let call = || transport.send_update(&tenant, device, operation, &url);
            let answer = in_time(&shared, call).await.unwrap_or_else(RequestAnswer::Temporary);
            Input::RequestAnswered { device, operation, question, answer }
        }
        Effect::SendCancel { device, operation, url, question } => {
            let call = || transport.send_cancel(&tenant, device, operation, &url);
            let answer = in_time(&shared, call).await.unwrap_or_else(RequestAnswer::Temporary);
            Input::CancelAnswered { device, operation, question, answer }
        }
    };
    shared.counters.answered(&input);
    tracing::trace!(%stream, ?input, "answered");
    // If the task has ended nobody misses it: after a restart it will be asked again.
    let _ = inbox.post(Message::answer(input));
}

/// The URL of an operation that is about to start, and only then the version that its device shows, which
/// must be as new as can be (D5, D23).
async fn prepared(
    shared: &Shared,
    tenant: &TenantId,
    stream: StreamId,
    device: DeviceId,
    operation: OperationId,
    image: Option<BaseImage>,
) -> Result<BaseImageAnswer, TransportError> {
    let mut url = None;
    if let (Some(urls), Some(image), StreamId::Campaign(campaign)) = (&shared.urls, image, stream) {
        let starting = StartingOperation { campaign, device, operation, image };
        let call = in_time(shared, || urls.url(tenant, starting)).await;
        url = call.and_then(|answer| answer).map_err(|error| {
            TransportError::new(format!("no URL for operation {operation}: {error}"))
        })?;
    }
    let call = in_time(shared, || shared.transport.base_image_version(tenant, device)).await;
    let version = call.and_then(|answer| answer)?;
    Ok(BaseImageAnswer::Prepared { version, operation, url })
}

/// Makes a call and waits for its answer, but not for ever. An adapter that panics has not answered.
pub(crate) async fn in_time<'a, T>(
    shared: &Shared,
    call: impl FnOnce() -> BoxFuture<'a, T>,
) -> Result<T, TransportError> {
    let timeout = shared.settings.call_timeout;
    let sleep = shared.clock.sleep(timeout);
    let call = AssertUnwindSafe(async move { call().await }).catch_unwind();
    match select(Box::pin(call), sleep).await {
        Either::Left((Ok(answer), _)) => Ok(answer),
        Either::Left((Err(panic), _)) => {
            let detail = panic_message(&*panic);
            shared.counters.panicked();
            tracing::error!(%detail, "an adapter panicked");
            Err(TransportError::new(format!("the adapter panicked: {detail}")))
        }
        Either::Right(_) => {
            shared.counters.timed_out();
            Err(TransportError::new(format!("no answer from the transport within {timeout:?}")))
        }
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it did not say why".to_owned())
}

/// What a snapshot is taken for.
pub(crate) struct Planned {
    pub(crate) definition: CampaignDefinition,
    /// The devices that were recorded of it already, before a crash in its middle.
    pub(crate) recorded: BTreeSet<DeviceId>,
    /// Whether the campaign still waits for it; kept by its task.
    pub(crate) is_awaited: Arc<AtomicBool>,
}

impl Planned {
    /// Whether it will have anything to do with these targets (D3).
    fn begins(&self, targets: &[(DeviceId, Sighting)]) -> bool {
        let new = targets.iter().filter(|(device, _)| !self.recorded.contains(device)).count();
        let least = self.definition.rollout.minimum_targets().max(1);
        u32::try_from(self.recorded.len() + new).unwrap_or(u32::MAX) >= least
    }
}

/// Resolves the channel, makes an older campaign give way (D18), and sends the snapshot in chunks.
pub(crate) async fn snapshot(
    shared: Arc<Shared>,
    tenant: TenantId,
    stream: StreamId,
    planned: Planned,
    question: Question,
    look_up: LookUp,
    inbox: Inbox,
) {
    let definition = &planned.definition;
    let system_model = &definition.base_image.system_model;
    let call = || shared.directory.targets(&tenant, &definition.channel, system_model);
    let targets = in_time(&shared, call).await.and_then(|answer| answer).map(|mut targets| {
        targets.retain(|(_, sighting)| sighting.presence.is_some());
        targets
    });
    let (found, then) = match targets {
        // One with nothing to do supersedes nothing (D3), nor does one that was cancelled or edited
        // while its targets were looked up.
        Ok(mut targets)
            if !planned.begins(&targets)
                || planned.is_awaited.load(Ordering::Acquire)
                    && make_way(&shared, &tenant, stream, definition).await =>
        {
            for chunk in targets.chunks(shared.settings.chunk) {
                let devices = chunk.iter().map(|(device, _)| *device).collect();
                let then = Input::SnapshotChunk { question, devices };
                let found = Vec::new();
                // If the task has ended nobody misses it.
                let _ = inbox.post(Message::LookUp { look_up, found, then, is_last: false });
            }
            look_again(&shared, &tenant, look_up, &mut targets).await;
            (targets, Input::SnapshotComplete { question })
        }
        Ok(_) => (Vec::new(), Input::SnapshotUnavailable { question }),
        Err(error) => {
            tracing::warn!(%stream, %error, "the targets could not be resolved; trying again");
            (Vec::new(), Input::SnapshotUnavailable { question })
        }
    };
    let _ = inbox.post(Message::LookUp { look_up, found, then, is_last: true });
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
    look_up: LookUp,
    inbox: Inbox,
) {
    let mut found = Vec::with_capacity(devices.len());
    for chunk in devices.chunks(shared.settings.chunk) {
        let sightings = ask_presence(&shared, &tenant, chunk, look_up.began).await;
        found.extend(chunk.iter().copied().zip(sightings));
    }
    let _ = inbox.post(Message::LookUp { look_up, found, then: Input::Recovered, is_last: true });
}

/// Looks again at the targets that were seen before their look-up began, such as by a call for
/// another campaign that this one joined: what happened in between was told to others only.
async fn look_again(
    shared: &Shared,
    tenant: &TenantId,
    look_up: LookUp,
    targets: &mut [(DeviceId, Sighting)],
) {
    let mut early: Vec<_> =
        targets.iter_mut().filter(|(_, sighting)| sighting.as_of < look_up.began).collect();
    for chunk in early.chunks_mut(shared.settings.chunk) {
        let devices: Vec<_> = chunk.iter().map(|(device, _)| *device).collect();
        let sightings = ask_presence(shared, tenant, &devices, look_up.began).await;
        for ((_, sighting), newer) in chunk.iter_mut().zip(sightings) {
            *sighting = newer;
        }
    }
}

/// Asks until there is an answer that is no older than the question: without presence nothing can go
/// on.
async fn ask_presence(
    shared: &Shared,
    tenant: &TenantId,
    devices: &[DeviceId],
    began: Moment,
) -> Vec<Sighting> {
    loop {
        let call = || shared.directory.presence(tenant, devices.to_vec());
        match in_time(shared, call).await {
            Ok(Ok(sightings)) if sightings.len() != devices.len() => {
                let (asked, told) = (devices.len(), sightings.len());
                tracing::error!(asked, told, "the directory told the presence of too few devices");
            }
            Ok(Ok(sightings)) if sightings.iter().all(|sighting| sighting.as_of >= began) => {
                return sightings;
            }
            Ok(Ok(_)) => tracing::debug!("presence is looked up again: it was that of before"),
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
