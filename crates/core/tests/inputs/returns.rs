//! Devices that went away and come back: what is looked at, and what is asked again (D8, D22, D24).

use hedgerow_core::*;

use crate::given::{Given, device, down, report};

fn offline(given: Given) -> Given {
    given.after(Input::Presence { device: device(1), presence: Presence::Offline })
}

/// Device 1, which has acknowledged its request, went and came back, showed the image from before,
/// and has reported nothing since: it is being looked at for that.
fn silent_since_its_return() -> Given {
    let mut given = offline(Given::acknowledged()).online(1).later(10).after(Input::Tick);
    let read = given.read(1, "1.0.0");
    given.after(read).later(300).after(Input::Tick)
}

#[test]
fn d22_the_device_of_a_final_target_is_looked_at_once_after_it_connects() {
    let successful = Given::acknowledged().after(report(1, ReportStatus::Success));
    let back = offline(successful).online(1);
    let early = back.clone().later(9).told("time has passed", Input::Tick);
    assert!(!early.contains("effect"), "{early}");
    let mut looked_at = back.later(10).after(Input::Tick);
    let read = looked_at.read(1, "1.0.0");
    let told = looked_at.clone().told("it shows the image from before", read.clone());
    assert!(told.contains("event     contradiction_seen"), "{told}");
    let again = looked_at.after(read).later(3_600).told("time has passed", Input::Tick);
    assert!(!again.contains("effect"), "{again}");
}

#[test]
fn d22_a_device_that_shows_another_image_while_it_is_there_is_looked_at_once() {
    let changed = || Input::BaseImageChanged { device: device(1) };
    let successful = Given::acknowledged().after(report(1, ReportStatus::Success));
    let changed_once = successful.after(changed()).later(10);
    let told = changed_once.clone().told("time has passed", Input::Tick);
    assert!(told.contains("effect    read the version"), "{told}");
    let mut looked_at = changed_once.after(Input::Tick);
    let read = looked_at.read(1, "2.0.0");
    let again = looked_at.after(read).after(changed()).later(10).told("again", Input::Tick);
    assert!(!again.contains("effect"), "{again}");
}

#[test]
fn d22_a_device_that_has_settled_a_day_after_the_end_is_looked_at_no_more() {
    let successful = Given::acknowledged().after(report(1, ReportStatus::Success));
    let cancel = Command::Cancel { running: RunningOperations::Finish };
    let ended = offline(successful.after(Input::Command(cancel)));
    let told = |seconds_before: u64| {
        let back = ended.clone().later(24 * 3_600 - seconds_before).online(1);
        back.later(10).told("time has passed", Input::Tick)
    };
    assert!(told(10).contains("read the version"), "{}", told(10));
    assert!(!told(9).contains("effect"), "{}", told(9));
}

#[test]
fn d22_a_device_that_cannot_be_looked_at_is_tried_again_after_growing_delays() {
    let successful = Given::acknowledged().after(report(1, ReportStatus::Success));
    let mut given = offline(successful).online(1).later(10).after(Input::Tick);
    let mut delays = Vec::new();
    for _ in 0..3 {
        let failed = given.read_answered(1, BaseImageAnswer::Failed(down()));
        given = given.after(failed);
        let delay = given.live().next_deadline().expect("another look").since(given.now());
        delays.push(delay);
        given = given.later(delay.as_secs() + 1).after(Input::Tick);
    }
    assert!(delays.is_sorted_by(|one, next| one < next), "{delays:?}");
}

#[test]
fn d8_a_device_that_shows_the_image_at_the_turn_of_its_resend_is_asked_nothing() {
    let mut silent = offline(Given::accepted()).later(300).after(Input::Tick);
    let read = silent.read(1, "1.0.0");
    let mut back = silent.after(read).online(1);
    let shows_the_image = back.read(1, "2.0.0");
    let told = back.clone().told("it shows the image", shows_the_image);
    assert!(told.contains("event     operation_succeeded"), "{told}");
    assert!(!told.contains("effect"), "{told}");
    let shows_another = back.read(1, "1.0.0");
    let told = back.told("it shows the image from before", shows_another);
    assert!(told.contains("event     request_resent"), "{told}");
}

#[test]
fn d12_a_report_that_says_nothing_new_does_not_end_the_wait_for_what_a_reboot_shows() {
    let rebooting = Given::acknowledged().after(report(1, ReportStatus::Rebooting));
    let mut back = offline(rebooting).online(1).later(10).after(Input::Tick);
    let read = back.read(1, "1.0.0");
    let back = back.after(read);
    let judged = back.live().next_deadline();
    let told_again = back.after(report(1, ReportStatus::Rebooting));
    assert_eq!(told_again.live().next_deadline(), judged);
}

