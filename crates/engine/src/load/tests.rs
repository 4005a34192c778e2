//! Loading what a store has: a damaged event is told, a state snapshot that is newer than what is
//! asked for, damaged, or of elsewhere is not used, and the state is the same with and without one.

use futures::executor::block_on;
use futures::future::{BoxFuture, FutureExt};
use hedgerow_core::CampaignId;
use uuid::Uuid;

use super::*;
use crate::store::StoreLayer;
use crate::store::conformance::{append, event, stream, tenant};
use crate::store::memory::MemoryStore;

const CREATED: &str = r#"{"definition":{"name":"Gateways","base_image":{"system_model":
    "garden-gateway","version":"2.0.0","url":"https://images.example/2.0.0.bin",
    "starting_version_requirement":null},"channel":{"name":"stable","groups":["gardens"]},
    "rollout":{"push":{"limits":{"max_pending_operations":5,"max_failure_percentage":"10",
    "operation":{"request_retries":3,"request_timeout_ms":300000,"stall_timeout_ms":86400000,
    "reboot_timeout_ms":600000,"progress_interval_ms":60000}},"gates":{"force_downgrade":false,
    "enforce_version_requirement":false}}},"if_running":"supersede"},"scheduled_at":null}"#;
/// How many events the campaign has.
const EVENTS: u64 = 9;

fn campaign_event(event_type: &str, schema_version: u16, data: String) -> hedgerow_core::NewEvent {
    let event_type = event_type.to_owned();
    hedgerow_core::NewEvent { event_type, schema_version, data: data.into_bytes(), ..event(1) }
}

/// A campaign that was created and to which one target after the other was added.
fn campaign(number: u128) -> MemoryStore {
    let store = MemoryStore::new();
    let created: serde_json::Value = serde_json::from_str(CREATED).expect("JSON");
    let mut events = vec![campaign_event("campaign_created", 2, created.to_string())];
    for number in 2..=EVENTS {
        let device = hedgerow_core::DeviceId::from_bytes(u128::from(number).to_be_bytes());
        let data = serde_json::json!({ "devices": [device] }).to_string();
        events.push(campaign_event("snapshot_extended", 1, data));
    }
    block_on(store.append(vec![append(stream(number), 0, events)])).expect("appended");
    store
}

fn id(number: u128) -> CampaignId {
    CampaignId::from_uuid(Uuid::from_u128(number))
}

fn at(store: &dyn EventStore, number: u128, upto: Option<u64>) -> Result<Campaign, LoadError> {
    block_on(campaign_at(store, &tenant(), id(number), upto)).map(|found| found.expect("begun"))
}

/// Keeps the state as of an event beside the log, as a task does.
fn keep(store: &MemoryStore, number: u128, version: u64) {
    let campaign = at(store, number, Some(version)).expect("loaded");
    let state = encoded(&campaign).expect("encoded");
    let saved = block_on(save(store, &tenant(), stream(number), version, state));
    assert_eq!(saved, Ok(()));
}

#[test]
fn a_state_snapshot_newer_than_the_event_asked_for_is_not_used() {
    let (with, without) = (campaign(1), campaign(1));
    keep(&with, 1, 6);
    for version in 1..=EVENTS {
        let campaign = at(&with, 1, Some(version)).expect("loaded");
        assert_eq!(campaign.version(), version);
        assert_eq!(campaign, at(&without, 1, Some(version)).expect("folded"), "at {version}");
    }
    assert_eq!(at(&with, 1, None), at(&without, 1, None));
}

/// A store that changes what it reads.
struct Changed<F> {
    store: MemoryStore,
    change: F,
}

impl<F: Fn(&mut StoredEvent) + Send + Sync + 'static> StoreLayer for Changed<F> {
    fn inner(&self) -> &dyn EventStore {
        &self.store
    }

    fn read_stream(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredEvent>, StoreError>> {
        let read = self.store.read_stream(tenant, stream, after, limit);
        let changed = |mut events: Vec<StoredEvent>| {
            events.iter_mut().for_each(&self.change);
            events
        };
        read.map(move |read| read.map(changed)).boxed()
    }
}

