//! Everything that a simulated fleet under faults leaves in a log stands up to an audit of it.
//!
//! `HEDGEROW_SEEDS=2000 cargo test --release -p hedgerow-sim --test audit` tries more.

use hedgerow_sim::simulate::{
    Evidence, Invariant, MemoryStorage, Profile, Setup, Storage, audit, simulate,
};

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

#[test]
fn most_invariants_can_be_told_from_a_log_alone() {
    let told = |invariant: &&Invariant| invariant.evidence() == Evidence::Log;
    assert_eq!(Invariant::ALL.iter().filter(told).count(), 19);
    assert_eq!(Invariant::Acknowledged.evidence(), Evidence::World);
}

#[test]
fn the_page_about_audits_says_of_every_invariant_whether_a_log_shows_it() {
    let page = include_str!("../../../docs/audit.md");
    for invariant in Invariant::ALL {
        let (name, rule) = (invariant.name(), invariant.rule());
        let row = format!("\n| `{name}` | {rule} | ");
        assert_eq!(page.contains(&row), invariant.evidence() == Evidence::Log, "{name}");
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}
