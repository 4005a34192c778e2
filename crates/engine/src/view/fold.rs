//! One campaign, followed event by event: what changes in its rows.
//!
//! How a target stands is not decided here: the state is the core's fold of the same events (E1),
//! and rows are made from it. Only what the state forgets is kept beside it: why a target failed, in
//! its values, and operations that have ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use hedgerow_core::event::CampaignEvent;
use hedgerow_core::{
    ApplyError, Campaign, FailureReason, Settlement, StreamId, TargetCounts, TenantId, Timestamp,
};

use super::kept;
use super::key::{self, ListedBy};
use super::place;
use super::row::{
    CampaignEntry, Failure, OperationEnd, OperationEntry, OperationPlace, TargetDetails,
};
use super::standing::{self, CHUNK, Standing, Sums};
use super::store::RowKey;

/// Changes of rows, by key.
pub(super) type Changes = BTreeMap<RowKey, Option<Vec<u8>>>;

/// Changes of rows, each of another key, in no order: there can be hundreds of thousands.
pub(super) type Changed = Vec<(RowKey, Option<Vec<u8>>)>;

/// So long is what one row of counts over time stands for.
const MINUTE: i64 = 60_000;

/// The most operations of a target that are kept.
const OPERATIONS: usize = 100;

/// A target that is known, and whether its row is that of what is known.
struct Touched {
    details: TargetDetails,
    is_changed: bool,
    /// Operations to be found by their device from now on, and no more.
    begun: Vec<RowKey>,
    gone: Vec<RowKey>,
}

impl Touched {
    fn with(details: TargetDetails) -> Self {
        Self { details, is_changed: false, begun: Vec::new(), gone: Vec::new() }
    }
}

/// Places are numbers that nobody chooses: a mix of their bits is enough.
#[derive(Default)]
struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        let mixed = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// A campaign that is being followed.
pub(super) struct FollowedCampaign {
    campaign: Campaign,
    /// Targets that may change again, by their places.
    touched: HashMap<u32, Box<Touched>, BuildHasherDefault<PlaceHasher>>,
    /// The places of those that have changed.
    changed: Vec<u32>,
    /// Whether every target that is not in `touched` and not final has no row.
    knows_all: bool,
    sums: Vec<Sums>,
    changed_chunks: BTreeSet<u32>,
    new_devices_from: u32,
    /// Whether it is written which target a device is.
    has_places: bool,
    minutes: BTreeMap<i64, TargetCounts>,
    /// Where it is listed.
    listed: BTreeSet<RowKey>,
    is_changed: bool,
}

impl FollowedCampaign {
    /// One that has just begun.
    pub(super) fn begun(campaign: Campaign, at: Timestamp) -> Self {
        let mut followed = Self::with(campaign, true);
        followed.is_changed = true;
        followed.count(at);
        followed
    }

    /// One that was followed before, as its rows have it.
    pub(super) fn loaded(campaign: Campaign) -> Self {
        let mut followed = Self::with(campaign, false);
        followed.new_devices_from = u32::try_from(followed.campaign.devices().len()).unwrap_or(0);
        followed.has_places = followed.campaign.started_at().is_some();
        let chunks = followed.new_devices_from.div_ceil(CHUNK);
        followed.sums =
            (0..chunks).map(|chunk| standing::of_chunk(&followed.campaign, chunk).1).collect();
        followed
    }

    fn with(campaign: Campaign, knows_all: bool) -> Self {
        Self {
            campaign,
            touched: HashMap::default(),
            changed: Vec::new(),
            knows_all,
            sums: Vec::new(),
            changed_chunks: BTreeSet::new(),
            new_devices_from: 0,
            has_places: false,
            minutes: BTreeMap::new(),
            listed: BTreeSet::new(),
            is_changed: false,
        }
    }

    /// Its row was this, and so it is listed.
    pub(super) fn was_listed_as(&mut self, entry: &CampaignEntry) {
        self.listed = lists(self.campaign.tenant(), entry);
    }

