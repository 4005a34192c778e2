//! The judge: compares an observation with what its scenario expects and with the invariants that
//! every run keeps.
//!
//! It knows nothing of the engine, and it judges logs of any author: a log that lacks what a check
//! needs is unusable, which fails, and a log with more than the format names is fine. All
//! arithmetic is exact.

mod campaign_state;
mod expectations;
mod fleet;
mod invariants;
mod log;
mod loose;
mod operations;
mod presence;
mod render;
mod requests;
mod settings;
mod verdict;

use serde_json::{Map, Value};

use self::fleet::FleetChecks;
use self::invariants::CampaignChecks;
use self::log::Record;
use self::loose::{Unusable, Usable, members, object, same, unusable};
use self::presence::Presence;
use self::settings::Settings;
pub use self::verdict::{Finding, Rule, Strictness, Verdict};
use super::format::{Action, Scenario};
use super::observation::{self, Observation};

/// Judges what a run showed.
///
/// A scenario without expectations is judged by the invariants alone.
#[must_use]
pub fn judge(scenario: &Scenario, observation: &Observation, strictness: Strictness) -> Verdict {
    match serde_json::to_value(observation) {
        Ok(observation) => judge_foreign(scenario, &observation, strictness),
        // An observation is texts and numbers: all of them are JSON.
        Err(error) => Verdict {
            failures: vec![Finding::unusable(&Unusable(error.to_string()))],
            ..Verdict::default()
        },
    }
}

/// Judges an observation that any program may have written.
#[must_use]
pub fn judge_foreign(scenario: &Scenario, observation: &Value, strictness: Strictness) -> Verdict {
    let mut verdict = Verdict::default();
    if let Err(reason) = fill(scenario, observation, &mut verdict) {
        verdict.failures.push(Finding::unusable(&reason));
    }
    if strictness == Strictness::Strict {
        verdict.failures.extend(verdict.soft.iter().cloned());
    }
    verdict
}

fn fill(scenario: &Scenario, observation: &Value, verdict: &mut Verdict) -> Usable<()> {
    let observation = object(observation)?;
    if loose::is_set(observation.get("skipped")) {
        verdict.skipped = observation.get("skipped").map(|why| match why {
            Value::String(why) => why.clone(),
            why => why.to_string(),
        });
        return Ok(());
    }
    let format = observation.get("format").unwrap_or(&Value::Null);
    if format != observation::FORMAT {
        return unusable(format!("the observation's format is {format}"));
    }
    let log = log::read(observation)?;
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
    check_commands(expect, &log, &mut verdict.failures)?;
    check_invariants(scenario, &log, &mut verdict.failures)
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

fn check_invariants(
    scenario: &Scenario,
    log: &[Record<'_>],
    findings: &mut Vec<Finding>,
) -> Usable<()> {
    FleetChecks::new(scenario).check(log, findings)?;
    let is_crash = |action: &Action| matches!(action, Action::CrashOn { .. });
    let crashes = scenario.stimuli.iter().filter(|stimulus| is_crash(&stimulus.action)).count();
    let presence = Presence::new(scenario, log);
    for definition in &scenario.campaigns {
        let entries = log::about(log, &definition.id);
        if entries.is_empty() {
            continue;
        }
        let settings = Settings::new(scenario, definition, log)?;
        CampaignChecks::new(&definition.id, &settings, &presence, crashes, &entries, findings)?
            .check(&entries)?;
    }
    Ok(())
}
