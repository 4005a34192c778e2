//! The engine's time while the wall clock is put right, forwards and backwards, while it runs and
//! while it does not (E12).

mod common;

use std::num::NonZeroU32;
use std::time::Duration;

use common::{Rig, Sent, campaign_id, definition, seconds, tenant};
use hedgerow_core::{CampaignDefinition, Outcome, RolloutLimits, RolloutMechanism, Timestamp};
use hedgerow_engine::Engine;
use proptest::prelude::*;

const HOUR_MS: i64 = 3_600_000;

/// One target at a time, and two requests of 30 s each: two silent devices take 120 s.
fn short() -> CampaignDefinition {
    let mut definition = definition(1);
    let mut limits = RolloutLimits::new(NonZeroU32::MIN, "100".parse().unwrap());
    limits.operation.request_timeout = seconds(30);
    limits.operation.request_retries = 1;
    let RolloutMechanism::Push(push) = &mut definition.rollout else { panic!("it is a push") };
    push.limits = limits;
    definition
}

fn put_by(rig: &Rig, ms: i64) {
    rig.clock.put_right(Timestamp::from_millis(rig.now().as_millis() + ms));
}

/// At which seconds requests leave, for so many seconds.
fn requests(rig: &mut Rig, for_seconds: u64) -> Vec<u64> {
    let mut at = Vec::new();
    for second in 0..=for_seconds {
        if second > 0 {
            rig.pass(seconds(1));
        }
        let sent = rig.world.take_sent();
        at.extend(sent.iter().filter(|s| matches!(s, Sent::Update(..))).map(|_| second));
    }
    at
}

fn at_an_hour() -> Rig {
    let rig = Rig::new(2);
    rig.clock.put_right(Timestamp::from_millis(100 * HOUR_MS));
    rig
}

fn outcome(rig: &mut Rig, engine: &Engine) -> Option<Outcome> {
    rig.progress(engine, 1).outcome
}

#[test]
fn a_clock_that_goes_on_steadily_is_the_engines_time() {
    let mut rig = at_an_hour();
    let engine = rig.start();
    rig.create(&engine, 1, short());
    assert_eq!(requests(&mut rig, 120), [0, 30, 60, 90]);
    assert_eq!(outcome(&mut rig, &engine), Some(Outcome::Success), "no device may fail too many");
    assert_eq!(engine.now(), rig.now());
}

#[test]
fn a_clock_that_is_put_back_makes_deadlines_a_fifteenth_later_and_no_more() {
    let mut rig = at_an_hour();
    let engine = rig.start();
    rig.create(&engine, 1, short());
    put_by(&rig, -HOUR_MS);
    assert_eq!(requests(&mut rig, 130), [0, 32, 64, 96]);
    assert!(outcome(&mut rig, &engine).is_some());
    rig.pass(seconds(16 * 3_600));
    assert_eq!(engine.now(), rig.now(), "the clock has caught up");
}

#[test]
fn a_clock_that_is_put_forward_makes_due_what_is_due_by_then() {
    let mut rig = at_an_hour();
    let engine = rig.start();
    rig.create(&engine, 1, short());
    assert_eq!(requests(&mut rig, 10), [0]);
    put_by(&rig, HOUR_MS);
    assert_eq!(engine.now(), rig.now());
    assert_eq!(requests(&mut rig, 5), [1], "the deadline was within this hour");
}

#[test]
fn a_clock_that_jumps_a_year_ahead_and_back_stops_nothing_and_neither_does_a_restart_then() {
    const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
    let mut rig = at_an_hour();
    let engine = rig.start();
    rig.create(&engine, 1, short());
    assert_eq!(requests(&mut rig, 5), [0]);
    put_by(&rig, YEAR_MS);
    assert_eq!(requests(&mut rig, 5), [1], "the deadline was within this year");
    put_by(&rig, -YEAR_MS);
    assert_eq!(requests(&mut rig, 40), [27], "a fifteenth later and no more");
    let before = engine.now();
    let engine = rig.restart();
    assert!(engine.now() + seconds(15) >= before, "not before what was recorded");
    let sent = requests(&mut rig, 150);
    assert!(!sent.is_empty(), "the second device is asked again");
    assert!(outcome(&mut rig, &engine).is_some());
}

