//! Nothing that is written down shows a secret: a whole campaign over the emulator, in which requests
//! and deliveries fail, with every log line of every level looked at.

// The modules of a test are nobody else's, and this one needs a part of them.
#![allow(dead_code, unreachable_pub)]

#[path = "real_devices/clock.rs"]
mod clock;
#[path = "real_devices/world.rs"]
mod world;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hedgerow_astarte_emulator::{Api, EventFault, EventRule, Frequency, RequestFault, RequestRule};
use serde_json::json;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use world::{IMAGE, REALM, World, WorldSettings, campaign, device};

const PATIENCE: Duration = Duration::from_secs(60);
const TRIGGER_SECRET: &str = "s3cretOfTheTriggers";

/// What must not be written: the signature of the image's URL, the triggers' secret, any JWT (whose
/// beginning is that of JSON in base64), any private key.
fn secrets() -> [&'static str; 4] {
    let (_, signature) = IMAGE.split_once("signature=").expect("a signed URL");
    [signature, TRIGGER_SECRET, "eyJ", "PRIVATE KEY"]
}

fn shown(text: &str) -> bool {
    secrets().iter().any(|secret| text.contains(secret))
}

/// Keeps the lines that show a secret, and counts the others.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    lines: u64,
    ours: u64,
    bad: Vec<String>,
}

/// The log of the devices is their own business: they have to know the URL.
const DEVICES: [&str; 2] = [" astarte_device_sdk", " rumqttc"];

impl io::Write for Watch {
    /// Called once for each line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut seen = self.0.lock().expect("no panic");
        let (head, _) = text.split_once(": ").unwrap_or((&text, ""));
        if !DEVICES.iter().any(|target| head.contains(target)) {
            seen.lines += 1;
            seen.ours += u64::from(head.contains(" hedgerow_astarte"));
            if shown(&text) {
                seen.bad.push(text.into_owned());
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Watch {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Requests that fail in all ways, and deliveries that come twice.
fn let_things_go_wrong(world: &World) {
    let requests = [
        (RequestFault::Status { code: 401 }, 2),
        (RequestFault::Status { code: 403 }, 2),
        (RequestFault::Status { code: 503 }, 2),
        (RequestFault::LoseAnswer, 2),
        (RequestFault::LoseMessage, 2),
    ];
    for (fault, times) in requests {
        for path in [None, Some("OTARequest".to_owned())] {
            let frequency = Frequency { probability: 0.3, times: Some(times) };
            let rule = RequestRule {
                api: Some(Api::AppEngine),
                path_contains: path,
                frequency,
                ..RequestRule::new(fault)
            };
            world.emulator.add_request_rule(rule).expect("a rule");
        }
    }
    let frequency = Frequency::probability(0.2);
    let rule = EventRule { frequency, ..EventRule::new(EventFault::Duplicate { copies: 1 }) };
    world.emulator.add_event_rule(rule).expect("a rule");
}

/// Delivers a report by hand, as Astarte would.
async fn deliver(world: &World, secret: &str, message: &str, operation: &str) -> (u16, String) {
    let body = json!({
        "timestamp": "2026-01-01T00:00:00.000Z", "device_id": device(0),
        "trigger_name": "hedgerow-ota-event",
        "event": {
            "type": "incoming_data", "interface": "io.edgehog.devicemanager.OTAEvent",
            "path": "/event",
            "value": {
                "requestUUID": operation, "status": "Error", "statusProgress": 0,
                "statusCode": "NetworkError", "message": message,
            },
        },
    });
    let request = reqwest::Client::new()
        .post(format!("http://{}/triggers", world.endpoint()))
        .header("astarte-realm", REALM)
        .header("x-secret", secret)
        .body(body.to_string());
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_line_no_event_and_no_answer_shows_a_signature_or_a_token() {
    let watch = Watch::default();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(watch.clone())
        .init();
    let settings = WorldSettings {
        devices: 6,
        trigger_secret: Some(TRIGGER_SECRET),
        ..WorldSettings::default()
    };
    let world = World::start(settings).await;
    let service = world.serve().await;
    let_things_go_wrong(&world);
    service.create(6, "0").await;
    // So far that the device goes on, whatever is reported in its name.
    let is_at_work = async {
        loop {
            let target = service.targets().await.into_iter().next();
            if target.and_then(|target| target.operation).is_some_and(|o| o.is_reported()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_at_work).await.expect("it reports");

    // Real devices repeat the URL in their messages; so do strangers, and some know no secret.
    let message = format!("Unable to get content length from: {IMAGE}");
    let operation = hedgerow_core::OperationId::of_campaign(campaign(), device(0), 0);
    let mut answers = Vec::new();
    for (secret, operation) in [
        (TRIGGER_SECRET, operation.to_string()),
        (TRIGGER_SECRET, "00000000-0000-4000-8000-000000000000".to_owned()),
        (TRIGGER_SECRET, message.clone()),
        ("wrong", operation.to_string()),
    ] {
        answers.push(deliver(&world, secret, &message, &operation).await);
    }
    let statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses[1..], [422, 400, 401], "{answers:?}");
    assert!(!answers.iter().any(|(_, text)| shown(text)), "{answers:?}");

    let progress = service.ended(PATIENCE).await;
    assert_eq!(progress.targets.total, 6, "{progress:?}");
    assert!(!shown(&format!("{progress:?} {:?} {:?}", service.receiver, service.reconciler)));
    for number in 0..6 {
        for stored in service.history(device(number)).await {
            let text = String::from_utf8_lossy(&stored.event.data).into_owned();
            assert!(!shown(&text), "{text}");
        }
    }
    service.stop().await;
    world.end().await;
    let seen = watch.0.lock().expect("no panic");
    assert!(seen.ours > 100, "{} of {} lines are ours", seen.ours, seen.lines);
    assert!(seen.bad.is_empty(), "{:#?}", seen.bad);
}
