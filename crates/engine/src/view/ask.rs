//! Lists and pages, answered from rows alone: nothing here loads or wakes a campaign. What only a
//! campaign at work knows is asked of the engine (`queries`).

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{
    CampaignId, CampaignStatus, DeviceId, StreamId, TargetCounts, TenantId, Timestamp,
};

use super::fold::name;
use super::kept;
use super::key::{self, ListedBy};
use super::place::{self, Found};
use super::question::{
    AskError, CampaignOrder, CampaignQuery, Cursor, Page, TargetEntries, TargetQuery,
};
use super::row::{CampaignEntry, OperationEntry, OperationPlace, TargetEntry};
use super::standing::{CHUNK, Standing, Sums};
use super::store::{Direction, Reached, Row, RowKey, ViewStore};
use super::stream::read;

/// The most entries of a page.
const LONGEST_PAGE: usize = 1_000;

/// How many campaigns are looked at for one page, whichever of them are wanted, and how many at
/// once.
const LOOKED_AT: usize = 2_000;
const LOOKED_AT_ONCE: usize = 200;

/// Points of a chart that are no farther from each other are read together, so many minutes at once.
const NEAR: Duration = Duration::from_secs(16 * 60);
const MINUTES_AT_ONCE: usize = 1_000;

/// Answers questions from rows.
#[derive(Clone)]
pub struct Views {
    rows: Arc<dyn ViewStore>,
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").finish_non_exhaustive()
    }
}

fn page_size(limit: usize) -> usize {
    if limit == 0 { 50 } else { limit.min(LONGEST_PAGE) }
}

impl Views {
    /// From these rows, as far as a [`Follower`](super::Follower) has made them.
    #[must_use]
    pub fn new(rows: Arc<dyn ViewStore>) -> Self {
        Self { rows }
    }

