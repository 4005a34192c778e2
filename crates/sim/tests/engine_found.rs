//! What simulations of whole fleets have found, each in its smallest form.

mod common;

use std::sync::Arc;

use common::{Fault, Rig, Sent, definition, device, online_now, operation, seconds, tenant};
use hedgerow_core::{
    CampaignEdit, CampaignStatus, Outcome, Presence, Reaction, ReportStatus, RequestAnswer,
    RunningOperations, TargetStatus, TransportError,
};
use hedgerow_engine::Observation;
use hedgerow_engine::view::MemoryViews;
use hedgerow_sim::runtime::Executor;

#[test]
fn d14_a_campaign_that_fails_gives_back_devices_whose_request_was_deferred() {
    let mut rig = Rig::new(3);
    let engine = rig.start();
    let mut strict = definition(3);
    strict.rollout.limits_mut().max_failure_percentage = "0".parse().unwrap();
    let refused = RequestAnswer::Temporary(TransportError::new("HTTP status 503"));
    rig.world.scene().answers.push_back(refused);
    rig.create(&engine, 1, strict);
    rig.report(&engine, 2, operation(1, 2), ReportStatus::Failure).unwrap();
    assert_eq!(rig.progress(&engine, 1).outcome, Some(Outcome::Failure));

    rig.start_manual(&engine, 1).expect("nothing is in progress on device 1");
    // The request that failed was delivered all the same: too late to change a count (D11).
    let late = rig.report(&engine, 1, operation(1, 1), ReportStatus::Success);
    assert_eq!(late, Ok(Reaction::Late));
    rig.pass(seconds(3_600));
    assert_eq!(rig.targets(&engine, 1)[0].status, TargetStatus::Idle);
}

#[test]
fn d14_a_request_that_is_deferred_after_its_campaign_failed_gives_its_device_back() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    let mut strict = definition(2);
    strict.rollout.limits_mut().max_failure_percentage = "0".parse().unwrap();
    rig.world.scene().updates_hang = true;
    rig.create(&engine, 1, strict);
    rig.report(&engine, 2, operation(1, 2), ReportStatus::Failure).unwrap();
    assert_eq!(rig.progress(&engine, 1).outcome, Some(Outcome::Failure));
    rig.world.scene().updates_hang = false;
    // The call for device 1 is given up after 20 seconds.
    rig.pass(seconds(30));
    assert_eq!(rig.progress(&engine, 1).targets.in_progress, 0);
    rig.start_manual(&engine, 1).expect("nothing is in progress on device 1");
}

#[test]
fn d11_a_request_that_still_waits_to_leave_does_not_once_its_operation_has_ended() {
    let mut rig = Rig::new(70);
    let engine = rig.start();
    rig.world.scene().updates_hang = true;
    rig.create(&engine, 1, definition(70));
    let sent = rig.world.take_sent().len();
    assert!((1..70).contains(&sent), "{sent} calls are made at once, the others wait");
    // One that was delivered by an earlier call, say of an engine that died.
    let done = rig.report(&engine, 70, operation(1, 70), ReportStatus::Success);
    assert_eq!(done, Ok(Reaction::Taken));
    rig.world.scene().updates_hang = false;
    // The calls that hang are given up after 20 seconds, and the others leave.
    rig.pass(seconds(25));
    let sent = rig.world.take_sent();
    let is_for =
        |sent: &Sent, number| matches!(sent, Sent::Update(to, ..) if *to == device(number));
    assert!(sent.iter().any(|sent| is_for(sent, 69)), "{sent:?}");
    assert!(!sent.iter().any(|sent| is_for(sent, 70)), "its device would update once more");
}

#[test]
fn e10_a_report_about_an_operation_that_another_engine_started_is_taken() {
    let mut rig = Rig::new(1);
    let first = rig.start();
    let at = rig.now() + seconds(3_600);
    let asked = first.clone();
    rig.run(async move {
        asked.create(&tenant(), common::campaign_id(1), definition(1), Some(at)).await
    })
    .unwrap();
    // The second engine loads the campaign; then the first one starts it.
    let second = rig.start();
    let start_now = CampaignEdit { scheduled_at: Some(None), ..CampaignEdit::default() };
    let asked = first.clone();
    rig.run(async move { asked.edit(&tenant(), common::campaign_id(1), start_now).await }).unwrap();
    let taken = rig.report(&second, 1, operation(1, 1), ReportStatus::Success);
    assert_eq!(taken, Ok(Reaction::Taken));
    assert_eq!(rig.progress(&second, 1).outcome, Some(Outcome::Success));
}

