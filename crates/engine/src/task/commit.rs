//! Deciding a batch and making it durable: one commit for all its events, and what follows when it
//! is refused, fails, or was written although its answer was lost (E4, E5, E8).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::channel::oneshot;
use hedgerow_core::{
    ClaimChange, DeviceId, Effect, Input, NewEvent, ReadPurpose, Rejection, StreamId,
};

use super::{Answer, FOREIGN_CLAIM, Flow, STORE_PAUSE, Task, cause, stamp};
use crate::live::EncodedEvent;
use crate::registry::StreamState;
use crate::shared::Shared;
use crate::store::{AppendError, Claim, StoreError, StreamAppend};
use crate::subscription::RecordedEvent;
use crate::{EngineError, LoadError, load};

/// An input of a batch, with whoever waits for its end.
pub(super) struct Pending {
    pub(super) input: Input,
    pub(super) reply: Option<oneshot::Sender<Answer>>,
}

/// What a batch of inputs led to.
#[derive(Default)]
struct Outcome {
    events: Vec<EncodedEvent>,
    claims: Vec<ClaimChange>,
    effects: Vec<Effect>,
    answers: Vec<Answer>,
}

impl Task {
    pub(super) async fn decide_and_commit(&mut self, mut pending: Vec<Pending>) -> Flow {
        loop {
            if pending.is_empty() {
                return Flow::Go;
            }
            // What fails or stops the campaign comes before what it starts.
            pending.sort_by_cached_key(|waiting| self.live.would_start(&waiting.input));
            let now = self.shared.now();
            let expected = self.live.version();
            let mut outcome = Outcome::default();
            let mut events = Vec::new();
            for (index, waiting) in pending.iter().enumerate() {
                let answer = match self.live.handle(waiting.input.clone(), now) {
                    Ok(mut decision) => {
                        events.extend(decision.events.iter().map(|_| index));
                        outcome.events.append(&mut decision.events);
                        outcome.claims.append(&mut decision.claims);
                        outcome.effects.append(&mut decision.effects);
                        Ok(decision.reaction)
                    }
                    Err(error) => Err(error),
                };
                outcome.answers.push(answer);
            }
            if outcome.answers.iter().any(is_unknown_operation) {
                match self.is_behind(expected).await {
                    // Another engine may have started the operation: look at what it wrote.
                    Ok(true) => {
                        if !self.reload().await {
                            answer_all(pending, &StoreError::Closed);
                            return Flow::End;
                        }
                        pending.push(Pending { input: Input::Recovered, reply: None });
                        continue;
                    }
                    Ok(false) => {}
                    // Not known to be unknown: whoever reports sends it again.
                    Err(failure) => {
                        for answer in outcome.answers.iter_mut().filter(|a| is_unknown_operation(a))
                        {
                            *answer = Err(failure.clone().into());
                        }
                    }
                }
            }
            let cause = cause(&self.shared, self.stream, expected);
            let events = stamp(std::mem::take(&mut outcome.events), &events, cause, now);
            match self.append(expected, &events, &outcome).await {
                Ok(()) => {
                    self.committed(expected, events, outcome, pending);
                    return Flow::Go;
                }
                Err(AppendError::Store(failure)) => {
                    tracing::warn!(stream = %self.stream, error = %failure, "an append failed");
                    if self.was_written(expected, &events).await {
                        // Only its answer was lost.
                        self.committed(expected, events, outcome, pending);
                        return Flow::Go;
                    }
                    // Whoever waits outside sends again; answers to our own effects are kept.
                    pending = answer_all(pending, &failure);
                    let at = self.shared.now() + STORE_PAUSE;
                    self.shared.clock.sleep_until(at).await;
                    if !self.reload().await {
                        return Flow::End;
                    }
                    pending.push(Pending { input: Input::Recovered, reply: None });
                }
                Err(error) => {
                    tracing::warn!(stream = %self.stream, %error, "an append was refused");
                    self.believe(error);
                    if !self.reload().await {
                        answer_all(pending, &StoreError::Closed);
                        return Flow::End;
                    }
                    pending.push(Pending { input: Input::Recovered, reply: None });
                }
            }
        }
    }

