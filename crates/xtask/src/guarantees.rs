//! Writes `docs/guarantees.md`: each rule, what checks it, and how often that has been tried. The
//! names come from the checks themselves, the numbers from the last run of each tool.
//!
//! `cargo xtask guarantees --update` runs the tools and writes the page; without `--update` it only
//! looks whether the page names what there is, so that no check comes or goes unnoticed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::book::rule_links::{self, RULES};
use crate::external::{External, ExternalError};
use crate::report;
use crate::sabotage::LastResult;
use crate::step::Failure;
use crate::{fuzz, model, real_processes, sabotage, simulate};

const PAGE: &str = "docs/guarantees.md";
const NUMBERS: &str = "docs/guarantees.json";
const LAWS: &str = "crates/core/tests/laws";
const MODEL: &str = "crates/core/tests/model_check/audit.rs";
const INVARIANTS: &str = "crates/sim/src/simulate/invariant.rs";
const DEFECTS: &str = "crates/xtask/sabotage";
/// Stories that each law is tried on.
const CASES: &str = "10000";

/// Why the page could not be written or is not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum GuaranteesError {
    #[error(transparent)]
    External(#[from] ExternalError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{tool} printed what could not be understood: {text}")]
    Output { tool: &'static str, text: String },
    #[error(
        "{NUMBERS} does not hold what the tools counted: {source}; write it anew with `cargo xtask guarantees --update`"
    )]
    Numbers { source: serde_json::Error },
    #[error(
        "no {what} was found in {place}: was it renamed? Then tell crates/xtask/src/guarantees.rs"
    )]
    Nothing { what: &'static str, place: &'static str },
    #[error(
        "{PAGE} is not what the checks and {NUMBERS} say: write it anew with `cargo xtask guarantees --update` (the tools run for many minutes), or with `--page` from the numbers of the last run"
    )]
    Outdated,
}

/// What the tools counted, kept beside the page.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Numbers {
    /// The commit that was tried.
    commit: String,
    /// Random stories that each law was tried on.
    law_cases: u64,
    simulation: Simulation,
    /// Different states, and the steps between them.
    model_states: u64,
    model_steps: u64,
    /// Of real processes: what was tried how often.
    #[serde(default)]
    processes: BTreeMap<String, u64>,
    /// For each defect, how many seeds it took.
    sabotage: BTreeMap<String, u32>,
    /// For each defect that a log alone shows, the invariant.
    #[serde(default)]
    sabotage_in_log: BTreeMap<String, String>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Simulation {
    seeds: u64,
    inputs: u64,
    events: u64,
    faults: u64,
    virtual_hours: u64,
}

/// What there is to check one rule.
#[derive(Default)]
struct Checks {
    laws: Vec<String>,
    invariants: Vec<String>,
    model: Vec<String>,
    /// Whether a log alone shows it.
    audit: bool,
    defects: Vec<String>,
}

/// Compares the page with the checks that there are.
pub(crate) fn check(root: &Path) -> Result<(), GuaranteesError> {
    let written = read(&root.join(PAGE))?;
    if written == page(root, &numbers(root)?)? { Ok(()) } else { Err(GuaranteesError::Outdated) }
}

/// Writes the page anew from the numbers of the last run.
pub(crate) fn rewrite(root: &Path) -> Result<(), GuaranteesError> {
    let page = page(root, &numbers(root)?)?;
    write(&root.join(PAGE), &page)
}

/// Runs the tools, keeps their numbers, and writes the page.
pub(crate) fn update(root: &Path) -> Result<(), Failure> {
    let git = External::program(Path::new("git")).arguments(["rev-parse", "--short", "HEAD"]);
    let commit = git.directory(root).read()?.trim().to_owned();
    report::line("the laws");
    External::cargo(["test", "--quiet", "--package", "hedgerow-core", "--test", "laws"])
        .environment("HEDGEROW_CASES", CASES)
        .directory(root)
        .run()?;
    let law_cases = CASES.parse().unwrap_or_default();
    report::line("the model");
    let (model_states, model_steps) = explored(root)?;
    report::line("the simulation");
    let simulation = simulated(root)?;
    report::line("the sabotage");
    let sabotage = sabotaged(root)?;
    report::line("real processes");
    let processes = real_processes::tried(root)?;
    let numbers = Numbers {
        commit,
        law_cases,
        simulation,
        model_states,
        model_steps,
        processes,
        sabotage: sabotage.seeds,
        sabotage_in_log: sabotage.in_log,
    };
    Ok(keep(root, &numbers)?)
}

