use proptest::prelude::*;

use super::*;
use crate::device::Spread;

/// A profile in which everything happens now and then.
fn eventful() -> DeviceProfile {
    DeviceProfile {
        outage: Spread::seconds(1, 30),
        download_fails: 100,
        bad_image: 100,
        install_fails: 100,
        rolls_back: 100,
        power_loss_downloading: 100,
        power_loss_deploying: 100,
        dies_after_acknowledging: 20,
        download_stumbles: 300,
        network_loss: 300,
        lost_final_report: 100,
        lost_request: 100,
        silent: 50,
        ..DeviceProfile::typical()
    }
}

fn inputs() -> impl Strategy<Value = Vec<(i64, DeviceInput)>> {
    let letter = prop_oneof![Just('A'), Just('B')];
    let url = prop_oneof![Just(URL), Just(OTHER_URL)];
    let input = prop_oneof![
        4 => (letter.clone(), url.clone(), any::<bool>()).prop_map(|(letter, url, found)| {
            update_to(letter, url, found.then_some("2.0.0"))
        }),
        2 => (letter, proptest::option::of(url)).prop_map(|(letter, url)| cancel(letter, url)),
        1 => Just(DeviceInput::Malformed),
        1 => Just(DeviceInput::PowerLoss),
        2 => Just(DeviceInput::PowerRestored),
        1 => Just(DeviceInput::NetworkLost),
        2 => Just(DeviceInput::NetworkRestored),
    ];
    proptest::collection::vec((0..60_000_i64, input), 1..20)
}

fn device(seed: u64, flavour: Flavour) -> SimulatedDevice {
    SimulatedDevice::new(seed, 3, DeviceId::from_bytes([7; 16]), flavour, "1.0.0", eventful())
}

/// Gives a device its inputs, each so long after the one before; wakes it up punctually, or only
/// when there is an input. `between` may do to the device what it likes at every moment.
fn outputs(
    mut device: SimulatedDevice,
    inputs: &[(i64, DeviceInput)],
    punctually: bool,
    between: impl Fn(SimulatedDevice) -> SimulatedDevice,
) -> Vec<DeviceOutput> {
    let mut output = Vec::new();
    let mut now = 0;
    for (pause, input) in inputs {
        now += pause;
        let end = Timestamp::from_millis(now);
        while let Some(at) = device.next_wake().filter(|&at| punctually && at <= end) {
            device.wake(at, &mut output);
            device = between(device);
        }
        device.handle(end, input.clone(), &mut output);
        device = between(device);
    }
    while let Some(at) = device.next_wake() {
        device.wake(at, &mut output);
        device = between(device);
    }
    output
}

proptest! {
    #[test]
    fn the_same_seed_and_inputs_give_the_same_outputs_however_late_the_wakes(
        seed: u64, flavour in proptest::sample::select(&FLAVOURS), inputs in inputs()
    ) {
        let punctual = outputs(device(seed, flavour), &inputs, true, |device| device);
        let again = outputs(device(seed, flavour), &inputs, true, |device| device);
        prop_assert_eq!(&punctual, &again);
        let late = outputs(device(seed, flavour), &inputs, false, |device| device);
        prop_assert_eq!(&punctual, &late);
    }

    #[test]
    fn a_device_written_down_and_read_back_at_any_moment_goes_on_as_before(
        seed: u64, flavour in proptest::sample::select(&FLAVOURS), inputs in inputs()
    ) {
        let kept = outputs(device(seed, flavour), &inputs, true, |device| device);
        let reread = outputs(device(seed, flavour), &inputs, true, |device| {
            let text = serde_json::to_string(&device).expect("a device can be written down");
            let reread: SimulatedDevice = serde_json::from_str(&text).expect("and read back");
            assert_eq!(reread, device);
            reread
        });
        prop_assert_eq!(kept, reread);
    }

    #[test]
    fn no_inputs_make_a_device_stamp_backwards_or_connect_twice(
        seed: u64, flavour in proptest::sample::select(&FLAVOURS), inputs in inputs()
    ) {
        let mut newest = Timestamp::default();
        let mut connected = true;
        for output in outputs(device(seed, flavour), &inputs, true, |device| device) {
            match output {
                DeviceOutput::Connected => {
                    prop_assert!(!connected);
                    connected = true;
                }
                DeviceOutput::Disconnected => {
                    prop_assert!(connected);
                    connected = false;
                }
                DeviceOutput::BaseImage { .. } => prop_assert!(connected),
                DeviceOutput::Report { stamp, progress, .. } => {
                    prop_assert!(connected && stamp >= newest && progress <= 100);
                    newest = stamp;
                }
            }
        }
    }
}

#[test]
fn another_seed_or_device_or_attempt_gives_another_course() {
    let course = |seed, index, letters: &str| {
        let id = DeviceId::from_bytes([7; 16]);
        let profile = DeviceProfile { lost_request: 0, ..DeviceProfile::typical() };
        let flavour = Flavour::LinuxRuntime011;
        let mut device = SimulatedDevice::new(seed, index, id, flavour, "1.0.0", profile);
        let mut took = 0;
        let mut now = 0;
        for letter in letters.chars() {
            let begin = now;
            let mut output = Vec::new();
            device.handle(Timestamp::from_millis(now), update(letter, URL), &mut output);
            while let Some(at) = device.next_wake() {
                device.wake(at, &mut output);
                now = at.as_millis();
            }
            took = now - begin;
        }
        took
    };
    let first = course(1, 1, "A");
    assert_eq!(first, course(1, 1, "A"));
    assert_ne!(first, course(2, 1, "A"));
    assert_ne!(first, course(1, 2, "A"));
    assert_ne!(first, course(1, 1, "AB"));
}
