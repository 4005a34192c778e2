//! How devices are registered and get their certificates.

use crate::support::mqtt::Paired;
use crate::support::{Api, Receiver, answer, device, on_device, start, with_data};
use rcgen::{CertificateParams, KeyPair};
use reqwest::Method;
use serde_json::{Value, json};

async fn register(api: &Api, data: Value) -> (u16, Value) {
    answer(with_data(api.request(Method::POST, "pairing", "agent/devices"), data)).await
}

fn request() -> String {
    let key = KeyPair::generate().expect("a key");
    CertificateParams::default().serialize_request(&key).expect("a request").pem().expect("PEM")
}

#[tokio::test]
async fn a_device_is_registered_anew_until_it_has_asked_for_credentials() {
    let (_emulator, api) = start().await;
    let mut registered = Receiver::start(&[]).await;
    api.install("registered", &registered.url, on_device("device_registered"), None).await;
    let id = device(1);
    let (status, first) = register(&api, json!({"hw_id": id})).await;
    assert_eq!(status, 201);
    let (_, second) = register(&api, json!({"hw_id": id})).await;
    let secret = second["data"]["credentials_secret"].as_str().expect("a secret");
    assert_ne!(first["data"]["credentials_secret"], secret);
    assert_eq!(registered.next().await.event(), &json!({"type": "device_registered"}));

    let path = format!("devices/{id}/protocols/astarte_mqtt_v1/credentials");
    let device_api = api.with_token(secret);
    let post = |data: Value| with_data(device_api.request(Method::POST, "pairing", &path), data);
    assert_eq!(answer(post(json!({"csr": request()}))).await.0, 201);
    let (status, body) = register(&api, json!({"hw_id": id})).await;
    assert_eq!((status, &body["errors"]["hw_id"]), (422, &json!(["Device already registered"])));

    // Until it is unregistered.
    let unregister = api.request(Method::DELETE, "pairing", &format!("agent/devices/{id}"));
    assert_eq!(answer(unregister).await.0, 204);
    assert_eq!(answer(post(json!({"csr": request()}))).await.0, 403, "the old secret is void");
    assert_eq!(register(&api, json!({"hw_id": id})).await.0, 201);
}

#[tokio::test]
async fn a_device_learns_where_the_broker_is() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let path = format!("devices/{}", device(1));
    let ask = |secret: &str| answer(api.with_token(secret).request(Method::GET, "pairing", &path));
    let (status, body) = ask(&paired.secret).await;
    assert_eq!(status, 200);
    assert_eq!(body["data"]["status"], "confirmed");
    let url = format!("mqtts://localhost:{}/", emulator.mqtt_address().port());
    assert_eq!(body["data"]["protocols"], json!({"astarte_mqtt_v1": {"broker_url": url}}));
    assert_eq!(ask("wrong").await.0, 403);
    assert_eq!(ask("").await.0, 401);

    api.patch(&path, json!({"credentials_inhibited": true})).await;
    assert_eq!(ask(&paired.secret).await.1["data"]["status"], "inhibited");
    let credentials = format!("{path}/protocols/astarte_mqtt_v1/credentials");
    let inhibited = api.with_token(&paired.secret).request(Method::POST, "pairing", &credentials);
    assert_eq!(answer(with_data(inhibited, json!({"csr": request()}))).await.0, 403);
}

#[tokio::test]
async fn certificates_are_verified() {
    let (emulator, api) = start().await;
    let paired = Paired::new(&emulator, &api, device(1)).await;
    let other = Paired::new(&emulator, &api, device(2)).await;
    let path = format!("devices/{}/protocols/astarte_mqtt_v1/credentials/verify", device(1));
    let verify = |pem: &str| {
        let request = api.with_token(&paired.secret).request(Method::POST, "pairing", &path);
        answer(with_data(request, json!({"client_crt": pem})))
    };
    let (status, body) = verify(&paired.certificate_pem).await;
    assert_eq!((status, &body["data"]["valid"]), (200, &json!(true)));
    for pem in [other.certificate_pem.as_str(), "garbage", emulator.ca_certificate_pem()] {
        let (status, body) = verify(pem).await;
        assert_eq!((status, &body["data"]["valid"]), (200, &json!(false)), "{body}");
        assert!(body["data"]["cause"].is_string());
    }
    emulator.set_clock_offset(chrono::TimeDelta::days(366));
    assert_eq!(verify(&paired.certificate_pem).await.1["data"]["cause"], "EXPIRED");
}

#[tokio::test]
async fn what_is_no_device_or_no_request_is_refused() {
    let (_emulator, api) = start().await;
    for data in [json!({}), json!({"hw_id": "short"}), json!({"hw_id": 1})] {
        assert_eq!(register(&api, data.clone()).await.0, 422, "{data}");
    }
    let (_, body) = register(&api, json!({"hw_id": device(1)})).await;
    let secret = body["data"]["credentials_secret"].as_str().expect("a secret");
    let path = format!("devices/{}/protocols/astarte_mqtt_v1/credentials", device(1));
    for data in [json!({}), json!({"csr": "garbage"}), json!({"csr": "A".repeat(100_000)})] {
        let post = api.with_token(secret).request(Method::POST, "pairing", &path);
        assert_eq!(answer(with_data(post, data)).await.0, 422);
    }
}

#[tokio::test]
async fn an_initial_introspection_is_known_before_the_device_has_connected() {
    let (_emulator, api) = start().await;
    let interfaces = json!({"org.example.A": {"major": 1, "minor": 2}});
    register(&api, json!({"hw_id": device(1), "initial_introspection": interfaces})).await;
    let (_, status) = api.get(&format!("devices/{}", device(1))).await;
    assert_eq!(status["data"]["introspection"]["org.example.A"]["major"], 1);
}
