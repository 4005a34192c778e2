use super::*;

fn restart(bench: &mut Bench) {
    bench.send(DeviceInput::PowerLoss);
    bench.send(DeviceInput::PowerRestored);
    bench.run();
}

#[test]
fn an_update_whose_download_loses_power_is_forgotten_on_linux() {
    for flavour in LINUX {
        let mut bench = Bench::flawless(flavour);
        bench.send(update('A', URL));
        bench.run_to(3_000);
        let before = bench.lines.len();
        restart(&mut bench);
        assert_eq!(
            bench.lines[before..],
            ["3000 disconnected", "18000 connected", "18000 base image 1.0.0"]
        );
    }
}

#[test]
fn an_update_whose_download_loses_power_ends_with_an_internal_error_on_an_esp32() {
    let mut bench = Bench::flawless(Flavour::Esp32);
    bench.send(update('A', URL));
    bench.run_to(3_000);
    restart(&mut bench);
    assert_eq!(bench.lines.last().expect("lines"), "18000 A Failure 0 InternalError");
}

#[test]
fn power_lost_while_deploying_counts_as_a_rollback_on_linux() {
    for flavour in LINUX {
        let mut bench = Bench::flawless(flavour);
        bench.send(update('A', URL));
        bench.run_to_line("Deploying 40");
        restart(&mut bench);
        // Runtime 0.13 loses this report too.
        let reports = bench.texts("A Failure 0 SystemRollback Unable to switch slot").len();
        assert_eq!(reports, usize::from(flavour == Flavour::LinuxRuntime011));
        assert_eq!(bench.device.version(), "1.0.0");
        assert_eq!(bench.texts("base image"), ["base image 1.0.0"]);
    }
}

#[test]
fn power_lost_before_the_reboot_boots_the_new_image() {
    for flavour in FLAVOURS {
        let mut bench = Bench::flawless(flavour);
        bench.send(update('A', URL));
        bench.run_to_line("Rebooting");
        restart(&mut bench);
        assert_eq!(bench.device.version(), "2.0.0");
    }
}

#[test]
fn the_power_losses_of_a_profile_end_by_themselves() {
    for flavour in FLAVOURS {
        for (profile, phase) in [
            (
                DeviceProfile { power_loss_downloading: 1_000, ..DeviceProfile::flawless() },
                "Downloading",
            ),
            (
                DeviceProfile { power_loss_deploying: 1_000, ..DeviceProfile::flawless() },
                "Deploying",
            ),
        ] {
            let mut bench = Bench::new(flavour, profile);
            bench.send(update('A', URL));
            bench.run();
            let loss = bench.lines.iter().position(|line| line.ends_with("disconnected"));
            let before = &bench.lines[loss.expect("a loss of power") - 1];
            assert!(before.contains(phase), "{bench}");
            assert!(bench.device.is_connected());
            assert_eq!(bench.device.version(), "1.0.0");
        }
    }
}

#[test]
fn a_rollback_keeps_the_old_version() {
    for flavour in FLAVOURS {
        let profile = DeviceProfile { rolls_back: 1_000, ..DeviceProfile::flawless() };
        let mut bench = Bench::new(flavour, profile);
        bench.send(update('A', URL));
        bench.run();
        assert_eq!(bench.device.version(), "1.0.0");
        assert_eq!(bench.texts("base image"), ["base image 1.0.0"]);
        let delivered = flavour != Flavour::LinuxRuntime013;
        assert_eq!(bench.texts("SystemRollback").len(), usize::from(delivered));
    }
}

#[test]
fn an_esp32_reports_a_failed_operation_once_more_at_its_next_boot() {
    let profile = DeviceProfile { bad_image: 1_000, ..DeviceProfile::flawless() };
    let mut bench = Bench::new(Flavour::Esp32, profile);
    bench.send(update('A', URL));
    bench.run();
    restart(&mut bench);
    assert_eq!(
        bench.texts("Failure"),
        ["A Failure 0 InvalidBaseImage", "A Failure 0 InternalError"]
    );
    restart(&mut bench);
    assert_eq!(bench.texts("Failure").len(), 2, "only once");
}

#[test]
fn a_lost_final_report_is_lost_on_every_flavour() {
    for flavour in FLAVOURS {
        let profile = DeviceProfile { lost_final_report: 1_000, ..DeviceProfile::flawless() };
        let mut bench = Bench::new(flavour, profile);
        bench.send(update('A', URL));
        bench.run();
        assert_eq!(bench.texts("Success"), Vec::<&str>::new());
        assert_eq!(bench.device.version(), "2.0.0");
    }
}

#[test]
fn a_new_base_image_that_finds_no_network_follows_the_next_connection() {
    let mut bench = Bench::flawless(Flavour::LinuxRuntime011);
    bench.send(update('A', URL));
    bench.run_to_line("base image 1.0.0");
    assert_eq!(bench.device.published_version(), "1.0.0");
    bench.send(DeviceInput::NetworkLost);
    bench.run();
    assert_eq!(bench.device.published_version(), "1.0.0");
    bench.send(DeviceInput::NetworkRestored);
    bench.run();
    assert_eq!(bench.texts("base image"), ["base image 1.0.0", "base image 2.0.0"]);
    assert_eq!(bench.device.published_version(), "2.0.0");
}

#[test]
fn a_network_that_comes_back_publishes_nothing_again() {
    for flavour in FLAVOURS {
        let mut bench = Bench::flawless(flavour);
        bench.send(DeviceInput::NetworkLost);
        assert_eq!(bench.send(DeviceInput::NetworkRestored), ["0 connected"]);
    }
}