fn sabotaged(root: &Path) -> Result<LastResult, Failure> {
    sabotage::check(root)?;
    Ok(sabotage::last_result(root).unwrap_or_default())
}

/// Plants the defects only.
pub(crate) fn update_sabotage(root: &Path) -> Result<(), Failure> {
    let LastResult { seeds, in_log } = sabotaged(root)?;
    let numbers = Numbers { sabotage: seeds, sabotage_in_log: in_log, ..numbers(root)? };
    Ok(keep(root, &numbers)?)
}

/// Runs the real processes only.
pub(crate) fn update_processes(root: &Path) -> Result<(), Failure> {
    let processes = real_processes::tried(root)?;
    Ok(keep(root, &Numbers { processes, ..numbers(root)? })?)
}

fn keep(root: &Path, numbers: &Numbers) -> Result<(), GuaranteesError> {
    let text = serde_json::to_string_pretty(numbers).unwrap_or_default();
    write(&root.join(NUMBERS), &format!("{text}\n"))?;
    rewrite(root)
}

fn explored(root: &Path) -> Result<(u64, u64), GuaranteesError> {
    let text = model::larger_bounds(root).read()?;
    let numbers = text.lines().find_map(|line| {
        let (states, rest) = line.split_once(" different states, reached in ")?;
        let states = states.split_whitespace().last()?.parse().ok()?;
        Some((states, rest.split_once(" steps")?.0.parse().ok()?))
    });
    numbers.ok_or(GuaranteesError::Output { tool: "the model checker", text })
}

fn simulated(root: &Path) -> Result<Simulation, GuaranteesError> {
    let text = simulate::as_json(root)?;
    let summary: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let counted = summary.and_then(|summary| {
        let count = |name: &str| summary.get(name)?.as_u64();
        let faults = summary.get("faults")?.as_object()?;
        Some(Simulation {
            seeds: count("seeds")?,
            inputs: count("inputs")?,
            events: count("events")?,
            faults: faults.values().filter_map(serde_json::Value::as_u64).sum(),
            virtual_hours: count("virtual_ms")? / 3_600_000,
        })
    });
    counted.ok_or(GuaranteesError::Output { tool: "the simulation", text })
}

fn numbers(root: &Path) -> Result<Numbers, GuaranteesError> {
    let text = read(&root.join(NUMBERS))?;
    serde_json::from_str(&text).map_err(|source| GuaranteesError::Numbers { source })
}

/// The page, from the checks that there are and what was counted.
fn page(root: &Path, numbers: &Numbers) -> Result<String, GuaranteesError> {
    let rules = rules(root)?;
    let mut checks: BTreeMap<String, Checks> = BTreeMap::new();
    for (of, law) in laws(root)? {
        for rule in of {
            checks.entry(rule).or_default().laws.push(law.clone());
        }
    }
    for (of, invariant) in quoted_pairs(root, INVARIANTS, "invariant", invariant)? {
        for rule in each_rule(&of, &rules) {
            checks.entry(rule).or_default().invariants.push(invariant.clone());
        }
    }
    for (rule, _) in quoted_pairs(root, INVARIANTS, "invariant in a log", in_log)? {
        checks.entry(rule).or_default().audit = true;
    }
    for (rule, promise) in quoted_pairs(root, MODEL, "promise", promise)? {
        checks.entry(rule).or_default().model.push(promise);
    }
    let defects = sabotage::named(&root.join(DEFECTS)).unwrap_or_default();
    for (name, rules) in &defects {
        for rule in rules.split(", ") {
            checks.entry(rule.to_owned()).or_default().defects.push(name.clone());
        }
    }
    let rendered = render(&rules, &checks, &defects, numbers);
    let numbers: Vec<&str> = rules.iter().map(|(number, _)| number.as_str()).collect();
    Ok(rule_links::linked(&rendered, &numbers, "rules.md"))
}

