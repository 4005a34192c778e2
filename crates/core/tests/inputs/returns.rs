//! Devices that went away and come back: what is looked at, and what is asked again (D8, D22, D24).

use hedgerow_core::*;

use crate::given::{Given, device, report};

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
