//! Connections in: TCP, with TLS where it is configured, no more of them than there may be, none for
//! ever without a word, and a stop that lets requests end.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, Version};
use hedgerow_graphql::auth::HANDED_ON;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::{TlsAcceptor, rustls, server::TlsStream};
use tokio_util::either::Either;
use tower::Service;

/// How long the other end may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take to arrive, and how long a connection may lie idle.
const HEAD: Duration = Duration::from_secs(30);
/// Connections that wait to be served.
const WAITING: usize = 64;
/// Before the next try, when the machine has no room for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Why nothing is listened to.
#[derive(Debug, thiserror::Error)]
#[error(
    "{address} cannot be listened on ({source}): stop what uses it, or choose another address or port of this machine"
)]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// What TLS is served with, from PEM.
pub(crate) fn tls(certificates: &str, key: &str) -> Result<Arc<rustls::ServerConfig>, String> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(certificates.as_bytes()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or("it holds no certificate that can be read: give it in PEM")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|_| "http.private_key holds no key that can be read: give it in PEM")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate and key do not go together ({error})"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A connection, which counts as one until it is dropped, also while it is a socket.
struct Connection {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    _counted: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A port that is listened on. Dropped, it takes no more connections.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    ready: mpsc::Receiver<(Connection, SocketAddr)>,
    accepting: JoinHandle<()>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Port {
    /// Listens on that address. More connections than that wait until others have ended.
    pub(crate) async fn open(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        connections: usize,
    ) -> Result<Self, ListenError> {
        let refused = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (sender, ready) = mpsc::channel(WAITING);
        let room = Arc::new(Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS)));
        let accepting = tokio::spawn(accept(listener, tls.map(TlsAcceptor::from), room, sender));
        Ok(Self { address, ready, accepting })
    }

    /// Which address that is: with port 0, the system chose one.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Takes connections for ever. A slow handshake holds nobody up.
async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    room: Arc<Semaphore>,
    ready: mpsc::Sender<(Connection, SocketAddr)>,
) {
    // The semaphore is never closed.
    while let Ok(counted) = Arc::clone(&room).acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection was not taken");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Small messages of subscriptions are not to wait for one another.
        let _ = stream.set_nodelay(true);
        match &tls {
            None => {
                let connection = Connection { stream: Either::Left(stream), _counted: counted };
                if ready.send((connection, peer)).await.is_err() {
                    return;
                }
            }
            Some(tls) => {
                let (agreed, ready) = (tls.accept(stream), ready.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE, agreed).await {
                        Ok(Ok(stream)) => {
                            let stream = Either::Right(Box::new(stream));
                            let connection = Connection { stream, _counted: counted };
                            let _ = ready.send((connection, peer)).await;
                        }
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS was agreed on"),
                        Err(_) => tracing::debug!(%peer, "TLS took too long"),
                    }
                });
            }
        }
    }
}

/// Serves until `stop` ends, takes nothing new then, and waits until what is under way has ended, at
/// most for so long.
pub(crate) async fn serve(
    mut port: Port,
    router: Router,
    stop: impl Future<Output = ()> + Send,
    stop_within: Duration,
) {
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            ready = port.ready.recv() => {
                // Nobody accepts any more, which ends with the process only.
                let Some((connection, peer)) = ready else { break };
                connections.spawn(talk(connection, peer, router.clone(), stopped.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(port);
    stopping.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(stop_within, ended).await.is_err() {
        tracing::warn!("requests that take too long are broken off");
        connections.shutdown().await;
    }
}

/// One connection, request by request, until it ends or the service is to stop.
async fn talk(
    connection: Connection,
    peer: SocketAddr,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        if !was_handed_on(request.version(), request.headers()) {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        // A router is always ready.
        router.clone().call(request)
    });
    let mut talking = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(connection), service)
            .with_upgrades()
    );
    let is_to_stop = async move {
        // The sender is gone when nobody waits any more.
        let _ = stopped.wait_for(|stopping| *stopping).await;
    };
    let ended = tokio::select! {
        ended = talking.as_mut() => ended,
        () = is_to_stop => {
            talking.as_mut().graceful_shutdown();
            talking.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke");
    }
}

/// Whether a request may come from elsewhere than its connection does: then nobody knows from where.
/// Proxies that say nothing else of themselves speak HTTP/1.0.
fn was_handed_on(version: Version, headers: &HeaderMap) -> bool {
    version < Version::HTTP_11 || HANDED_ON.iter().any(|name| headers.contains_key(*name))
}
