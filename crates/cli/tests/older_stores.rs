//! Stores that an older version wrote: each is a file that the `hedgerow demo` of that time left when it
//! was killed half way, and this version reads it as it is, brings it up to date, and goes on with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::Connection;

/// The demo of 30 November 2026, with the store's second schema: six devices, killed with two of them
/// updating.
const SECOND_SCHEMA: [&[u8]; 2] = [
    include_bytes!("older_stores/second_schema.store"),
    include_bytes!("older_stores/second_schema.world"),
];

fn hedgerow(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow")).args(args).output().expect("it starts")
}

/// What a command that must succeed prints.
fn printed(args: &[&str]) -> String {
    let output = hedgerow(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn schema(db: &Path) -> i64 {
    let connection = Connection::open(db).expect("it opens");
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).expect("read")
}

fn written(folder: &Path) -> PathBuf {
    let db = folder.join("demo.db");
    std::fs::write(&db, SECOND_SCHEMA[0]).expect("written");
    std::fs::write(folder.join("demo.db.world"), SECOND_SCHEMA[1]).expect("written");
    db
}

#[test]
fn a_store_of_the_second_schema_is_read_and_audited_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = written(folder.path());
    let path = db.to_str().expect("UTF-8");
    assert!(printed(&["audit", path]).contains("invariants that a log can show hold"));
    let shown = printed(&["show", path]);
    assert!(shown.contains("6: 4 idle, 2 in progress"), "{shown}");
    let listed = printed(&["campaigns", path]);
    assert!(listed.contains("Gateways to 2.0.0"), "{listed}");
    assert_eq!(schema(&db), 2, "reading changes nothing");
}

#[test]
fn a_campaign_that_an_older_version_began_is_finished_and_its_log_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = written(folder.path());
    let path = db.to_str().expect("UTF-8");
    let went_on = ["demo", "--devices", "6", "--seed", "5", "--max-pending", "2", "--db", path];
    let report = printed(&went_on);
    assert!(report.contains("6 targets: 6 successful"), "{report}");
    assert_eq!(schema(&db), 3, "it is of this version now");
    assert!(printed(&["audit", path]).contains("invariants that a log can show hold"));
    let archive = folder.path().join("all.jsonl.gz");
    let archive = archive.to_str().expect("UTF-8");
    assert!(printed(&["archive", path, archive]).contains("1 campaign"));
    let targets = printed(&["targets", path, "ae5989d1", "--status", "successful", "--json"]);
    assert_eq!(targets.matches("\"successful\"").count(), 6, "{targets}");
}
