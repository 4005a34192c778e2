//! Provisioning, against the emulator: from an empty realm to one that has everything, twice.

use hedgerow_astarte::provisioning::{
    Action, InstallError, InstallSettings, Installation, Kind, Plan,
};
use hedgerow_astarte::{
    ApiError, Credentials, HttpConnections, HttpSettings, RealmClient, RealmManagement,
};
use hedgerow_astarte_emulator::{Emulator, RealmKeys, Recorded, RequestFault, RequestRule};
use serde_json::json;

const REALM: &str = "gardens";
const URL: &str = "http://127.0.0.1:9/triggers";

async fn start() -> Emulator {
    let keys = RealmKeys::generate().expect("keys");
    Emulator::builder().realm(REALM, keys).start().await.expect("an emulator")
}

fn realm(emulator: &Emulator, credentials: Credentials) -> RealmManagement {
    let connections = HttpConnections::new(&HttpSettings::default()).expect("TLS");
    let client = RealmClient::new(&connections, emulator.base_url(), REALM, credentials);
    RealmManagement::new(client.expect("a base URL"))
}

fn with_key(emulator: &Emulator) -> RealmManagement {
    let keys = emulator.realm_keys(REALM).expect("the realm");
    let key = keys.private_key_pem().expect("a private key");
    realm(emulator, Credentials::private_key(key).expect("a usable key"))
}

fn with_claims(emulator: &Emulator, allowed: &[&str]) -> RealmManagement {
    let keys = emulator.realm_keys(REALM).expect("the realm");
    let token = keys.token(&json!({"a_rma": allowed})).expect("a token");
    realm(emulator, Credentials::token(&token).expect("a token"))
}

fn settings() -> InstallSettings {
    InstallSettings::new(URL).expect("a URL").with_secret("X-Secret", "s3cret").expect("a header")
}

fn actions(plan: &Plan) -> Vec<(Kind, &str, &Action)> {
    plan.changes().iter().map(|c| (c.kind, c.name.as_str(), &c.action)).collect()
}

#[tokio::test]
async fn an_empty_realm_gets_everything_and_a_second_time_changes_nothing() {
    let emulator = start().await;
    let realm = with_key(&emulator);
    let installation = Installation::new(&settings());
    let plan = installation.plan(&realm).await.expect("a plan");
    assert_eq!(plan.changes().len(), 10);
    assert!(plan.changes().iter().all(|change| change.action == Action::Create), "{plan:?}");
    // To look changes nothing.
    assert_eq!(installation.plan(&realm).await.as_ref(), Ok(&plan));
    plan.apply(&realm).await.expect("an installation");
    let plan = installation.plan(&realm).await.expect("a plan");
    assert!(plan.is_done(), "{plan:?}");
    plan.apply(&realm).await.expect("nothing to do");
    emulator.shutdown().await;
}

#[tokio::test]
async fn stored_events_are_an_update_and_no_way_back_is_taken() {
    let emulator = start().await;
    let realm = with_key(&emulator);
    let without_them = Installation::new(&settings());
    without_them.plan(&realm).await.expect("a plan").apply(&realm).await.expect("an installation");
    let stored = Installation::new(&settings().with_stored_events());
    let plan = stored.plan(&realm).await.expect("a plan");
    let changed: Vec<_> =
        actions(&plan).into_iter().filter(|(_, _, action)| **action != Action::Keep).collect();
    let from = Action::Update { from: "0.1".to_owned() };
    let name = "io.edgehog.devicemanager.OTAEvent 0.2";
    assert_eq!(changed, [(Kind::Interface, name, &from)]);
    plan.apply(&realm).await.expect("an update");
    assert!(stored.plan(&realm).await.expect("a plan").is_done());
    assert!(
        without_them.plan(&realm).await.expect("a plan").is_done(),
        "0.2 has everything of 0.1"
    );
    emulator.shutdown().await;
}

