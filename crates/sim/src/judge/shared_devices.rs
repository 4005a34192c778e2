//! The rules that hold over all campaigns at once: the log's order in time, and what one device
//! may be asked for by several campaigns.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::findings::Findings;
use super::values::{
    Judged, Key, compare, elements, is, is_one_of, member, or_null, same, short, truthy, wrong,
};
use super::view::{Entry, entries};

/// The statuses that a target never leaves.
pub(super) const SETTLED: [&str; 3] = ["successful", "failed", "cancelled"];

/// The statuses that end an operation.
pub(super) const FINAL: [&str; 2] = ["success", "failure"];

/// Checks I0, I13 and I14.
pub(super) fn check(scenario: &Value, log: &[Value], findings: &mut Findings) -> Judged<()> {
    let mut stops = BTreeSet::new();
    for stimulus in elements(Some(member(scenario, "stimuli")?))? {
        if is(member(&stimulus, "do")?, "cancel") && truthy(or_null(&stimulus, "stop_operations")?)
        {
            stops.insert(Key::of(or_null(&stimulus, "campaign")?)?);
        }
    }
    let mut devices = Devices { newest: BTreeMap::new(), ended: BTreeSet::new(), stops };
    for entry in entries(log) {
        devices.see(entry, findings)?;
    }
    check_time(scenario, log, findings)
}

fn check_time(scenario: &Value, log: &[Value], findings: &mut Findings) -> Judged<()> {
    let end = member(scenario, "run_until_ms")?;
    let mut earlier: Option<&Value> = None;
    for entry in entries(log) {
        let at = entry.at()?;
        if let Some(earlier) = earlier
            && compare(at, earlier)?.is_lt()
        {
            let expected = format!("entries in the order of time, so not before {earlier}");
            findings.add("I0", expected, at.to_string(), Some(entry.index));
        }
        earlier = Some(at);
        if compare(at, end)?.is_gt() {
            findings.add("I0", format!("nothing after {end}"), at.to_string(), Some(entry.index));
        }
    }
    Ok(())
}

/// The operation that a device accepted last, and the campaign it is of.
struct Accepted<'a> {
    operation: &'a Value,
    campaign: &'a Value,
}

struct Devices<'a> {
    newest: BTreeMap<Key, Accepted<'a>>,
    ended: BTreeSet<Key>,
    /// The campaigns whose operations somebody asked to stop.
    stops: BTreeSet<Key>,
}

impl<'a> Devices<'a> {
    fn see(&mut self, entry: Entry<'a>, findings: &mut Findings) -> Judged<()> {
        let kind = entry.get("kind")?;
        if is(kind, "operation") && is_one_of(entry.get("status")?, &FINAL) {
            self.ended.insert(Key::of(entry.get("operation")?)?);
        } else if is(kind, "target") && is_one_of(entry.get("status")?, &SETTLED) {
            self.settle(entry)?;
        } else if is(kind, "request") && is(entry.get("result")?, "ok") {
            self.accept(entry, findings)?;
        } else if is(kind, "cancel_request") {
            self.cancel(entry, findings)?;
        }
        Ok(())
    }

    /// A settled target has no open operation, whatever the device still says about it.
    fn settle(&mut self, entry: Entry) -> Judged<()> {
        let device = entry.get("device")?;
        let campaign = entry.get("campaign")?;
        match self.newest.get(&Key::of(device)?) {
            Some(accepted) if same(accepted.campaign, campaign) => {
                self.ended.insert(Key::of(accepted.operation)?);
                Ok(())
            }
            // The reference judge looks for the operation of no campaign here, and finds none.
            None if campaign.is_null() => Err(wrong(entry.value, "about a campaign")),
            _ => Ok(()),
        }
    }

    fn accept(&mut self, entry: Entry<'a>, findings: &mut Findings) -> Judged<()> {
        let device = Key::of(entry.get("device")?)?;
        let operation = entry.get("operation")?;
        if let Some(accepted) = self.newest.get(&device)
            && !same(accepted.operation, operation)
            && !self.ended.contains(&Key::of(accepted.operation)?)
        {
            let expected =
                format!("no other operation while {} is open", short(accepted.operation));
            entry.at()?;
            findings.add(
                "I13",
                expected,
                format!("operation {}", short(operation)),
                Some(entry.index),
            );
        }
        let campaign = entry.get("campaign")?;
        self.newest.insert(device, Accepted { operation, campaign });
        Ok(())
    }

    fn cancel(&self, entry: Entry, findings: &mut Findings) -> Judged<()> {
        let index = Some(entry.index);
        if !self.stops.contains(&Key::of(entry.get("campaign")?)?) {
            entry.at()?;
            let campaign = short(entry.get("campaign")?);
            let expected =
                format!("no Cancel request, for nobody asked to stop operations of {campaign}");
            findings.add("I14", expected, format!("one to {}", short(entry.get("device")?)), index);
            return Ok(());
        }
        let newest = self.newest.get(&Key::of(entry.get("device")?)?);
        let operation = entry.get("operation")?;
        let is_newest = same(newest.map_or(&Value::Null, |accepted| accepted.operation), operation);
        if !is_newest || self.ended.contains(&Key::of(operation)?) {
            let expected = match newest {
                Some(accepted) => format!(
                    "one for the device's operation {}, if it is open",
                    short(accepted.operation)
                ),
                None => "no Cancel request to a device without an operation".to_owned(),
            };
            findings.add("I14", expected, format!("one for {}", short(operation)), index);
        }
        Ok(())
    }
}
