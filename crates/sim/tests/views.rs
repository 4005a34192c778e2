//! The read side over logs of whole simulated fleets under faults: every page of every list shows
//! what the fold of the same log shows, however often whoever makes the rows is interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use hedgerow_core::event::{CampaignEvent, ManualUpdateEvent};
use hedgerow_core::{
    Campaign, CampaignStatus, DeviceId, FailureReason, OperationId, Settlement, StoredEvent,
    StreamId, TargetStatus, TargetView, TenantId, Timestamp,
};
use hedgerow_engine::ports::BoxFuture;
use hedgerow_engine::store::{EventStore, StoreError, StoreLayer};
use hedgerow_engine::view::{
    CampaignEntry, CampaignOrder, CampaignQuery, Direction, Follower, MemoryViews, Reached, Row,
    Step, StepError, TargetEntry, TargetQuery, ViewError, ViewStore, Views,
};
use hedgerow_engine::{campaign_at, manual_update_at};
use hedgerow_sim::random::Random;
use hedgerow_sim::runtime::wait;
use hedgerow_sim::simulate::{MemoryStorage, Profile, Setup, Storage, simulate};

/// A log of which only so many events are read at once.
struct InBits {
    log: Arc<dyn EventStore>,
    most: usize,
}

impl StoreLayer for InBits {
    fn inner(&self) -> &dyn EventStore {
        &*self.log
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        self.log.read_all(after, limit.min(self.most))
    }
}

fn log_of(seed: u64) -> Arc<dyn EventStore> {
    let mut storage = MemoryStorage::default();
    let setup = Setup { devices: 12, ..Setup::new(seed, Profile::mixed(seed)) };
    let report = simulate(&setup, &mut storage).expect("simulated");
    assert_eq!(report.violation, None);
    storage.open().expect("opened")
}

#[test]
fn rows_show_what_the_fold_shows() {
    for seed in 0..300 {
        let log = log_of(seed);
        let views = Arc::new(MemoryViews::new());
        wait(Follower::new(Arc::clone(&log), views.clone()).catch_up()).expect("followed");
        compare(&log, views, seed);
    }
}

#[test]
fn rows_show_the_same_when_whoever_makes_them_is_interrupted_anywhere() {
    for seed in 0..300 {
        let log = log_of(seed);
        let (whole, views) = (Arc::new(MemoryViews::new()), Arc::new(MemoryViews::new()));
        wait(Follower::new(Arc::clone(&log), whole.clone()).catch_up()).expect("followed");
        let mut random = Random::new(seed);
        let most = usize::try_from(random.between(1..=40)).expect("small");
        let in_bits: Arc<dyn EventStore> = Arc::new(InBits { log: Arc::clone(&log), most });
        let mut follower = Follower::new(Arc::clone(&in_bits), views.clone());
        while wait(follower.step()).expect("followed") > 0 {
            if random.chance(300) {
                follower = Follower::new(Arc::clone(&in_bits), views.clone());
            }
        }
        assert_eq!(rows(&views), rows(&whole), "seed {seed}, {most} events at once");
    }
}

/// Rows that fail now and then: before a step was written, or after.
struct Unsteady {
    rows: MemoryViews,
    random: Mutex<Random>,
}

impl Unsteady {
    fn fails(&self) -> bool {
        self.random.lock().expect("no panic").chance(200)
    }
}

fn failure() -> ViewError {
    ViewError::Unavailable { detail: "it was drawn".to_owned() }
}

impl ViewStore for Unsteady {
    fn reached(&self) -> BoxFuture<'_, Result<Option<Reached>, ViewError>> {
        self.rows.reached()
    }

    fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>> {
        if self.fails() {
            return Box::pin(ready(Err(failure().into())));
        }
        let written = self.rows.write(step);
        if self.fails() { Box::pin(ready(Err(failure().into()))) } else { written }
    }

    fn get(&self, keys: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ViewError>> {
        if self.fails() { Box::pin(ready(Err(failure()))) } else { self.rows.get(keys) }
    }

    fn scan(
        &self,
        range: Range<Vec<u8>>,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, ViewError>> {
        self.rows.scan(range, direction, limit)
    }

    fn clear(&self, from: Option<Reached>) -> BoxFuture<'_, Result<(), StepError>> {
        self.rows.clear(from)
    }
}

