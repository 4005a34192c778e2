//! Whether a device is online at an instant: as the scenario has it, and as the scripts change it
//! that its accepted requests start.

use std::collections::BTreeMap;

use serde_json::Value;

use super::values::{
    Judged, Key, Number, elements, is, member, number, optional, or_null, same, truthy, wrong,
};
use super::view::entries;

/// A change of a device's presence.
struct Change {
    at: Number,
    online: Value,
}

/// Whether the device is online at some moment of the millisecond `instant`.
pub(super) fn is_online(
    scenario: &Value,
    log: &[Value],
    device: &Value,
    instant: &Value,
) -> Judged<bool> {
    let mut changes = Vec::new();
    let mut definition = None;
    for candidate in elements(Some(member(member(scenario, "fleet")?, "devices")?))? {
        if same(member(&candidate, "id")?, device) {
            changes.push(Change { at: Number::Whole(-1), online: online_of(&candidate)? });
            definition = Some(candidate);
            break;
        }
    }
    for stimulus in elements(Some(member(scenario, "stimuli")?))? {
        let action = member(&stimulus, "do")?;
        let online = if is(action, "add_device") {
            let added = member(&stimulus, "device")?;
            if !same(member(added, "id")?, device) {
                continue;
            }
            definition = Some(added.clone());
            online_of(added)?
        } else if is(action, "device") && same(member(&stimulus, "device")?, device) {
            match optional(member(&stimulus, "set")?, "online")? {
                Some(online) => online.clone(),
                None => continue,
            }
        } else if is(action, "remove_device") && same(member(&stimulus, "device")?, device) {
            Value::Bool(false)
        } else {
            continue;
        };
        changes.push(Change { at: number(member(&stimulus, "at_ms")?)?, online });
    }
    changes.extend(scripted_changes(definition.as_ref(), log, device)?);
    changes.sort_by(|left, right| left.at.order(right.at));

    let instant = number(instant)?;
    let mut before = None;
    let mut online = false;
    for change in &changes {
        let order = change.at.order(instant);
        if order.is_lt() {
            before = Some(&change.online);
        } else if order.is_eq() {
            online |= says_online(&change.online)?;
        }
    }
    if let Some(before) = before {
        online |= says_online(before)?;
    }
    Ok(online)
}

fn online_of(device: &Value) -> Judged<Value> {
    Ok(optional(device, "online")?.cloned().unwrap_or(Value::Bool(true)))
}

fn says_online(value: &Value) -> Judged<bool> {
    Ok(Key::of(value)? == Key::Whole(1))
}

/// The changes that the device's scripts make after its accepted requests.
fn scripted_changes(
    definition: Option<&Value>,
    log: &[Value],
    device: &Value,
) -> Judged<Vec<Change>> {
    let mut changes = Vec::new();
    // For each operation: which one of the device's it is, and how many requests it has had.
    let mut operations: BTreeMap<Key, (usize, usize)> = BTreeMap::new();
    for entry in entries(log) {
        let is_accepted = entry.has_kind("request")?
            && same(entry.get("device")?, device)
            && is(entry.get("result")?, "ok");
        if !is_accepted {
            continue;
        }
        let position = operations.len();
        let (position, requests) =
            operations.entry(Key::of(entry.get("operation")?)?).or_insert((position, 0));
        let script = match definition {
            Some(definition) => script(definition, *position, *requests)?,
            None => None,
        };
        *requests += 1;
        for step in elements(script.as_ref())? {
            if let Some(online) = optional(&step, "set_online")? {
                let at = number(entry.at()?)?.plus(number(member(&step, "after_ms")?)?);
                changes.push(Change { at, online: online.clone() });
            }
        }
    }
    Ok(changes)
}

/// The script for the device's operation `position` when that gets request number `request`; both
/// count from 0.
fn script(definition: &Value, position: usize, request: usize) -> Judged<Option<Value>> {
    let by_operation = or_null(definition, "on_operation")?;
    let scripts = if truthy(by_operation) {
        nth_or_last(by_operation, position)?
    } else {
        optional(definition, "on_request")?
    };
    match scripts {
        Some(scripts) if truthy(scripts) => Ok(nth_or_last(scripts, request)?.cloned()),
        _ => Ok(None),
    }
}

fn nth_or_last(values: &Value, position: usize) -> Judged<Option<&Value>> {
    let values = values.as_array().ok_or_else(|| wrong(values, "a list"))?;
    Ok(values.get(position).or(values.last()))
}
