//! What every store must do, as a suite that a store's own tests run.
//!
//! ```
//! use hedgerow_engine::store::{conformance, memory::MemoryStore};
//!
//! futures::executor::block_on(conformance::run(|| async { MemoryStore::new() }));
//! ```

use std::sync::Arc;

use futures::future::join_all;
use hedgerow_core::{CampaignId, DeviceId, NewEvent, OperationId, StreamId, TenantId, Timestamp};
use uuid::Uuid;

use super::{Activity, AppendError, Claim, EventStore, StateSnapshot, StreamAppend, StreamSummary};

/// Runs every check, each on a store of its own.
///
/// # Panics
/// When the store does not do what a store must do; the message says what.
pub async fn run<S, F>(make: impl Fn() -> F)
where
    S: EventStore,
    F: Future<Output = S>,
{
    events_come_back_in_order_and_in_pages(&make().await).await;
    an_append_at_another_version_changes_nothing(&make().await).await;
    a_batch_is_written_whole_or_not_at_all(&make().await).await;
    a_claim_has_one_holder(&make().await).await;
    a_claim_passes_from_one_stream_to_another_in_one_batch(&make().await).await;
    tenants_see_nothing_of_each_other(&make().await).await;
    an_operation_leads_to_its_stream(&make().await).await;
    streams_are_listed_as_they_were_created(&make().await).await;
    the_newest_state_snapshot_is_kept(&make().await).await;
    of_racing_appends_one_wins(Arc::new(make().await)).await;
    every_event_of_all_streams_is_read_once(Arc::new(make().await)).await;
}

fn tenant(name: &str) -> TenantId {
    name.parse().expect("a realm name")
}

fn stream(number: u128) -> StreamId {
    StreamId::Campaign(CampaignId::from_uuid(Uuid::from_u128(number)))
}

fn event(number: u64) -> NewEvent {
    NewEvent {
        event_type: format!("type_{}", number % 3),
        schema_version: 2,
        recorded_at: Timestamp::from_millis(-5 + i64::try_from(number).expect("small")),
        correlation_id: Uuid::from_u128(u128::from(number)),
        causation_id: Uuid::from_u128(7),
        data: format!("{{\"number\":{number}}}").into_bytes(),
    }
}

/// Adds `events` to stream `number` of the tenant `realm`.
fn append(number: u128, expected_version: u64, events: u64) -> StreamAppend {
    StreamAppend {
        tenant: tenant("realm"),
        stream: stream(number),
        expected_version,
        events: (expected_version + 1..=expected_version + events).map(event).collect(),
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity: Activity::Active,
    }
}

fn device(number: u8) -> Claim {
    Claim::Device(DeviceId::from_bytes([number; 16]))
}

async fn versions(store: &impl EventStore, number: u128) -> Vec<u64> {
    let events = store.read_stream(&tenant("realm"), stream(number), 0, 1_000_000).await;
    events.expect("a stream is read").into_iter().map(|stored| stored.version).collect()
}

async fn events_come_back_in_order_and_in_pages(store: &impl EventStore) {
    assert_eq!(store.append(vec![append(1, 0, 3)]).await, Ok(()));
    assert_eq!(store.append(vec![append(1, 3, 2)]).await, Ok(()));
    let realm = tenant("realm");
    let page = store.read_stream(&realm, stream(1), 1, 3).await.expect("a page is read");
    let expected: Vec<_> = (2..=4).map(|number| (number, event(number))).collect();
    let found: Vec<_> = page.into_iter().map(|stored| (stored.version, stored.event)).collect();
    assert_eq!(found, expected, "a page begins behind `after` and has `limit` events");
    assert_eq!(versions(store, 1).await, [1, 2, 3, 4, 5]);
    let none = store.read_stream(&realm, stream(2), 0, 10).await;
    assert_eq!(none, Ok(Vec::new()), "a stream that does not exist has no events");
    let large = NewEvent { data: vec![b'x'; 3_000_000], ..event(6) };
    let with_large = StreamAppend { events: vec![large.clone()], ..append(1, 5, 0) };
    assert_eq!(store.append(vec![with_large]).await, Ok(()));
    let page = store.read_stream(&realm, stream(1), 5, 1).await.expect("it is read");
    assert_eq!(page[0].event, large, "a large event comes back whole");
}

