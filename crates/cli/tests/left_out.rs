//! What is not in a build of the command says what to type to have it.

#![cfg(not(any(feature = "astarte", feature = "plot")))]

use std::process::Command;

fn refused(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    let output = command.args(arguments).output().expect("the command runs");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn what_was_left_out_says_how_to_have_it() {
    for (feature, arguments) in [
        ("astarte", &["demo", "--astarte", "--devices", "12"][..]),
        ("astarte", &["astarte", "install", "--help"]),
        ("astarte", &["astarte", "install", "--url", "http://localhost", "--check"]),
        ("astarte", &["astarte"]),
        ("serve", &["serve", "--demo"]),
        ("serve", &["campaign", "watch", "--json"]),
        ("serve", &["image", "upload", "--help"]),
        ("serve", &["model", "list"]),
        ("serve", &["group", "list"]),
        ("serve", &["channel", "list"]),
        ("plot", &["simulate", "--seed", "7", "--plot", "rollout.svg"]),
    ] {
        let text = refused(arguments);
        let typed = arguments.join(" ");
        let wanted = format!("\n    cargo run --release --features {feature} -- {typed}\n");
        assert!(text.ends_with(&wanted), "{text}");
    }
}

#[test]
fn what_is_not_in_the_build_is_still_in_its_help() {
    let help = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
        let output = command.args(arguments).output().expect("the command runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert!(help(&["--help"]).contains("Set an Astarte realm up for updates: not in this build"));
    assert!(help(&["demo", "--help"]).contains("not in this build"));
    assert!(help(&["simulate", "--help"]).contains("not in this build"));
}