    async fn append(
        &mut self,
        expected_version: u64,
        events: &[NewEvent],
        outcome: &Outcome,
    ) -> Result<(), AppendError> {
        if events.is_empty() && outcome.claims.is_empty() {
            return Ok(());
        }
        let mut held: BTreeMap<Claim, bool> = BTreeMap::new();
        let mut operations = Vec::new();
        for change in &outcome.claims {
            let (claim, taken) = match change {
                ClaimChange::TakeDevice(device, operation) => {
                    operations.push(*operation);
                    (Some(Claim::Device(*device)), true)
                }
                ClaimChange::ReleaseDevice(device) => (Some(Claim::Device(*device)), false),
                ClaimChange::TakeRollout => (self.live.rollout_claim(), true),
                ClaimChange::ReleaseRollout => (self.live.rollout_claim(), false),
            };
            if let Some(claim) = claim {
                held.insert(claim, taken); // the last change of a batch counts
            }
        }
        let claims = |wanted: bool| {
            held.iter()
                .filter(|(_, taken)| **taken == wanted)
                .map(|(claim, _)| claim.clone())
                .collect()
        };
        let append = StreamAppend {
            tenant: self.tenant.clone(),
            stream: self.stream,
            expected_version,
            events: events.to_vec(),
            claims_taken: claims(true),
            claims_released: claims(false),
            operations,
            activity: self.live.activity(),
        };
        self.shared.store.append(vec![append]).await
    }

    /// The events are durable: publish them, answer, give back what ended, let the effects go.
    fn committed(
        &mut self,
        expected: u64,
        events: Vec<NewEvent>,
        outcome: Outcome,
        pending: Vec<Pending>,
    ) {
        for (version, event) in (expected + 1..).zip(events) {
            let (tenant, stream) = (self.tenant.clone(), self.stream);
            self.shared.publish(&RecordedEvent { tenant, stream, version, event });
        }
        let mut freed = Vec::new();
        for change in &outcome.claims {
            let mut registry = self.shared.registry();
            match change {
                ClaimChange::TakeDevice(device, operation) => {
                    registry.set_holder(&self.tenant, *device, self.stream, Some(*operation));
                }
                ClaimChange::ReleaseDevice(device) => freed.push(*device),
                ClaimChange::TakeRollout => {
                    if let Some(claim) = self.live.rollout_claim() {
                        registry.set_rollout(&self.tenant, claim.key(), self.stream);
                    }
                }
                ClaimChange::ReleaseRollout => {
                    if let Some(claim) = self.live.rollout_claim() {
                        registry.release_rollout(&self.tenant, claim.key(), self.stream);
                    }
                }
            }
        }
        // A device whose version was read for the gates was reserved; without an operation it is
        // given back.
        let read = pending.iter().filter_map(|waiting| match &waiting.input {
            Input::BaseImageRead { device, purpose: ReadPurpose::Gate, .. } => Some(*device),
            _ => None,
        });
        for device in freed.into_iter().chain(read) {
            if self.live.operation_on(device).is_none() {
                self.shared.release_device(&self.tenant, device, self.stream);
            }
        }
        for (waiting, answer) in pending.into_iter().zip(outcome.answers) {
            match waiting.reply {
                // A sender that has gone does not want to know.
                Some(reply) => drop(reply.send(answer)),
                None => {
                    if let Err(error) = answer {
                        tracing::warn!(stream = %self.stream, %error, "an input was refused");
                    }
                }
            }
        }
        self.queued.extend(outcome.effects);
    }

