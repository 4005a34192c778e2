//! Loading a stream: the newest state snapshot, if one can be used, and the events after it (C3).

use hedgerow_core::{
    Campaign, LiveCampaign, LiveManualUpdate, ManualUpdate, StoredEvent, StreamId, TenantId,
    Timestamp,
    event::{CampaignEvent, ManualUpdateEvent},
};

use crate::LoadError;
use crate::live::Live;
use crate::store::{EventStore, StateSnapshot};
use crate::time::EngineTime;

/// The format of the state snapshots of campaigns; another one is passed over.
const SNAPSHOT_FORMAT: u32 = 3;
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
    let mut version = 0;
    let mut folding = match stream {
        StreamId::Campaign(_) => {
            let snapshot = store.load_snapshot(tenant, stream).await?;
            let campaign = snapshot
                .filter(|snapshot| upto.is_none_or(|upto| snapshot.version <= upto))
                .and_then(|snapshot| campaign_in_snapshot(&snapshot))
                .filter(|campaign| campaign.stream() == stream && campaign.tenant() == tenant);
            version = campaign.as_ref().map_or(0, Campaign::version);
            Folding::Campaign(campaign.map(Box::new))
        }
        StreamId::ManualUpdate(_) => Folding::Manual(None),
    };
    let saved = version;
    'pages: loop {
        let page = store.read_stream(tenant, stream, version, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for stored in &page {
            if upto.is_some_and(|upto| stored.version > upto) {
                break 'pages;
            }
            if stored.version != version + 1 {
                let (expected, found) = (version + 1, stored.version);
                return Err(LoadError::Gap { stream, expected, found });
            }
            folding.fold(stored)?;
            *newest = (*newest).max(Some(stored.event.recorded_at));
            version = stored.version;
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

/// The state snapshot of a campaign.
pub(crate) fn snapshot(campaign: &Campaign) -> Option<StateSnapshot> {
    let data = postcard::to_stdvec(campaign).ok()?;
    Some(StateSnapshot { version: campaign.version(), format: SNAPSHOT_FORMAT, data })
}

/// The campaign as of a state snapshot; `None` if this version does not read it, as then the
/// stream is folded from its first event.
#[must_use]
pub fn campaign_in_snapshot(snapshot: &StateSnapshot) -> Option<Campaign> {
    if snapshot.format != SNAPSHOT_FORMAT {
        return None;
    }
    let mut campaign: Campaign = postcard::from_bytes(&snapshot.data).ok()?;
    (campaign.restore() && campaign.version() == snapshot.version).then_some(campaign)
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