#[test]
fn rows_show_the_same_when_they_fail_now_and_then_and_two_make_them() {
    for seed in 0..100 {
        let log = log_of(seed);
        let whole = Arc::new(MemoryViews::new());
        wait(Follower::new(Arc::clone(&log), whole.clone()).catch_up()).expect("followed");
        let unsteady = Unsteady { rows: MemoryViews::new(), random: Mutex::new(Random::new(seed)) };
        let unsteady = Arc::new(unsteady);
        let most = usize::try_from(1 + seed % 23).expect("small");
        let in_bits: Arc<dyn EventStore> = Arc::new(InBits { log: Arc::clone(&log), most });
        let mut two = [(); 2].map(|()| Follower::new(Arc::clone(&in_bits), unsteady.clone()));
        let mut done = [false; 2];
        while done != [true; 2] {
            for (follower, done) in two.iter_mut().zip(&mut done) {
                // What failed is tried again.
                *done = wait(follower.step()) == Ok(0);
            }
        }
        assert_eq!(rows(&unsteady.rows), rows(&whole), "seed {seed}, {most} events at once");
    }
}

/// A log with something else in one event: what another version wrote, or what was damaged and can
/// be read all the same.
struct Changed {
    can_be_read: bool,
    log: Arc<dyn EventStore>,
    stream: StreamId,
    version: u64,
    is_other: AtomicBool,
}

impl Changed {
    fn change(&self, mut page: Vec<StoredEvent>) -> Vec<StoredEvent> {
        let is_it = |stored: &&mut StoredEvent| {
            self.is_other.load(Ordering::Relaxed)
                && (stored.stream, stored.version) == (self.stream, self.version)
        };
        for stored in page.iter_mut().filter(is_it) {
            if self.can_be_read {
                stored.event.recorded_at = stored.event.recorded_at + Duration::from_millis(1);
            } else {
                stored.event.data = b"{\"of\": \"another version\"}".to_vec();
            }
        }
        page
    }
}

impl StoreLayer for Changed {
    fn inner(&self) -> &dyn EventStore {
        &*self.log
    }

    fn read_all(
        &self,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let page = self.log.read_all(after, limit.min(9));
        Box::pin(page.map(|page| page.map(|page| self.change(page))))
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let page = self.log.read_stream(tenant, stream, after, limit);
        Box::pin(page.map(|page| page.map(|page| self.change(page))))
    }
}

#[test]
fn a_campaign_that_cannot_be_read_stops_no_other_and_is_shown_whole_once_it_can_be() {
    for seed in 0..60 {
        let log = log_of(seed);
        let whole = Arc::new(MemoryViews::new());
        wait(Follower::new(Arc::clone(&log), whole.clone()).catch_up()).expect("followed");
        let streams = wait(log.streams()).expect("listed");
        let campaigns = streams.iter().filter(|of| matches!(of.stream, StreamId::Campaign(_)));
        let Some(chosen) = campaigns.max_by_key(|of| of.version) else { continue };
        let (StreamId::Campaign(id), tenant) = (chosen.stream, &chosen.tenant) else { continue };
        let version = 1 + seed % chosen.version;
        let is_other = AtomicBool::new(true);
        let changed = Changed {
            can_be_read: seed % 2 == 1,
            log: Arc::clone(&log),
            stream: chosen.stream,
            version,
            is_other,
        };
        let changed = Arc::new(changed);
        let rows_of_it = Arc::new(MemoryViews::new());
        let follow = |changed: Arc<Changed>| {
            wait(Follower::new(changed, rows_of_it.clone()).catch_up()).expect("followed");
        };
        follow(Arc::clone(&changed));
        let views = Views::new(rows_of_it.clone());
        match wait(views.campaign(tenant, id)).expect("read") {
            None => assert_eq!(version, 1, "seed {seed}"),
            Some(entry) => {
                assert_eq!(entry.events, version - 1, "seed {seed}: it is shown as it was before");
                let error = entry.unreadable.expect("it says so");
                assert!(error.contains(&format!("event {version} ")), "{error}");
                let then = wait(campaign_at(&*log, tenant, id, Some(version - 1)));
                let then = then.expect("folded").expect("a campaign");
                assert_eq!(entry.targets, then.counts(), "seed {seed}");
            }
        }
        for other in streams.iter().filter(|stream| stream.stream != chosen.stream) {
            let StreamId::Campaign(other_id) = other.stream else { continue };
            let entry = wait(views.campaign(&other.tenant, other_id)).expect("read");
            assert_eq!(entry.map(|entry| entry.events), Some(other.version), "seed {seed}");
        }
        // Somebody who still cannot read it changes nothing; somebody who can shows all of it.
        follow(Arc::clone(&changed));
        changed.is_other.store(false, Ordering::Relaxed);
        follow(changed);
        assert_eq!(rows(&rows_of_it), rows(&whole), "seed {seed}, event {version}");
    }
}