fn render(
    rules: &[(String, String)],
    checks: &BTreeMap<String, Checks>,
    defects: &[(String, String)],
    numbers: &Numbers,
) -> String {
    let simulation = &numbers.simulation;
    let mut page = format!(
        "# Guarantees\n\n\
         Each rule, and what tries to break it. This page is written by `cargo xtask guarantees \
         --update`; the numbers are those of its last run, on commit `{commit}`. The build fails \
         when the page names a check that is gone, or lacks one that was added.\n\n\
         | What | How much was tried | Again, with |\n|---|---|---|\n\
         | **Laws**: random campaigns, inputs and crashes on the core | {cases} stories for each law | `cargo test -p hedgerow-core --test laws` |\n\
         | **Simulation**: the real engine and store, a fleet and faults from a seed | {seeds} seeds, {inputs} inputs, {events} events each judged, {faults} faults, {hours} simulated hours | `hedgerow simulate --seeds {range} --profile mixed` |\n\
         | **Model**: every order of what can happen, within small bounds | {states} different states, {steps} steps | `cargo xtask model` |\n\
         | **Real processes** (E4, E5, E8): killed, stopped, two at a time, without room, without permission; the campaign ends as one left alone, and its log stands up to an audit | {processes} | `HEDGEROW_ROUNDS={rounds} cargo test -p hedgerow --test real_processes` |\n\
         | **Fuzzing**: bytes from outside | {runs} inputs | `cargo xtask fuzz` |\n\
         | **Sabotage**: deliberate defects that the simulation, or a test that the patch names, must find | {found} of {planted} found | `cargo xtask sabotage` |\n\n\
         ## Rule by rule\n\n\
         | Rule | Promise | Laws | Simulation | Model | Audit | Defects found |\n|---|---|---|---|---|---|---|\n",
        commit = numbers.commit,
        cases = grouped(numbers.law_cases),
        seeds = grouped(simulation.seeds),
        inputs = grouped(simulation.inputs),
        events = grouped(simulation.events),
        faults = grouped(simulation.faults),
        hours = grouped(simulation.virtual_hours),
        range = simulate::SEEDS,
        states = grouped(numbers.model_states),
        steps = grouped(numbers.model_steps),
        processes = tried(&numbers.processes),
        rounds = real_processes::ROUNDS,
        runs = grouped(fuzz::runs()),
        found = numbers.sabotage.len(),
        planted = defects.len(),
    );
    let none = Checks::default();
    for (rule, promise) in rules {
        let of = checks.get(rule).unwrap_or(&none);
        let found = of.defects.iter().filter(|name| numbers.sabotage.contains_key(*name)).count();
        let found = match (found, of.defects.len()) {
            (_, 0) => String::new(),
            (found, planted) => format!("{found} of {planted}"),
        };
        let _ = writeln!(
            page,
            "| {rule} | {promise} | {} | {} | {} | {} | {found} |",
            listed(&of.laws),
            listed(&of.invariants),
            if of.model.is_empty() { "" } else { "yes" },
            if of.audit { "yes" } else { "" },
        );
    }
    page.push_str(
        "\nLaws are tests of `crates/core/tests/laws`, named as here. The invariants of the \
         simulation are those of `hedgerow simulate`; where Audit says yes, \
         [`hedgerow audit`](audit.md) looks at what a log alone can show of the rule, in your logs too. Every rule is looked at \
         in the scenarios and tests that [the rules](rules.md) name, too.\n\n\
         ## Defects that were planted\n\n\
         Each is a patch in `crates/xtask/sabotage`, applied to a copy of the sources: a mistake \
         that a fleet manager can make, and some do.\n\n\
         | Defect | Rules | Seeds until found | What an audit finds in the log alone |\n|---|---|---|---|\n",
    );
    for (name, rules) in defects {
        let seeds = match numbers.sabotage.get(name) {
            None => "not yet run".to_owned(),
            Some(0) => "found by a test".to_owned(),
            Some(seeds) => seeds.to_string(),
        };
        let in_log = numbers.sabotage_in_log.get(name).map(|invariant| invariant.replace('_', " "));
        let (name, in_log) = (name.replace('-', " "), in_log.unwrap_or_default());
        let _ = writeln!(page, "| {name} | {rules} | {seeds} | {in_log} |");
    }
    page
}

/// What was tried how often, as one would say it.
fn tried(counts: &BTreeMap<String, u64>) -> String {
    let items = counts.iter().map(|(what, count)| format!("{} {what}", grouped(*count)));
    items.collect::<Vec<_>>().join(", ")
}

fn listed(names: &[String]) -> String {
    let names: BTreeSet<&String> = names.iter().collect();
    let words: Vec<String> = names.into_iter().map(|name| name.replace('_', " ")).collect();
    words.join("; ")
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Number and summary of each rule.
fn rules(root: &Path) -> Result<Vec<(String, String)>, GuaranteesError> {
    let text = read(&root.join(RULES))?;
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let rule = rule_links::number(cells.next()?.trim())?;
        Some((rule.to_owned(), cells.next()?.trim().to_owned()))
    });
    some(rows.collect(), "rule", RULES)
}

/// Whether this is the number of a rule, such as `D7`.
fn is_rule(text: &str) -> bool {
    rule_links::number(text) == Some(text)
}

