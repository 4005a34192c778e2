//! What a scenario expects of one campaign, except its requests.

use serde_json::{Map, Value};

use super::campaign_state::StateCheck;
use super::log::{self, Record};
use super::loose::{
    Unusable, Usable, count_fits, elements_at, members, object, range, same, sorted, within,
};
use super::requests::RequestCheck;
use super::verdict::Finding;
use crate::scenario::format::Scenario;

/// Checks everything that is expected of a campaign.
pub(super) fn check(
    scenario: &Scenario,
    campaign: &str,
    expect: &Value,
    log: &[Record<'_>],
    findings: &mut Vec<Finding>,
) -> Usable<()> {
    let expect = object(expect)?;
    let log = log::about(log, campaign);
    if let Some(want) = expect.get("final") {
        let end = Value::from(scenario.run_until_ms);
        StateCheck::new(campaign, "final".to_owned(), &log, &end, findings)?.check(want)?;
    }
    for want in elements_at(expect, "checkpoints")? {
        let at_ms = object(&want)?.get("at_ms");
        let at_ms = at_ms.ok_or_else(|| Unusable("a checkpoint has no at_ms".to_owned()))?;
        let place = format!("checkpoint at {at_ms} ms");
        StateCheck::new(campaign, place, &log, at_ms, findings)?.check(&want)?;
    }
    if let Some(want) = expect.get("snapshot") {
        check_snapshot(campaign, want, &log, findings)?;
    }
    if let Some(want) = expect.get("status_path") {
        check_path(campaign, want, &log, findings)?;
    }
    if let Some(want) = expect.get("finish_ms") {
        check_finish(campaign, want, &log, findings)?;
    }
    if let Some(requests) = expect.get("requests") {
        RequestCheck::new(campaign, &log, findings).check(object(requests)?)?;
    }
    check_contradictions(campaign, expect, &log, findings)?;
    check_cancel_requests(campaign, expect, &log, findings)
}

/// As many as there are, in any order within an instant.
fn check_contradictions(
    campaign: &str,
    expect: &Map<String, Value>,
    log: &[Record<'_>],
    findings: &mut Vec<Finding>,
) -> Usable<()> {
    let Some(want) = expect.get("contradictions") else { return Ok(()) };
    let mut seen: Vec<_> = log.iter().filter(|entry| entry.kind == "contradiction").collect();
    let number = seen.len();
    let wanted = elements_at(expect, "contradictions")?;
    let mut missing = number != wanted.len();
    for one in &wanted {
        let one = object(one)?;
        let mut found = None;
        for (place, entry) in seen.iter().enumerate() {
            let mut fits = true;
            for (key, want) in one {
                fits &= match (key.as_str(), want.is_array()) {
                    ("at_ms", true) => {
                        let (from, to) = range(want)?;
                        within(&from, entry.at, &to)?
                    }
                    _ => same(want, entry.get(key)),
                };
            }
            if fits && found.is_none() {
                found = Some(place);
            }
        }
        match found {
            Some(place) => drop(seen.remove(place)),
            None => missing = true,
        }
    }
    if missing {
        let finding = Finding::expectation(Some(campaign), "contradictions", want, number);
        findings.push(finding.near(seen.first().copied()));
    }
    Ok(())
}

fn check_snapshot(
    campaign: &str,
    want: &Value,
    log: &[Record<'_>],
    findings: &mut Vec<Finding>,
) -> Usable<()> {
    let taken: Vec<_> = log.iter().filter(|entry| entry.kind == "snapshot").collect();
    let got = match taken.as_slice() {
        [entry] => sorted(entry.field("devices")?)?,
        _ => Value::Null,
    };
    let want = sorted(want)?;
    if !same(&want, &got) {
        let seen = match taken.len() {
            1 => got.to_string(),
            number => format!("{number} snapshots"),
        };
        let finding = Finding::expectation(Some(campaign), "snapshot", want, seen);
        findings.push(finding.near(taken.first().copied()));
    }
    Ok(())
}

fn check_path(
    campaign: &str,
    want: &Value,
    log: &[Record<'_>],
    findings: &mut Vec<Finding>,
) -> Usable<()> {
    let mut path: Vec<Value> = Vec::new();
    let mut latest = None;
    for entry in log.iter().filter(|entry| entry.kind == "campaign") {
        let status = entry.field("status")?;
        if status != "idle" && !path.last().is_some_and(|last| same(last, status)) {
            path.push(status.clone());
            latest = Some(entry);
        }
    }
    let path = Value::Array(path);
    if !same(want, &path) {
        let finding = Finding::expectation(Some(campaign), "status_path", want, path);
        findings.push(finding.near(latest));
    }
    Ok(())
}

fn check_finish(
    campaign: &str,
    want: &Value,
    log: &[Record<'_>],
    findings: &mut Vec<Finding>,
) -> Usable<()> {
    let mut finished = None;
    for entry in log.iter().filter(|entry| entry.kind == "campaign") {
        if entry.is("status", "finished")? {
            finished = finished.or(Some(entry));
        }
    }
    let (from, to) = range(want)?;
    let is_in_time = match finished {
        Some(entry) => within(&from, entry.at, &to)?,
        None => false,
    };
    if !is_in_time {
        let seen = finished.map_or_else(|| "never".to_owned(), |entry| entry.at_ms().to_string());
        let finding = Finding::expectation(Some(campaign), "finish_ms", want, seen);
        findings.push(finding.near(finished));
    }
    Ok(())
}

fn check_cancel_requests(
    campaign: &str,
    expect: &Map<String, Value>,
    log: &[Record<'_>],
    findings: &mut Vec<Finding>,
) -> Usable<()> {
    for (device, want) in members(expect, "cancel_requests")? {
        let mut number = 0;
        let mut latest = None;
        for entry in log.iter().filter(|entry| entry.kind == "cancel_request") {
            if entry.is("device", device)? {
                number += 1;
                latest = Some(entry);
            }
        }
        if !count_fits(want, Some(number))? {
            let what = format!("cancel_requests: {device}");
            let finding = Finding::expectation(Some(campaign), what, want, number);
            findings.push(finding.near(latest));
        }
    }
    Ok(())
}
