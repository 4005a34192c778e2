//! What the task of a stream can be sent, and the inbox that it arrives in.
//!
//! From outside an inbox takes so much and no more: who tells faster than the store records is asked
//! to send again, and the memory stays what it is. What the engine owes its own tasks, such as the
//! answer to a call, is always taken: it is bounded by the calls under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use hedgerow_core::{DeviceId, Input, Reaction};

use crate::live::Live;
use crate::task::LookUp;
use crate::{EngineError, Sighting};

pub(crate) type Answer = Result<Reaction, EngineError>;
pub(crate) type Query = Box<dyn FnOnce(Result<&Live, EngineError>) + Send>;

/// What a task can be sent.
pub(crate) enum Message {
    /// Something to decide on, from outside or in answer to an effect.
    Input { input: Input, reply: Option<oneshot::Sender<Answer>>, ends_effect: bool },
    /// Where a device was seen to be, from somebody who waits for what becomes of it.
    Seen { device: DeviceId, sighting: Sighting, reply: oneshot::Sender<Answer> },
    /// Part of what a look-up of presence or a snapshot gave, or the last of it, and what is to be
    /// decided on once that is known.
    LookUp { look_up: LookUp, found: Vec<(DeviceId, Sighting)>, then: Input, is_last: bool },
    /// A look at the state, as of the last commit.
    Query(Query),
    /// Finish what runs and end; what comes with it is dropped then.
    Stop(Option<oneshot::Sender<()>>),
}

impl Message {
    /// Something to decide on that nobody waits for.
    pub(crate) fn input(input: Input) -> Self {
        Self::Input { input, reply: None, ends_effect: false }
    }

    /// The answer to an effect.
    pub(crate) fn answer(input: Input) -> Self {
        Self::Input { input, reply: None, ends_effect: true }
    }

    /// Something to decide on, from somebody who waits for what becomes of it.
    pub(crate) fn asking(input: Input) -> (Self, oneshot::Receiver<Answer>) {
        let (reply, answered) = oneshot::channel();
        (Self::Input { input, reply: Some(reply), ends_effect: false }, answered)
    }

    /// Where a device was seen to be, from somebody who waits for what becomes of it.
    pub(crate) fn seen(device: DeviceId, sighting: Sighting) -> (Self, oneshot::Receiver<Answer>) {
        let (reply, answered) = oneshot::channel();
        (Self::Seen { device, sighting, reply }, answered)
    }

    /// A look at the state, from somebody who waits for what is seen.
    pub(crate) fn looking<T: Send + 'static>(
        look: impl FnOnce(&Live) -> T + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, EngineError>>) {
        let (reply, seen) = oneshot::channel();
        let query = move |live: Result<&Live, EngineError>| drop(reply.send(live.map(look)));
        (Self::Query(Box::new(query)), seen)
    }
}

/// Why an inbox did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undelivered {
    /// Its task has ended.
    Gone,
    /// As much waits there as may.
    Full,
}

/// Where a task's messages are put in.
#[derive(Clone)]
pub(crate) struct Inbox {
    sender: mpsc::UnboundedSender<Message>,
    waiting: Arc<AtomicUsize>,
    /// So many may wait before it takes no more from outside.
    most: usize,
}

/// Where a task takes its messages out.
pub(crate) struct Arrivals {
    receiver: mpsc::UnboundedReceiver<Message>,
    waiting: Arc<AtomicUsize>,
}

/// A new inbox in which so many messages from outside may wait: where they are put in, and where they
/// come out.
pub(crate) fn inbox(most: usize) -> (Inbox, Arrivals) {
    let (sender, receiver) = mpsc::unbounded();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Inbox { sender, waiting: Arc::clone(&waiting), most }, Arrivals { receiver, waiting })
}

impl Inbox {
    /// Hands in what comes from outside.
    pub(crate) fn tell(&self, message: Message) -> Result<(), Undelivered> {
        if self.waiting() >= self.most {
            return Err(Undelivered::Full);
        }
        self.post(message)
    }

    /// Hands in what the engine owes the task.
    pub(crate) fn post(&self, message: Message) -> Result<(), Undelivered> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.sender.unbounded_send(message).map_err(|_| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            Undelivered::Gone
        })
    }

    /// How many messages wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether both lead to the same task.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.sender.same_receiver(&other.sender)
    }
}

impl Arrivals {
    /// The next message, waited for. As the task keeps an inbox of its own, there is always one to
    /// wait for.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let message = self.receiver.next().await;
        self.waiting.fetch_sub(usize::from(message.is_some()), Ordering::Relaxed);
        message
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn tick() -> Message {
        Message::input(Input::Tick)
    }

    #[test]
    fn an_inbox_takes_so_much_from_outside_and_what_the_engine_owes_always() {
        let (inbox, mut arrivals) = inbox(5);
        for _ in 0..5 {
            assert_eq!(inbox.tell(tick()), Ok(()));
        }
        assert_eq!(inbox.tell(tick()), Err(Undelivered::Full));
        assert_eq!(inbox.post(tick()), Ok(()));
        assert_eq!(inbox.waiting(), 6);
        for _ in 0..2 {
            assert!(arrivals.next().now_or_never().flatten().is_some());
        }
        assert_eq!(inbox.tell(tick()), Ok(()), "there is room again");
        assert_eq!(inbox.tell(tick()), Err(Undelivered::Full));
    }

    #[test]
    fn an_inbox_whose_task_has_ended_takes_nothing() {
        let (inbox, arrivals) = inbox(5);
        drop(arrivals);
        assert_eq!(inbox.tell(tick()), Err(Undelivered::Gone));
        assert_eq!(inbox.post(tick()), Err(Undelivered::Gone));
        assert_eq!(inbox.waiting(), 0);
    }
}
