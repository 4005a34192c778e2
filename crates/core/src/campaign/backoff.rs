//! The delay before another attempt: growing, jittered, and the same whenever it is asked (D10).

use std::time::Duration;

use crate::{CampaignId, DeviceId};

const FIRST_MS: u64 = 5_000;
const LONGEST_MS: u64 = 240_000;

/// How long to wait after `failures` failed attempts in a row came before this one: 5 s, 10 s, and
/// so on up to 240 s, each up to a quarter less or more, so that devices that failed together do
/// not come back together.
pub(super) fn delay(campaign: CampaignId, device: DeviceId, failures: u8) -> Duration {
    let nominal = FIRST_MS.checked_shl(u32::from(failures.min(16))).unwrap_or(LONGEST_MS);
    let nominal = nominal.min(LONGEST_MS);
    // FNV-1a: fixed for ever, as decisions depend on it (E2).
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let bytes = campaign.as_uuid().into_bytes();
    for byte in bytes.iter().chain(device.as_bytes()).chain(&[failures]) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let jitter = (hash >> 32) % (nominal / 2);
    Duration::from_millis(nominal - nominal / 4 + jitter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn the_delay_grows_within_its_bounds_and_differs_between_devices() {
        let campaign = CampaignId::from_uuid(Uuid::from_u128(7));
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
}
