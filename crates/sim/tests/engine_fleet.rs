//! Campaigns beside each other, in several tenants; what users ask; what devices do while the
//! engine looks elsewhere (D1, D11, D15, D18, D21, E7, E10).

mod common;

use common::{
    IMAGE, Rig, Sent, campaign_id, definition, device, online_now, operation, seconds, tenant,
};
use hedgerow_core::{
    CampaignStatus, Channel, FailureReason, OperationReport, Outcome, Presence, Reaction,
    ReportStatus, Settlement, StreamId, TenantId, WhenRunning,
};
use hedgerow_engine::{EngineError, Observation};

fn update(campaign: u128, number: u8) -> Sent {
    Sent::Update(device(number), operation(campaign, number), IMAGE.to_owned())
}

fn refusing() -> hedgerow_core::CampaignDefinition {
    hedgerow_core::CampaignDefinition { when_running: WhenRunning::Refuse, ..definition(1) }
}

#[test]
fn d18_a_newer_campaign_takes_over_the_idle_targets() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.create(&engine, 2, definition(2));
    let older = rig.progress(&engine, 1);
    assert_eq!(older.outcome, Some(Outcome::Superseded));
    assert_eq!((older.targets.in_progress, older.targets.cancelled), (1, 1));
    // Device 1 is still busy with the older one (D14).
    assert_eq!(rig.world.take_sent(), [update(1, 1), update(2, 2)]);
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Failure).unwrap();
    assert_eq!(rig.world.take_sent(), [update(2, 1)]);
    assert_eq!(rig.progress(&engine, 1).targets.failed, 1);
}

#[test]
fn d18_a_campaign_that_is_to_be_refused_beside_another_is_not_created() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    let taken = EngineError::RolloutTaken { holder: StreamId::Campaign(campaign_id(1)) };
    assert_eq!(rig.try_create(&engine, 2, refusing()), Err(taken.clone()));
    let engine = rig.restart();
    assert_eq!(rig.try_create(&engine, 2, refusing()), Err(taken), "also after a restart");
    let mut elsewhere = refusing();
    elsewhere.channel = Channel::new("beta".parse().unwrap(), ["others".parse().unwrap()]).unwrap();
    rig.create(&engine, 3, elsewhere);
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.create(&engine, 2, refusing());
}

#[test]
fn d18_a_repeated_call_is_told_that_its_campaign_exists_and_not_that_it_is_in_its_own_way() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, refusing());
    let exists = EngineError::CampaignExists { campaign: campaign_id(1) };
    assert_eq!(rig.try_create(&engine, 1, refusing()), Err(exists.clone()));
    let engine = rig.restart();
    assert_eq!(rig.try_create(&engine, 1, refusing()), Err(exists.clone()), "after a restart");
    rig.pass(seconds(10));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.pass(seconds(2 * 86_400));
    rig.world.add(&tenant(), 1, "1.0.0");
    rig.create(&engine, 2, refusing());
    assert_eq!(rig.try_create(&engine, 1, refusing()), Err(exists), "also beside another one");
}

#[test]
fn d18_a_scheduled_campaign_that_is_to_be_refused_waits_for_the_older_one() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    let at = rig.now() + seconds(60);
    let scheduling = engine.clone();
    rig.run(
        async move { scheduling.create(&tenant(), campaign_id(2), refusing(), Some(at)).await },
    )
    .unwrap();
    rig.pass(seconds(120));
    assert_eq!(rig.progress(&engine, 2).status, CampaignStatus::Scheduled);
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.pass(seconds(60));
    assert_eq!(rig.progress(&engine, 2).status, CampaignStatus::InProgress);
}

#[test]
fn d18_one_campaign_id_is_used_once() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    let exists = EngineError::CampaignExists { campaign: campaign_id(1) };
    assert_eq!(rig.try_create(&engine, 1, definition(1)), Err(exists.clone()));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.pass(seconds(2 * 86_400));
    assert_eq!(rig.try_create(&engine, 1, definition(1)), Err(exists), "though not in memory");
    assert_eq!(rig.progress(&engine, 1).outcome, Some(Outcome::Success));
}

#[test]
fn d21_tenants_see_nothing_of_each_other() {
    let other: TenantId = "umbrella".parse().unwrap();
    let mut rig = Rig::new(1);
    rig.world.add(&other, 1, "1.0.0");
    rig.world.add(&other, 2, "1.0.0");
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.create(&engine, 2, definition(1));
    let (theirs, tenant_of_theirs) = (engine.clone(), other.clone());
    rig.run(
        async move { theirs.create(&tenant_of_theirs, campaign_id(1), definition(2), None).await },
    )
    .expect("the id is free there, and so are the rollout and the device");

    assert_eq!(rig.progress(&engine, 1).targets.total, 1);
    let report = OperationReport::new(device(2), operation(1, 2), ReportStatus::Success);
    let own = rig.observe(&engine, Observation::Report(report.clone())).unwrap_err();
    assert!(!own.is_retryable(), "device 2 is none of ours: {own}");
    let (theirs, of) = (engine.clone(), other.clone());
    let taken = rig.run(async move { theirs.observe(&of, Observation::Report(report)).await });
    assert_eq!(taken, Ok(Reaction::Taken));

    rig.observe(&engine, Observation::DeviceRemoved { device: device(1) }).unwrap();
    let (theirs, of) = (engine.clone(), other.clone());
    let progress = rig.run(async move { theirs.progress(&of, campaign_id(1)).await }).unwrap();
    assert_eq!((progress.targets.total, progress.targets.in_progress), (2, 1));
    assert_eq!((progress.targets.successful, progress.targets.failed), (1, 0));

    let (theirs, of) = (engine.clone(), other.clone());
    let unknown = rig.run(async move { theirs.progress(&of, campaign_id(2)).await }).unwrap_err();
    assert_eq!(unknown, EngineError::UnknownStream { stream: StreamId::Campaign(campaign_id(2)) });
}

