//! What Astarte has stored of one device: its properties, and the series of its datastreams until
//! they expire.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bson::Bson;
use chrono::{DateTime, TimeDelta, Utc};

/// Values of one path; when there are more, the oldest are forgotten.
pub(crate) const SERIES_LENGTH_MAX: usize = 10_000;
/// Paths of one device; values of further ones are refused.
const PATHS_MAX: usize = 10_000;

/// An interface in a major version.
pub(crate) type InterfaceKey = (String, i32);

/// A stored value of a datastream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The device's own time if the interface has explicit timestamps, else that of reception.
    pub(crate) timestamp: DateTime<Utc>,
    pub(crate) value: Bson,
    expiry: Option<DateTime<Utc>>,
}

/// Which values of a series are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Window {
    pub(crate) since: Option<DateTime<Utc>>,
    /// Exclusive.
    pub(crate) since_after: Option<DateTime<Utc>>,
    /// Exclusive.
    pub(crate) to: Option<DateTime<Utc>>,
    pub(crate) limit: Option<usize>,
}

impl Window {
    fn contains(&self, timestamp: DateTime<Utc>) -> bool {
        self.since.is_none_or(|since| timestamp >= since)
            && self.since_after.is_none_or(|since| timestamp > since)
            && self.to.is_none_or(|to| timestamp < to)
    }