/// The rules that a text such as `D8`, or `D7 to D17`, names.
fn each_rule(text: &str, rules: &[(String, String)]) -> Vec<String> {
    let place = |rule: &str| rules.iter().position(|(known, _)| known == rule.trim());
    let (first, last) = text.split_once(" to ").unwrap_or((text, text));
    match (place(first), place(last)) {
        (Some(first), Some(last)) if first <= last => {
            rules[first..=last].iter().map(|(rule, _)| rule.clone()).collect()
        }
        _ => Vec::new(),
    }
}

/// Rules and rest of the name of each law: `d7_…`, `d8_d9_…`.
fn laws(root: &Path) -> Result<Vec<(Vec<String>, String)>, GuaranteesError> {
    let folder = root.join(LAWS);
    let failed = |source| GuaranteesError::File { path: folder.clone(), source };
    let mut laws = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        laws.extend(read(&path)?.lines().filter_map(law));
    }
    laws.sort();
    some(laws, "law", LAWS)
}

fn law(line: &str) -> Option<(Vec<String>, String)> {
    let mut name = line.trim_start().strip_prefix("fn ")?.split('(').next()?;
    let mut rules = Vec::new();
    while let Some((rule, rest)) = name.split_once('_')
        && is_rule(&rule.to_uppercase())
    {
        rules.push(rule.to_uppercase());
        name = rest;
    }
    (!rules.is_empty()).then(|| (rules, name.to_owned()))
}

/// `Name = "key", "D1",` in the table of invariants.
fn invariant(line: &str) -> Option<(String, String)> {
    let mut quoted = line.split('"').skip(1).step_by(2);
    let (name, rule) = (quoted.next()?, quoted.next()?);
    line.contains(" = \"").then(|| (rule.to_owned(), name.to_owned()))
}

/// As [`invariant`], where the log of a store is evidence enough.
fn in_log(line: &str) -> Option<(String, String)> {
    invariant(line).filter(|_| line.ends_with(", Log,"))
}

/// `(Self::Bound, "D7: …"),` in the table of promises, which may be over two lines.
fn promise(line: &str) -> Option<(String, String)> {
    let text = line.split('"').nth(1)?;
    let (rule, promise) = text.split_once(": ")?;
    is_rule(rule).then(|| (rule.to_owned(), promise.to_owned()))
}

fn quoted_pairs(
    root: &Path,
    place: &'static str,
    what: &'static str,
    pair: impl Fn(&str) -> Option<(String, String)>,
) -> Result<Vec<(String, String)>, GuaranteesError> {
    let pairs = read(&root.join(place))?.lines().filter_map(pair).collect();
    some(pairs, what, place)
}

fn some<T>(
    found: Vec<T>,
    what: &'static str,
    place: &'static str,
) -> Result<Vec<T>, GuaranteesError> {
    if found.is_empty() { Err(GuaranteesError::Nothing { what, place }) } else { Ok(found) }
}

fn read(path: &Path) -> Result<String, GuaranteesError> {
    fs::read_to_string(path)
        .map_err(|source| GuaranteesError::File { path: path.to_path_buf(), source })
}

fn write(path: &Path, text: &str) -> Result<(), GuaranteesError> {
    fs::write(path, text)
        .map_err(|source| GuaranteesError::File { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_checks_are_read_from_their_tables() {
        let pair = |rule: &str, name: &str| Some((rule.to_owned(), name.to_owned()));
        let (rules, name) = law("    fn d8_d9_in_time(story in story()) {").unwrap_or_default();
        assert_eq!((rules.join(" "), name.as_str()), ("D8 D9".to_owned(), "in_time"));
        assert_eq!(law("fn decide_twice() {"), None);
        assert_eq!(invariant(r#"    Pause = "pause", "D16", Log,"#), pair("D16", "pause"));
        assert_eq!(in_log(r#"    Pause = "pause", "D16", Log,"#), pair("D16", "pause"));
        assert_eq!(in_log(r#"    Live = "live", "D16", World,"#), None);
        assert_eq!(promise(r#"(Self::Fold, "E1: it folds"),"#), pair("E1", "it folds"));
        assert_eq!(promise(r#"property("succeeds: at last")"#), None);
    }

    #[test]
    fn a_span_of_rules_names_all_of_them() {
        let rules = ["D7", "D8", "D9", "D10"].map(|rule| (rule.to_owned(), String::new()));
        assert_eq!(each_rule("D8 to D10", &rules), ["D8", "D9", "D10"]);
        assert_eq!(each_rule("D7", &rules), ["D7"]);
        assert!(each_rule("D99", &rules).is_empty());
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
