//! The judge: what a run of a scenario showed is compared with what the scenario expects of it.
//!
//! Whether every rule was kept is not its business: the judge of the simulation has looked on while
//! the scenario ran, and the store was audited at its end. What they found stands in the verdict, too.
//!
//! # What became of the invariants of a log
//!
//! The format of scenarios lists invariants, I0 to I22, that whoever has nothing but an observation
//! can look at; `check.py`, which comes with the format, does. Here each follows from what is looked at
//! anyway, on events and calls instead of their retelling:
//!
//! | Of an observation | Follows from |
//! |---|---|
//! | I0 the log is in the order of time and ends in time | nothing: it is about the file. Entries are written as things happen, and nothing happens after the end |
//! | I1 one snapshot, without duplicates, and no other targets | `fixed_snapshot` |
//! | I2 a campaign goes only to a status that may follow | `pause`, which has the table |
//! | I3 a finished campaign never changes, and only it has an outcome | `pause`, `cancel`; `state_is_fold` for the outcome |
//! | I4 success within the failure limit and nothing open, failure beyond | `failure_limit`, `nothing_to_do` |
//! | I5 a settled target never changes, an open one goes back only if it was refused, its first request failed or its resend is kept back | `forward_only` and `state_is_fold`; `believed` for a refusal and a failed request, `resends` for what is kept back |
//! | I6 no more targets and operations open than the limit in force allows | `in_flight_bound`; what leaves has been recorded: `record_then_act` |
//! | I7 no request to a settled target | `record_then_act` |
//! | I8 another operation only if the former came to nothing, so often, after a delay | `one_operation`, `still_running`, `derived_id`, `deferral` |
//! | I9 an operation is not requested more often than retries and restarts allow | `resends`, which also wants a load before a request is sent again after one; `record_then_act` |
//! | I10 first requests only while the campaign is in progress | `pause`, `failure_limit`, `cancel`, when the start is recorded, which has to leave: `record_then_act` |
//! | I11 requests only to devices that are online | `online_first`; `resends` for what is repeated |
//! | I12 no device is called twice in one instant, nor in a busy loop | `record_then_act`: each request was decided; `resends` and `deferral`: after a time |
//! | I13 never two open operations of one device | `one_operation` |
//! | I14 a Cancel was asked for, and for an open operation | `cancel`, `record_then_act` |
//! | I21 a contradiction is the first, of a settled target, a real one, within a day | `contradiction` |
//! | I22 no request after a report, unless the device has come back | `resends`, `forgotten` |
//!
//! All arithmetic is exact.

mod campaign_state;
mod expectations;
mod log;
mod loose;
mod render;
mod requests;
mod verdict;

use serde_json::{Map, Value};

use self::log::Record;
use self::loose::{Unusable, Usable, members, object, same};
pub use self::verdict::{Finding, Rule, Strictness, Verdict};
use super::format::Scenario;
use super::runner::Played;

/// Judges a run: whether it showed what its scenario expects, and whether every rule was kept.
#[must_use]
pub fn judge(scenario: &Scenario, played: &Played, strictness: Strictness) -> Verdict {
    let broken = Finding::of_run(scenario, played);
    if played.violation.is_some() {
        // The run was cut short: what is missing in its log says nothing.
        return Verdict { failures: broken, ..Verdict::default() };
    }
    let mut verdict = compare(scenario, &played.log, strictness);
    verdict.failures.extend(broken);
    verdict
}

/// Compares a log, which any program may have written, with what a scenario expects of it, and with
/// nothing else. A log that lacks what is needed for that is unusable, which fails.
#[must_use]
pub fn compare(scenario: &Scenario, log: &[Value], strictness: Strictness) -> Verdict {
    let mut verdict = Verdict::default();
    if let Err(reason) = fill(scenario, log, &mut verdict) {
        verdict.failures.push(Finding::unusable(&reason));
    }
    if strictness == Strictness::Strict {
        verdict.failures.extend(verdict.soft.iter().cloned());
    }
    verdict
}

