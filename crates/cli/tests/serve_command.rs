//! `hedgerow serve` as a process, and the commands that ask it: the demonstration rolls its first
//! campaign out to devices on the real SDK, an image is uploaded and rolled out, a configuration is
//! looked at and served, and a signal ends it.

// Signals as they are there.
#![cfg(all(target_os = "linux", feature = "serve"))]

use std::io::{BufRead, BufReader, Read};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hedgerow_astarte_emulator::RealmKeys;
use serde_json::{Value, json};

/// No wait takes longer, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(240);

fn hedgerow() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
    for variable in ["HEDGEROW_URL", "HEDGEROW_TENANT", "HEDGEROW_TOKEN", "HEDGEROW_LOG"] {
        command.env_remove(variable);
    }
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A service as a process, which is killed should a test fail.
struct Running {
    child: Child,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut command = hedgerow();
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = lines
            .find_map(|line| Some(line.ok()?.strip_prefix("listening on ")?.to_owned()))
            .expect("it listens");
        Self { child, url: format!("http://{address}") }
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let output = hedgerow().args(arguments).args(["--url", &self.url]).output();
        output.expect("the command runs")
    }

    fn told(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.told(&[arguments, &["--json"]].concat())).expect("JSON")
    }

    fn refused(&self, arguments: &[&str], code: i32, says: &str) {
        let output = self.ask(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }

    /// Tells it to end, and waits until it has.
    fn terminate(&mut self) -> ExitStatus {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
        wait("it ends", || self.child.try_wait().expect("it is a child"))
    }
}

