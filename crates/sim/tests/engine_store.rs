//! The engine on a store that fails, that is damaged, or that another engine writes to (E4 to E10,
//! D21), and shutting it down.

mod common;

use common::{
    Fault, IMAGE, Rig, Sent, assert_bounds_hold, campaign_id, definition, device, operation,
    seconds, tenant, unavailable,
};
use futures::FutureExt;
use hedgerow_core::event::EventError;
use hedgerow_core::{CampaignStatus, NewEvent, Outcome, Reaction, ReportStatus, StreamId};
use hedgerow_engine::store::{Activity, Claim, EventStore, StoreError, StreamAppend};
use hedgerow_engine::{Engine, EngineError, LoadError, Observation, Position};

fn full() -> StoreError {
    StoreError::Full { detail: "no space left".to_owned() }
}

fn stream(number: u128) -> StreamId {
    StreamId::Campaign(campaign_id(number))
}

fn update(campaign: u128, number: u8) -> Sent {
    Sent::Update(device(number), operation(campaign, number), IMAGE.to_owned())
}

fn pause(rig: &mut Rig, engine: &Engine, number: u128) -> Result<(), EngineError> {
    let engine = engine.clone();
    rig.run_within(seconds(60), async move { engine.pause(&tenant(), campaign_id(number)).await })
}

/// A store of two campaigns in different channels, both under way, with the engine gone.
fn two_campaigns() -> Rig {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    rig.create(&engine, 1, definition(2));
    let mut other = definition(2);
    other.channel =
        hedgerow_core::Channel::new("beta".parse().unwrap(), ["others".parse().unwrap()]).unwrap();
    rig.create(&engine, 2, other);
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.world.take_sent();
    rig
}

/// With the first campaign damaged so: that one is out of service with `check`ed error, its
/// reports are to be sent again, and the other goes on.
fn assert_only_the_first_is_out(rig: &mut Rig, check: impl Fn(&LoadError) -> bool) {
    let engine = rig.restart();
    let quarantined = engine.quarantined(&tenant());
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].0, stream(1));
    assert!(check(&quarantined[0].1), "{}", quarantined[0].1);
    assert_eq!(engine.quarantined(&"other".parse().unwrap()), []);

    let refused = rig.report(&engine, 2, operation(1, 2), ReportStatus::Success).unwrap_err();
    assert!(matches!(&refused, EngineError::Quarantined { stream: out, .. } if *out == stream(1)));
    assert!(refused.is_retryable(), "E10: the report is not lost");
    let refused = pause(rig, &engine, 1).unwrap_err();
    assert!(matches!(refused, EngineError::Quarantined { .. }));

    // Device 1 is free for the other campaign; device 2 is not: its operation may go on (D14).
    rig.pass(seconds(60));
    let progress = rig.progress(&engine, 2);
    assert_eq!((progress.targets.in_progress, progress.targets.idle), (1, 1));
    rig.report(&engine, 1, operation(2, 1), ReportStatus::Success).unwrap();
    assert_eq!(rig.progress(&engine, 2).targets.successful, 1);
}

#[test]
fn d21_a_damaged_payload_stops_its_campaign_only() {
    let mut rig = two_campaigns();
    rig.store.damage_without_checksums(|mut stored| {
        if stored.stream == stream(1) && stored.version == 2 {
            stored.event.data.truncate(5);
        }
        Some(stored)
    });
    assert_only_the_first_is_out(&mut rig, |error| {
        matches!(error, LoadError::Event(EventError::Malformed { version: 2, .. }))
    });
}

#[test]
fn d14_a_device_that_was_reserved_by_a_campaign_that_goes_out_of_service_is_free() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    // Its version is being read for the gates of the first campaign, which never comes to its end.
    rig.world.scene().reads_hang = true;
    rig.create(&engine, 1, definition(1));
    let mut other = definition(1);
    other.channel =
        hedgerow_core::Channel::new("beta".parse().unwrap(), ["others".parse().unwrap()]).unwrap();
    rig.create(&engine, 2, other);
    rig.world.scene().reads_hang = false;
    assert_eq!(rig.progress(&engine, 2).targets.in_progress, 0, "its device is another's");
    rig.store.damage_without_checksums(|mut stored| {
        if stored.stream == stream(1) && stored.version == 2 {
            stored.event.data.truncate(5);
        }
        Some(stored)
    });
    rig.store.next([Fault::Fails(unavailable())]);
    let refused = pause(&mut rig, &engine, 1).unwrap_err();
    assert!(refused.is_retryable());
    assert_eq!(engine.quarantined(&tenant()).len(), 1);
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent(), [update(2, 1)]);
}