#[test]
fn an_event_that_was_changed_is_not_folded() {
    let change = |stored: &mut StoredEvent| {
        if stored.version == 4 {
            // Still an event that can be folded.
            stored.event.data = br#"{"devices":["f0VMRgIBAQAAAAAAAAAAAA"]}"#.to_vec();
        }
    };
    let damaged = Changed { store: campaign(1), change };
    let Err(LoadError::Store(StoreError::Corrupt { detail })) = at(&damaged, 1, None) else {
        panic!("it was folded");
    };
    assert!(detail.contains("event 4 of campaign/"), "{detail}");
    assert!(at(&damaged, 1, Some(3)).is_ok(), "what comes before it is whole");
}

#[test]
fn an_event_that_was_changed_after_a_state_snapshot_is_not_folded_either() {
    let change = |stored: &mut StoredEvent| {
        if stored.version == 7 {
            stored.event.recorded_at = hedgerow_core::Timestamp::from_millis(1);
        }
    };
    let store = campaign(1);
    keep(&store, 1, 6);
    let damaged = Changed { store, change };
    assert!(matches!(at(&damaged, 1, None), Err(LoadError::Store(StoreError::Corrupt { .. }))));
}

fn snapshot_of(store: &MemoryStore, number: u128) -> StateSnapshot {
    block_on(store.load_snapshot(&tenant(), stream(number))).expect("read").expect("kept")
}

fn put(store: &MemoryStore, number: u128, snapshot: StateSnapshot) {
    block_on(store.save_snapshot(&tenant(), stream(number), snapshot)).expect("kept");
}

/// Whether the snapshot of a campaign is believed.
fn is_used(store: &MemoryStore, number: u128) -> bool {
    let found = block_on(in_snapshot(store, &tenant(), stream(number), None)).expect("read");
    found.is_some()
}

#[test]
fn a_damaged_state_snapshot_is_passed_over_whichever_byte_it_is() {
    let store = campaign(1);
    keep(&store, 1, 6);
    assert!(is_used(&store, 1));
    let (whole, folded) = (snapshot_of(&store, 1), at(&store, 1, None));
    for byte in 0..whole.data.len() {
        for bit in [0, 7] {
            let mut damaged = whole.clone();
            damaged.data[byte] ^= 1 << bit;
            put(&store, 1, damaged);
            assert!(!is_used(&store, 1), "bit {bit} of byte {byte}");
        }
    }
    let mut cut = whole.clone();
    cut.data.truncate(40);
    put(&store, 1, cut);
    assert_eq!(at(&store, 1, None), folded);
    put(&store, 1, StateSnapshot { version: 7, ..whole });
    assert!(!is_used(&store, 1), "it is not the state as of another event");
    assert_eq!(at(&store, 1, None), folded);
}

#[test]
fn a_state_snapshot_of_another_log_is_passed_over() {
    let (store, other) = (campaign(1), campaign(1));
    keep(&store, 1, 6);
    // The same campaign, as a log has it that went another way after a backup was restored.
    let change = |stored: &mut StoredEvent| stored.checksum = None;
    let unlike = Changed { store: other, change };
    put(&unlike.store, 1, snapshot_of(&store, 1));
    let used = block_on(in_snapshot(&unlike, &tenant(), stream(1), None)).expect("read");
    assert!(used.is_none(), "the log has another event there");
    // That of another campaign.
    let second = campaign(2);
    put(&second, 2, snapshot_of(&store, 1));
    assert!(!is_used(&second, 2));
    // One that stands on an event that the log does not have any more.
    let short = MemoryStore::new();
    let events = block_on(campaign(1).read_all(0, 3)).expect("read");
    let events = events.into_iter().map(|stored| stored.event).collect();
    block_on(short.append(vec![append(stream(1), 0, events)])).expect("appended");
    put(&short, 1, snapshot_of(&store, 1));
    assert_eq!(at(&short, 1, None).expect("folded").version(), 3);
}

#[test]
fn a_log_without_checksums_is_loaded_with_and_without_a_state_snapshot() {
    let change = |stored: &mut StoredEvent| stored.checksum = None;
    let old = Changed { store: campaign(1), change };
    let folded = at(&old, 1, None).expect("folded");
    assert_eq!(folded.version(), EVENTS);
    let state = encoded(&at(&old, 1, Some(6)).expect("folded")).expect("encoded");
    block_on(save(&old, &tenant(), stream(1), 6, state)).expect("saved");
    assert!(block_on(in_snapshot(&old, &tenant(), stream(1), None)).expect("read").is_some());
    assert_eq!(at(&old, 1, None), Ok(folded));
}
