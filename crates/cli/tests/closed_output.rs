//! Commands whose reader leaves, as in `hedgerow simulate --timeline | head`, end as if it had read
//! everything.

use std::process::{Command, Stdio};

fn ends_well_unread(args: &[&str]) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {errors}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("demo.db");
    let db = db.to_str().expect("UTF-8");
    ends_well_unread(&["demo", "--devices", "30", "--speed", "max", "--json", "--db", db]);
    ends_well_unread(&["demo", "--speed", "max", "--db", db]);
    for args in [&["audit", db][..], &["audit", db, "--json"], &["log", db], &["show", db]] {
        ends_well_unread(args);
    }
    ends_well_unread(&["simulate", "--seed", "7", "--timeline"]);
    ends_well_unread(&["simulate", "--seeds", "0..2", "--json"]);
}