    /// How far in the log the rows are made that answers come from; `None`: not at all yet. Behind
    /// the newest event, what happened since is not in the answers.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn reached(&self) -> Result<Option<Reached>, AskError> {
        Ok(self.rows.reached().await?)
    }

    /// A campaign; `None`: there is none.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn campaign(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<CampaignEntry>, AskError> {
        let row = self.rows.get(vec![key::campaign(tenant, id)]).await?.pop().flatten();
        Ok(row.map(|row| read(&row)).transpose()?)
    }

    /// The campaigns of a tenant, filtered, sorted and page by page.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn campaigns(
        &self,
        tenant: &TenantId,
        query: &CampaignQuery,
    ) -> Result<Page<CampaignEntry>, AskError> {
        let limit = page_size(query.limit);
        let list = list(query);
        let wanted_name = query.name.as_ref().map(|name| name.to_lowercase());
        let mut range = key::beginning_with(match (&wanted_name, list.0) {
            (Some(name), ListedBy::Name) => key::listed_by_name(tenant, name),
            _ => key::listed(tenant, list.0, list.1),
        });
        let direction = match query.order {
            CampaignOrder::Newest => Direction::Backwards,
            CampaignOrder::Oldest | CampaignOrder::Name => Direction::Forwards,
        };
        let (mut entries, mut looked_at) = (Vec::new(), 0);
        within(query.after.as_ref(), &range)?;
        let mut after = query.after.as_ref().map(|cursor| cursor.0.clone());
        loop {
            match (after.take(), direction) {
                // The next key behind it.
                (Some(after), Direction::Forwards) => range.start = [&after[..], &[0]].concat(),
                (Some(after), Direction::Backwards) => range.end = after,
                (None, _) => {}
            }
            // Where the list has nothing beside what is wanted, the first look is enough.
            let least = if looked_at == 0 { 0 } else { LOOKED_AT_ONCE };
            let wanted = (limit + 1 - entries.len()).max(least);
            let places = self.rows.scan(range.clone(), direction, wanted).await?;
            let is_last = places.len() < wanted;
            looked_at += places.len();
            let ids: Vec<_> = places.iter().map(|(key, _)| key::campaign_of(key)).collect();
            let keys = ids.iter().flatten().map(|id| key::campaign(tenant, *id)).collect();
            let rows = self.rows.get(keys).await?;
            for ((place, _), row) in places.iter().zip(rows) {
                let Some(row) = row else { continue };
                let entry: CampaignEntry = read(&row)?;
                let value = if list.0 == ListedBy::Name { &name(&entry) } else { list.1 };
                let own = (list.0, value);
                let own = key::listed_campaign(tenant, own, entry.created_at, entry.campaign);
                let is_named =
                    wanted_name.as_ref().is_none_or(|wanted| name(&entry).starts_with(wanted));
                if own == *place && is_named && matches(query, &entry) {
                    entries.push((place.clone(), entry));
                }
            }
            if entries.len() > limit {
                entries.truncate(limit);
                let next = entries.last().map(|(place, _)| Cursor(place.clone()));
                return Ok(page(entries, next));
            }
            let farthest = places.into_iter().next_back().map(|(key, _)| key);
            if is_last {
                return Ok(page(entries, None));
            }
            if looked_at >= LOOKED_AT {
                return Ok(page(entries, farthest.map(Cursor)));
            }
            after = farthest;
        }
    }

    /// The targets of a campaign, filtered and page by page; `None`: there is no such campaign.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn targets(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        query: &TargetQuery,
    ) -> Result<Option<TargetEntries>, AskError> {
        let limit = page_size(query.limit);
        let Some(row) = self.rows.get(vec![key::sums(tenant, id)]).await?.pop().flatten() else {
            return Ok(None);
        };
        let sums: Vec<Sums> = read(&row)?;
        let from = query.after.map_or(0, |after| after.saturating_add(1));
        let (mut found, mut has_more) = (Vec::new(), false);
        for (chunk, sums) in (0_u32..).zip(&sums).skip((from / CHUNK) as usize) {
            if !sums.keys().any(|byte| query.wants(Standing(*byte))) {
                continue;
            }
            let keys = vec![key::standings(tenant, id, chunk), key::devices(tenant, id, chunk)];
            let mut rows = self.rows.get(keys).await?.into_iter();
            let (Some(Some(standings)), Some(Some(devices))) = (rows.next(), rows.next()) else {
                continue;
            };
            let targets = standings.iter().zip(devices.as_chunks::<16>().0);
            for (place, (byte, device)) in (chunk * CHUNK..).zip(targets) {
                let standing = Standing(*byte);
                if place < from || !query.wants(standing) {
                    continue;
                }
                if found.len() == limit {
                    has_more = true;
                    break;
                }
                let Some((status, settlement)) = standing.read() else { continue };
                let device = DeviceId::from_bytes(*device);
                found.push(TargetEntry { place, device, status, settlement, details: None });
            }
            if has_more {
                break;
            }
        }
        let keys = found.iter().map(|target| key::target(tenant, id, target.place)).collect();
        for (target, row) in found.iter_mut().zip(self.rows.get(keys).await?) {
            let details = row.map(|row| kept::details(&row, StreamId::Campaign(id)));
            target.details = details.transpose()?;
        }
        let next = found.last().filter(|_| has_more).map(|target| target.place);
        Ok(Some(TargetEntries { targets: found, next }))
    }

    /// The target that a device is of a campaign; `None`: it is none.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn target(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        device: DeviceId,
    ) -> Result<Option<TargetEntry>, AskError> {
        let place = match place::find(&*self.rows, tenant, id, device).await? {
            Found::At(place) => Some(place),
            Found::Nowhere => None,
            Found::NotListed => self.look_for(tenant, id, device).await?,
        };
        let Some(place) = place else { return Ok(None) };
        let keys = vec![key::standings(tenant, id, place / CHUNK), key::target(tenant, id, place)];
        let mut rows = self.rows.get(keys).await?.into_iter().map(Option::unwrap_or_default);
        let (standings, row) = (rows.next().unwrap_or_default(), rows.next().unwrap_or_default());
        let standing =
            standings.get((place % CHUNK) as usize).and_then(|byte| Standing(*byte).read());
        let Some((status, settlement)) = standing else { return Ok(None) };
        let stream = StreamId::Campaign(id);
        let details = (!row.is_empty()).then(|| kept::details(&row, stream)).transpose()?;
        Ok(Some(TargetEntry { place, device, status, settlement, details }))
    }

    /// Looks for a device through the targets of a campaign whose snapshot is not complete.
    async fn look_for(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        device: DeviceId,
    ) -> Result<Option<u32>, AskError> {
        for chunk in 0_u32.. {
            let devices = self.rows.get(vec![key::devices(tenant, id, chunk)]).await?;
            let Some(devices) = devices.into_iter().next().flatten() else { break };
            let mut devices = (chunk * CHUNK..).zip(devices.as_chunks::<16>().0);
            if let Some((place, _)) = devices.find(|(_, found)| *found == device.as_bytes()) {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// The operations of a device, of all campaigns and manual updates, the latest first, page by
    /// page.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn operations(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<OperationEntry>, AskError> {
        let limit = page_size(limit);
        let mut range = key::beginning_with(key::operations(tenant, device));
        within(after, &range)?;
        if let Some(Cursor(after)) = after {
            range.end.clone_from(after);
        }
        let mut rows = self.rows.scan(range, Direction::Backwards, limit + 1).await?;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(|(key, _)| Cursor(key.clone()));
        let mut places = Vec::with_capacity(rows.len());
        for (_, row) in &rows {
            places.push(OperationPlace::read(row)?);
        }
        // What is known of the targets, all of it at once.
        let target = |place: &OperationPlace| match place {
            OperationPlace::Target(id, place) => Some(key::target(tenant, *id, *place)),
            OperationPlace::Manual(_) => None,
        };
        let keys = places.iter().filter_map(target).collect();
        let mut targets = self.rows.get(keys).await?.into_iter();
        let mut entries = Vec::with_capacity(rows.len());
        for ((key, _), place) in rows.iter().zip(places) {
            match place {
                OperationPlace::Manual(entry) => entries.push(entry),
                OperationPlace::Target(id, _) => {
                    let Some(row) = targets.next().flatten() else { continue };
                    let details = kept::details(&row, StreamId::Campaign(id))?;
                    let named = key::operation_of(key);
                    let is_named = |entry: &OperationEntry| Some(entry.operation) == named;
                    entries.extend(details.operations.into_iter().find(is_named));
                }
            }
        }
        Ok(Page { entries, next })
    }

    /// How the targets of a campaign stood at so many points in time, evenly from `from` to `until`:
    /// for a chart. Points before its first event are left out. A count is that of the end of the
    /// minute that the point is in.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn counts_over_time(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        (from, until): (Timestamp, Timestamp),
        points: u32,
    ) -> Result<Vec<(Timestamp, TargetCounts)>, AskError> {
        let points = points.clamp(2, 1_000);
        let whole = until.since(from);
        let start = key::minutes(tenant, id);
        // Where points are near each other, those of many are read at once.
        let at_once = if whole / points <= NEAR { MINUTES_AT_ONCE } else { 1 };
        let (mut counts, mut at_hand, mut is_more) = (Vec::new(), VecDeque::new(), true);
        for point in (0..points).rev() {
            let at = from + whole * point / (points - 1);
            let key = key::minute(tenant, id, at);
            while at_hand.front().is_some_and(|(minute, _): &Row| *minute > key) {
                at_hand.pop_front();
            }
            if at_hand.is_empty() && is_more {
                let range = start.clone()..key::successor(key);
                at_hand = self.rows.scan(range, Direction::Backwards, at_once).await?.into();
                is_more = at_hand.len() == at_once;
            }
            let Some((_, row)) = at_hand.front() else { break };
            counts.push((at, read(row)?));
        }
        counts.reverse();
        Ok(counts)
    }
}

