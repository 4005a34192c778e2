//! The contract with Astarte, as it was recorded in a campaign on real devices: what Hedgerow sends,
//! and what it makes of what it is answered and told. Nothing is needed here but the recording,
//! `tests/recordings/campaign.jsonl`; how that is made anew stands in `real_devices/recording.rs`.

// The modules of a test are nobody else's.
#![allow(unreachable_pub)]

#[path = "real_devices/clock.rs"]
mod clock;
mod replay;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use clock::FastClock;
use hedgerow_astarte::provisioning::{InstallSettings, Installation};
use hedgerow_astarte::triggers::TriggerSettings;
use hedgerow_astarte::{
    Astarte, AstarteFleet, Credentials, HttpConnections, HttpSettings, Realm, RealmClient,
    RealmManagement, Reconciler, SystemModelSource, TriggerReceiver,
};
use hedgerow_astarte_emulator::RealmKeys;
use hedgerow_core::{
    BaseImage, CampaignDefinition, CampaignId, Channel, GatePolicy, Outcome, PushRollout,
    RolloutLimits, RolloutMechanism, Settlement, TenantId, Version, WhenRunning,
};
use hedgerow_engine::ports::tokio_runtime::TokioRuntime;
use hedgerow_engine::store::memory::MemoryStore;
use hedgerow_engine::{Engine, EngineBuilder};
use replay::{Replay, Request, Trigger, What, recording};
use tower::ServiceExt;

const REALM: &str = "gardens";

fn credentials() -> Credentials {
    let keys = RealmKeys::generate().expect("keys");
    Credentials::private_key(keys.private_key_pem().expect("a private key")).expect("a usable key")
}

fn connections() -> HttpConnections {
    HttpConnections::new(&HttpSettings::default()).expect("TLS")
}

#[tokio::test]
async fn an_installation_asks_for_what_was_recorded_and_in_its_order() {
    let replay = Replay::start("realm_management").await;
    let client = RealmClient::new(&connections(), &replay.base_url, REALM, credentials());
    let realm = RealmManagement::new(client.expect("a base URL"));
    let settings = InstallSettings::new("http://service.example/triggers").expect("a URL");
    let plan = Installation::new(&settings).plan(&realm).await.expect("a plan");
    plan.apply(&realm).await.expect("installed");
    let recorded: Vec<_> = replay.requests().cloned().collect();
    let asked = replay.asked();
    assert_eq!(asked.len(), recorded.len());
    for (asked, recorded) in asked.iter().zip(&recorded) {
        assert_eq!(asked, recorded);
    }
}

fn tenant() -> TenantId {
    REALM.parse().expect("a tenant")
}

fn campaign() -> CampaignId {
    "5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa".parse().expect("a UUID")
}

/// The campaign of the recording, whose URL is in the requests that went to devices.
fn definition(replay: &Replay) -> CampaignDefinition {
    let url = replay.requests().find_map(|request| request.body["url"].as_str());
    let at_once = 3.try_into().expect("not 0");
    let limits = RolloutLimits::new(at_once, "0".parse().expect("%"));
    let channel =
        Channel::new("stable".parse().expect("a name"), ["east".parse().expect("a name")]);
    CampaignDefinition {
        name: "Gateways to 2.0.0".parse().expect("a name"),
        base_image: BaseImage {
            system_model: "gateway".parse().expect("a handle"),
            version: Version::new(2, 0, 0),
            url: url.expect("a request to a device").parse().expect("a URL"),
            starting_version_requirement: None,
        },
        channel: channel.expect("a channel"),
        rollout: RolloutMechanism::Push(PushRollout {
            limits,
            gates: GatePolicy::default(),
            minimum_targets: 0,
        }),
        when_running: WhenRunning::Supersede,
    }
}

async fn start(astarte: &Astarte) -> Engine {
    let fleet = AstarteFleet::new(astarte.clone(), SystemModelSource::attribute("model"));
    let runtime = Arc::new(TokioRuntime::new(tokio::runtime::Handle::current()));
    let clock = Arc::new(FastClock::new(20));
    let (store, transport) = (Arc::new(MemoryStore::new()), Arc::new(astarte.clone()));
    let builder = EngineBuilder::new(store, transport, Arc::new(fleet), clock, runtime);
    builder.start().await.expect("a store that can be read")
}

/// Delivers a trigger over the router, and compares the answer with the recorded one.
async fn deliver(receiver: &TriggerReceiver, trigger: &Trigger) {
    let mut request = axum::http::Request::post("/triggers");
    for (name, value) in &trigger.headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(trigger.body.to_string())).expect("a request");
    let answer = receiver.router().oneshot(request).await.expect("an answer");
    assert_eq!(answer.status().as_u16(), trigger.status, "{trigger:?}");
}

#[tokio::test]
async fn a_campaign_sends_what_was_recorded_and_understands_what_it_is_told() {
    let replay = Replay::start("app_engine").await;
    let base_url = replay.base_url.clone();
    let realm = Realm { tenant: tenant(), base_url, credentials: credentials() };
    let astarte = Astarte::new(&connections(), [realm]).expect("a base URL");
    let engine = start(&astarte).await;
    let reconciler = Reconciler::new(astarte.clone(), engine.clone());
    let receiver = TriggerReceiver::new(astarte, engine.clone(), TriggerSettings::default())
        .with_reconciler(reconciler);
    for (place, what) in recording().into_iter().enumerate() {
        replay.reached(place);
        match what {
            What::Request(request) if request.api == "app_engine" => {
                if request.path.starts_with("groups/") {
                    let definition = definition(&replay);
                    let created = engine.create(&tenant(), campaign(), definition, None).await;
                    created.expect("a campaign");
                    replay.until_asked(&request).await;
                } else if request.method == "POST" {
                    replay.until_asked(&request).await;
                }
            }
            What::Trigger(trigger) => deliver(&receiver, &trigger).await,
            What::Request(_) | What::Else => {}
        }
    }
    let ends = async {
        while engine.progress(&tenant(), campaign()).await.expect("the campaign").outcome.is_none()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ends).await.expect("an end");
    let progress = engine.progress(&tenant(), campaign()).await.expect("the campaign");
    assert_eq!(progress.outcome, Some(Outcome::Success), "{progress:?}");
    // The first device's firmware loses its last report; what it shows is enough.
    let state = engine.state(&tenant(), campaign()).await.expect("an answer");
    let settlements = state.expect("the campaign");
    let settlements: Vec<_> = settlements.targets().map(|target| target.settlement).collect();
    assert_eq!(settlements, [Settlement::Confirmed, Settlement::Reported, Settlement::Reported]);
    let counts = receiver.counts();
    assert_eq!((counts.malformed, counts.foreign, counts.refused), (0, 0, 0), "{counts:?}");

    let sent = |requests: &mut dyn Iterator<Item = Request>| {
        let sent = requests.filter(|request| request.method == "POST");
        sent.map(|request| (request.path, request.body.to_string())).collect::<Vec<_>>()
    };
    let mut asked = sent(&mut replay.asked().into_iter());
    let mut recorded = sent(&mut replay.requests().cloned());
    asked.sort();
    recorded.sort();
    assert_eq!(asked, recorded, "each device is asked once");
    let unknown: BTreeSet<_> = replay.unknown();
    assert!(unknown.is_empty(), "asked, and not in the recording: {unknown:#?}");
}
