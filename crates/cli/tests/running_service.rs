//! The service of the embedding guide as a process of its own, in real time: its disk has no room
//! for a while, it is stopped and continued, and it is killed. It refuses what it cannot record, and
//! goes on by itself as soon as it can (E4, E8).

// Signals and limits as they are there.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[path = "../../sqlite/tests/http/mod.rs"]
mod http;
#[path = "../../sqlite/examples/service.rs"]
#[allow(dead_code, reason = "its main binds a fixed port")]
mod service;

/// Names the file to the child.
const FILE: &str = "HEDGEROW_SERVICE_TEST_FILE";
/// No wait takes longer, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(120);

const CAMPAIGN: &str = "/campaigns/5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa";
const FIRST: &str = "/devices/AAAAAAAAAAAAAAAAAAAAAQ";
const SECOND: &str = "/devices/AAAAAAAAAAAAAAAAAAAAAg";

/// The process that the tests start: this file again, as a service.
#[test]
fn child() {
    let Ok(file) = std::env::var(FILE) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("set");
    println!("\nlistening on {}", listener.local_addr().expect("bound"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("taken");
        service::serve(listener, &file).await.expect("it serves until it is killed");
    });
}

struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(file: &Path) -> Self {
        let this = std::env::current_exe().expect("this test is a file");
        // The signal of a file that may not grow would kill; the error is what is tried here.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" --exact child --nocapture"])
            .arg(this)
            .env(FILE, file)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = lines
            .find_map(|line| line.expect("text").strip_prefix("listening on ")?.parse().ok())
            .expect("it listens");
        // Whatever it prints later is nobody's business, and must not stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it ends");
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
    }

    /// How long its files may get at most, whatever it asks for.
    fn longest_files(&self) -> String {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id()));
        let limits = limits.expect("it runs");
        let line = limits.lines().find(|line| line.starts_with("Max file size"));
        line.expect("it has one").split_whitespace().nth(4).expect("soft and hard").to_owned()
    }

    /// How long its files may get from now on, in bytes.
    fn limit_files(&self, bytes: &str) {
        let status = Command::new("prlimit")
            .arg(format!("--pid={}", self.child.id()))
            .arg(format!("--fsize={bytes}:"))
            .status();
        assert!(status.expect("util-linux is there").success());
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        http::call(self.address, method, path, body)
    }

    fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call("GET", path, &Value::Null);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Tells as a device does: again, while the service cannot record it.
    fn tell(&self, path: &str, body: &Value) {
        until(|| match self.call("POST", path, body) {
            (200, _) => Ok(()),
            (503, why) => Err(why),
            other => panic!("{other:?}"),
        });
    }

    /// Polls as a device does, until it is asked to do something.
    fn asked(&self, device: &str) -> Value {
        until(|| Some(self.get(device)).filter(|asked| !asked.is_null()).ok_or(Value::Null))
    }

    /// Asks how the campaign stands until it stands so.
    fn wait_for(&self, field: &str, value: &str) {
        until(|| {
            let progress = self.get(CAMPAIGN);
            if progress[field] == value { Ok(()) } else { Err(progress) }
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It was killed, or its test has failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn until<T>(mut attempt: impl FnMut() -> Result<T, Value>) -> T {
    let began = Instant::now();
    loop {
        match attempt() {
            Ok(found) => return found,
            Err(instead) => assert!(began.elapsed() < PATIENCE, "{instead}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Audits the log: how many events it has.
fn audit(file: &Path) -> u64 {
    let mut audit = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    let output = audit.args(["audit", "--json"]).arg(file).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    let audit: Value = serde_json::from_str(&text).expect("JSON");
    audit["events"].as_u64().expect("a number")
}

/// The campaign of the guide, one operation at a time.
fn definition() -> Value {
    let guide = include_str!("../../../docs/embedding.md");
    let json = guide.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    let mut definition: Value =
        serde_json::from_str(json.expect("the guide has one")).expect("JSON");
    definition["rollout"]["push"]["limits"]["max_pending_operations"] = json!(1);
    definition
}

fn online() -> Value {
    json!({"presence": {"online": true, "version": "1.4.0"}})
}

fn report(asked: &Value, status: &str) -> Value {
    json!({"report": {"operation": asked["update"], "status": status}})
}

#[test]
fn a_service_without_room_refuses_reports_and_goes_on_as_soon_as_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("service.db");
    let service = Running::start(&file);
    service.tell(FIRST, &online());
    service.tell(SECOND, &online());
    assert_eq!(service.call("PUT", CAMPAIGN, &definition()), (200, Value::Null));
    let asked = service.asked(FIRST);
    service.tell(FIRST, &report(&asked, "acknowledged"));

    service.limit_files("4096");
    let known = audit(&file);
    for _ in 0..2 {
        // The device is told to say it again later, and an operator why.
        let (status, why) = service.call("POST", FIRST, &report(&asked, "downloading"));
        assert_eq!(status, 503, "{why}");
        let why = why.as_str().expect("a text");
        assert!(why.contains("look at the disk, at quotas, and at limits"), "{why}");
        assert_eq!(service.get(CAMPAIGN)["targets"]["in_progress"], 1);
        assert_eq!(audit(&file), known, "nothing was recorded");
    }
    service.limit_files(&service.longest_files());
    service.tell(FIRST, &report(&asked, "downloading"));
    assert!(audit(&file) > known);

    service.signal("STOP");
    audit(&file);
    service.signal("CONT");
    // What was acknowledged is there after a kill.
    service.tell(&format!("{CAMPAIGN}/pause"), &Value::Null);
    service.tell(FIRST, &report(&asked, "success"));
    service.kill();
    audit(&file);

    let service = Running::start(&file);
    assert_eq!(service.get(CAMPAIGN)["targets"]["successful"], 1);
    service.wait_for("status", "paused");
    service.tell(SECOND, &online());
    service.tell(&format!("{CAMPAIGN}/resume"), &Value::Null);
    let asked = service.asked(SECOND);
    service.tell(SECOND, &report(&asked, "success"));
    service.wait_for("outcome", "success");
    audit(&file);
    service.kill();
}