#[test]
fn e6_an_event_of_an_unknown_type_stops_its_campaign_only() {
    let mut rig = two_campaigns();
    rig.store.damage_without_checksums(|mut stored| {
        if stored.stream == stream(1) && stored.version == 3 {
            stored.event.event_type = "campaign_dreamt".to_owned();
        }
        Some(stored)
    });
    assert_only_the_first_is_out(&mut rig, |error| {
        matches!(error, LoadError::Event(EventError::UnknownType { version: 3, .. }))
    });
}

#[test]
fn e6_an_event_of_a_newer_schema_stops_its_campaign_only() {
    let mut rig = two_campaigns();
    rig.store.damage_without_checksums(|mut stored| {
        if stored.stream == stream(1) && stored.version == 3 {
            stored.event.schema_version = 99;
        }
        Some(stored)
    });
    assert_only_the_first_is_out(&mut rig, |error| {
        matches!(
            error,
            LoadError::Event(EventError::NewerSchema { version: 3, schema_version: 99, .. })
        )
    });
}

#[test]
fn e14_an_event_that_does_not_fit_its_checksum_stops_its_campaign_only() {
    let mut rig = two_campaigns();
    rig.store.damage(|mut stored| {
        if stored.stream == stream(1) && stored.version == 3 {
            stored.event.recorded_at = stored.event.recorded_at + seconds(1);
        }
        Some(stored)
    });
    assert_only_the_first_is_out(&mut rig, |error| {
        let LoadError::Store(StoreError::Corrupt { detail }) = error else { return false };
        detail.contains("event 3 of") && detail.contains("does not fit its checksum")
    });
}

#[test]
fn d21_a_gap_stops_its_campaign_only() {
    let mut rig = two_campaigns();
    rig.store
        .damage(|stored| (stored.stream != stream(1) || stored.version != 3).then_some(stored));
    assert_only_the_first_is_out(&mut rig, |error| {
        matches!(error, LoadError::Gap { expected: 3, found: 4, .. })
    });
}

#[test]
fn d21_an_event_that_cannot_follow_stops_its_campaign_only() {
    let mut rig = two_campaigns();
    rig.store.damage_without_checksums(|mut stored| {
        if stored.stream == stream(1) && stored.version == 4 {
            stored.event.event_type = "campaign_paused".to_owned();
            stored.event.data = b"{}".to_vec();
        }
        Some(stored)
    });
    assert_only_the_first_is_out(&mut rig, |error| matches!(error, LoadError::Apply(_)));
}

#[test]
fn e10_a_stream_that_cannot_be_read_for_now_is_loaded_as_soon_as_it_can() {
    let mut rig = two_campaigns();
    rig.store.fail_reads(4);
    let engine = rig.restart();
    assert_eq!(engine.quarantined(&tenant()), []);
    let refused = rig.report(&engine, 2, operation(1, 2), ReportStatus::Success).unwrap_err();
    assert!(refused.is_retryable());
    rig.pass(seconds(10));
    rig.report(&engine, 2, operation(1, 2), ReportStatus::Success).unwrap();
    assert_eq!(rig.progress(&engine, 1).outcome, Some(Outcome::Success));
}

#[test]
fn e10_a_late_report_whose_stream_cannot_be_read_for_now_is_taken_later() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    // What its devices show is looked at for a day: only then it leaves the memory.
    rig.pass(seconds(2 * 86_400));
    rig.store.fail_reads(1);
    let refused = rig.report(&engine, 1, operation(1, 1), ReportStatus::Failure).unwrap_err();
    assert!(matches!(refused, EngineError::Store(_)));
    let late = rig.report(&engine, 1, operation(1, 1), ReportStatus::Failure);
    assert_eq!(late, Ok(Reaction::Late));
}

