//! Manual OTA updates, as their users and devices see them (D20).

mod common;

use common::{Rig, Sent, campaign_id, definition, device, online_now, operation, seconds, tenant};
use hedgerow_core::event::OperationFailure;
use hedgerow_core::{
    ManualStatus, OperationId, OperationLimits, Presence, Reaction, ReportStatus, RequestAnswer,
    RequestId, StreamId, TransportError,
};
use hedgerow_engine::{Engine, EngineError, ManualUpdateRequest, Observation};

const URL: &str = "https://images.example/manual.bin?signature=x";

fn request(id: &str) -> ManualUpdateRequest {
    ManualUpdateRequest {
        request_id: RequestId::new(id).unwrap(),
        device: device(1),
        url: URL.parse().unwrap(),
        expected_version: None,
        limits: OperationLimits::default(),
    }
}

fn expecting(version: &str) -> ManualUpdateRequest {
    ManualUpdateRequest { expected_version: Some(version.parse().unwrap()), ..request("r1") }
}

fn try_start(
    rig: &mut Rig,
    engine: &Engine,
    request: ManualUpdateRequest,
) -> Result<OperationId, EngineError> {
    let engine = engine.clone();
    rig.run(async move { engine.start_manual_update(&tenant(), request).await })
}

fn start(rig: &mut Rig, engine: &Engine, request: ManualUpdateRequest) -> OperationId {
    try_start(rig, engine, request).expect("the update is started")
}

fn status(rig: &mut Rig, engine: &Engine, id: OperationId) -> ManualStatus {
    let engine = engine.clone();
    let update = rig.run(async move { engine.manual_update(&tenant(), id).await });
    update.expect("it can be looked at").expect("it exists").status().clone()
}

fn cancel(rig: &mut Rig, engine: &Engine, id: OperationId) -> Result<(), EngineError> {
    let engine = engine.clone();
    rig.run(async move { engine.cancel_manual_update(&tenant(), id).await })
}

fn update(id: OperationId) -> Sent {
    Sent::Update(device(1), id, URL.to_owned())
}

fn is_active(status: &ManualStatus) -> bool {
    matches!(status, ManualStatus::Active(_))
}

#[test]
fn d20_a_manual_update_is_sent_and_followed_by_its_reports_to_success() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let id = start(&mut rig, &engine, request("r1"));
    assert_eq!(rig.world.take_sent(), [update(id)]);
    for report in [ReportStatus::Acknowledged, ReportStatus::Rebooting, ReportStatus::Success] {
        assert!(is_active(&status(&mut rig, &engine, id)));
        assert_eq!(rig.report(&engine, 1, id, report), Ok(Reaction::Taken));
    }
    assert_eq!(status(&mut rig, &engine, id), ManualStatus::Successful);
    assert_eq!(rig.claims(), []);
    let late = rig.report(&engine, 1, id, ReportStatus::Failure);
    assert_eq!(late, Ok(Reaction::Late));
    assert_eq!(status(&mut rig, &engine, id), ManualStatus::Successful);
}

#[test]
fn d20_a_repeated_call_returns_the_same_operation_and_sends_nothing() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let id = start(&mut rig, &engine, request("r1"));
    rig.world.take_sent();
    assert_eq!(start(&mut rig, &engine, request("r1")), id);
    rig.report(&engine, 1, id, ReportStatus::Success).unwrap();
    assert_eq!(start(&mut rig, &engine, request("r1")), id, "also when it has ended");
    let engine = rig.restart();
    assert_eq!(start(&mut rig, &engine, request("r1")), id, "also after a restart");
    assert_eq!(rig.world.take_sent(), []);
}

#[test]
fn d20_calls_with_one_request_id_at_the_same_time_start_one_operation() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.world.scene().reads_hang = true;
    let first = engine.clone();
    let hanging = async move { first.start_manual_update(&tenant(), expecting("2.0.0")).await };
    assert!(rig.executor.run(hanging).is_none());
    rig.world.scene().reads_hang = false;
    let second = try_start(&mut rig, &engine, expecting("2.0.0"));
    assert!(second.is_err_and(|error| error.is_retryable()));
    rig.pass(seconds(60));
    let id = start(&mut rig, &engine, expecting("2.0.0"));
    assert_eq!(rig.world.take_sent(), [update(id)]);
}

