//! An answer belongs to its question (E11), and what a store that fails or refuses leads to: the
//! state is loaded again, with growing pauses, while people are heard (E5, E13).

mod common;

use common::{
    Fault, IMAGE, Rig, Sent, campaign_id, definition, device, operation, seconds, tenant,
};
use common::{online_now, unavailable};
use hedgerow_core::{
    CampaignStatus, NewEvent, Presence, Reaction, ReportStatus, RequestAnswer, StreamId,
    TargetStatus, TransportError,
};
use hedgerow_engine::store::{Activity, Claim, StreamAppend};
use hedgerow_engine::{Engine, EngineError, Moment, Observation, Sighting};

fn update(campaign: u128, number: u8) -> Sent {
    Sent::Update(device(number), operation(campaign, number), IMAGE.to_owned())
}

fn connects(rig: &mut Rig, engine: &Engine, number: u8) {
    let connected = online_now(rig, number);
    rig.world.set_presence(number, Presence::Online { since: rig.now() });
    rig.observe(engine, connected).expect("it is taken");
}

/// A report whose append fails.
fn report_is_lost(rig: &mut Rig, engine: &Engine, status: ReportStatus) {
    rig.store.next([Fault::Fails(unavailable())]);
    rig.report(engine, 1, operation(1, 1), status).expect_err("the store failed");
}

/// Lets the directory's call go on that waits for longest; it has looked already.
fn release_first(rig: &mut Rig) {
    let first = rig.world.scene().held.as_mut().expect("calls are held").remove(0);
    let _ = first.send(());
    rig.pass(seconds(0));
}

fn held(rig: &Rig) -> usize {
    rig.world.scene().held.as_ref().map_or(0, Vec::len)
}

#[test]
fn e11_presence_told_between_two_look_ups_is_newer_than_both() {
    let mut rig = Rig::new(2);
    rig.world.set_presence(2, Presence::Offline);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    assert_eq!(rig.world.take_sent(), [update(1, 1)]);
    rig.world.scene().held = Some(Vec::new());
    report_is_lost(&mut rig, &engine, ReportStatus::Acknowledged);
    rig.pass(seconds(3));
    report_is_lost(&mut rig, &engine, ReportStatus::Downloading);
    rig.pass(seconds(3));
    assert_eq!(held(&rig), 2, "the state was loaded twice");
    release_first(&mut rig);
    connects(&mut rig, &engine, 2);
    release_first(&mut rig);
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).expect("it is taken");
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent(), [update(1, 2)], "it is online and a slot is free (D4)");
}

#[test]
fn e11_the_answer_of_an_earlier_look_up_is_void() {
    let mut rig = Rig::new(2);
    rig.world.set_presence(2, Presence::Offline);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    assert_eq!(rig.world.take_sent(), [update(1, 1)]);
    rig.world.scene().held = Some(Vec::new());
    report_is_lost(&mut rig, &engine, ReportStatus::Acknowledged);
    rig.pass(seconds(3));
    // The first look-up has seen the device offline, the second sees it online.
    connects(&mut rig, &engine, 2);
    report_is_lost(&mut rig, &engine, ReportStatus::Downloading);
    rig.pass(seconds(3));
    assert_eq!(held(&rig), 2, "the state was loaded twice");
    release_first(&mut rig);
    release_first(&mut rig);
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).expect("it is taken");
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent(), [update(1, 2)], "it is online and a slot is free (D4)");
}

#[test]
fn e11_presence_told_while_a_snapshot_is_taken_again_is_newer_than_it() {
    let mut rig = Rig::new(1);
    rig.world.set_presence(1, Presence::Offline);
    let engine = rig.start();
    // The creation works, the snapshot's append does not.
    rig.store.next([Fault::Works, Fault::Fails(unavailable())]);
    rig.create(&engine, 1, definition(1));
    rig.world.scene().held = Some(Vec::new());
    rig.pass(seconds(3));
    assert_eq!(held(&rig), 1, "the snapshot is taken again");
    connects(&mut rig, &engine, 1);
    release_first(&mut rig);
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent(), [update(1, 1)], "it is online and a slot is free (D4)");
}

#[test]
fn e11_a_version_read_before_a_reload_passes_no_gate_after_it() {
    let mut rig = Rig::new(2);
    rig.world.set_presence(2, Presence::Offline);
    let engine = rig.start();
    rig.create(&engine, 1, definition(2));
    assert_eq!(rig.world.take_sent(), [update(1, 1)]);
    rig.world.scene().held_reads = Some(Vec::new());
    connects(&mut rig, &engine, 2);
    report_is_lost(&mut rig, &engine, ReportStatus::Acknowledged);
    // Somebody updates it by hand meanwhile.
    rig.world.set_version(2, "2.0.0");
    rig.pass(seconds(4));
    let reads = rig.world.scene().held_reads.take().expect("held");
    assert!(reads.len() >= 2, "it is read again after the reload");
    for read in reads {
        let _ = read.send(());
        rig.pass(seconds(1));
    }
    rig.pass(seconds(20));
    let sent = rig.world.take_sent();
    assert!(!sent.contains(&update(1, 2)), "it shows 2.0.0 at its turn (D5, gate 3): {sent:?}");
}

