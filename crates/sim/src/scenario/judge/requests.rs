//! What a scenario expects of the requests of one campaign.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::log::Record;
use super::loose::{
    Unusable, Usable, count_fits, elements, elements_at, is_set, members, number, object, range,
    same, unusable, within,
};
use super::verdict::Finding;

/// Compares the requests of a campaign with the expected ones.
pub(super) struct RequestCheck<'a> {
    campaign: &'a str,
    requests: Vec<Record<'a>>,
    findings: &'a mut Vec<Finding>,
}

impl<'a> RequestCheck<'a> {
    pub(super) fn new(
        campaign: &'a str,
        log: &[Record<'a>],
        findings: &'a mut Vec<Finding>,
    ) -> Self {
        let requests = log.iter().filter(|entry| entry.kind == "request").copied().collect();
        Self { campaign, requests, findings }
    }

    pub(super) fn check(mut self, want: &Map<String, Value>) -> Usable<()> {
        if let Some(want) = want.get("total") {
            self.check_count("requests.total", want, self.requests.len(), None)?;
        }
        for want in elements_at(want, "by")? {
            self.check_by(object(&want)?)?;
        }
        for (device, want) in members(want, "per_device")? {
            self.check_device(device, want)?;
        }
        for chain in elements_at(want, "first_order")? {
            // Neighbours are compared, so the chain has an order of its own.
            if chain.is_object() {
                return unusable("first_order has an object instead of a list of devices");
            }
            self.check_first_order(&chain)?;
        }
        for chain in elements_at(want, "ok_order")? {
            self.check_ok_order(&chain)?;
        }
        Ok(())
    }

    fn report(
        &mut self,
        what: impl Into<String>,
        want: &Value,
        seen: impl std::fmt::Display,
        entry: Option<&Record<'_>>,
    ) {
        let finding = Finding::expectation(Some(self.campaign), what, want, seen);
        self.findings.push(finding.near(entry));
    }

    fn check_count(
        &mut self,
        what: impl Into<String>,
        want: &Value,
        got: usize,
        entry: Option<&Record<'_>>,
    ) -> Usable<()> {
        if !count_fits(want, Some(got))? {
            self.report(what, want, got, entry);
        }
        Ok(())
    }

    fn check_by(&mut self, want: &Map<String, Value>) -> Usable<()> {
        let expected = |key: &str| {
            want.get(key).ok_or_else(|| Unusable(format!("an element of requests.by has no {key}")))
        };
        let mut count = 0;
        for request in &self.requests {
            if request.at <= number(expected("at_ms")?)? {
                count += 1;
            }
        }
        let total = expected("total")?;
        if !count_fits(total, Some(count))? {
            let what = format!("requests by {} ms", expected("at_ms")?);
            let latest = count.checked_sub(1).and_then(|last| self.requests.get(last)).copied();
            self.report(what, total, count, latest.as_ref());
        }
        Ok(())
    }

    fn check_device(&mut self, device: &str, want: &Value) -> Usable<()> {
        let mut requests = Vec::new();
        for request in &self.requests {
            if request.is("device", device)? {
                requests.push(*request);
            }
        }
        let what = |key: &str| format!("requests.per_device.{device}.{key}");
        // A plain number is the total.
        if matches!(want, Value::Bool(_)) || want.is_i64() || want.is_u64() {
            return self.check_count(what("total"), want, requests.len(), requests.last());
        }
        let want = object(want)?;
        if let Some(want) = want.get("total") {
            self.check_count(what("total"), want, requests.len(), requests.last())?;
        }
        if let Some(want) = want.get("ok") {
            let mut accepted = 0;
            for request in &requests {
                accepted += usize::from(request.is("result", "ok")?);
            }
            self.check_count(what("ok"), want, accepted, requests.last())?;
        }
        self.check_times(device, want, &requests)?;
        let operations = || -> Usable<usize> {
            let ids: Usable<BTreeSet<_>> = requests.iter().map(|r| r.key("operation")).collect();
            Ok(ids?.len())
        };
        if let Some(want) = want.get("operations") {
            self.check_count(what("operations"), want, operations()?, requests.last())?;
        }
        if is_set(want.get("one_operation")) && operations()? != 1 {
            let seen = format!("{} operations", operations()?);
            self.report(what("one_operation"), &Value::Bool(true), seen, requests.last());
        }
        Ok(())
    }

    fn check_times(
        &mut self,
        device: &str,
        want: &Map<String, Value>,
        requests: &[Record<'_>],
    ) -> Usable<()> {
        for (nth, want) in elements_at(want, "times")?.iter().enumerate() {
            let (from, to) = range(want)?;
            let request = requests.get(nth);
            let fits = request.map_or(Ok(false), |request| within(&from, request.at, &to))?;
            if !fits {
                let what = format!("requests.per_device.{device}.times[{nth}]");
                let seen = request.map_or("no such request".to_owned(), |r| r.at_ms().to_string());
                self.report(what, want, seen, request.or(requests.last()));
            }
        }
        for (nth, want) in elements_at(want, "gaps")?.iter().enumerate() {
            let (from, to) = range(want)?;
            let pair = requests.get(nth).zip(requests.get(nth + 1));
            let gap = pair.map(|(one, two)| two.at.minus(one.at)).transpose()?;
            if !gap.map_or(Ok(false), |gap| within(&from, gap, &to))? {
                let what = format!("requests.per_device.{device}.gaps[{nth}]");
                let seen = pair.map_or("no such request".to_owned(), |(one, two)| {
                    format!("requests at {} and {}", one.at_ms(), two.at_ms())
                });
                self.report(what, want, seen, pair.map(|(_, two)| two).or(requests.last()));
            }
        }
        Ok(())
    }

    /// The place of the first request to a device, or of the first that was accepted.
    fn first(&self, device: &Value, accepted_only: bool) -> Usable<Option<usize>> {
        for (place, request) in self.requests.iter().enumerate() {
            if same(request.field("device")?, device)
                && (!accepted_only || request.is("result", "ok")?)
            {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    fn check_first_order(&mut self, chain: &Value) -> Usable<()> {
        let devices = elements(chain)?;
        let mut places = Vec::new();
        for device in &devices {
            super::loose::Key::of(device)?;
            places.push(self.first(device, false)?);
        }
        for (devices, places) in devices.windows(2).zip(places.windows(2)) {
            let ([before, after], [first, second]) = (devices, places) else { continue };
            let is_in_order = first.zip(*second).is_some_and(|(first, second)| first <= second);
            if !is_in_order {
                let entry = second.and_then(|place| self.requests.get(place)).copied();
                let seen = match (first, second) {
                    (Some(_), Some(_)) => format!("{after} first"),
                    (None, _) => format!("no request to {before}"),
                    (_, None) => format!("no request to {after}"),
                };
                self.report("requests.first_order", chain, seen, entry.as_ref());
            }
        }
        Ok(())
    }

    fn check_ok_order(&mut self, chain: &Value) -> Usable<()> {
        let mut places = Vec::new();
        for device in elements(chain)? {
            places.push(self.first(&device, true)?);
        }
        let is_in_order = places.iter().all(Option::is_some)
            && places.windows(2).all(|pair| pair.first().cmp(&pair.last()) != Ordering::Greater);
        if !is_in_order {
            let entries = places.iter().map(|place| {
                let entry = place.and_then(|place| self.requests.get(place));
                entry.map_or("none".to_owned(), |entry| format!("entry {}", entry.index))
            });
            let seen = format!("accepted in turn: {}", entries.collect::<Vec<_>>().join(", "));
            self.report("requests.ok_order", chain, seen, None);
        }
        Ok(())
    }
}
