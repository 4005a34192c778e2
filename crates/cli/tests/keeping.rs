//! `hedgerow archive`, `prune`, `import` and `backup` on stores that are used meanwhile, and with
//! `kill -9` in the middle.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use hedgerow_sim::random::Random;
use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_hedgerow");

fn hedgerow(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// What a command prints that must succeed.
fn json(args: &[&str]) -> Value {
    let output = hedgerow(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn fails(args: &[&str]) -> (Option<i32>, String) {
    let output = hedgerow(args);
    (output.status.code(), text(&output.stderr))
}

fn holds(db: &Path) {
    let output = hedgerow(&["audit", path(db)]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

/// The log of a demo that has ended, and the folder that it is in.
fn demo(seed: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("demo.db");
    let args = ["demo", "--devices", "80", "--seed", seed, "--json", "--db", path(&db)];
    let output = hedgerow(&args);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output.stderr));
    (folder, db)
}

fn prune(db: &Path, archive: &Path) -> Vec<String> {
    ["prune", path(db), "--older-than", "0s", "--force", "--archive", path(archive), "--json"]
        .map(str::to_owned)
        .into()
}

fn pruned(db: &Path, archive: &Path) -> Value {
    let args = prune(db, archive);
    json(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn import(db: &Path, archive: &Path) -> Value {
    json(&["import", path(db), path(archive), "--json"])
}

#[test]
fn a_campaign_that_was_archived_pruned_and_imported_is_shown_as_before() {
    let (folder, db) = demo("3");
    let archive = folder.path().join("a.jsonl.gz");
    let id =
        json(&["show", path(&db), "--json"])[0]["campaign"].as_str().expect("an id").to_owned();
    let before = json(&["show", path(&db), &id, "--json"]);
    json(&["views", path(&db), "--json"]);
    let listed = json(&["campaigns", path(&db), "--json"]);
    let device = before["targets"][0]["device"].as_str().expect("a device").to_owned();
    let history = json(&["device", path(&db), &device, "--json"]);

    let written = json(&["archive", path(&db), path(&archive), "--json"]);
    assert_eq!((&written["campaigns"], &written["events"]), (&1.into(), &before["events"]));
    // Nothing that is there is touched.
    let (code, error) = fails(&["archive", path(&db), path(&archive)]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("is there already"), "{error}");

    // What ended just now is not removed by accident.
    let recent = ["prune", path(&db), "--older-than", "1d", "--archive", path(&archive)];
    assert_eq!(fails(&recent).0, Some(2));
    let kept = json(&["prune", path(&db), "--archive", path(&archive), "--json"]);
    let gone = if kept["removed"] == 1 { kept } else { pruned(&db, &archive) };
    assert_eq!((&gone["removed"], &gone["events"]), (&1.into(), &before["events"]));
    holds(&db);
    assert_eq!(fails(&["show", path(&db), &id]).0, Some(1));

    let back = import(&db, &archive);
    assert_eq!((&back["imported"], &back["events"]), (&1.into(), &before["events"]));
    holds(&db);
    assert_eq!(json(&["show", path(&db), &id, "--json"]), before);
    // The rows beside the log followed all of it.
    assert_eq!(json(&["campaigns", path(&db), "--json"]), listed);
    assert_eq!(json(&["device", path(&db), &device, "--json"]), history);
    assert_eq!(import(&db, &archive)["present"], 1);

    let elsewhere = folder.path().join("elsewhere.db");
    assert_eq!(import(&elsewhere, &archive)["imported"], 1);
    holds(&elsewhere);
    assert_eq!(json(&["show", path(&elsewhere), &id, "--json"]), before);
}

#[test]
fn an_archive_that_is_none_or_was_cut_is_refused_and_nothing_is_made() {
    let (folder, db) = demo("4");
    let archive = folder.path().join("a.jsonl.gz");
    json(&["archive", path(&db), path(&archive), "--json"]);
    let whole = std::fs::read(&archive).expect("read");
    let cut = folder.path().join("cut.jsonl.gz");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("written");
    let new = folder.path().join("new.db");
    for (file, says) in [(&cut, "cut off"), (&db, "not an archive"), (&new, "cannot be read")] {
        let args = prune(&db, file);
        let (code, error) = fails(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(code, Some(3), "{error}");
        assert!(error.contains(says) && error.contains(path(file)), "{error}");
        let (code, error) = fails(&["import", path(&db), path(file)]);
        assert_eq!(code, Some(3), "{error}");
        assert!(error.contains(says) && error.contains(path(file)), "{error}");
    }
    assert!(!new.exists());
    let (code, error) = fails(&["prune", path(&new), "--archive", path(&archive)]);
    assert_eq!(code, Some(3), "{error}");
    assert!(!new.exists());
    holds(&db);
}

fn start(args: &[String]) -> Child {
    let mut command = Command::new(BINARY);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|word| (*word).to_owned()).collect()
}

/// `kill -9` after so long; it may have ended by itself.
fn kill(mut child: Child, after: Duration) {
    std::thread::sleep(after);
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
}

#[test]
fn whatever_is_killed_leaves_nothing_by_half_and_is_called_again() {
    let (folder, db) = demo("5");
    let before = json(&["show", path(&db), "--json"]);
    let archive = folder.path().join("a.jsonl.gz");
    json(&["archive", path(&db), path(&archive), "--json"]);
    let whole = std::fs::read(&archive).expect("read");
    let mut random = Random::new(5);
    for round in 0..10 {
        let mut killed = |args: &[String]| {
            kill(start(args), Duration::from_micros(random.below(40_000)));
        };
        let file = folder.path().join(format!("{round}.jsonl.gz"));
        killed(&words(&["archive", path(&db), path(&file)]));
        if file.exists() {
            assert_eq!(
                import(&folder.path().join("new.db"), &file)["refused"],
                Value::Array(vec![])
            );
        }
        let copy = folder.path().join(format!("{round}.db"));
        killed(&words(&["backup", path(&db), path(&copy)]));
        if copy.exists() {
            holds(&copy);
        }
        killed(&prune(&db, &archive));
        holds(&db);
        killed(&words(&["import", path(&db), path(&archive)]));
        holds(&db);
        // What was killed is called again.
        pruned(&db, &archive);
        holds(&db);
        import(&db, &archive);
        assert_eq!(json(&["show", path(&db), "--json"]), before);
    }
    let again = folder.path().join("again.jsonl.gz");
    json(&["archive", path(&db), path(&again), "--json"]);
    let length = std::fs::read(&again).expect("read").len();
    assert!(length.abs_diff(whole.len()) < 100, "{length} bytes, {} before", whole.len());
}

#[test]
fn a_store_in_use_is_archived_pruned_imported_and_backed_up() {
    let (_elsewhere, ended) = demo("6");
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("a.jsonl.gz");
    json(&["archive", path(&ended), path(&archive), "--json"]);
    let db = folder.path().join("used.db");
    let args = ["demo", "--devices", "200", "--seed", "7", "--speed", "400", "--json", "--db"];
    let mut args = words(&args);
    args.push(path(&db).to_owned());
    let mut engine = start(&args);
    let patience = std::time::Instant::now();
    while !db.exists() || hedgerow(&["show", path(&db), "--json"]).stdout.len() < 10 {
        assert!(patience.elapsed() < Duration::from_secs(120), "it does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (mut rounds, mut copies) = (0, Vec::new());
    let mut random = Random::new(7);
    while engine.try_wait().expect("it is ours").is_none() && rounds < 12 {
        assert_eq!(import(&db, &archive)["refused"], Value::Array(vec![]));
        let copy = folder.path().join(format!("{rounds}.db"));
        json(&["backup", path(&db), path(&copy), "--json"]);
        copies.push(copy);
        // Killed, it may have removed the campaign, and is called again all the same.
        kill(start(&prune(&db, &archive)), Duration::from_micros(random.below(30_000)));
        holds(&db);
        let gone = pruned(&db, &archive);
        assert!(gone["removed"].as_u64() <= Some(1) && gone["refused"] == 0, "{gone}");
        holds(&db);
        let after = Duration::from_micros(random.below(30_000));
        kill(start(&words(&["import", path(&db), path(&archive)])), after);
        rounds += 1;
    }
    // It goes on to its end, whatever was done beside it.
    let status = engine.wait().expect("it ends");
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
    assert!(rounds > 0, "it was used meanwhile");
    holds(&db);
    import(&db, &archive);
    holds(&db);
    let shown = json(&["show", path(&db), "--json"]);
    assert_eq!(shown.as_array().map(Vec::len), Some(2));
    for copy in copies {
        holds(&copy);
        let shown = json(&["show", path(&copy), "--json"]);
        assert_eq!(shown.as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn a_copy_in_the_place_of_its_original_does_not_take_its_log_for_its_own() {
    let (folder, db) = demo("8");
    let copy = folder.path().join("copy.db");
    json(&["backup", path(&db), path(&copy), "--json"]);
    holds(&copy);
    // A writer that is killed leaves its log beside the file.
    let mut engine = start(&words(&[
        "demo",
        "--devices",
        "80",
        "--seed",
        "9",
        "--speed",
        "1",
        "--json",
        "--db",
        path(&folder.path().join("other.db")),
    ]));
    let log = folder.path().join("other.db-wal");
    let patience = std::time::Instant::now();
    while std::fs::metadata(&log).map_or(0, |log| log.len()) == 0 {
        assert!(patience.elapsed() < Duration::from_secs(120), "it does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    let other = folder.path().join("other.db");
    let taken = folder.path().join("taken.db");
    json(&["backup", path(&other), path(&taken), "--json"]);
    engine.kill().expect("it is ours");
    engine.wait().expect("it ends");
    assert!(std::fs::metadata(&log).is_ok_and(|log| log.len() > 0));
    std::fs::rename(&taken, &other).expect("restored");
    let (code, error) = fails(&["audit", path(&other)]);
    assert_eq!(code, Some(3), "{error}");
    assert!(error.contains("is not the log of"), "{error}");
    std::fs::remove_file(&log).expect("as the guide says");
    drop(std::fs::remove_file(folder.path().join("other.db-shm")));
    holds(&other);
}