/// Stands between a command and a service, and breaks every connection when it is told to.
struct Between {
    url: String,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Between {
    fn new(service: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let service = service.strip_prefix("http://").expect("an address").to_owned();
        let open = Arc::new(Mutex::new(Vec::new()));
        let opened = Arc::clone(&open);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                // The service ends before this process does.
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(&service)) else { continue };
                let copy = |from: &TcpStream, to: &TcpStream| {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                };
                copy(&near, &far);
                copy(&far, &near);
                opened.lock().unwrap().extend([near, far]);
            }
        });
        Self { url, open }
    }

    fn break_all(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Asks until it is so.
fn wait<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(so) = is_so() {
            return so;
        }
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn the_demonstration_rolls_out_what_is_uploaded_and_ends_when_it_is_told_to() {
    let listen = ["--listen", "127.0.0.1:0"];
    let serve = ["serve", "--demo", "--devices", "8", "--no-faults"];
    let mut demo = Running::start(&[&serve[..], &listen].concat());
    let devices = wait("all devices say what they are", || {
        let devices = demo.json(&["device", "list"]);
        let known = devices.as_array()?.iter().all(|it| it["systemModel"]["handle"].is_string());
        known.then_some(devices)
    });
    assert_eq!(devices.as_array().map(Vec::len), Some(8));
    let campaign = wait("there is a campaign", || {
        demo.json(&["campaign", "list"]).as_array()?.first().cloned()
    });
    assert_eq!(campaign["name"], "Gateways to 2.0.0");

    // The connection breaks while it is watched, and what happens then is shown all the same.
    let between = Between::new(&demo.url);
    let mut watching = hedgerow()
        .args(["campaign", "watch", "--url", &between.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut shown = BufReader::new(watching.stdout.take().expect("piped"));
    let mut lines = String::new();
    shown.read_line(&mut lines).expect("how it stands");
    between.break_all();
    shown.read_to_string(&mut lines).expect("how it ends");
    let watched = watching.wait_with_output().expect("it ends");
    assert!(watched.status.success(), "{lines}{}", said(&watched));
    assert!(lines.contains("FINISHED, SUCCESS"), "{lines}");
    assert!(said(&watched).contains("trying again"), "{}", said(&watched));
    demo.refused(&["campaign", "watch", "x"], 1, "there is no campaign \"x\"");
    let ended = demo.json(&["campaign", "list"])[0].clone();
    assert_eq!(ended["totalTargetCount"], 4, "{ended}");
    assert_eq!(ended["successfulTargetCount"], 4, "{ended}");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pump 3.0.0.bin");
    std::fs::write(&file, vec![7; 3_000_000]).expect("written");
    let file = file.to_str().expect("UTF-8");
    let upload = ["image", "upload", file, "--model", "pump-controller", "--version", "3.0.0"];
    let image = demo.json(&upload);
    assert_eq!(image["sizeBytes"], 3_000_000);
    assert!(image["url"].as_str().is_some_and(|url| url.starts_with(&demo.url)), "{image}");
    demo.refused(&upload, 1, "version");
    assert!(demo.told(&["image", "list"]).contains("pump-controller@3.0.0"));

    let pump = devices.as_array().into_iter().flatten();
    let mut pump = pump.filter(|it| it["systemModel"]["handle"] == "pump-controller");
    let pump = pump.next().and_then(|it| it["deviceId"].as_str()).expect("a pump").to_owned();
    demo.told(&["device", "tag", &pump, "chosen"]);
    demo.told(&["group", "create", "chosen", "--selector", "\"chosen\" in tags"]);
    demo.refused(&["group", "create", "x", "--selector", "tags ="], 1, "selector");
    demo.told(&["channel", "create", "chosen", "--groups", "chosen"]);
    let create = ["campaign", "create", "Pump to 3.0.0", "--channel", "chosen", "--at-once", "1"];
    let image = |image: &'static str| [&create[..], &["--image", image]].concat();
    let created = demo.json(&image("pump-controller@3.0.0"));
    assert!(created["id"].is_string());
    let watched = demo.told(&["campaign", "watch", "Pump to 3.0.0", "--json"]);
    let last: Value = serde_json::from_str(watched.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["outcome"], &last["totalTargetCount"]), (&json!("SUCCESS"), &json!(1)));
    demo.refused(&image("none@1.0.0"), 1, "`hedgerow image list`");
    demo.refused(&["device", "update", &pump, "nowhere.bin"], 2, "cannot be read");
    demo.refused(&["device", "update", "none", file], 1, "`hedgerow device list`");
    // It installs a file of which nothing says the version, and shows the one that it had.
    wait("the pump shows what it runs", || {
        let shown = demo.json(&["device", "show", &pump]);
        (shown["baseImage"]["version"] == "3.0.0").then_some(())
    });
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "firmware").expect("written");
    let started = demo.json(&["device", "update", &pump, plain.to_str().expect("UTF-8")]);
    let shown = wait("the update has ended", || {
        let shown = demo.json(&["device", "show", &pump]);
        let newest = &shown["otaOperations"]["edges"][0]["node"];
        assert_eq!(newest["id"], started["id"]);
        newest["endedAt"].is_string().then_some(shown)
    });
    let ended = &shown["otaOperations"]["edges"][0]["node"];
    assert_eq!(ended["status"], "SUCCESS", "{ended}");
    assert_eq!(shown["baseImage"]["version"], "3.0.0");

    demo.refused(&["device", "cancel", &pump], 1, "no update under way");

    let create = ["model", "create", "valve", "--part-numbers", "V-1,V-2"];
    demo.told(&create);
    demo.refused(&create, 1, "already");
    demo.refused(&["model", "create", "pipe", "--part-numbers", "V-2"], 1, "part");
    assert!(demo.told(&["model", "list"]).contains("valve  valve: part numbers V-1, V-2; valve"));
    demo.told(&["image", "upload", file, "--model", "valve", "--version", "1.0.0"]);

    assert!(demo.terminate().success());
    demo.refused(&["campaign", "list"], 3, "is the service running there?");
}

#[test]
fn wrong_usage_is_refused_before_anything_starts() {
    for (arguments, says) in [
        (&["serve"][..], "--config"),
        (&["serve", "--demo", "--listen", "0.0.0.0:4080"], "127.0.0.1"),
        (&["serve", "--config", "/nowhere/hedgerow.toml"], "cannot be read"),
        (&["serve", "--demo", "--config", "x"], "cannot be used with"),
        (&["serve", "--check-config"], "--config"),
    ] {
        let output = hedgerow().args(arguments).output().expect("the command runs");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

const CONFIG: &str = r#"
    store = "hedgerow.db"
    images.folder = "images"
    http.listen = "127.0.0.1:0"
    log.filter = "error"
    [[tenants]]
    name = "gardens"
    keys = ["own-public.pem"]
    astarte = { url = "http://127.0.0.1:9", private_key = "other.pem" }
"#;

/// A configuration with keys, of which only one's tokens are to be taken, and tokens of both.
fn configured(folder: &Path) -> String {
    let at = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    for name in ["own", "other"] {
        let keys = RealmKeys::generate().expect("keys");
        let private = at(&format!("{name}.pem"));
        std::fs::write(&private, keys.private_key_pem().expect("generated")).expect("written");
        let public = at(&format!("{name}-public.pem"));
        std::fs::write(public, keys.public_key_pem()).expect("written");
        for role in ["viewer", "admin"] {
            let token = hedgerow().args(["token", "--key", &private, "--role", role]).output();
            let token = token.expect("the command runs");
            assert!(token.status.success(), "{}", said(&token));
            std::fs::write(at(&format!("{name}-{role}")), token.stdout).expect("written");
        }
    }
    let file = at("hedgerow.toml");
    std::fs::write(&file, CONFIG).expect("written");
    file
}

#[test]
fn a_configuration_is_looked_at_and_each_mistake_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = configured(folder.path());
    let check = |text: &str| {
        std::fs::write(&file, text).expect("written");
        let check = hedgerow().args(["serve", "--check-config", "--config", &file]).output();
        let check = check.expect("the command runs");
        (check.status.code(), said(&check), String::from_utf8_lossy(&check.stdout).into_owned())
    };
    let (code, said, printed) = check(CONFIG);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(printed.contains("can be used"), "{printed}");
    assert!(!folder.path().join("hedgerow.db").exists(), "nothing is started");
    let example = hedgerow().args(["serve", "--example"]).output().expect("the command runs");
    let example = String::from_utf8_lossy(&example.stdout).replace("/var/lib/hedgerow/", "");
    let (code, said, _) = check(&example);
    assert_eq!(code, Some(2), "it names files that are not here: {said}");
    assert!(!said.contains("TOML") && said.contains("gardens-public.pem cannot be read"), "{said}");
    for (from, to, says) in [
        ("store =", "stor =", "unknown field `stor`"),
        ("store = \"hedgerow.db\"", "store = hedgerow.db", "line 2"),
        ("own-public.pem", "gone.pem", "gone.pem cannot be read"),
        ("127.0.0.1:0", "localhost", "`hedgerow serve --example`"),
        ("hedgerow.db", "gone/hedgerow.db", "create it"),
    ] {
        let (code, said, printed) = check(&CONFIG.replacen(from, to, 1));
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{to}");
        assert!(said.contains(&file) && said.contains(says), "{to}: {said}");
    }
}

fn with<'a>(token: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [words, &["--tenant", "gardens", "--token-file", token]].concat()
}

#[test]
fn what_a_configuration_says_is_served_to_whom_it_says_and_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = configured(folder.path());
    let at = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (viewer, admin, stranger) = (at("own-viewer"), at("own-admin"), at("other-admin"));
    let create = ["group", "create", "early", "--selector", "\"early\" in tags"];

    let mut service = Running::start(&["serve", "--config", &file]);
    assert_eq!(service.told(&with(&viewer, &["campaign", "list"])), "");
    service.refused(&["group", "list", "--tenant", "gardens"], 2, "asks for a token");
    service.refused(&with(&stranger, &["group", "list"]), 2, "refuses");
    service.refused(&with(&viewer, &create), 1, "");
    service.refused(&with(&file, &["group", "list"]), 2, "hedgerow token");
    let elsewhere = hedgerow().args(["group", "list", "--url", "127.0.0.1:4080"]).output();
    let elsewhere = elsewhere.expect("the command runs");
    assert_eq!(elsewhere.status.code(), Some(2));
    assert!(said(&elsewhere).contains("such as http://127.0.0.1:4080"), "{}", said(&elsewhere));
    service.told(&with(&admin, &create));
    service.refused(&with(&admin, &create), 1, "handle");

    // The store is in use, and so is the port.
    let again = hedgerow().args(["serve", "--config", &file]).output().expect("the command runs");
    assert_eq!(again.status.code(), Some(3));
    assert!(said(&again).contains("stop that one first"), "{}", said(&again));
    let address = service.url.strip_prefix("http://").expect("an address");
    let other = at("other.toml");
    let text = CONFIG.replace("127.0.0.1:0", address).replace("hedgerow.db", "other.db");
    std::fs::write(&other, text).expect("written");
    let again = hedgerow().args(["serve", "--config", &other]).output().expect("the command runs");
    assert_eq!(again.status.code(), Some(3));
    assert!(said(&again).contains(address) && said(&again).contains("choose another"));

    assert!(service.terminate().success());
    let mut service = Running::start(&["serve", "--config", &file]);
    assert!(service.told(&with(&viewer, &["group", "list"])).starts_with("early"));
    assert!(service.terminate().success());
}
