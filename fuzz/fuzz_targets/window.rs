//! Maintenance windows as JSON, after a line with the zone of a device and the hours that have to fit.

#![no_main]

use std::time::Duration;

use hedgerow_core::{Timestamp, WindowSet, WindowStart, WindowState, ZoneName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (first, json) = text.split_once('\n').unwrap_or((text, "{}"));
    match first.parse::<WindowStart>() {
        Ok(start) => assert_eq!(start.to_string().parse(), Ok(start), "a start reads back equal"),
        Err(error) => assert!(error.to_string().len() < 1_000, "a refusal is short"),
    }
    let Ok(set) = serde_json::from_str::<WindowSet>(json) else { return };
    let written = serde_json::to_string(&set).expect("windows are written");
    assert_eq!(serde_json::from_str(&written).ok().as_ref(), Some(&set), "they read back equal");
    let now = Timestamp::from_millis(1_796_040_000_000);
    if let Err(error) = set.validate(now) {
        assert!(error.to_string().len() < 1_000, "a refusal is short");
        return;
    }
    let (zone, hours) = first.split_once(' ').unwrap_or((first, "0"));
    let fits = Duration::from_secs(3_600 * hours.parse::<u64>().unwrap_or_default().min(168));
    let calendar = set.in_zone(Some(zone), &ZoneName::utc());
    match WindowState::of_all(&[&calendar], fits, now) {
        WindowState::Open { until } => {
            assert!(until > now && until >= now + fits, "{until} is too early");
            assert!(calendar.state(now).is_open(), "what fits is open");
        }
        WindowState::Closed { until } => {
            assert!(until.is_none_or(|until| until > now), "{until:?} is not later");
        }
    }
});