#[test]
fn e5_an_engine_whose_append_failed_does_not_take_the_same_events_of_another_for_its_own() {
    let mut rig = Rig::new(1);
    let first = rig.start();
    rig.create(&first, 1, definition(1));
    rig.pass(seconds(1));
    let _second = rig.start();
    // The second one asks again after its start, as it cannot know whether the request left.
    rig.pass(seconds(1));
    rig.world.take_sent();
    // At the time-out both read the device and decide to ask again; only one can record it.
    let failure = Fault::Fails(common::unavailable());
    rig.store.next([Fault::Works, failure]);
    rig.pass(seconds(305));
    let resent = |event: &String| event == "request_resent" || event == "request_reissued";
    let types = rig.types(hedgerow_core::StreamId::Campaign(common::campaign_id(1)));
    let recorded = types.iter().filter(|event| resent(event)).count();
    let sent = rig.world.take_sent().len();
    assert!(sent <= recorded, "{sent} requests left for {recorded} that are recorded: {types:?}");
}

#[test]
fn d22_what_contradicts_an_outcome_is_seen_until_a_day_after_the_end_also_after_a_restart() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    rig.create(&engine, 1, definition(2));
    for number in [1, 2] {
        rig.report(&engine, number, operation(1, number), ReportStatus::Success).unwrap();
        rig.world.set_version(number, "2.0.0");
    }
    assert_eq!(rig.progress(&engine, 1).outcome, Some(Outcome::Success));
    rig.pass(seconds(3_600));
    rig.executor = Executor::default();
    let engine = rig.start_with(|builder| builder.views(Arc::new(MemoryViews::new())));
    rig.pass(seconds(60));
    for (number, version) in [(1, "1.0.0"), (2, "2.0.0")] {
        let gone = Presence::Offline;
        rig.world.set_version(number, version);
        rig.observe(&engine, Observation::Presence { device: device(number), presence: gone })
            .unwrap();
        rig.observe(&engine, online_now(&rig, number)).unwrap();
    }
    rig.pass(seconds(120));
    let seen: Vec<_> = rig.targets(&engine, 1).into_iter().map(|t| t.contradiction).collect();
    assert_eq!(seen, [Some("1.0.0".to_owned()), None]);
    let progress = rig.progress(&engine, 1);
    assert_eq!((progress.contradictions, progress.targets.successful), (1, 2));
    rig.pass(seconds(86_400));
    rig.world.set_version(2, "1.0.0");
    let shown = Observation::BaseImageChanged { device: device(2) };
    rig.observe(&engine, shown).unwrap();
    rig.pass(seconds(120));
    assert_eq!(rig.progress(&engine, 1).contradictions, 1, "more than a day has passed");
}

#[test]
fn d22_a_campaign_is_watched_though_the_store_failed_when_it_was_asked_whether_it_ended_lately() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.world.set_version(1, "2.0.0");
    rig.store.fail_reads(1);
    let engine = rig.restart();
    rig.pass(seconds(60));
    rig.world.set_version(1, "1.0.0");
    let gone = Presence::Offline;
    rig.observe(&engine, Observation::Presence { device: device(1), presence: gone }).unwrap();
    let back = online_now(&rig, 1);
    rig.observe(&engine, back).unwrap();
    rig.pass(seconds(60));
    assert_eq!(rig.progress(&engine, 1).contradictions, 1);
}

#[test]
fn d18_a_campaign_that_was_cancelled_while_its_targets_were_looked_up_supersedes_nothing() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.world.scene().held = Some(Vec::new());
    rig.create(&engine, 2, definition(1));
    let cancelled = engine.clone();
    let finish = RunningOperations::Finish;
    let cancel = async move { cancelled.cancel(&tenant(), common::campaign_id(2), finish).await };
    rig.run(cancel).unwrap();
    rig.world.release();
    rig.pass(seconds(60));
    assert_eq!(rig.progress(&engine, 1).status, CampaignStatus::InProgress);
}
