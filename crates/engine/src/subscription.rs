//! What a subscriber gets: every event of its tenant behind a position, in order and once, from the
//! past and as it happens.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use hedgerow_core::{StoredEvent, StreamId, TenantId};

use crate::shared::Shared;
use crate::store::{StoreError, end_of_log};
use crate::tail::{Checked, Looked, Read, Wanted, page_of_the_past};
use crate::{Engine, EngineError};

/// After so many pages of the past with nothing that is wanted others have their turn.
const PAGES_AT_ONCE: usize = 8;

/// Where in the log a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// With the first event that there is.
    Start,
    /// Behind this position, such as that of the last event that a client has seen.
    After(u64),
    /// Behind the last event that there is when the subscription begins.
    Now,
}

/// Why a subscriber did not get an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscriptionError {
    /// It does not fit its checksum (E14). The subscription goes on behind it.
    #[error("the event at position {position}, of {stream}, is not given: {cause}")]
    Damaged {
        /// Its position.
        position: u64,
        /// Its stream.
        stream: StreamId,
        /// What is wrong with it.
        cause: StoreError,
    },
    /// The log cannot be read, and will not be by trying again. The subscription has ended.
    #[error("the subscription has ended: {0}")]
    Log(StoreError),
}

/// The events of a tenant behind a position of the log, also as a [`Stream`]: of this engine and of
/// every other that writes to the store, in the order of their positions, each once. Notes are among
/// them, with the version 0: of a stream that was removed, and of one whose events follow once more
/// as it was imported ([`Note`](crate::store::retention::Note)).
///
/// A subscriber may be as slow as it likes: it holds nobody up and loses nothing, as what is not kept
/// for it in memory is read from the store. One that comes back begins behind the position of the
/// last event that it has seen. While the store fails it waits. It ends when the engine does.
pub struct Subscription {
    shared: Arc<Shared>,
    wanted: Wanted,
    place: u64,
    /// Everything up to here was given.
    given: u64,
    /// Everything up to here was given or is at hand.
    seen: u64,
    at_hand: VecDeque<Arc<Read>>,
    reading: Option<BoxFuture<'static, Past>>,
    checked: Option<Checked>,
    has_ended: bool,
}

/// A page of the past, and what checked it.
type Past = (Result<(Vec<Arc<Read>>, u64), StoreError>, Checked);

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("wanted", &self.wanted)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Every event of a tenant behind a position of the log, once it is durable: see
    /// [`Subscription`].
    ///
    /// # Errors
    /// [`EngineError::TooManySubscribers`], [`EngineError::BehindTheLog`], [`EngineError::Store`],
    /// [`EngineError::ShuttingDown`].
    pub async fn subscribe(
        &self,
        tenant: &TenantId,
        from: Position,
    ) -> Result<Subscription, EngineError> {
        let wanted = Wanted { tenant: tenant.clone(), stream: None };
        self.begin_subscription(wanted, from).await
    }

    /// As [`Engine::subscribe`], the events of one campaign or manual update alone.
    ///
    /// # Errors
    /// As [`Engine::subscribe`].
    pub async fn subscribe_to(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        from: Position,
    ) -> Result<Subscription, EngineError> {
        let wanted = Wanted { tenant: tenant.clone(), stream: Some(stream) };
        self.begin_subscription(wanted, from).await
    }

    async fn begin_subscription(
        &self,
        wanted: Wanted,
        from: Position,
    ) -> Result<Subscription, EngineError> {
        self.accepting()?;
        let shared = Arc::clone(&self.shared);
        let most = shared.settings.subscribers;
        let Some(place) = shared.tail.join(most) else {
            shared.counters.refused_subscriber();
            return Err(EngineError::TooManySubscribers { most });
        };
        // From here on it leaves its place when it is dropped.
        let mut subscription = Subscription {
            shared,
            wanted,
            place,
            given: 0,
            seen: 0,
            at_hand: VecDeque::new(),
            reading: None,
            checked: Some(Checked::default()),
            has_ended: false,
        };
        let shared = &subscription.shared;
        let known = shared.tail.read_up_to();
        let end = match (from, known) {
            (Position::Start, Some(known)) => known,
            (Position::After(position), Some(known)) if position <= known => known,
            _ => end_of_log(&*shared.store, known.unwrap_or(0)).await?,
        };
        let seen = match from {
            Position::Start => 0,
            Position::After(position) if position > end => {
                return Err(EngineError::BehindTheLog { position, end });
            }
            Position::After(position) => position,
            Position::Now => end,
        };
        Shared::read_behind(shared, end);
        (subscription.given, subscription.seen) = (seen, seen);
        Ok(subscription)
    }
}

impl Subscription {
    /// The next event, waited for; `None`: the subscription has ended.
    pub async fn next(&mut self) -> Option<Result<StoredEvent, SubscriptionError>> {
        StreamExt::next(self).await
    }

    /// The next event if it is there already; `None`: there is none now, or the subscription has
    /// ended.
    pub fn next_if_ready(&mut self) -> Option<Result<StoredEvent, SubscriptionError>> {
        self.next().now_or_never().flatten()
    }

    /// Up to which position everything was given: where to begin when coming back. It goes on also
    /// while only others' events are recorded.
    #[must_use]
    pub fn position(&self) -> u64 {
        if self.at_hand.is_empty() { self.seen } else { self.given }
    }

    fn take(&mut self) -> Option<Result<StoredEvent, SubscriptionError>> {
        let read = self.at_hand.pop_front()?;
        self.given = read.stored.position;
        Some(match &read.damage {
            None => Ok(read.stored.clone()),
            Some(cause) => Err(SubscriptionError::Damaged {
                position: read.stored.position,
                stream: read.stored.stream,
                cause: cause.clone(),
            }),
        })
    }

    fn read_past(&mut self, floor: u64) {
        let (shared, wanted, seen) = (Arc::clone(&self.shared), self.wanted.clone(), self.seen);
        let mut checked = self.checked.take().unwrap_or_default();
        let read = async move {
            let page = page_of_the_past(&shared, &wanted, (seen, floor), &mut checked).await;
            (page, checked)
        };
        self.reading = Some(read.boxed());
    }
}

impl Stream for Subscription {
    type Item = Result<StoredEvent, SubscriptionError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let mut pages = 0;
        loop {
            if let Some(next) = this.take() {
                return Poll::Ready(Some(next));
            }
            if this.has_ended {
                return Poll::Ready(None);
            }
            if let Some(reading) = &mut this.reading {
                let Poll::Ready((page, checked)) = reading.poll_unpin(context) else {
                    return Poll::Pending;
                };
                (this.reading, this.checked) = (None, Some(checked));
                match page {
                    Ok((events, upto)) => {
                        this.at_hand.extend(events);
                        this.seen = upto;
                    }
                    Err(error) => {
                        this.has_ended = true;
                        return Poll::Ready(Some(Err(SubscriptionError::Log(error))));
                    }
                }
                pages += 1;
                if pages == PAGES_AT_ONCE && this.at_hand.is_empty() {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            }
            match this.shared.tail.look(&this.wanted, this.seen, this.place, context.waker()) {
                Looked::Found(events, upto) => {
                    this.at_hand.extend(events);
                    this.seen = upto;
                }
                Looked::Behind(floor) => this.read_past(floor),
                Looked::Nothing => return Poll::Pending,
                Looked::Ended(failure) => {
                    this.has_ended = true;
                    let failure = failure.map(|error| Err(SubscriptionError::Log(error)));
                    return Poll::Ready(failure);
                }
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.tail.leave(self.place);
    }
}