    /// Takes the place of one whose rows were damaged, and so is listed where that was.
    pub(super) fn is_listed_like(&mut self, before: &Self) {
        self.listed.clone_from(&before.listed);
    }

    pub(super) fn campaign(&self) -> &Campaign {
        &self.campaign
    }

    /// Goes back to the state before an event that could not follow.
    pub(super) fn rewind(&mut self, campaign: Campaign) {
        self.campaign = campaign;
    }

    /// The places of targets whose rows change with the event, and of which must be read first what
    /// is known.
    pub(super) fn wants(&self, own: Option<u32>, event: &CampaignEvent) -> Vec<u32> {
        let ends = may_end_many(event) && !self.knows_all;
        let at_end = ends.then(|| self.waiting()).into_iter().flatten();
        let is_unknown = |place: &u32| {
            let standing = self.campaign.standing_at(*place);
            let may_have_row =
                !self.knows_all || standing.is_some_and(|(status, _)| status.is_final());
            may_have_row && !self.touched.contains_key(place)
        };
        own.into_iter().chain(at_end).filter(is_unknown).collect()
    }

    /// Targets with an operation or a wait that their campaign's end takes away.
    fn waiting(&self) -> impl Iterator<Item = u32> + '_ {
        (0_u32..).zip(self.campaign.targets()).filter_map(|(place, target)| {
            (target.operation.is_some() || target.not_before.is_some()).then_some(place)
        })
    }

    /// What was read of a target.
    pub(super) fn know(&mut self, place: u32, details: TargetDetails) {
        self.touched.insert(place, Box::new(Touched::with(details)));
    }

    /// Follows the campaign by one event, about the target at that place.
    pub(super) fn apply(
        &mut self,
        place: Option<u32>,
        event: &CampaignEvent,
        at: Timestamp,
    ) -> Result<(), ApplyError> {
        let ends = may_end_many(event);
        let waiting: Vec<u32> = if ends { self.waiting().collect() } else { Vec::new() };
        let counts = self.campaign.counts();
        let devices = self.campaign.devices().len();
        self.campaign.apply(event, at)?;
        self.is_changed = true;
        if let Some(place) = place {
            self.touch(place, event, at);
        }
        for place in waiting {
            self.touch(place, event, at);
        }
        if ends || self.campaign.devices().len() > devices {
            let first = if ends { 0 } else { u32::try_from(devices).unwrap_or(u32::MAX) / CHUNK };
            let length = u32::try_from(self.campaign.devices().len()).unwrap_or(u32::MAX);
            self.changed_chunks.extend(first..length.div_ceil(CHUNK));
        }
        if self.campaign.counts() != counts {
            self.count(at);
        }
        Ok(())
    }

    fn count(&mut self, at: Timestamp) {
        let minute = at.as_millis().div_euclid(MINUTE) * MINUTE;
        self.minutes.insert(minute, self.campaign.counts());
    }

    fn touch(&mut self, place: u32, event: &CampaignEvent, at: Timestamp) {
        let Some(target) = self.campaign.target_at(place) else { return };
        let device = target.device;
        self.changed_chunks.insert(place / CHUNK);
        let touched = self
            .touched
            .entry(place)
            .or_insert_with(|| Box::new(Touched::with(TargetDetails::default())));
        if !std::mem::replace(&mut touched.is_changed, true) {
            self.changed.push(place);
        }
        let details = &mut touched.details;
        details.changed_at = at;
        details.retry_count = target.retry_count;
        details.not_before = target.not_before;
        details.contradiction = target.contradiction;
        match event {
            CampaignEvent::OperationStarted(e) => {
                details.from_version = Some(e.from_version.clone());
                // The same operation may begin anew, on a device that has changed meanwhile.
                let same = details.operations.last_mut().filter(|of| of.operation == e.operation);
                if let Some(same) = same {
                    same.from_version = Some(e.from_version.clone());
                }
            }
            CampaignEvent::TargetFailed(e) => {
                details.failure = Some(Failure::Target(e.reason.clone()));
            }
            CampaignEvent::OperationFailed(e) => {
                details.failure = Some(Failure::Operation(e.reason.clone()));
            }
            CampaignEvent::AttemptDeferred(e) => details.trouble = Some(e.detail.clone()),
            CampaignEvent::OperationDeferred(e) => details.trouble = Some(e.detail.clone()),
            CampaignEvent::ResendFailed(e) => details.trouble = Some(e.detail.clone()),
            _ => {}
        }
        if let CampaignEvent::LateReportReceived(e) = event
            && let Some(entry) =
                details.operations.iter_mut().find(|of| of.operation == e.operation)
        {
            entry.late_report = Some((at, e.status));
        }
        let latest = details.operations.last_mut();
        if let Some(now) = &target.operation {
            if latest.is_none_or(|latest| latest.operation != now.id) {
                let entry = OperationEntry {
                    operation: now.id,
                    stream: StreamId::Campaign(self.campaign.id()),
                    device,
                    version: Some(self.campaign.definition().base_image.version.to_string()),
                    from_version: details.from_version.clone(),
                    began_at: at,
                    phase: now.phase,
                    progress: now.progress,
                    resends: now.resends,
                    reported_at: now.reported_at,
                    ended: None,
                    late_report: None,
                };
                touched.begun.push(operation_key(&self.campaign, &entry));
                details.operations.push(entry);
                if details.operations.len() > OPERATIONS {
                    let oldest = details.operations.remove(0);
                    touched.gone.push(operation_key(&self.campaign, &oldest));
                }
            }
            if let Some(latest) = details.operations.last_mut() {
                latest.follow(now);
            }
        } else if let Some(latest) = latest
            && latest.ended.is_none()
        {
            latest.ended = Some((at, end_of(event)));
        }
        details.operation = target.operation;
    }

    /// Puts what has changed into rows.
    pub(super) fn flush(&mut self, rows: &mut Changed) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        let (tenant, id) = (self.campaign.tenant().clone(), self.campaign.id());
        self.flush_devices(rows);
        for chunk in std::mem::take(&mut self.changed_chunks) {
            let (standings, sums) = standing::of_chunk(&self.campaign, chunk);
            rows.push((key::standings(&tenant, id, chunk), Some(standings)));
            let place = chunk as usize;
            if place >= self.sums.len() {
                self.sums.resize(place + 1, Sums::new());
            }
            self.sums[place] = sums;
        }
        rows.push((key::sums(&tenant, id), Some(json(&self.sums))));
        let mut places = std::mem::take(&mut self.changed);
        // As the keys of their rows lie.
        places.sort_unstable();
        for place in &places {
            let Some(touched) = self.touched.get_mut(place) else { continue };
            touched.is_changed = false;
            rows.push((key::target(&tenant, id, *place), Some(kept::row(&touched.details))));
            let gone = std::mem::take(&mut touched.gone);
            for key in touched.begun.drain(..).filter(|key| !gone.contains(key)) {
                rows.push((key, Some(OperationPlace::Target(id, *place).row())));
            }
            rows.extend(gone.into_iter().map(|key| (key, None)));
            // What may still change is kept; a final target is read again if it ever does.
            let standing = self.campaign.standing_at(*place);
            if standing.is_none_or(|(status, _)| status.is_final()) {
                self.touched.remove(place);
            }
        }
        let campaign = &self.campaign;
        if campaign.finished_at().is_some() {
            self.touched.retain(|place, _| {
                campaign.standing_at(*place).is_some_and(|(status, _)| !status.is_final())
            });
        }
        for (minute, counts) in std::mem::take(&mut self.minutes) {
            let at = Timestamp::from_millis(minute);
            rows.push((key::minute(&tenant, id, at), Some(json(&counts))));
        }
        let entry = CampaignEntry::of(campaign, failures(&self.sums));
        let listed = lists(&tenant, &entry);
        for gone in self.listed.difference(&listed) {
            rows.push((gone.clone(), None));
        }
        for new in listed.difference(&self.listed) {
            rows.push((new.clone(), Some(Vec::new())));
        }
        rows.push((key::campaign(&tenant, id), Some(json(&entry))));
        self.listed = listed;
    }

    fn flush_devices(&mut self, rows: &mut Changed) {
        if !self.has_places && self.campaign.started_at().is_some() {
            self.has_places = true;
            rows.extend(place::rows(&self.campaign).map(|(key, row)| (key, Some(row))));
        }
        let devices = self.campaign.devices();
        let length = u32::try_from(devices.len()).unwrap_or(u32::MAX);
        if self.new_devices_from == length {
            return;
        }
        for chunk in self.new_devices_from / CHUNK..length.div_ceil(CHUNK) {
            let from = (chunk * CHUNK) as usize;
            let until = devices.len().min(from + CHUNK as usize);
            let bytes = devices[from..until].iter().flat_map(|device| *device.as_bytes()).collect();
            let key = key::devices(self.campaign.tenant(), self.campaign.id(), chunk);
            rows.push((key, Some(bytes)));
        }
        self.new_devices_from = length;
    }
}

