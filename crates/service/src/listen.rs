//! Connections in: TCP, with TLS where it is configured, and a stop that lets requests end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, rustls, server::TlsStream};
use tokio_util::either::Either;

/// How long the other end may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that agreed on TLS and wait to be served.
const WAITING: usize = 64;
/// Before the next try, when the machine has no room for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Why nothing is listened to.
#[derive(Debug, thiserror::Error)]
#[error(
    "{address} cannot be listened on ({source}): is it used already, or an address of another machine?"
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

/// A port that is listened on. Dropped, it takes no more connections.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    ready: mpsc::Receiver<(Stream, SocketAddr)>,
    accepting: JoinHandle<()>,
}

type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Drop for Port {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Port {
    /// Listens on that address.
    pub(crate) async fn open(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<Self, ListenError> {
        let refused = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (sender, ready) = mpsc::channel(WAITING);
        let accepting = tokio::spawn(accept(listener, tls.map(TlsAcceptor::from), sender));
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
    ready: mpsc::Sender<(Stream, SocketAddr)>,
) {
    loop {
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
                if ready.send((Either::Left(stream), peer)).await.is_err() {
                    return;
                }
            }
            Some(tls) => {
                let (agreed, ready) = (tls.accept(stream), ready.clone());
                tokio::spawn(async move {
                    match tokio::time::timeout(HANDSHAKE, agreed).await {
                        Ok(Ok(stream)) => {
                            let _ = ready.send((Either::Right(Box::new(stream)), peer)).await;
                        }
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS was agreed on"),
                        Err(_) => tracing::debug!(%peer, "TLS took too long"),
                    }
                });
            }
        }
    }
}

impl Listener for Port {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // Nobody accepts any more, which ends with the process only.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, Port>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Port>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Serves until `stop` ends, takes nothing new then, and waits until what is under way has ended, at
/// most for so long.
pub(crate) async fn serve(
    port: Port,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
    stop_within: Duration,
) {
    // Handlers ask for it as of a plain listener.
    let router = router.layer(from_fn(as_address));
    let (stopping, mut stopped) = tokio::sync::watch::channel(false);
    let told = async move {
        stop.await;
        stopping.send_replace(true);
    };
    let serving = axum::serve(port, router.into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(told);
    let too_long = async move {
        // The sender is gone when the serving is.
        let _ = stopped.wait_for(|stopping| *stopping).await;
        tokio::time::sleep(stop_within).await;
    };
    tokio::select! {
        ended = serving.into_future() => {
            if let Err(error) = ended {
                tracing::error!(%error, "serving ended");
            }
        }
        () = too_long => tracing::warn!("requests that take too long are broken off"),
    }
}

async fn as_address(mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get().copied();
    if let Some(ConnectInfo(Peer(address))) = peer {
        request.extensions_mut().insert(ConnectInfo(address));
    }
    next.run(request).await
}
