//! The answers to what the campaign asked (D5, D8, D10, D12, D17).

use hedgerow_core::*;

use crate::given::{Given, all, down, report};

#[test]
fn versions_read_for_the_gates() {
    let with = |when: &str, answer: BaseImageAnswer| {
        let mut given = Given::reading();
        let input = given.read_answered(1, answer);
        given.told(when, input)
    };
    let version = |text: &str| BaseImageAnswer::Version(Some(text.to_owned()));
    insta::assert_snapshot!(all([
        with("it shows 1.0.0", version("1.0.0")),
        with("it shows 2.0.0, which is the image's", version("2.0.0")),
        with("it shows 3.0.0, which would be a downgrade", version("3.0.0")),
        with("it shows 0.9.0, which the image does not start from", version("0.9.0")),
        with("it shows no version", BaseImageAnswer::Version(None)),
        with("it is busy", BaseImageAnswer::Held(DeviceFact::Busy)),
        with("it cannot be read", BaseImageAnswer::Failed(down())),
    ]));
}

#[test]
fn requests() {
    let with = |when: &str, answer: RequestAnswer| {
        let mut given = Given::asked();
        let input = given.request_answered(1, answer);
        given.told(when, input)
    };
    let mut twice = Given::asked();
    let accepted = twice.request_answered(1, RequestAnswer::Accepted);
    let twice = twice.after(accepted.clone()).named("the transport took the request for device 1");
    let stop = Command::Cancel { running: RunningOperations::Stop };
    let mut cancelled = Given::acknowledged()
        .after(Input::Command(stop))
        .named("the campaign was cancelled, and a Cancel is under way");
    let taken = cancelled.cancel_answered(1, RequestAnswer::Accepted);
    let mut failing = Given::acknowledged()
        .after(Input::Command(Command::Cancel { running: RunningOperations::Stop }))
        .named("the campaign was cancelled, and a Cancel is under way");
    let fails = failing.cancel_answered(1, RequestAnswer::Temporary(down()));
    insta::assert_snapshot!(all([
        with("the transport takes it", RequestAnswer::Accepted),
        with("the transport fails for now", RequestAnswer::Temporary(down())),
        with(
            "the transport refuses for good",
            RequestAnswer::Permanent(TransportError::new("HTTP status 422")),
        ),
        twice.told("that is answered once more", accepted),
        cancelled.told("the transport takes the Cancel", taken),
        failing.told("the transport fails for now", fails),
    ]));
}

#[test]
fn versions_read_for_an_operation() {
    let due = || {
        Given::accepted()
            .later(300)
            .after(Input::Tick)
            .named("device 1 was silent for 300 s, and is being read")
    };
    let with = |when: &str, mut given: Given, answer: BaseImageAnswer| {
        let input = given.read_answered(1, answer);
        given.told(when, input)
    };
    let version = |text: &str| BaseImageAnswer::Version(Some(text.to_owned()));
    let back = || {
        let gone = Given::acknowledged().after(report(1, ReportStatus::Rebooting)).after(
            Input::Presence { device: crate::given::device(1), presence: Presence::Offline },
        );
        gone.online(1)
            .later(10)
            .after(Input::Tick)
            .named("device 1 is back from its reboot, and is being read")
    };
    insta::assert_snapshot!(all([
        with("it shows 1.0.0", due(), version("1.0.0")),
        with("it shows 2.0.0", due(), version("2.0.0")),
        with("it cannot be read", due(), BaseImageAnswer::Failed(down())),
        with("it shows 2.0.0", back(), version("2.0.0")),
        with("it shows 1.0.0", back(), version("1.0.0")),
    ]));
}
