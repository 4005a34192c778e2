//! Real `hedgerow` processes: starting, stopping, killing, waiting for what they write, and looking
//! at what they leave. Every wait ends.

mod newest;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use newest::newest;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_hedgerow");
/// No wait takes longer, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) fn rounds() -> u64 {
    std::env::var("HEDGEROW_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

pub(crate) fn arguments(db: &Path) -> Vec<String> {
    let fixed = ["demo", "--json", "--speed", "max", "--seed", "5", "--devices", "100"];
    let mut arguments: Vec<String> = fixed.map(str::to_owned).into();
    arguments.extend(["--max-pending".to_owned(), "12".to_owned(), "--db".to_owned()]);
    arguments.push(db.to_str().expect("UTF-8").to_owned());
    arguments
}

pub(crate) fn demo(db: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments(db));
    command
}

/// How much was tried: printed for whoever counts.
#[derive(Default)]
pub(crate) struct Tried(BTreeMap<&'static str, u64>);

impl Tried {
    pub(crate) fn count(&mut self, what: &'static str, more: u64) {
        *self.0.entry(what).or_default() += more;
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        let mut line = String::from("tried:");
        for (what, count) in &self.0 {
            // A String takes everything.
            let _ = write!(line, " {count} {what};");
        }
        println!("{line}");
    }
}

/// A process that runs, and does not outlive its test.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        Self { child }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`; it may have ended by itself.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it ends");
    }

    /// Waits for its end, whatever that is.
    pub(crate) fn ends(mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status.code();
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn succeeds(self) {
        assert_eq!(self.ends(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, or its test has failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn signal(name: &str, process: u32) {
    // It may have ended by itself.
    let kill = format!("kill -{name} {process} 2> /dev/null");
    Command::new("sh").args(["-c", &kill]).status().expect("a shell");
}

/// The state of a process, as one letter; none: it is gone.
fn state(process: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may hold anything but ends with the last parenthesis.
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// A child that has ended stays until it is waited for.
fn has_ended(process: u32) -> bool {
    matches!(state(process), None | Some('Z'))
}

/// Stops a process. `false`: it has ended by itself.
pub(crate) fn stop(process: u32) -> bool {
    signal("STOP", process);
    let began = Instant::now();
    while !has_ended(process) {
        if state(process) == Some('T') {
            return true;
        }
        assert!(began.elapsed() < PATIENCE, "it does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

pub(crate) fn continue_(process: u32) {
    signal("CONT", process);
}

/// Waits until a process has brought the log to a place, or has ended.
pub(crate) fn wait_for(running: &Running, db: &Path, known: u64, place: u64) -> u64 {
    let began = Instant::now();
    let mut reached = known;
    while reached < place {
        reached = newest(db, reached);
        if has_ended(running.id()) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the log stays at {reached}");
        std::thread::sleep(Duration::from_millis(1));
    }
    reached
}

/// Exit status and errors of a command.
pub(crate) fn outcome(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The error of a command that must fail for its file.
pub(crate) fn refused(command: &mut Command) -> String {
    let (code, error) = outcome(command);
    assert_eq!(code, Some(3), "{error}");
    error
}

/// Audits the log, whatever is being done to it.
pub(crate) fn audit(db: &Path, tried: &mut Tried) {
    let output = Command::new(BINARY).args(["audit", "--json"]).arg(db).output().expect("starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if !db.exists() && errors.contains("does not exist") {
        return; // it was killed before it had made the file
    }
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    let audit: Value = serde_json::from_str(&text).expect("JSON");
    tried.count("audits", 1);
    tried.count("events audited", audit["events"].as_u64().expect("a number"));
}

/// Runs a demo to its end, and returns its report.
pub(crate) fn finish(db: &Path) -> Value {
    let output = demo(db).output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    let ended = matches!(output.status.code(), Some(0 | 1));
    assert!(ended, "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("the report is JSON");
    assert!(report["outcome"].is_string(), "{report:#}");
    assert_eq!(report["targets"]["in_progress"], 0, "{report:#}");
    report
}

/// The report of a demo that nobody disturbs.
pub(crate) fn undisturbed() -> &'static Value {
    static REPORT: OnceLock<Value> = OnceLock::new();
    REPORT.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        finish(&folder.path().join("undisturbed.db"))
    })
}

/// How many events that one has.
pub(crate) fn events() -> u64 {
    undisturbed()["events"].as_u64().expect("a number")
}

fn reasons(report: &Value) -> BTreeMap<String, u64> {
    let failures = report["failures"].as_array().expect("a list");
    let count = |failure: &Value| failure["targets"].as_u64().expect("a number");
    failures.iter().map(|failure| (failure["reason"].to_string(), count(failure))).collect()
}

/// Runs the demo to its end, if it has not ended, and compares it with the undisturbed one.
pub(crate) fn ends_as_one_left_alone(db: &Path, tried: &mut Tried) {
    let report = finish(db);
    let alone = undisturbed();
    assert_eq!(report["outcome"], alone["outcome"]);
    assert_eq!(report["targets"], alone["targets"]);
    assert_eq!(reasons(&report), reasons(alone));
    audit(db, tried);
}
