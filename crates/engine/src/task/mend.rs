//! What follows when the store refuses an append or fails: it is found out what was written, the
//! state is loaded again, and the task tries again after a pause that grows, while it goes on
//! hearing commands and questions (E5, E11, E13).

use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{Input, NewEvent, Timestamp};

use super::commit::{Decided, Pending, refuse};
use super::{Flow, Task};
use crate::registry::StreamState;
use crate::store::{AppendError, Claim, StoreError};
use crate::time::growing_pause;
use crate::{EngineError, LoadError, load};

/// The pause after the first failure; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How far the state is from what the store has.
#[derive(Default)]
enum Standing {
    /// It is what the store has.
    #[default]
    Sound,
    /// It was loaded again, and nothing is done by itself before the next try.
    Resting,
    /// It holds what was not recorded, and is to be loaded again.
    Stale,
    /// It holds what may have been recorded: that is to be read back first.
    Unknown(Box<Unfinished>),
}

/// An append of which it is not known whether it was written.
#[derive(Default)]
struct Unfinished {
    expected: u64,
    events: Vec<NewEvent>,
    decided: Decided,
}

/// How a task stands with its store.
#[derive(Default)]
pub(super) struct Mending {
    standing: Standing,
    /// Why the last append came to nothing.
    failure: Option<EngineError>,
    /// Failures in a row.
    failures: u32,
    /// When the next try is due, unless the state is sound.
    next_try: Timestamp,
    /// The last refusal, if no append has worked since.
    refusal: Option<AppendError>,
}

impl Mending {
    pub(super) fn is_sound(&self) -> bool {
        matches!(self.standing, Standing::Sound)
    }

    /// When the next try is due; `None` if nothing has to be mended.
    pub(super) fn next_try(&self) -> Option<Timestamp> {
        (!self.is_sound()).then_some(self.next_try)
    }

    /// Why nobody can be shown the state, if it holds what may not have been recorded.
    pub(super) fn failure(&self) -> Option<EngineError> {
        let hidden = matches!(self.standing, Standing::Stale | Standing::Unknown(_));
        self.failure.clone().filter(|_| hidden)
    }

    /// Notes a failure. The next try is due after a pause.
    fn failed(&mut self, standing: Standing, failure: EngineError, now: Timestamp) {
        self.standing = standing;
        self.failure = Some(failure);
        let pause = growing_pause(self.failures, FIRST_PAUSE, LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.next_try = now + pause;
    }
}

impl Task {
    /// Mends what can be mended now, and gives back what of a batch can be decided on.
    pub(super) async fn mend(
        &mut self,
        pending: Vec<Pending>,
        is_asked: bool,
    ) -> Result<Vec<Pending>, Flow> {
        if self.mending.is_sound() {
            return Ok(pending);
        }
        let is_command = |waiting: &Pending| matches!(waiting.input, Input::Command(_));
        let is_due = self.mending.next_try <= self.shared.now();
        if is_due || is_asked || pending.iter().any(is_command) {
            self.try_again(is_due).await?;
        }
        let Some(failure) = self.mending.failure.clone() else { return Ok(pending) };
        match self.mending.standing {
            Standing::Sound => Ok(pending),
            // A person is heard at once. Whoever reports sends it again; an answer is void.
            Standing::Resting => {
                let (commands, others) = pending.into_iter().partition(is_command);
                refuse(others, &failure);
                Ok(commands)
            }
            Standing::Stale | Standing::Unknown(_) => {
                refuse(pending, &failure);
                Ok(Vec::new())
            }
        }
    }

    /// An append that had failed was written all the same, perhaps only after that: those who follow
    /// the log look again.
    fn found_written(&self) {
        self.shared.appends.raise();
    }

    /// Reads back what is unknown, then loads what is stale; if it `is_due`, goes on.
    async fn try_again(&mut self, is_due: bool) -> Result<(), Flow> {
        if let Standing::Unknown(unfinished) = &mut self.mending.standing {
            let unfinished = std::mem::take(unfinished);
            match self.is_written(unfinished.expected, &unfinished.events).await {
                Ok(is_written) => {
                    if is_written {
                        self.found_written();
                        self.committed(unfinished.decided, Vec::new());
                    }
                    // What was told since then was passed over.
                    self.mending.standing = Standing::Stale;
                }
                Err(failure) => {
                    self.failed(Standing::Unknown(unfinished), failure.into());
                    return Ok(());
                }
            }
        }
        if !matches!(self.mending.standing, Standing::Resting) {
            match self.load_again().await {
                Ok(()) => self.mending.standing = Standing::Resting,
                Err(LoadError::Store(failure)) if failure.may_pass() => {
                    self.failed(Standing::Stale, failure.into());
                    return Ok(());
                }
                Err(error) => return Err(self.quarantine(error)),
            }
        }
        if is_due {
            self.mending.standing = Standing::Sound;
            self.ask_for_presence();
        }
        Ok(())
    }

    /// The store takes appends: there is nothing to rest for any more.
    pub(super) fn append_worked(&mut self) {
        if !std::mem::take(&mut self.mending).is_sound() {
            self.ask_for_presence();
        }
    }

    fn failed(&mut self, standing: Standing, failure: EngineError) {
        let now = self.shared.now();
        self.mending.failed(standing, failure, now);
    }

