//! Files that were damaged, emptied, or have a log beside them that is another's: every command
//! comes to an end, says what is wrong and what to do, and prints nothing that is not so.
//!
//! Damages follow from a seed, so that a failure can be looked at again.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How many damages each command meets.
const DAMAGES: u64 = 40;
const PAGE: usize = 4_096;
/// No command takes as long, however slow the machine: it would run for ever.
const PATIENCE: Duration = Duration::from_secs(120);
/// Nor does one print as much: what is read of these logs has a hundredth of it.
const MOST: u64 = 100_000_000;

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs a command to its end, which must come.
fn hedgerow(args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let (out, errors) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let read = |from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.take(MOST).read_to_end(&mut bytes).map(|_| bytes).expect("it can be read")
        })
    };
    let (out, errors) = (read(Box::new(out)), read(Box::new(errors)));
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            break status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().expect("it is ours");
            panic!("{args:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let (stdout, stderr) = (out.join().expect("read"), errors.join().expect("read"));
    Output { status, stdout, stderr }
}

/// A demo that has ended: its log and its devices.
fn demo(folder: &Path) -> PathBuf {
    let db = folder.join("demo.db");
    let output = hedgerow(&["demo", "--devices", "100", "--json", "--db", path(&db)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    db
}

/// Numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ mixed >> 31) % bound as u64).expect("below a usize")
    }
}

fn damage(bytes: &mut Vec<u8>, seed: u64) {
    let mut random = Random(seed);
    let pages = bytes.len() / PAGE;
    let (one, another) = (random.below(pages) * PAGE, random.below(pages) * PAGE);
    let at = random.below(bytes.len());
    match seed % 5 {
        0 => bytes.copy_within(another..another + PAGE, one),
        1 => bytes[one..one + PAGE].fill(0),
        2 => bytes[at] ^= 1 << random.below(8),
        3 => bytes[one + random.below(60)] ^= 0xff,
        _ => bytes.truncate(at),
    }
}

/// What a command says, without how long it took.
fn said(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    text.lines().filter(|line| !line.contains("real_seconds")).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_command_tells_damage_or_prints_what_it_would_without_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = demo(folder.path());
    let whole = std::fs::read(&db).expect("it was closed");
    let file = path(&db);
    let listed = hedgerow(&["campaigns", file, "--json"]).stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed).expect("JSON");
    let campaign = listed["campaigns"][0]["campaign"].as_str().expect("an id");
    let targets = hedgerow(&["targets", file, campaign, "--json"]).stdout;
    let targets: serde_json::Value = serde_json::from_slice(&targets).expect("JSON");
    let device = targets["targets"][0]["device"].as_str().expect("a device");
    let commands: [&[&str]; 7] = [
        &["log", file, "--json"],
        &["show", file, "--json"],
        &["campaigns", file, "--json"],
        &["targets", file, campaign, "--json"],
        &["device", file, device, "--json"],
        &["audit", file, "--json"],
        // An engine on the file.
        &["demo", "--json", "--db", file],
    ];
    let undamaged: Vec<Output> = commands.iter().map(|command| hedgerow(command)).collect();
    assert!(undamaged.iter().all(|output| output.status.success()));
    let mut told = 0;
    for seed in 0..DAMAGES {
        let mut bytes = whole.clone();
        damage(&mut bytes, seed);
        for (command, before) in commands.iter().zip(&undamaged) {
            std::fs::write(&db, &bytes).expect("written");
            for beside in [".lock", "-wal", "-shm"] {
                drop(std::fs::remove_file(format!("{file}{beside}")));
            }
            let output = hedgerow(command);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(!errors.contains("panicked"), "seed {seed}: {command:?}: {errors}");
            if output.status.success() {
                let (now, before) = (said(&output.stdout), said(&before.stdout));
                assert!(now == before, "seed {seed}: {command:?} says otherwise");
            } else {
                assert!(matches!(output.status.code(), Some(1 | 3)), "seed {seed}: {command:?}");
                let named = errors.contains(file) || errors.contains("of tenant demo");
                assert!(!output.stdout.is_empty() || named, "{command:?}: {errors}");
                told += 1;
            }
        }
    }
    assert!(told > DAMAGES, "{told} of {DAMAGES} damages and {} commands", commands.len());
}

