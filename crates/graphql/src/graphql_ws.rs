//! Sockets for everybody else: the protocol `graphql-transport-ws`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State, WebSocketUpgrade};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, FutureExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::api::Shared;
use crate::auth::Refused;
use crate::feeds::{self, Begun};
use crate::http::{Refusal, admitted, bearer};
use crate::socket::{self, Closing, Conversation, Protocol};

/// So soon must a client have begun to speak.
const BEGIN: Duration = Duration::from_secs(10);

/// The longest message of a client that had no token when it came, in bytes.
const LONGEST_FRAME: usize = 64 * 1024;

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    token: Option<String>,
}

pub(crate) async fn socket(
    State(shared): State<Arc<Shared>>,
    Path(tenant): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    extensions: Extensions,
    upgrade: WebSocketUpgrade,
) -> Response {
    let token = asked.token.or_else(|| bearer(&headers).map(str::to_owned));
    let caller = match admitted(&shared, &tenant, token.as_deref(), &headers, &extensions) {
        Ok(caller) => Some(caller),
        // Browsers cannot send it along: it comes with the first message.
        Err(Refusal(Refused::NoToken)) => None,
        Err(refusal) => return refusal.into_response(),
    };
    // Strangers have few places and short messages, so that they take nothing from anybody else.
    let (places, most) = match caller {
        Some(_) => (&shared.sockets, shared.limits.request_bytes),
        None => (&shared.strangers, shared.limits.request_bytes.min(LONGEST_FRAME)),
    };
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "there are too many sockets").into_response();
    };
    let upgrade = upgrade.protocols(["graphql-transport-ws"]);
    // As much as a frame says that it has is kept free for it.
    let upgrade = upgrade.max_message_size(most).max_frame_size(most);
    upgrade.on_upgrade(move |socket| async move {
        let conversation = Conversation::new(shared, caller);
        let begin_until = Some(Instant::now() + BEGIN);
        let spoken = Spoken { place, tenant, headers, extensions, begin_until };
        socket::run(socket, conversation, spoken).await;
    })
}

struct Spoken {
    /// Where it sits: among strangers until it is known who it is.
    place: OwnedSemaphorePermit,
    tenant: String,
    headers: HeaderMap,
    extensions: Extensions,
    /// Until when it must have begun; `None`: it has.
    begin_until: Option<Instant>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Message {
    ConnectionInit {
        #[serde(default)]
        payload: Value,
    },
    Ping {},
    Pong {},
    Subscribe {
        id: String,
        payload: Value,
    },
    Complete {
        id: String,
    },
}

impl Spoken {
    fn begin(&mut self, payload: &Value, conversation: &mut Conversation) -> Result<(), Closing> {
        if self.begin_until.take().is_none() {
            return Err(Closing(4429, "Too many initialisation requests"));
        }
        if conversation.caller.is_none() {
            let token = payload["token"].as_str().or_else(|| {
                let header =
                    payload["Authorization"].as_str().or(payload["authorization"].as_str())?;
                header.split_once(' ').map(|(_, token)| token.trim())
            });
            let shared = &conversation.shared;
            let caller = admitted(shared, &self.tenant, token, &self.headers, &self.extensions);
            conversation.caller = Some(caller.map_err(|Refusal(refused)| match refused {
                Refused::NoToken => Closing(4401, "Unauthorized"),
                Refused::Forbidden => Closing(4403, "Forbidden"),
            })?);
            let place = Arc::clone(&conversation.shared.sockets).try_acquire_owned();
            self.place = place.map_err(|_| Closing(1013, "there are too many sockets"))?;
        }
        conversation.replies.push(json!({"type": "connection_ack"}).to_string());
        Ok(())
    }
}

impl Protocol for Spoken {
    fn hear<'a>(
        &'a mut self,
        text: &'a str,
        conversation: &'a mut Conversation,
    ) -> BoxFuture<'a, Result<(), Closing>> {
        async move {
            let message = serde_json::from_str(text);
            match message.map_err(|_| Closing(4400, "the message is none of the protocol"))? {
                Message::ConnectionInit { payload } => self.begin(&payload, conversation)?,
                Message::Ping {} => {
                    conversation.replies.push(json!({"type": "pong"}).to_string());
                }
                Message::Pong {} => {}
                Message::Complete { id } => conversation.unsubscribe(&id),
                Message::Subscribe { id, payload } => {
                    let (Some(caller), None) = (conversation.caller.clone(), self.begin_until)
                    else {
                        return Err(Closing(4401, "Unauthorized"));
                    };
                    if conversation.has(&id) {
                        return Err(Closing(4409, "there is a subscriber of that id already"));
                    }
                    if conversation.is_full() {
                        return Err(Closing(4429, "the socket has too many subscriptions"));
                    }
                    match feeds::begin(&conversation.shared, &caller, payload).await {
                        Begun::Fed(answers) => conversation.subscribe(id, answers),
                        Begun::Answered(answer) if feeds::has_data(&answer) => {
                            let next = json!({"type": "next", "id": id, "payload": answer});
                            let complete = json!({"type": "complete", "id": id});
                            conversation.replies.extend([next.to_string(), complete.to_string()]);
                        }
                        Begun::Answered(mut answer) => {
                            let errors = answer["errors"].take();
                            let error = json!({"type": "error", "id": id, "payload": errors});
                            conversation.replies.push(error.to_string());
                        }
                    }
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn answer(&self, id: &str, answer: &str) -> String {
        let id = Value::from(id);
        format!(r#"{{"type":"next","id":{id},"payload":{answer}}}"#)
    }

    fn due(&self) -> Option<(Instant, Closing)> {
        Some((self.begin_until?, Closing(4408, "Connection initialisation timeout")))
    }
}
