//! What goes over HTTP and MQTT in a campaign, kept in `tests/recordings/campaign.jsonl`. The test
//! `contract` replays it without any device or emulator; this one sees that it is still what goes over
//! the wire. Recorded anew, after a look at what has changed, it is with
//!
//! ```text
//! HEDGEROW_RECORD=1 cargo test -p hedgerow-astarte --test real_devices recorded
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use hedgerow_astarte_emulator::Recorded;
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::world::{REALM, World, WorldSettings, as_emulated, device};

/// The time of the first thing in the recording; each later time that occurs is a second more.
const BEGIN: &str = "2026-01-01T00:00:00.000Z";
/// Where the service's endpoint is in the recording.
const ENDPOINT: &str = "service.example";

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/campaign.jsonl")
}

/// A campaign of one device of each kind, from the empty realm to its end.
async fn record() -> Vec<Value> {
    let settings = WorldSettings { devices: 3, recorded: 10_000, ..WorldSettings::default() };
    let world = World::start(settings).await;
    let service = world.serve().await;
    // Those of the others may have been told before the service listened.
    world.emulator.register_device(REALM, as_emulated(device(3))).expect("registered");
    let shows_version = |recorded: &Recorded| match recorded {
        Recorded::FromDevice { topic, .. } => topic.ends_with("BaseImage/version"),
        _ => false,
    };
    let connected = async {
        while world.emulator.recording().iter().filter(|one| shows_version(one)).count() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, connected).await.expect("all devices show their version");
    service.create(3, "0").await;
    service.until(PATIENCE, |p| p.targets.in_progress == 3).await;
    // Asks for everything that otherwise is asked only in doubt.
    service.reconciler.round().await;
    service.all_successful(PATIENCE).await;
    world.emulator.deliveries_idle().await;
    let recording = world.emulator.recording();
    let endpoint = world.endpoint();
    service.stop().await;
    world.end().await;
    let ours = recording.iter().filter(|recorded| match recorded {
        // Groups and attributes are the owner's, whose token allows everything.
        Recorded::Request { claims, .. } => claims["a_pa"].is_null(),
        // Nobody listened yet.
        Recorded::Trigger { status, .. } => *status != 503,
        _ => true,
    });
    let mut entries: Vec<_> =
        ours.map(|recorded| serde_json::to_value(recorded).expect("JSON")).collect();
    normalize(&mut entries, &endpoint);
    entries
}

/// Replaces what is different in every run: times, the endpoint's port, ids of requests, versions.
fn normalize(entries: &mut [Value], endpoint: &str) {
    let mut times = BTreeSet::new();
    for entry in &mut *entries {
        each_text(entry, &mut |text| times.extend(time(text)));
    }
    let begin: DateTime<Utc> = BEGIN.parse().expect("a time");
    let times: BTreeMap<_, _> = times.into_iter().zip((0..).map(TimeDelta::seconds)).collect();
    let renamed = |at: DateTime<Utc>| {
        let at = begin + times.get(&at).copied().unwrap_or_default();
        at.to_rfc3339_opts(SecondsFormat::Millis, true)
    };
    for entry in entries {
        each_text(entry, &mut |text| match time(text) {
            Some(at) => *text = renamed(at),
            None => *text = text.replace(endpoint, ENDPOINT),
        });
        if let Some(query) = entry["query"].as_str()
            && let Some(after) = query.strip_prefix("since_after=")
            && let Some(at) = time(&after.replace("%3A", ":"))
        {
            entry["query"] = json!(format!("since_after={}", renamed(at).replace(':', "%3A")));
        }
        if let Some(headers) = entry["headers"].as_object_mut() {
            headers.entry("x-request-id").and_modify(|id| *id = json!("ID"));
            headers.entry("user-agent").and_modify(|agent| {
                let name = agent.as_str().and_then(|agent| agent.split('/').next());
                *agent = json!(format!("{}/VERSION", name.unwrap_or_default()));
            });
        }
        let claims = &mut entry["claims"];
        if let (Some(from), Some(until)) = (claims["iat"].as_i64(), claims["exp"].as_i64()) {
            (claims["iat"], claims["exp"]) = (json!(0), json!(until - from));
        }
        if entry["claims"].is_null()
            && let Some(entry) = entry.as_object_mut()
        {
            entry.remove("claims");
        }
    }
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}

fn each_text(value: &mut Value, change: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(values) => values.iter_mut().for_each(|value| each_text(value, change)),
        Value::Object(values) => values.values_mut().for_each(|value| each_text(value, change)),
        _ => {}
    }
}

/// What is the same in every run of one thing: not the device, and of what devices say and show
/// only the form.
fn shape(entry: &Value) -> Value {
    let parts = |text: &Value| {
        let text = text.as_str().unwrap_or_default().to_owned();
        text.split('/')
            .map(|part| if part.len() == 22 { "DEVICE" } else { part })
            .collect::<Vec<_>>()
            .join("/")
    };
    match entry["kind"].as_str() {
        Some("request") => json!({
            "api": entry["api"], "method": entry["method"], "path": parts(&entry["path"]),
            "query": entry["query"].as_str().map(|query| query.split('=').next().map(str::to_owned)),
            "headers": entry["headers"], "claims": entry["claims"], "status": entry["status"],
            "body": form(&entry["body"]),
        }),
        Some("trigger") => json!({
            "url": entry["url"], "headers": entry["headers"], "status": entry["status"],
            "body": form(&entry["body"]), "type": entry["body"]["event"]["type"],
        }),
        kind => json!({
            "kind": kind, "topic": entry["topic"], "quality": entry["quality"],
            "payload": form(&entry["payload"]),
        }),
    }
}

/// The keys of a value, and the types of what they name.
fn form(value: &Value) -> Value {
    match value {
        Value::Object(values) => {
            values.iter().map(|(key, value)| (key.clone(), form(value))).collect()
        }
        Value::Array(_) => json!("array"),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("bool"),
        Value::Null => Value::Null,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_over_the_wire_is_what_was_recorded() {
    let entries = record().await;
    if std::env::var_os("HEDGEROW_RECORD").is_some() {
        let lines: Vec<_> = entries.iter().map(ToString::to_string).collect();
        std::fs::write(file(), lines.join("\n") + "\n").expect("the recording is written");
        return;
    }
    let text = std::fs::read_to_string(file()).expect("a recording");
    let recorded = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let recorded: BTreeSet<_> = recorded.map(|entry: Value| shape(&entry).to_string()).collect();
    let seen: BTreeSet<_> = entries.iter().map(|entry| shape(entry).to_string()).collect();
    let new: Vec<_> = seen.difference(&recorded).collect();
    assert!(new.is_empty(), "not in the recording: {new:#?}");
}