#[test]
fn e8_an_input_whose_append_fails_is_answered_with_a_retryable_error_and_leaves_no_trace() {
    for failure in [unavailable(), full()] {
        let mut rig = Rig::new(2);
        let engine = rig.start();
        rig.create(&engine, 1, definition(2));
        let before = rig.log();
        rig.store.next([Fault::Fails(failure.clone())]);
        let refused = rig.report(&engine, 1, operation(1, 1), ReportStatus::Success);
        let refused = refused.unwrap_err();
        assert_eq!(refused, EngineError::Store(failure));
        assert!(refused.is_retryable());
        assert_eq!(rig.log(), before);
        rig.pass(seconds(10));
        for number in [1, 2] {
            let taken = rig.report(&engine, number, operation(1, number), ReportStatus::Success);
            assert_eq!(taken, Ok(Reaction::Taken));
        }
        assert_eq!(rig.progress(&engine, 1).outcome, Some(Outcome::Success));
        assert_eq!(rig.world.take_sent(), [update(1, 1), update(1, 2)]);
    }
}

#[test]
fn e8_an_input_that_was_recorded_is_acknowledged_though_the_stores_answer_is_lost() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    let asked = engine.clone();
    let events = rig.run(async move { asked.subscribe(&tenant(), Position::Now).await });
    let mut events = events.unwrap();
    rig.create(&engine, 1, definition(1));
    rig.store.next([Fault::LosesAnswer]);
    let taken = rig.report(&engine, 1, operation(1, 1), ReportStatus::Success);
    assert_eq!(taken, Ok(Reaction::Taken));
    rig.store.next([Fault::LosesAnswer]);
    assert_eq!(pause(&mut rig, &engine, 1), Ok(()));
    assert_eq!(rig.world.take_sent(), [update(1, 1), update(1, 2)]);
    let log: Vec<_> = rig.log().into_iter().map(|stored| stored.event).collect();
    let mut seen = Vec::new();
    while let Some(told) = events.next_if_ready() {
        seen.push(told.expect("an event").event);
    }
    assert_eq!(seen, log, "a subscriber sees every event once");
}

#[test]
fn d14_a_device_whose_release_was_recorded_is_free_though_the_stores_answer_is_lost() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.store.next([Fault::LosesAnswer]);
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.pass(seconds(10));
    rig.start_manual(&engine, 1).expect("the device is free");
    rig.world.set_version(1, "1.0.0");
    rig.create(&engine, 2, definition(1));
    assert_eq!(rig.progress(&engine, 2).status, CampaignStatus::InProgress, "D18");
}

#[test]
fn e8_a_campaign_whose_creation_was_recorded_runs_though_the_stores_answer_is_lost() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.store.next([Fault::LosesAnswer]);
    assert_eq!(rig.try_create(&engine, 1, definition(1)), Ok(()));
    assert_eq!(rig.world.take_sent(), [update(1, 1)]);
}

#[test]
fn e8_a_campaign_of_whose_creation_nothing_is_known_runs_if_it_was_recorded() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.store.next([Fault::LosesAnswer]);
    rig.store.fail_reads(3);
    let refused = rig.try_create(&engine, 1, definition(1)).unwrap_err();
    assert!(refused.is_retryable());
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent(), [update(1, 1)]);
}

#[test]
fn e8_a_creation_that_failed_can_be_repeated() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.store.next([Fault::Fails(full()), Fault::Fails(unavailable())]);
    assert_eq!(rig.try_create(&engine, 1, definition(1)), Err(full().into()));
    assert_eq!(rig.start_manual(&engine, 1), Err(unavailable().into()));
    assert_eq!(rig.log(), []);
    assert_eq!(rig.start_manual(&engine, 1), Ok(()));
    assert_eq!(rig.try_create(&engine, 1, definition(1)), Ok(()));
}