#[test]
fn rows_of_another_log_are_made_anew() {
    let (one, other) = (log_of(1), log_of(2));
    let (views, whole) = (Arc::new(MemoryViews::new()), Arc::new(MemoryViews::new()));
    wait(Follower::new(one, views.clone()).catch_up()).expect("followed");
    wait(Follower::new(Arc::clone(&other), views.clone()).catch_up()).expect("followed");
    wait(Follower::new(other, whole.clone()).catch_up()).expect("followed");
    assert_eq!(rows(&views), rows(&whole));
}

#[test]
fn rows_that_were_damaged_are_made_anew_when_their_stream_goes_on() {
    for seed in 0..40 {
        let log = log_of(seed);
        let (whole, views) = (Arc::new(MemoryViews::new()), Arc::new(MemoryViews::new()));
        wait(Follower::new(Arc::clone(&log), whole.clone()).catch_up()).expect("followed");
        let in_bits: Arc<dyn EventStore> = Arc::new(InBits { log: Arc::clone(&log), most: 11 });
        let mut random = Random::new(seed);
        let mut was_damaged = false;
        loop {
            let mut follower = Follower::new(Arc::clone(&in_bits), views.clone());
            if wait(follower.step()).expect("followed") == 0 {
                break;
            }
            // Rows of campaigns and of targets are read again; the others are only written.
            let all = rows(&views);
            let read_again = all.keys().filter(|key| matches!(key[0], 1 | 6)).collect::<Vec<_>>();
            if read_again.is_empty() || was_damaged {
                continue;
            }
            let damaged = random.below(read_again.len() as u64);
            let key = read_again[usize::try_from(damaged).expect("small")].clone();
            let at = wait(views.reached()).expect("read");
            let rows = vec![(key, Some(b"nonsense".to_vec()))];
            wait(views.write(Step { from: at, to: at.expect("a step"), rows })).expect("written");
            was_damaged = true;
        }
        let shown = rows(&views);
        let differ = rows(&whole).into_iter().filter(|(key, row)| shown.get(key) != Some(row));
        // A row of what does not go on stays damaged, and says so to whoever asks.
        assert!(differ.count() <= 1, "seed {seed}");
    }
}

fn rows(views: &MemoryViews) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let range = Vec::new()..vec![u8::MAX; 2];
    let rows = wait(views.scan(range, Direction::Forwards, usize::MAX)).expect("read");
    rows.into_iter().collect()
}

/// Looks at every page of every list.
fn compare(log: &Arc<dyn EventStore>, rows: Arc<MemoryViews>, seed: u64) {
    let views = Views::new(rows);
    let streams = wait(log.streams()).expect("listed");
    let tenants: BTreeSet<_> = streams.iter().map(|stream| stream.tenant.clone()).collect();
    let events = wait(log.read_all(0, usize::MAX)).expect("read");
    for tenant in tenants {
        let mut campaigns = Vec::new();
        for stream in streams.iter().filter(|stream| stream.tenant == tenant) {
            if let StreamId::Campaign(id) = stream.stream {
                let folded = wait(campaign_at(&**log, &tenant, id, None)).expect("folded");
                campaigns.push(folded.expect("a campaign"));
            }
        }
        compare_lists(&views, &tenant, &campaigns, seed);
        for campaign in &campaigns {
            compare_targets(&views, campaign, seed);
        }
        compare_operations(&views, log, &tenant, &events, seed);
    }
}

