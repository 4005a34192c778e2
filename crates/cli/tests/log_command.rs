//! `hedgerow log` and `hedgerow show` on the log of a demo, and on files that are none.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

fn hedgerow(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow")).args(args).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The log of a small demo, made once.
fn demo() -> &'static Path {
    static DEMO: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, db) = DEMO.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let db = folder.path().join("demo.db");
        let output = hedgerow(&["demo", "--devices", "60", "--json", "--db", path(&db)]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        (folder, db)
    });
    db
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn json(args: &[&str]) -> Value {
    let output = hedgerow(args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn campaign() -> String {
    let all = json(&["show", path(demo()), "--json"]);
    all[0]["campaign"].as_str().expect("an id").to_owned()
}

#[test]
fn a_log_prints_every_event_in_order_and_those_of_one_device() {
    let output = hedgerow(&["log", path(demo()), "--json"]);
    let printed = text(&output.stdout);
    let events: Vec<Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(events.iter().zip(1..).all(|(event, version)| event["version"] == version));
    assert_eq!(events[0]["type"], "campaign_created");
    let device = events[1]["data"]["devices"][0].as_str().expect("a device");
    let output = hedgerow(&["log", path(demo()), "--json", "--device", device]);
    let of_device = text(&output.stdout);
    assert!(of_device.lines().count() > 1);
    assert!(of_device.lines().all(|line| line.contains(device)));
    let by_campaign = hedgerow(&["log", path(demo()), "--json", "--campaign", &campaign()]);
    assert_eq!(text(&by_campaign.stdout), printed);
    let for_people = hedgerow(&["log", path(demo())]);
    assert_eq!(text(&for_people.stdout).lines().count(), events.len());
}

#[test]
fn a_state_is_shown_as_of_any_event() {
    let id = campaign();
    let now = json(&["show", path(demo()), &id, "--json"]);
    assert_eq!(now["status"], "finished");
    assert_eq!(now["targets"].as_array().map(Vec::len), Some(60));
    let first = json(&["show", path(demo()), &id, "--at", "1", "--json"]);
    assert_eq!(first["status"], "idle");
    assert_eq!(first["counts"]["total"], 0);
    let events = now["events"].as_u64().expect("a number");
    let middle = (events / 2).to_string();
    let half = json(&["show", path(demo()), &id, "--at", &middle, "--json"]);
    assert_eq!(half["status"], "in_progress");
    assert_eq!(half["events"], events / 2);
    let beyond = hedgerow(&["show", path(demo()), &id, "--at", &(events + 1).to_string()]);
    assert_eq!(beyond.status.code(), Some(1));
    assert!(text(&beyond.stderr).contains(&events.to_string()), "it says how far it goes");
}

#[test]
fn what_is_no_log_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = folder.path().join("foreign.db");
    std::fs::write(&foreign, "a letter to a friend, of some length, and nothing else at all")
        .expect("it is written");
    let before = std::fs::read(&foreign).expect("it reads");
    let missing = folder.path().join("missing.db");
    for command in ["log", "show"] {
        for file in [&foreign, &missing, &folder.path().to_owned()] {
            let output = hedgerow(&[command, path(file)]);
            assert_eq!(output.status.code(), Some(3), "{command} {}", file.display());
            let error = text(&output.stderr);
            assert!(error.starts_with("error: ") && error.contains(path(file)), "{error}");
        }
    }
    let demo = hedgerow(&["demo", "--db", path(&foreign)]);
    assert_eq!(demo.status.code(), Some(3), "{}", text(&demo.stderr));
    assert_eq!(std::fs::read(&foreign).expect("it reads"), before);
    assert!(!missing.exists());
}

#[test]
fn ids_that_do_not_exist_and_flags_that_contradict_the_file_are_refused() {
    let nobody = "00000000-0000-0000-0000-000000000000";
    for command in [
        ["show", path(demo()), nobody],
        ["log", path(demo()), "--campaign=00000000-0000-0000-0000-000000000000"],
    ] {
        let output = hedgerow(&command);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    }
    assert_eq!(hedgerow(&["show", path(demo()), "x"]).status.code(), Some(2));
    assert_eq!(hedgerow(&["log", path(demo()), "--device", "x"]).status.code(), Some(2));
    for flags in [["--devices", "61"], ["--seed", "9"], ["--max-pending", "3"]] {
        let output = hedgerow(&[&["demo", "--db", path(demo())], flags.as_slice()].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(flags[0]));
    }
    let again = hedgerow(&["demo", "--db", path(demo()), "--json"]);
    assert!(again.status.success(), "a demo that has ended says so once more");
}

#[test]
fn a_second_process_that_wants_to_run_campaigns_on_a_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("busy.db");
    let store = hedgerow_sqlite::SqliteStore::open(&db).expect("it opens");
    let output = hedgerow(&["demo", "--db", path(&db)]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("in use"), "{}", text(&output.stderr));
    drop(store);
}
