//! Sockets as Edgehog's clients open them: Phoenix Channels, version 2, with Absinthe's documents on
//! them. Each frame is a list of five: join reference, reference, topic, event, payload.

use std::sync::Arc;

use axum::extract::{Query, State, WebSocketUpgrade};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, FutureExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::api::Shared;
use crate::errors::{self, Failure};
use crate::feeds::{self, Begun};
use crate::http::admitted;
use crate::socket::{self, Closing, Conversation, Protocol};

/// The topic that documents are sent to.
const CONTROL: &str = "__absinthe__:control";

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    vsn: Option<String>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    tenant: Option<String>,
}

pub(crate) async fn socket(
    State(shared): State<Arc<Shared>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    extensions: Extensions,
    upgrade: WebSocketUpgrade,
) -> Response {
    let (tenant, token) = (asked.tenant.unwrap_or_default(), asked.token);
    let token = token.as_deref().filter(|token| !token.is_empty());
    let caller = match admitted(&shared, &tenant, token, &headers, &extensions) {
        Ok(caller) => caller,
        Err(refusal) => return refusal.into_response(),
    };
    if !asked.vsn.is_some_and(|version| version.starts_with("2.")) {
        let why = "only version 2 of the frames is spoken: ask with vsn=2.0.0";
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    let Ok(place) = Arc::clone(&shared.sockets).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "there are too many sockets").into_response();
    };
    // As much as a frame says that it has is kept free for it.
    let most = shared.limits.request_bytes;
    let upgrade = upgrade.max_message_size(most).max_frame_size(most);
    upgrade.on_upgrade(move |socket| async move {
        let _place = place;
        socket::run(socket, Conversation::new(shared, Some(caller)), Phoenix).await;
    })
}

struct Phoenix;

/// A frame as it comes in.
#[derive(Deserialize)]
struct Frame(Value, Value, String, String, Value);

impl Frame {
    fn reply(&self, status: &str, response: &Value) -> String {
        let Self(join, reference, topic, ..) = self;
        let payload = json!({"status": status, "response": response});
        json!([join, reference, topic, "phx_reply", payload]).to_string()
    }
}

impl Protocol for Phoenix {
    fn hear<'a>(
        &'a mut self,
        text: &'a str,
        conversation: &'a mut Conversation,
    ) -> BoxFuture<'a, Result<(), Closing>> {
        async move {
            let Ok(mut frame) = serde_json::from_str::<Frame>(text) else {
                return Err(Closing(1007, "a frame is a list of five"));
            };
            let reply = match (frame.2.as_str(), frame.3.as_str()) {
                ("phoenix", "heartbeat") | (CONTROL, "phx_join") => frame.reply("ok", &json!({})),
                (CONTROL, "phx_leave") => {
                    conversation.unsubscribe_all();
                    frame.reply("ok", &json!({}))
                }
                (CONTROL, "doc") => {
                    let payload = frame.4.take();
                    document(&frame, payload, conversation).await
                }
                (CONTROL, "unsubscribe") => {
                    let id = frame.4["subscriptionId"].as_str().unwrap_or_default();
                    conversation.unsubscribe(id);
                    frame.reply("ok", &json!({"subscriptionId": id}))
                }
                (_, "phx_join") => frame.reply("error", &json!({"reason": "unmatched topic"})),
                _ => frame.reply("error", &json!({"reason": "unknown event"})),
            };
            conversation.replies.push(reply);
            Ok(())
        }
        .boxed()
    }

    fn answer(&self, id: &str, answer: &str) -> String {
        // The id is one of ours: nothing in it has to be escaped.
        format!(
            r#"[null,null,"{id}","subscription:data",{{"result":{answer},"subscriptionId":"{id}"}}]"#
        )
    }

    fn due(&self) -> Option<(Instant, Closing)> {
        None
    }
}

async fn document(frame: &Frame, payload: Value, conversation: &mut Conversation) -> String {
    let Some(caller) = conversation.caller.clone() else {
        return frame.reply("error", &json!({"reason": "unauthorized"}));
    };
    if conversation.is_full() {
        let failure = Failure::new("invalid_query", "the socket has too many subscriptions");
        return frame.reply("error", &errors::only(&failure));
    }
    match feeds::begin(&conversation.shared, &caller, payload).await {
        Begun::Answered(answer) => {
            let status = if feeds::has_data(&answer) { "ok" } else { "error" };
            frame.reply(status, &answer)
        }
        Begun::Fed(answers) => {
            let id = format!("__absinthe__:doc:{}", Uuid::new_v4());
            conversation.subscribe(id.clone(), answers);
            frame.reply("ok", &json!({"subscriptionId": id}))
        }
    }
}