#[test]
fn d12_progress_that_comes_too_soon_to_be_recorded_does_not_end_the_wait_for_what_a_reboot_shows() {
    let rebooting = Given::acknowledged().after(report(1, ReportStatus::Rebooting));
    let mut back = offline(rebooting).online(1).later(10).after(Input::Tick);
    let read = back.read(1, "1.0.0");
    let back = back.after(read);
    let judged = back.live().next_deadline();
    let Input::Report(again) = report(1, ReportStatus::Rebooting) else { unreachable!() };
    let further = Input::Report(OperationReport { progress: 40, ..again });
    assert_eq!(back.after(further).live().next_deadline(), judged);
}

#[test]
fn d22_a_device_that_was_removed_is_not_looked_at() {
    let successful = Given::acknowledged().after(report(1, ReportStatus::Success));
    let changed = successful.after(Input::BaseImageChanged { device: device(1) });
    let removed = changed.after(Input::DeviceRemoved { device: device(1) }).later(10);
    let told = removed.told("time has passed", Input::Tick);
    assert!(!told.contains("effect"), "{told}");
}

#[test]
fn d10_a_target_whose_device_turned_out_to_be_updating_waits_for_a_slot_wherever_its_device_is() {
    let mut asked = Given::asked();
    let failed = asked.request_answered(1, RequestAnswer::Temporary(down()));
    let other = asked.after(failed).online(2).later(600).after(Input::Tick);
    let updating = offline(other.after(report(1, ReportStatus::Downloading)));
    let why = updating.live().why(device(1), updating.now());
    assert_eq!(why, Some(Why::Held(Hold { reason: HoldReason::NoSlot, until: None })));
}

#[test]
fn d10_a_request_that_left_once_more_after_a_restart_and_fails_is_the_only_one_but_for_a_cancel() {
    let restarted = |given: Given| {
        let mut given = given.loaded_again().after(Input::Recovered).online(1).later(10);
        given = given.after(Input::Tick);
        let read = given.read(1, "1.0.0");
        given = given.after(read);
        let failed = given.request_answered(1, RequestAnswer::Temporary(down()));
        given.told("its call fails for now", failed)
    };
    let told = restarted(Given::asked());
    assert!(told.contains("event     operation_deferred"), "{told}");
    let stop = Input::Command(Command::Cancel { running: RunningOperations::Stop });
    let told = restarted(Given::asked().after(stop));
    assert!(!told.contains("event     operation_deferred"), "{told}");
}

#[test]
fn d24_a_device_that_is_silent_since_its_return_is_asked_again() {
    let mut silent = silent_since_its_return();
    let read = silent.read(1, "1.0.0");
    let told = silent.told("it shows the image from before", read);
    assert!(told.contains("event     request_resent"), "{told}");
}

#[test]
fn d24_a_device_that_reports_while_it_is_looked_at_is_not_asked_again() {
    let mut silent = silent_since_its_return();
    let read = silent.read(1, "1.0.0");
    let reported = silent.after(report(1, ReportStatus::Downloading));
    let told = reported.told("it shows the image from before", read);
    assert!(!told.contains("request_resent"), "{told}");
}

#[test]
fn d24_a_device_is_not_asked_again_beside_a_call_that_is_under_way_or_without_a_retry() {
    // It acknowledged before the transport had answered, which it still has not.
    let called = Given::asked().after(report(1, ReportStatus::Acknowledged));
    let mut called = offline(called).online(1).later(10).after(Input::Tick);
    let read = called.read(1, "1.0.0");
    let mut called = called.after(read).later(300).after(Input::Tick);
    let read = called.read(1, "1.0.0");
    let told = called.told("it shows the image from before", read);
    assert!(!told.contains("request_resent"), "{told}");

    let limits = LimitsEdit { request_retries: Some(0), ..Default::default() };
    let edit = CampaignEdit { limits, ..Default::default() };
    let none_left = Input::Command(Command::Edit(Box::new(edit)));
    let mut silent = silent_since_its_return();
    let read = silent.read(1, "1.0.0");
    let told = silent.after(none_left).told("it shows the image from before", read);
    assert!(!told.contains("request_resent"), "{told}");
}

#[test]
fn e11_what_is_loaded_again_numbers_its_questions_after_those_from_before() {
    let asked = Given::asked();
    let before = asked.live().latest_question();
    let mut again = asked.loaded_again();
    assert_eq!(again.live().latest_question(), before);
    again = again.after(Input::Recovered).online(1).later(10).after(Input::Tick);
    assert!(again.live().latest_question() > before);
}
