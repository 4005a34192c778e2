//! What every store must do, as checks that every store runs: the port's contract, executable.
//!
//! [`store_conformance_tests!`](crate::store_conformance_tests) makes one test of each check;
//! [`run`] runs them one after the other, for a store whose futures need a runtime of their own.
//! They panic where a store breaks the contract. What a crash may do to a store depends on how it
//! keeps its events, so every durable store adds its own test with `kill -9`.

// Every check panics where the store is wrong: the module says so once for all of them.
#![allow(clippy::missing_panics_doc)]

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use hedgerow_core::{
    CampaignId, DeviceId, NewEvent, OperationId, StoredEvent, StreamId, TenantId, Timestamp,
};
use uuid::Uuid;

use super::checksum::Chain;
use super::{
    Activity, AppendError, Claim, EventStore, HeldClaim, StateSnapshot, StreamAppend, StreamSummary,
};

/// Runs a future to its end on this thread: what [`store_conformance_tests!`] runs checks with.
///
/// [`store_conformance_tests!`]: crate::store_conformance_tests
pub use futures::executor::block_on;

/// Makes one test of each check of [`store::conformance`](crate::store::conformance).
///
/// The argument is evaluated for each test and gives a new store and something that lives as long
/// as the test does, such as the folder that the store's file is in.
///
/// ```
/// use hedgerow_engine::store::memory::MemoryStore;
///
/// hedgerow_engine::store_conformance_tests!((MemoryStore::new(), ()));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_conformance_tests {
    ($make:expr) => {
        $crate::store_conformance_tests! { @list test $make }
    };
    // The one list of all checks, handed to the rule that `test` or `run` names below.
    (@list $what:ident $make:expr) => {
        $crate::store_conformance_tests! { @$what $make;
            an_empty_store_has_nothing
            events_come_back_in_order_as_they_were_given
            a_stream_is_read_in_pages
            a_limit_beyond_what_is_there_is_no_error
            a_version_conflict_names_both_versions_and_writes_nothing
            a_batch_over_several_streams_is_written_as_a_whole_or_not_at_all
            a_version_conflict_is_told_before_a_claim_conflict
            a_claim_is_listed_with_its_holder
            a_claim_that_a_stream_holds_is_kept
            a_claim_conflict_names_the_holder_and_writes_nothing
            two_streams_of_one_batch_cannot_take_the_same_claim
            a_claim_passes_from_one_stream_to_another_in_one_batch
            a_stream_may_release_and_take_a_claim_at_once
            claims_can_be_released_without_an_event
            releasing_what_is_not_held_is_passed_over
            claims_are_ordered_by_tenant_and_key
            a_claim_leads_to_its_holder
            an_operation_leads_to_its_stream
            an_operation_of_a_refused_append_is_unknown
            activity_is_that_of_the_last_append
            streams_are_listed_in_order_of_creation
            the_whole_store_is_read_in_order_of_position
            the_newest_event_tells_when_the_store_was_last_written_to
            a_snapshot_gives_way_to_a_newer_one_only
            a_snapshot_of_an_unknown_stream_is_passed_over
            tenants_do_not_see_each_other
            any_payload_comes_back_as_it_was
            extreme_values_come_back_as_they_were
            a_large_batch_is_one_append
            every_event_has_the_checksum_that_follows_from_it_and_the_one_before
            a_refused_append_leaves_the_checksums_as_they_were
            concurrent_appends_to_many_streams_are_each_seen_once
            of_racing_appends_to_one_stream_exactly_one_wins
            of_racing_claims_exactly_one_wins
        }
    };
    (@run $make:expr; $($check:ident)*) => {
        $( $check(&$make().await).await; )*
    };
    (@test $make:expr; $($check:ident)*) => {
        $(
            #[test]
            fn $check() {
                let (store, _kept) = $make;
                $crate::store::conformance::block_on(
                    $crate::store::conformance::$check(&store)
                );
            }
        )*
    };
}

/// Runs every check, each on a new store.
///
/// ```
/// use hedgerow_engine::store::{conformance, memory::MemoryStore};
///
/// conformance::block_on(conformance::run(async || MemoryStore::new()));
/// ```
///
/// # Panics
/// When the store does not do what a store must do.
pub async fn run<S: EventStore>(make: impl AsyncFn() -> S) {
    crate::store_conformance_tests! { @list run make }
}

/// The tenant that most checks use.
#[must_use]
pub fn tenant() -> TenantId {
    named_tenant("hedge")
}

/// The stream of campaign `number`.
#[must_use]
pub fn stream(number: u128) -> StreamId {
    StreamId::Campaign(CampaignId::from_uuid(Uuid::from_u128(number)))
}