    /// An append failed. Its senders are told, unless it turns out to have been written.
    pub(super) async fn append_failed(
        &mut self,
        failure: StoreError,
        expected: u64,
        events: Vec<NewEvent>,
        decided: Decided,
        pending: Vec<Pending>,
    ) -> Flow {
        tracing::warn!(stream = %self.stream, error = %failure, "an append failed");
        match self.is_written(expected, &events).await {
            // Only its answer was lost.
            Ok(true) => {
                self.append_worked();
                self.found_written();
                self.committed(decided, pending);
                return Flow::Go;
            }
            Ok(false) => self.failed(Standing::Stale, failure.clone().into()),
            Err(_) => {
                let unfinished = Unfinished { expected, events, decided };
                self.failed(Standing::Unknown(Box::new(unfinished)), failure.clone().into());
            }
        }
        refuse(pending, &failure.into());
        if matches!(self.mending.standing, Standing::Unknown(_)) {
            return Flow::Go;
        }
        match self.try_again(false).await {
            Ok(()) => Flow::Go,
            Err(flow) => flow,
        }
    }

    /// An append was refused: what the store has is something else than this task knew (E5). What
    /// came from outside is decided anew, unless the very same was refused before: then the next try
    /// is due after a pause.
    pub(super) async fn append_refused(
        &mut self,
        refusal: AppendError,
        mut pending: Vec<Pending>,
    ) -> Result<Vec<Pending>, Flow> {
        tracing::warn!(stream = %self.stream, error = %refusal, "an append was refused");
        self.believe(&refusal);
        let is_new = self.mending.refusal.as_ref() != Some(&refusal);
        self.mending.refusal = Some(refusal);
        let not_ready = EngineError::NotReady { stream: self.stream };
        if is_new {
            match self.load_again().await {
                Ok(()) => {
                    self.ask_for_presence();
                    // Answers belong to questions that were asked before (E11).
                    pending.retain(|waiting| waiting.reply.is_some());
                    return Ok(pending);
                }
                Err(LoadError::Store(failure)) if failure.may_pass() => {
                    self.failed(Standing::Stale, failure.into());
                }
                Err(LoadError::Removed { stream }) => {
                    refuse(pending, &EngineError::Removed { stream });
                    return Err(self.quarantine(LoadError::Removed { stream }));
                }
                Err(error) => {
                    refuse(pending, &not_ready);
                    return Err(self.quarantine(error));
                }
            }
        } else {
            self.failed(Standing::Stale, not_ready.clone());
        }
        refuse(pending, &not_ready);
        Err(self.try_again(false).await.err().unwrap_or(Flow::Go))
    }

    /// Whether an append was written: only one with this engine's own causation id is (E13).
    async fn is_written(&mut self, expected: u64, events: &[NewEvent]) -> Result<bool, StoreError> {
        if events.is_empty() {
            return Ok(false);
        }
        let read = self.shared.store.read_stream(&self.tenant, self.stream, expected, events.len());
        match read.await {
            Ok(found) => Ok(found.iter().map(|stored| &stored.event).eq(events)),
            Err(error) if error.may_pass() => Err(error),
            // Loading it says why nothing goes on.
            Err(_) => Ok(false),
        }
    }

    /// Notes what a refused append tells about other streams.
    fn believe(&self, error: &AppendError) {
        match error {
            AppendError::ClaimConflict { claim: Claim::Device(device), holder } => {
                self.believe_foreign_claim(*device, *holder);
            }
            AppendError::ClaimConflict { claim, holder } => {
                self.shared.registry().set_rollout(&self.tenant, claim.key(), *holder);
            }
            _ => {}
        }
    }

    /// Throws the state away and loads it again; the answers to everything asked before are void
    /// from now on.
    pub(super) async fn load_again(&mut self) -> Result<(), LoadError> {
        let (shared, stream) = (Arc::clone(&self.shared), self.stream);
        let loaded = load::load(&*shared.store, &shared.clock, &self.tenant, stream).await?;
        let Some((live, _)) = loaded else {
            if shared.store.removed(&self.tenant, stream).await?.is_some() {
                return Err(LoadError::Removed { stream });
            }
            let detail = format!("{stream} is gone; restore the store from a backup");
            return Err(StoreError::Corrupt { detail }.into());
        };
        self.live = live.asking_after(&self.live).asking_urls(shared.urls.is_some());
        self.queued.clear();
        self.sightings.abandon();
        self.index_targets();
        self.sync_registry();
        Ok(())
    }

    /// The task ends. What it was about is out of service, unless it was archived and removed: that
    /// is nothing to mend.
    pub(super) fn quarantine(&mut self, error: LoadError) -> Flow {
        if let LoadError::Removed { .. } = error {
            tracing::info!(stream = %self.stream, "it was archived and removed");
            return Flow::End;
        }
        tracing::error!(stream = %self.stream, %error, "out of service");
        let key = (self.tenant.clone(), self.stream);
        self.shared.registry().streams.insert(key, StreamState::Quarantined(error));
        Flow::End
    }

    /// Tells the registry which operations the stream has, after it was loaded again: another
    /// engine may have started or ended some. A device that was only reserved, to be read for the
    /// gates, is free again: that answer is void.
    fn sync_registry(&self) {
        let operations = self.live.operations();
        let reserved = self.shared.registry().reserved(&self.tenant, self.stream);
        for device in reserved {
            if !operations.iter().any(|(own, _)| *own == device) {
                self.shared.release_device(&self.tenant, device, self.stream);
            }
        }
        let mut registry = self.shared.registry();
        for (device, operation) in operations {
            registry.set_holder(&self.tenant, device, self.stream, Some(operation));
        }
    }
}
