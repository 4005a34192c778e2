//! What `hedgerow archive`, `import`, `prune` and `backup` make of files: names of every kind, what a
//! command that was killed left there, and archives that are not one whole archive.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hedgerow_core::NewEvent;
use hedgerow_engine::store::conformance::{append, block_on, event, stream};
use hedgerow_engine::store::retention::conformance::ended;
use hedgerow_engine::store::{Activity, EventStore, StreamAppend};
use hedgerow_sqlite::SqliteStore;
use serde_json::Value;
use tempfile::TempDir;

/// A folder, and a store in it with a campaign of four events that has ended.
fn store() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("a.db");
    block_on(ended(&SqliteStore::open(&db).expect("made"), 1, 4));
    (folder, db)
}

fn add(db: &Path, number: u128, version: u64, events: Vec<NewEvent>) {
    let store = SqliteStore::open(db).expect("opened");
    let append = append(stream(number), version, events);
    let append = StreamAppend { activity: Activity::Settled, ..append };
    block_on(store.append(vec![append])).expect("appended");
}

/// A late report of the campaign.
fn add_late(db: &Path) {
    add(db, 1, 4, vec![event(1_004)]);
}

/// Runs a command in a folder: its exit status, what it printed, and what it said of errors.
fn run<I: AsRef<OsStr>>(folder: &Path, args: &[I]) -> (Option<i32>, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    let output = command.args(args).current_dir(folder).output().expect("it starts");
    let printed = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), printed, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What a command prints that must succeed.
fn json(folder: &TempDir, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    let (code, printed, error) = run(folder.path(), &args);
    assert_eq!(code, Some(0), "{args:?}: {error}");
    printed
}

fn names(folder: &TempDir) -> Vec<String> {
    let names = fs::read_dir(folder.path()).expect("listed");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<_> = names.map(|entry| name(entry.expect("listed"))).collect();
    names.retain(|name| !name.starts_with("a.db"));
    names.sort();
    names
}

#[test]
fn a_file_that_a_killed_command_had_named_is_not_emptied_by_the_next() {
    for command in ["archive", "backup"] {
        let (folder, db) = store();
        json(&folder, &[command, "a.db", "first"]);
        // Killed after the file had its name, and before it had lost the other one.
        let at = |name: &str| folder.path().join(name);
        fs::hard_link(at("first"), at("first.writing")).expect("linked");
        fs::rename(at("first"), at("moved")).expect("moved away, as it says");
        let before = fs::read(at("moved")).expect("read");
        add_late(&db);
        json(&folder, &[command, "a.db", "first"]);
        assert!(fs::read(at("moved")).expect("read") == before, "{command}: it was written over");
        assert_ne!(fs::read(at("first")).expect("read"), before);
        assert_eq!(names(&folder), ["first", "moved"]);
    }
}

#[test]
fn what_a_killed_command_left_is_written_anew() {
    let (folder, _) = store();
    fs::write(folder.path().join("copy.writing"), "half of a copy").expect("written");
    fs::write(folder.path().join("copy.writing-journal"), "its journal").expect("written");
    json(&folder, &["backup", "a.db", "copy"]);
    assert_eq!(names(&folder), ["copy"]);
    assert_eq!(json(&folder, &["archive", "copy", "b.gz"])["events"], 4);
}

#[cfg(unix)]
#[test]
fn a_backup_is_a_copy_under_the_name_that_was_given_or_refused() {
    use std::os::unix::ffi::OsStrExt;

    let (folder, _) = store();
    for copy in ["file:copy.db", "file:copy.db?mode=memory", "with a space", "%41"] {
        json(&folder, &["backup", "a.db", copy]);
        let archive = format!("{copy}.gz");
        assert_eq!(json(&folder, &["archive", copy, &archive])["events"], 4, "{copy}");
    }
    let before = names(&folder);
    let name = OsStr::from_bytes(b"not-\xff-text.db");
    let args = [OsStr::new("backup"), OsStr::new("a.db"), name];
    let (code, _, error) = run(folder.path(), &args);
    assert_eq!(code, Some(3), "{error}");
    assert!(error.contains("is not UTF-8"), "{error}");
    assert_eq!(names(&folder), before);
}

#[test]
fn a_store_is_not_copied_over_a_file_that_has_something() {
    let (folder, db) = store();
    let other = folder.path().join("other");
    fs::write(&other, "somebody else's").expect("written");
    let reader = SqliteStore::open_read_only(&db).expect("opened");
    let copied = block_on(reader.back_up(&other));
    assert!(copied.is_err_and(|error| error.to_string().contains("is there already")));
    assert_eq!(fs::read_to_string(&other).expect("read"), "somebody else's");
}

#[cfg(unix)]
#[test]
fn an_archive_and_a_copy_may_be_read_by_nobody_who_may_not_read_the_store() {
    use std::os::unix::fs::PermissionsExt;

    let (folder, db) = store();
    for (store, file) in [(0o600, 0o600), (0o640, 0o640), (0o400, 0o600)] {
        fs::set_permissions(&db, fs::Permissions::from_mode(store)).expect("set");
        for command in ["archive", "backup"] {
            let name = format!("{command}-{store:o}");
            json(&folder, &[command, "a.db", &name]);
            let found = fs::metadata(folder.path().join(&name)).expect("it is there");
            assert_eq!(found.permissions().mode() & 0o777, file, "{name}");
        }
    }
}

