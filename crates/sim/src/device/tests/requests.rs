use super::*;

/// A device of a flavour with operation A running, at a time in its download.
fn downloading(flavour: Flavour) -> Bench {
    let mut bench = Bench::flawless(flavour);
    bench.send(update('A', URL));
    bench.run_to(5_000);
    bench
}

fn rebooting(flavour: Flavour) -> Bench {
    let mut bench = downloading(flavour);
    bench.run_to_line("Rebooting");
    bench
}

fn finishes_its_update(mut bench: Bench) {
    bench.run();
    assert_eq!(bench.device.version(), "2.0.0", "{bench}");
}

#[test]
fn a_repeated_request_is_ignored_without_an_answer_on_linux() {
    for flavour in LINUX {
        for mut bench in [downloading(flavour), rebooting(flavour)] {
            assert!(bench.send(update('A', URL)).is_empty());
            finishes_its_update(bench);
        }
    }
}

#[test]
fn a_repeated_request_with_another_url_is_refused_while_the_update_goes_on_on_linux() {
    for flavour in LINUX {
        let mut bench = downloading(flavour);
        let answer = bench.send(update('A', OTHER_URL));
        assert_eq!(answer, ["5000 A Failure 0 UpdateAlreadyInProgress"]);
        finishes_its_update(bench);
    }
}

#[test]
fn another_operation_is_refused_under_its_own_uuid_while_one_runs() {
    for flavour in FLAVOURS {
        let mut bench = downloading(flavour);
        assert_eq!(
            bench.send(update('B', OTHER_URL)),
            ["5000 B Failure 0 UpdateAlreadyInProgress"]
        );
        finishes_its_update(bench);
        let mut bench = rebooting(flavour);
        assert_eq!(
            bench.send(update('B', OTHER_URL)),
            ["30020 B Failure 0 UpdateAlreadyInProgress"]
        );
        finishes_its_update(bench);
    }
}

#[test]
fn a_busy_esp32_refuses_even_the_repetition_of_its_own_request() {
    let mut bench = downloading(Flavour::Esp32);
    assert_eq!(bench.send(update('A', URL)), ["5000 A Failure 0 UpdateAlreadyInProgress"]);
    finishes_its_update(bench);
}

#[test]
fn a_cancellation_with_uuid_and_url_ends_an_update_that_does_not_deploy_yet() {
    for flavour in FLAVOURS {
        let mut bench = downloading(flavour);
        assert_eq!(bench.send(cancel('A', Some(URL))), ["5000 A Failure 0 Canceled"]);
        assert_eq!(bench.device.running_operation(), None);
        bench.run();
        assert_eq!(bench.lines.last().map(String::as_str), Some("5000 A Failure 0 Canceled"));
        assert_eq!(bench.device.version(), "1.0.0");
    }
}

#[test]
fn a_cancellation_between_two_tries_ends_the_update() {
    for flavour in LINUX {
        let profile = DeviceProfile { download_fails: 1_000, ..DeviceProfile::flawless() };
        let mut bench = Bench::new(flavour, profile);
        bench.send(update('A', URL));
        bench.run_to(4_000);
        assert_eq!(bench.send(cancel('A', Some(URL))), ["4000 A Failure 0 Canceled"]);
        assert_eq!(bench.device.next_wake(), None);
    }
}

#[test]
fn a_cancellation_from_deploying_on_is_ignored_without_an_answer() {
    for flavour in FLAVOURS {
        for phase in ["Deploying", "Rebooting"] {
            let mut bench = downloading(flavour);
            bench.run_to_line(phase);
            assert!(bench.send(cancel('A', Some(URL))).is_empty());
            finishes_its_update(bench);
        }
    }
}

#[test]
fn after_a_cancellation_that_came_too_late_linux_swallows_the_next_update() {
    for flavour in LINUX {
        let mut bench = rebooting(flavour);
        bench.send(cancel('A', Some(URL)));
        assert!(bench.send(update('B', OTHER_URL)).is_empty());
        bench.run();
        assert_eq!(bench.texts("B "), Vec::<&str>::new());
    }
}

#[test]
fn a_cancellation_with_another_url_draws_a_failure_while_the_update_goes_on_on_linux() {
    for flavour in LINUX {
        let mut bench = downloading(flavour);
        assert_eq!(
            bench.send(cancel('A', Some(""))),
            ["5000 A Failure 0 InternalError Unable to cancel OTA request, \
              they have different identifier"]
        );
        finishes_its_update(bench);
    }
}