/// How an operation ended that is gone after the event.
fn end_of(event: &CampaignEvent) -> OperationEnd {
    match event {
        CampaignEvent::OperationSucceeded(e) => OperationEnd::Succeeded(e.confirmation),
        CampaignEvent::OperationFailed(e) => OperationEnd::Failed(e.reason.clone()),
        CampaignEvent::OperationRefused(_) => OperationEnd::Refused,
        _ => OperationEnd::Abandoned,
    }
}

fn operation_key(campaign: &Campaign, entry: &OperationEntry) -> RowKey {
    key::operation(campaign.tenant(), entry.device, entry.began_at, entry.operation)
}

/// How many targets failed for which reason.
fn failures(sums: &[Sums]) -> BTreeMap<FailureReason, u32> {
    let mut failures = BTreeMap::new();
    for (byte, count) in sums.iter().flatten() {
        if let Some((_, Settlement::Failed(reason))) = Standing(*byte).read() {
            *failures.entry(reason).or_default() += count;
        }
    }
    failures
}

/// The name that a campaign is sorted by.
pub(super) fn name(entry: &CampaignEntry) -> String {
    entry.definition.name.to_string().to_lowercase()
}

/// Where a campaign is listed.
pub(super) fn lists(tenant: &TenantId, entry: &CampaignEntry) -> BTreeSet<RowKey> {
    let definition = &entry.definition;
    let name = name(entry);
    let (status, outcome) = (entry.status.name(), entry.outcome.map(hedgerow_core::Outcome::name));
    let model = definition.base_image.system_model.to_string();
    let lists = [
        Some((ListedBy::All, "")),
        Some((ListedBy::Status, status)),
        outcome.map(|outcome| (ListedBy::Outcome, outcome)),
        Some((ListedBy::Channel, definition.channel.name().as_str())),
        Some((ListedBy::SystemModel, model.as_str())),
        Some((ListedBy::Name, name.as_str())),
    ];
    let key = |list| key::listed_campaign(tenant, list, entry.created_at, entry.campaign);
    lists.into_iter().flatten().map(key).collect()
}

/// A row as JSON. What is made of the core's own types can always be written; if it could not, the
/// row would say so to whoever reads it.
pub(super) fn json(row: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(row).unwrap_or_default()
}

/// Whether an event about no device may have ended targets.
fn may_end_many(event: &CampaignEvent) -> bool {
    match event {
        CampaignEvent::CampaignFinished(_) => true,
        CampaignEvent::PolicyFactRecorded(fact) => fact.device.is_none(),
        _ => false,
    }
}