fn fill(scenario: &Scenario, log: &[Value], verdict: &mut Verdict) -> Usable<()> {
    let log = log::read(log)?;
    let nothing = Value::Object(Map::new());
    let expect = object(scenario.expect.as_ref().unwrap_or(&nothing))?;
    for (campaign, expect) in members(expect, "campaigns")? {
        expectations::check(scenario, campaign, expect, &log, &mut verdict.failures)?;
    }
    if let Some(soft) = expect.get("soft") {
        for (campaign, expect) in members(object(soft)?, "campaigns")? {
            expectations::check(scenario, campaign, expect, &log, &mut verdict.soft)?;
        }
    }
    check_commands(expect, &log, &mut verdict.failures)
}

fn check_commands(
    expect: &Map<String, Value>,
    log: &[Record<'_>],
    findings: &mut Vec<Finding>,
) -> Usable<()> {
    for (stimulus, want) in members(expect, "commands")? {
        let mut given = None;
        for entry in log.iter().filter(|entry| entry.kind == "command") {
            let number = index(stimulus)?;
            if same(entry.field("stimulus")?, &Value::from(number)) {
                given = Some(*entry);
                break;
            }
        }
        let mut check = |key: &str, want: &Value| {
            let got = given.map_or(&Value::Null, |entry| entry.get(key));
            let fits = match key {
                // Only a program that says which field it refused can name the wrong one.
                "field" => got.is_null() || same(got, want),
                _ => given.is_some() && same(got, want),
            };
            if !fits {
                let what = format!("command {stimulus}: {key}");
                let finding = Finding::expectation(None, what, want, got);
                findings.push(finding.near(given.as_ref()));
            }
        };
        match want {
            Value::String(_) => check("result", want),
            want => object(want)?.iter().for_each(|(key, want)| check(key, want)),
        }
    }
    Ok(())
}

/// The index of a stimulus, a whole number in decimal digits.
fn index(text: &str) -> Usable<i64> {
    let digits = text.trim().replace('_', "");
    digits.parse().map_err(|_| Unusable(format!("{text:?} is not the index of a stimulus")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hedgerow_core::{StreamId, Timestamp};
    use serde_json::json;

    use super::*;
    use crate::scenario::runner::{campaign_id, device_id};
    use crate::simulate::{Audit, Invariant, Violation};

    #[test]
    fn what_did_not_hold_is_told_with_its_names_and_its_place_and_nothing_else_counts() {
        let scenario = Scenario::from_value(&json!({
            "format": "ota-campaign-scenario/1", "id": "planted",
            "fleet": {"devices": [{"id": "d1"}]}, "campaigns": [{"id": "c1", "rollout": {}}],
            "stimuli": [], "run_until_ms": 100_000,
            "expect": {"campaigns": {"c1": {"final": {"status": "finished"}}}},
        }))
        .unwrap();
        let violation = Violation {
            invariant: Invariant::RecordThenAct,
            rule: Invariant::RecordThenAct.rule(),
            at: Timestamp::from_millis(5),
            stream: Some(StreamId::Campaign(campaign_id("c1"))),
            device: Some(device_id("d1")),
            message: "request 2 leaves, 1 are recorded".to_owned(),
        };
        let log = vec![
            json!({"at_ms": 5, "kind": "request", "campaign": "c1"}),
            json!({"at_ms": 5, "kind": "request", "campaign": "c2"}),
        ];
        let device_names = BTreeMap::from([(device_id("d1"), "d1".to_owned())]);
        let audit = Audit::default();
        let played = Played { log, violation: Some(violation), audit, device_names };
        let verdict = judge(&scenario, &played, Strictness::Strict);
        let told: Vec<String> = verdict.failures.iter().map(ToString::to_string).collect();
        let expected = "record_then_act (E4) of c1 at 5 ms: expected what the rule says, \
                        seen device d1: request 2 leaves, 1 are recorded";
        assert_eq!(told, [expected]);
        assert_eq!(verdict.failures[0].entries, [0]);
    }
}
