//! How requests and sockets are taken: who may, what is refused and how it is worded.

mod support;

use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use futures::SinkExt;
use hedgerow_graphql::Limits;
use hedgerow_graphql::auth::{PublicKey, TenantAccess};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use support::{Served, TENANT, serve, serve_with, soon};
use tokio_tungstenite::tungstenite::Message;

const JSON: &str = "Content-Type: application/json\r\n";
const WHO: &str = r#"{"query": "query { tenantInfo { __typename slug role } }"}"#;

/// A tenant with a key, and what signs its tokens.
fn guarded() -> (TenantAccess, EncodingKey) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = pair.public_key().as_der().unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(public.as_ref());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    let keys = vec![PublicKey::from_pem(&pem).unwrap()];
    let private = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
    (TenantAccess { keys, edgehog_tokens: true }, private)
}

fn token(key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, key).unwrap()
}

async fn ask_as(served: &Served, slug: &str, token: Option<&str>, body: &str) -> (u16, Value) {
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let head = format!("{JSON}{}", bearer.unwrap_or_default());
    let answer = served.post(slug, &head, body.as_bytes()).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn who_may_ask_is_told_and_who_may_not_is_refused_as_edgehog_words_it() {
    let (access, key) = guarded();
    let served = serve_with(vec![("acme", access)], Limits::default()).await;
    let unauthorized = (401, json!({"errors": {"detail": "Unauthorized"}}));
    let forbidden = (403, json!({"errors": {"detail": "Forbidden"}}));
    let valid = token(&key, &json!({"hedgerow_role": "viewer"}));
    let (_, other) = guarded();
    let foreign = token(&other, &json!({"hedgerow_role": "viewer"}));
    let expired = token(&key, &json!({"hedgerow_role": "viewer", "exp": 1_000}));
    let roleless = token(&key, &json!({"sub": "somebody"}));

    assert_eq!(ask_as(&served, "acme", None, WHO).await, unauthorized);
    for bad in ["nonsense", &foreign, &expired, &roleless] {
        assert_eq!(ask_as(&served, "acme", Some(bad), WHO).await, forbidden, "{bad}");
    }
    assert_eq!(ask_as(&served, "other", Some(&valid), WHO).await, forbidden);
    assert_eq!(ask_as(&served, "other", None, WHO).await, unauthorized);
    let (status, body) = ask_as(&served, "acme", Some(&valid), WHO).await;
    let info = json!({"__typename": "TenantInfo", "slug": "acme", "role": "viewer"});
    assert_eq!((status, body), (200, json!({"data": {"tenantInfo": info}})));
    let edgehog = token(&key, &json!({"e_tga": [".*"]}));
    let (_, body) = ask_as(&served, "acme", Some(&edgehog), WHO).await;
    assert_eq!(body["data"]["tenantInfo"]["role"], "admin");
}

#[tokio::test]
async fn a_role_is_refused_what_it_may_not_with_the_field_null() {
    let (access, key) = guarded();
    let served = serve_with(vec![("acme", access)], Limits::default()).await;
    let viewer = token(&key, &json!({"hedgerow_role": "viewer"}));
    let pause = r#"{"query": "mutation { pauseCampaign(id: \"x\") { result { id } } }"}"#;
    let (status, body) = ask_as(&served, "acme", Some(&viewer), pause).await;
    assert_eq!(status, 200);
    assert_eq!(body["data"], json!({"pauseCampaign": null}));
    assert_eq!(body["errors"][0]["code"], "forbidden");
    assert_eq!(body["errors"][0]["fields"], json!([]));
    let operator = token(&key, &json!({"hedgerow_role": "operator"}));
    let (_, body) = ask_as(&served, "acme", Some(&operator), pause).await;
    assert_eq!(body["errors"][0]["code"], "not_found");
    assert_eq!(body["errors"][0]["fields"], json!(["id"]));
    assert_eq!(body["errors"][0]["message"], "could not be found");
    assert_eq!(body["errors"][0]["path"], json!(["pauseCampaign"]));
}

#[tokio::test]
async fn a_tenant_without_keys_is_closed_to_proxies_and_to_pages_from_elsewhere() {
    let served = serve().await;
    let ask = |head: &str| {
        let head = format!("{JSON}{head}");
        let served = &served;
        async move { served.post(TENANT, &head, WHO.as_bytes()).await.status }
    };
    assert_eq!(ask("").await, 200);
    assert_eq!(ask("X-Forwarded-For: 10.0.0.1\r\n").await, 403);
    assert_eq!(ask("Origin: https://evil.example\r\n").await, 403);
    assert_eq!(ask(&format!("Origin: http://{}\r\n", served.address)).await, 200);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_errors_in_the_usual_shape() {
    let served = serve().await;
    for (head, body, status) in [
        (JSON, "{", 400),
        (JSON, "[]", 400),
        (JSON, "{}", 400),
        (JSON, r#"{"query": "{ tenantInfo { slug } }", "variables": 7}"#, 400),
        ("Content-Type: text/plain\r\n", WHO, 415),
        ("", WHO, 415),
        ("Content-Type: multipart/form-data\r\n", WHO, 400),
        ("Content-Type: multipart/form-data; boundary=x\r\n", "--x\r\nnonsense", 400),
        (JSON, r#"{"query": "{ tenantInfo { nothing } }"}"#, 200),
        (JSON, r#"{"query": "{ tenantInfo { slug "}"#, 200),
        (JSON, r#"{"query": "subscription { campaigns { created { id } } }"}"#, 200),
    ] {
        let answer = served.post(TENANT, head, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let error = &answer.body["errors"][0];
        assert!(error["fields"].is_array(), "{body}: {answer:?}");
        assert!(error["code"].is_string(), "{body}: {answer:?}");
        assert!(error["message"].is_string(), "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn documents_and_bodies_beyond_the_limits_are_refused() {
    let served = serve().await;
    let mut deep = "id".to_owned();
    for _ in 0..10 {
        deep = format!("campaign {{ campaignTargets {{ edges {{ node {{ {deep} }} }} }} }}");
    }
    let deep = format!(
        "{{ campaigns {{ edges {{ node {{ campaignTargets {{ edges {{ node {{ {deep} }} }} }} }} }} }} }}"
    );
    let wide = format!(
        "{{ {} }}",
        (0..5_000).map(|n| format!("a{n}: tenantInfo {{ slug }}")).collect::<Vec<_>>().join(" ")
    );
    for query in [deep, wide, format!("{}{}", "{a".repeat(3_000), "}".repeat(3_000))] {
        let answer = served.ask(&query, json!({})).await;
        assert!(answer.get("data").is_none(), "{answer}");
        assert!(answer["errors"][0]["fields"].is_array(), "{answer}");
    }
    let long = json!({"query": format!("# {}", "x".repeat(2 * 1024 * 1024))}).to_string();
    let answer = served.post(TENANT, JSON, long.as_bytes()).await;
    assert_eq!(answer.status, 413, "{answer:?}");
}

#[tokio::test]
async fn variables_that_no_one_declared_are_passed_over() {
    let served = serve().await;
    let query = "query ($filter: CampaignFilterInput, $after: String) { updateCampaigns(filter: $filter, after: $after) { edges { node { id } } pageInfo { hasNextPage endCursor } } }";
    for filter in [Value::Null, json!({})] {
        let variables = json!({"filter": filter, "after": null, "undeclared": 1});
        let data = served.data(query, variables).await;
        let page = json!({"edges": [], "pageInfo": {"hasNextPage": false, "endCursor": null}});
        assert_eq!(data, json!({"updateCampaigns": page}));
    }
}

#[tokio::test]
async fn frames_are_answered_as_phoenix_does() {
    let served = serve().await;
    let mut socket = served.socket().await;
    assert_eq!(
        socket.call("phoenix", "heartbeat", json!({})).await,
        json!({"status": "ok", "response": {}})
    );
    let other = socket.call("rooms:lobby", "phx_join", json!({})).await;
    assert_eq!(other["status"], "error");
    // Questions may come over the socket too.
    let reply = socket.doc("{ tenantInfo { slug } }", json!({})).await;
    let data = json!({"tenantInfo": {"slug": TENANT}});
    assert_eq!(reply, json!({"status": "ok", "response": {"data": data}}));
    // A document that is none is refused in the reply.
    let reply = socket.doc("subscription { campaigns { nothing } }", json!({})).await;
    assert_eq!(reply["status"], "error");
    assert!(reply["response"]["errors"][0]["fields"].is_array(), "{reply}");
    // So is a subscription to what is not there.
    let missing = "subscription { campaign(id: \"x\") { updated { id } } }";
    let reply = socket.doc(missing, json!({})).await;
    assert_eq!(reply["status"], "error", "{reply}");
    let first = "subscription { campaigns { created { id } } }";
    let id = socket.subscribe(first, json!({})).await;
    let payload = json!({"subscriptionId": id});
    let reply = socket.call("__absinthe__:control", "unsubscribe", payload.clone()).await;
    assert_eq!(reply, json!({"status": "ok", "response": payload}));
    let reply = socket.call("__absinthe__:control", "phx_leave", json!({})).await;
    assert_eq!(reply["status"], "ok");
}

#[tokio::test]
async fn a_socket_that_says_nonsense_or_nothing_is_closed_and_no_other() {
    let limits = Limits { silence: Duration::from_millis(400), ..Limits::default() };
    let served = serve_with(Vec::new(), limits).await;
    let mut good = served.socket().await;
    for bad in [
        Message::text("nonsense"),
        Message::text("[1,2,3]"),
        Message::text("{}"),
        Message::binary(vec![0, 1, 2]),
        Message::text(format!("[\"{}\"]", "x".repeat(2 * 1024 * 1024))),
    ] {
        let mut socket = served.socket().await;
        let _ = socket.stream.send(bad).await;
        assert_eq!(socket.receive().await, None);
        let reply = good.call("phoenix", "heartbeat", json!({})).await;
        assert_eq!(reply["status"], "ok");
    }
    // One that does not even answer pings: its client is not polled.
    let silent = served.socket().await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    let mut silent = silent;
    assert_eq!(silent.receive().await, None, "it was closed");
}

#[tokio::test]
async fn a_socket_is_opened_only_to_who_may_and_in_the_version_that_is_spoken() {
    let (access, key) = guarded();
    let served = serve_with(vec![("acme", access)], Limits::default()).await;
    let open = |query: String| {
        let url = format!("ws://{}/socket/websocket?{query}", served.address);
        async move {
            match tokio_tungstenite::connect_async(url).await {
                Ok(_) => 101,
                Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                    answer.status().as_u16()
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let valid = token(&key, &json!({"hedgerow_role": "viewer"}));
    assert_eq!(open(format!("vsn=2.0.0&tenant=acme&token={valid}")).await, 101);
    assert_eq!(open(format!("vsn=1.0.0&tenant=acme&token={valid}")).await, 400);
    assert_eq!(open("vsn=2.0.0&tenant=acme&token=".to_owned()).await, 401);
    assert_eq!(open("vsn=2.0.0&tenant=acme&token=x".to_owned()).await, 403);
    assert_eq!(open(format!("vsn=2.0.0&tenant=other&token={valid}")).await, 403);
    assert_eq!(open("vsn=2.0.0".to_owned()).await, 401);
}

#[tokio::test]
async fn everybody_else_speaks_graphql_transport_ws() {
    use futures::StreamExt;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    let (access, key) = guarded();
    let served = serve_with(vec![("acme", access)], Limits::default()).await;
    let url = format!("ws://{}/tenants/acme/socket", served.address);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "graphql-transport-ws".parse().unwrap());
    let (mut stream, answer) = tokio_tungstenite::connect_async(request.clone()).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "graphql-transport-ws");
    let valid = token(&key, &json!({"hedgerow_role": "viewer"}));
    let init =
        json!({"type": "connection_init", "payload": {"Authorization": format!("Bearer {valid}")}});
    let question = json!({"query": "{ tenantInfo { slug } }"});
    let wrong = json!({"query": "{ nothing }"});
    for message in [
        init,
        json!({"type": "ping"}),
        json!({"type": "subscribe", "id": "a", "payload": question}),
        json!({"type": "subscribe", "id": "b", "payload": wrong}),
    ] {
        stream.send(Message::text(message.to_string())).await.unwrap();
    }
    let mut told = Vec::new();
    while told.len() < 5 {
        if let Message::Text(text) = soon(stream.next()).await.unwrap().unwrap() {
            told.push(serde_json::from_str::<Value>(&text).unwrap());
        }
    }
    assert_eq!(told[0], json!({"type": "connection_ack"}));
    assert_eq!(told[1], json!({"type": "pong"}));
    assert_eq!(told[2]["payload"], json!({"data": {"tenantInfo": {"slug": "acme"}}}));
    assert_eq!(told[3], json!({"type": "complete", "id": "a"}));
    assert_eq!((&told[4]["type"], &told[4]["id"]), (&json!("error"), &json!("b")));
    assert!(told[4]["payload"].is_array());

    // Without a token nothing is told.
    let (mut stream, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    stream.send(Message::text(r#"{"type": "connection_init"}"#)).await.unwrap();
    let closed = soon(stream.next()).await.unwrap().unwrap();
    let Message::Close(Some(frame)) = closed else { panic!("{closed:?}") };
    assert_eq!(u16::from(frame.code), 4401);
}
