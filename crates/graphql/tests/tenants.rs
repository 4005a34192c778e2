//! Nothing of one tenant is seen from another, whichever way it is asked for (D21).

mod support;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use futures::SinkExt;
use hedgerow_graphql::Limits;
use hedgerow_graphql::auth::{PublicKey, TenantAccess};
use serde_json::{Value, json};
use support::{Served, global, serve_with};
use tokio_tungstenite::tungstenite::Message;

/// A tenant with a key, and a token of an admin of it.
fn guarded() -> (TenantAccess, String) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = pair.public_key().as_der().unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(public.as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    let keys = vec![PublicKey::from_pem(&pem).unwrap()];
    let key = jsonwebtoken::EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    let token = jsonwebtoken::encode(&header, &json!({"hedgerow_role": "admin"}), &key).unwrap();
    (TenantAccess { keys, edgehog_tokens: false }, token)
}

async fn ask(served: &Served, token: &str, query: &str, id: &str) -> Value {
    let head = format!("Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n");
    let body = json!({"query": query, "variables": {"id": id}}).to_string();
    served.post("acme", &head, body.as_bytes()).await.body
}

#[tokio::test]
async fn what_a_tenant_has_is_not_there_for_another() {
    let (access, token) = guarded();
    let served = serve_with(vec![("acme", access)], Limits::default()).await;
    served.fleet(2, "GW-1");
    let campaign = served.campaign("Theirs", 1).await;
    served.until(campaign, |progress| progress.targets.total == 2).await;
    let created = served
        .data(
            "mutation { createHardwareType(input: {name: \"Board\", handle: \"board\", partNumbers: [\"B\"]}) { result { id } } }",
            json!({}),
        )
        .await;
    let hardware = created["createHardwareType"]["result"]["id"].as_str().unwrap();
    let campaign = global("campaign", campaign);
    let device = global("device", support::device(0));

    let lists = ask(
        &served,
        &token,
        "{ campaigns { count edges { node { id } } } devices { count } hardwareTypes { count } }",
        "",
    )
    .await;
    assert_eq!(
        lists["data"],
        json!({"campaigns": {"count": 0, "edges": []}, "devices": {"count": 0}, "hardwareTypes": {"count": 0}})
    );
    for (query, id) in [
        ("query ($id: ID!) { campaign(id: $id) { id } }", campaign.as_str()),
        ("query ($id: ID!) { device(id: $id) { id } }", &device),
        ("query ($id: ID!) { hardwareType(id: $id) { id } }", hardware),
        ("mutation ($id: ID!) { pauseCampaign(id: $id) { result { id } } }", &campaign),
        ("mutation ($id: ID!) { cancelCampaign(id: $id) { result { id } } }", &campaign),
        ("mutation ($id: ID!) { deleteHardwareType(id: $id) { result { id } } }", hardware),
        (
            "mutation ($id: ID!) { updateDevice(id: $id, input: {name: \"ours\"}) { result { id } } }",
            &device,
        ),
        (
            "mutation ($id: ID!) { createManualOtaOperation(input: {deviceId: $id, baseImageUrl: \"https://x/y\"}) { result { id } } }",
            &device,
        ),
    ] {
        let answer = ask(&served, &token, query, id).await;
        assert_eq!(answer["errors"][0]["code"], "not_found", "{query}: {answer}");
    }

    // A socket of the other tenant hears nothing of it either.
    let url =
        format!("ws://{}/socket/websocket?vsn=2.0.0&token={token}&tenant=acme", served.address);
    let (mut stream, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for frame in [
        json!([null, "1", "__absinthe__:control", "doc", {"query": "subscription ($id: ID!) { campaign(id: $id) { updated { id } } }", "variables": {"id": campaign}}]),
        json!([null, "2", "__absinthe__:control", "doc", {"query": "subscription { campaigns { created { id } updated { id } } }"}]),
        json!([null, "3", "__absinthe__:control", "doc", {"query": "subscription { deviceChanged { created { id } updated { id } } }"}]),
    ] {
        stream.send(Message::text(frame.to_string())).await.unwrap();
    }
    let mut other = served.socket().await;
    other.subscribe("subscription { campaigns { created { id } } }", json!({})).await;
    served.campaign("Theirs too", 1).await;
    served.fleet(3, "GW-1");
    other.event().await;
    stream.send(Message::text(r#"[null,"9","phoenix","heartbeat",{}]"#)).await.unwrap();
    let mut told = Vec::new();
    while told.last().is_none_or(|frame: &Value| frame[1] != "9") {
        use futures::StreamExt;
        if let Message::Text(text) = support::soon(stream.next()).await.unwrap().unwrap() {
            told.push(serde_json::from_str::<Value>(&text).unwrap());
        }
    }
    assert_eq!(told.len(), 4, "the three replies, the heartbeat, and nothing else: {told:?}");
    assert_eq!(told[0][4]["status"], "error", "{:?}", told[0]);
}