#[test]
fn an_event_whose_page_is_of_another_place_ends_a_log_with_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = demo(folder.path());
    let whole = std::fs::read(&db).expect("it was closed");
    let printed = hedgerow(&["log", path(&db), "--json"]).stdout;
    let mut told = 0;
    for page in 5..whole.len() / PAGE {
        // Positions go back here: who reads on behind the last one never comes to an end.
        let mut bytes = whole.clone();
        bytes.copy_within((page - 1) * PAGE..page * PAGE, page * PAGE);
        std::fs::write(&db, bytes).expect("written");
        let output = hedgerow(&["log", path(&db), "--json"]);
        assert!(printed.starts_with(&output.stdout), "page {page}: events that were not recorded");
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(3));
            told += 1;
        }
    }
    assert!(told > 10, "{told}");
}

#[test]
fn events_that_are_no_json_or_are_missing_are_no_nulls_and_no_gaps() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = demo(folder.path());
    let whole = std::fs::read(&db).expect("it was closed");
    let old = "UPDATE events SET checksum = NULL; UPDATE streams SET checksum = NULL, seal = NULL;";
    for (change, told) in [
        (format!("{old} UPDATE events SET data = x'00'"), "the data of event 1 of campaign/"),
        ("DELETE FROM events WHERE version = 40".to_owned(), "stands where event 40 is due"),
        ("DELETE FROM events WHERE version > 40".to_owned(), "event 41 of campaign/"),
    ] {
        std::fs::write(&db, &whole).expect("written");
        let connection = rusqlite::Connection::open(&db).expect("it opens");
        connection.execute_batch(&change).expect("SQL");
        drop(connection);
        let output = hedgerow(&["log", path(&db), "--json"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{change}: {errors}");
        assert!(errors.contains(told), "{change}: {errors}");
        assert!(errors.contains("backup"), "it says what to do: {errors}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("\"data\":null"));
    }
}

#[test]
fn an_emptied_file_is_called_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = demo(folder.path());
    std::fs::write(&db, "").expect("emptied");
    for command in ["log", "show", "audit"] {
        let output = hedgerow(&[command, path(&db)]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{errors}");
        assert!(errors.contains("is empty (0 bytes)") && errors.contains("backup"), "{errors}");
    }
    let output = hedgerow(&["demo", "--json", "--db", path(&db)]);
    assert_eq!(output.status.code(), Some(3), "nothing begins anew on it unasked");
}

#[test]
fn campaigns_of_a_file_that_was_removed_do_not_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = folder.path().join("demo.db");
    let arguments = ["demo", "--devices", "40", "--speed", "50", "--json", "--db", path(&db)];
    let mut child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let began = Instant::now();
    let mut events = 0;
    while events < 20 {
        assert!(began.elapsed() < PATIENCE, "it records nothing");
        std::thread::sleep(Duration::from_millis(20));
        let printed = hedgerow(&["log", path(&db), "--json"]).stdout;
        events = printed.split(|byte| *byte == b'\n').count();
    }
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    // What it left belongs together.
    assert!(hedgerow(&["audit", path(&db)]).status.success());
    for name in ["demo.db", "demo.db.world", "demo.db.world-wal", "demo.db.world-shm"] {
        std::fs::remove_file(folder.path().join(name)).expect("as people begin anew");
    }
    let anew = ["demo", "--devices", "40", "--seed", "2", "--json", "--db", path(&db)];
    for command in [&anew[..], &["log", path(&db)], &["show", path(&db)]] {
        let output = hedgerow(command);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{command:?}: {errors}");
        assert!(errors.contains("demo.db-wal is not the log of"), "{errors}");
        assert!(errors.contains("remove it"), "it says what to do: {errors}");
    }
    for name in ["demo.db-wal", "demo.db-shm"] {
        std::fs::remove_file(folder.path().join(name)).expect("as the error says");
    }
    drop(std::fs::remove_file(folder.path().join("demo.db.world")));
    assert!(hedgerow(&anew).status.success());
    let shown = hedgerow(&["show", path(&db), "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown.as_array().map(Vec::len), Some(1), "only the new one is there: {shown:#}");
}