#[test]
fn d20_the_same_request_id_for_something_else_is_refused() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    let id = start(&mut rig, &engine, request("r1"));
    rig.world.take_sent();
    let other_url = "https://images.example/other.bin".parse().unwrap();
    let others = [
        ManualUpdateRequest { url: other_url, ..request("r1") },
        ManualUpdateRequest { device: device(2), ..request("r1") },
        expecting("2.0.0"),
    ];
    for other in others {
        assert_eq!(try_start(&mut rig, &engine, other), Err(EngineError::RequestIdTaken { id }));
    }
    assert_eq!(rig.world.take_sent(), []);
}

#[test]
fn d14_a_device_that_a_campaign_updates_is_busy_for_a_manual_update() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.create(&engine, 1, definition(1));
    rig.world.take_sent();
    let holder = StreamId::Campaign(campaign_id(1));
    let busy = EngineError::DeviceBusy { device: device(1), holder };
    assert_eq!(try_start(&mut rig, &engine, request("r1")), Err(busy.clone()));
    let engine = rig.restart();
    assert_eq!(try_start(&mut rig, &engine, request("r1")), Err(busy), "also after a restart");
    rig.report(&engine, 1, operation(1, 1), ReportStatus::Success).unwrap();
    start(&mut rig, &engine, request("r1"));
}

#[test]
fn d14_a_target_whose_device_has_a_manual_update_waits_and_goes_on_when_that_ends() {
    for restarts in [false, true] {
        let mut rig = Rig::new(1);
        let mut engine = rig.start();
        let id = start(&mut rig, &engine, request("r1"));
        rig.world.take_sent();
        rig.create(&engine, 1, definition(1));
        if restarts {
            engine = rig.restart();
        }
        rig.pass(seconds(60));
        assert_eq!(rig.world.take_sent(), []);
        assert_eq!(rig.progress(&engine, 1).targets.idle, 1);
        rig.report(&engine, 1, id, ReportStatus::Failure).unwrap();
        assert_eq!(
            rig.world.take_sent(),
            [Sent::Update(device(1), operation(1, 1), common::IMAGE.to_owned())]
        );
    }
}

#[test]
fn d8_a_request_without_a_report_is_sent_again_and_then_times_out() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let id = start(&mut rig, &engine, request("r1"));
    for sent in 1..=4 {
        assert_eq!(rig.world.take_sent(), [update(id)], "request {sent}");
        rig.pass(seconds(300));
    }
    assert_eq!(rig.world.take_sent(), []);
    let failed = ManualStatus::Failed(OperationFailure::RequestTimeout);
    assert_eq!(status(&mut rig, &engine, id), failed);
    assert_eq!(rig.claims(), []);
}

#[test]
fn d8_any_report_stops_the_resending() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let id = start(&mut rig, &engine, request("r1"));
    rig.pass(seconds(299));
    rig.report(&engine, 1, id, ReportStatus::Acknowledged).unwrap();
    rig.pass(seconds(3_600));
    assert_eq!(rig.world.take_sent(), [update(id)]);
}

#[test]
fn d9_an_operation_that_falls_silent_fails_as_stalled() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let id = start(&mut rig, &engine, request("r1"));
    rig.report(&engine, 1, id, ReportStatus::Downloading).unwrap();
    rig.pass(seconds(24 * 3_600 - 1));
    assert!(is_active(&status(&mut rig, &engine, id)));
    rig.pass(seconds(1));
    let stalled = ManualStatus::Failed(OperationFailure::Stalled);
    assert_eq!(status(&mut rig, &engine, id), stalled);
}