#[test]
fn e11_the_answer_to_a_call_made_before_a_reload_does_not_end_a_later_one() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.world.scene().updates_hang = true;
    rig.create(&engine, 1, definition(1));
    assert_eq!(rig.world.take_sent(), [update(1, 1)]);
    // The call of the first request runs into its time-out of 20 s while the state is loaded again
    // and the request leaves once more, which is accepted.
    rig.pass(seconds(10));
    rig.world.scene().updates_hang = false;
    rig.store.next([Fault::Fails(unavailable())]);
    let engine_of_people = engine.clone();
    rig.run(async move { engine_of_people.pause(&tenant(), campaign_id(1)).await })
        .expect_err("the store failed");
    rig.pass(seconds(8));
    assert_eq!(rig.world.take_sent(), [update(1, 1)], "it leaves once more, recorded (E4)");
    rig.pass(seconds(60));
    let types = rig.types(StreamId::Campaign(campaign_id(1)));
    assert!(types.contains(&"request_reissued".to_owned()), "{types:?}");
    let deferred = types.iter().filter(|name| *name == "operation_deferred").count();
    assert_eq!(deferred, 0, "the second call was accepted: {types:?}");
}

#[test]
fn e5_a_rollout_that_another_engine_takes_during_a_second_snapshot_is_waited_for_without_haste() {
    let other = StreamAppend {
        tenant: tenant(),
        stream: StreamId::ManualUpdate(operation(99, 1)),
        expected_version: 0,
        events: vec![NewEvent {
            event_type: "made_by_another_engine".to_owned(),
            schema_version: 1,
            recorded_at: hedgerow_core::Timestamp::default(),
            correlation_id: uuid::Uuid::nil(),
            causation_id: uuid::Uuid::nil(),
            data: b"{}".to_vec(),
        }],
        claims_taken: vec![Claim::Rollout {
            system_model: "gateway".to_owned(),
            channel: "stable".to_owned(),
        }],
        claims_released: Vec::new(),
        operations: Vec::new(),
        activity: Activity::Settled,
    };
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.store.next([Fault::Works, Fault::Fails(unavailable()), Fault::After(other)]);
    rig.create(&engine, 1, definition(1));
    rig.store.take_asked();
    rig.pass(seconds(60));
    assert_eq!(rig.progress(&engine, 1).targets.total, 0, "it waits");
    assert!(rig.store.take_asked() < 20, "each try is paused");
}

#[test]
fn e5_a_store_that_takes_nothing_is_tried_less_and_less_often_and_people_are_heard() {
    let mut rig = Rig::new(3);
    rig.world.set_presence(2, Presence::Offline);
    rig.world.set_presence(3, Presence::Offline);
    let engine = rig.start();
    rig.create(&engine, 1, definition(2));
    assert_eq!(rig.world.take_sent(), [update(1, 1)]);
    rig.store.take_asked();
    rig.store.set_full(true);
    // Its turn comes again and again, and cannot be recorded.
    connects(&mut rig, &engine, 2);
    rig.pass(seconds(600));
    let status = rig.progress(&engine, 1).status;
    assert_eq!(status, CampaignStatus::InProgress, "what was recorded can be looked at");
    let tried = rig.store.take_asked();
    assert!((5..40).contains(&tried), "{tried} tries in ten minutes");
    // While it waits, whoever reports is told to send again, and a person is heard at once.
    let again = rig.report(&engine, 1, operation(1, 1), ReportStatus::Acknowledged);
    assert!(again.expect_err("not recorded").is_retryable());
    rig.store.set_full(false);
    let person = engine.clone();
    rig.run(async move { person.pause(&tenant(), campaign_id(1)).await }).expect("it is heard");
    assert_eq!(rig.progress(&engine, 1).status, CampaignStatus::Pausing);
    // With that the store is known to work: nobody waits for the rest of the pause.
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Acknowledged).expect("it is taken");
    let person = engine.clone();
    rig.run(async move { person.resume(&tenant(), campaign_id(1)).await }).expect("it is heard");
    rig.pass(seconds(1));
    assert_eq!(rig.world.take_sent().last(), Some(&update(1, 2)), "who is online was asked anew");
}

