//! Versions, requirements and gates against vectors made with Elixir (D5, D6).
//!
//! `HEDGEROW_VECTORS` names another folder with files of the same names to try as well.

use std::cmp::Ordering;
use std::path::PathBuf;

use hedgerow_core::{
    GateDecision, GatePolicy, PreReleases, Version, VersionRequirement, evaluate_gates,
    parse_version, precedence, same_build,
};
use serde_json::Value;

/// Runs `check` on every record of a file; it returns what is wrong, if anything.
fn for_each(file: &str, check: impl Fn(&Value) -> Option<String>) {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let other = std::env::var_os("HEDGEROW_VECTORS").map(PathBuf::from);
    for folder in std::iter::once(own).chain(other) {
        let text = std::fs::read_to_string(folder.join(file)).expect("the vectors are there");
        let wrong: Vec<String> = text
            .lines()
            .filter_map(|line| {
                let record: Value = serde_json::from_str(line).expect("a vector is JSON");
                check(&record).map(|problem| format!("{problem}: {line}"))
            })
            .collect();
        assert!(text.lines().count() > 100, "{file} has too few records to mean anything");
        assert!(wrong.is_empty(), "{} of {file} disagree:\n{}", wrong.len(), wrong.join("\n"));
    }
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().expect("a text")
}

// By value, so that what is compared can be made where it is.
#[allow(clippy::needless_pass_by_value)]
fn differs<T: PartialEq + std::fmt::Debug>(got: T, expected: T) -> Option<String> {
    (got != expected).then(|| format!("got {got:?}, expected {expected:?}"))
}

/// The identifiers of a pre-release: `n` those that are numbers, `s` the others.
fn pre_release(version: &Version) -> Value {
    let kind = |text: &str| if text.bytes().all(|b| b.is_ascii_digit()) { "n" } else { "s" };
    let identifiers = version.pre.split('.').filter(|text| !text.is_empty());
    identifiers.map(|text| serde_json::json!({ kind(text): text })).collect()
}

#[test]
fn versions_are_read_as_elixir_reads_them() {
    for_each("versions.jsonl", |record| {
        let read = parse_version(text(record, "input"));
        if let (Ok(version), true) = (&read, record["ok"] == true) {
            let numbers = [version.major, version.minor, version.patch].map(|n| n.to_string());
            let expected = ["major", "minor", "patch"].map(|field| text(record, field).to_owned());
            let build = Some(version.build.as_str()).filter(|build| !build.is_empty());
            return differs(numbers, expected)
                .or(differs(build, record["build"].as_str()))
                .or(differs(pre_release(version), record["pre"].clone()));
        }
        differs(Value::from(read.is_ok()), record["ok"].clone())
    });
}

#[test]
fn versions_with_a_number_above_64_bits_are_refused() {
    for_each("toolarge.jsonl", |record| {
        differs(parse_version(text(record, "input")).is_ok(), false)
    });
}

#[test]
fn requirements_are_read_as_elixir_reads_them() {
    for_each("requirements.jsonl", |record| {
        let read = text(record, "input").parse::<VersionRequirement>();
        differs(Value::from(read.is_ok()), record["ok"].clone())
    });
}

#[test]
fn versions_are_ordered_as_elixir_orders_them() {
    for_each("compare.jsonl", |record| {
        let [a, b]: [Version; 2] =
            ["a", "b"].map(|field| parse_version(text(record, field)).expect("a version"));
        let order = match precedence(&a, &b) {
            Ordering::Less => "lt",
            Ordering::Equal => "eq",
            Ordering::Greater => "gt",
        };
        let build_equal = Value::from(same_build(&a, &b));
        differs(order, text(record, "order"))
            .or(differs(build_equal, record["build_equal"].clone()))
    });
}

#[test]
fn requirements_match_what_they_match_in_elixir() {
    for_each("matches.jsonl", |record| {
        let pre_releases =
            if record["allow_pre"] == true { PreReleases::Allow } else { PreReleases::OnlyIfNamed };
        let requirement = text(record, "requirement").parse::<VersionRequirement>();
        let version = parse_version(text(record, "version"));
        let result = match (requirement, version) {
            (Err(_), _) => Value::from("invalid_requirement"),
            (_, Err(_)) => Value::from("invalid_version"),
            (Ok(requirement), Ok(version)) => requirement.matches(&version, pre_releases).into(),
        };
        differs(result, record["result"].clone())
    });
}

#[test]
fn the_gates_decide_as_the_table_says() {
    for_each("decisions.jsonl", |record| {
        let image = parse_version(text(record, "base_image")).expect("a version");
        let requirement = record["requirement"].as_str().map(|text| text.parse().expect("valid"));
        let policy = GatePolicy {
            force_downgrade: record["force_downgrade"] == true,
            enforce_version_requirement: record["enforce_version_requirement"] == true,
        };
        let current = record["current"].as_str();
        let decision = match evaluate_gates(current, &image, requirement.as_ref(), policy) {
            GateDecision::AlreadyUpToDate => "already_up_to_date",
            GateDecision::Refused(refusal) => refusal.reason(),
            GateDecision::Start => "start_operation",
        };
        differs(decision, text(record, "decision"))
    });
}
