//! `hedgerow version` as its users run it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    command.arg("version").args(arguments);
    command
}

fn ask(arguments: &[&str]) -> Output {
    command(arguments).stdin(Stdio::null()).output().expect("it runs")
}

fn status(arguments: &[&str]) -> Option<i32> {
    ask(arguments).status.code()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

/// Gives `input` to `hedgerow version QUESTION --jsonl`: its status and the lines of its output.
fn ask_lines(question: &str, input: &[u8]) -> (Option<i32>, Vec<Value>) {
    let mut child = command(&[question, "--jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads everything");
    let lines = text(&output.stdout).lines();
    let lines = lines.map(|line| serde_json::from_str(line).expect("each line is JSON"));
    (output.status.code(), lines.collect())
}

#[test]
fn the_exit_status_says_yes_or_no() {
    for (arguments, expected) in [
        (&["parse", "1.4.0-rc.1+b"][..], 0),
        (&["parse", "1.4"], 1),
        (&["requirement", "~> 1.2 or >= 3.0.0"], 0),
        (&["requirement", "^1.2"], 1),
        (&["compare", "1.0.0", "2.0.0"], 0),
        (&["match", "1.4.0", "~> 1.2"], 0),
        (&["match", "2.0.0", "~> 1.2"], 1),
        (&["match", "2.0.0", "^1.2"], 1),
        (&["match", "2.0.0-rc.1", ">= 1.0.0"], 0),
        (&["match", "2.0.0-rc.1", ">= 1.0.0", "--pre-releases", "only-if-named"], 1),
        (&["gate", "--image", "2.0.0", "--current", "1.0.0"], 0),
        (&["gate", "--image", "2.0.0", "--current", "2.0.0"], 0),
        (&["gate", "--image", "2.0.0"], 1),
        (&["gate", "--image", "2.0.0", "--current", "-1"], 1),
        (&["gate", "--image", "2.0.0", "--current", "3.0.0"], 1),
        (&["gate", "--image", "2.0.0", "--current", "3.0.0", "--force-downgrade"], 0),
    ] {
        assert_eq!(status(arguments), Some(expected), "{arguments:?}");
    }
}

#[test]
fn a_question_that_cannot_be_asked_is_wrong_usage_and_explained_on_standard_error() {
    for arguments in [
        &[][..],
        &["parse"],
        &["parse", "1.0.0", "--jsonl"],
        &["parse", "1.0.0", "--json", "--jsonl"],
        &["compare", "1.0.0"],
        &["compare", "1.0.0", "two"],
        &["gate"],
        &["gate", "--image", "two"],
        &["gate", "--image", "2.0.0", "--requirement", "^1.0.0"],
        &["gate", "--jsonl", "--force-downgrade"],
        &["match", "1.0.0", "1.0.0", "--pre-releases", "perhaps"],
    ] {
        let output = ask(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_answer_for_people_says_why() {
    let said = |arguments: &[&str]| text(&ask(arguments).stdout).to_owned();
    assert!(said(&["parse", "1.4.0-rc.1"]).contains("pre-release  rc.1"));
    assert!(said(&["parse", "1.4"]).starts_with("invalid: "));
    assert!(said(&["requirement", "^1.2"]).contains(">= 1.2.3 and < 2.0.0"));
    assert_eq!(said(&["compare", "1.0.0-a", "1.0.0"]), "1.0.0-a is lower than 1.0.0\n");
    assert!(said(&["compare", "1.0.0+a", "1.0.0"]).contains("another build"));
    assert_eq!(said(&["match", "1.4.0", "~> 1.2"]), "1.4.0 meets \"~> 1.2\"\n");
    let refused = said(&["gate", "--image", "1.0.0", "--current", "2.0.0"]);
    assert!(refused.starts_with("downgrade_not_allowed: ") && refused.contains("force downgrade"));
}

#[test]
fn an_answer_as_json_has_the_fields_of_a_line_without_its_id() {
    let said = |arguments: &[&str]| -> Value {
        serde_json::from_slice(&ask(arguments).stdout).expect("JSON")
    };
    assert_eq!(
        said(&["parse", "18446744073709551615.0.1-rc.1", "--json"]),
        json!({
            "ok": true, "major": "18446744073709551615", "minor": "0", "patch": "1",
            "pre": [{"s": "rc"}, {"n": "1"}], "build": null,
        })
    );
    assert_eq!(said(&["parse", "1.0.0+001", "--json"])["build"], "001");
    assert_eq!(said(&["parse", "18446744073709551616.0.0", "--json"]), json!({"ok": false}));
    assert_eq!(said(&["requirement", "1.0.0", "--json"]), json!({"ok": true}));
    assert_eq!(
        said(&["compare", "2.0.0+1", "1.0.0+01", "--json"]),
        json!({"order": "gt", "build_equal": false})
    );
    assert_eq!(said(&["match", "1.0.0", "1.0.0", "--json"]), json!({"result": true}));
    assert_eq!(said(&["match", "1", "1.0.0", "--json"]), json!({"result": "invalid_version"}));
    assert_eq!(
        said(&["gate", "--image", "2.0.0", "--json"]),
        json!({"decision": "missing_version"})
    );
}

#[test]
fn each_question_can_be_asked_line_by_line() {
    for (question, asked, expected) in [
        ("parse", json!({"input": "1.0"}), json!({"ok": false})),
        (
            "parse",
            json!({"input": "1.0.2+a"}),
            json!({"ok": true, "major": "1", "minor": "0", "patch": "2", "pre": [], "build": "a"}),
        ),
        ("requirement", json!({"input": "~> 1.0"}), json!({"ok": true})),
        (
            "compare",
            json!({"a": "1.0.0", "b": "1.0.0+a"}),
            json!({"order": "eq", "build_equal": false}),
        ),
        (
            "match",
            json!({"version": "1.0.0", "requirement": ""}),
            json!({"result": "invalid_requirement"}),
        ),
        (
            "match",
            json!({"version": "1.0.0-a", "requirement": "> 0.1.0", "allow_pre": false}),
            json!({"result": false}),
        ),
        ("match", json!({"version": "1.0.0-a", "requirement": "> 0.1.0"}), json!({"result": true})),
        (
            "gate",
            json!({"current": null, "base_image": "1.0.0"}),
            json!({"decision": "missing_version"}),
        ),
        (
            "gate",
            json!({
                "current": "2.0.0", "base_image": "1.0.0", "requirement": "< 2.0.0",
                "force_downgrade": true, "enforce_version_requirement": true,
            }),
            json!({"decision": "version_requirement_not_met"}),
        ),
    ] {
        let with_id = |fields: &Value| {
            let mut line = fields.clone();
            line["id"] = json!("the-1");
            line
        };
        let answer = ask_lines(question, with_id(&asked).to_string().as_bytes());
        assert_eq!(answer, (Some(0), vec![with_id(&expected)]), "{asked}");
    }
}

#[test]
fn a_bad_line_gets_an_error_and_the_next_is_answered() {
    let good = r#"{"id":7,"input":"1.0.0"}"#;
    let long = format!(r#"{{"id":1,"input":"{}"}}"#, "1".repeat(270_000));
    let bad: [(&[u8], Value); 13] = [
        (b"", Value::Null),
        (b"  \r", Value::Null),
        (b"{", Value::Null),
        (b"null", Value::Null),
        (br#"["a","1.0.0"]"#, Value::Null),
        (br#"{"input":"1.0.0"}"#, Value::Null),
        (br#"{"id":[],"input":"1.0.0"}"#, Value::Null),
        (br#"{"id":"a"}"#, json!("a")),
        (br#"{"id":"a","input":1}"#, json!("a")),
        (br#"{"id":"a","input":"1","input":"2"}"#, json!("a")),
        (b"{\"id\":\"a\",\"input\":\"\xff\"}", json!("a")),
        (b"\0\x01", Value::Null),
        (long.as_bytes(), Value::Null),
    ];
    for (line, id) in bad {
        let input = [line, b"\n", good.as_bytes(), b"\n"].concat();
        let (status, answers) = ask_lines("parse", &input);
        let shown = String::from_utf8_lossy(line);
        assert_eq!(status, Some(2), "{shown:.60}");
        let [refused, answered] = answers.as_slice() else { panic!("{shown:.60}: {answers:?}") };
        assert_eq!(refused["id"], id, "{shown:.60}");
        assert!(
            refused["error"]
                .as_str()
                .is_some_and(|error| error.contains("give") || error.contains("correct it")),
            "{refused}"
        );
        assert_eq!(answered["id"], 7);
        assert_eq!(answered["ok"], true);
    }
}

#[test]
fn a_line_that_asks_about_no_version_gets_an_error_under_its_id() {
    for (question, line) in [
        ("compare", r#"{"id":"a","a":"1.0.0","b":"two"}"#),
        ("gate", r#"{"id":"a","current":"1.0.0","base_image":"two"}"#),
        ("gate", r#"{"id":"a","current":"1.0.0","base_image":"2.0.0","requirement":"^1"}"#),
        ("gate", r#"{"id":"a","curent":"1.0.0","base_image":"2.0.0"}"#),
    ] {
        let (status, answers) = ask_lines(question, line.as_bytes());
        assert_eq!(status, Some(2), "{line}");
        assert_eq!(answers[0]["id"], "a");
        assert!(answers[0]["error"].is_string(), "{line}");
    }
}

#[test]
fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
    let line = |length: usize| {
        let blanks = length - r#"{"id":1,"input":"1.0.0"}"#.len();
        format!(r#"{{"id":1,{}"input":"1.0.0"}}"#, " ".repeat(blanks))
    };
    let input = format!("{}\n{}", line(262_144), line(262_145));
    let (status, answers) = ask_lines("parse", input.as_bytes());
    assert_eq!(status, Some(2));
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["ok"], true);
    assert!(answers[1]["error"].is_string());
}

#[test]
fn no_lines_are_no_error() {
    assert_eq!(ask_lines("parse", b""), (Some(0), Vec::new()));
}

#[test]
fn an_answer_comes_before_the_next_question() {
    let mut child = command(&["parse", "--jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    for id in 0..3 {
        writeln!(stdin, r#"{{"id":{id},"input":"1.0.0"}}"#).expect("it reads");
        let mut answer = String::new();
        stdout.read_line(&mut answer).expect("it answers");
        assert!(answer.starts_with(&format!(r#"{{"id":{id},"#)), "{answer}");
    }
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn it_ends_quietly_when_nobody_reads_its_output() {
    let mut child = command(&["parse", "--jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("piped");
    // Fails as soon as the other end is gone, which is what is waited for.
    while stdin.write_all(b"{\"id\":1,\"input\":\"1.0.0\"}\n").is_ok() {}
    drop(stdin);
    let mut errors = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut errors).expect("UTF-8");
    assert_eq!(errors, "");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn every_help_has_examples() {
    for arguments in [
        &["--help"][..],
        &["parse", "--help"],
        &["compare", "--help"],
        &["requirement", "--help"],
        &["match", "--help"],
        &["gate", "--help"],
    ] {
        let output = ask(arguments);
        assert!(output.status.success());
        assert!(text(&output.stdout).contains("Examples:\n  hedgerow version "), "{arguments:?}");
    }
}

/// The lines of a file of vectors, which the core is tested on too.
fn vectors(file: &str) -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/vectors");
    let content = std::fs::read_to_string(format!("{folder}/{file}.jsonl")).expect("vectors");
    content.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn every_vector_is_answered_line_by_line_and_in_order() {
    for (file, question, answered) in [
        ("versions", "parse", &["ok", "major", "minor", "patch", "pre", "build"][..]),
        ("toolarge", "parse", &["ok"]),
        ("requirements", "requirement", &["ok"]),
        ("compare", "compare", &["order", "build_equal"]),
        ("matches", "match", &["result"]),
        ("decisions", "gate", &["decision"]),
    ] {
        let mut input = String::new();
        let mut expected = Vec::new();
        for vector in vectors(file) {
            let fields = vector.as_object().expect("an object");
            let is_answer = |name: &str| answered.contains(&name);
            let (answer, asked): (Vec<_>, Vec<_>) =
                fields.clone().into_iter().partition(|(name, _)| is_answer(name));
            let id = ("id".to_owned(), vector["id"].clone());
            expected.push(answer.into_iter().chain([id]).collect::<Value>());
            input += &asked.into_iter().collect::<Value>().to_string();
            input.push('\n');
        }
        assert!(!expected.is_empty(), "{file}");
        let (status, answers) = ask_lines(question, input.as_bytes());
        assert_eq!(status, Some(0), "{file}");
        assert_eq!(answers.len(), expected.len(), "{file}");
        for (answer, expected) in answers.iter().zip(&expected) {
            assert_eq!(answer, expected, "{file}");
        }
    }
}

#[test]
fn bad_lines_are_counted_once_at_the_end_on_standard_error() {
    let mut child = command(&["parse", "--jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"{\n{\"id\":1,\"input\":\"1.0.0\"}\n\n").expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout).lines().count(), 3);
    let errors: Vec<&str> = text(&output.stderr).lines().collect();
    let [summary] = errors.as_slice() else { panic!("{errors:?}") };
    assert!(summary.contains('2'), "{summary}");
}

#[test]
fn the_longest_requirement_can_be_asked_about_in_a_line() {
    let requirement = format!("1.0.0{}", " ".repeat(64 * 1024 - 5));
    let line = json!({"id": 1, "version": "1.0.0", "requirement": requirement});
    let answer = ask_lines("match", line.to_string().as_bytes());
    assert_eq!(answer, (Some(0), vec![json!({"id": 1, "result": true})]));
}
