//! A log that no engine need have written, but that folds, and then random commands, reports,
//! answers and restarts: nothing panics, what is decided can follow, the counts add up, and the
//! recorded events fold to the live state (E1).

#![no_main]

use arbitrary::Arbitrary;
use hedgerow_core::Timestamp;
use hedgerow_fuzz::campaign_world::Plan;
use hedgerow_fuzz::facts::Fact;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct LogAndPlan {
    facts: Vec<Fact>,
    plan: Plan,
}

fuzz_target!(|input: LogAndPlan| {
    let log: Vec<_> =
        input.facts.iter().map(|fact| fact.event(Timestamp::from_millis(0))).collect();
    input.plan.run_after(&log);
});
