//! Real processes on a real file: killed at random moments, stopped and continued, two at a time, on
//! a disk without room, and where nothing may be written. Whatever happens, `hedgerow audit` finds
//! nothing in the log at any time, and the campaign ends as one that was left alone (E4, E5, E8).
//!
//! `HEDGEROW_ROUNDS=20 cargo test -p hedgerow --test real_processes -- --nocapture` tries more, and
//! prints how much was tried.

// Signals, limits and permissions as they are there.
#![cfg(target_os = "linux")]

mod processes;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hedgerow_sim::random::Random;

use processes::{
    BINARY, Running, Tried, audit, continue_, demo, ends_as_one_left_alone, events, newest,
    refused, rounds, stop, undisturbed, wait_for,
};

/// What an error must say where a write failed for want of room.
const ROOM: [&str; 3] = ["free some space", "the room on its disk", "limits on the size of files"];

#[test]
fn a_process_that_is_killed_again_and_again_loses_nothing() {
    let mut tried = Tried::default();
    for round in 0..rounds() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = folder.path().join("killed.db");
        let mut random = Random::new(round);
        let mut reached = 0;
        for kill in 0..6 {
            let place = kill * events() / 8 + random.below(events() / 8);
            let running = Running::start(demo(&db));
            reached = wait_for(&running, &db, reached, place);
            std::thread::sleep(Duration::from_micros(random.below(10_000)));
            running.kill();
            tried.count("kills", 1);
            audit(&db, &mut tried);
        }
        ends_as_one_left_alone(&db, &mut tried);
    }
}

#[test]
fn a_process_that_is_stopped_keeps_its_file_and_goes_on() {
    let mut tried = Tried::default();
    for round in 0..rounds() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = folder.path().join("stopped.db");
        let mut random = Random::new(1_000 + round);
        let running = Running::start(demo(&db));
        let mut reached = 0;
        for pause in 0..4 {
            let place = pause * events() / 8 + random.below(events() / 8);
            reached = wait_for(&running, &db, reached, place);
            if !stop(running.id()) {
                break; // a fast machine has brought it to its end meanwhile
            }
            tried.count("stops", 1);
            // A second one would not know what the first is about to write.
            let error = refused(&mut demo(&db));
            assert!(error.contains("in use, another process runs campaigns on it"), "{error}");
            tried.count("second processes refused", 1);
            audit(&db, &mut tried);
            continue_(running.id());
            audit(&db, &mut tried);
        }
        running.succeeds();
        ends_as_one_left_alone(&db, &mut tried);
    }
}

/// Somebody removes the lock, and with it what keeps a second engine away: what is left are the
/// versions and the claims of the store.
#[test]
fn two_engines_on_one_file_break_no_rule() {
    let mut tried = Tried::default();
    for round in 0..rounds() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = folder.path().join("two.db");
        let mut random = Random::new(2_000 + round);
        let first = Running::start(demo(&db));
        let mut reached = wait_for(&first, &db, 0, 20 + random.below(events() / 4));
        tried.count("stops", u64::from(stop(first.id())));
        fs::remove_file(folder.path().join("two.db.lock")).expect("there was a lock");
        let second = Running::start(demo(&db));
        std::thread::sleep(Duration::from_millis(random.below(300)));
        continue_(first.id());
        for running in [&second, &first, &second] {
            reached = wait_for(running, &db, reached, reached + random.below(events() / 4));
            tried.count("stops", u64::from(stop(running.id())));
            std::thread::sleep(Duration::from_millis(random.below(100)));
            continue_(running.id());
            audit(&db, &mut tried);
        }
        if random.chance(500) {
            first.kill();
            tried.count("kills", 1);
        } else {
            first.ends();
        }
        second.ends();
        tried.count("pairs of engines", 1);
        // Each had its own idea of the devices, so that only the rules can be compared.
        processes::finish(&db);
        audit(&db, &mut tried);
    }
}

#[test]
fn files_that_may_not_grow_are_told_and_lose_nothing() {
    let mut tried = Tried::default();
    for round in 0..rounds() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = folder.path().join("full.db");
        let mut random = Random::new(3_000 + round);
        let mut limit_kib = 64 + random.below(64);
        loop {
            // Without a handler the signal kills, which is another test.
            let mut command = Command::new("sh");
            command.arg("-c").arg("trap '' XFSZ; ulimit -S -f $0; exec \"$@\"");
            command.arg((limit_kib * 2).to_string()).arg(BINARY).args(processes::arguments(&db));
            let (code, error) = processes::outcome(&mut command);
            if code != Some(3) {
                assert!(code == Some(0), "{code:?}: {error}");
                break;
            }
            assert!(ROOM.iter().any(|part| error.contains(part)), "{error}");
            tried.count("writes without room", 1);
            audit(&db, &mut tried);
            limit_kib += 32 + random.below(400);
        }
        assert!(tried.of("writes without room") > round, "the limit was never met");
        ends_as_one_left_alone(&db, &mut tried);
    }
}