#[test]
fn archives_are_imported_together_in_any_order_and_the_longest_of_a_campaign_counts() {
    let (folder, db) = store();
    json(&folder, &["archive", "a.db", "2024.gz"]);
    add_late(&db);
    add(&db, 2, 0, vec![event(7)]);
    json(&folder, &["archive", "a.db", "2025.gz"]);
    for archives in [["2024.gz", "2025.gz"], ["2025.gz", "2024.gz"]] {
        let new = format!("{}.db", archives[0]);
        let done = json(&folder, &["import", &new, archives[0], archives[1]]);
        assert_eq!((&done["imported"], &done["events"]), (&2.into(), &6.into()), "{done}");
        assert_eq!((&done["shorter"], &done["present"]), (&1.into(), &0.into()), "{done}");
        let again = json(&folder, &["import", &new, archives[0], archives[1]]);
        assert_eq!((&again["imported"], &again["present"]), (&0.into(), &2.into()), "{again}");
    }
}

#[test]
fn a_campaign_of_which_archives_tell_different_beginnings_is_refused() {
    let (folder, db) = store();
    json(&folder, &["archive", "a.db", "2024.gz"]);
    let other = folder.path().join("a.db.other");
    fs::remove_file(&db).expect("removed");
    add(&other, 1, 0, (0..5).map(event).collect());
    json(&folder, &["archive", "a.db.other", "2025.gz"]);
    let args = ["import", "new.db", "2024.gz", "2025.gz", "--json"];
    let (code, done, error) = run(folder.path(), &args);
    assert_eq!((code, &done["imported"]), (Some(1), &0.into()), "{error}");
    assert!(error.contains("another archive"), "{error}");
}

#[test]
fn what_stands_behind_the_end_of_an_archive_is_noticed() {
    let (folder, db) = store();
    json(&folder, &["archive", "a.db", "a.gz"]);
    add(&db, 2, 0, vec![event(7)]);
    json(&folder, &["archive", "a.db", "b.gz"]);
    let read = |name: &str| fs::read(folder.path().join(name)).expect("read");
    for behind in [read("b.gz"), b"garbage".to_vec(), vec![0]] {
        fs::write(folder.path().join("both.gz"), [read("a.gz"), behind].concat()).expect("written");
        for args in [
            &["import", "new.db", "both.gz"][..],
            &["prune", "a.db", "--older-than", "0s", "--force", "--archive", "both.gz"],
        ] {
            let (code, _, error) = run(folder.path(), args);
            assert_eq!(code, Some(3), "{error}");
            assert!(error.contains("behind"), "{error}");
        }
    }
}

#[test]
fn no_store_is_made_for_archives_that_cannot_be_read() {
    let (folder, _) = store();
    json(&folder, &["archive", "a.db", "a.gz"]);
    let whole = fs::read(folder.path().join("a.gz")).expect("read");
    fs::write(folder.path().join("cut.gz"), &whole[..whole.len() / 2]).expect("written");
    fs::write(folder.path().join("foreign.gz"), "something else").expect("written");
    fs::create_dir(folder.path().join("folder.gz")).expect("made");
    for (file, says) in [
        ("cut.gz", "cut off"),
        ("foreign.gz", "give a file that `hedgerow archive` wrote"),
        ("folder.gz", "give the path of an archive"),
        ("nothing.gz", "give the path of an archive"),
    ] {
        // Also behind one that can be read.
        let (code, _, error) = run(folder.path(), &["import", "new.db", "a.gz", file]);
        assert_eq!(code, Some(3), "{error}");
        assert!(error.contains(file) && error.contains(says), "{error}");
        assert!(!folder.path().join("new.db").exists(), "{file}");
    }
}

#[test]
fn a_store_from_which_all_was_pruned_is_not_said_to_be_new() {
    let (folder, _) = store();
    json(&folder, &["archive", "a.db", "a.gz"]);
    let prune = ["prune", "a.db", "--older-than", "0s", "--force", "--archive", "a.gz"];
    assert_eq!(json(&folder, &prune)["removed"], 1);
    let (code, _, error) = run(folder.path(), &["campaigns", "a.db"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("or all were pruned"), "{error}");
}

#[test]
fn a_campaign_with_an_event_that_is_too_large_is_left_out_and_named() {
    let (folder, db) = store();
    // Twice as much as hexadecimal.
    let large = NewEvent { data: vec![0xff; 8 << 20], ..event(7) };
    add(&db, 2, 0, vec![event(6), large]);
    let (code, done, error) = run(folder.path(), &["archive", "a.db", "a.gz", "--json"]);
    assert_eq!(code, Some(3), "{error}");
    assert!(error.contains("event 2") && error.contains("too large"), "{error}");
    assert_eq!((&done["campaigns"], &done["events"]), (&1.into(), &4.into()), "{done}");
    assert_eq!(done["left_out"].as_array().map(Vec::len), Some(1), "{done}");
    assert_eq!(json(&folder, &["import", "new.db", "a.gz"])["imported"], 1);
}
