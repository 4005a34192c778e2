//! A device on the Python SDK as it is published, which speaks Astarte's protocol in its own way: the
//! emulator is to be no stricter than Astarte is. `cargo xtask python-device` installs the SDK and
//! runs this; by itself it is left out, and asked for without the SDK it fails.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use hedgerow_astarte_emulator::{DeviceId, Emulator};
use serde_json::{Value, json};
use tokio::task::block_in_place as blocking;

use crate::support::{
    Api, BASE_IMAGE, OTA_EVENT, OTA_REQUEST, PATIENCE, REALM, SETTINGS, device, start,
};

/// Where the Python is that has the SDK.
const PYTHON: &str = "HEDGEROW_PYTHON_WITH_SDK";
const UUID: &str = "11111111-2222-4333-8444-555555555555";

/// The process of the device; it ends with the test, however that ends.
struct Python {
    process: Child,
    input: ChildStdin,
    told: Receiver<Value>,
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Python {
    fn start(emulator: &Emulator, id: DeviceId, folder: &Path) -> Self {
        let python = std::env::var_os(PYTHON);
        let python = python.unwrap_or_else(|| {
            panic!("{PYTHON} does not say where the Python SDK is: run `cargo xtask python-device`")
        });
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let ca = folder.join("ca.pem");
        std::fs::write(&ca, emulator.ca_certificate_pem()).expect("a file");
        let token = emulator.realm_keys(REALM).expect("the realm").all_access_token();
        let mut process = Command::new(python)
            .arg(tests.join("python/device.py"))
            .args([&emulator.pairing_url(), REALM, &token.expect("a token"), &id.to_string()])
            .arg(folder)
            .arg(tests.join("interfaces"))
            .env("SSL_CERT_FILE", ca)
            .env("NO_PROXY", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python with the SDK");
        let input = process.stdin.take().expect("its standard input");
        let output = BufReader::new(process.stdout.take().expect("its standard output"));
        let (tell, told) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let said = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if tell.send(said).is_err() {
                    return;
                }
            }
        });
        Self { process, input, told }
    }

    fn ask(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("a process that listens");
    }

    /// Waits for the next thing that it tells, which is to be this.
    fn expect(&mut self, what: &str) -> Value {
        let told = self.told.recv_timeout(PATIENCE);
        let told = told.unwrap_or_else(|_| panic!("the device never told of {what}"));
        assert_eq!(told["what"], what, "{told}");
        told
    }
}

/// Waits until `AppEngine` says that about the device.
async fn eventually(api: &Api, path: &str, is_so: impl Fn(&Value) -> bool) {
    let mut last = Value::Null;
    for _ in 0..PATIENCE.as_millis() / 20 {
        last = api.get(path).await.1["data"].clone();
        if is_so(&last) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{path} is still {last}");
}

/// Waits until the emulator's broker has seen the device connect, or go.
async fn eventually_connected(emulator: &Emulator, id: DeviceId, connected: bool) {
    for _ in 0..PATIENCE.as_millis() / 20 {
        if emulator.is_connected(REALM, id) == Ok(connected) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the broker never saw that {id} is connected: {connected}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the Python SDK: `cargo xtask python-device` installs it and runs this"]
async fn a_device_on_the_python_sdk_registers_connects_sends_and_receives() {
    let (emulator, api) = start().await;
    let id = device(7);
    let folder = tempfile::tempdir().expect("a folder");
    let mut python = blocking(|| Python::start(&emulator, id, folder.path()));
    blocking(|| python.expect("registered"));
    blocking(|| python.expect("connected"));

    // It sends a property, and an object in answer to a request.
    python.ask("version 1.0.0");
    let shown = format!("devices/{id}/interfaces/{BASE_IMAGE}");
    eventually(&api, &shown, |image| *image == json!({"version": "1.0.0"})).await;
    let request = json!({"operation": "Update", "uuid": UUID, "url": "https://a.example/i.bin"});
    let path = format!("devices/{id}/interfaces/{OTA_REQUEST}/request");
    assert_eq!(api.post(&path, request.clone()).await.0, 200);
    let told = blocking(|| python.expect("received"));
    assert_eq!((&told["interface"], &told["payload"]), (&json!(OTA_REQUEST), &request));
    let reports = format!("devices/{id}/interfaces/{OTA_EVENT}/event");
    eventually(&api, &reports, |reports| reports[0]["requestUUID"] == UUID).await;

    // Now it has a property stored, and sends the list of such when it connects.
    for round in 1..=2 {
        python.ask("disconnect");
        assert_eq!(blocking(|| python.expect("disconnected"))["reason"], 0);
        // The device tells of its side of the connection; the broker learns of it a moment later.
        eventually_connected(&emulator, id, false).await;
        let limit = format!("devices/{id}/interfaces/{SETTINGS}/limit");
        assert_eq!(api.post(&limit, json!(round)).await.0, 200, "set while it is offline");
        python.ask("connect");
        blocking(|| python.expect("connected"));
        let told = blocking(|| python.expect("received"));
        assert_eq!((&told["interface"], &told["payload"]), (&json!(SETTINGS), &json!(round)));
        python.ask(&format!("version 1.0.{round}"));
        let version = format!("1.0.{round}");
        eventually(&api, &shown, |image| image["version"] == version).await;
    }
    // It was never thrown out.
    eventually_connected(&emulator, id, true).await;
    python.ask("end");
    assert_eq!(blocking(|| python.expect("disconnected"))["reason"], 0);
    assert!(python.told.try_recv().is_err(), "nothing else was told");
    drop(python);
    emulator.shutdown().await;
}
