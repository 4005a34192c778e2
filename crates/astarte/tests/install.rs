//! Provisioning, against the emulator: from an empty realm to one that has everything, twice.

use hedgerow_astarte::provisioning::{
    Action, InstallError, InstallSettings, Installation, Kind, Plan,
};
use hedgerow_astarte::{
    ApiError, Credentials, HttpConnections, HttpSettings, RealmClient, RealmManagement,
};
use hedgerow_astarte_emulator::{Emulator, RealmKeys};
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
    assert_eq!((claim, entries.len()), ("a_rma", 10));
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
    let conflict = Installation::new(&settings()).plan(&with_key(&emulator)).await;
    let Err(InstallError::Conflict { name, .. }) = conflict else { panic!("{conflict:?}") };
    assert_eq!(name, "io.edgehog.devicemanager.OTARequest");
    emulator.shutdown().await;
}
