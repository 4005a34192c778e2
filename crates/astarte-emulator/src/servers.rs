//! The two servers of an emulator: HTTP for backends and for pairing, MQTT over TLS for devices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::mqtt;
use crate::platform::Platform;

/// Connections of devices at the same time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 20_000;

/// Serves the APIs until it is told to stop.
pub(crate) async fn serve_http(
    listener: TcpListener,
    router: axum::Router,
    stop: CancellationToken,
) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let until = stop.clone();
    let serving = axum::serve(listener, service)
        .with_graceful_shutdown(async move { until.cancelled().await });
    // Requests that are under way get a moment to end; clients that keep connections do not hold
    // the end up.
    let grace = async {
        stop.cancelled().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    tokio::select! {
        result = serving.into_future() => {
            if let Err(error) = result {
                tracing::error!(%error, "the HTTP server ended");
            }
        }
        () = grace => {}
    }
}

/// Serves the broker until the emulator stops.
pub(crate) async fn serve_mqtt(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    platform: Arc<Platform>,
    tasks: TaskTracker,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let (permit, accepted) = tokio::select! {
            () = platform.stop.cancelled() => return,
            accepted = accepted => match accepted {
                Some(accepted) => accepted,
                None => return,
            },
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // For example too many open files: others may be closed in a moment.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if platform.broker_is_down.load(Ordering::SeqCst) {
            // Dropping the stream is all that a client sees of a broker that is down.
            continue;
        }
        let (platform, acceptor) = (Arc::clone(&platform), acceptor.clone());
        tasks.spawn(async move {
            let serving = mqtt::connection::serve(&platform, &acceptor, stream, peer);
            tokio::select! {
                result = serving => {
                    if let Err(error) = result {
                        tracing::debug!(%peer, %error, "a connection ended");
                    }
                }
                () = platform.stop.cancelled() => {}
            }
            drop(permit);
        });
    }
}
