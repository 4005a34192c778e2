//! `hedgerow simulate` as people and tools call it.

use std::process::{Command, Output};

use serde_json::Value;

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .arg("simulate")
        .args(arguments)
        .output()
        .expect("the command runs")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn json(arguments: &[&str]) -> Value {
    let output = simulate(&[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn refused(arguments: &[&str]) -> String {
    let output = simulate(arguments);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn it_says_what_was_tried_and_that_every_invariant_held() {
    let output = simulate(&["--seeds", "0..6", "--profile", "hostile", "--jobs", "2"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("tried 6 seeds: "), "{text}");
    assert!(text.contains(" message_lost\n"), "{text}");
    assert!(text.contains("transitions of the operation taken"), "{text}");
    assert!(text.ends_with("every invariant held\n"), "{text}");
}

#[test]
fn the_same_seed_gives_the_same_log_in_memory_and_on_sqlite() {
    let hash = |store| {
        let report = json(&["--seed", "5", "--profile", "hostile", "--store", store]);
        report["report"]["log_hash"].as_str().expect("a hash").to_owned()
    };
    assert_eq!(hash("memory"), hash("sqlite"));
    assert_eq!(hash("memory").len(), 64);
    json(&["--seeds", "0..3", "--twice"]);
}

#[test]
fn without_faults_there_are_none() {
    let all = json(&["--seed", "3", "--profile", "hostile"]);
    assert!(all["report"]["faults"].as_u64().expect("a number") > 10);
    let some = json(&["--seed", "3", "--profile", "hostile", "--stop-faults-after", "4"]);
    assert_eq!(some["report"]["faults"], 4);
    assert_eq!(some["faults"].as_object().expect("faults").values().map(count).sum::<u64>(), 4);
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

#[test]
fn a_profile_can_come_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wet-string.json");
    let profile = r#"{"name": "wet string", "minutes": 20, "faults": {"message_lost": 300}}"#;
    std::fs::write(&path, profile).expect("it is written");
    let report = json(&["--seed", "1", "--profile", path.to_str().expect("UTF-8")]);
    assert_eq!(report["report"]["profile"], "wet string");
    let kinds: Vec<&String> = report["faults"].as_object().expect("faults").keys().collect();
    assert_eq!(kinds, ["message_lost"]);
}

#[test]
fn what_cannot_be_used_is_refused_with_what_can() {
    assert!(refused(&["--profile", "no-such-profile"]).contains("give calm, lossy, hostile"));
    assert!(refused(&["--seeds", "5..5"]).contains("such as 0..2000"));
    assert!(refused(&["--seeds", "0..2", "--plot", "x.svg"]).contains("--seed"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broken.json");
    std::fs::write(&path, r#"{"faults": {"message_lots": 3}}"#).expect("it is written");
    assert!(refused(&["--profile", path.to_str().expect("UTF-8")]).contains("message_lots"));
}

#[cfg(feature = "plot")]
#[test]
fn a_picture_of_a_seed_is_an_svg_with_all_that_it_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rollout.svg");
    json(&["--seed", "7", "--profile", "lossy", "--plot", path.to_str().expect("UTF-8")]);
    let picture = std::fs::read_to_string(&path).expect("it is there");
    assert!(picture.starts_with("<svg"), "{}", &picture[..60]);
    for part in ["successful", "in progress", "limits together", "a fault", "virtual minutes"] {
        assert!(picture.contains(part), "{part}");
    }
}
