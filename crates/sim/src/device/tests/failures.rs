use super::*;

/// Runs operation A under a profile changed in one point, to its end.
fn run(flavour: Flavour, change: impl FnOnce(&mut DeviceProfile)) -> Bench {
    let mut profile = DeviceProfile::flawless();
    change(&mut profile);
    let mut bench = Bench::new(flavour, profile);
    bench.send(update('A', URL));
    bench.run();
    bench
}

#[test]
fn a_linux_device_without_a_download_gives_up_after_five_errors_in_62_seconds() {
    for flavour in LINUX {
        let bench = run(flavour, |profile| profile.download_fails = 1_000);
        assert_eq!(
            bench.lines,
            [
                "0 A Acknowledged 0",
                "20 A Downloading 0",
                "20 A Error 0 NetworkError Error downloading update",
                "2020 A Error 0 NetworkError Error downloading update",
                "6020 A Error 0 NetworkError Error downloading update",
                "14020 A Error 0 NetworkError Error downloading update",
                "30020 A Error 0 NetworkError Error downloading update",
                "62020 A Failure 0 InternalError Too many attempts to download the OTA file",
            ]
        );
    }
}

#[test]
fn an_esp32_without_a_download_pauses_before_each_of_its_five_errors() {
    let bench = run(Flavour::Esp32, |profile| profile.download_fails = 1_000);
    assert_eq!(
        bench.lines,
        [
            "0 A Acknowledged 0",
            "20 A Downloading 0",
            "20 A Error 0 ErrorNetwork",
            "20 A Downloading 0",
            "2020 A Error 0 ErrorNetwork",
            "2020 A Downloading 0",
            "6020 A Error 0 ErrorNetwork",
            "6020 A Downloading 0",
            "12020 A Error 0 ErrorNetwork",
            "12020 A Downloading 0",
            "20020 A Error 0 ErrorNetwork",
            "20020 A Failure 0 InternalError",
        ]
    );
}

#[test]
fn a_download_that_breaks_off_starts_again_from_zero() {
    for flavour in FLAVOURS {
        let bench = run(flavour, |profile| {
            profile.download_stumbles = 1_000;
            profile.download_breaks_off = 1_000;
        });
        let errors = bench.texts("Error").len();
        assert!((1..=4).contains(&errors), "{bench}");
        assert_eq!(bench.texts("Downloading 10 ").len(), 0);
        assert_eq!(bench.texts("Downloading 100").len(), 1);
        let starts = if flavour == Flavour::Esp32 { errors + 1 } else { 1 };
        assert_eq!(bench.texts("Downloading 0").len(), starts);
        assert_eq!(bench.device.version(), "2.0.0");
    }
}

#[test]
fn what_is_no_image_is_found_out_after_the_download() {
    for flavour in FLAVOURS {
        let bad = run(flavour, |profile| profile.bad_image = 1_000);
        let mut missing = Bench::flawless(flavour);
        missing.send(update_to('A', URL, None));
        missing.run();
        assert_eq!(missing.texts("Downloading"), ["A Downloading 0", "A Downloading 100"]);
        for bench in [bad, missing] {
            let [.., download, failure] = bench.lines.as_slice() else { panic!("{bench}") };
            assert!(download.ends_with("A Downloading 100"), "{bench}");
            assert!(failure.contains("A Failure 0 InvalidBaseImage"), "{bench}");
            assert_eq!(bench.device.version(), "1.0.0");
        }
    }
}

#[test]
fn a_second_installation_in_the_same_boot_reports_no_progress_on_linux() {
    for flavour in LINUX {
        let mut bench = run(flavour, |profile| profile.install_fails = 1_000);
        assert_eq!(
            bench.texts("Failure"),
            ["A Failure 0 InvalidBaseImage Update failed with signal 1"]
        );
        bench.device.set_profile(DeviceProfile::flawless());
        bench.send(update('B', OTHER_URL));
        bench.run();
        assert_eq!(bench.texts("B Deploying"), ["B Deploying 0"]);
        assert_eq!(bench.device.version(), "2.0.0");
        assert_eq!(bench.texts("SystemRollback"), Vec::<&str>::new());
    }
}

#[test]
fn a_device_that_dies_is_never_heard_of_after_its_acknowledgement() {
    for flavour in FLAVOURS {
        let mut bench = run(flavour, |profile| profile.dies_after_acknowledging = 1_000);
        assert_eq!(bench.lines, ["0 A Acknowledged 0", "20 disconnected"]);
        assert!(bench.send(update('A', URL)).is_empty());
    }
}

#[test]
fn reports_are_dropped_while_the_network_is_away_and_the_update_goes_on() {
    for flavour in FLAVOURS {
        let mut bench = Bench::flawless(flavour);
        bench.send(update('A', URL));
        bench.run_to(3_000);
        assert_eq!(bench.send(DeviceInput::NetworkLost), ["3000 disconnected"]);
        bench.run_to(25_000);
        assert_eq!(bench.send(DeviceInput::NetworkRestored), ["25000 connected"]);
        bench.run();
        assert_eq!(bench.texts("Downloading"), ["A Downloading 0", "A Downloading 10"], "{bench}");
        assert_eq!(bench.texts("Deployed").len(), 1);
        assert_eq!(bench.device.version(), "2.0.0");
    }
}

#[test]
fn a_final_report_finds_no_network_and_is_lost() {
    for flavour in FLAVOURS {
        let mut bench = Bench::flawless(flavour);
        bench.send(update('A', URL));
        bench.run_to_line("Rebooting");
        bench.send(DeviceInput::NetworkLost);
        bench.run();
        assert!(bench.send(DeviceInput::NetworkRestored).len() >= 2);
        bench.run();
        assert_eq!(bench.texts("Success"), Vec::<&str>::new());
        assert_eq!(
            bench.lines.last().expect("lines").split_once(' ').expect("text").1,
            "base image 2.0.0"
        );
    }
}

#[test]
fn the_network_of_a_profile_goes_away_once_and_comes_back() {
    for flavour in FLAVOURS {
        let bench = run(flavour, |profile| {
            profile.network_loss = 1_000;
            profile.outage = super::super::Spread::exactly_ms(1_000);
        });
        assert_eq!(bench.texts("disconnected").len(), 2, "{bench}");
        assert_eq!(bench.texts(" connected").len() + 2, bench.texts("connected").len());
        assert!(bench.device.is_connected());
    }
}

#[test]
fn about_two_in_a_hundred_typical_updates_fail() {
    let mut kept = 0;
    for index in 0..20_000 {
        let id = DeviceId::from_bytes(u128::from(index).to_be_bytes());
        let flavour = FLAVOURS[index as usize % 3];
        let profile = DeviceProfile::typical();
        let mut device = SimulatedDevice::new(4, index, id, flavour, "1.0.0", profile);
        let mut output = Vec::new();
        device.handle(Timestamp::default(), update('A', URL), &mut output);
        while let Some(at) = device.next_wake() {
            device.wake(at, &mut output);
        }
        kept += u32::from(device.version() == "1.0.0");
    }
    // Requests that are lost leave the old version too.
    assert!((350..650).contains(&kept), "{kept} of 20000");
}
