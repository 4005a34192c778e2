//! What the world shows: presence, base images, reports (D4, D11, D12, D14, D15).

use hedgerow_core::*;

use crate::given::{Given, all, device, operation, report};

fn offline(number: u8) -> Input {
    Input::Presence { device: device(number), presence: Presence::Offline }
}

fn online(given: &Given, number: u8) -> Input {
    let presence = Presence::Online { since: given.now() };
    Input::Presence { device: device(number), presence }
}

#[test]
fn presence() {
    let started = Given::started();
    let comes = online(&started, 1);
    let second = Given::reading();
    let also_comes = online(&second, 2);
    let rebooting = Given::acknowledged()
        .after(report(1, ReportStatus::Rebooting))
        .after(offline(1))
        .named("device 1 went away to reboot");
    let returns = online(&rebooting, 1);
    insta::assert_snapshot!(all([
        started.told("device 1 comes online", comes),
        second.told("device 2 comes online, and the one slot is held", also_comes),
        Given::reading().told("device 1 goes offline", offline(1)),
        Given::acknowledged().told("device 1 goes offline", offline(1)),
        rebooting.told("device 1 is back", returns),
        Given::started().told("a device that is no target comes online", {
            Input::Presence { device: device(9), presence: Presence::Offline }
        }),
    ]));
}

#[test]
fn base_images_and_devices() {
    let changed = |number| Input::BaseImageChanged { device: device(number) };
    let removed = |number| Input::DeviceRemoved { device: device(number) };
    let mut busy = Given::reading();
    let answer = busy.read_answered(1, BaseImageAnswer::Held(DeviceFact::Busy));
    let busy = busy.after(answer).named("device 1 is busy with another campaign's operation");
    insta::assert_snapshot!(all([
        Given::acknowledged().told("the base image of device 1 changed", changed(1)),
        Given::started().told("the base image of an idle device changed", changed(1)),
        Given::started().told("device 1 ceased to exist", removed(1)),
        Given::acknowledged().told("device 1 ceased to exist", removed(1)),
        busy.told(
            "device 1 is free",
            Input::DeviceFact { device: device(1), fact: DeviceFact::Free }
        ),
        Given::started().told("a device is free that was not busy", {
            Input::DeviceFact { device: device(1), fact: DeviceFact::Free }
        }),
    ]));
}

#[test]
fn reports() {
    let with = |status, code: &str| {
        let plain = OperationReport::new(device(1), operation(1), status);
        Input::Report(OperationReport { code: StatusCode::from_wire(code), ..plain })
    };
    let foreign = OperationReport::new(device(1), operation(2), ReportStatus::Success);
    let done = || {
        Given::acknowledged()
            .after(report(1, ReportStatus::Success))
            .named("the update of device 1 succeeded")
    };
    insta::assert_snapshot!(all([
        Given::accepted().told("device 1 acknowledges", report(1, ReportStatus::Acknowledged)),
        Given::acknowledged().told("it acknowledges again", report(1, ReportStatus::Acknowledged)),
        Given::acknowledged().told("it downloads", report(1, ReportStatus::Downloading)),
        Given::acknowledged().told("it succeeds", report(1, ReportStatus::Success)),
        Given::acknowledged().told("it fails", with(ReportStatus::Failure, "InvalidBaseImage")),
        Given::accepted()
            .told("it is busy", with(ReportStatus::Failure, "UpdateAlreadyInProgress")),
        done().told("it fails after all", with(ReportStatus::Failure, "IOError")),
        Given::acknowledged()
            .told("it reports about another device's operation", Input::Report(foreign)),
    ]));
}
