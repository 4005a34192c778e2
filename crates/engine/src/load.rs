//! Loading a stream: the newest state snapshot, if one can be used, and the events after it (C3),
//! whose checksums must fit (E14).
//!
//! A state snapshot is believed only if it is whole, is of this stream, and stands on an event that
//! the log still has: one that is damaged, or was put there from elsewhere, is passed over.

use hedgerow_core::{
    Campaign, Checksum, LiveCampaign, LiveManualUpdate, ManualUpdate, StoredEvent, StreamId,
    TenantId, Timestamp,
    event::{CampaignEvent, ManualUpdateEvent},
};

use sha2::{Digest, Sha256};

use crate::LoadError;
use crate::live::Live;
use crate::store::checksum::Chain;
use crate::store::{EventStore, StateSnapshot, StoreError};
use crate::time::EngineTime;

/// The format of the state snapshots of campaigns; another one is passed over.
const SNAPSHOT_FORMAT: u32 = 6;
/// What the checksum of a state snapshot begins with.
const SNAPSHOT: &[u8] = b"hedgerow state 1";
/// The bytes of a checksum. A state snapshot is its own, that of the event it stands on, the state.
const CHECKSUM: usize = 32;
/// Events read at once.
const PAGE: usize = 10_000;

/// The state of a stream that is read event by event.
enum Folding {
    Campaign(Option<Box<Campaign>>),
    Manual(Option<Box<ManualUpdate>>),
}

