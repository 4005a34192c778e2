//! The service as a process of its own, killed and told to stop while 64 connections create things
//! and upload images: whatever it acknowledged is there afterwards (E8).

// Signals as they are there.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hedgerow_astarte::{Credentials, HttpConnections, HttpSettings};
use hedgerow_astarte_emulator::RealmKeys;
use hedgerow_graphql::auth::TenantAccess;
use hedgerow_service::{ImagePlace, Service, Setup, TenantSetup};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

type Failure = Box<dyn Error + Send + Sync>;
type Outcome = Result<(), Failure>;

/// Names the folder to the child.
const FOLDER: &str = "HEDGEROW_KILLED_TEST_FOLDER";
const CONNECTIONS: usize = 64;
/// For how long they work before it happens.
const WORK: Duration = Duration::from_secs(2);
/// No wait takes longer, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The process that the tests start: this file again, as a service without an Astarte.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).expect("a signal");
        let keys = RealmKeys::generate().expect("keys");
        let key = keys.private_key_pem().expect("generated");
        let credentials = Credentials::private_key(key).expect("a key");
        let name = "gardens".parse().expect("a tenant");
        let access = TenantAccess::default();
        let tenant = TenantSetup::new(name, access, "http://127.0.0.1:9", credentials);
        let folder = Path::new(&folder);
        let images = ImagePlace::Folder(folder.join("images"));
        let connections = HttpConnections::new(&HttpSettings::default()).expect("connections");
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let store = folder.join("hedgerow.db");
        let setup = Setup::new(store, listen, images, connections, vec![tenant]);
        let service = Service::start(setup).await.expect("it starts");
        println!("\nlistening on {}", service.address());
        let stop = async move {
            terminated.recv().await;
        };
        service.run(stop).await;
    });
}

struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    fn start(folder: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--exact", "child", "--nocapture"])
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("piped")?).lines();
        let address = lines
            .find_map(|line| line.ok()?.strip_prefix("listening on ")?.parse().ok())
            .ok_or("it listens")?;
        // Whatever it prints later is nobody's business, and must not stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address })
    }

    fn signal(&self, name: &str) -> Outcome {
        let kill = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status()?;
        if sent.success() { Ok(()) } else { Err("the signal was not sent".into()) }
    }

    fn ended(mut self) -> Result<ExitStatus, Failure> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill()?;
        Err("it does not end".into())
    }
}

/// A connection, and what it was told is there.
#[derive(Clone)]
struct Api {
    http: Client,
    url: String,
}

impl Api {
    fn at(address: SocketAddr) -> Result<Self, Failure> {
        let http = Client::builder().no_proxy().timeout(PATIENCE).build()?;
        Ok(Self { http, url: format!("http://{address}/tenants/gardens/api") })
    }

    async fn ask(&self, query: &str, variables: Value) -> Result<Value, Failure> {
        let question = json!({"query": query, "variables": variables});
        Self::read(self.http.post(&self.url).json(&question)).await
    }

    async fn read(post: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let answer: Value = post.send().await?.json().await?;
        match answer["errors"].as_array().filter(|errors| !errors.is_empty()) {
            Some(errors) => Err(json!(errors).to_string().into()),
            None => Ok(answer["data"].clone()),
        }
    }

    async fn create(&self, query: &str, input: Value) -> Result<Value, Failure> {
        let answer = self.ask(query, json!({"input": input})).await?;
        let created = answer.as_object().and_then(|data| data.values().next()).ok_or("data")?;
        Ok(created["result"].clone())
    }

    /// A collection for images.
    async fn furnish(&self) -> Result<Value, Failure> {
        let query = "mutation ($input: CreateHardwareTypeInput!) { createHardwareType(input: $input) { result { id } } }";
        let input = json!({"handle": "board", "name": "Board", "partNumbers": ["B-1"]});
        let hardware = self.create(query, input).await?;
        let query = "mutation ($input: CreateSystemModelInput!) { createSystemModel(input: $input) { result { id } } }";
        let input = json!({"handle": "gateway", "name": "Gateway", "hardwareTypeId": hardware["id"], "partNumbers": ["G-1"]});
        let model = self.create(query, input).await?;
        let query = "mutation ($input: CreateBaseImageCollectionInput!) { createBaseImageCollection(input: $input) { result { id } } }";
        let input = json!({"handle": "gateway", "name": "Gateway", "systemModelId": model["id"]});
        Ok(self.create(query, input).await?["id"].clone())
    }