#[test]
fn d20_a_manual_update_whose_answer_is_lost_is_started_once() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.store.next([Fault::LosesAnswer]);
    assert_eq!(rig.start_manual(&engine, 1), Ok(()));
    assert_eq!(rig.start_manual(&engine, 1), Ok(()));
    assert_eq!(rig.world.take_sent().len(), 1);
}

#[test]
fn e8_while_it_is_not_known_whether_a_campaign_was_created_nobody_is_told_that_it_exists() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.store.next([Fault::Fails(unavailable())]);
    rig.store.fail_reads(3);
    let create = |rig: &mut Rig| rig.try_create(&engine, 1, definition(1));
    assert!(matches!(create(&mut rig), Err(EngineError::Store(_))));
    let again = create(&mut rig).expect_err("it was not created");
    assert!(matches!(again, EngineError::NotReady { .. }) && again.is_retryable(), "{again}");
    rig.pass(seconds(60));
    assert_eq!(create(&mut rig), Ok(()));
    let exists = EngineError::CampaignExists { campaign: campaign_id(1) };
    assert_eq!(create(&mut rig), Err(exists));
}

#[test]
fn d11_a_late_report_that_is_repeated_for_hours_is_recorded_once() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Failure).unwrap();
    let recorded = rig.log().len();
    for _ in 0..20 {
        rig.pass(seconds(400));
        rig.report(&engine, 1, operation(1, 1), ReportStatus::Failure).unwrap();
    }
    assert_eq!(rig.log().len(), recorded);
}

#[test]
fn e5_every_append_may_fail_in_every_way_and_the_campaign_finishes_all_the_same() {
    let ways: [fn() -> Fault; 3] =
        [|| Fault::Fails(unavailable()), || Fault::Fails(full()), || Fault::LosesAnswer];
    for way in ways {
        for failing in 1..30 {
            let mut rig = Rig::new(3);
            let engine = rig.start();
            rig.create(&engine, 1, definition(2));
            rig.store.next((1..failing).map(|_| Fault::Works).chain([way(), way()]));
            for number in 1..=3 {
                for status in [ReportStatus::Acknowledged, ReportStatus::Success] {
                    while let Err(error) = rig.report(&engine, number, operation(1, number), status)
                    {
                        assert!(error.is_retryable(), "{error}");
                        rig.pass(seconds(10));
                    }
                }
                rig.pass(seconds(10));
            }
            let progress = rig.progress(&engine, 1);
            assert_eq!(progress.outcome, Some(Outcome::Success));
            assert_eq!(progress.targets.successful, 3);
            let log = rig.log();
            assert_bounds_hold(&log, 2);
            let ended = rig.types(stream(1)).iter().filter(|t| *t == "operation_succeeded").count();
            assert_eq!(ended, 3);
            assert_eq!(rig.claims(), []);
        }
    }
}

/// An event that another writer appends: the campaign goes on as it was.
fn foreign(rig: &mut Rig, types: &str, data: &str) -> StreamAppend {
    let version = rig.types(stream(1)).len() as u64;
    StreamAppend {
        tenant: tenant(),
        stream: stream(1),
        expected_version: version,
        events: vec![NewEvent {
            event_type: types.to_owned(),
            schema_version: 1,
            recorded_at: rig.now(),
            correlation_id: uuid::Uuid::nil(),
            causation_id: uuid::Uuid::nil(),
            data: data.as_bytes().to_vec(),
        }],
        claims_taken: Vec::new(),
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity: Activity::Active,
    }
}

#[test]
fn e5_what_another_writer_recorded_first_is_taken_into_account() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    let paused = foreign(&mut rig, "campaign_pausing", "{}");
    rig.store.next([Fault::After(paused)]);
    let taken = rig.report(&engine, 1, operation(1, 1), ReportStatus::Success);
    assert_eq!(taken, Ok(Reaction::Taken), "decided again, not refused");
    rig.pass(seconds(600));
    assert_eq!(rig.progress(&engine, 1).status, CampaignStatus::Paused);
    assert_eq!(rig.world.take_sent(), [update(1, 1)], "D16: nothing starts");
}

