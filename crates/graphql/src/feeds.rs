//! Subscriptions that are shared: clients that ask the same of the same tenant are fed from one
//! execution, so that two hundred that watch one campaign cost little more than one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_graphql::Request as Question;
use async_graphql::parser::types::{DocumentOperations, OperationType};
use futures::stream::{self, BoxStream, StreamExt};
use hedgerow_core::TenantId;
use serde_json::Value;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::api::Shared;
use crate::auth::Caller;
use crate::errors::{self, Failure};
use crate::http;
use crate::record::Ask;
use crate::subscriptions::Opened;

/// How many messages are kept for a client that is slow. One that is slower misses the oldest: each
/// message says how things stand, so that the newest is what matters.
const KEPT: usize = 64;

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
    open: Mutex<HashMap<Key, broadcast::Sender<Arc<str>>>>,
}

/// What comes of a document.
pub(crate) enum Begun {
    /// It was no subscription, or one that is refused: the whole answer.
    Answered(Value),
    /// What happens, as it happens.
    Fed(Answers),
}

impl Feeds {
    fn open(&self) -> MutexGuard<'_, HashMap<Key, broadcast::Sender<Arc<str>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an answer has anything beside errors.
pub(crate) fn has_data(answer: &Value) -> bool {
    answer.get("data").is_some_and(|data| !data.is_null())
}

/// Answers a document that came over a socket.
pub(crate) async fn begin(shared: &Arc<Shared>, caller: &Caller, body: Value) -> Begun {
    let mut question = match http::question(body) {
        Ok(question) => question,
        Err(failure) => return Begun::Answered(errors::only(&failure)),
    };
    let ask = match Ask::begin(Arc::clone(shared), caller.clone()).await {
        Ok(ask) => Arc::new(ask),
        Err(failure) => return Begun::Answered(errors::only(&failure)),
    };
    if !is_subscription(&mut question) {
        return Begun::Answered(http::answered(&ask, question).await);
    }
    let key = Key {
        tenant: caller.tenant.clone(),
        query: question.query.clone(),
        variables: serde_json::to_string(&question.variables).unwrap_or_default(),
        operation: question.operation_name.clone(),
    };
    if let Some(feed) = shared.feeds.open().get(&key) {
        return Begun::Fed(answers(feed.subscribe()));
    }
    let (opened, is_open) = Opened::new();
    let question = question.data(Arc::clone(&ask)).data(opened);
    let mut responses = shared.schema.execute_stream(question);
    // It is refused, or it is open: only then is anything told, so that nothing is missed afterwards.
    tokio::select! {
        biased;
        refused = responses.next() => {
            let nothing = || errors::only(&Failure::new("invalid_query", "nothing is subscribed to"));
            return Begun::Answered(refused.map_or_else(nothing, errors::answer));
        }
        _ = is_open => {}
    }
    let (feed, first) = broadcast::channel(KEPT);
    shared.feeds.open().insert(key.clone(), feed.clone());
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        loop {
            let response = tokio::select! {
                response = responses.next() => response,
                () = feed.closed() => None,
            };
            let Some(response) = response else { break };
            let answer = errors::answer(response).to_string();
            // Whoever has just gone needs it no more.
            let _ = feed.send(answer.into());
        }
        let mut open = shared.feeds.open();
        // Somebody may have joined meanwhile: what has ended for one has ended for all.
        if open.get(&key).is_some_and(|own| own.same_channel(&feed)) {
            open.remove(&key);
        }
    });
    Begun::Fed(answers(first))
}

fn answers(receiver: broadcast::Receiver<Arc<str>>) -> Answers {
    stream::unfold(receiver, |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(answer) => return Some((answer, receiver)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    })
    .boxed()
}

fn is_subscription(question: &mut Question) -> bool {
    let wanted = question.operation_name.clone();
    let Ok(document) = question.parsed_query() else { return false };
    let operation = match (&document.operations, wanted) {
        (DocumentOperations::Single(operation), _) => Some(operation),
        (DocumentOperations::Multiple(all), Some(name)) => all.get(name.as_str()),
        (DocumentOperations::Multiple(all), None) => all.values().next(),
    };
    operation.is_some_and(|operation| operation.node.ty == OperationType::Subscription)
}