    /// Whether an append that was answered by an error was written all the same: the store is
    /// asked until it answers.
    async fn was_written(&mut self, expected: u64, events: &[NewEvent]) -> bool {
        loop {
            let read =
                self.shared.store.read_stream(&self.tenant, self.stream, expected, events.len());
            match read.await {
                Ok(found) => {
                    return !events.is_empty()
                        && found.iter().map(|stored| &stored.event).eq(events);
                }
                Err(error) if !error.may_pass() => return false,
                Err(_) => {}
            }
            if self.shared.registry().shutting_down {
                return false;
            }
            let at = self.shared.now() + STORE_PAUSE;
            self.shared.clock.sleep_until(at).await;
        }
    }

    /// Whether the store has more events than this task knows of.
    async fn is_behind(&mut self, known: u64) -> Result<bool, StoreError> {
        let newer = self.shared.store.read_stream(&self.tenant, self.stream, known, 1).await?;
        Ok(!newer.is_empty())
    }

    /// Notes what a refused append tells about other streams.
    fn believe(&self, error: AppendError) {
        match error {
            AppendError::ClaimConflict { claim: Claim::Device(device), holder } => {
                self.believe_foreign_claim(device, holder);
            }
            AppendError::ClaimConflict { claim, holder } => {
                self.shared.registry().set_rollout(&self.tenant, claim.key(), holder);
            }
            _ => {}
        }
    }

    /// Tells the registry which operations the stream has, after it was loaded again: another
    /// engine may have started or ended some.
    fn sync_registry(&self) {
        let operations = self.live.operations();
        let known = self.shared.registry().operated(&self.tenant, self.stream);
        for device in known {
            if !operations.iter().any(|(own, _)| *own == device) {
                self.shared.release_device(&self.tenant, device, self.stream);
            }
        }
        let mut registry = self.shared.registry();
        for (device, operation) in operations {
            registry.set_holder(&self.tenant, device, self.stream, Some(operation));
        }
    }

    /// Throws the state away and loads it again. `false`: the stream cannot be loaded and is out
    /// of service.
    async fn reload(&mut self) -> bool {
        loop {
            let Shared { store, clock, .. } = &*self.shared;
            let loaded = load::load(&**store, clock, &self.tenant, self.stream).await;
            match loaded {
                Ok(Some(live)) => {
                    self.live = live;
                    self.queued.clear();
                    self.sync_registry();
                    self.ask_for_presence();
                    return true;
                }
                Err(LoadError::Store(error)) if error.may_pass() => {
                    let at = self.shared.now() + STORE_PAUSE;
                    self.shared.clock.sleep_until(at).await;
                    if self.shared.registry().shutting_down {
                        return false;
                    }
                }
                Ok(None) => return false,
                Err(error) => {
                    tracing::error!(stream = %self.stream, %error, "out of service");
                    let mut registry = self.shared.registry();
                    let key = (self.tenant.clone(), self.stream);
                    registry.streams.insert(key, StreamState::Quarantined(error));
                    return false;
                }
            }
        }
    }

    /// Another engine has the device: it is looked at again after a while.
    fn believe_foreign_claim(&self, device: DeviceId, holder: StreamId) {
        let shared = Arc::clone(&self.shared);
        let tenant = self.tenant.clone();
        shared.registry().set_holder(&tenant, device, holder, None);
        let at = shared.now() + FOREIGN_CLAIM;
        let wait = shared.clock.sleep_until(at);
        let spawner = Arc::clone(&shared.spawner);
        spawner.spawn(
            async move {
                wait.await;
                shared.release_device(&tenant, device, holder);
            }
            .boxed(),
        );
    }
}

/// A report about an operation that the stream does not know.
fn is_unknown_operation(answer: &Answer) -> bool {
    matches!(answer, Err(EngineError::Rejected(Rejection::UnknownOperation { .. })))
}

/// Tells the senders outside that the store failed; what has no sender is kept.
fn answer_all(pending: Vec<Pending>, failure: &StoreError) -> Vec<Pending> {
    let mut kept = Vec::new();
    for waiting in pending {
        match waiting.reply {
            Some(reply) => drop(reply.send(Err(failure.clone().into()))),
            None => kept.push(waiting),
        }
    }
    kept
}