async fn an_append_at_another_version_changes_nothing(store: &impl EventStore) {
    assert_eq!(store.append(vec![append(1, 0, 2)]).await, Ok(()));
    for expected in [0, 1, 3] {
        let conflict = AppendError::VersionConflict { stream: stream(1), expected, actual: 2 };
        assert_eq!(store.append(vec![append(1, expected, 1)]).await, Err(conflict));
    }
    assert_eq!(versions(store, 1).await, [1, 2]);
}

async fn a_batch_is_written_whole_or_not_at_all(store: &impl EventStore) {
    assert_eq!(store.append(vec![append(1, 0, 1)]).await, Ok(()));
    let half = vec![append(2, 0, 1), append(1, 0, 1)];
    assert!(store.append(half).await.is_err());
    assert_eq!(versions(store, 2).await, [0; 0], "nothing of a batch that conflicts is written");
    assert_eq!(store.append(vec![append(2, 0, 1), append(1, 1, 1)]).await, Ok(()));
    assert_eq!(versions(store, 2).await, [1]);
    assert_eq!(versions(store, 1).await, [1, 2]);
}

async fn a_claim_has_one_holder(store: &impl EventStore) {
    let takes = |number, version| StreamAppend {
        claims_taken: vec![device(1)],
        ..append(number, version, 1)
    };
    assert_eq!(store.append(vec![takes(1, 0)]).await, Ok(()));
    assert_eq!(store.append(vec![takes(1, 1)]).await, Ok(()), "its holder may take it again");
    let conflict = AppendError::ClaimConflict { claim: device(1), holder: stream(1) };
    assert_eq!(store.append(vec![takes(2, 0)]).await, Err(conflict));
    assert_eq!(versions(store, 2).await, [0; 0], "nothing of it is written");
    let releases = |number, version| StreamAppend {
        claims_released: vec![device(1)],
        ..append(number, version, 1)
    };
    assert_eq!(store.append(vec![releases(2, 0)]).await, Ok(()), "another's claim is passed over");
    assert!(store.append(vec![takes(2, 1)]).await.is_err());
    assert_eq!(store.append(vec![releases(1, 2)]).await, Ok(()));
    assert_eq!(store.append(vec![takes(2, 1)]).await, Ok(()));
    let held = vec![(tenant("realm"), device(1).key(), stream(2))];
    assert_eq!(store.claims().await, Ok(held));
    let both = AppendError::VersionConflict { stream: stream(1), expected: 0, actual: 3 };
    let found = store.append(vec![takes(1, 0)]).await;
    assert_eq!(found, Err(both), "a version conflict is looked for first");
}

async fn a_claim_passes_from_one_stream_to_another_in_one_batch(store: &impl EventStore) {
    let rollout = Claim::Rollout { system_model: "sm".to_owned(), channel: "a/b".to_owned() };
    let takes =
        |number| StreamAppend { claims_taken: vec![rollout.clone()], ..append(number, 0, 1) };
    assert_eq!(store.append(vec![takes(1)]).await, Ok(()));
    let releases = StreamAppend { claims_released: vec![rollout.clone()], ..append(1, 1, 1) };
    assert_eq!(store.append(vec![takes(2), releases]).await, Ok(()));
    let held = vec![(tenant("realm"), rollout.key(), stream(2))];
    assert_eq!(store.claims().await, Ok(held));
}

