//! What several laws need: how many cases to try, and the delay of D10.

use std::time::Duration;

use hedgerow_core::{CampaignId, DeviceId, OperationLimits};
use proptest::prelude::ProptestConfig;

/// 10,000 cases, or as many as `HEDGEROW_CASES` or `PROPTEST_CASES` says.
pub(crate) fn cases() -> ProptestConfig {
    let wanted = ["HEDGEROW_CASES", "PROPTEST_CASES"].into_iter().find_map(|name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number of cases")))
    });
    ProptestConfig { cases: wanted.unwrap_or(10_000), ..ProptestConfig::default() }
}

/// How long after progress was recorded the next may be, within one phase (D9).
pub(crate) fn interval(limits: &OperationLimits) -> Duration {
    let half = limits.stall_timeout.map_or(Duration::MAX, |stall| stall / 2);
    limits.progress_interval.min(half)
}

/// The delay after a device turned an operation away, `refusals` in all (D14).
pub(crate) fn busy_delay(campaign: CampaignId, device: DeviceId, refusals: u16) -> Duration {
    let nominal = (60_000_u64 << (refusals - 1).min(10)).min(600_000);
    let number = (refusals - 1).to_be_bytes();
    let campaign = campaign.as_uuid();
    let bytes = campaign.as_bytes().iter().chain(device.as_bytes()).chain(&number);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Duration::from_millis(nominal - (hash >> 32) % (nominal / 4 + 1))
}

/// The delay before another attempt, after `failures` in a row. The rule asks for one that grows,
/// with jitter, and is the same each time; this one is fixed for ever, as logs depend on it.
pub(crate) fn delay(campaign: CampaignId, device: DeviceId, failures: u8) -> Duration {
    let nominal = (5_000_u64 << failures.min(10)).min(240_000);
    let campaign = campaign.as_uuid();
    let bytes = campaign.as_bytes().iter().chain(device.as_bytes()).chain([&failures]);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Duration::from_millis(nominal * 3 / 4 + (hash >> 32) % (nominal / 2))
}
