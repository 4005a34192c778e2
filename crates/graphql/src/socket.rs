//! One client's socket, whatever it speaks: its subscriptions, its silence, its end. What is said is
//! the business of a [`Protocol`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures::SinkExt;
use futures::future::BoxFuture;
use futures::stream::{self, AbortHandle, BoxStream, SelectAll, StreamExt, abortable};
use tokio::time::{Instant, sleep_until, timeout};

use crate::api::Shared;
use crate::auth::Caller;
use crate::feeds::Answers;

/// A client that does not take a message for so long is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// A socket is closed with this code and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing(pub(crate) u16, pub(crate) &'static str);

/// What was subscribed to is not told any more.
const ENDED: Closing = Closing(1013, "a subscription has ended: open it again");

/// What is said on a socket.
pub(crate) trait Protocol: Send {
    /// Hears a text. What is to be said at once is put into `replies`.
    fn hear<'a>(
        &'a mut self,
        text: &'a str,
        conversation: &'a mut Conversation,
    ) -> BoxFuture<'a, Result<(), Closing>>;

    /// An answer of a subscription.
    fn answer(&self, id: &str, answer: &str) -> String;

    /// Until when the client must have said who it is; `None`: it has.
    fn due(&self) -> Option<(Instant, Closing)>;
}

type Told = (String, Option<Arc<str>>);

/// What a socket has going on.
pub(crate) struct Conversation {
    pub(crate) shared: Arc<Shared>,
    /// Who it is, once that is known.
    pub(crate) caller: Option<Caller>,
    pub(crate) replies: Vec<String>,
    feeds: SelectAll<BoxStream<'static, Told>>,
    handles: HashMap<String, AbortHandle>,
}

impl Conversation {
    pub(crate) fn new(shared: Arc<Shared>, caller: Option<Caller>) -> Self {
        let (replies, handles) = (Vec::new(), HashMap::new());
        Self { shared, caller, replies, feeds: SelectAll::new(), handles }
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.handles.contains_key(id)
    }

    /// Whether it has as many subscriptions as it may.
    pub(crate) fn is_full(&self) -> bool {
        self.handles.len() >= self.shared.limits.subscriptions
    }

    pub(crate) fn subscribe(&mut self, id: String, answers: Answers) {
        let (own, ending) = (id.clone(), id.clone());
        let told = answers
            .map(move |answer| (own.clone(), Some(answer)))
            .chain(stream::once(async move { (ending, None) }));
        let (told, handle) = abortable(told);
        self.handles.insert(id, handle);
        self.feeds.push(told.boxed());
    }

    pub(crate) fn unsubscribe(&mut self, id: &str) {
        if let Some(handle) = self.handles.remove(id) {
            handle.abort();
        }
    }

    pub(crate) fn unsubscribe_all(&mut self) {
        for (_, handle) in self.handles.drain() {
            handle.abort();
        }
    }

    /// Until when the token is valid.
    fn expires(&self) -> Option<Instant> {
        let seconds = self.caller.as_ref()?.expires_at?;
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
        let left = until.duration_since(SystemTime::now()).unwrap_or_default();
        Instant::now().checked_add(left)
    }
}

/// Runs a socket to its end.
pub(crate) async fn run(
    mut socket: WebSocket,
    mut conversation: Conversation,
    mut protocol: impl Protocol,
) {
    let closing = match converse(&mut socket, &mut conversation, &mut protocol).await {
        Ok(()) => return,
        Err(closing) => closing,
    };
    let frame = CloseFrame { code: closing.0, reason: closing.1.into() };
    let _ = timeout(PATIENCE, socket.send(Message::Close(Some(frame)))).await;
}

async fn converse(
    socket: &mut WebSocket,
    conversation: &mut Conversation,
    protocol: &mut impl Protocol,
) -> Result<(), Closing> {
    let silence = conversation.shared.limits.silence;
    let mut heard = Instant::now();
    let mut pinged = heard;
    let far = Instant::now() + Duration::from_secs(365 * 24 * 3600);
    let mut expires = conversation.expires();
    loop {
        let (due, late) = protocol.due().unwrap_or((far, Closing(1000, "")));
        // Silent is who does not even answer a ping.
        let ping = pinged + silence / 3;
        tokio::select! {
            message = socket.recv() => {
                let Some(Ok(message)) = message else { return Ok(()) };
                heard = Instant::now();
                match message {
                    Message::Text(text) => {
                        protocol.hear(&text, conversation).await?;
                        expires = conversation.expires();
                        for reply in std::mem::take(&mut conversation.replies) {
                            send(socket, Message::Text(reply.into())).await?;
                        }
                    }
                    Message::Binary(_) => return Err(Closing(1003, "only texts are understood")),
                    Message::Close(_) => return Ok(()),
                    Message::Ping(_) | Message::Pong(_) => {}
                }
            }
            Some((id, answer)) = conversation.feeds.next(), if !conversation.feeds.is_empty() => {
                // Subscriptions are for ever: a client whose own has ended without its doing misses what
                // happens, and is to come again.
                let answer = answer.ok_or(ENDED)?;
                let text = protocol.answer(&id, &answer);
                send(socket, Message::Text(text.into())).await?;
            }
            () = sleep_until(ping.min(heard + silence)) => {
                if heard.elapsed() >= silence {
                    return Err(Closing(1000, "nothing was heard for too long"));
                }
                pinged = Instant::now();
                send(socket, Message::Ping(Vec::new().into())).await?;
            }
            () = sleep_until(due) => return Err(late),
            () = sleep_until(expires.unwrap_or(far)) => {
                return Err(Closing(4403, "the token has expired"));
            }
        }
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Closing> {
    match timeout(PATIENCE, SinkExt::send(socket, message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Closing(1008, "messages are not taken")),
    }
}
