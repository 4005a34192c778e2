//! Everything that a simulated fleet under faults leaves in a log stands up to an audit of it.
//!
//! `HEDGEROW_SEEDS=2000 cargo test --release -p hedgerow-sim --test audit` tries more.

#[path = "../../core/tests/book/plain.rs"]
mod plain;

use hedgerow_core::{StoredEvent, Timestamp};
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::store::{Activity, EventStore, StreamAppend};
use hedgerow_sim::random::Random;
use hedgerow_sim::runtime::wait;
use hedgerow_sim::simulate::{
    Evidence, Invariant, MemoryStorage, Profile, Setup, Storage, audit, simulate,
};

use self::plain::without_rule_links;

fn seeds() -> u64 {
    std::env::var("HEDGEROW_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

#[test]
fn the_log_of_a_fleet_under_faults_stands_up_to_an_audit() {
    let mut storage = MemoryStorage::default();
    let (mut events, mut operations, mut manual_updates) = (0, 0, 0);
    for seed in 0..seeds() {
        for profile in [Profile::lossy(), Profile::hostile()] {
            // Saved so often, a state snapshot is there of every campaign.
            let setup = Setup { snapshot_every: 20, ..Setup::new(seed, profile) };
            let report = simulate(&setup, &mut storage).expect("it runs");
            assert_eq!(report.violation, None, "seed {seed}");
            let store = storage.open().expect("it opens");
            let mut told = 0;
            let audited = audit(&*store, &mut |events| told = events).expect("it reads");
            assert_eq!(audited.findings, [], "seed {seed}");
            assert_eq!(audited.unread, [], "seed {seed}");
            assert_eq!(audited.remarks, [], "seed {seed}");
            assert_eq!((audited.events, told), (report.events, report.events));
            events += audited.events;
            operations += audited.operations;
            manual_updates += audited.manual_updates;
        }
    }
    assert!(events > 1_000 && operations > 100 && manual_updates > 0);
}

fn pick(random: &mut Random, below: usize) -> usize {
    usize::try_from(random.below(below as u64)).expect("as large as a length")
}

/// Somebody who knows nothing of rules changes a log.
fn change(events: &mut Vec<StoredEvent>, random: &mut Random) {
    let (one, other) = (pick(random, events.len()), pick(random, events.len()));
    match pick(random, 7) {
        0 => drop(events.remove(one)),
        1 => events.insert(one, events[other].clone()),
        2 => events.swap(one, other),
        3 => {
            let letters = b"0919{}\",:x";
            let letter = letters[pick(random, letters.len())];
            let data = &mut events[one].event.data;
            let place = pick(random, data.len());
            data[place] = letter;
        }
        4 => events[one].event.data = events[other].event.data.clone(),
        5 => {
            let extremes = [i64::MIN, -1, 0, i64::MAX];
            let at = extremes[pick(random, extremes.len())];
            events[one].event.recorded_at = Timestamp::from_millis(at);
        }
        _ => events[one].event.causation_id = events[other].event.causation_id,
    }
}

/// A store of these events, each in the next place of its stream.
fn store_of(events: Vec<StoredEvent>) -> MemoryStore {
    let store = MemoryStore::new();
    let mut versions = std::collections::BTreeMap::new();
    for stored in events {
        let version: &mut u64 = versions.entry((stored.tenant.clone(), stored.stream)).or_default();
        let append = StreamAppend {
            tenant: stored.tenant,
            stream: stored.stream,
            expected_version: *version,
            events: vec![stored.event],
            claims_taken: Vec::new(),
            claims_released: Vec::new(),
            operations: Vec::new(),
            activity: Activity::Settled,
        };
        wait(store.append(vec![append])).expect("nothing is in its way");
        *version += 1;
    }
    store
}

#[test]
fn a_log_that_was_changed_at_random_is_audited_to_its_end() {
    let mut storage = MemoryStorage::default();
    let mut found = 0;
    for seed in 0..seeds() * 10 {
        let setup = Setup { devices: 8, ..Setup::new(seed % 7, Profile::lossy()) };
        let report = simulate(&setup, &mut storage).expect("it runs");
        assert_eq!(report.violation, None, "seed {seed}");
        let store = storage.open().expect("it opens");
        let mut events = wait(store.read_all(0, 100_000)).expect("it reads");
        let unchanged = audit(&store_of(events.clone()), &mut |_| {}).expect("it reads");
        assert_eq!(unchanged.findings, [], "seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..=random.below(3) {
            change(&mut events, &mut random);
        }
        let count = events.len() as u64;
        let audited = audit(&store_of(events), &mut |_| {}).expect("it reads");
        assert_eq!(audited.events, count, "seed {seed}");
        found += u64::from(!audited.findings.is_empty() || !audited.unread.is_empty());
    }
    assert!(found > seeds() * 5, "only {found} changes were noticed");
}

#[test]
fn most_invariants_can_be_told_from_a_log_alone() {
    let told = |invariant: &&Invariant| invariant.evidence() == Evidence::Log;
    assert_eq!(Invariant::ALL.iter().filter(told).count(), 21);
    assert_eq!(Invariant::Acknowledged.evidence(), Evidence::World);
}

#[test]
fn the_page_about_audits_says_of_every_invariant_whether_a_log_shows_it() {
    let page = without_rule_links(include_str!("../../../docs/audit.md"));
    for invariant in Invariant::ALL {
        let (name, rule) = (invariant.name(), invariant.rule());
        let row = format!("\n| `{name}` | {rule} | ");
        assert_eq!(page.contains(&row), invariant.evidence() == Evidence::Log, "{name}");
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}