#[test]
fn an_esp32_compares_only_the_uuid_of_a_cancellation() {
    let mut bench = downloading(Flavour::Esp32);
    let answer = bench.send(cancel('B', Some(URL)));
    assert!(answer[0].starts_with("5000 B Failure 0 InvalidRequest"), "{answer:?}");
    assert_eq!(bench.send(cancel('A', Some(OTHER_URL))), ["5000 A Failure 0 Canceled"]);
}

#[test]
fn a_cancellation_with_nothing_running_draws_a_failure() {
    for flavour in LINUX {
        let answer = Bench::flawless(flavour).send(cancel('A', Some(URL)));
        assert_eq!(
            answer,
            ["0 A Failure 0 InternalError Unable to cancel OTA request, \
              internal request is empty"]
        );
    }
    let answer = Bench::flawless(Flavour::Esp32).send(cancel('A', Some(URL)));
    assert!(answer[0].starts_with("0 A Failure 0 InvalidRequest"), "{answer:?}");
}

#[test]
fn a_cancellation_without_a_url_kills_runtime_011_and_its_download() {
    let mut bench = downloading(Flavour::LinuxRuntime011);
    assert_eq!(bench.send(cancel('A', None)), ["5000 disconnected"]);
    let before = bench.lines.len();
    bench.run();
    assert_eq!(bench.lines[before..], ["6000 connected", "6000 base image 1.0.0"]);
    assert_eq!(bench.device.running_operation(), None);
}

#[test]
fn a_cancellation_without_a_url_is_ignored_by_runtime_013() {
    let mut bench = downloading(Flavour::LinuxRuntime013);
    assert!(bench.send(cancel('A', None)).is_empty());
    finishes_its_update(bench);
}

#[test]
fn a_cancellation_without_a_url_is_an_invalid_request_to_an_esp32() {
    let mut bench = downloading(Flavour::Esp32);
    let answer = bench.send(cancel('A', None));
    assert!(answer[0].starts_with("5000 A Failure 0 InvalidRequest"), "{answer:?}");
    finishes_its_update(bench);
}

#[test]
fn a_malformed_request_kills_runtime_011_only() {
    for flavour in FLAVOURS {
        let mut bench = downloading(flavour);
        let answer = bench.send(DeviceInput::Malformed);
        assert_eq!(answer.is_empty(), flavour != Flavour::LinuxRuntime011);
        bench.run();
        assert_eq!(bench.device.version() == "2.0.0", flavour != Flavour::LinuxRuntime011);
    }
}

#[test]
fn runtime_011_that_dies_while_deploying_takes_its_own_restart_for_a_rollback() {
    let mut bench = downloading(Flavour::LinuxRuntime011);
    bench.run_to_line("Deploying");
    bench.send(DeviceInput::Malformed);
    bench.run();
    assert_eq!(
        bench.texts("Failure"),
        ["A Failure 0 SystemRollback Unable to switch slot"],
        "{bench}"
    );
}

#[test]
fn runtime_011_that_dies_before_its_reboot_still_boots_the_new_image_next_time() {
    let mut bench = rebooting(Flavour::LinuxRuntime011);
    bench.send(DeviceInput::Malformed);
    bench.run();
    assert_eq!(bench.texts("Failure").len(), 1);
    assert_eq!(bench.device.version(), "1.0.0");
    bench.send(DeviceInput::PowerLoss);
    bench.send(DeviceInput::PowerRestored);
    bench.run();
    assert_eq!(bench.device.version(), "2.0.0");
    assert_eq!(bench.texts("Failure").len(), 1, "{bench}");
    assert_eq!(bench.texts("Success"), Vec::<&str>::new());
}

#[test]
fn a_request_to_a_device_without_connection_is_lost() {
    for flavour in FLAVOURS {
        for (gone, back) in [
            (DeviceInput::NetworkLost, DeviceInput::NetworkRestored),
            (DeviceInput::PowerLoss, DeviceInput::PowerRestored),
        ] {
            let mut bench = Bench::flawless(flavour);
            bench.send(gone);
            assert!(bench.send(update('A', URL)).is_empty());
            bench.send(back);
            bench.run();
            assert_eq!(bench.texts("A "), Vec::<&str>::new());
        }
    }
}

#[test]
fn a_silent_device_and_a_lost_request_leave_no_trace() {
    for flavour in FLAVOURS {
        for profile in [
            DeviceProfile { silent: 1_000, ..DeviceProfile::flawless() },
            DeviceProfile { lost_request: 1_000, ..DeviceProfile::flawless() },
        ] {
            let mut bench = Bench::new(flavour, profile);
            assert!(bench.send(update('A', URL)).is_empty());
            assert!(bench.device.is_connected());
            assert_eq!(bench.device.next_wake(), None);
        }
    }
}