    /// From a given time on values are read forwards, else from the newest backwards.
    fn is_forwards(&self) -> bool {
        self.since.is_some() || self.since_after.is_some()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Values {
    properties: BTreeMap<InterfaceKey, BTreeMap<String, Bson>>,
    series: BTreeMap<InterfaceKey, BTreeMap<String, VecDeque<Sample>>>,
    paths: usize,
}

impl Values {
    /// Sets or, with `None`, unsets a property. Returns the old value.
    pub(crate) fn set_property(
        &mut self,
        interface: &InterfaceKey,
        path: &str,
        value: Option<Bson>,
    ) -> Option<Bson> {
        let Some(value) = value else {
            let old = self.properties.get_mut(interface)?.remove(path)?;
            self.paths -= 1;
            return Some(old);
        };
        let full = self.paths >= PATHS_MAX;
        let properties = self.properties.entry(interface.clone()).or_default();
        if full && !properties.contains_key(path) {
            tracing::warn!(PATHS_MAX, "the device has too many paths; a property is not stored");
            return None;
        }
        let old = properties.insert(path.to_owned(), value);
        self.paths += usize::from(old.is_none());
        old
    }

    pub(crate) fn property(&self, interface: &InterfaceKey, path: &str) -> Option<&Bson> {
        self.properties.get(interface)?.get(path)
    }

    /// The set properties of an interface.
    pub(crate) fn properties(
        &self,
        interface: &InterfaceKey,
    ) -> impl Iterator<Item = (&str, &Bson)> {
        let properties = self.properties.get(interface).into_iter().flatten();
        properties.map(|(path, value)| (path.as_str(), value))
    }

    /// Stores a value of a datastream.
    pub(crate) fn append(
        &mut self,
        interface: &InterfaceKey,
        path: &str,
        value: Bson,
        timestamp: DateTime<Utc>,
        now: DateTime<Utc>,
        time_to_live: Option<Duration>,
    ) {
        let expiry = time_to_live
            .and_then(|limit| TimeDelta::from_std(limit).ok())
            .and_then(|limit| now.checked_add_signed(limit));
        let full = self.paths >= PATHS_MAX;
        let paths = self.series.entry(interface.clone()).or_default();
        if full && !paths.contains_key(path) {
            tracing::warn!(PATHS_MAX, "the device has too many paths; a value is not stored");
            return;
        }
        let mut is_new = false;
        let series = paths.entry(path.to_owned()).or_insert_with(|| {
            is_new = true;
            VecDeque::new()
        });
        self.paths += usize::from(is_new);
        series.retain(|sample| is_alive(sample, now));
        // Mostly at the end; a device whose clock went back writes further to the front.
        let index = series.partition_point(|sample| sample.timestamp <= timestamp);
        series.insert(index, Sample { timestamp, value, expiry });
        if series.len() > SERIES_LENGTH_MAX {
            series.pop_front();
        }
    }

    /// The paths of a datastream interface that have a value.
    pub(crate) fn series_paths(&self, interface: &InterfaceKey) -> Vec<&str> {
        let paths = self.series.get(interface).into_iter().flatten();
        paths.map(|(path, _)| path.as_str()).collect()
    }

    /// The values of a path within the window that have not expired.
    pub(crate) fn series(
        &self,
        interface: &InterfaceKey,
        path: &str,
        window: &Window,
        now: DateTime<Utc>,
    ) -> Vec<&Sample> {
        let Some(series) = self.series.get(interface).and_then(|paths| paths.get(path)) else {
            return Vec::new();
        };
        let limit = window.limit.unwrap_or(SERIES_LENGTH_MAX).min(SERIES_LENGTH_MAX);
        let fits = |sample: &&Sample| window.contains(sample.timestamp) && is_alive(sample, now);
        if window.is_forwards() {
            return series.iter().filter(fits).take(limit).collect();
        }
        series.iter().rev().filter(fits).take(limit).collect()
    }
}

fn is_alive(sample: &Sample, now: DateTime<Utc>) -> bool {
    sample.expiry.is_none_or(|expiry| expiry > now)
}

#[cfg(test)]
mod tests {
    use bson::bson;

    use super::*;
    use crate::clock::at_millis;

    fn key() -> InterfaceKey {
        ("org.example.Event".to_owned(), 0)
    }

    fn values(timestamps: &[i64]) -> Values {
        let mut values = Values::default();
        for timestamp in timestamps {
            let at = at_millis(*timestamp);
            values.append(&key(), "/event", bson!(*timestamp), at, at_millis(0), None);
        }
        values
    }

    fn read(values: &Values, window: &Window) -> Vec<i64> {
        values
            .series(&key(), "/event", window, at_millis(0))
            .iter()
            .map(|sample| sample.timestamp.timestamp_millis())
            .collect()
    }

    #[test]
    fn a_series_is_in_the_order_of_its_timestamps() {
        let values = values(&[5, 1, 9, 3]);
        let all = Window { since: Some(at_millis(0)), ..Window::default() };
        assert_eq!(read(&values, &all), [1, 3, 5, 9]);
        assert_eq!(read(&values, &Window::default()), [9, 5, 3, 1]);
    }

    #[test]
    fn a_window_limits_a_series() {
        let values = values(&[1, 3, 5, 9]);
        let window = |since, after, to, limit| Window {
            since: Option::map(since, at_millis),
            since_after: Option::map(after, at_millis),
            to: Option::map(to, at_millis),
            limit,
        };
        assert_eq!(read(&values, &window(Some(3), None, None, None)), [3, 5, 9]);
        assert_eq!(read(&values, &window(None, Some(3), None, None)), [5, 9]);
        assert_eq!(read(&values, &window(None, Some(1), Some(9), None)), [3, 5]);
        assert_eq!(read(&values, &window(Some(1), None, None, Some(2))), [1, 3]);
        assert_eq!(read(&values, &window(None, None, None, Some(2))), [9, 5]);
    }

    #[test]
    fn values_expire_by_the_time_of_their_reception() {
        let mut values = Values::default();
        let hour = Some(Duration::from_secs(3600));
        // The device's clock is a year off; that does not matter.
        values.append(&key(), "/event", bson!(1), at_millis(-31_536_000_000), at_millis(0), hour);
        let count = |now| values.series(&key(), "/event", &Window::default(), at_millis(now)).len();
        assert_eq!((count(3_599_999), count(3_600_000)), (1, 0));
    }

    #[test]
    fn a_property_is_set_changed_and_unset() {
        let mut values = Values::default();
        assert_eq!(values.set_property(&key(), "/name", Some(bson!("a"))), None);
        assert_eq!(values.set_property(&key(), "/name", Some(bson!("b"))), Some(bson!("a")));
        assert_eq!(values.properties(&key()).collect::<Vec<_>>(), [("/name", &bson!("b"))]);
        assert_eq!(values.set_property(&key(), "/name", None), Some(bson!("b")));
        assert_eq!(values.set_property(&key(), "/name", None), None);
        assert_eq!(values.property(&key(), "/name"), None);
    }

    #[test]
    fn no_device_fills_the_memory() {
        let mut values = Values::default();
        for index in 0..PATHS_MAX + 10 {
            values.set_property(&key(), &format!("/{index}"), Some(bson!(1)));
        }
        assert_eq!(values.properties(&key()).count(), PATHS_MAX);
        let times: Vec<i64> = (0..10_010).collect();
        let values = self::values(&times);
        let window = Window { since: Some(at_millis(0)), ..Window::default() };
        let left = read(&values, &window);
        assert_eq!((left.len(), left[0]), (SERIES_LENGTH_MAX, 10));
    }
}
