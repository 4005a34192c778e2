//! Bodies of requests that have to keep coming: whoever opens many connections and sends a byte now
//! and then would otherwise hold them for ever.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

/// The longest that nothing at all may come.
const SILENCE: Duration = Duration::from_secs(30);
/// What a body may take, however short it is.
const GRACE: Duration = Duration::from_secs(60);
/// What has to come of a longer one in each second, in bytes: less than any line over which people
/// upload images.
const LEAST_RATE: u64 = 4 * 1024;

/// Breaks bodies off that come too slowly.
pub(crate) async fn hurry(request: Request, next: Next) -> Response {
    next.run(request.map(hurried)).await
}

fn hurried(body: Body) -> Body {
    let began = Instant::now();
    let frames = (body.into_data_stream(), 0_u64);
    let hurried = futures::stream::unfold(Some(frames), move |frames| async move {
        let (mut frames, so_far) = frames?;
        let due = began + GRACE + Duration::from_secs(so_far / LEAST_RATE);
        match timeout_at(due.min(Instant::now() + SILENCE), frames.next()).await {
            Ok(Some(Ok(bytes))) => {
                let so_far = so_far + bytes.len() as u64;
                Some((Ok(bytes), Some((frames, so_far))))
            }
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => {
                let slow = io::Error::new(io::ErrorKind::TimedOut, "the body comes too slowly");
                Some((Err(slow), None))
            }
        }
    });
    Body::from_stream(hurried)
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use futures::{TryStreamExt, stream};

    use super::*;

    /// How many bytes came of a body of that many pieces, each after a pause.
    async fn came(pieces: usize, bytes: usize, pause: Duration) -> Result<usize, String> {
        let piece = Bytes::from(vec![7; bytes]);
        let slow = stream::iter(0..pieces).then(move |_| {
            let piece = piece.clone();
            async move {
                tokio::time::sleep(pause).await;
                Ok::<_, io::Error>(piece)
            }
        });
        let all = hurried(Body::from_stream(slow)).into_data_stream();
        let all: Vec<Bytes> = all.try_collect().await.map_err(|error| error.to_string())?;
        Ok(all.iter().map(Bytes::len).sum())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_take_its_time_and_not_for_ever() {
        let second = Duration::from_secs(1);
        assert_eq!(came(3, 10, second * 15).await, Ok(30), "a short one with pauses");
        assert_eq!(came(600, 8_192, second).await, Ok(600 * 8_192), "a slow line");
        for refused in [
            came(2, 10, second * 40).await,
            came(100, 1, second * 10).await,
            came(10_000, 1_000, second).await,
        ] {
            assert!(refused.is_err_and(|error| error.contains("too slowly")));
        }
    }
}
