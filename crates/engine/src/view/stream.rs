//! One stream of the log, taken up where its rows are, and followed event by event, each with the
//! checksum that is due (E14).
//!
//! Rows are believed if they are those of the event before. If they are not, as an older version
//! could not read an event, or as they are damaged, the rows of this stream are made anew.

use futures::future::Shared;
use hedgerow_core::event::{CampaignEvent, EventError, ManualUpdateEvent};
use hedgerow_core::{Campaign, CampaignId, ManualUpdate, StoredEvent, StreamId, TenantId};

pub(super) use super::fold::Changed;
use super::fold::FollowedCampaign;
use super::follow::FollowError;
use super::kept;
use super::key;
use super::row::{CampaignEntry, TargetDetails};
use super::store::{RowKey, StepError, ViewError, ViewStore};
use super::update::FollowedUpdate;
use crate::ports::BoxFuture;
use crate::store::checksum::Chain;
use crate::store::{EventStore, StoreError};
use crate::{LoadError, campaign_at};

/// Events read at once.
const PAGE: usize = 1_000;

/// Where a stream is read from, and where its rows are.
pub(super) struct Sources<'a> {
    pub(super) log: &'a dyn EventStore,
    pub(super) views: &'a dyn ViewStore,
    /// What is being written into the rows.
    pub(super) writing: Option<&'a Writing>,
}

/// A write that is under way, for whoever needs what is written.
pub(super) type Writing = Shared<BoxFuture<'static, Result<(), StepError>>>;

impl Sources<'_> {
    /// What rows hold, behind what is being written. If that fails, whoever began it is told.
    pub(super) async fn get(&self, keys: Vec<RowKey>) -> Result<Vec<Option<Vec<u8>>>, ViewError> {
        if let Some(writing) = self.writing {
            let _: Result<(), StepError> = writing.clone().await;
        }
        self.views.get(keys).await
    }
}

/// What cannot be gone on with.
pub(super) enum Halt {
    /// This stream alone: its log cannot be read any further (D21).
    Stream(LoadError),
    /// Everything, for now.
    All(FollowError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } => Self::Stream(error.into()),
            error => Self::All(error.into()),
        }
    }
}

impl From<ViewError> for Halt {
    fn from(error: ViewError) -> Self {
        Self::All(error.into())
    }
}

impl From<LoadError> for Halt {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Store(error) => error.into(),
            error => Self::Stream(error),
        }
    }
}

fn of_stream(error: impl Into<LoadError>) -> Halt {
    Halt::Stream(error.into())
}

/// Reads a row.
pub(super) fn read<T: serde::de::DeserializeOwned>(row: &[u8]) -> Result<T, ViewError> {
    serde_json::from_slice(row).map_err(|error| ViewError::Damaged { detail: error.to_string() })
}

/// An event of a stream of either kind.
enum Event {
    Campaign(CampaignEvent),
    Update(ManualUpdateEvent),
}

fn decoded(stored: &StoredEvent) -> Result<Event, Halt> {
    match stored.stream {
        StreamId::Campaign(_) => CampaignEvent::from_stored(stored).map(Event::Campaign),
        StreamId::ManualUpdate(_) => ManualUpdateEvent::from_stored(stored).map(Event::Update),
        // It is passed over before it comes here.
        StreamId::Catalogue => {
            let (stream, version) = (stored.stream, stored.version);
            let event_type = stored.event.event_type.clone();
            Err(EventError::UnknownType { stream, version, event_type })
        }
    }
    .map_err(of_stream)
}

/// What is folded of a stream.
enum Folded {
    Campaign(Box<FollowedCampaign>),
    Update(Box<FollowedUpdate>),
}

/// A stream that is being followed.
pub(super) struct Stream {
    chain: Chain,
    /// Nothing before its first event.
    folded: Option<Folded>,
}

impl Stream {
    /// Takes a stream up where its rows are, and follows it by this event.
    pub(super) async fn up_to(sources: &Sources<'_>, stored: &StoredEvent) -> Result<Self, Halt> {
        let (tenant, before) = (&stored.tenant, stored.version.saturating_sub(1));
        let entry = match stored.stream {
            StreamId::Campaign(id) if before > 0 => entry(sources, tenant, id).await?,
            // That of a manual update is read as soon as its row.
            _ => None,
        };
        let fits =
            entry.as_ref().filter(|entry| entry.events == before && entry.unreadable.is_none());
        let mut stream = match fits {
            Some(entry) => resume(sources, tenant, entry).await?,
            None => Self::anew(sources, tenant, stored.stream, before).await?,
        };
        if let (Some(Folded::Campaign(campaign)), Some(entry)) = (&mut stream.folded, &entry) {
            campaign.was_listed_as(entry);
        }
        stream.apply(sources, stored).await?;
        Ok(stream)
    }

