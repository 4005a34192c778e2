//! The service of the embedding guide, started as it stands and told over HTTP what operators and
//! devices tell it, also across a restart.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::select;
use serde_json::{Value, json};

mod http;
#[path = "../examples/service.rs"]
#[allow(dead_code, reason = "its main binds a fixed port")]
mod service;

const CAMPAIGN: &str = "/campaigns/5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa";
const FIRST: &str = "/devices/AAAAAAAAAAAAAAAAAAAAAQ";
const SECOND: &str = "/devices/AAAAAAAAAAAAAAAAAAAAAg";

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Starts the service on a free port.
    fn start(file: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("set");
        let address = listener.local_addr().expect("bound");
        let file = file.to_str().expect("UTF-8").to_owned();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("taken");
                let serve = std::pin::pin!(service::serve(listener, &file));
                drop(select(serve, stopped).await);
            });
        });
        Self { address, stop, thread }
    }

    /// Drops everything where it stands, as when the process is killed.
    fn kill(self) {
        drop(self.stop);
        self.thread.join().expect("it did not panic");
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        http::call(self.address, method, path, body)
    }

    fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call("GET", path, &Value::Null);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    fn tell(&self, path: &str, body: &Value) {
        let answer = self.call("POST", path, body);
        assert_eq!(answer, (200, Value::Null));
    }

    /// Polls as a device does, until it is asked to do something.
    fn asked(&self, device: &str) -> Value {
        for _ in 0..1_000 {
            let asked = self.get(device);
            if !asked.is_null() {
                return asked;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{device} is asked nothing: {}", self.get(CAMPAIGN));
    }

    /// Asks how the campaign stands until it stands so.
    fn wait_for(&self, field: &str, value: &str) {
        for _ in 0..1_000 {
            if self.get(CAMPAIGN)[field] == value {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{field} is not {value}: {}", self.get(CAMPAIGN));
    }
}

/// The guide that shows this service.
const GUIDE: &str = include_str!("../../../docs/embedding.md");

/// The campaign of the guide, one operation at a time.
fn definition() -> Value {
    let json = GUIDE.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
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
fn a_campaign_is_created_paused_resumed_and_brought_to_its_end_across_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let file: PathBuf = folder.path().join("service.db");

    let service = Running::start(&file);
    service.tell(FIRST, &online());
    service.tell(SECOND, &online());
    assert_eq!(service.call("PUT", CAMPAIGN, &definition()), (200, Value::Null));
    let asked = service.asked(FIRST);
    assert!(GUIDE.contains(&format!("\n{asked}\n")), "the guide does not show {asked}");
    assert_eq!(service.get(SECOND), Value::Null, "one at a time");
    service.tell(FIRST, &report(&asked, "downloading"));
    service.tell(&format!("{CAMPAIGN}/pause"), &Value::Null);
    assert_eq!(service.get(CAMPAIGN)["status"], "pausing");
    service.kill();

    let service = Running::start(&file);
    assert_eq!(service.get(CAMPAIGN)["status"], "pausing");
    service.tell(FIRST, &report(&asked, "success"));
    service.wait_for("status", "paused");
    assert_eq!(service.get(CAMPAIGN)["targets"]["successful"], 1);
    service.tell(&format!("{CAMPAIGN}/resume"), &Value::Null);
    service.tell(SECOND, &online());
    let asked = service.asked(SECOND);
    service.tell(SECOND, &report(&asked, "success"));
    service.wait_for("outcome", "success");
    service.kill();
}

#[test]
fn the_service_is_as_short_as_the_guide_says() {
    assert!(GUIDE.contains("less than 150 lines"));
    let lines = include_str!("../examples/service.rs").lines();
    assert!(lines.filter(|line| !line.contains("ANCHOR")).count() < 150);
}

#[test]
fn what_is_refused_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = Running::start(&folder.path().join("service.db"));
    let refused = |(status, why): (u16, Value), text: &str| {
        assert!(status == 409 && why.as_str().is_some_and(|why| why.contains(text)), "{why}");
    };
    refused(service.call("GET", CAMPAIGN, &Value::Null), "there is no campaign");
    refused(service.call("POST", &format!("{CAMPAIGN}/pause"), &Value::Null), "there is no");
    let unknown = json!({"update": "67e55044-10b1-426f-9247-bb680e5fe0c8"});
    refused(service.call("POST", FIRST, &report(&unknown, "success")), "unknown");
    let (status, _) = service.call("PUT", CAMPAIGN, &json!({"name": ""}));
    assert_eq!(status, 422);
    let mut misspelt = definition();
    let image = misspelt["base_image"].as_object_mut().expect("an image");
    let requirement = image.remove("starting_version_requirement").expect("one");
    image.insert("starting_version_requirment".to_owned(), requirement);
    let (status, why) = service.call("PUT", CAMPAIGN, &misspelt);
    let why = why.as_str().unwrap_or_default().to_owned();
    assert_eq!(status, 422, "{why}");
    for key in ["`starting_version_requirment`", "`starting_version_requirement`"] {
        assert!(why.contains(key), "{why}");
    }
    service.kill();
}
