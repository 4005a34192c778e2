//! The delays before another attempt: growing, jittered, and the same whenever they are asked (D10,
//! D14).

use std::time::Duration;

use uuid::Uuid;

use crate::id::DeviceId;

const FIRST_MS: u64 = 5_000;
const LONGEST_MS: u64 = 240_000;
const FIRST_BUSY_MS: u64 = 60_000;
const LONGEST_BUSY_MS: u64 = 600_000;

/// How long to wait after `failures` failed attempts in a row came before this one: 5 s, 10 s, and
/// so on up to 240 s, each up to a quarter less or more, so that devices that failed together do
/// not come back together (D10).
pub(crate) fn delay(owner: Uuid, device: DeviceId, failures: u8) -> Duration {
    let nominal = doubled(FIRST_MS, u32::from(failures), LONGEST_MS);
    let jitter = mixed(owner, device, &[failures]) % (nominal / 2);
    Duration::from_millis(nominal - nominal / 4 + jitter)
}

/// How long to wait for a new operation after the device turned one away as it was busy, as it had
/// done `refusals` times before: 60 s, 120 s, and so on up to 600 s, each up to a quarter less
/// (D14).
pub(crate) fn delay_of_busy(owner: Uuid, device: DeviceId, refusals: u16) -> Duration {
    let nominal = doubled(FIRST_BUSY_MS, u32::from(refusals), LONGEST_BUSY_MS);
    let jitter = mixed(owner, device, &refusals.to_be_bytes()) % (nominal / 4 + 1);
    Duration::from_millis(nominal - jitter)
}

fn doubled(first: u64, times: u32, longest: u64) -> u64 {
    first.checked_shl(times.min(16)).unwrap_or(longest).min(longest)
}

/// FNV-1a: fixed for ever, as decisions depend on it (E2).
fn mixed(owner: Uuid, device: DeviceId, number: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let bytes = owner.into_bytes();
    for byte in bytes.iter().chain(device.as_bytes()).chain(number) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_within_its_bounds_and_differs_between_devices() {
        let campaign = Uuid::from_u128(7);
        let of =
            |device: u8, failures| delay(campaign, DeviceId::from_bytes([device; 16]), failures);
        for failures in 0..=255 {
            for device in 0..50 {
                let delay = of(device, failures);
                assert!(delay >= Duration::from_millis(3_750), "{delay:?}");
                assert!(delay <= Duration::from_secs(300), "{delay:?}");
                assert_eq!(delay, of(device, failures));
            }
        }
        assert!(of(1, 4) > of(1, 0) * 5);
        assert_ne!(of(1, 0), of(2, 0));
    }

    #[test]
    fn a_busy_device_is_waited_for_longer_each_time_and_never_longer_than_ten_minutes() {
        let campaign = Uuid::from_u128(7);
        for (refusals, nominal) in [(0, 60), (1, 120), (2, 240), (3, 480), (4, 600), (999, 600)] {
            for device in 0..50 {
                let delay = delay_of_busy(campaign, DeviceId::from_bytes([device; 16]), refusals);
                assert!(delay >= Duration::from_secs(nominal * 3 / 4), "{refusals}: {delay:?}");
                assert!(delay <= Duration::from_secs(nominal), "{refusals}: {delay:?}");
            }
        }
    }
}