    /// Takes a stream up that could not be read before, as far as the rows are made.
    pub(super) async fn again(
        sources: &Sources<'_>,
        (tenant, id): &(TenantId, StreamId),
        position: u64,
    ) -> Result<Self, Halt> {
        let is_made = |stored: &StoredEvent| stored.position <= position;
        let mut again = Self::from_first(sources, tenant, *id, position, is_made).await?;
        if let (Some(Folded::Campaign(campaign)), StreamId::Campaign(id)) = (&mut again.folded, *id)
            && let Some(entry) = entry(sources, tenant, id).await?
        {
            campaign.was_listed_as(&entry);
        }
        Ok(again)
    }

    /// Follows a stream from its first event to its event `version`, so that all its rows are made.
    async fn anew(
        sources: &Sources<'_>,
        tenant: &TenantId,
        stream: StreamId,
        version: u64,
    ) -> Result<Self, Halt> {
        let is_before = |stored: &StoredEvent| stored.version <= version;
        let anew = Self::from_first(sources, tenant, stream, version, is_before).await?;
        let reached = anew.chain.version();
        if reached < version {
            let (expected, found) = (reached + 1, version + 1);
            return Err(of_stream(LoadError::Gap { stream, expected, found }));
        }
        Ok(anew)
    }

    /// Follows a stream from its first event, as long as events are wanted, of which none is if
    /// `until` is 0.
    async fn from_first(
        sources: &Sources<'_>,
        tenant: &TenantId,
        id: StreamId,
        until: u64,
        is_wanted: impl Fn(&StoredEvent) -> bool,
    ) -> Result<Self, Halt> {
        let mut stream = Self { chain: Chain::default(), folded: None };
        if until == 0 {
            return Ok(stream);
        }
        loop {
            let page = sources.log.read_stream(tenant, id, stream.chain.version(), PAGE).await?;
            for stored in page.iter().take_while(|stored| is_wanted(stored)) {
                let event = decoded(stored)?;
                let place = stream.place(&event);
                stream.fold(stored, &event, place)?;
            }
            if page.last().is_none_or(|last| !is_wanted(last)) {
                return Ok(stream);
            }
        }
    }

