//! The connection of one device: TLS, the CONNECT, and then bytes in both directions until one side
//! ends it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet, SubAck, Subscribe, SubscribeReasonCode};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::frame::{self, FrameError};
use super::session::{Session, SessionError};
use super::topic::may_subscribe;
use crate::authority::client_name;
use crate::device_id::DeviceId;
use crate::platform::{Closing, LinkHandle, Platform};
use crate::realm::Realm;

/// How long a client may take for the TLS handshake, and then for its CONNECT.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection ended, for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("no TLS handshake or CONNECT in {GREETING_TIMEOUT:?}")]
    GreetingTimeout,
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("the certificate names no device of a realm of this emulator")]
    Certificate,
    #[error("the client is refused: {0:?}")]
    Refused(ConnectReturnCode),
    #[error("the first packet is not CONNECT")]
    NoConnect,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Closing(#[from] Closing),
    #[error("nothing came for one and a half times the keep-alive")]
    KeepAlive,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(
    platform: &Platform,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let mut stream = timeout(GREETING_TIMEOUT, acceptor.accept(stream))
        .await
        .map_err(|_| ConnectionError::GreetingTimeout)??;
    let name = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
        .and_then(client_name)
        .ok_or(ConnectionError::Certificate)?;
    let (realm, device) = identity(platform, &name).ok_or(ConnectionError::Certificate)?;

    let mut bytes = BytesMut::with_capacity(4096);
    let greeting = timeout(GREETING_TIMEOUT, read_packet(&mut stream, &mut bytes))
        .await
        .map_err(|_| ConnectionError::GreetingTimeout)??;
    let Packet::Connect(connect) = greeting else { return Err(ConnectionError::NoConnect) };
    // Astarte takes the device from the certificate, whatever the client calls itself.
    let accepted = if connect.protocol != mqttbytes::Protocol::V4 {
        Err(ConnectReturnCode::RefusedProtocolVersion)
    } else if connect.client_id.is_empty() && !connect.clean_session {
        // MQTT itself forbids a session that outlives its connection and has no name.
        Err(ConnectReturnCode::BadClientId)
    } else {
        platform.connect(&realm, device, connect.clean_session, peer.ip())
    };
    let link = match accepted {
        Ok(link) => link,
        Err(reason) => {
            let refusal = Packet::ConnAck(ConnAck::new(reason, false));
            let mut answer = BytesMut::new();
            frame::write(&refusal, &mut answer)?;
            stream.write_all(&answer).await?;
            stream.shutdown().await?;
            return Err(ConnectionError::Refused(reason));
        }
    };

    let keep_alive = match connect.keep_alive {
        0 => None,
        seconds => Some(Duration::from_millis(u64::from(seconds) * 1500)),
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let result = tokio::select! {
        result = receive(platform, &realm, &link, &mut reader, bytes, keep_alive) => result,
        result = send(platform, &realm, &link, &mut writer) => result,
        () = link.close.cancelled() => Err(Closing::Superseded.into()),
    };
    platform.disconnected(&realm, &link);
    // The client may be gone already, or not read.
    drop(timeout(Duration::from_secs(1), writer.shutdown()).await);
    result
}

/// The device that a certificate is for.
fn identity(platform: &Platform, name: &str) -> Option<(Arc<Realm>, DeviceId)> {
    let (realm, device) = name.split_once('/')?;
    Some((Arc::clone(platform.realms.get(realm)?), device.parse().ok()?))
}

async fn read_packet(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut BytesMut,
) -> Result<Packet, ConnectionError> {
    loop {
        if let Some(packet) = frame::next(bytes)? {
            return Ok(packet);
        }
        if stream.read_buf(bytes).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    }
}

async fn receive(
    platform: &Platform,
    realm: &Realm,
    link: &LinkHandle,
    reader: &mut (impl AsyncRead + Unpin),
    mut bytes: BytesMut,
    keep_alive: Option<Duration>,
) -> Result<(), ConnectionError> {
    loop {
        let next = read_packet(reader, &mut bytes);
        let packet = match keep_alive {
            Some(limit) => timeout(limit, next).await.map_err(|_| ConnectionError::KeepAlive)??,
            None => next.await?,
        };
        platform.packet(realm, link, packet)?;
    }
}

async fn send(
    platform: &Platform,
    realm: &Realm,
    link: &LinkHandle,
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<(), ConnectionError> {
    let mut bytes = BytesMut::with_capacity(4096);
    loop {
        link.wake.notified().await;
        let packets = platform.outgoing(realm, link).ok_or(Closing::Superseded)?;
        for packet in &packets {
            frame::write(packet, &mut bytes)?;
        }
        writer.write_all(&bytes).await?;
        writer.flush().await?;
        bytes.clear();
    }
}

/// Makes the subscriptions that the device may make, and tells which those are.
pub(crate) fn subscribe(
    session: &mut Session,
    subscribe: Subscribe,
    prefix: &str,
) -> Result<Packet, SessionError> {
    let codes = subscribe
        .filters
        .into_iter()
        .map(|filter| {
            if !may_subscribe(&filter.path, prefix) {
                return Ok(SubscribeReasonCode::Failure);
            }
            session.subscribe(filter.path, filter.qos)?;
            Ok(SubscribeReasonCode::Success(filter.qos))
        })
        .collect::<Result<_, SessionError>>()?;
    Ok(Packet::SubAck(SubAck::new(subscribe.pkid, codes)))
}
