//! The read side over logs of whole simulated fleets under faults: every page of every list shows
//! what the fold of the same log shows, however often whoever makes the rows is interrupted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hedgerow_core::event::{CampaignEvent, ManualUpdateEvent};
use hedgerow_core::{
    Campaign, CampaignStatus, DeviceId, FailureReason, OperationId, Settlement, StoredEvent,
    StreamId, TargetStatus, TargetView, TenantId, Timestamp,
};
use hedgerow_engine::ports::BoxFuture;
use hedgerow_engine::store::{EventStore, StoreError, StoreLayer};
use hedgerow_engine::view::{
    CampaignEntry, CampaignOrder, CampaignQuery, Follower, MemoryViews, TargetEntry, TargetQuery,
    ViewStore, Views,
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

fn rows(views: &MemoryViews) -> BTreeMap<Vec<u8>, String> {
    let range = Vec::new()..vec![u8::MAX; 2];
    let forwards = hedgerow_engine::view::Direction::Forwards;
    let rows = wait(views.scan(range, forwards, usize::MAX)).expect("read");
    rows.into_iter().map(|(key, row)| (key, String::from_utf8_lossy(&row).into_owned())).collect()
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
        let over = (campaign.created_at(), finished + std::time::Duration::from_secs(60));
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