#[test]
fn e5_a_command_that_another_writer_made_void_is_refused() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    let paused = foreign(&mut rig, "campaign_pausing", "{}");
    rig.store.next([Fault::After(paused)]);
    assert!(matches!(pause(&mut rig, &engine, 1), Err(EngineError::Rejected(_))));
}

/// A stream of another engine that takes or releases a claim.
fn foreign_claim(rig: &mut Rig, taken: Vec<Claim>, released: Vec<Claim>) {
    let holder = StreamId::ManualUpdate(operation(99, 1));
    let mut append = foreign(rig, "made_by_another_engine", "{}");
    append.stream = holder;
    append.expected_version = rig.types(holder).len() as u64;
    append.activity = Activity::Settled;
    append.claims_taken = taken;
    append.claims_released = released;
    let store = rig.store.memory.clone();
    rig.run(async move { store.append(vec![append]).await }).expect("it is free");
}

#[test]
fn d14_a_device_that_another_engine_updates_is_waited_for() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    foreign_claim(&mut rig, vec![Claim::Device(device(1))], Vec::new());
    rig.create(&engine, 1, definition(2));
    rig.pass(seconds(120));
    assert_eq!(rig.world.take_sent(), [update(1, 2)]);
    let holder = StreamId::ManualUpdate(operation(99, 1));
    let busy = EngineError::DeviceBusy { device: device(1), holder };
    assert_eq!(rig.start_manual(&engine, 1), Err(busy));
    foreign_claim(&mut rig, Vec::new(), vec![Claim::Device(device(1))]);
    rig.pass(seconds(120));
    assert_eq!(rig.world.take_sent(), [update(1, 1)]);
}

#[test]
fn d18_a_rollout_that_another_engine_holds_is_waited_for_without_haste() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let rollout =
        Claim::Rollout { system_model: "gateway".to_owned(), channel: "stable".to_owned() };
    foreign_claim(&mut rig, vec![rollout.clone()], Vec::new());
    rig.create(&engine, 1, definition(1));
    rig.pass(seconds(600));
    assert_eq!(rig.progress(&engine, 1).status, CampaignStatus::Idle);
    foreign_claim(&mut rig, Vec::new(), vec![rollout]);
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent(), [update(1, 1)]);
}

#[test]
fn e5_two_engines_on_one_store_keep_the_bounds_and_finish() {
    let mut rig = Rig::new(8);
    let first = rig.start();
    rig.create(&first, 1, definition(3));
    let second = rig.start();
    let engines = [first, second];
    for round in 0..200_usize {
        let types = rig.types(stream(1));
        let started = types.iter().filter(|t| *t == "operation_started").count();
        for number in 1..=u8::try_from(started).unwrap() {
            // Each report reaches one engine only, now this one, now that one.
            let engine = &engines[(round + usize::from(number)) % 2];
            let _ = rig.report(engine, number, operation(1, number), ReportStatus::Success);
        }
        rig.pass(seconds(30));
        assert_bounds_hold(&rig.log(), 3);
        if rig.types(stream(1)).iter().any(|t| t == "campaign_finished") {
            break;
        }
    }
    let types = rig.types(stream(1));
    assert_eq!(types.iter().filter(|t| *t == "operation_succeeded").count(), 8);
    assert_eq!(types.iter().filter(|t| *t == "campaign_finished").count(), 1);
    assert_eq!(rig.claims(), []);
}

#[test]
fn d18_a_campaign_of_one_engine_supersedes_that_of_another() {
    let mut rig = Rig::new(1);
    let first = rig.start();
    let second = rig.start();
    rig.create(&first, 1, definition(1));
    rig.create(&second, 2, definition(1));
    rig.pass(seconds(120));
    assert_eq!(rig.progress(&second, 1).outcome, Some(Outcome::Superseded));
    assert_eq!(rig.progress(&second, 2).status, CampaignStatus::InProgress);
    assert_bounds_hold(&rig.log(), 1);
}

