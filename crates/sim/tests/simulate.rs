//! Whole fleets under faults: whatever happens, every invariant holds, and a seed is a run.
//!
//! `HEDGEROW_SEEDS=2000 cargo test --release -p hedgerow-sim --test simulate` tries more.

#[path = "../../core/tests/book/plain.rs"]
mod plain;

use hedgerow_sim::simulate::{
    FaultKind, Invariant, MemoryStorage, Profile, Report, Setup, simulate, smallest_prefix,
};

use self::plain::without_rule_links;

fn seeds() -> u64 {
    std::env::var("HEDGEROW_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

fn assert_holds(setup: &Setup) -> Report {
    let mut storage = MemoryStorage::default();
    let report = simulate(setup, &mut storage).unwrap();
    let Some(violation) = &report.violation else { return report };
    let (faults, smallest) = smallest_prefix(setup, &report, violation, &mut storage).unwrap();
    let violation = smallest.violation.as_ref().unwrap_or(violation);
    for line in &smallest.timeline {
        let of_device = violation.device.is_none() || line.device == violation.device;
        let of_stream = line.stream.is_none() || line.stream == violation.stream;
        if of_device || line.device.is_none() && of_stream {
            eprintln!("{} {:?} {}", line.at, line.kind, line.text);
        }
    }
    panic!("seed {} of {} after {faults} faults: {violation:?}", setup.seed, setup.profile.name);
}

#[test]
fn every_invariant_holds_in_calm_weather() {
    for seed in 0..seeds() {
        assert_holds(&Setup::new(seed, Profile::calm()));
    }
}

#[test]
fn every_invariant_holds_on_a_lossy_network() {
    for seed in 0..seeds() {
        assert_holds(&Setup::new(seed, Profile::lossy()));
    }
}

#[test]
fn every_invariant_holds_whatever_goes_wrong() {
    for seed in 0..seeds() {
        assert_holds(&Setup::new(seed, Profile::hostile()));
        assert_holds(&Setup::new(seed, Profile::mixed(seed)));
    }
}

#[test]
fn the_same_setup_gives_the_same_log() {
    for seed in 0..3 {
        let setup = Setup::new(seed, Profile::hostile());
        let run = || simulate(&setup, &mut MemoryStorage::default()).unwrap();
        let (first, second) = (run(), run());
        assert_eq!(first.log_hash, second.log_hash);
        assert_eq!(first.coverage, second.coverage);
        assert!(first.events > 0);
    }
}

#[test]
fn the_page_about_the_simulation_names_every_fault_and_every_invariant() {
    let page = without_rule_links(include_str!("../../../docs/simulate.md"));
    for kind in FaultKind::ALL {
        let row = format!("| `{}` | {} |", kind.name(), kind.describe());
        assert!(page.contains(&row), "{row}");
    }
    for invariant in Invariant::ALL {
        let (name, rule) = (invariant.name(), invariant.rule());
        let row = format!("| `{name}` | {rule} | {} |", invariant.describe());
        assert!(page.contains(&row), "{row}");
    }
}