fn compare_lists(views: &Views, tenant: &TenantId, campaigns: &[Campaign], seed: u64) {
    let statuses = [
        CampaignStatus::Scheduled,
        CampaignStatus::Idle,
        CampaignStatus::InProgress,
        CampaignStatus::Pausing,
        CampaignStatus::Paused,
        CampaignStatus::Finished,
        CampaignStatus::Deleted,
    ];
    let mut queries = vec![CampaignQuery::default()];
    queries.extend(
        statuses.map(|status| CampaignQuery { status: Some(status), ..CampaignQuery::default() }),
    );
    for campaign in campaigns {
        let definition = campaign.definition();
        queries.push(CampaignQuery {
            outcome: campaign.outcome(),
            channel: Some(definition.channel.name().to_string()),
            system_model: Some(definition.base_image.system_model.to_string()),
            ..CampaignQuery::default()
        });
    }
    for order in [CampaignOrder::Newest, CampaignOrder::Oldest, CampaignOrder::Name] {
        for query in &queries {
            let mut query = CampaignQuery { order, limit: 2, ..query.clone() };
            let mut expected: Vec<_> = campaigns
                .iter()
                .filter(|campaign| {
                    let (is, definition) = (&query, campaign.definition());
                    is.status.is_none_or(|status| status == campaign.status())
                        && (is.outcome.is_none() || is.outcome == campaign.outcome())
                        && is
                            .channel
                            .as_ref()
                            .is_none_or(|channel| *channel == definition.channel.name().to_string())
                        && is.system_model.as_ref().is_none_or(|model| {
                            *model == definition.base_image.system_model.to_string()
                        })
                })
                .collect();
            expected.sort_by_key(|campaign| match order {
                CampaignOrder::Name => {
                    let name = campaign.definition().name.to_string().to_lowercase();
                    (name, Timestamp::default(), campaign.id())
                }
                _ => (String::new(), campaign.created_at(), campaign.id()),
            });
            if order == CampaignOrder::Newest {
                expected.reverse();
            }
            let mut listed = Vec::new();
            loop {
                let page = wait(views.campaigns(tenant, &query)).expect("a page");
                assert!(page.entries.len() <= 2);
                listed.extend(page.entries);
                let Some(next) = page.next else { break };
                query.after = Some(next.to_string().parse().expect("a cursor as it was printed"));
            }
            let ids: Vec<_> = listed.iter().map(|entry| entry.campaign).collect();
            let expected_ids: Vec<_> = expected.iter().map(|campaign| campaign.id()).collect();
            assert_eq!(ids, expected_ids, "seed {seed}, {query:?}");
            for (entry, campaign) in listed.iter().zip(expected) {
                compare_entry(entry, campaign, seed);
            }
        }
    }
}

fn compare_entry(entry: &CampaignEntry, campaign: &Campaign, seed: u64) {
    let what = format!("seed {seed}, campaign {}", campaign.id());
    assert_eq!(entry.events, campaign.version(), "{what}");
    assert_eq!(&entry.definition, campaign.definition(), "{what}");
    assert_eq!(entry.status, campaign.status(), "{what}");
    assert_eq!(entry.outcome, campaign.outcome(), "{what}");
    assert_eq!(entry.created_at, campaign.created_at(), "{what}");
    assert_eq!(entry.scheduled_at, campaign.scheduled_at(), "{what}");
    assert_eq!(entry.started_at, campaign.started_at(), "{what}");
    assert_eq!(entry.finished_at, campaign.finished_at(), "{what}");
    assert_eq!(entry.targets, campaign.counts(), "{what}");
    let failures: BTreeMap<_, _> = campaign.failure_reasons().into_iter().collect();
    assert_eq!(entry.failures, failures, "{what}");
    assert_eq!(entry.contradictions, campaign.contradictions(), "{what}");
    assert_eq!(entry.unreadable, None, "{what}");
}

fn compare_targets(views: &Views, campaign: &Campaign, seed: u64) {
    let mut queries = vec![TargetQuery::default()];
    queries.extend(
        TargetStatus::ALL
            .map(|status| TargetQuery { status: Some(status), ..TargetQuery::default() }),
    );
    queries.extend(
        FailureReason::ALL
            .map(|reason| TargetQuery { reason: Some(reason), ..TargetQuery::default() }),
    );
    for mut query in queries {
        query.limit = 5;
        let wanted = |target: &TargetView| {
            query.status.is_none_or(|status| target.status == status)
                && query.reason.is_none_or(|of| target.settlement == Settlement::Failed(of))
        };
        let expected: Vec<_> = campaign.targets().filter(wanted).collect();
        let mut shown = Vec::new();
        let mut asked = query.clone();
        loop {
            let page = wait(views.targets(campaign.tenant(), campaign.id(), &asked));
            let page = page.expect("a page").expect("the campaign is known");
            assert!(page.targets.len() <= 5);
            shown.extend(page.targets);
            let Some(next) = page.next else { break };
            asked.after = Some(next);
        }
        assert_eq!(shown.len(), expected.len(), "seed {seed}, {query:?}");
        for (entry, target) in shown.iter().zip(&expected) {
            compare_target(entry, target, seed);
        }
    }
    if let Some(finished) = campaign.finished_at() {
        let over = (campaign.created_at(), finished + Duration::from_secs(60));
        let counts = wait(views.counts_over_time(campaign.tenant(), campaign.id(), over, 7));
        let counts = counts.expect("counts");
        assert_eq!(counts.len(), 7, "seed {seed}: each point has counts");
        assert!(counts.windows(2).all(|pair| pair[0].1.total <= pair[1].1.total));
    }
}

