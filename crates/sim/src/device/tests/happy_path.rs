use super::*;

#[test]
fn an_update_on_runtime_011_reports_every_phase_and_success_beside_a_stale_base_image() {
    let mut bench = Bench::flawless(Flavour::LinuxRuntime011);
    bench.send(update('A', URL));
    bench.run();
    assert_eq!(
        bench.lines,
        [
            "0 A Acknowledged 0",
            "20 A Downloading 0",
            "2020 A Downloading 10",
            "4020 A Downloading 20",
            "6020 A Downloading 30",
            "8020 A Downloading 40",
            "10020 A Downloading 50",
            "12020 A Downloading 60",
            "14020 A Downloading 70",
            "16020 A Downloading 80",
            "18020 A Downloading 90",
            "20020 A Downloading 100",
            "20020 A Deploying 0",
            "22020 A Deploying 20  Copying image to rootfs",
            "24020 A Deploying 40  Copying image to rootfs",
            "26020 A Deploying 60  Copying image to rootfs",
            "28020 A Deploying 80  Copying image to rootfs",
            "30020 A Deployed 0",
            "30020 A Rebooting 0",
            "35020 disconnected",
            "50020 connected",
            "50020 base image 1.0.0",
            "50020 A Success 0",
            "50045 base image 2.0.0",
        ]
    );
}

#[test]
fn an_update_on_runtime_013_never_reports_success_and_publishes_only_the_new_base_image() {
    let mut bench = Bench::flawless(Flavour::LinuxRuntime013);
    bench.send(update('A', URL));
    bench.run();
    assert_eq!(bench.texts("Success"), Vec::<&str>::new());
    assert_eq!(
        bench.lines[17..],
        [
            "30020 A Deployed 0",
            "30020 A Rebooting 0",
            "35020 disconnected",
            "50020 connected",
            "50020 base image 2.0.0",
        ]
    );
    assert_eq!(bench.device.version(), "2.0.0");
}

#[test]
fn an_update_on_an_esp32_reports_tens_no_deploying_progress_and_success() {
    let profile = DeviceProfile { download_steps: 7, ..DeviceProfile::flawless() };
    let mut bench = Bench::new(Flavour::Esp32, profile);
    bench.send(update('A', URL));
    bench.run();
    assert_eq!(
        bench.lines,
        [
            "0 A Acknowledged 0",
            "20 A Downloading 0",
            "2820 A Downloading 10",
            "5620 A Downloading 20",
            "8420 A Downloading 40",
            "11420 A Downloading 50",
            "14220 A Downloading 70",
            "17020 A Downloading 80",
            "20020 A Downloading 100",
            "20020 A Deploying 0",
            "30020 A Deployed 0",
            "30020 A Rebooting 0",
            "35020 disconnected",
            "50020 connected",
            "50020 base image 2.0.0",
            "50020 A Success 0",
        ]
    );
}

#[test]
fn a_linux_device_reports_progress_only_when_it_has_grown_by_ten_points() {
    for steps in [1, 3, 13, 60, 100] {
        let profile = DeviceProfile {
            download_steps: steps,
            deploy_steps: steps,
            ..DeviceProfile::flawless()
        };
        let mut bench = Bench::new(Flavour::LinuxRuntime011, profile);
        bench.send(update('A', URL));
        bench.run();
        for status in ["Downloading", "Deploying"] {
            let progress: Vec<u8> = bench
                .texts(status)
                .iter()
                .map(|text| text.split(' ').nth(2).expect("progress").parse().expect("a number"))
                .collect();
            let grown = progress.windows(2).all(|pair| pair[1] >= pair[0] + 10 || pair[1] == 100);
            assert!(grown, "{steps} steps: {progress:?}");
            assert_eq!(progress.contains(&100), status == "Downloading");
        }
    }
}

#[test]
fn an_image_of_the_same_version_is_installed_all_the_same() {
    for flavour in FLAVOURS {
        let mut bench = Bench::flawless(flavour);
        bench.send(update_to('A', URL, Some("1.0.0")));
        bench.run();
        let delivered = flavour != Flavour::LinuxRuntime013;
        assert_eq!(bench.texts("Deployed").len(), 1);
        assert_eq!(bench.texts("Success").len(), usize::from(delivered));
        assert_eq!(bench.texts("base image"), ["base image 1.0.0"], "{bench}");
    }
}

#[test]
fn a_uuid_that_has_ended_runs_all_over_again() {
    for flavour in FLAVOURS {
        let mut bench = Bench::flawless(flavour);
        bench.send(update('A', URL));
        bench.run();
        bench.send(update('A', URL));
        bench.run();
        assert_eq!(bench.texts("A Acknowledged").len(), 2);
        assert_eq!(bench.texts("A Rebooting").len(), 2);
    }
}

#[test]
fn a_device_is_small() {
    let size = size_of::<SimulatedDevice>();
    assert!(size <= 200, "{size} bytes");
}