#[test]
fn an_engine_that_is_started_after_its_clock_was_put_back_goes_on_at_once() {
    let mut rig = at_an_hour();
    let engine = rig.start();
    rig.create(&engine, 1, short());
    assert_eq!(requests(&mut rig, 5), [0]);
    let before = engine.now();
    put_by(&rig, -HOUR_MS);
    let engine = rig.restart();
    assert!(engine.now() + seconds(5) >= before, "not before what was recorded");
    // The operation that had begun is sent again once its device has been looked at; from then on
    // all deadlines come as they do with any clock.
    let sent = requests(&mut rig, 150);
    assert!(sent.len() >= 3, "requests at {sent:?}");
    assert!(outcome(&mut rig, &engine).is_some());
}

#[test]
fn a_campaign_that_another_engine_wrote_by_a_clock_ahead_goes_on_at_once() {
    let mut rig = at_an_hour();
    let ahead = rig.start();
    rig.create(&ahead, 1, short());
    requests(&mut rig, 0);
    drop(ahead);
    // Something newer is written by a clock that is right, so that this is not the newest event.
    put_by(&rig, -HOUR_MS);
    let right = Timestamp::from_millis(rig.now().as_millis());
    let stray = hedgerow_core::NewEvent {
        event_type: "campaign_dreamt".to_owned(),
        schema_version: 1,
        recorded_at: right,
        correlation_id: uuid::Uuid::nil(),
        causation_id: uuid::Uuid::nil(),
        data: b"{}".to_vec(),
    };
    let append = hedgerow_engine::store::StreamAppend {
        tenant: tenant(),
        stream: hedgerow_core::StreamId::Campaign(campaign_id(9)),
        expected_version: 0,
        events: vec![stray],
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity: hedgerow_engine::store::Activity::Settled,
    };
    let store = rig.store.memory.clone();
    rig.run(async move {
        use hedgerow_engine::store::EventStore;
        store.append(vec![append]).await.expect("a stream of its own");
    });
    let engine = rig.restart();
    assert!(requests(&mut rig, 130).len() >= 3);
    assert!(outcome(&mut rig, &engine).is_some());
}

#[test]
fn a_call_that_runs_while_the_clock_jumps_has_all_its_time() {
    let mut rig = at_an_hour();
    let engine = rig.start();
    rig.world.scene().held = Some(Vec::new());
    rig.create(&engine, 1, short());
    put_by(&rig, HOUR_MS);
    rig.pass(seconds(1));
    rig.world.release();
    rig.pass(seconds(0));
    assert_eq!(rig.progress(&engine, 1).targets.in_progress, 1, "the directory's answer counts");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// However the clock is put, while the engine runs and while it does not: its time never goes
    /// back, nor slower than half, and what was to end ends.
    #[test]
    fn whatever_becomes_of_the_clock_the_engine_goes_on(
        steps in prop::collection::vec((1..20_u64, -2 * HOUR_MS..2 * HOUR_MS, 0..4_u8), 1..12),
    ) {
        let mut rig = at_an_hour();
        let mut engine = rig.start();
        rig.create(&engine, 1, short());
        let mut restarts = 0_u64;
        for (time, put, what) in steps {
            let before = engine.now();
            rig.pass(seconds(time));
            match what {
                0 => put_by(&rig, put),
                1 => {
                    restarts += 1;
                    put_by(&rig, put);
                    engine = rig.restart();
                    // Begun anew at what was last recorded, it counts from there.
                    continue;
                }
                _ => {}
            }
            let went = engine.now().since(before);
            prop_assert!(engine.now() >= before, "it went back");
            prop_assert!(2 * went >= seconds(time), "it went slower than half");
        }
        // Every restart makes what was under way be sent again.
        let most: Duration = seconds(2 * (120 + 90 * (restarts + 1)));
        rig.pass(most);
        prop_assert!(rig.progress(&engine, 1).outcome.is_some(), "it stands still");
        let log = rig.log();
        prop_assert!(log.is_sorted_by_key(|stored| stored.event.recorded_at), "stamps go back");
    }
}
