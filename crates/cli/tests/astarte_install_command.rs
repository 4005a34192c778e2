//! `hedgerow astarte install` as its users run it, against the emulator.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use hedgerow_astarte_emulator::{Emulator, RealmKeys, RequestFault, RequestRule};
use serde_json::{Value, json};

fn command(url: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["astarte", "install", "--url", url, "--realm", "gardens"])
        .args(["--events-url", "http://127.0.0.1:9/triggers"])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
}

fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file");
    path.to_str().expect("a plain path").to_owned()
}

/// The emulator answers while the command runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_installs_once_looks_without_touching_and_names_what_a_token_lacks() {
    let keys = RealmKeys::generate().expect("keys");
    let emulator = Emulator::builder().realm("gardens", keys).start().await.expect("an emulator");
    let keys = emulator.realm_keys("gardens").expect("the realm");
    let folder = tempfile::tempdir().expect("a folder");
    let key = file(folder.path(), "key.pem", keys.private_key_pem().expect("a private key"));
    let reading = keys.token(&json!({"a_rma": ["GET::.*"]})).expect("a token");
    let reading = file(folder.path(), "reading.jwt", &reading);
    let secret = file(folder.path(), "secret", "s3cret\n");
    let url = emulator.base_url();

    let run = |more: &[&str]| {
        let output = tokio::task::block_in_place(|| command(url, more));
        let text = shown(&output);
        assert!(!text.contains("s3cret"), "{text}");
        (output.status.code(), text)
    };
    let with_key = ["--key", &key, "--secret-file", &secret];
    let and = |more: &[&'static str]| [&with_key[..], more].concat();

    let (status, text) = run(&and(&["--check"]));
    assert!(status == Some(1) && text.contains("10 to do"), "{status:?} {text}");
    let (status, text) = run(&and(&["--dry-run"]));
    assert!(status == Some(0) && text.contains("create    trigger hedgerow-ota-event"), "{text}");
    let (status, text) = run(&["--token-file", &reading, "--secret-file", &secret]);
    assert_eq!(status, Some(3), "{text}");
    for entry in ["POST::interfaces", "POST::policies", "POST::triggers", "a_rma"] {
        assert!(text.contains(entry), "{entry}: {text}");
    }
    let (status, text) = run(&with_key);
    assert!(status == Some(0) && text.contains("10 done"), "{status:?} {text}");
    let (status, text) = run(&with_key);
    assert!(status == Some(0) && text.contains("has everything"), "{status:?} {text}");
    let (status, text) = run(&and(&["--check", "--json"]));
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (status, &report["complete"], &report["applied"]),
        (Some(0), &json!(true), &json!(false))
    );
    let (status, text) = run(&and(&["--stored-events", "--check"]));
    assert!(status == Some(1) && text.contains("from version 0.1"), "{status:?} {text}");
    // The secret is not wanted any more: that is told, without it, and it goes.
    let (status, text) = run(&["--key", &key, "--check"]);
    assert!(status == Some(1) && text.contains("x-hedgerow-secret: there -> none"), "{text}");
    let (status, text) = run(&["--key", &key]);
    assert!(status == Some(0) && text.contains("6 done"), "{status:?} {text}");
    let (status, text) = run(&["--key", &key, "--check"]);
    assert!(status == Some(0) && text.contains("has everything"), "{status:?} {text}");
    emulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_astarte_lacks_is_named_and_a_refusal_is_told_after_all_else_is_done() {
    let keys = RealmKeys::generate().expect("keys");
    let builder = Emulator::builder().realm("gardens", keys).astarte_version("1.2.0");
    let emulator = builder.expect("a version").start().await.expect("an emulator");
    let keys = emulator.realm_keys("gardens").expect("the realm");
    let folder = tempfile::tempdir().expect("a folder");
    let key = file(folder.path(), "key.pem", keys.private_key_pem().expect("a private key"));
    let run = |more: &[&str]| {
        let all = [&["--key", &key], more].concat();
        let output = tokio::task::block_in_place(|| command(emulator.base_url(), &all));
        (output.status.code(), shown(&output))
    };
    let rule = RequestRule {
        body_contains: Some("hedgerow-connected".to_owned()),
        ..RequestRule::new(RequestFault::Status { code: 422 })
    };
    emulator.add_request_rule(rule).expect("a rule");
    let (status, text) = run(&[]);
    assert_eq!(status, Some(3), "{text}");
    assert!(text.contains("trigger hedgerow-connected: POST triggers was answered 422"), "{text}");
    emulator.clear_rules();
    let (status, text) = run(&["--check"]);
    assert!(status == Some(1) && text.contains("1 to do"), "{status:?} {text}");
    let (status, text) = run(&[]);
    assert!(status == Some(0) && text.contains("1 done"), "{status:?} {text}");
    let (status, text) = run(&["--check"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("lacking   trigger hedgerow-registered"), "{text}");
    assert!(text.contains("Astarte 1.2.0 does not have 2 of these"), "{text}");
    emulator.shutdown().await;
}

#[test]
fn what_cannot_work_is_told_before_anything_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = file(folder.path(), "token", "aaa.bbb.ccc");
    let broken = file(folder.path(), "key.pem", "-----BEGIN PRIVATE KEY-----\nAA\n");
    let der = folder.path().join("key.der");
    std::fs::write(&der, [0x30, 0x82, 0xff]).expect("a file");
    let der = der.to_str().expect("a plain path");
    let large = file(folder.path(), "large", &"x".repeat(100_000));
    let nobody = "http://127.0.0.1:9";
    for (url, more, expected, says) in [
        (nobody, &[][..], 2, "--key"),
        (nobody, &["--key", "/nowhere/key.pem"][..], 2, "/nowhere/key.pem cannot be read"),
        (nobody, &["--key", &broken], 2, "key.pem: this is not a private key"),
        (nobody, &["--key", der], 2, "in PEM, not in DER"),
        (nobody, &["--key", &large], 2, "is it the right file"),
        (nobody, &["--token-file", &broken], 2, "key.pem: this is not a token"),
        (nobody, &["--token-file", &token, "--ca", &token], 2, "token holds no certificate"),
        (nobody, &["--token-file", &token, "--secret-file", &broken], 2, "key.pem: this secret"),
        ("astarte.example", &["--token-file", &token], 2, "--url: \"astarte.example\" is not"),
        (nobody, &["--token-file", &token, "--check", "--dry-run"], 2, "--dry-run"),
        (nobody, &["--token-file", &token], 3, "look at --url"),
    ] {
        let output = command(url, more);
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(expected), "{more:?}: {text}");
        assert!(text.contains(says), "{says:?}: {text}");
    }
}