#[test]
fn e5_while_nothing_can_be_read_whoever_asks_is_told_so_and_after_that_everything_goes_on() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.store.next([Fault::LosesAnswer]);
    rig.store.fail_reads(100);
    let reported = rig.report(&engine, 1, operation(1, 1), ReportStatus::Acknowledged);
    assert!(matches!(reported, Err(EngineError::Store(_))), "{reported:?}");
    let asked = engine.clone();
    let told = rig.run(async move { asked.progress(&tenant(), campaign_id(1)).await });
    assert!(matches!(told, Err(EngineError::Store(_))), "{told:?}");
    rig.store.fail_reads(0);
    rig.pass(seconds(120));
    // The append was written: the report is known, and told again it changes nothing.
    let types = rig.types(StreamId::Campaign(campaign_id(1)));
    let known = types.iter().filter(|name| *name == "operation_reported").count();
    assert_eq!(known, 1, "{types:?}");
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).expect("it is taken");
    assert_eq!(rig.progress(&engine, 1).targets.successful, 1);
}

#[test]
fn e11_an_answer_that_comes_while_it_is_not_known_what_was_written_is_asked_for_anew() {
    let mut rig = Rig::new(2);
    rig.world.set_presence(2, Presence::Offline);
    let engine = rig.start();
    rig.create(&engine, 1, definition(2));
    rig.world.take_sent();
    rig.world.scene().held_reads = Some(Vec::new());
    connects(&mut rig, &engine, 2);
    rig.store.next([Fault::LosesAnswer]);
    rig.store.fail_reads(1);
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Acknowledged).expect_err("not known");
    let reads = rig.world.scene().held_reads.take().expect("held");
    for read in reads {
        let _ = read.send(());
    }
    rig.pass(seconds(20));
    assert_eq!(rig.world.take_sent(), [update(1, 2)], "its version is read again");
}

/// A hundred requests left; then the platform goes down, and on top the engine loads its state
/// again or starts anew.
fn outage(restarts: bool) -> hedgerow_engine::Progress {
    let mut rig = Rig::new(100);
    let mut engine = rig.start();
    rig.world.scene().updates_hang = true;
    rig.create(&engine, 1, definition(100));
    rig.world.scene().held = Some(Vec::new());
    rig.world.scene().reads_fail = true;
    if restarts {
        engine = rig.restart();
    } else {
        report_is_lost(&mut rig, &engine, ReportStatus::Acknowledged);
    }
    rig.pass(seconds(1_800));
    rig.progress(&engine, 1)
}

#[test]
fn d10_an_outage_fails_nothing_after_a_reload_or_a_restart() {
    for restarts in [false, true] {
        let targets = outage(restarts).targets;
        assert_eq!(targets.failed, 0, "{targets:?}, restarts: {restarts}");
    }
}

#[test]
fn d10_a_manual_update_whose_request_may_never_have_left_waits_while_its_device_cannot_be_read() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.world.scene().updates_hang = true;
    rig.start_manual(&engine, 1).expect("it begins");
    rig.world.scene().updates_hang = false;
    rig.world.scene().reads_fail = true;
    rig.world.take_sent();
    let _engine = rig.restart();
    rig.pass(seconds(4 * 300 + 60));
    assert_eq!(rig.world.take_sent(), [], "nothing is known of its device");
    let id = hedgerow_core::OperationId::of_manual_update(&tenant(), "r1");
    let types = rig.types(StreamId::ManualUpdate(id));
    assert!(!types.contains(&"manual_failed".to_owned()), "{types:?}");
    rig.world.scene().reads_fail = false;
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent().len(), 1, "it leaves once more");
}

#[test]
fn d24_a_device_that_came_back_is_asked_again_only_if_it_says_nothing() {
    for goes_on in [true, false] {
        let mut rig = Rig::new(1);
        let engine = rig.start();
        rig.create(&engine, 1, definition(1));
        rig.report(&engine, 1, operation(1, 1), ReportStatus::Acknowledged).expect("it is taken");
        let (device, presence) = (device(1), Presence::Offline);
        rig.world.set_presence(1, presence);
        rig.observe(&engine, Observation::Presence { device, presence }).expect("it is taken");
        rig.pass(seconds(30));
        connects(&mut rig, &engine, 1);
        // Its base image has settled.
        rig.pass(seconds(60));
        if goes_on {
            rig.report(&engine, 1, operation(1, 1), ReportStatus::Downloading)
                .expect("it is taken");
        }
        rig.world.take_sent();
        rig.pass(seconds(400));
        let expected = if goes_on { vec![] } else { vec![update(1, 1)] };
        assert_eq!(rig.world.take_sent(), expected, "it goes on: {goes_on}");
    }
}