async fn tenants_see_nothing_of_each_other(store: &impl EventStore) {
    let own = StreamAppend {
        claims_taken: vec![device(1)],
        operations: vec![OperationId::from_uuid(Uuid::from_u128(9))],
        ..append(1, 0, 2)
    };
    let other = StreamAppend { tenant: tenant("other"), ..own.clone() };
    assert_eq!(store.append(vec![own]).await, Ok(()));
    let operation = OperationId::from_uuid(Uuid::from_u128(9));
    assert_eq!(store.stream_of_operation(&tenant("other"), operation).await, Ok(None));
    assert_eq!(store.read_stream(&tenant("other"), stream(1), 0, 9).await, Ok(Vec::new()));
    assert_eq!(store.append(vec![other]).await, Ok(()), "the same stream and claim in another");
}

async fn an_operation_leads_to_its_stream(store: &impl EventStore) {
    let operation = |number| OperationId::from_uuid(Uuid::from_u128(number));
    let starts = |number, version| StreamAppend {
        operations: vec![operation(number)],
        ..append(number, version, 1)
    };
    assert_eq!(store.append(vec![starts(1, 0), starts(2, 0)]).await, Ok(()));
    assert_eq!(store.append(vec![starts(2, 1)]).await, Ok(()), "it may start again");
    let realm = tenant("realm");
    assert_eq!(store.stream_of_operation(&realm, operation(2)).await, Ok(Some(stream(2))));
    assert_eq!(store.stream_of_operation(&realm, operation(3)).await, Ok(None));
}

async fn streams_are_listed_as_they_were_created(store: &impl EventStore) {
    assert_eq!(store.streams().await, Ok(Vec::new()));
    assert_eq!(store.append(vec![append(9, 0, 1)]).await, Ok(()));
    assert_eq!(store.append(vec![append(1, 0, 1)]).await, Ok(()));
    let settles = StreamAppend { activity: Activity::Settled, ..append(9, 1, 1) };
    assert_eq!(store.append(vec![settles]).await, Ok(()));
    let summary = |number, version, activity| StreamSummary {
        tenant: tenant("realm"),
        stream: stream(number),
        version,
        activity,
    };
    let expected = vec![summary(9, 2, Activity::Settled), summary(1, 1, Activity::Active)];
    assert_eq!(store.streams().await, Ok(expected));
}

async fn the_newest_state_snapshot_is_kept(store: &impl EventStore) {
    let realm = tenant("realm");
    assert_eq!(store.append(vec![append(1, 0, 5)]).await, Ok(()));
    assert_eq!(store.load_snapshot(&realm, stream(1)).await, Ok(None));
    let snapshot =
        |version: u64| StateSnapshot { version, format: 3, data: version.to_be_bytes().to_vec() };
    for version in [2, 4, 3] {
        assert_eq!(store.save_snapshot(&realm, stream(1), snapshot(version)).await, Ok(()));
    }
    assert_eq!(store.load_snapshot(&realm, stream(1)).await, Ok(Some(snapshot(4))));
}

async fn of_racing_appends_one_wins(store: Arc<impl EventStore>) {
    for round in 0..20 {
        let racing = (0..8).map(|_| store.append(vec![append(1, round, 1)]));
        let won = join_all(racing).await.into_iter().filter(Result::is_ok).count();
        assert_eq!(won, 1, "of appends at one version exactly one is written");
    }
    assert_eq!(versions(&*store, 1).await, (1..=20).collect::<Vec<_>>());
}

async fn every_event_of_all_streams_is_read_once(store: Arc<impl EventStore>) {
    for round in 0..10 {
        let appends = (1..=10).map(|number| store.append(vec![append(number, round * 2, 2)]));
        assert!(join_all(appends).await.into_iter().all(|result| result.is_ok()));
    }
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = store.read_all(after, 33).await.expect("a page is read");
        let Some(last) = page.last() else { break };
        after = last.position;
        assert!(page.len() <= 33);
        seen.extend(
            page.into_iter().map(|stored| (stored.position, stored.stream, stored.version)),
        );
    }
    assert!(seen.is_sorted(), "in order of position");
    assert_eq!(seen.len(), 200);
    for number in 1..=10 {
        let of_stream = seen.iter().filter(|(_, of, _)| *of == stream(number)).map(|seen| seen.2);
        assert!(of_stream.eq(1..=20), "each stream's events in their order");
    }
}
