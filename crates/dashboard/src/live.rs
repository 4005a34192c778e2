//! How a campaign's page moves on by itself: its parts, rendered anew, as server-sent events.
//!
//! Each open page looks at the campaign's row once a second, which costs the same however many devices
//! there are, and is sent something only when that has changed.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream};
use hedgerow_engine::view::CampaignEntry;
use serde_json::json;

use crate::Shared;
use crate::campaign::{Parts, found};
use crate::frame::Problem;
use crate::guard::Guest;

/// How often a page looks.
const EVERY: Duration = Duration::from_secs(1);
/// How many pages may be open at once.
const MOST: usize = 1_000;

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// A place among those that may be open.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        // From now on it is given back when it is dropped.
        let place = Self;
        (OPEN.fetch_add(1, Ordering::SeqCst) < MOST).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Watch {
    shared: Shared,
    guest: Guest,
    campaign: String,
    /// How many events the campaign had, and whether it was told to be at work, when it was last sent.
    seen: Option<u64>,
    _place: Place,
}

pub(crate) async fn events(
    State(shared): State<Shared>,
    guest: Guest,
    Path((_, campaign)): Path<(String, String)>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let entry = found(&shared, &guest, &campaign).await?;
    let place = Place::take().ok_or(Problem::TooMany)?;
    let watch = Watch { shared, guest, campaign, seen: Some(entry.events), _place: place };
    let events = stream::unfold(watch, |mut watch| async move {
        loop {
            tokio::time::sleep(EVERY).await;
            if watch.shared.stopping.load(Ordering::Relaxed) {
                return None;
            }
            if watch.guest.caller.expires_at.is_some_and(|at| at <= seconds()) {
                return None;
            }
            let entry = match found(&watch.shared, &watch.guest, &watch.campaign).await {
                Ok(entry) => entry,
                // It is tried again: the page shows what it had.
                Err(Problem::Engine(error)) if error.is_retryable() => continue,
                Err(_) => return None,
            };
            if watch.seen != Some(entry.events)
                && let Ok(parts) = Parts::of(&watch.shared, &watch.guest, &entry).await
            {
                watch.seen = Some(entry.events);
                return Some((Ok(told(&entry, parts)), watch));
            }
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn told(entry: &CampaignEntry, parts: Parts) -> Event {
    let parts = json!({
        "state": parts.state.into_string(),
        "progress": parts.progress.into_string(),
        "waits": parts.waits.into_string(),
        "failures": parts.failures.into_string(),
        "slowest": parts.slowest.into_string(),
        // With another one there are other buttons.
        "status": entry.status.name(),
    });
    Event::default().event("parts").data(parts.to_string())
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}
