//! What a subscriber gets: every event, in order and once, as soon as it is durable.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::channel::mpsc;
use futures::{Stream, StreamExt};
use hedgerow_core::{NewEvent, StreamId, TenantId};

/// An event that has become durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedEvent {
    /// The tenant.
    pub tenant: TenantId,
    /// The stream.
    pub stream: StreamId,
    /// The event's place in it.
    pub version: u64,
    /// The event.
    pub event: NewEvent,
}

/// The most events that a subscriber may ask to be behind: they are kept for it in memory.
const MOST_BEHIND: usize = 65_536;

/// The events since [`Engine::subscribe`](crate::Engine::subscribe), also as a [`Stream`]. It ends
/// when the engine does, or when the subscriber fell too far behind: it then reads on from the
/// store, after the last event that it saw.
#[derive(Debug)]
pub struct Subscription {
    receiver: mpsc::Receiver<RecordedEvent>,
}

impl Subscription {
    /// A subscription, and where its events are put in.
    pub(crate) fn new(capacity: usize) -> (mpsc::Sender<RecordedEvent>, Self) {
        let (sender, receiver) = mpsc::channel(capacity.min(MOST_BEHIND));
        (sender, Self { receiver })
    }

    /// The next event, waited for; `None`: the subscription has ended.
    pub async fn next(&mut self) -> Option<RecordedEvent> {
        self.receiver.next().await
    }

    /// The next event if it is there already; `None`: there is none now, or the subscription has
    /// ended.
    pub fn next_if_ready(&mut self) -> Option<RecordedEvent> {
        self.receiver.try_recv().ok()
    }
}

impl Stream for Subscription {
    type Item = RecordedEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_next_unpin(context)
    }
}