#[tokio::test]
async fn triggers_with_another_url_or_secret_are_replaced_and_the_secret_is_not_shown() {
    let emulator = start().await;
    let realm = with_key(&emulator);
    let first = Installation::new(&settings());
    first.plan(&realm).await.expect("a plan").apply(&realm).await.expect("an installation");
    let moved = InstallSettings::new("http://127.0.0.1:8/triggers").expect("a URL");
    let moved = Installation::new(&moved.with_secret("X-Secret", "n3w").expect("a header"));
    let plan = moved.plan(&realm).await.expect("a plan");
    let shown = format!("{plan:?}{}", serde_json::to_string(plan.changes()).expect("JSON"));
    assert!(shown.contains("127.0.0.1:8") && !shown.contains("s3cret") && !shown.contains("n3w"));
    let replaced = |(kind, _, action): &(Kind, &str, &Action)| {
        assert_eq!(matches!(action, Action::Replace { .. }), *kind == Kind::Trigger, "{action:?}");
    };
    actions(&plan).iter().for_each(replaced);
    plan.apply(&realm).await.expect("an installation");
    assert!(moved.plan(&realm).await.expect("a plan").is_done());
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_policy_that_differs_is_made_anew_with_the_triggers_that_use_it() {
    let emulator = start().await;
    let realm = with_key(&emulator);
    let keys = emulator.realm_keys(REALM).expect("the realm");
    let policy = json!({"data": {
        "name": "hedgerow-keep-trying", "maximum_capacity": 100, "retry_times": 3, "event_ttl": 30,
        "error_handlers": [{"on": "server_error", "strategy": "retry"}],
    }});
    let answer = reqwest::Client::new()
        .post(format!("{}/realmmanagement/v1/{REALM}/policies", emulator.base_url()))
        .bearer_auth(keys.all_access_token().expect("a token"))
        .header("content-type", "application/json")
        .body(policy.to_string())
        .send()
        .await;
    assert_eq!(answer.expect("an answer").status().as_u16(), 201);
    let installation = Installation::new(&settings());
    let plan = installation.plan(&realm).await.expect("a plan");
    let policy = plan.changes().iter().find(|change| change.kind == Kind::Policy);
    let action = policy.map(|policy| policy.action.clone());
    assert!(matches!(action, Some(Action::Replace { .. })), "{action:?}");
    plan.apply(&realm).await.expect("an installation");
    assert!(installation.plan(&realm).await.expect("a plan").is_done());
    emulator.shutdown().await;
}

#[tokio::test]
async fn every_permission_that_is_missing_is_named_with_its_claim() {
    let emulator = start().await;
    let installation = Installation::new(&settings());
    let blind = with_claims(&emulator, &[]);
    let Err(InstallError::Forbidden { claim, entries }) = installation.plan(&blind).await else {
        panic!("forbidden")
    };
    assert_eq!((claim, entries.len()), ("a_rma", 12));
    assert!(entries.contains(&"GET::policies/hedgerow-keep-trying".to_owned()), "{entries:?}");

    let reading = with_claims(&emulator, &["GET::.*", "POST::interfaces", "POST::policies"]);
    let plan = installation.plan(&reading).await.expect("a plan");
    let error = plan.apply(&reading).await.expect_err("forbidden");
    let expected =
        InstallError::Forbidden { claim: "a_rma", entries: vec!["POST::triggers".to_owned()] };
    assert_eq!(error, expected);
    assert!(error.to_string().contains(r#"claim a_rma needs "POST::triggers""#), "{error}");
    // What was allowed is done, and the rest goes on from there.
    let rest = with_claims(&emulator, &["GET::.*", "POST::triggers"]);
    installation.plan(&rest).await.expect("a plan").apply(&rest).await.expect("the rest");
    assert!(installation.plan(&reading).await.expect("a plan").is_done());
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_token_of_another_realm_and_another_definition_are_told_apart() {
    let emulator = start().await;
    let stranger = RealmKeys::generate().expect("keys").all_access_token().expect("a token");
    let stranger = realm(&emulator, Credentials::token(&stranger).expect("a token"));
    let refused = Installation::new(&settings()).plan(&stranger).await;
    let is_unauthorized =
        matches!(refused, Err(InstallError::Api(ApiError::Refused { status: 401, .. })));
    assert!(is_unauthorized, "{refused:?}");
    emulator.shutdown().await;

    let other =
        include_str!("../interfaces/OTARequest.json").replace("/request/uuid", "/request/id");
    let keys = RealmKeys::generate().expect("keys");
    let emulator = Emulator::builder().realm(REALM, keys).interface(REALM, &other).start().await;
    let emulator = emulator.expect("an emulator");
    let realm = with_key(&emulator);
    let installation = Installation::new(&settings());
    let plan = installation.plan(&realm).await.expect("a plan");
    let conflict = plan.apply(&realm).await;
    let Err(InstallError::Conflict { name, .. }) = &conflict else { panic!("{conflict:?}") };
    assert_eq!(name, "io.edgehog.devicemanager.OTARequest");
    assert_eq!(plan.check(), conflict, "known before");
    // Everything else is there, and this is still told.
    let plan = installation.plan(&realm).await.expect("a plan");
    let open = plan.changes().iter().filter(|change| change.action != Action::Keep);
    assert_eq!(open.count(), 1, "{plan:?}");
    assert!(!plan.is_done());
    emulator.shutdown().await;
}

/// An emulator of an older Astarte.
async fn older(version: &str) -> Emulator {
    let keys = RealmKeys::generate().expect("keys");
    let builder = Emulator::builder().realm(REALM, keys).record(1_000);
    builder.astarte_version(version).expect("a version").start().await.expect("an emulator")
}

/// What was written to Realm Management so far: method, path, name.
fn written(emulator: &Emulator) -> Vec<String> {
    let wrote = emulator.recording().into_iter().filter_map(|recorded| match recorded {
        Recorded::Request { method, path, body, status, .. } if method != "GET" => {
            let name = body["name"].as_str().unwrap_or_default().to_owned();
            Some(format!("{method} {path} {name} {status}"))
        }
        _ => None,
    });
    wrote.collect()
}

#[tokio::test]
async fn an_older_astarte_gets_everything_that_it_has_and_what_it_lacks_is_named() {
    for (version, lacks) in [
        ("1.2.0", &["hedgerow-deletion-finished", "hedgerow-registered"][..]),
        (
            "1.0.4",
            &["hedgerow-keep-trying", "hedgerow-deletion-finished", "hedgerow-registered"][..],
        ),
    ] {
        let emulator = older(version).await;
        let realm = with_key(&emulator);
        let installation = Installation::new(&settings());
        let plan = installation.plan(&realm).await.expect("a plan");
        assert_eq!(plan.astarte_version(), Some(version));
        let lacking = actions(&plan).into_iter();
        let lacking = lacking.filter(|(_, _, action)| matches!(action, Action::Unsupported { .. }));
        let lacking: Vec<_> = lacking.map(|(_, name, _)| name).collect();
        assert_eq!(lacking, lacks, "{version}");
        plan.apply(&realm).await.expect("an installation");
        let plan = installation.plan(&realm).await.expect("a plan");
        assert!(plan.is_done(), "{plan:?}");
        let triggers = written(&emulator).into_iter().filter(|it| it.starts_with("POST triggers"));
        let triggers: Vec<_> = triggers.collect();
        assert_eq!(
            triggers,
            ["ota-event", "base-image", "connected", "disconnected"]
                .map(|name| format!("POST triggers hedgerow-{name} 201")),
            "{version}"
        );
        emulator.shutdown().await;
    }
}

#[tokio::test]
async fn of_an_astarte_that_does_not_tell_its_version_everything_is_tried_and_refusals_stop_nothing()
 {
    for (version, refused) in [("1.2.0", 2), ("1.0.4", 3)] {
        let emulator = older(version).await;
        let everything_else = ["(GET|POST|PUT|DELETE)::(interfaces|policies|triggers).*"];
        let realm = with_claims(&emulator, &everything_else);
        let installation = Installation::new(&settings());
        let plan = installation.plan(&realm).await.expect("a plan");
        assert_eq!(plan.astarte_version(), None);
        let refusal = plan.apply(&realm).await.expect_err("some are refused");
        let text = refusal.to_string();
        let InstallError::Incomplete { causes } = refusal else { panic!("{refusal}") };
        assert!(causes.len() >= refused, "{text}");
        for name in ["hedgerow-registered", "hedgerow-deletion-finished"] {
            assert!(text.contains(&format!("trigger {name}: POST triggers")), "{text}");
        }
        for name in ["ota-event", "base-image", "connected", "disconnected"] {
            let made = format!("POST triggers hedgerow-{name} 201");
            assert!(written(&emulator).contains(&made), "{version}: {made}");
        }
        // Told how it is now, nothing is left to do, and nothing that is there is touched.
        let plan = installation.plan(&with_key(&emulator)).await.expect("a plan");
        assert!(plan.is_done(), "{version}: {plan:?}");
        emulator.shutdown().await;
    }
}

#[tokio::test]
async fn a_thing_that_is_refused_is_named_and_all_others_are_done() {
    let names =
        ["io.edgehog.devicemanager.BaseImage", "hedgerow-keep-trying", "hedgerow-connected"];
    for name in names {
        let emulator = start().await;
        let realm = with_key(&emulator);
        let rule = RequestRule {
            method: Some("POST".to_owned()),
            body_contains: Some(format!("name\":\"{name}\"")),
            ..RequestRule::new(RequestFault::Status { code: 422 })
        };
        emulator.add_request_rule(rule).expect("a rule");
        let installation = Installation::new(&settings());
        let plan = installation.plan(&realm).await.expect("a plan");
        let refusal = plan.apply(&realm).await.expect_err("one is refused").to_string();
        assert!(refusal.contains(name) && refusal.contains("422"), "{refusal}");
        let plan = installation.plan(&realm).await.expect("a plan");
        let open = actions(&plan).into_iter().filter(|(_, _, action)| **action != Action::Keep);
        let open: Vec<_> = open.collect();
        // A trigger on an interface that is not there is refused as well; without the policy the
        // triggers are there, and get it later.
        let expected = match name {
            "io.edgehog.devicemanager.BaseImage" => 2,
            "hedgerow-keep-trying" => 7,
            _ => 1,
        };
        assert_eq!(open.len(), expected, "{open:?}");
        emulator.clear_rules();
        plan.apply(&realm).await.expect("the rest");
        let plan = installation.plan(&realm).await.expect("a plan");
        assert!(plan.is_done(), "{plan:?}");
        emulator.shutdown().await;
    }
}

#[tokio::test]
async fn a_trigger_goes_only_when_its_successor_is_there_under_another_name() {
    let emulator = older("1.3.0").await;
    let realm = with_key(&emulator);
    let first = Installation::new(&settings());
    first.plan(&realm).await.expect("a plan").apply(&realm).await.expect("an installation");
    let before = written(&emulator).len();
    let second = Installation::new(&InstallSettings::new(URL).expect("a URL"));
    second.plan(&realm).await.expect("a plan").apply(&realm).await.expect("an installation");
    let wrote = written(&emulator).split_off(before);
    assert_eq!(
        wrote[..2],
        ["POST triggers hedgerow-ota-event-2 201", "DELETE triggers/hedgerow-ota-event  204"],
        "{wrote:?}"
    );
    assert_eq!(wrote.len(), 12);
    // One that is refused leaves its predecessor where it is.
    let rule = RequestRule {
        body_contains: Some("hedgerow-connected".to_owned()),
        ..RequestRule::new(RequestFault::Status { code: 422 })
    };
    emulator.add_request_rule(rule).expect("a rule");
    let before = written(&emulator).len();
    let plan = first.plan(&realm).await.expect("a plan");
    plan.apply(&realm).await.expect_err("one is refused");
    let wrote = written(&emulator).split_off(before);
    assert_eq!(wrote.len(), 10, "{wrote:?}");
    assert!(!wrote.iter().any(|it| it.starts_with("DELETE triggers/hedgerow-connected")));
    emulator.clear_rules();
    // What an installation that was cut short has left over goes.
    let plan = first.plan(&realm).await.expect("a plan");
    plan.apply(&realm).await.expect("the rest");
    assert!(first.plan(&realm).await.expect("a plan").is_done());
    emulator.shutdown().await;
}

#[tokio::test]
async fn stored_events_in_a_realm_that_edgehog_set_up_keep_its_retention_and_say_so() {
    let keys = RealmKeys::generate().expect("keys");
    let builder =
        Emulator::builder().realm(REALM, keys).set_up_by_edgehog(REALM, URL).record(1_000);
    let emulator = builder.start().await.expect("an emulator");
    let realm = with_key(&emulator);
    let installation = Installation::new(&settings().with_stored_events());
    let plan = installation.plan(&realm).await.expect("a plan");
    let updated =
        plan.changes().iter().find(|change| matches!(change.action, Action::Update { .. }));
    let kept = updated.expect("an update").kept.join("; ");
    assert!(kept.contains("database_retention_ttl stays 31556952 (mappings: 5)"), "{kept}");
    plan.apply(&realm).await.expect("an installation");
    let plan = installation.plan(&realm).await.expect("a plan");
    assert!(plan.is_done(), "{plan:?}");
    // What is Edgehog's is left alone.
    assert!(
        !written(&emulator).iter().any(|it| it.contains("edgehog-")),
        "{:?}",
        written(&emulator)
    );
    emulator.shutdown().await;
}
