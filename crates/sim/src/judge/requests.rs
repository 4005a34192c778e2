//! What a scenario expects of the requests that a campaign makes: how many, when, and in which
//! order.

use std::collections::BTreeSet;

use serde_json::Value;

use super::findings::Findings;
use super::values::{
    Judged, Key, amount_matches, compare, elements, is, member, members, number, optional, pair,
    same, short, truthy, within, wrong,
};
use super::view::{Entry, View};

/// Compares the requests of a campaign with the wanted ones.
pub(super) fn check(
    wanted: &Value,
    view: &View,
    place: &str,
    findings: &mut Findings,
) -> Judged<()> {
    let all = view.of_kind("request")?;
    if let Some(wanted) = optional(wanted, "total")? {
        check_amount(wanted, all.len(), format!("{place}.total"), all.last(), findings)?;
    }
    for (position, wanted) in elements(optional(wanted, "by")?)?.iter().enumerate() {
        let mut in_time = Vec::new();
        for entry in &all {
            if compare(entry.at()?, member(wanted, "at_ms")?)?.is_le() {
                in_time.push(*entry);
            }
        }
        let place = format!("{place}.by[{position}].total");
        check_amount(member(wanted, "total")?, in_time.len(), place, in_time.last(), findings)?;
    }
    for (device, wanted) in members(optional(wanted, "per_device")?)? {
        let requests = view.requests_to(&Value::from(device.as_str()))?;
        check_device(wanted, &requests, &format!("{place}.per_device.{device}"), findings)?;
    }
    for (position, chain) in elements(optional(wanted, "first_order")?)?.iter().enumerate() {
        let rule = format!("{place}.first_order[{position}]");
        check_first_order(chain, &all, &rule, findings)?;
    }
    for (position, chain) in elements(optional(wanted, "ok_order")?)?.iter().enumerate() {
        check_ok_order(chain, &all, format!("{place}.ok_order[{position}]"), findings)?;
    }
    Ok(())
}

fn check_amount(
    wanted: &Value,
    actual: usize,
    rule: String,
    latest: Option<&Entry>,
    findings: &mut Findings,
) -> Judged<()> {
    if !amount_matches(wanted, &Value::from(actual))? {
        findings.add(rule, short(wanted), actual.to_string(), latest.map(|entry| entry.index));
    }
    Ok(())
}

/// Whether a value is what counts as a whole number: a flag does, a fraction does not.
fn is_whole(value: &Value) -> bool {
    value.is_boolean() || value.is_i64() || value.is_u64()
}

fn check_device(
    wanted: &Value,
    requests: &[Entry],
    place: &str,
    findings: &mut Findings,
) -> Judged<()> {
    let latest = requests.last();
    if is_whole(wanted) {
        return check_amount(wanted, requests.len(), format!("{place}.total"), latest, findings);
    }
    if let Some(wanted) = optional(wanted, "total")? {
        check_amount(wanted, requests.len(), format!("{place}.total"), latest, findings)?;
    }
    if let Some(wanted) = optional(wanted, "ok")? {
        let mut accepted = 0;
        for entry in requests {
            accepted += usize::from(is(entry.get("result")?, "ok"));
        }
        check_amount(wanted, accepted, format!("{place}.ok"), latest, findings)?;
    }
    check_times(optional(wanted, "times")?, requests, place, findings)?;
    check_gaps(optional(wanted, "gaps")?, requests, place, findings)?;
    if let Some(wanted) = optional(wanted, "operations")? {
        let different = different_operations(requests)?;
        check_amount(wanted, different, format!("{place}.operations"), latest, findings)?;
    }
    if optional(wanted, "one_operation")?.is_some_and(truthy) {
        let different = different_operations(requests)?;
        let rule = format!("{place}.one_operation");
        check_amount(&Value::from(1), different, rule, latest, findings)?;
    }
    Ok(())
}

fn different_operations(requests: &[Entry]) -> Judged<usize> {
    let mut operations = BTreeSet::new();
    for entry in requests {
        operations.insert(Key::of(entry.get("operation")?)?);
    }
    Ok(operations.len())
}