/// An event that tells by its every field that it is `number`.
#[must_use]
pub fn event(number: u64) -> NewEvent {
    NewEvent {
        event_type: format!("thing_{}_happened", number % 3),
        schema_version: u16::try_from(1 + number % 2).unwrap_or(1),
        recorded_at: Timestamp::from_millis(1_700_000_000_000 + number.cast_signed()),
        correlation_id: Uuid::from_u128(u128::from(number) << 64 | 1),
        causation_id: Uuid::from_u128(u128::from(number) << 64 | 2),
        data: format!(r#"{{"number":{number}}}"#).into_bytes(),
    }
}

/// An append of events to a stream of [`tenant`], without claims.
#[must_use]
pub fn append(stream: StreamId, expected_version: u64, events: Vec<NewEvent>) -> StreamAppend {
    StreamAppend {
        tenant: tenant(),
        stream,
        expected_version,
        events,
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity: Activity::Active,
    }
}

fn named_tenant(name: &str) -> TenantId {
    name.parse().expect("the checks name tenants well")
}

fn device(number: u8) -> Claim {
    Claim::Device(DeviceId::from_bytes([number; 16]))
}

fn operation(number: u128) -> OperationId {
    OperationId::from_uuid(Uuid::from_u128(number))
}

fn taking(stream: StreamId, expected_version: u64, claims: &[Claim]) -> StreamAppend {
    StreamAppend {
        claims_taken: claims.to_vec(),
        ..append(stream, expected_version, vec![event(expected_version)])
    }
}

fn releasing(stream: StreamId, expected_version: u64, claims: &[Claim]) -> StreamAppend {
    StreamAppend {
        claims_released: claims.to_vec(),
        ..append(stream, expected_version, vec![event(expected_version)])
    }
}

async fn put(store: &impl EventStore, batch: Vec<StreamAppend>) {
    store.append(batch).await.expect("this append has no reason to fail");
}

async fn events_of(store: &impl EventStore, stream: StreamId) -> Vec<NewEvent> {
    let stored = store.read_stream(&tenant(), stream, 0, 10_000).await.expect("can be read");
    stored.into_iter().map(|stored| stored.event).collect()
}

async fn all(store: &impl EventStore) -> Vec<StoredEvent> {
    store.read_all(0, 100_000).await.expect("can be read")
}

async fn holders(store: &impl EventStore) -> Vec<HeldClaim> {
    store.claims().await.expect("can be listed")
}

type Contents = (Vec<StoredEvent>, Vec<StreamSummary>, Vec<HeldClaim>);

/// Everything that an append could change, to show that it changed nothing.
async fn contents(store: &impl EventStore) -> Contents {
    (all(store).await, store.streams().await.expect("can be listed"), holders(store).await)
}

/// A new store has no events, streams, claims, operations or snapshots.
pub async fn an_empty_store_has_nothing(store: &impl EventStore) {
    assert_eq!(contents(store).await, (vec![], vec![], vec![]));
    assert_eq!(events_of(store, stream(1)).await, []);
    assert_eq!(store.stream_of_operation(&tenant(), operation(1)).await, Ok(None));
    assert_eq!(store.load_snapshot(&tenant(), stream(1)).await, Ok(None));
    assert_eq!(store.last_recorded_at().await, Ok(None));
}

/// Every field of every event is kept; versions count from 1 without a gap.
pub async fn events_come_back_in_order_as_they_were_given(store: &impl EventStore) {
    put(store, vec![append(stream(1), 0, vec![event(1), event(2)])]).await;
    put(store, vec![append(stream(2), 0, vec![event(3)])]).await;
    put(store, vec![append(stream(1), 2, vec![event(4)])]).await;
    let stored = store.read_stream(&tenant(), stream(1), 0, 10).await.expect("can be read");
    let versions: Vec<u64> = stored.iter().map(|stored| stored.version).collect();
    assert_eq!(versions, [1, 2, 3]);
    assert!(stored.iter().all(|s| s.tenant == tenant() && s.stream == stream(1)));
    assert!(stored.is_sorted_by(|a, b| a.position < b.position));
    assert_eq!(events_of(store, stream(1)).await, [event(1), event(2), event(4)]);
    assert_eq!(events_of(store, stream(2)).await, [event(3)]);
}

/// Pages of any size, put together, are the stream.
pub async fn a_stream_is_read_in_pages(store: &impl EventStore) {
    let events: Vec<NewEvent> = (0..23).map(event).collect();
    for (number, chunk) in events.chunks(5).enumerate() {
        put(store, vec![append(stream(1), number as u64 * 5, chunk.to_vec())]).await;
        put(store, vec![append(stream(2), number as u64, vec![event(99)])]).await;
    }
    for limit in [1, 2, 7, 23, 24] {
        let mut read = Vec::new();
        loop {
            let after = read.len() as u64;
            let page = store.read_stream(&tenant(), stream(1), after, limit).await;
            let page = page.expect("can be read");
            let left = events.len() - read.len();
            assert_eq!(page.len(), left.min(limit), "a page is full where there is more");
            if page.is_empty() {
                break;
            }
            read.extend(page.into_iter().map(|stored| stored.event));
        }
        assert_eq!(read, events, "in pages of {limit}");
    }
    let none = store.read_stream(&tenant(), stream(1), 0, 0).await;
    assert_eq!(none, Ok(vec![]), "a page of no events");
}

/// The largest numbers there are ask for nothing that is not there, or for everything.
pub async fn a_limit_beyond_what_is_there_is_no_error(store: &impl EventStore) {
    put(store, vec![append(stream(1), 0, vec![event(1)])]).await;
    let everything = store.read_stream(&tenant(), stream(1), 0, usize::MAX).await;
    assert_eq!(everything.map(|events| events.len()), Ok(1));
    assert_eq!(store.read_stream(&tenant(), stream(1), u64::MAX, usize::MAX).await, Ok(vec![]));
    assert_eq!(store.read_all(0, usize::MAX).await.map(|events| events.len()), Ok(1));
    assert_eq!(store.read_all(u64::MAX, usize::MAX).await, Ok(vec![]));
}

/// An append at another version than the stream's fails, below, above and far above it.
pub async fn a_version_conflict_names_both_versions_and_writes_nothing(store: &impl EventStore) {
    put(store, vec![append(stream(1), 0, vec![event(1), event(2)])]).await;
    let before = contents(store).await;
    for expected in [0, 1, 3, u64::MAX] {
        let refused = StreamAppend {
            claims_taken: vec![device(1)],
            operations: vec![operation(1)],
            activity: Activity::Settled,
            ..append(stream(1), expected, vec![event(3)])
        };
        let conflict = AppendError::VersionConflict { stream: stream(1), expected, actual: 2 };
        assert_eq!(store.append(vec![refused]).await, Err(conflict));
    }
    let conflict = AppendError::VersionConflict { stream: stream(2), expected: 1, actual: 0 };
    assert_eq!(store.append(vec![append(stream(2), 1, vec![event(3)])]).await, Err(conflict));
    assert_eq!(contents(store).await, before);
    put(store, vec![append(stream(1), 2, vec![event(3)])]).await;
}

/// One stream of a batch that cannot be written keeps the others from being written.
pub async fn a_batch_over_several_streams_is_written_as_a_whole_or_not_at_all(
    store: &impl EventStore,
) {
    let first = vec![
        append(stream(1), 0, vec![event(1)]),
        append(stream(2), 0, vec![event(2), event(3)]),
        append(stream(3), 0, vec![event(4)]),
    ];
    put(store, first).await;
    let before = contents(store).await;
    let second = vec![
        append(stream(1), 1, vec![event(5)]),
        append(stream(4), 0, vec![event(6)]),
        append(stream(2), 1, vec![event(7)]),
    ];
    let conflict = AppendError::VersionConflict { stream: stream(2), expected: 1, actual: 2 };
    assert_eq!(store.append(second).await, Err(conflict));
    assert_eq!(contents(store).await, before);
}

/// Whoever is behind must load again first: its idea of the claims is behind, too.
pub async fn a_version_conflict_is_told_before_a_claim_conflict(store: &impl EventStore) {
    put(store, vec![taking(stream(1), 0, &[device(1)])]).await;
    let batch = vec![taking(stream(2), 0, &[device(1)]), append(stream(1), 0, vec![event(1)])];
    let conflict = AppendError::VersionConflict { stream: stream(1), expected: 0, actual: 1 };
    assert_eq!(store.append(batch).await, Err(conflict));
}

/// Claims of both kinds are listed with their text and the stream that has them.
pub async fn a_claim_is_listed_with_its_holder(store: &impl EventStore) {
    let rollout = Claim::Rollout { system_model: "fence".to_owned(), channel: "beta/1".to_owned() };
    put(store, vec![taking(stream(1), 0, &[device(1), rollout.clone()])]).await;
    let expected =
        vec![(tenant(), device(1).key(), stream(1)), (tenant(), rollout.key(), stream(1))];
    assert_eq!(holders(store).await, expected);
}

/// Taking again what one has is no conflict, and it is held once: one release frees it.
pub async fn a_claim_that_a_stream_holds_is_kept(store: &impl EventStore) {
    put(store, vec![taking(stream(1), 0, &[device(1), device(1)])]).await;
    put(store, vec![taking(stream(1), 1, &[device(1)])]).await;
    assert_eq!(holders(store).await, [(tenant(), device(1).key(), stream(1))]);
    put(store, vec![releasing(stream(1), 2, &[device(1)])]).await;
    assert_eq!(holders(store).await, []);
    put(store, vec![taking(stream(2), 0, &[device(1)])]).await;
}

/// The conflict says which claim it is and who has it; no event, operation or other claim is kept.
pub async fn a_claim_conflict_names_the_holder_and_writes_nothing(store: &impl EventStore) {
    put(store, vec![taking(stream(1), 0, &[device(2)])]).await;
    let before = contents(store).await;
    let refused = StreamAppend {
        operations: vec![operation(1)],
        ..taking(stream(2), 0, &[device(1), device(2), device(3)])
    };
    let conflict = AppendError::ClaimConflict { claim: device(2), holder: stream(1) };
    let batch = vec![append(stream(3), 0, vec![event(1)]), refused];
    assert_eq!(store.append(batch).await, Err(conflict));
    assert_eq!(contents(store).await, before);
    assert_eq!(store.stream_of_operation(&tenant(), operation(1)).await, Ok(None));
    put(store, vec![taking(stream(2), 0, &[device(1), device(3)])]).await;
}

/// A claim is unique within a batch as it is between batches.
pub async fn two_streams_of_one_batch_cannot_take_the_same_claim(store: &impl EventStore) {
    let batch = vec![taking(stream(1), 0, &[device(1)]), taking(stream(2), 0, &[device(1)])];
    let conflict = AppendError::ClaimConflict { claim: device(1), holder: stream(1) };
    assert_eq!(store.append(batch).await, Err(conflict));
    assert_eq!(contents(store).await, (vec![], vec![], vec![]));
}

/// Releases of a whole batch come before what it takes, in whatever order its streams stand.
pub async fn a_claim_passes_from_one_stream_to_another_in_one_batch(store: &impl EventStore) {
    put(store, vec![taking(stream(1), 0, &[device(1)])]).await;
    let released_first =
        vec![releasing(stream(1), 1, &[device(1)]), taking(stream(2), 0, &[device(1)])];
    put(store, released_first).await;
    assert_eq!(holders(store).await, [(tenant(), device(1).key(), stream(2))]);
    let taken_first =
        vec![taking(stream(3), 0, &[device(1)]), releasing(stream(2), 1, &[device(1)])];
    put(store, taken_first).await;
    assert_eq!(holders(store).await, [(tenant(), device(1).key(), stream(3))]);
}

/// A target that fails and is tried again in one step: the claim stays where it was.
pub async fn a_stream_may_release_and_take_a_claim_at_once(store: &impl EventStore) {
    put(store, vec![taking(stream(1), 0, &[device(1)])]).await;
    let both =
        StreamAppend { claims_released: vec![device(1)], ..taking(stream(1), 1, &[device(1)]) };
    put(store, vec![both]).await;
    assert_eq!(holders(store).await, [(tenant(), device(1).key(), stream(1))]);
    let conflict = AppendError::ClaimConflict { claim: device(1), holder: stream(1) };
    assert_eq!(store.append(vec![taking(stream(2), 0, &[device(1)])]).await, Err(conflict));
}

/// An append without events releases claims and leaves the version.
pub async fn claims_can_be_released_without_an_event(store: &impl EventStore) {
    put(store, vec![taking(stream(1), 0, &[device(1), device(2)])]).await;
    let released = StreamAppend { events: Vec::new(), ..releasing(stream(1), 1, &[device(1)]) };
    put(store, vec![released]).await;
    assert_eq!(holders(store).await, [(tenant(), device(2).key(), stream(1))]);
    put(store, vec![append(stream(1), 1, vec![event(1)])]).await;
    assert_eq!(events_of(store, stream(1)).await.len(), 2);
}

/// Neither a free claim nor another stream's is touched by a release.
pub async fn releasing_what_is_not_held_is_passed_over(store: &impl EventStore) {
    put(store, vec![taking(stream(1), 0, &[device(1)])]).await;
    put(store, vec![releasing(stream(2), 0, &[device(1), device(2)])]).await;
    assert_eq!(holders(store).await, [(tenant(), device(1).key(), stream(1))]);
    let grab =
        StreamAppend { claims_released: vec![device(1)], ..taking(stream(2), 1, &[device(1)]) };
    let conflict = AppendError::ClaimConflict { claim: device(1), holder: stream(1) };
    assert_eq!(store.append(vec![grab]).await, Err(conflict));
}

/// The holder of one claim is what the list of all says: of this tenant, and nobody else's.
pub async fn a_claim_leads_to_its_holder(store: &impl EventStore) {
    put(store, vec![taking(stream(1), 0, &[device(1)])]).await;
    let other =
        StreamAppend { tenant: named_tenant("other"), ..taking(stream(2), 0, &[device(1)]) };
    put(store, vec![other]).await;
    let holder = async |tenant: &TenantId, number| {
        store.claim_holder(tenant, &device(number).key()).await.expect("it can be read")
    };
    assert_eq!(holder(&tenant(), 1).await, Some(stream(1)));
    assert_eq!(holder(&named_tenant("other"), 1).await, Some(stream(2)));
    assert_eq!(holder(&tenant(), 2).await, None, "nobody took it");
    assert_eq!(holder(&named_tenant("nobody"), 1).await, None);
    put(store, vec![releasing(stream(1), 1, &[device(1)])]).await;
    assert_eq!(holder(&tenant(), 1).await, None, "it was released");
    assert_eq!(holder(&named_tenant("other"), 1).await, Some(stream(2)));
}

/// By the tenant's name first, then by the claim's text, byte by byte.
pub async fn claims_are_ordered_by_tenant_and_key(store: &impl EventStore) {
    for (number, name) in ["zebra", "alder", "maple"].into_iter().enumerate() {
        let claims = [device(200), device(1), device(90)];
        let taken = taking(stream(number as u128), 0, &claims);
        put(store, vec![StreamAppend { tenant: named_tenant(name), ..taken }]).await;
    }
    let listed = holders(store).await;
    assert_eq!(listed.len(), 9);
    assert!(listed.is_sorted_by(|a, b| (&a.0, &a.1) < (&b.0, &b.1)), "{listed:?}");
}

/// The index serves late reports: also of operations of earlier appends (E10).
pub async fn an_operation_leads_to_its_stream(store: &impl EventStore) {
    let first = StreamAppend {
        operations: vec![operation(1), operation(2)],
        ..append(stream(1), 0, vec![event(1)])
    };
    put(store, vec![first]).await;
    let manual = StreamId::ManualUpdate(operation(3));
    let second = vec![
        append(stream(1), 1, vec![event(2)]),
        StreamAppend { operations: vec![operation(3)], ..append(manual, 0, vec![event(3)]) },
    ];
    put(store, second).await;
    // The same operation once more, as a writer that is not sure may say it.
    let again =
        StreamAppend { operations: vec![operation(1)], ..append(stream(1), 2, vec![event(4)]) };
    put(store, vec![again]).await;
    for (number, expected) in
        [(1, Some(stream(1))), (2, Some(stream(1))), (3, Some(manual)), (4, None)]
    {
        assert_eq!(store.stream_of_operation(&tenant(), operation(number)).await, Ok(expected));
    }
}

/// An append that changed nothing has not changed the index either.
pub async fn an_operation_of_a_refused_append_is_unknown(store: &impl EventStore) {
    let refused =
        StreamAppend { operations: vec![operation(1)], ..append(stream(1), 7, vec![event(1)]) };
    assert!(store.append(vec![refused]).await.is_err());
    assert_eq!(store.stream_of_operation(&tenant(), operation(1)).await, Ok(None));
}

/// A settled stream can become active again.
pub async fn activity_is_that_of_the_last_append(store: &impl EventStore) {
    let activities = [Activity::Settled, Activity::Active, Activity::Settled];
    for (version, activity) in (0..).zip(activities) {
        let next = StreamAppend { activity, ..append(stream(1), version, vec![event(version)]) };
        put(store, vec![next]).await;
        let summary =
            StreamSummary { tenant: tenant(), stream: stream(1), version: version + 1, activity };
        assert_eq!(store.streams().await, Ok(vec![summary]));
    }
}

/// Also within one batch, and whatever was appended to them later.
pub async fn streams_are_listed_in_order_of_creation(store: &impl EventStore) {
    put(store, vec![append(stream(9), 0, vec![event(1)])]).await;
    let two = vec![append(stream(5), 0, vec![event(1)]), append(stream(7), 0, vec![event(1)])];
    put(store, two).await;
    put(store, vec![append(stream(1), 0, vec![event(1)])]).await;
    put(store, vec![append(stream(9), 1, vec![event(2), event(3)])]).await;
    let listed = store.streams().await.expect("can be listed");
    let listed: Vec<_> = listed.into_iter().map(|s| (s.stream, s.version)).collect();
    assert_eq!(listed, [(stream(9), 3), (stream(5), 1), (stream(7), 1), (stream(1), 1)]);
}

/// Positions grow, whatever the stream; a reader goes on after the last one that it has seen.
pub async fn the_whole_store_is_read_in_order_of_position(store: &impl EventStore) {
    let mut given = Vec::new();
    for number in 0..10 {
        let batch = vec![
            append(stream(1), number * 2, vec![event(number), event(number + 100)]),
            append(stream(2), number, vec![event(number + 200)]),
        ];
        given.extend(batch.iter().flat_map(|append| append.events.clone()));
        put(store, batch).await;
    }
    let everything = all(store).await;
    assert!(everything.is_sorted_by(|a, b| a.position < b.position));
    assert!(everything.iter().all(|stored| stored.position > 0), "positions start above 0");
    let read: Vec<_> = everything.iter().map(|stored| stored.event.clone()).collect();
    assert_eq!(read, given, "in the order of the appends, and within one as it was given");
    for limit in [1, 4, 100] {
        let (mut read, mut after) = (Vec::new(), 0);
        loop {
            let page = store.read_all(after, limit).await.expect("can be read");
            let left = everything.len() - read.len();
            assert_eq!(page.len(), left.min(limit), "a page is full where there is more");
            let Some(last) = page.last() else { break };
            after = last.position;
            read.extend(page);
        }
        assert_eq!(read, everything, "in pages of {limit}");
    }
}

/// The event that was appended last counts, whichever stream or tenant it is of, and not the one
/// with the highest stamp.
pub async fn the_newest_event_tells_when_the_store_was_last_written_to(store: &impl EventStore) {
    for number in 0..40 {
        let of = number % 3;
        let event = event((number * 7) % 10);
        let wanted = event.recorded_at;
        let mut append = append(stream(u128::from(of)), number / 3, vec![event]);
        if of == 1 {
            append.tenant = named_tenant("garden");
        }
        put(store, vec![append]).await;
        assert_eq!(store.last_recorded_at().await, Ok(Some(wanted)), "after append {number}");
    }
}

/// There is one snapshot of a stream: the one of its highest version, the last one saved of it.
pub async fn a_snapshot_gives_way_to_a_newer_one_only(store: &impl EventStore) {
    put(store, vec![append(stream(1), 0, (0..9).map(event).collect())]).await;
    put(store, vec![append(stream(2), 0, vec![event(1)])]).await;
    let snapshot = |version, format| StateSnapshot { version, format, data: vec![7; 3] };
    for (saved, kept) in [
        (snapshot(5, 1), snapshot(5, 1)),
        (snapshot(4, 2), snapshot(5, 1)),
        (snapshot(5, 2), snapshot(5, 2)),
        (snapshot(9, 1), snapshot(9, 1)),
        (snapshot(1, 9), snapshot(9, 1)),
    ] {
        assert_eq!(store.save_snapshot(&tenant(), stream(1), saved).await, Ok(()));
        assert_eq!(store.load_snapshot(&tenant(), stream(1)).await, Ok(Some(kept)));
    }
    assert_eq!(store.load_snapshot(&tenant(), stream(2)).await, Ok(None));
    assert_eq!(all(store).await.len(), 10, "a snapshot is no event");
}

/// There is nothing that it could be the state of.
pub async fn a_snapshot_of_an_unknown_stream_is_passed_over(store: &impl EventStore) {
    let snapshot = StateSnapshot { version: 1, format: 1, data: vec![1] };
    assert_eq!(store.save_snapshot(&tenant(), stream(1), snapshot).await, Ok(()));
    assert_eq!(store.load_snapshot(&tenant(), stream(1)).await, Ok(None));
    assert_eq!(store.streams().await, Ok(vec![]));
}

/// The same stream id, claim and operation of two tenants are two things (D21).
pub async fn tenants_do_not_see_each_other(store: &impl EventStore) {
    let other = named_tenant("meadow");
    let ours = StreamAppend {
        claims_taken: vec![device(1)],
        operations: vec![operation(1)],
        ..append(stream(1), 0, vec![event(1), event(2)])
    };
    put(store, vec![ours]).await;
    let snapshot = StateSnapshot { version: 2, format: 1, data: vec![1] };
    assert_eq!(store.save_snapshot(&tenant(), stream(1), snapshot.clone()).await, Ok(()));

    assert_eq!(store.read_stream(&other, stream(1), 0, 10).await, Ok(vec![]));
    assert_eq!(store.stream_of_operation(&other, operation(1)).await, Ok(None));
    assert_eq!(store.load_snapshot(&other, stream(1)).await, Ok(None));
    assert_eq!(store.save_snapshot(&other, stream(1), snapshot).await, Ok(()));
    assert_eq!(store.load_snapshot(&other, stream(1)).await, Ok(None));

    let theirs = StreamAppend {
        tenant: other.clone(),
        claims_taken: vec![device(1)],
        operations: vec![operation(1)],
        ..append(stream(1), 0, vec![event(3)])
    };
    put(store, vec![theirs]).await;
    let release = StreamAppend { tenant: other.clone(), ..releasing(stream(1), 1, &[device(1)]) };
    put(store, vec![release]).await;
    assert_eq!(holders(store).await, [(tenant(), device(1).key(), stream(1))]);
    assert_eq!(events_of(store, stream(1)).await, [event(1), event(2)]);
    let read = store.read_stream(&other, stream(1), 0, 10).await.expect("can be read");
    assert_eq!(read.iter().map(|stored| stored.version).collect::<Vec<_>>(), [1, 2]);
    assert!(read.iter().all(|stored| stored.tenant == other));
    assert_eq!(store.stream_of_operation(&other, operation(1)).await, Ok(Some(stream(1))));
}

/// A store does not look into payloads: empty, large, and not even text.
pub async fn any_payload_comes_back_as_it_was(store: &impl EventStore) {
    let pattern = |length: usize| (0..=u8::MAX).cycle().take(length).collect::<Vec<u8>>();
    let events: Vec<NewEvent> = [0, 1, 255, 5_000, 70_000, 3_000_000]
        .into_iter()
        .map(|length| NewEvent { data: pattern(length), ..event(1) })
        .collect();
    put(store, vec![append(stream(1), 0, events.clone())]).await;
    assert!(events_of(store, stream(1)).await == events, "a payload came back changed");
    let snapshot = StateSnapshot { version: 6, format: u32::MAX, data: pattern(5_000_000) };
    assert_eq!(store.save_snapshot(&tenant(), stream(1), snapshot.clone()).await, Ok(()));
    let loaded = store.load_snapshot(&tenant(), stream(1)).await.expect("can be loaded");
    assert!(loaded == Some(snapshot), "a snapshot came back changed");
}

/// The least and the greatest that the fields of an event can be.
pub async fn extreme_values_come_back_as_they_were(store: &impl EventStore) {
    let least = NewEvent {
        event_type: "a".to_owned(),
        schema_version: 0,
        recorded_at: Timestamp::from_millis(i64::MIN),
        correlation_id: Uuid::nil(),
        causation_id: Uuid::nil(),
        data: Vec::new(),
    };
    let greatest = NewEvent {
        event_type: "ʕ•ᴥ•ʔ 'quoted'".repeat(20),
        schema_version: u16::MAX,
        recorded_at: Timestamp::from_millis(i64::MAX),
        correlation_id: Uuid::max(),
        causation_id: Uuid::max(),
        data: vec![0xff],
    };
    let events = vec![least, greatest];
    put(store, vec![append(stream(u128::MAX), 0, events.clone())]).await;
    assert_eq!(events_of(store, stream(u128::MAX)).await, events);
}

/// A snapshot chunk of a large campaign (E9): thousands of events, claims and operations.
pub async fn a_large_batch_is_one_append(store: &impl EventStore) {
    let claim = |number: u128| Claim::Device(DeviceId::from_bytes(number.to_be_bytes()));
    let batch: Vec<StreamAppend> = (0..5)
        .map(|part: u128| StreamAppend {
            claims_taken: (0..1_000).map(|number| claim(part * 1_000 + number)).collect(),
            operations: (0..1_000).map(|number| operation(part * 1_000 + number)).collect(),
            ..append(stream(part), 0, (0..1_000).map(event).collect())
        })
        .collect();
    put(store, batch).await;
    assert_eq!(all(store).await.len(), 5_000);
    assert_eq!(holders(store).await.len(), 5_000);
    let found = store.stream_of_operation(&tenant(), operation(4_999)).await;
    assert_eq!(found, Ok(Some(stream(4))));
}

/// One chain for each stream of each tenant (E14), over appends, within a batch, and in whatever
/// pages it is read.
pub async fn every_event_has_the_checksum_that_follows_from_it_and_the_one_before(
    store: &impl EventStore,
) {
    let meadow = named_tenant("meadow");
    for version in 0..4 {
        let (first, second) = (event(version * 10), event(version * 10 + 1));
        let theirs = append(stream(1), version, vec![event(version)]);
        let batch = vec![
            append(stream(1), version * 2, vec![first, second]),
            append(stream(2), version, vec![event(version)]),
            StreamAppend { tenant: meadow.clone(), ..theirs },
        ];
        put(store, batch).await;
    }
    let mut chains: BTreeMap<(TenantId, StreamId), Chain> = BTreeMap::new();
    for stored in all(store).await {
        assert!(stored.checksum.is_some(), "event {} of {}", stored.version, stored.stream);
        let chain = chains.entry((stored.tenant.clone(), stored.stream)).or_default();
        assert_eq!(chain.check(&stored), Ok(()));
        let after = stored.version - 1;
        let alone = store.read_stream(&stored.tenant, stored.stream, after, 1).await;
        assert_eq!(alone, Ok(vec![stored]), "the same, however it is read");
    }
    assert_eq!(chains.len(), 3);
}

/// What was not written is part of no chain, and an append without events is none.
pub async fn a_refused_append_leaves_the_checksums_as_they_were(store: &impl EventStore) {
    put(store, vec![taking(stream(1), 0, &[device(1)])]).await;
    let both = || vec![append(stream(1), 1, vec![event(7)]), taking(stream(2), 0, &[device(1)])];
    let conflict = AppendError::ClaimConflict { claim: device(1), holder: stream(1) };
    assert_eq!(store.append(both()).await, Err(conflict));
    assert!(store.append(vec![append(stream(1), 9, vec![event(8)])]).await.is_err());
    let released = StreamAppend { events: Vec::new(), ..releasing(stream(1), 1, &[device(1)]) };
    put(store, vec![released]).await;
    put(store, both()).await;
    let mut chains: BTreeMap<StreamId, Chain> = BTreeMap::new();
    for stored in all(store).await {
        assert_eq!(chains.entry(stored.stream).or_default().check(&stored), Ok(()));
        assert!(stored.checksum.is_some());
    }
    let versions: Vec<u64> = chains.values().map(Chain::version).collect();
    assert_eq!(versions, [2, 1]);
}

/// Appends that wait for the disk together do not get into each other's way.
pub async fn concurrent_appends_to_many_streams_are_each_seen_once(store: &impl EventStore) {
    const STREAMS: u64 = 40;
    for version in 0..3 {
        let appends = (0..STREAMS).map(|number| {
            let events = vec![event(version * STREAMS + number)];
            store.append(vec![append(stream(number.into()), version, events)])
        });
        assert!(join_all(appends).await.into_iter().all(|result| result == Ok(())));
    }
    let mut seen = BTreeSet::new();
    let mut versions = BTreeMap::new();
    for stored in all(store).await {
        assert!(seen.insert(stored.event.data), "seen twice");
        let last = versions.insert(stored.stream, stored.version).unwrap_or(0);
        assert_eq!(stored.version, last + 1, "of {}", stored.stream);
    }
    assert_eq!(seen.len() as u64, 3 * STREAMS);
}

/// The others are told the version that the winner made; appends beside them are not disturbed.
pub async fn of_racing_appends_to_one_stream_exactly_one_wins(store: &impl EventStore) {
    for version in 0..10 {
        let racing = (0..8).map(|racer| {
            store.append(vec![append(stream(1), version, vec![event(version * 8 + racer)])])
        });
        let beside = store.append(vec![append(stream(2), version, vec![event(version)])]);
        let (results, beside) = futures::join!(join_all(racing), beside);
        assert_eq!(beside, Ok(()));
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        let (expected, actual) = (version, version + 1);
        let conflict = AppendError::VersionConflict { stream: stream(1), expected, actual };
        assert!(lost.iter().all(|result| *result == Err(conflict.clone())), "{lost:?}");
        assert_eq!(events_of(store, stream(1)).await.len() as u64, version + 1);
    }
}

/// Two campaigns that want one device: one gets it, the other learns who has it (D14).
pub async fn of_racing_claims_exactly_one_wins(store: &impl EventStore) {
    let racing = (0..8).map(|racer| store.append(vec![taking(stream(racer), 0, &[device(1)])]));
    let results = join_all(racing).await;
    let held = holders(store).await;
    let [(_, _, winner)] = held[..] else { panic!("held {} times", held.len()) };
    for (racer, result) in (0..).zip(results) {
        if stream(racer) == winner {
            assert_eq!(result, Ok(()));
        } else {
            let conflict = AppendError::ClaimConflict { claim: device(1), holder: winner };
            assert_eq!(result, Err(conflict));
        }
    }
    assert_eq!(all(store).await.len(), 1);
}