fn compare_target(entry: &TargetEntry, target: &TargetView, seed: u64) {
    let what = format!("seed {seed}, device {}", target.device);
    assert_eq!(entry.device, target.device, "{what}");
    assert_eq!((entry.status, entry.settlement), (target.status, target.settlement), "{what}");
    let Some(details) = &entry.details else {
        assert_eq!((target.retry_count, &target.operation), (0, &None), "{what}");
        assert_eq!((target.not_before, &target.contradiction), (None, &None), "{what}");
        let is_without = matches!(target.settlement, Settlement::Open | Settlement::Cancelled);
        assert!(is_without, "{what}: nothing is shown of {:?}", target.settlement);
        return;
    };
    assert_eq!(details.retry_count, target.retry_count, "{what}");
    assert_eq!(details.operation, target.operation, "{what}");
    assert_eq!(details.not_before, target.not_before, "{what}");
    assert_eq!(details.contradiction, target.contradiction, "{what}");
    let reason = details.failure.as_ref().map(hedgerow_engine::view::Failure::reason);
    let expected = match target.settlement {
        Settlement::Failed(reason) => Some(reason),
        _ => None,
    };
    assert_eq!(reason, expected, "{what}");
}

fn compare_operations(
    views: &Views,
    log: &Arc<dyn EventStore>,
    tenant: &TenantId,
    events: &[StoredEvent],
    seed: u64,
) {
    let mut told: BTreeMap<DeviceId, BTreeMap<OperationId, StreamId>> = BTreeMap::new();
    for stored in events.iter().filter(|stored| stored.tenant == *tenant) {
        match stored.stream {
            StreamId::Campaign(_) => {
                let event = CampaignEvent::from_stored(stored).expect("an event");
                if let CampaignEvent::OperationStarted(e) = event {
                    told.entry(e.device).or_default().insert(e.operation, stored.stream);
                }
            }
            StreamId::ManualUpdate(id) => {
                let event = ManualUpdateEvent::from_stored(stored).expect("an event");
                if let ManualUpdateEvent::ManualStarted(e) = event {
                    told.entry(e.definition.device).or_default().insert(id, stored.stream);
                }
            }
        }
    }
    for (device, operations) in told {
        let (mut shown, mut after) = (Vec::new(), None);
        loop {
            let page = wait(views.operations(tenant, device, after.as_ref(), 2)).expect("a page");
            shown.extend(page.entries);
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        assert!(shown.windows(2).all(|pair| pair[0].began_at >= pair[1].began_at));
        let listed: BTreeMap<_, _> =
            shown.iter().map(|entry| (entry.operation, entry.stream)).collect();
        assert_eq!(listed, operations, "seed {seed}, device {device}");
        for entry in shown {
            let open = match entry.stream {
                StreamId::Campaign(id) => {
                    let campaign = wait(campaign_at(&**log, tenant, id, None)).expect("folded");
                    let target = campaign.expect("a campaign").target(device);
                    target.expect("a target").operation.filter(|o| o.id == entry.operation)
                }
                StreamId::ManualUpdate(id) => {
                    let update = wait(manual_update_at(&**log, tenant, id, None)).expect("folded");
                    update.expect("an update").operation().cloned()
                }
            };
            assert_eq!(entry.ended.is_none(), open.is_some(), "seed {seed}, {entry:?}");
            if let Some(open) = open {
                assert_eq!(entry.phase, open.phase, "seed {seed}, {entry:?}");
                assert_eq!(entry.resends, open.resends, "seed {seed}, {entry:?}");
            }
        }
    }
}