#[test]
fn e8_a_shutdown_loses_nothing_and_the_next_engine_goes_on() {
    let mut rig = Rig::new(3);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.report(&engine, 2, operation(1, 2), ReportStatus::Downloading).unwrap();
    let before = rig.progress(&engine, 1);
    let stopping = engine.clone();
    rig.run_within(seconds(60), async move { stopping.shutdown().await });

    let refused = rig.report(&engine, 2, operation(1, 2), ReportStatus::Success).unwrap_err();
    assert_eq!(refused, EngineError::ShuttingDown);
    assert!(refused.is_retryable());
    assert_eq!(rig.try_create(&engine, 2, definition(1)), Err(EngineError::ShuttingDown));
    assert_eq!(rig.start_manual(&engine, 1), Err(EngineError::ShuttingDown));
    assert_eq!(pause(&mut rig, &engine, 1), Err(EngineError::ShuttingDown));

    let engine = rig.restart();
    assert_eq!(rig.progress(&engine, 1), before);
    for number in [2, 3] {
        rig.report(&engine, number, operation(1, number), ReportStatus::Success).unwrap();
    }
    assert_eq!(rig.progress(&engine, 1).outcome, Some(Outcome::Success));
    assert_eq!(rig.world.take_sent(), [update(1, 1), update(1, 2), update(1, 3)]);
}

#[test]
fn e8_a_shutdown_waits_for_calls_under_way_and_records_their_answers() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.world.scene().updates_hang = true;
    rig.create(&engine, 1, definition(1));
    let stopping = engine.clone();
    // The call is given up after its time-out of 20 s.
    rig.run_within(seconds(30), async move { stopping.shutdown().await });
    assert_eq!(rig.types(stream(1)).last().map(String::as_str), Some("operation_deferred"));
}

#[test]
fn e8_a_shutdown_ends_though_the_store_has_failed() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.store.next((0..1_000).map(|_| Fault::Fails(unavailable())));
    rig.store.fail_reads(1_000_000);
    let reporting = engine.clone();
    let report =
        hedgerow_core::OperationReport::new(device(1), operation(1, 1), ReportStatus::Success);
    let observation = hedgerow_engine::Observation::Report(report);
    assert!(
        rig.executor
            .run(async move { reporting.observe(&tenant(), observation).await })
            .is_none_or(|answer| answer.is_err())
    );
    rig.pass(seconds(10));
    rig.run_within(seconds(60), async move { engine.shutdown().await });
}

#[test]
fn e8_who_tells_faster_than_the_store_records_is_asked_to_send_it_again() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    rig.create(&engine, 1, definition(2));
    rig.store.next([Fault::Hangs]);
    let paused = engine.clone();
    let pause = async move { paused.pause(&tenant(), campaign_id(1)).await };
    rig.executor.run(pause.map(drop));
    let tell = move |engine: Engine| async move {
        let observation = Observation::BaseImageChanged { device: device(1) };
        engine.observe(&tenant(), observation).await
    };
    // The task waits for the store, and what it is told waits for the task.
    let mut told = 0;
    let refused = loop {
        let mut call = Box::pin(tell(engine.clone()));
        match call.as_mut().now_or_never() {
            None => told += 1,
            Some(answer) => break answer,
        }
    };
    assert_eq!(refused, Err(EngineError::Busy));
    assert!(EngineError::Busy.is_retryable(), "nothing was lost");
    assert_eq!(told, 65_536);
    // After a restart it hears of its devices again.
    let engine = rig.restart();
    let heard = rig.run(tell(engine));
    assert_eq!(heard, Ok(Reaction::Taken));
}

#[test]
fn c4_what_is_told_of_a_device_waits_for_no_campaign_that_does_not_have_it() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.world.add(&tenant(), 2, "1.0.0");
    rig.start_manual(&engine, 2).expect("nothing is in progress on device 2");
    rig.store.next([Fault::Hangs]);
    let paused = engine.clone();
    rig.executor.run(async move { drop(paused.pause(&tenant(), campaign_id(1)).await) });
    let changed = |number| Observation::BaseImageChanged { device: device(number) };
    let asked = engine.clone();
    let mut held = Box::pin(async move { asked.observe(&tenant(), changed(1)).await });
    assert!(held.as_mut().now_or_never().is_none(), "the campaign waits for its store");
    assert_eq!(rig.observe(&engine, changed(2)), Ok(Reaction::Taken));
}
