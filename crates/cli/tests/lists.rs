//! `hedgerow campaigns`, `targets`, `device` and `views` on the log of a demo, and on files that are
//! none.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn hedgerow(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hedgerow")).args(args).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn json(args: &[&str]) -> Value {
    let output = hedgerow(args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The log of a small demo, and the folder that it is in.
fn demo() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("demo.db");
    let output = hedgerow(&["demo", "--devices", "80", "--json", "--db", path(&db)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    (folder, db)
}

/// All targets that a query lists, page by page.
fn all_targets(db: &str, campaign: &str, query: &[&str]) -> Vec<Value> {
    let (mut targets, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut args = vec!["targets", db, campaign, "--limit", "7", "--json"];
        args.extend(query);
        if let Some(after) = &after {
            args.extend(["--after", after]);
        }
        let page = json(&args);
        targets.extend(page["targets"].as_array().expect("targets").iter().cloned());
        let Some(next) = page["next"].as_u64() else { return targets };
        after = Some(next.to_string());
    }
}

#[test]
fn lists_agree_with_what_the_whole_log_leads_to() {
    let (_folder, db) = demo();
    let db = path(&db);
    let shown = &json(&["show", db, "--json"])[0];
    let id = shown["campaign"].as_str().expect("an id");
    let shown = json(&["show", db, id, "--json"]);
    let listed = json(&["campaigns", db, "--json"]);
    assert_eq!(listed["next"], Value::Null);
    let listed = &listed["campaigns"][0];
    for field in listed.as_object().expect("fields").keys() {
        assert_eq!(listed[field], shown[field], "{field}");
    }
    let shown = shown["targets"].as_array().expect("targets");
    let targets = all_targets(db, id, &[]);
    assert_eq!(targets.len(), shown.len());
    for (listed, shown) in targets.iter().zip(shown) {
        assert_eq!((&listed["device"], &listed["status"]), (&shown["device"], &shown["status"]));
        assert_eq!(listed["details"]["retry_count"], shown["retry_count"]);
    }
    for status in ["idle", "in_progress", "successful", "failed", "cancelled"] {
        let expected = shown.iter().filter(|target| target["status"] == status).count();
        assert_eq!(all_targets(db, id, &["--status", status]).len(), expected, "{status}");
    }
    let failed = all_targets(db, id, &["--status", "failed"]);
    let reason = failed[0]["reason"].as_str().expect("a reason");
    let of_reason = all_targets(db, id, &["--reason", reason]);
    assert!(of_reason.contains(&failed[0]));
    assert!(of_reason.iter().all(|target| target["reason"] == reason));
}

#[test]
fn campaigns_are_found_by_how_their_names_begin_in_every_order() {
    let (_folder, db) = demo();
    let db = path(&db);
    let name = json(&["campaigns", db, "--json"])["campaigns"][0]["definition"]["name"].clone();
    let name = name.as_str().expect("a name").to_owned();
    for sort in ["newest", "oldest", "name"] {
        for (beginning, found) in
            [(name.to_uppercase(), 1), (name[..4].to_lowercase(), 1), (name[1..].to_owned(), 0)]
        {
            let listed = json(&["campaigns", db, "--name", &beginning, "--sort", sort, "--json"]);
            let listed = listed["campaigns"].as_array().expect("campaigns");
            assert_eq!(listed.len(), found, "{beginning} by {sort}");
        }
    }
}

#[test]
fn a_device_is_shown_with_its_operations() {
    let (_folder, db) = demo();
    let db = path(&db);
    let listed = json(&["campaigns", db, "--json"]);
    let id = listed["campaigns"][0]["campaign"].as_str().expect("an id");
    let successful = all_targets(db, id, &["--status", "successful"]);
    let with_operation = successful.iter().find(|t| !t["details"]["operations"][0].is_null());
    let target = with_operation.expect("one that was updated");
    let device = target["device"].as_str().expect("a device");
    let operations = json(&["device", db, device, "--json"]);
    let latest = &operations["operations"][0];
    assert_eq!(latest, &target["details"]["operations"][0]);
    assert_eq!(latest["stream"], format!("campaign/{id}"));
    assert!(latest["end"]["succeeded"].is_string(), "{latest}");
    let for_people = text(&hedgerow(&["device", db, device]).stdout);
    assert!(for_people.contains("successful at 20"), "{for_people}");
    let stranger = hedgerow(&["device", db, "AAAAAAAAAAAAAAAAAAAAAA"]);
    assert!(stranger.status.success());
    assert!(text(&stranger.stdout).contains("has had no operation"));
}

#[test]
fn a_file_of_rows_gives_the_same_answers_and_is_followed_up() {
    let (folder, db) = demo();
    let without = hedgerow(&["campaigns", path(&db), "--json"]).stdout;
    let files = |folder: &TempDir| {
        let files = std::fs::read_dir(folder.path()).expect("a folder");
        files.map(|file| file.expect("a file").file_name()).collect::<Vec<_>>()
    };
    assert!(!files(&folder).iter().any(|name| name.to_string_lossy().contains("views")));
    let made = json(&["views", path(&db), "--json"]);
    assert!(made["events"].as_u64().is_some_and(|events| events > 300), "{made}");
    assert_eq!(json(&["views", path(&db), "--json"])["events"], 0, "nothing is left to do");
    assert_eq!(hedgerow(&["campaigns", path(&db), "--json"]).stdout, without);
    let anew = json(&["views", path(&db), "--rebuild", "--json"]);
    assert_eq!(anew["events"], made["events"]);
    // Also a file that cannot be read any more.
    let rows = folder.path().join(format!("{}.views", db.file_name().expect("a name").display()));
    let mut bytes = std::fs::read(&rows).expect("read");
    bytes[1_024..].fill(0x5A);
    std::fs::write(&rows, bytes).expect("written");
    assert!(!hedgerow(&["views", path(&db)]).status.success());
    let anew = json(&["views", path(&db), "--rebuild", "--json"]);
    assert_eq!(anew["events"], made["events"]);
    assert_eq!(hedgerow(&["campaigns", path(&db), "--json"]).stdout, without);
    // Another log takes the place of the first: its rows are those of another log now.
    let other = folder.path().join("other.db");
    let output =
        hedgerow(&["demo", "--devices", "30", "--seed", "5", "--json", "--db", path(&other)]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    std::fs::rename(&other, &db).expect("renamed");
    let listed = json(&["campaigns", path(&db), "--json"]);
    assert_eq!(listed["campaigns"][0]["counts"]["total"], 30);
    assert_eq!(listed["campaigns"].as_array().map(Vec::len), Some(1));
}

#[test]
fn wrong_usage_says_what_would_be_right() {
    let (_folder, db) = demo();
    let db = path(&db);
    let nobody = "5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa";
    let cases: [(&[&str], i32, &str); 8] = [
        (&["campaigns", db, "--status", "going"], 2, "possible values: scheduled, idle"),
        (&["campaigns", db, "--after", "zz"], 2, "give the `next` of a page"),
        (&["campaigns", "/nowhere.db"], 3, "look at the path"),
        (&["targets", db, nobody], 1, "lists what there is"),
        (&["targets", db, nobody, "--reason", "bad_luck"], 2, "possible values: missing_version"),
        (&["views", "/nowhere.db"], 3, "look at the path"),
        (&["campaigns", db, "--tenant", "dmeo"], 1, "has no tenant dmeo: give one of demo"),
        (&["campaigns", db, "--after", "02ff"], 2, "is a place in another list"),
    ];
    for (args, code, says) in cases {
        let output = hedgerow(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        let error = text(&output.stderr);
        assert!(error.contains(says), "{args:?}: {error}");
    }
    let none = hedgerow(&["campaigns", db, "--outcome", "cancelled"]);
    assert_eq!((none.status.code(), text(&none.stdout).as_str()), (Some(0), "no such campaign\n"));
}

#[path = "../../sqlite/examples/lists.rs"]
#[allow(dead_code, reason = "its main reads the command line")]
mod example;

#[test]
fn the_example_of_the_guide_lists_campaigns_and_failures() {
    let (_folder, db) = demo();
    let tenant = "demo".parse().expect("a tenant");
    let listed = futures::executor::block_on(example::lists(path(&db), &tenant)).expect("listed");
    assert!(listed[0].starts_with("Gateways to 2.0.0: "), "{listed:?}");
    assert!(listed[1].contains(" failed: "), "{listed:?}");
}