    /// Follows the stream by one event.
    pub(super) async fn apply(
        &mut self,
        sources: &Sources<'_>,
        stored: &StoredEvent,
    ) -> Result<(), Halt> {
        let event = decoded(stored)?;
        let place = self.place(&event);
        if let (Some(Folded::Campaign(campaign)), Event::Campaign(event)) =
            (&mut self.folded, &event)
        {
            let wanted = campaign.wants(place, event);
            match details(sources, campaign.campaign(), &wanted).await {
                Ok(details) => {
                    for (place, details) in wanted.into_iter().zip(details) {
                        campaign.know(place, details);
                    }
                }
                Err(ViewError::Damaged { detail }) => {
                    tracing::warn!(stream = %stored.stream, detail, "the rows of a stream are damaged: they are made anew");
                    let before = stored.version.saturating_sub(1);
                    let mut anew =
                        Self::anew(sources, &stored.tenant, stored.stream, before).await?;
                    if let Some(Folded::Campaign(anew)) = &mut anew.folded {
                        anew.is_listed_like(campaign);
                    }
                    *self = anew;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.fold(stored, &event, place)
    }

    /// The place in the snapshot of the target that an event is about.
    fn place(&self, event: &Event) -> Option<u32> {
        match (&self.folded, event) {
            (Some(Folded::Campaign(campaign)), Event::Campaign(event)) => {
                event.device().and_then(|device| campaign.campaign().place_of(device))
            }
            _ => None,
        }
    }

    /// Follows the stream by one event, of which all is known that its rows need.
    fn fold(
        &mut self,
        stored: &StoredEvent,
        event: &Event,
        place: Option<u32>,
    ) -> Result<(), Halt> {
        self.chain.check(stored)?;
        let (tenant, at) = (&stored.tenant, stored.event.recorded_at);
        match (&mut self.folded, event, stored.stream) {
            (Some(Folded::Campaign(campaign)), Event::Campaign(event), _) => {
                campaign.apply(place, event, at).map_err(of_stream)?;
            }
            (Some(Folded::Update(update)), Event::Update(event), _) => {
                update.apply(event, at).map_err(of_stream)?;
            }
            (None, Event::Campaign(event), StreamId::Campaign(id)) => {
                let campaign = Campaign::begin(tenant.clone(), id, event, at).map_err(of_stream)?;
                let campaign = FollowedCampaign::begun(campaign, at);
                self.folded = Some(Folded::Campaign(Box::new(campaign)));
            }
            (None, Event::Update(event), StreamId::ManualUpdate(id)) => {
                let update =
                    ManualUpdate::begin(tenant.clone(), id, event, at).map_err(of_stream)?;
                self.folded = Some(Folded::Update(Box::new(FollowedUpdate::begun(update))));
            }
            // The kind of an event and what is folded both follow from the stream's id.
            _ => {}
        }
        Ok(())
    }

    /// Goes back to its event `version`, as the next one cannot follow. `false`: there is nothing
    /// that could be shown.
    pub(super) async fn rewind(
        &mut self,
        sources: &Sources<'_>,
        version: u64,
    ) -> Result<bool, FollowError> {
        let Some(Folded::Campaign(followed)) = &mut self.folded else {
            // A manual update that an event cannot follow is as it was before.
            return Ok(self.folded.is_some());
        };
        let (tenant, id) = (followed.campaign().tenant().clone(), followed.campaign().id());
        match campaign_at(sources.log, &tenant, id, Some(version)).await {
            Ok(Some(before)) => {
                followed.rewind(before);
                Ok(true)
            }
            Err(LoadError::Store(error)) if !matches!(error, StoreError::Corrupt { .. }) => {
                Err(error.into())
            }
            _ => Ok(false),
        }
    }

    /// Puts what has changed into rows.
    pub(super) fn flush(&mut self, rows: &mut Changed) {
        match &mut self.folded {
            Some(Folded::Campaign(campaign)) => campaign.flush(rows),
            Some(Folded::Update(update)) => update.flush(rows),
            None => {}
        }
    }

    /// Whether nothing but late reports can follow.
    pub(super) fn has_ended(&self) -> bool {
        match &self.folded {
            Some(Folded::Campaign(campaign)) => campaign.campaign().is_settled(),
            Some(Folded::Update(update)) => !update.is_active(),
            None => true,
        }
    }
}

/// A campaign's row, if there is one that can be read.
async fn entry(
    sources: &Sources<'_>,
    tenant: &TenantId,
    id: CampaignId,
) -> Result<Option<CampaignEntry>, ViewError> {
    match sources.get(vec![key::campaign(tenant, id)]).await {
        Ok(mut rows) => Ok(rows.pop().flatten().and_then(|row| read(&row).ok())),
        Err(ViewError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A campaign as its rows have it, which are those of its latest event before.
async fn resume(
    sources: &Sources<'_>,
    tenant: &TenantId,
    entry: &CampaignEntry,
) -> Result<Stream, Halt> {
    let (stream, version) = (StreamId::Campaign(entry.campaign), entry.events);
    let campaign = campaign_at(sources.log, tenant, entry.campaign, Some(version)).await?;
    let last = sources.log.read_stream(tenant, stream, version.saturating_sub(1), 1).await?;
    let (Some(campaign), Some(last)) = (campaign, last.first()) else {
        let (expected, found) = (1, version + 1);
        return Err(of_stream(LoadError::Gap { stream, expected, found }));
    };
    let chain = Chain::after(version, last.checksum);
    let campaign = Box::new(FollowedCampaign::loaded(campaign));
    Ok(Stream { chain, folded: Some(Folded::Campaign(campaign)) })
}

/// What the rows tell of targets.
async fn details(
    sources: &Sources<'_>,
    campaign: &Campaign,
    places: &[u32],
) -> Result<Vec<TargetDetails>, ViewError> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let key = |place: &u32| key::target(campaign.tenant(), campaign.id(), *place);
    let rows = sources.get(places.iter().map(key).collect()).await?;
    let stream = campaign.stream();
    let read_row = |row: Option<Vec<u8>>| {
        row.map_or_else(|| Ok(TargetDetails::default()), |row| kept::details(&row, stream))
    };
    rows.into_iter().map(read_row).collect()
}