#[test]
fn d12_the_expected_version_confirms_success_if_it_is_another_than_before() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let id = start(&mut rig, &engine, expecting("2.0.0"));
    rig.report(&engine, 1, id, ReportStatus::Rebooting).unwrap();
    rig.world.set_version(1, "2.0.0");
    let back = online_now(&rig, 1);
    rig.observe(&engine, back).unwrap();
    rig.pass(seconds(120));
    assert_eq!(status(&mut rig, &engine, id), ManualStatus::Successful);
}

#[test]
fn d12_an_expected_version_that_the_device_showed_before_tells_nothing() {
    for request in [expecting("1.0.0"), request("r1")] {
        let mut rig = Rig::new(1);
        let engine = rig.start();
        let id = start(&mut rig, &engine, request);
        rig.report(&engine, 1, id, ReportStatus::Rebooting).unwrap();
        let back = online_now(&rig, 1);
        rig.observe(&engine, back).unwrap();
        rig.pass(seconds(3_600));
        assert!(is_active(&status(&mut rig, &engine, id)), "neither success nor roll-back");
    }
}

#[test]
fn d12_a_device_that_comes_back_with_another_version_has_rolled_back() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let id = start(&mut rig, &engine, expecting("2.0.0"));
    rig.report(&engine, 1, id, ReportStatus::Rebooting).unwrap();
    let back = online_now(&rig, 1);
    rig.observe(&engine, back).unwrap();
    rig.pass(seconds(599));
    assert!(is_active(&status(&mut rig, &engine, id)));
    rig.pass(seconds(1));
    let version = Some("1.0.0".to_owned());
    let failed = ManualStatus::Failed(OperationFailure::SystemRollback { version });
    assert_eq!(status(&mut rig, &engine, id), failed);
}

#[test]
fn d20_what_another_device_does_touches_no_manual_update() {
    let mut rig = Rig::new(2);
    let engine = rig.start();
    let id = start(&mut rig, &engine, expecting("2.0.0"));
    rig.report(&engine, 1, id, ReportStatus::Rebooting).unwrap();
    let back = online_now(&rig, 2);
    rig.observe(&engine, back).unwrap();
    rig.pass(seconds(3_600));
    assert!(is_active(&status(&mut rig, &engine, id)), "D12: not that device's roll-back");
    rig.observe(&engine, Observation::DeviceRemoved { device: device(2) }).unwrap();
    assert!(is_active(&status(&mut rig, &engine, id)), "D15: not that device's removal");
    rig.observe(&engine, Observation::DeviceRemoved { device: device(1) }).unwrap();
    let failed = ManualStatus::Failed(OperationFailure::DeviceRemoved);
    assert_eq!(status(&mut rig, &engine, id), failed);
}

#[test]
fn d17_a_cancel_has_the_updates_id_and_url_and_the_update_is_never_sent_again() {
    let mut rig = Rig::new(1);
    let mut engine = rig.start();
    let id = start(&mut rig, &engine, request("r1"));
    assert_eq!(rig.world.take_sent(), [update(id)]);
    cancel(&mut rig, &engine, id).unwrap();
    assert_eq!(rig.world.take_sent(), [Sent::Cancel(device(1), id, URL.to_owned())]);
    cancel(&mut rig, &engine, id).unwrap();
    rig.pass(seconds(100));
    engine = {
        drop(engine);
        rig.restart()
    };
    rig.pass(seconds(3_600));
    assert_eq!(rig.world.take_sent(), []);
    let failed = ManualStatus::Failed(OperationFailure::RequestTimeout);
    assert_eq!(status(&mut rig, &engine, id), failed);
    assert!(matches!(cancel(&mut rig, &engine, id), Err(EngineError::ManualRejected(_))));
}

#[test]
fn d17_a_cancel_that_cannot_be_delivered_is_tried_again() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let id = start(&mut rig, &engine, request("r1"));
    rig.report(&engine, 1, id, ReportStatus::Downloading).unwrap();
    rig.world.take_sent();
    let down = RequestAnswer::Temporary(TransportError::new("down"));
    rig.world.scene().cancel_answers.push_back(down);
    cancel(&mut rig, &engine, id).unwrap();
    rig.pass(seconds(60));
    let sent = Sent::Cancel(device(1), id, URL.to_owned());
    assert_eq!(rig.world.take_sent(), [sent.clone(), sent]);
}

