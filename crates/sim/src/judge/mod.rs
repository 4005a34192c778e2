//! Says whether what was observed is what a scenario expects: the project's own judge of
//! observations, from any program.
//!
//! It works on raw JSON, because an observation that does not keep to its format must fail and not
//! stop the judge. It passes and fails exactly what the format's reference judge does, even where
//! that one takes a number for a flag; what that one cannot judge at all fails here with the rule
//! `observation`.

mod commands;
mod expectations;
mod findings;
mod invariants;
mod limits;
mod presence;
mod rational;
mod render;
mod requests;
mod shared_devices;
mod states;
mod values;
mod view;

use serde_json::Value;

use self::findings::Findings;
pub use self::findings::{Finding, Verdict};
use self::values::{Judged, elements, member, members, optional, or_null, short};

/// The format of the observations that can be judged.
const OBSERVATION_FORMAT: &str = "ota-campaign-observation/1";

/// Whether an unmet expectation about a side matter is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Mismatches with `expect.soft` are only reported.
    Lenient,
    /// Mismatches with `expect.soft` are failures.
    Strict,
}

/// Compares an observation with the expectations of its scenario and with the rules that hold for
/// every scenario.
///
/// ```
/// use hedgerow_sim::judge::{Strictness, judge};
/// use serde_json::json;
///
/// let scenario = json!({
///     "fleet": {"devices": []}, "campaigns": [], "stimuli": [], "run_until_ms": 1000, "expect": {},
/// });
/// let observation = json!({"format": "ota-campaign-observation/1", "log": []});
/// assert!(judge(&scenario, &observation, Strictness::Strict).passed());
/// assert!(!judge(&scenario, &json!(null), Strictness::Strict).passed());
/// ```
#[must_use]
pub fn judge(scenario: &Value, observation: &Value, strictness: Strictness) -> Verdict {
    match verdict(scenario, observation) {
        Ok(verdict) if strictness == Strictness::Strict => verdict.with_soft_as_failures(),
        Ok(verdict) => verdict,
        Err(unusable) => {
            Verdict::unusable("an observation that can be judged", &unusable.to_string())
        }
    }
}

fn verdict(scenario: &Value, observation: &Value) -> Judged<Verdict> {
    let format = or_null(observation, "format")?;
    if !values::is(format, OBSERVATION_FORMAT) {
        return Ok(Verdict::unusable(
            &format!("format {OBSERVATION_FORMAT:?}"),
            &format!("format {}", short(format)),
        ));
    }
    let log = elements(Some(member(observation, "log")?))?;
    let expect = member(scenario, "expect")?;
    let mut failures = Findings::new(&log);
    let mut soft = Findings::new(&log);
    for (campaign, wanted) in members(optional(expect, "campaigns")?)? {
        let place = format!("expect.campaigns.{campaign}");
        expectations::check(scenario, campaign, wanted, &place, &log, &mut failures)?;
    }
    if let Some(side_matters) = optional(expect, "soft")? {
        for (campaign, wanted) in members(optional(side_matters, "campaigns")?)? {
            let place = format!("expect.soft.campaigns.{campaign}");
            expectations::check(scenario, campaign, wanted, &place, &log, &mut soft)?;
        }
    }
    commands::check(optional(expect, "commands")?, &log, &mut failures)?;
    shared_devices::check(scenario, &log, &mut failures)?;
    invariants::check(scenario, &log, &mut failures)?;
    Ok(Verdict { failures: failures.into_list(), soft: soft.into_list() })
}