impl Folding {
    fn fold(&mut self, stored: &StoredEvent) -> Result<(), LoadError> {
        let at = stored.event.recorded_at;
        let tenant = || stored.tenant.clone();
        match (self, stored.stream) {
            (Self::Campaign(state), StreamId::Campaign(id)) => {
                let event = CampaignEvent::from_stored(stored)?;
                match state {
                    Some(campaign) => campaign.apply(&event, at)?,
                    None => *state = Some(Box::new(Campaign::begin(tenant(), id, &event, at)?)),
                }
            }
            (Self::Manual(state), StreamId::ManualUpdate(id)) => {
                let event = ManualUpdateEvent::from_stored(stored)?;
                match state {
                    Some(update) => update.apply(&event, at)?,
                    None => *state = Some(Box::new(ManualUpdate::begin(tenant(), id, &event, at)?)),
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Loads a stream whole, with the version of the state snapshot that it began with, or 0, for an
/// engine whose time is not to be before what was recorded (E12): another engine, with another
/// clock, may have written to it.
pub(crate) async fn load(
    store: &dyn EventStore,
    time: &EngineTime,
    tenant: &TenantId,
    stream: StreamId,
) -> Result<Option<(Live, u64)>, LoadError> {
    let mut newest = None;
    let live = load_upto(store, tenant, stream, None, &mut newest).await?;
    if let Some(newest) = newest {
        time.is_at_least(newest);
    }
    Ok(live)
}

/// Loads a stream up to event `upto`, or whole; `None` if it has no event. `newest` becomes the
/// time of the newest of the events that were read.
async fn load_upto(
    store: &dyn EventStore,
    tenant: &TenantId,
    stream: StreamId,
    upto: Option<u64>,
    newest: &mut Option<Timestamp>,
) -> Result<Option<(Live, u64)>, LoadError> {
    let (mut folding, mut chain) = match stream {
        StreamId::Campaign(_) => match in_snapshot(store, tenant, stream, upto).await? {
            Some((campaign, chain)) => (Folding::Campaign(Some(Box::new(campaign))), chain),
            None => (Folding::Campaign(None), Chain::default()),
        },
        StreamId::ManualUpdate(_) => (Folding::Manual(None), Chain::default()),
        // Nothing here acts on it.
        StreamId::Catalogue => return Ok(None),
    };
    let saved = chain.version();
    'pages: loop {
        let page = store.read_stream(tenant, stream, chain.version(), PAGE).await?;
        if page.is_empty() {
            break;
        }
        for stored in &page {
            if upto.is_some_and(|upto| stored.version > upto) {
                break 'pages;
            }
            let (expected, found) = (chain.version() + 1, stored.version);
            if found != expected {
                return Err(LoadError::Gap { stream, expected, found });
            }
            chain.check(stored)?;
            folding.fold(stored)?;
            *newest = (*newest).max(Some(stored.event.recorded_at));
        }
    }
    let live = match folding {
        Folding::Campaign(campaign) => {
            campaign.map(|campaign| LiveCampaign::loaded(*campaign).into())
        }
        Folding::Manual(update) => update.map(|update| LiveManualUpdate::loaded(*update).into()),
    };
    Ok(live.map(|live| (live, saved)))
}

/// The state of a campaign, for [`save`].
pub(crate) fn encoded(campaign: &Campaign) -> Option<Vec<u8>> {
    postcard::to_stdvec(campaign).ok()
}

/// Keeps the state of a campaign as of its event `version`, bound to that event as the store has it.
pub(crate) async fn save(
    store: &dyn EventStore,
    tenant: &TenantId,
    stream: StreamId,
    version: u64,
    state: Vec<u8>,
) -> Result<(), StoreError> {
    let page = store.read_stream(tenant, stream, version.saturating_sub(1), 1).await?;
    let Some(stored) = page.first() else { return Ok(()) };
    let event = mark_of(stored);
    let own = digest(version, &event, &state);
    let data = [&own[..], event.as_bytes(), &state].concat();
    let snapshot = StateSnapshot { version, format: SNAPSHOT_FORMAT, data };
    store.save_snapshot(tenant, stream, snapshot).await
}

/// What a state snapshot knows the event by that it stands on: its checksum, or for an event
/// without one what a chain that begins there would have.
fn mark_of(stored: &StoredEvent) -> Checksum {
    stored.checksum.unwrap_or_else(|| {
        let mut chain = Chain::after(stored.version.saturating_sub(1), None);
        chain.extend(&stored.tenant, stored.stream, &stored.event)
    })
}

fn digest(version: u64, event: &Checksum, state: &[u8]) -> [u8; CHECKSUM] {
    let mut hash = Sha256::new_with_prefix(SNAPSHOT);
    hash.update(version.to_be_bytes());
    hash.update(event.as_bytes());
    hash.update(state);
    hash.finalize().into()
}

/// The campaign as of a state snapshot, with the mark of the event that it stands on.
fn opened(snapshot: &StateSnapshot) -> Option<(Campaign, Checksum)> {
    if snapshot.format != SNAPSHOT_FORMAT {
        return None;
    }
    let (own, rest) = snapshot.data.split_first_chunk::<CHECKSUM>()?;
    let (event, state) = rest.split_first_chunk::<CHECKSUM>()?;
    let event = Checksum::from_bytes(*event);
    if digest(snapshot.version, &event, state) != *own {
        return None;
    }
    let mut campaign: Campaign = postcard::from_bytes(state).ok()?;
    (campaign.restore() && campaign.version() == snapshot.version).then_some((campaign, event))
}

/// The campaign of the newest state snapshot and the chain that goes on from there; `None` if there
/// is none that can be believed and is not newer than event `upto` (E1).
async fn in_snapshot(
    store: &dyn EventStore,
    tenant: &TenantId,
    stream: StreamId,
    upto: Option<u64>,
) -> Result<Option<(Campaign, Chain)>, StoreError> {
    let snapshot = store.load_snapshot(tenant, stream).await?;
    let snapshot = snapshot.filter(|snapshot| upto.is_none_or(|upto| snapshot.version <= upto));
    let Some(snapshot) = snapshot else { return Ok(None) };
    let version = snapshot.version;
    let found = opened(&snapshot)
        .filter(|(campaign, _)| campaign.stream() == stream && campaign.tenant() == tenant);
    let Some((campaign, mark)) = found else {
        tracing::warn!(%stream, version, "a state snapshot cannot be used: it is of another version of Hedgerow, or damaged");
        return Ok(None);
    };
    let page = store.read_stream(tenant, stream, version.saturating_sub(1), 1).await?;
    let stands = page.first().filter(|stored| stored.version == version && mark_of(stored) == mark);
    if stands.is_none() {
        tracing::warn!(%stream, version, "a state snapshot is not used: the log has another event there");
    }
    Ok(stands.map(|stored| (campaign, Chain::after(version, stored.checksum))))
}

/// The campaign as of a state snapshot; `None` if this version does not read it or it is damaged,
/// as then the stream is folded from its first event.
#[must_use]
pub fn campaign_in_snapshot(snapshot: &StateSnapshot) -> Option<Campaign> {
    opened(snapshot).map(|(campaign, _)| campaign)
}

/// The state of a campaign as of its event `upto`, or as it is now: for reading a log (E1).
///
/// # Errors
/// [`LoadError`] if the log cannot be folded.
pub async fn campaign_at(
    store: &dyn EventStore,
    tenant: &TenantId,
    campaign: hedgerow_core::CampaignId,
    upto: Option<u64>,
) -> Result<Option<Campaign>, LoadError> {
    let live = load_upto(store, tenant, StreamId::Campaign(campaign), upto, &mut None).await?;
    Ok(live.and_then(|(live, _)| live.campaign().map(|live| live.campaign().clone())))
}

/// The state of a manual update as of its event `upto`, or as it is now.
///
/// # Errors
/// [`LoadError`] if the log cannot be folded.
pub async fn manual_update_at(
    store: &dyn EventStore,
    tenant: &TenantId,
    update: hedgerow_core::OperationId,
    upto: Option<u64>,
) -> Result<Option<ManualUpdate>, LoadError> {
    let live = load_upto(store, tenant, StreamId::ManualUpdate(update), upto, &mut None).await?;
    Ok(live.and_then(|(live, _)| live.manual().map(|live| live.update().clone())))
}

#[cfg(test)]
mod tests;
