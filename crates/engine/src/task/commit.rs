//! Deciding a batch and making it durable: one commit for all its events, then answers and effects
//! (E4, E8).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::channel::oneshot;
use hedgerow_core::{
    ClaimChange, DeviceId, Effect, Input, NewEvent, ReadPurpose, Rejection, StreamId,
};

use super::{FOREIGN_CLAIM, Flow, Task};
use crate::EngineError;
use crate::inbox::Answer;
use crate::live::EncodedEvent;
use crate::recording::stamp;
use crate::store::{AppendError, Claim, StoreError, StreamAppend};

/// An input of a batch, with whoever waits for its end.
pub(super) struct Pending {
    pub(super) input: Input,
    pub(super) reply: Option<oneshot::Sender<Answer>>,
}

/// What a batch of inputs led to.
#[derive(Default)]
pub(super) struct Decided {
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
            let now = self.shared.now();
            let expected = self.live.version();
            let mut decided = Decided::default();
            let mut events = Vec::new();
            let inputs = pending.iter().map(|waiting| waiting.input.clone());
            let decisions = self.live.handle_batch(inputs, now);
            let mut waiting: Vec<_> = pending.into_iter().map(Some).collect();
            // From here on in the order in which they were decided.
            pending = Vec::with_capacity(waiting.len());
            for (index, (place, decision)) in decisions.into_iter().enumerate() {
                pending.extend(waiting[place].take());
                let answer = decision.map(|mut decision| {
                    events.extend(decision.events.iter().map(|_| index));
                    decided.events.append(&mut decision.events);
                    decided.claims.append(&mut decision.claims);
                    decided.effects.append(&mut decision.effects);
                    decision.reaction
                });
                decided.answers.push(answer);
            }
            if decided.answers.iter().any(is_unknown_operation) {
                match self.is_behind(expected).await {
                    // Another engine may have started the operation: look at what it wrote.
                    Ok(Some(actual)) => {
                        let stream = self.stream;
                        let refusal = AppendError::VersionConflict { stream, expected, actual };
                        match self.append_refused(refusal, pending).await {
                            Ok(again) => pending = again,
                            Err(flow) => return flow,
                        }
                        continue;
                    }
                    Ok(None) => {}
                    // Not known to be unknown: whoever reports sends it again.
                    Err(failure) => {
                        for answer in decided.answers.iter_mut().filter(|a| is_unknown_operation(a))
                        {
                            *answer = Err(failure.clone().into());
                        }
                    }
                }
            }
            let encoded = std::mem::take(&mut decided.events);
            let to = (&self.tenant, self.stream, expected);
            let events = stamp(&self.shared, to, encoded, &events, now);
            match self.append(expected, &events, &decided).await {
                Ok(is_recorded) => {
                    if is_recorded {
                        self.append_worked();
                    }
                    self.committed(decided, pending);
                    return Flow::Go;
                }
                Err(AppendError::Store(failure)) => {
                    return self.append_failed(failure, expected, events, decided, pending).await;
                }
                Err(refusal) => match self.append_refused(refusal, pending).await {
                    Ok(again) => pending = again,
                    Err(flow) => return flow,
                },
            }
        }
    }

    /// `false`: there was nothing to record.
    async fn append(
        &mut self,
        expected_version: u64,
        events: &[NewEvent],
        decided: &Decided,
    ) -> Result<bool, AppendError> {
        if events.is_empty() && decided.claims.is_empty() {
            return Ok(false);
        }
        let mut held: BTreeMap<Claim, bool> = BTreeMap::new();
        let mut operations = Vec::new();
        for change in &decided.claims {
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
        self.shared.store.append(vec![append]).await.map(|()| true)
    }

    /// The events are durable: answer, give back what ended, let the effects go.
    pub(super) fn committed(&mut self, decided: Decided, pending: Vec<Pending>) {
        self.index_targets();
        self.note_snapshot();
        let mut freed = Vec::new();
        for change in &decided.claims {
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
        for (waiting, answer) in pending.into_iter().zip(decided.answers) {
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
        self.queued.extend(decided.effects);
    }

    /// The version of the newest event that the store has beyond what this task knows of, if there is
    /// any among the next.
    async fn is_behind(&mut self, known: u64) -> Result<Option<u64>, StoreError> {
        let newer = self.shared.store.read_stream(&self.tenant, self.stream, known, 1).await?;
        Ok(newer.last().map(|stored| stored.version))
    }

    /// Another engine has the device: it is looked at again after a while.
    pub(super) fn believe_foreign_claim(&self, device: DeviceId, holder: StreamId) {
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

/// Tells the senders outside why nothing came of it. What has no sender is dropped: the answers to
/// effects are void once the state is loaded again (E11).
pub(super) fn refuse(pending: Vec<Pending>, failure: &EngineError) {
    for reply in pending.into_iter().filter_map(|waiting| waiting.reply) {
        // A sender that has gone does not want to know.
        let _ = reply.send(Err(failure.clone()));
    }
}
