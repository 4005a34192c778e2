//! What a scenario expects of one campaign.

use serde_json::Value;

use super::findings::Findings;
use super::values::{
    Judged, amount_matches, elements, is, member, members, number, optional, pair, same, short,
    sorted, within,
};
use super::view::View;
use super::{requests, states};

/// Compares the log of a campaign with what is wanted of it.
pub(super) fn check(
    scenario: &Value,
    campaign: &str,
    wanted: &Value,
    place: &str,
    log: &[Value],
    findings: &mut Findings,
) -> Judged<()> {
    let view = View::new(&Value::from(campaign), log)?;
    let end = member(scenario, "run_until_ms")?;
    if let Some(wanted) = optional(wanted, "final")? {
        states::check(wanted, &view, end, &format!("{place}.final"), findings)?;
    }
    for (position, wanted) in elements(optional(wanted, "checkpoints")?)?.iter().enumerate() {
        let place = format!("{place}.checkpoints[{position}]");
        states::check(wanted, &view, member(wanted, "at_ms")?, &place, findings)?;
    }
    if let Some(wanted) = optional(wanted, "snapshot")? {
        check_snapshot(wanted, &view, place, findings)?;
    }
    if let Some(wanted) = optional(wanted, "status_path")? {
        check_status_path(wanted, &view, place, findings)?;
    }
    if let Some(wanted) = optional(wanted, "finish_ms")? {
        check_finish(wanted, &view, place, findings)?;
    }
    if let Some(wanted) = optional(wanted, "requests")? {
        requests::check(wanted, &view, &format!("{place}.requests"), findings)?;
    }
    for (device, wanted) in members(optional(wanted, "cancel_requests")?)? {
        let mut count = 0_usize;
        let mut latest = None;
        for entry in view.of_kind("cancel_request")? {
            if same(entry.get("device")?, &Value::from(device.as_str())) {
                count += 1;
                latest = Some(entry.index);
            }
        }
        if !amount_matches(wanted, &Value::from(count))? {
            let rule = format!("{place}.cancel_requests.{device}");
            findings.add(rule, short(wanted), count.to_string(), latest);
        }
    }
    Ok(())
}

fn check_snapshot(wanted: &Value, view: &View, place: &str, findings: &mut Findings) -> Judged<()> {
    let snapshots = view.of_kind("snapshot")?;
    let actual = match snapshots.as_slice() {
        [only] => Some(Value::Array(sorted(only.get("devices")?)?)),
        _ => None,
    };
    let wanted = Value::Array(sorted(wanted)?);
    if !actual.as_ref().is_some_and(|actual| same(actual, &wanted)) {
        let seen = match &actual {
            Some(devices) => short(devices),
            None => format!("{} snapshots", snapshots.len()),
        };
        let index = snapshots.last().map(|entry| entry.index);
        findings.add(format!("{place}.snapshot"), short(&wanted), seen, index);
    }
    Ok(())
}

fn check_status_path(
    wanted: &Value,
    view: &View,
    place: &str,
    findings: &mut Findings,
) -> Judged<()> {
    let mut path: Vec<Value> = Vec::new();
    let mut latest = None;
    for entry in view.of_kind("campaign")? {
        let status = entry.get("status")?;
        if is(status, "idle") || path.last().is_some_and(|last| same(last, status)) {
            continue;
        }
        path.push(status.clone());
        latest = Some(entry.index);
    }
    let path = Value::Array(path);
    if !same(&path, wanted) {
        findings.add(format!("{place}.status_path"), wanted.to_string(), path.to_string(), latest);
    }
    Ok(())
}

fn check_finish(wanted: &Value, view: &View, place: &str, findings: &mut Findings) -> Judged<()> {
    let mut finished = None;
    for entry in view.of_kind("campaign")? {
        if is(entry.get("status")?, "finished") {
            let at = entry.at()?;
            finished = finished.or(Some((entry.index, at)));
        }
    }
    let (from, to) = pair(wanted)?;
    let in_time = match finished {
        Some((_, at)) => within(&from, number(at)?, &to)?,
        None => false,
    };
    if !in_time {
        let actual = finished.map_or_else(|| "never".to_owned(), |(_, at)| at.to_string());
        let index = finished.map(|(index, _)| index);
        findings.add(format!("{place}.finish_ms"), format!("{from} to {to}"), actual, index);
    }
    Ok(())
}
