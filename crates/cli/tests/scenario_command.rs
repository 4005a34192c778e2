//! `hedgerow scenario` as its users run it: every scenario of the project on both stores, files
//! that are malformed, expectations that do not hold.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the scenarios are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(files.len() > 50, "too few scenarios to mean anything");
    files
}

fn hedgerow(args: &[&str], files: &[PathBuf]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.args(args).args(files).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Writes a changed copy of the happy path.
fn changed(folder: &Path, change: impl FnOnce(&mut Value)) -> PathBuf {
    let happy = scenarios().into_iter().find(|path| path.ends_with("d01-happy-path.json"));
    let bytes = std::fs::read(happy.expect("it is there")).expect("it reads");
    let mut scenario: Value = serde_json::from_slice(&bytes).expect("JSON");
    change(&mut scenario);
    let path = folder.join("changed.json");
    std::fs::write(&path, scenario.to_string()).expect("it is written");
    path
}

#[test]
fn every_scenario_holds_in_memory_and_on_a_sqlite_file() {
    let files = scenarios();
    for store in ["memory", "sqlite"] {
        let output = hedgerow(&["scenario", "test", "--strict", "--store", store], &files);
        let printed = text(&output.stdout);
        assert!(output.status.success(), "{store}: {printed}{}", text(&output.stderr));
        assert!(printed.ends_with(&format!("{} passed, 0 failed\n", files.len())), "{printed}");
    }
}

#[test]
fn both_stores_give_the_same_observations_a_line_for_each_file() {
    let files = scenarios();
    let memory = hedgerow(&["scenario", "run", "--json"], &files);
    let sqlite = hedgerow(&["scenario", "run", "--json", "--store", "sqlite"], &files);
    assert_eq!(memory.stdout, sqlite.stdout);
    let printed = text(&memory.stdout);
    assert_eq!(printed.lines().count(), files.len());
    for line in printed.lines() {
        let observation: Value = serde_json::from_str(line).expect("an observation is JSON");
        assert_eq!(observation["format"], "ota-campaign-observation/1");
        assert!(observation["log"].is_array());
    }
}

#[test]
fn an_expectation_that_does_not_hold_is_told_with_what_was_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = changed(folder.path(), |scenario| {
        scenario["expect"]["campaigns"]["c1"]["final"]["outcome"] = json!("failure");
    });
    let output = hedgerow(&["scenario", "test"], &[file]);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("failure") && printed.contains("success"), "{printed}");
    assert!(printed.ends_with("0 passed, 1 failed\n"), "{printed}");
}

#[test]
fn a_malformed_file_is_refused_with_its_place_and_the_others_are_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let malformed = changed(folder.path(), |scenario| {
        scenario["stimuli"][0]["at_ms"] = json!("soon");
    });
    let good = scenarios().remove(0);
    let output = hedgerow(&["scenario", "test"], &[malformed, good]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("stimuli[0]") && error.contains("changed.json"), "{error}");
    assert!(text(&output.stdout).ends_with("1 passed, 0 failed\n"));
}

#[test]
fn a_file_that_requires_rollout_policies_is_skipped_and_one_that_only_uses_them_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = changed(folder.path(), |scenario| {
        scenario["requires"] = json!(["policies"]);
        scenario["stimuli"][0]["do"] = json!("approve");
    });
    let output = hedgerow(&["scenario", "run", "--json"], std::slice::from_ref(&file));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let observation: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(observation["scenario"], "d01-happy-path");
    let why = "it requires what this program cannot do: policies";
    assert_eq!(observation["skipped"], why);
    let output = hedgerow(&["scenario", "test"], std::slice::from_ref(&file));
    assert_eq!(output.status.code(), Some(0));
    let printed = text(&output.stdout);
    assert_eq!(printed, format!("skip  d01-happy-path: {why}\n0 passed, 0 failed, 1 skipped\n"));
    let output = hedgerow(&["scenario", "test", "--strict"], &[file]);
    assert_eq!(output.status.code(), Some(1));

    let file = changed(folder.path(), |scenario| {
        scenario["campaigns"][0]["policies"] = json!({"rate": {"per_minute": 1}});
    });
    let output = hedgerow(&["scenario", "run"], &[file]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("campaigns[0].policies.rate: this program has no"), "{error}");
}

#[test]
fn what_is_no_scenario_at_all_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases = [("", 2), ("{", 2), ("[]", 2), ("{\"format\": \"x/1\"}", 2), (deep.as_str(), 2)];
    for (content, status) in cases {
        let path = folder.path().join("bad.json");
        std::fs::write(&path, content).expect("it is written");
        let output = hedgerow(&["scenario", "run"], &[path]);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
        assert!(text(&output.stderr).starts_with("error: "), "{}", text(&output.stderr));
    }
    let output = hedgerow(&["scenario", "run"], &[folder.path().join("none.json")]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("none.json"));
    assert_eq!(hedgerow(&["scenario", "run"], &[]).status.code(), Some(2));
}

#[test]
fn a_run_without_json_is_a_timeline_for_people() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = changed(folder.path(), |_| {});
    let output = hedgerow(&["scenario", "run"], &[file]);
    assert!(output.status.success());
    let printed = text(&output.stdout);
    assert!(printed.contains("campaign is finished: success"), "{printed}");
}