#[test]
fn d11_a_late_report_is_recorded_though_its_campaign_has_left_the_memory() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    rig.pass(seconds(2 * 86_400));
    let late = rig.report(&engine, 1, operation(1, 1), ReportStatus::Failure);
    assert_eq!(late, Ok(Reaction::Late));
    let again = rig.report(&engine, 1, operation(1, 1), ReportStatus::Failure);
    assert_eq!(again, Ok(Reaction::Unchanged));
    let engine = rig.restart();
    let late = rig.report(&engine, 1, operation(1, 1), ReportStatus::Downloading);
    assert_eq!(late, Ok(Reaction::Late), "also after a restart");
    let progress = rig.progress(&engine, 1);
    assert_eq!((progress.outcome, progress.targets.successful), (Some(Outcome::Success), 1));
}

#[test]
fn d11_reports_of_unknown_operations_and_wrong_devices_are_refused_for_good() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    let log = rig.log();
    let (unknown, known) = (operation(7, 1), operation(1, 1));
    let refused = rig.report(&engine, 1, unknown, ReportStatus::Success).unwrap_err();
    let expected = EngineError::UnknownOperation { device: device(1), operation: unknown };
    assert_eq!(refused, expected);
    assert!(!refused.is_retryable());
    for wrong in [2, 9] {
        let refused = rig.report(&engine, wrong, known, ReportStatus::Success).unwrap_err();
        assert!(matches!(&refused, EngineError::Rejected(_)), "{refused}");
        assert!(!refused.is_retryable());
    }
    assert_eq!(rig.log(), log);
}

#[test]
fn d15_a_device_removed_while_the_snapshot_is_taken_fails_and_gets_no_request() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    rig.world.scene().held = Some(Vec::new());
    rig.create(&engine, 1, definition(2));
    rig.world.remove(1);
    rig.observe(&engine, Observation::DeviceRemoved { device: device(1) }).unwrap();
    rig.world.release();
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent(), [update(1, 2)]);
    let progress = rig.progress(&engine, 1);
    assert_eq!((progress.targets.failed, progress.targets.in_progress), (1, 1));
    let removed = Settlement::Failed(FailureReason::DeviceRemoved);
    let targets = rig.targets(&engine, 1);
    assert_eq!(targets.iter().filter(|target| target.settlement == removed).count(), 1);
}

#[test]
fn e7_presence_told_while_the_snapshot_is_taken_is_newer_than_the_snapshots() {
    let mut rig = Rig::new(2);
    rig.world.set_presence(2, Presence::Offline);
    let engine = rig.start();
    rig.world.scene().held = Some(Vec::new());
    rig.create(&engine, 1, definition(2));
    let offline = Presence::Offline;
    rig.observe(&engine, Observation::Presence { device: device(1), presence: offline }).unwrap();
    let online = online_now(&rig, 2);
    rig.observe(&engine, online).unwrap();
    rig.world.release();
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent(), [update(1, 2)]);
    let online = online_now(&rig, 1);
    rig.observe(&engine, online).unwrap();
    assert_eq!(rig.world.take_sent(), [update(1, 1)], "D4: at once");
}

#[test]
fn e7_presence_told_while_a_recovery_looks_it_up_is_newer_than_the_look_up() {
    let mut rig = Rig::new(3);
    for number in 1..=3 {
        rig.world.set_presence(number, Presence::Offline);
    }
    let engine = rig.start();
    rig.create(&engine, 1, definition(3));
    drop(engine);
    rig.world.scene().held = Some(Vec::new());
    let engine = rig.restart();
    let online = online_now(&rig, 2);
    rig.observe(&engine, online).unwrap();
    rig.observe(&engine, Observation::DeviceRemoved { device: device(3) }).unwrap();
    assert_eq!(rig.world.take_sent(), [], "nothing starts before presence is known");
    rig.world.release();
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent(), [update(1, 2)]);
    let progress = rig.progress(&engine, 1);
    assert_eq!((progress.targets.idle, progress.targets.failed), (1, 1));
}

#[test]
fn e7_a_device_that_was_removed_while_no_engine_ran_is_noticed() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    drop(engine);
    rig.world.remove(1);
    let engine = rig.restart();
    rig.pass(seconds(60));
    let progress = rig.progress(&engine, 1);
    assert_eq!((progress.targets.failed, progress.targets.in_progress), (1, 1), "D15");
    assert_eq!(rig.world.take_sent(), [update(1, 1), update(1, 2)]);
}

#[test]
fn e9_a_snapshot_cut_off_by_a_crash_is_taken_again() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    rig.world.scene().held = Some(Vec::new());
    rig.create(&engine, 1, definition(2));
    drop(engine);
    rig.executor = hedgerow_sim::runtime::Executor::default();
    rig.world.scene().held = None;
    rig.world.add(&tenant(), 3, "1.0.0");
    let engine = rig.start();
    rig.pass(seconds(60));
    assert_eq!(rig.progress(&engine, 1).targets.total, 3, "D1: fixed at its start");
    rig.world.add(&tenant(), 4, "1.0.0");
    let engine = rig.restart();
    assert_eq!(rig.progress(&engine, 1).targets.total, 3);
}
