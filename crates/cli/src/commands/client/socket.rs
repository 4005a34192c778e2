//! Subscriptions to a running service, over a socket in the protocol `graphql-transport-ws`: what
//! happens is told when it happens, and nobody has to ask again and again.

use std::collections::VecDeque;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use reqwest::{StatusCode, Upgraded, header};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{Client, ClientError, LARGEST_ANSWER, sentences};

const PROTOCOL: &str = "graphql-transport-ws";
/// How long the service may take to answer, or to take a message.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so long without a word the service is asked for one; it sends pings more often than that.
const SILENCE: Duration = Duration::from_secs(45);

/// What a socket told.
enum Heard {
    Message(Value),
    /// Nothing yet; or nothing that concerns anybody here.
    Nothing,
    /// It has ended, with a code and a reason if the service closed it.
    Ended(Option<(u16, String)>),
}

/// A socket that is open.
pub(super) struct Socket {
    stream: WebSocketStream<Upgraded>,
    address: String,
    tenant: String,
    /// Told, and not asked for yet.
    told: VecDeque<Value>,
    /// How many subscriptions there have been.
    subscriptions: u64,
    /// When the service said something last, and whether it was asked to since.
    heard: Instant,
    was_asked: bool,
}

impl Client {
    /// Opens a socket.
    pub(super) async fn socket(&self) -> Result<Socket, ClientError> {
        let opening = async {
            let mut opened = Socket {
                stream: self.upgraded().await?,
                address: self.address.clone(),
                tenant: self.tenant.clone(),
                told: VecDeque::new(),
                subscriptions: 0,
                heard: Instant::now(),
                was_asked: false,
            };
            opened.say(&json!({"type": "connection_init"})).await?;
            opened.wait_for("connection_ack").await?;
            Ok(opened)
        };
        let late = || self.unreachable("it takes too long");
        timeout(PATIENCE, opening).await.map_err(|_| late())?
    }

    /// A socket on which nothing was said yet.
    async fn upgraded(&self) -> Result<WebSocketStream<Upgraded>, ClientError> {
        let key = generate_key();
        let address = format!("{}/tenants/{}/socket", self.address, self.tenant);
        let mut get = self
            .sockets
            .get(address)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key)
            .header(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
        if let Some(token) = &self.token {
            get = get.bearer_auth(token);
        }
        let answer = get.send().await.map_err(|error| self.broken(error))?;
        match answer.status() {
            StatusCode::SWITCHING_PROTOCOLS => {}
            StatusCode::UNAUTHORIZED => return Err(ClientError::NoToken),
            StatusCode::FORBIDDEN => return Err(ClientError::Forbidden(self.tenant.clone())),
            StatusCode::SERVICE_UNAVAILABLE => return Err(self.unreachable("it has no room")),
            status => return Err(ClientError::NoSocket(status.to_string())),
        }
        let is = |name, value: &str| answer.headers().get(name).is_some_and(|it| it == value);
        let accepts = derive_accept_key(key.as_bytes());
        if !is(header::SEC_WEBSOCKET_ACCEPT, &accepts)
            || !is(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
        {
            return Err(ClientError::NoSocket("another protocol".to_owned()));
        }
        let upgraded = answer.upgrade().await.map_err(|error| self.broken(error))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_ANSWER))
            .max_frame_size(Some(LARGEST_ANSWER));
        Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
    }
}

impl Socket {
    /// Subscribes, and gives the subscription's id. What happens after this has returned is told.
    pub(super) async fn subscribe(
        &mut self,
        query: &str,
        variables: Value,
    ) -> Result<String, ClientError> {
        self.subscriptions += 1;
        let id = self.subscriptions.to_string();
        let payload = json!({"query": query, "variables": variables});
        self.say(&json!({"type": "subscribe", "id": id, "payload": payload})).await?;
        // Messages are heard one after the other: what answers this has subscribed.
        self.say(&json!({"type": "ping"})).await?;
        let lost = self.lost();
        timeout(PATIENCE, self.wait_for("pong")).await.map_err(|_| lost)??;
        Ok(id)
    }

    /// Wants to be told no more of that.
    pub(super) async fn unsubscribe(&mut self, id: &str) -> Result<(), ClientError> {
        self.say(&json!({"type": "complete", "id": id})).await
    }

    /// What is told next; `None`: the connection has ended, and what happens until it is opened again
    /// is missed. Nothing is lost if this is given up halfway.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Ok(Some(told));
            }
            let until = self.heard + if self.was_asked { SILENCE * 2 } else { SILENCE };
            match timeout_at(until, self.hear()).await {
                Ok(Heard::Message(message)) => {
                    if !self.take(message)? {
                        return Ok(None);
                    }
                }
                Ok(Heard::Nothing) => {}
                Ok(Heard::Ended(closed)) => return self.ended(closed).map(|()| None),
                Err(_) if self.was_asked => return Ok(None),
                Err(_) => {
                    self.was_asked = true;
                    if self.say(&json!({"type": "ping"})).await.is_err() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Keeps what a message tells; `false`: there is no more to come.
    fn take(&mut self, mut message: Value) -> Result<bool, ClientError> {
        match message["type"].as_str() {
            Some("next") => {
                let mut answer = message["payload"].take();
                if let Some(said) = sentences(&answer["errors"]) {
                    return Err(ClientError::Refused(said));
                }
                self.told.push_back(answer["data"].take());
                Ok(true)
            }
            Some("error") => {
                let said = sentences(&message["payload"]);
                Err(ClientError::Refused(said.unwrap_or_else(|| "something is wrong".to_owned())))
            }
            Some("complete") => Ok(false),
            _ => Ok(true),
        }
    }

    async fn wait_for(&mut self, kind: &str) -> Result<(), ClientError> {
        loop {
            match self.hear().await {
                Heard::Message(message) if message["type"] == kind => return Ok(()),
                Heard::Message(message) => {
                    if !self.take(message)? {
                        return Err(self.lost());
                    }
                }
                Heard::Nothing => {}
                Heard::Ended(closed) => {
                    self.ended(closed)?;
                    return Err(self.lost());
                }
            }
        }
    }

    fn lost(&self) -> ClientError {
        ClientError::Unreachable(self.address.clone(), "the connection broke".to_owned())
    }

    async fn hear(&mut self) -> Heard {
        let heard = self.stream.next().await;
        (self.heard, self.was_asked) = (Instant::now(), false);
        match heard {
            Some(Ok(Message::Text(text))) => {
                serde_json::from_str(&text).map_or(Heard::Nothing, Heard::Message)
            }
            Some(Ok(Message::Close(frame))) => {
                Heard::Ended(frame.map(|CloseFrame { code, reason }: CloseFrame| {
                    (code.into(), reason.as_str().to_owned())
                }))
            }
            // Pings are answered below this.
            Some(Ok(_)) => Heard::Nothing,
            Some(Err(_)) | None => Heard::Ended(None),
        }
    }

    async fn say(&mut self, message: &Value) -> Result<(), ClientError> {
        let text = Message::Text(Utf8Bytes::from(message.to_string()));
        let sent = timeout(PATIENCE, self.stream.send(text)).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(self.lost()),
        }
    }

    /// Some codes say that coming again is of no use.
    fn ended(&self, closed: Option<(u16, String)>) -> Result<(), ClientError> {
        match closed {
            Some((4401, _)) => Err(ClientError::NoToken),
            Some((4403, _)) => Err(ClientError::Forbidden(self.tenant.clone())),
            Some((4400..=4499, reason)) => Err(ClientError::Refused(reason)),
            _ => Ok(()),
        }
    }
}