/// A file system of its own, where that is allowed: its errors are those of a full disk.
#[test]
fn a_disk_without_room_is_told_and_loses_nothing() {
    let mut tried = Tried::default();
    for round in 0..rounds() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut random = Random::new(4_000 + round);
        let mut size_kib = 64;
        let sizes: Vec<String> = (0..3)
            .map(|_| {
                size_kib += 64 + random.below(400);
                size_kib.to_string()
            })
            .collect();
        // Everything in one script: the file system goes with the last process that sees it.
        let script = r#"
            binary=$1; folder=$2; sizes=$3; shift 3
            mount -t tmpfs -o size=64m none "$folder" || exit 1
            echo mounted
            for size in $sizes; do
                mount -o "remount,size=${size}k" none "$folder" || exit 1
                "$binary" "$@" > /dev/null 2> "$folder.error"
                echo "demo $? $(tr '\n' ' ' < "$folder.error")"
                "$binary" audit "$folder/disk.db" > "$folder.error" 2>&1
                echo "audit $? $(tr '\n' ' ' < "$folder.error")"
            done
            mount -o remount,ro none "$folder" || exit 1
            "$binary" "$@" > /dev/null 2> "$folder.error"
            echo "read-only $? $(tr '\n' ' ' < "$folder.error")"
            "$binary" audit "$folder/disk.db" > "$folder.error" 2>&1
            echo "audit $? $(tr '\n' ' ' < "$folder.error")"
            mount -o remount,rw,size=64m none "$folder" || exit 1
            cp "$folder"/disk.db* "$folder.copy/"
        "#;
        let disk = folder.path().join("disk");
        fs::create_dir(&disk).expect("a folder");
        fs::create_dir(folder.path().join("disk.copy")).expect("a folder");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", BINARY]);
        command.arg(&disk).arg(sizes.join(" ")).args(processes::arguments(&disk.join("disk.db")));
        let output = command.output().expect("util-linux is there");
        let text = String::from_utf8_lossy(&output.stdout);
        let Some(text) = text.strip_prefix("mounted\n") else {
            // Not everybody may mount; limits on files are tried everywhere.
            eprintln!("no file system can be mounted here: a full one is not tried");
            return;
        };
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (what, code) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let said = words.next().unwrap_or("");
            match (what, code) {
                ("demo", "0") => {}
                ("demo", "3") => {
                    assert!(ROOM.iter().any(|part| said.contains(part)), "{said}");
                    tried.count("full disks", 1);
                }
                ("read-only", "3") => {
                    let advice = said.contains("allow this user to read and write it");
                    assert!(advice, "{said}");
                    tried.count("read-only files", 1);
                }
                ("audit", "0") => tried.count("audits", 1),
                _ => panic!("{line}"),
            }
        }
        let db = folder.path().join("disk.copy/disk.db");
        ends_as_one_left_alone(&db, &mut tried);
    }
}

#[test]
fn a_file_that_may_only_be_read_is_told_and_loses_nothing() {
    let mut tried = Tried::default();
    for round in 0..rounds() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = folder.path().join("read_only.db");
        let mut random = Random::new(5_000 + round);
        let running = Running::start(demo(&db));
        wait_for(&running, &db, 0, 20 + random.below(events() / 2));
        running.kill();
        let known = newest(&db, 0);

        let permissions = Permissions::take(folder.path());
        if !permissions.bind() {
            eprintln!(
                "permissions do not bind this user: files that may only be read are not tried"
            );
            return;
        }
        let error = refused(&mut permissions.under(&demo(&db)));
        assert!(error.contains("allow this user to read and write it and its folder"), "{error}");
        // What a killed process left can be read only where its log can be opened.
        let mut look = Command::new(BINARY);
        look.arg("audit").arg(&db);
        let (code, error) = processes::outcome(&mut permissions.under(&look));
        let left_open = error.contains("was not closed and its folder cannot be written to");
        assert!(code == Some(0) || code == Some(3) && left_open, "{code:?}: {error}");
        tried.count("read-only files", 1);
        drop(permissions);

        assert_eq!(newest(&db, 0), known, "nothing was written");
        audit(&db, &mut tried);
        ends_as_one_left_alone(&db, &mut tried);
        // Closed properly, it can be audited wherever it can be read.
        let permissions = Permissions::take(folder.path());
        let mut look = Command::new(BINARY);
        look.arg("audit").arg(&db);
        let (code, error) = processes::outcome(&mut permissions.under(&look));
        assert_eq!(code, Some(0), "{error}");
        tried.count("read-only files", 1);
    }
}

/// A folder and its files that nobody may write to, until this is dropped.
struct Permissions<'a>(&'a Path);

impl<'a> Permissions<'a> {
    fn take(folder: &'a Path) -> Self {
        Self::set(folder, 0o444, 0o555);
        Self(folder)
    }

    fn set(folder: &Path, files: u32, folders: u32) {
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
        };
        set(folder, 0o755);
        for entry in fs::read_dir(folder).expect("ours") {
            set(&entry.expect("ours").path(), files);
        }
        set(folder, folders);
    }

    /// The same command, bound by permissions also if this user is root.
    #[expect(clippy::unused_self, reason = "it makes sense only while they are taken")]
    fn under(&self, command: &Command) -> Command {
        let mut bound = Command::new("setpriv");
        bound.args(["--bounding-set", "-all", "--inh-caps", "-all", "--"]);
        // Who is not root may not give up what it does not have.
        let mut bound = if is_root() { bound } else { Command::new("env") };
        bound.arg(command.get_program()).args(command.get_args());
        bound
    }

    fn bind(&self) -> bool {
        let mut probe = Command::new("touch");
        probe.arg(self.0.join("probe"));
        processes::outcome(&mut self.under(&probe)).0 == Some(1)
    }
}

impl Drop for Permissions<'_> {
    fn drop(&mut self) {
        Self::set(self.0, 0o644, 0o755);
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("everybody may ask");
    output.stdout.trim_ascii() == b"0"
}

#[test]
fn a_demo_that_is_left_alone_succeeds() {
    assert_eq!(undisturbed()["outcome"], "success");
}