impl CampaignQuery {
    /// The place of a campaign in the list that this question is answered from: to be given as `after`
    /// for what is behind it, also by who did not get it from this list.
    #[must_use]
    pub fn place_of(&self, tenant: &TenantId, campaign: &CampaignEntry) -> Cursor {
        let list = list(self);
        let value = if list.0 == ListedBy::Name { &name(campaign) } else { list.1 };
        let (created_at, id) = (campaign.created_at, campaign.campaign);
        Cursor(key::listed_campaign(tenant, (list.0, value), created_at, id))
    }
}

/// Refuses a place that is none of this list.
fn within(after: Option<&Cursor>, list: &std::ops::Range<RowKey>) -> Result<(), AskError> {
    match after {
        Some(cursor) if !list.contains(&cursor.0) => {
            Err(AskError::OtherList { cursor: cursor.clone() })
        }
        _ => Ok(()),
    }
}

fn page(entries: Vec<(RowKey, CampaignEntry)>, next: Option<Cursor>) -> Page<CampaignEntry> {
    Page { entries: entries.into_iter().map(|(_, entry)| entry).collect(), next }
}

/// The list that has what is wanted and the least beside it.
fn list(query: &CampaignQuery) -> (ListedBy, &str) {
    if query.order == CampaignOrder::Name {
        return (ListedBy::Name, "");
    }
    if let Some(outcome) = query.outcome {
        return (ListedBy::Outcome, outcome.name());
    }
    // Most campaigns are finished: another list is shorter.
    let finished = Some(CampaignStatus::Finished);
    if let Some(status) = query.status.filter(|status| Some(*status) != finished) {
        return (ListedBy::Status, status.name());
    }
    if let Some(channel) = &query.channel {
        return (ListedBy::Channel, channel);
    }
    if let Some(model) = &query.system_model {
        return (ListedBy::SystemModel, model);
    }
    query.status.map_or((ListedBy::All, ""), |status| (ListedBy::Status, status.name()))
}

fn matches(query: &CampaignQuery, entry: &CampaignEntry) -> bool {
    let definition = &entry.definition;
    query.status.is_none_or(|status| entry.status == status)
        && query.outcome.is_none_or(|outcome| entry.outcome == Some(outcome))
        && query.channel.as_ref().is_none_or(|name| definition.channel.name().as_str() == name)
        && query
            .system_model
            .as_ref()
            .is_none_or(|model| definition.base_image.system_model.as_str() == model)
}
