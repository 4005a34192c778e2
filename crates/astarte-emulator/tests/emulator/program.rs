//! The program: what it prints and writes, and its end.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::answer;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hedgerow-astarte-emulator");
const INTERFACES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interfaces");

fn start(directory: &Path) -> (Child, Vec<String>) {
    let mut child = Command::new(PROGRAM)
        .args(["--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--interface", INTERFACES])
        .arg("--directory")
        .arg(directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let output = child.stdout.take().expect("its output");
    let mut lines = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line.expect("text");
        if line.starts_with("press Ctrl-C") {
            break;
        }
        lines.push(line);
    }
    (child, lines)
}

fn stop(mut child: Child) {
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    assert!(child.wait().expect("its end").success());
}

#[tokio::test]
async fn the_program_tells_where_everything_is_and_keeps_its_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path().join("emulator");
    let (child, lines) = start(&directory);
    let base = lines[0].rsplit(' ').next().expect("a URL").to_owned();
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("a file");
    let (key, token) = (read("test-private-key.pem"), read("test.jwt"));
    assert!(read("ca.pem").starts_with("-----BEGIN CERTIFICATE-----"));
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{base}/realmmanagement/v1/test/interfaces");
    let (status, body) = answer(client.get(url).bearer_auth(&token)).await;
    assert_eq!((status, body["data"].as_array().map(Vec::len)), (200, Some(5)));
    stop(child);

    let (child, _) = start(&directory);
    assert_eq!(read("test-private-key.pem"), key, "tokens of before are still good");
    stop(child);
}

#[test]
fn what_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("broken.json");
    std::fs::write(&broken, "{}").expect("a file");
    let output = Command::new(PROGRAM)
        .arg("--directory")
        .arg(folder.path())
        .arg("--interface")
        .arg(&broken)
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.starts_with("error: ") && message.contains("broken.json"), "{message}");
}
