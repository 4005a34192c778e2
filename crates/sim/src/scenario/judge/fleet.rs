//! The invariants that look at all campaigns together: the order of the log (I0), one open
//! operation for a device (I13), and Cancel requests (I14).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::log::Record;
use super::loose::{Decimal, Key, Usable, same, unusable};
use super::verdict::Finding;
use crate::scenario::format::{Action, Scenario};

pub(super) const TARGET_IS_SETTLED: [&str; 3] = ["successful", "failed", "cancelled"];
pub(super) const OPERATION_IS_FINAL: [&str; 2] = ["success", "failure"];

pub(super) fn is_one_of(value: &Value, texts: &[&str]) -> bool {
    value.as_str().is_some_and(|text| texts.contains(&text))
}

/// What is known of the fleet on the way through the log.
#[derive(Debug)]
pub(super) struct FleetChecks<'a> {
    run_until: Decimal,
    /// The campaigns whose operations someone asked to stop.
    stopped: BTreeSet<Key>,
    /// The latest accepted request to each device.
    open: BTreeMap<Key, Record<'a>>,
    ended: BTreeSet<Key>,
}

impl<'a> FleetChecks<'a> {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let stopped = scenario.stimuli.iter().filter_map(|stimulus| match &stimulus.action {
            Action::Cancel { campaign, stop_operations: true } => Some(Key::Text(campaign.clone())),
            _ => None,
        });
        Self {
            run_until: Decimal::whole(scenario.run_until_ms),
            stopped: stopped.collect(),
            open: BTreeMap::new(),
            ended: BTreeSet::new(),
        }
    }

    pub(super) fn check(mut self, log: &[Record<'a>], findings: &mut Vec<Finding>) -> Usable<()> {
        let mut former: Option<&Record<'_>> = None;
        for entry in log {
            if let Some(former) = former.filter(|former| entry.at < former.at) {
                let expected = format!("nothing before {} ms any more", former.at_ms());
                let seen = format!("an entry of {} ms", entry.at_ms());
                findings.push(Finding::invariant(0, None, expected, seen).at(entry));
            }
            if entry.at > self.run_until {
                let seen = format!("an entry of {} ms", entry.at_ms());
                let expected = "nothing after run_until_ms";
                findings.push(Finding::invariant(0, None, expected, seen).at(entry));
            }
            former = Some(entry);
            match entry.kind {
                "operation" => self.operation(entry)?,
                "target" => self.target(entry)?,
                "request" => self.request(entry, findings)?,
                "cancel_request" => self.cancel_request(entry, findings)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn operation(&mut self, entry: &Record<'a>) -> Usable<()> {
        if is_one_of(entry.field("status")?, &OPERATION_IS_FINAL) {
            self.ended.insert(entry.key("operation")?);
        }
        Ok(())
    }

    /// A settled target ends the operation that its campaign has with the device.
    fn target(&mut self, entry: &Record<'a>) -> Usable<()> {
        if !is_one_of(entry.field("status")?, &TARGET_IS_SETTLED) {
            return Ok(());
        }
        let open = self.open.get(&entry.key("device")?);
        let campaign = entry.field("campaign")?;
        match open {
            Some(open) if same(open.get("campaign"), campaign) => {
                self.ended.insert(open.key("operation")?);
            }
            None if campaign.is_null() => return unusable("a target of no campaign"),
            _ => {}
        }
        Ok(())
    }

    fn request(&mut self, entry: &Record<'a>, findings: &mut Vec<Finding>) -> Usable<()> {
        if !entry.is("result", "ok")? {
            return Ok(());
        }
        let device = entry.key("device")?;
        let operation = entry.field("operation")?;
        entry.field("campaign")?;
        if let Some(open) = self.open.get(&device)
            && !same(open.get("operation"), operation)
            && !self.ended.contains(&open.key("operation")?)
        {
            let expected = format!("no new operation while {} is open", open.get("operation"));
            let seen = format!("{} accepted for {}", operation, entry.get("device"));
            findings.push(Finding::invariant(13, None, expected, seen).at(open).at(entry));
        }
        self.open.insert(device, *entry);
        Ok(())
    }

    fn cancel_request(&mut self, entry: &Record<'a>, findings: &mut Vec<Finding>) -> Usable<()> {
        if !self.stopped.contains(&entry.key("campaign")?) {
            let seen = format!("a Cancel request to {}", entry.field("device")?);
            let expected = "no Cancel request, as nobody asked for operations to be stopped";
            findings.push(Finding::invariant(14, None, expected, seen).at(entry));
            return Ok(());
        }
        let open = self.open.get(&entry.key("device")?);
        let operation = entry.field("operation")?;
        let is_open = match open {
            Some(open) => same(open.get("operation"), operation),
            None => operation.is_null(),
        };
        if !is_open || self.ended.contains(&Key::of(operation)?) {
            let seen = format!("one for {} of {}", operation, entry.get("device"));
            let expected = "a Cancel request for an open operation";
            findings.push(Finding::invariant(14, None, expected, seen).at(entry));
        }
        Ok(())
    }
}
