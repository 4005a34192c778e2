//! What a scenario expects of the answers to its commands.

use serde_json::Value;

use super::findings::Findings;
use super::values::{Judged, Number, members, number, same, short, wrong};
use super::view::{Entry, entries};

/// Compares the answers to commands, by the index of their stimulus, with the wanted ones.
pub(super) fn check(wanted: Option<&Value>, log: &[Value], findings: &mut Findings) -> Judged<()> {
    for (stimulus, wanted) in members(wanted)? {
        let place = format!("expect.commands.{stimulus}");
        let answer = answer_to(stimulus, log)?;
        if wanted.is_string() {
            check_key("result", wanted, answer, &place, findings)?;
        } else {
            for (key, wanted) in members(Some(wanted))? {
                check_key(key, wanted, answer, &place, findings)?;
            }
        }
    }
    Ok(())
}

fn answer_to<'a>(stimulus: &str, log: &'a [Value]) -> Judged<Option<Entry<'a>>> {
    for entry in entries(log) {
        if !entry.has_kind("command")? {
            continue;
        }
        let answered = entry.get("stimulus")?;
        let index = stimulus
            .trim()
            .parse()
            .map_err(|_| wrong(&Value::from(stimulus), "the index of a stimulus"))?;
        if number(answered).is_ok_and(|answered| answered == Number::Whole(index)) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

fn check_key(
    key: &str,
    wanted: &Value,
    answer: Option<Entry>,
    place: &str,
    findings: &mut Findings,
) -> Judged<()> {
    let actual = answer.map(|entry| entry.or_null(key)).transpose()?;
    let unmet = if key == "field" {
        // Not every program says which field is wrong.
        actual.is_some_and(|actual| !actual.is_null() && !same(actual, wanted))
    } else {
        !actual.is_some_and(|actual| same(actual, wanted))
    };
    if unmet {
        let seen = actual.map_or_else(|| "no answer".to_owned(), short);
        findings.add(
            format!("{place}.{key}"),
            short(wanted),
            seen,
            answer.map(|entry| entry.index),
        );
    }
    Ok(())
}