#[test]
fn d20_a_refused_request_fails_and_frees_the_device() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    let gone = RequestAnswer::Permanent(TransportError::new("no such device"));
    rig.world.scene().answers.push_back(gone);
    let id = start(&mut rig, &engine, request("r1"));
    assert!(matches!(
        status(&mut rig, &engine, id),
        ManualStatus::Failed(OperationFailure::RequestRejected { .. })
    ));
    start(&mut rig, &engine, request("r2"));
}

#[test]
fn e1_a_manual_update_survives_a_kill_at_every_stage() {
    let stages = [
        ReportStatus::Acknowledged,
        ReportStatus::Downloading,
        ReportStatus::Deploying,
        ReportStatus::Deployed,
        ReportStatus::Rebooting,
    ];
    for killed_after in 0..=stages.len() {
        let mut rig = Rig::new(1);
        let mut engine = rig.start();
        let id = start(&mut rig, &engine, request("r1"));
        for stage in &stages[..killed_after] {
            rig.report(&engine, 1, id, *stage).unwrap();
        }
        let before = status(&mut rig, &engine, id);
        engine = {
            drop(engine);
            rig.restart()
        };
        assert_eq!(status(&mut rig, &engine, id), before);
        for stage in &stages[killed_after..] {
            rig.report(&engine, 1, id, *stage).unwrap();
        }
        assert_eq!(rig.world.take_sent(), [update(id)]);
        rig.report(&engine, 1, id, ReportStatus::Success).unwrap();
        assert_eq!(status(&mut rig, &engine, id), ManualStatus::Successful);
    }
}

#[test]
fn e4_a_request_that_may_never_have_left_is_sent_again_after_a_restart() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.world.scene().updates_hang = true;
    let id = start(&mut rig, &engine, request("r1"));
    drop(engine);
    rig.world.scene().updates_hang = false;
    let engine = rig.restart();
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent(), [update(id), update(id)]);
    assert!(is_active(&status(&mut rig, &engine, id)));
}

#[test]
fn e4_an_offline_device_gets_its_owed_request_when_it_connects() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.world.scene().updates_hang = true;
    let id = start(&mut rig, &engine, request("r1"));
    drop(engine);
    rig.world.scene().updates_hang = false;
    rig.world.set_presence(1, Presence::Offline);
    let engine = rig.restart();
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent(), [update(id)]);
    let back = online_now(&rig, 1);
    rig.observe(&engine, back).unwrap();
    rig.pass(seconds(60));
    assert_eq!(rig.world.take_sent(), [update(id)]);
}

#[test]
fn d20_reading_the_version_before_never_takes_for_ever() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.world.scene().reads_hang = true;
    let call = async move { engine.start_manual_update(&tenant(), expecting("2.0.0")).await };
    let id = rig.run_within(seconds(30), call).expect("it starts without");
    assert_eq!(rig.world.take_sent(), [update(id)]);
}

#[test]
fn d20_a_caller_that_goes_away_leaves_the_device_free() {
    let mut rig = Rig::new(1);
    let engine = rig.start();
    rig.world.scene().reads_hang = true;
    {
        use futures::FutureExt;
        let tenant = tenant();
        let call = engine.start_manual_update(&tenant, expecting("2.0.0"));
        // Polled far enough to wait for the read of the version, then dropped.
        let mut call = Box::pin(call);
        for _ in 0..3 {
            assert!((&mut call).now_or_never().is_none());
            rig.executor.run_until_stalled();
        }
    }
    rig.world.scene().reads_hang = false;
    start(&mut rig, &engine, request("r2"));
    rig.create(&engine, 1, definition(1));
    assert_eq!(rig.progress(&engine, 1).targets.idle, 1);
}