#[test]
fn d14_a_device_that_turned_out_busy_before_a_reload_is_looked_at_again_after_it() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.start_manual(&engine, 1).expect("it begins");
    rig.create(&engine, 1, definition(1));
    assert_eq!(rig.world.take_sent().len(), 1, "the manual one");
    rig.store.next([Fault::Fails(unavailable())]);
    let person = engine.clone();
    rig.run(async move { person.pause(&tenant(), campaign_id(1)).await }).expect_err("it failed");
    let manual = hedgerow_core::OperationId::of_manual_update(&tenant(), "r1");
    rig.report(&engine, 1, manual, ReportStatus::Success).expect("it is taken");
    rig.pass(seconds(20));
    assert_eq!(rig.world.take_sent(), [update(1, 1)], "its device is free");
}

#[test]
fn d10_a_target_that_is_idle_again_is_not_reserved_for_a_read_that_is_void() {
    let mut rig = Rig::new(1);
    rig.world.set_presence(1, Presence::Offline);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.world.scene().held_reads = Some(Vec::new());
    connects(&mut rig, &engine, 1);
    rig.store.next([Fault::Fails(unavailable())]);
    let person = engine.clone();
    rig.run(async move { person.pause(&tenant(), campaign_id(1)).await }).expect_err("it failed");
    // Nobody has the device while the state rests.
    rig.start_manual(&engine, 1).expect("its device is free");
    let reads = rig.world.scene().held_reads.take().into_iter().flatten();
    for read in reads {
        let _ = read.send(());
    }
    rig.pass(seconds(30));
    let sent = rig.world.take_sent();
    assert_eq!(sent.len(), 1, "D14: {sent:?}");
    assert_eq!(rig.targets(&engine, 1)[0].status, TargetStatus::Idle);
}

#[test]
fn e13_the_same_append_of_another_writer_is_not_taken_for_ones_own() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    let stream = StreamId::Campaign(campaign_id(1));
    let ids = |rig: &mut Rig| {
        let log = rig.log().into_iter().filter(|stored| stored.stream == stream);
        log.map(|stored| stored.event.causation_id).collect::<Vec<_>>()
    };
    let first = ids(&mut rig);
    // Another engine that starts at the very same instant and does the very same.
    let mut twin = Rig::new(1);
    let engine = twin.start();
    twin.create(&engine, 1, definition(1));
    let second = ids(&mut twin);
    assert_eq!(first.len(), second.len());
    assert!(first.iter().all(|id| !second.contains(id)), "{first:?} {second:?}");
}

#[test]
fn d10_a_refused_answer_is_void_after_a_reload_and_the_question_is_asked_anew() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let down = RequestAnswer::Temporary(TransportError::new("HTTP status 503"));
    rig.world.scene().answers.push_back(down);
    // The started operation is recorded; the answer to its request is not.
    rig.store.next([Fault::Works, Fault::Works, Fault::Works, Fault::Fails(unavailable())]);
    rig.create(&engine, 1, definition(1));
    rig.pass(seconds(120));
    let types = rig.types(StreamId::Campaign(campaign_id(1)));
    let reissued = types.iter().filter(|name| *name == "request_reissued").count();
    assert!(rig.store.is_spent() && reissued == 1, "{types:?}");
    rig.observe(&engine, Observation::DeviceRemoved { device: device(1) }).expect("it is taken");
    assert_eq!(rig.progress(&engine, 1).targets.failed, 1);
}

#[test]
fn e11_where_a_device_was_before_it_was_asked_for_is_no_answer() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let before = vec![(device(1), Sighting::now(Some(Presence::Offline)))];
    // It has come since, and nobody told a campaign that was not there yet.
    rig.world.scene().joined = Some(before.clone());
    rig.create(&engine, 1, definition(1));
    assert_eq!(rig.world.take_sent(), [update(1, 1)], "it was looked at again");
    drop(engine);
    rig.world.scene().joined = Some(before);
    let engine = rig.restart();
    rig.world.set_version(1, "2.0.0");
    rig.pass(seconds(60));
    let asked = engine.clone();
    let progress = rig.run(async move { asked.progress(&tenant(), campaign_id(1)).await });
    assert_eq!(
        progress.expect("it runs").targets.successful,
        1,
        "it is online, and was read (D12)"
    );
}

#[test]
fn e7_what_was_heard_before_a_look_up_and_is_told_after_it_gives_way() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    let heard = Moment::now();
    rig.create(&engine, 1, definition(1));
    assert_eq!(rig.world.take_sent(), [update(1, 1)]);
    let gone = Observation::Presence { device: device(2), presence: Presence::Offline };
    let (asked, told) = (engine.clone(), gone.clone());
    let late = rig.run(async move { asked.observe_as_of(&tenant(), told, heard).await });
    assert_eq!(late, Ok(Reaction::Unchanged));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).expect("it is taken");
    assert_eq!(rig.world.take_sent(), [update(1, 2)], "it was looked up since");
}