    /// Uploads an image in Edgehog's way; its URL.
    async fn upload(
        &self,
        collection: &Value,
        version: &str,
        image: Vec<u8>,
    ) -> Result<String, Failure> {
        let query = "mutation ($input: CreateBaseImageInput!) { createBaseImage(input: $input) { result { url } } }";
        let input =
            json!({"baseImageCollectionId": collection, "version": version, "file": "file"});
        let variables = json!({"input": input});
        let boundary = "hedgerow-boundary-6b1f";
        let mut body = Vec::new();
        for (name, text) in [("query", query.to_owned()), ("variables", variables.to_string())] {
            let part = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n"
            );
            body.extend_from_slice(part.as_bytes());
        }
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{version}.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&image);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let kind = format!("multipart/form-data; boundary={boundary}");
        let post = self.http.post(&self.url).header("content-type", kind).body(body);
        let answer = Self::read(post).await?;
        let url = answer["createBaseImage"]["result"]["url"].as_str().ok_or("a URL")?;
        Ok(url.to_owned())
    }

    /// All groups' handles.
    async fn groups(&self) -> Result<Vec<String>, Failure> {
        let query = "query ($after: String) { deviceGroups(first: 250, after: $after) { edges { node { handle } } pageInfo { hasNextPage endCursor } } }";
        let (mut handles, mut after) = (Vec::new(), Value::Null);
        loop {
            let page = self.ask(query, json!({"after": after})).await?["deviceGroups"].take();
            let edges = page["edges"].as_array().ok_or("edges")?;
            let found = edges.iter().filter_map(|edge| edge["node"]["handle"].as_str());
            handles.extend(found.map(str::to_owned));
            after = page["pageInfo"]["endCursor"].clone();
            if page["pageInfo"]["hasNextPage"] != true {
                return Ok(handles);
            }
        }
    }
}

/// What was acknowledged: groups by their handles, images by their URLs.
#[derive(Clone, Default)]
struct Acknowledged {
    groups: Vec<String>,
    images: BTreeMap<String, Vec<u8>>,
}

/// An image that no other is.
#[allow(clippy::cast_possible_truncation)]
fn image(connection: usize, number: usize) -> Vec<u8> {
    let seed = connection * 1_000 + number;
    (0..200_000_usize).map(|at| (at.wrapping_mul(31).wrapping_add(seed) % 251) as u8).collect()
}

/// Creates and uploads until the service does not answer any more.
async fn work(
    api: Api,
    collection: Value,
    round: usize,
    connection: usize,
    told: Arc<Mutex<Acknowledged>>,
) {
    let query = "mutation ($input: CreateDeviceGroupInput!) { createDeviceGroup(input: $input) { result { handle } } }";
    for number in 0.. {
        if (number + connection).is_multiple_of(4) {
            let image = image(connection, number);
            let version = format!("{}.{connection}.{number}", round + 1);
            let Ok(url) = api.upload(&collection, &version, image.clone()).await else { return };
            told.lock().expect("whole").images.insert(url, image);
        } else {
            let handle = format!("group-{round}-{connection}-{number}");
            let input = json!({"handle": handle, "name": handle, "selector": "\"a\" in tags"});
            let Ok(_) = api.create(query, input).await else { return };
            told.lock().expect("whole").groups.push(handle);
        }
    }
}

/// Everything that was acknowledged is there, and each image is what was uploaded.
async fn check(address: SocketAddr, told: &Acknowledged) -> Outcome {
    let api = Api::at(address)?;
    let there = api.groups().await?;
    let lost: Vec<_> = told.groups.iter().filter(|handle| !there.contains(handle)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    for (url, image) in &told.images {
        // The port is another since it was started again.
        let path = url.splitn(4, '/').last().ok_or("a path")?;
        let fetched = api.http.get(format!("http://{address}/{path}")).send().await?;
        assert_eq!(fetched.status(), 200, "{url}");
        assert!(fetched.bytes().await? == image[..], "{url} is another");
    }
    Ok(())
}

async fn rounds(signal: &str, count: usize) -> Outcome {
    let folder = tempfile::tempdir()?;
    let told = Arc::new(Mutex::new(Acknowledged::default()));
    let mut running = Running::start(folder.path())?;
    let collection = Api::at(running.address)?.furnish().await?;
    for round in 0..count {
        let works = (0..CONNECTIONS).map(|connection| {
            let api = Api::at(running.address).expect("a client");
            tokio::spawn(work(api, collection.clone(), round, connection, Arc::clone(&told)))
        });
        let works: Vec<_> = works.collect();
        tokio::time::sleep(WORK).await;
        running.signal(signal)?;
        let status = running.ended()?;
        assert_eq!(status.success(), signal == "TERM", "{status}");
        for work in works {
            work.await?;
        }
        running = Running::start(folder.path())?;
        let told = told.lock().map_err(|_| "whole")?.clone();
        assert!(told.groups.len() > round && told.images.len() > round, "it worked");
        println!("{signal}: {} groups and {} images", told.groups.len(), told.images.len());
        check(running.address, &told).await?;
    }
    running.signal("TERM")?;
    assert!(running.ended()?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_under_load_loses_nothing_that_it_acknowledged() -> Outcome {
    rounds("KILL", 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_told_to_stop_under_load_loses_nothing_that_it_acknowledged() -> Outcome {
    rounds("TERM", 2).await
}
