//! Reaching a stream: the task that runs it is told or asked. One that is not in memory is loaded
//! before it is told something, and is not asked: only commands and reports wake a stream.

use futures::channel::oneshot;
use hedgerow_core::{Input, StreamId, TenantId};

use crate::inbox::{Answer, Inbox, Message, Undelivered};
use crate::live::Live;
use crate::opening::Opening;
use crate::registry::StreamState;
use crate::shared::Shared;
use crate::task::{Start, Task};
use crate::{Engine, EngineError, LoadError, load};

/// How often a task that ended just when it was told something is looked for again.
const TRIES: usize = 3;

/// What a question to a stream at work comes to.
pub(crate) enum Asked<T> {
    /// It has answered.
    Answered(T),
    /// It is being loaded.
    Loading,
    /// It is not in memory.
    NotAtWork,
}

impl Engine {
    /// Sends an input to a stream, loading it if need be, and waits for the answer.
    pub(crate) async fn tell(&self, tenant: &TenantId, stream: StreamId, input: Input) -> Answer {
        self.ask(tenant, stream, || Message::asking(input.clone())).await
    }

    /// Looks at the state of a stream at work as of its last commit; wakes none.
    pub(crate) async fn look_at_work<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        look: impl Fn(&Live) -> T + Clone + Send + 'static,
    ) -> Result<Asked<T>, EngineError> {
        let (inbox, answered): (_, oneshot::Receiver<Result<T, EngineError>>) = {
            let registry = self.shared.registry();
            match registry.streams.get(&(tenant.clone(), stream)) {
                None => return Ok(Asked::NotAtWork),
                Some(StreamState::Loading) => return Ok(Asked::Loading),
                Some(StreamState::Quarantined(cause)) => {
                    let cause = Box::new(cause.clone());
                    return Err(EngineError::Quarantined { stream, cause });
                }
                Some(StreamState::Loaded(inbox)) => {
                    let (message, answered) = Message::looking(look);
                    (inbox.tell(message), answered)
                }
            }
        };
        match inbox {
            Ok(()) => match answered.await {
                Ok(answer) => answer.map(Asked::Answered),
                // It left the memory before it looked at the question.
                Err(_) => Ok(Asked::NotAtWork),
            },
            Err(Undelivered::Full) => {
                self.shared.counters.refused_message();
                Err(EngineError::Busy)
            }
            Err(Undelivered::Gone) => Ok(Asked::NotAtWork),
        }
    }

    /// Sends a message, which is made anew for each try, and waits for the answer.
    async fn ask<T>(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        message: impl Fn() -> (Message, oneshot::Receiver<Result<T, EngineError>>),
    ) -> Result<T, EngineError> {
        for _ in 0..TRIES {
            let inbox = self.inbox(tenant, stream).await?;
            let (message, answered) = message();
            match inbox.tell(message) {
                Ok(()) => {
                    if let Ok(answer) = answered.await {
                        return answer;
                    }
                }
                Err(Undelivered::Full) => {
                    self.shared.counters.refused_message();
                    return Err(EngineError::Busy);
                }
                Err(Undelivered::Gone) => {}
            }
            // The task ended before it looked at it: shutting down, or leaving the memory.
            self.accepting()?;
        }
        Err(EngineError::NotReady { stream })
    }

    /// The inbox of a stream; one that is not in memory is loaded.
    async fn inbox(&self, tenant: &TenantId, stream: StreamId) -> Result<Inbox, EngineError> {
        let opening = Opening::of(&self.shared, tenant, stream, |state| match state {
            StreamState::Loaded(inbox) => Ok(inbox.clone()),
            StreamState::Loading => Err(EngineError::NotReady { stream }),
            StreamState::Quarantined(cause) => {
                Err(EngineError::Quarantined { stream, cause: Box::new(cause.clone()) })
            }
        });
        let opening = match opening? {
            Ok(opening) => opening,
            Err(in_memory) => return in_memory,
        };
        let loaded = self.load(tenant, stream).await;
        // If it could not be read, or the caller has gone meanwhile, the next call looks again.
        drop(opening);
        loaded?;
        let inbox = self.shared.registry().inbox(tenant, stream);
        // It has just been loaded: if it has left the memory since, it is there all the same.
        inbox.ok_or(EngineError::NotReady { stream })
    }

    /// Loads a stream that is marked as being loaded, and runs it. With [`EngineError::Store`] it
    /// stays marked: the store may be read later.
    pub(crate) async fn load(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> Result<(), EngineError> {
        let key = (tenant.clone(), stream);
        let Shared { store, clock, .. } = &*self.shared;
        match load::load(&**store, clock, tenant, stream).await {
            Ok(Some((live, saved))) => {
                let live = live.asking_urls(self.shared.urls.is_some());
                Task::spawn(&self.shared, tenant.clone(), live, Start::Loaded { saved });
                Ok(())
            }
            Ok(None) => {
                let removed = store.removed(tenant, stream).await?;
                self.shared.registry().streams.remove(&key);
                Err(match removed {
                    Some(_) => EngineError::Removed { stream },
                    None => EngineError::UnknownStream { stream },
                })
            }
            Err(LoadError::Store(error)) if error.may_pass() => Err(error.into()),
            Err(cause) => {
                let state = StreamState::Quarantined(cause.clone());
                self.shared.registry().streams.insert(key, state);
                Err(EngineError::Quarantined { stream, cause: Box::new(cause) })
            }
        }
    }
}