fn check_times(
    wanted: Option<&Value>,
    requests: &[Entry],
    place: &str,
    findings: &mut Findings,
) -> Judged<()> {
    for (position, span) in elements(wanted)?.iter().enumerate() {
        let (from, to) = pair(span)?;
        let entry = requests.get(position);
        let in_time = match entry {
            Some(entry) => within(&from, number(entry.at()?)?, &to)?,
            None => false,
        };
        if !in_time {
            let actual = match entry {
                Some(entry) => entry.at()?.to_string(),
                None => "never".to_owned(),
            };
            let shown = entry.or(requests.last()).map(|entry| entry.index);
            findings.add(
                format!("{place}.times[{position}]"),
                format!("{from} to {to}"),
                actual,
                shown,
            );
        }
    }
    Ok(())
}

fn check_gaps(
    wanted: Option<&Value>,
    requests: &[Entry],
    place: &str,
    findings: &mut Findings,
) -> Judged<()> {
    for (position, span) in elements(wanted)?.iter().enumerate() {
        let (from, to) = pair(span)?;
        let (earlier, later) = (requests.get(position), requests.get(position + 1));
        let gap = match (earlier, later) {
            (Some(earlier), Some(later)) => {
                Some(number(later.at()?)?.minus(number(earlier.at()?)?))
            }
            _ => None,
        };
        let fits = match gap {
            Some(gap) => within(&from, gap, &to)?,
            None => false,
        };
        if !fits {
            let actual = gap.map_or_else(|| "no further request".to_owned(), |gap| gap.to_string());
            let shown = later.or(requests.last()).map(|entry| entry.index);
            findings.add(
                format!("{place}.gaps[{position}]"),
                format!("{from} to {to}"),
                actual,
                shown,
            );
        }
    }
    Ok(())
}

/// The first request to a device; with `accepted`, the first accepted one.
fn first<'a>(requests: &[Entry<'a>], device: &Value, accepted: bool) -> Judged<Option<Entry<'a>>> {
    for entry in requests {
        if same(entry.get("device")?, device) && (!accepted || is(entry.get("result")?, "ok")) {
            return Ok(Some(*entry));
        }
    }
    Ok(None)
}

fn check_first_order(
    chain: &Value,
    requests: &[Entry],
    rule: &str,
    findings: &mut Findings,
) -> Judged<()> {
    if chain.is_object() {
        return Err(wrong(chain, "a list"));
    }
    let mut firsts = Vec::new();
    for device in elements(Some(chain))? {
        Key::of(&device)?;
        let first = first(requests, &device, false)?.map(|entry| entry.index);
        firsts.push((device, first));
    }
    for neighbours in firsts.windows(2) {
        let [(earlier, earlier_first), (later, later_first)] = neighbours else { continue };
        let ordered = match (earlier_first, later_first) {
            (Some(earlier_first), Some(later_first)) => earlier_first <= later_first,
            _ => false,
        };
        if !ordered {
            let expected = format!("a first request to {earlier} before one to {later}");
            let actual = format!("{} and {}", entry_name(*earlier_first), entry_name(*later_first));
            findings.add(rule, expected, actual, later_first.or(*earlier_first));
        }
    }
    Ok(())
}

fn entry_name(index: Option<usize>) -> String {
    index.map_or_else(|| "none".to_owned(), |index| format!("entry {index}"))
}

fn check_ok_order(
    chain: &Value,
    requests: &[Entry],
    rule: String,
    findings: &mut Findings,
) -> Judged<()> {
    let mut firsts = Vec::new();
    for device in elements(Some(chain))? {
        firsts.push(first(requests, &device, true)?.map(|entry| entry.index));
    }
    if !firsts.is_sorted() || firsts.contains(&None) {
        let actual = firsts.iter().copied().map(entry_name).collect::<Vec<_>>().join(", ");
        let latest = firsts.iter().flatten().max().copied();
        findings.add(
            rule,
            format!("first accepted requests in the order {}", short(chain)),
            actual,
            latest,
        );
    }
    Ok(())
}
