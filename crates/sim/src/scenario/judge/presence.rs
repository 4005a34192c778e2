//! When the devices of a scenario are online, as far as the scenario and the accepted requests of
//! a log determine it.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::log::Record;
use super::loose::{Decimal, Key, Usable};
use crate::scenario::format::{Action, Device, Scenario};

/// What the scenario itself says about a device.
#[derive(Debug, Default)]
struct Known<'a> {
    device: Option<&'a Device>,
    changes: Vec<(Decimal, bool)>,
}

/// The presence of all devices.
#[derive(Debug)]
pub(super) struct Presence<'a> {
    known: BTreeMap<&'a str, Known<'a>>,
    log: &'a [Record<'a>],
    /// Accepted requests by device; read when the first question comes.
    accepted: OnceCell<BTreeMap<Key, Vec<Record<'a>>>>,
}

impl<'a> Presence<'a> {
    pub(super) fn new(scenario: &'a Scenario, log: &'a [Record<'a>]) -> Self {
        let mut known: BTreeMap<&str, Known<'_>> = BTreeMap::new();
        for device in &scenario.fleet.devices {
            let known = known.entry(&device.id).or_default();
            if known.device.is_none() {
                known.device = Some(device);
                known.changes.push((Decimal::whole(-1), device.online));
            }
        }
        for stimulus in &scenario.stimuli {
            let at = Decimal::whole(stimulus.at_ms);
            match &stimulus.action {
                Action::AddDevice { device } => {
                    let known = known.entry(&device.id).or_default();
                    known.device = Some(device);
                    known.changes.push((at, device.online));
                }
                Action::Device { device, set } => {
                    if let Some(online) = set.get("online") {
                        let known = known.entry(device).or_default();
                        known.changes.push((at, online.as_bool().unwrap_or(false)));
                    }
                }
                Action::RemoveDevice { device } => {
                    known.entry(device).or_default().changes.push((at, false));
                }
                _ => {}
            }
        }
        Self { known, log, accepted: OnceCell::new() }
    }

    fn accepted(&self) -> Usable<&BTreeMap<Key, Vec<Record<'a>>>> {
        if let Some(accepted) = self.accepted.get() {
            return Ok(accepted);
        }
        let mut accepted: BTreeMap<Key, Vec<Record<'_>>> = BTreeMap::new();
        for entry in self.log.iter().filter(|entry| entry.kind == "request") {
            let device = entry.field("device")?;
            if entry.is("result", "ok")? {
                accepted.entry(Key::of(device)?).or_default().push(*entry);
            }
        }
        Ok(self.accepted.get_or_init(|| accepted))
    }

    /// Whether a device is online at any moment of an instant.
    pub(super) fn is_online(&self, device: &Key, at: Decimal) -> Usable<bool> {
        Ok(self.states(device, at)?.contains(&true))
    }

    /// Whether a device is offline at any moment of an instant.
    pub(super) fn is_offline(&self, device: &Key, at: Decimal) -> Usable<bool> {
        Ok(self.states(device, at)?.contains(&false))
    }

    /// Every presence that a device has in an instant; nothing is known of one before it is there.
    fn states(&self, device: &Key, at: Decimal) -> Usable<Vec<bool>> {
        let changes = self.changes(device)?;
        let before = changes.iter().rev().find(|(when, _)| *when < at);
        let during = changes.iter().filter(|(when, _)| *when == at);
        Ok(before.into_iter().chain(during).map(|(_, online)| *online).collect())
    }

    /// When a device connects.
    pub(super) fn connections(&self, device: &Key) -> Usable<Vec<Decimal>> {
        let changes = self.changes(device)?;
        let connects = |pair: &&[(Decimal, bool)]| !pair[0].1 && pair[1].1;
        Ok(changes.windows(2).filter(connects).map(|pair| pair[1].0).collect())
    }

    fn changes(&self, device: &Key) -> Usable<Vec<(Decimal, bool)>> {
        let nothing = Known::default();
        let known = match device {
            Key::Text(id) => self.known.get(id.as_str()).unwrap_or(&nothing),
            _ => &nothing,
        };
        let mut changes = known.changes.clone();
        let mut operations: Vec<(Key, usize)> = Vec::new();
        for request in self.accepted()?.get(device).into_iter().flatten() {
            let operation = request.key("operation")?;
            let place = operations.iter().position(|(known, _)| *known == operation);
            let place = place.unwrap_or_else(|| {
                operations.push((operation, 0));
                operations.len() - 1
            });
            let Some((_, requests)) = operations.get_mut(place) else { continue };
            let script = known.device.map_or(&[][..], |device| device.script(place, *requests));
            *requests += 1;
            for step in script {
                if let Some(online) = step.set_online {
                    changes.push((request.at.plus(Decimal::whole(step.after_ms))?, online));
                }
            }
        }
        changes.sort_by_key(|(when, _)| *when);
        Ok(changes)
    }
}
