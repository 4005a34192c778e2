//! Subscriptions that are shared: clients that ask the same of the same tenant are fed from one
//! execution, so that two hundred that watch one campaign cost little more than one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::{self, BoxStream, StreamExt};
use hedgerow_core::TenantId;
use serde_json::Value;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::api::Shared;
use crate::auth::Caller;
use crate::document;
use crate::errors::{self, Failure};
use crate::http;
use crate::record::Ask;
use crate::subscriptions::Opened;

/// How many messages are kept for a client that is slow. One that is slower misses the oldest.
const KEPT: usize = 64;

/// How many different subscriptions a tenant may have open.
const MOST: usize = 1_000;

/// The longest subscription, with its variables, in bytes.
const LONGEST: usize = 64 * 1024;

/// The same question of the same tenant.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    query: String,
    variables: String,
    operation: Option<String>,
}

/// Answers, as JSON texts.
pub(crate) type Answers = BoxStream<'static, Arc<str>>;

/// All feeds that are open.
#[derive(Default)]
pub(crate) struct Feeds {
    open: Mutex<HashMap<Key, Feed>>,
}

/// A feed that is open.
#[derive(Clone)]
struct Feed {
    sender: broadcast::Sender<Arc<str>>,
    /// Whether each message says how all of its subject stands, so that the newest is what matters.
    is_whole: bool,
    /// The newest message, for whoever joins, if that is so.
    last: Option<Arc<str>>,
}

impl Feed {
    fn join(&self) -> Answers {
        let last = self.last.clone().into_iter();
        let is_whole = self.is_whole;
        let further = stream::unfold(self.sender.subscribe(), move |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(answer) => return Some((answer, receiver)),
                    Err(RecvError::Lagged(_)) if is_whole => {}
                    // What was missed nothing else tells: it ends, so that the client begins anew.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
                }
            }
        });
        stream::iter(last).chain(further).boxed()
    }
}

/// What comes of a document.
pub(crate) enum Begun {
    /// It was no subscription, or one that is refused: the whole answer.
    Answered(Value),
    /// What happens, as it happens.
    Fed(Answers),
}

impl Feeds {
    fn open(&self) -> MutexGuard<'_, HashMap<Key, Feed>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an answer has anything beside errors.
pub(crate) fn has_data(answer: &Value) -> bool {
    answer.get("data").is_some_and(|data| !data.is_null())
}

/// Answers a document that came over a socket.
pub(crate) async fn begin(shared: &Arc<Shared>, caller: &Caller, body: Value) -> Begun {
    let refused = |failure| Begun::Answered(errors::only(&failure));
    let checked = match http::question(body) {
        Ok(question) => document::checked(question, &shared.limits),
        Err(failure) => return refused(failure),
    };
    let checked = match checked {
        Ok(checked) => checked,
        Err(response) => return Begun::Answered(errors::answer(*response)),
    };
    let ask = match Ask::begin(Arc::clone(shared), caller.clone()).await {
        Ok(ask) => Arc::new(ask),
        Err(failure) => return refused(failure),
    };
    if !checked.is_subscription {
        return Begun::Answered(http::executed(&ask, checked).await);
    }
    // Each message of a campaign's own subscription says how all of it stands.
    let is_whole = checked.root.as_deref() == Some("campaign");
    let question = checked.question;
    let key = Key {
        tenant: caller.tenant.clone(),
        query: question.query.clone(),
        variables: serde_json::to_string(&question.variables).unwrap_or_default(),
        operation: question.operation_name.clone(),
    };
    if key.query.len() + key.variables.len() > LONGEST {
        let why = format!("a subscription has at most {LONGEST} bytes, with its variables");
        return refused(Failure::new("invalid_query", why));
    }
    if let Some(feed) = shared.feeds.open().get(&key) {
        return Begun::Fed(feed.join());
    }
    let (opened, mut is_open) = Opened::new();
    let question = question.data(Arc::clone(&ask)).data(opened);
    let mut responses = shared.schema.execute_stream(question);
    // It is refused, or it is open: only then is anything told, so that nothing is missed afterwards.
    let earliest = tokio::select! {
        biased;
        response = responses.next() => match response {
            // It was open, and had something to tell at once.
            Some(response) if is_open.try_recv().is_ok() => Some(response),
            Some(refused) => return Begun::Answered(errors::answer(refused)),
            None => return refused(Failure::new("invalid_query", "nothing is subscribed to")),
        },
        _ = &mut is_open => None,
    };
    let responses = stream::iter(earliest).chain(responses);
    let feed = {
        let mut open = shared.feeds.open();
        if let Some(feed) = open.get(&key) {
            // Somebody else was faster.
            return Begun::Fed(feed.join());
        }
        if open.keys().filter(|other| other.tenant == key.tenant).count() >= MOST {
            let why = format!("more than {MOST} different subscriptions are open in this tenant");
            return refused(Failure::new("try_again", why));
        }
        let (sender, _) = broadcast::channel(KEPT);
        let feed = Feed { sender, is_whole, last: None };
        open.insert(key.clone(), feed.clone());
        feed
    };
    let first = feed.join();
    tokio::spawn(keep(Arc::clone(shared), key, feed.sender, responses.boxed()));
    Begun::Fed(first)
}

/// Sends what a subscription answers, as long as anybody is there.
async fn keep(
    shared: Arc<Shared>,
    key: Key,
    sender: broadcast::Sender<Arc<str>>,
    mut responses: BoxStream<'static, async_graphql::Response>,
) {
    loop {
        tokio::select! {
            response = responses.next() => {
                let mut open = shared.feeds.open();
                let Some(response) = response else {
                    open.remove(&key);
                    return;
                };
                let answer: Arc<str> = errors::answer(response).to_string().into();
                if let Some(feed) = open.get_mut(&key).filter(|feed| feed.is_whole) {
                    feed.last = Some(Arc::clone(&answer));
                }
                // Whoever has just gone needs it no more.
                let _ = sender.send(answer);
            }
            () = sender.closed() => {
                let mut open = shared.feeds.open();
                // Somebody may have joined meanwhile; under the lock nobody does.
                if sender.receiver_count() == 0 {
                    open.remove(&key);
                    return;
                }
            }
        }
    }
}
