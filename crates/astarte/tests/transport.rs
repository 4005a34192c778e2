//! The transport: what is sent to Astarte, and what its answers mean to the engine (D10).

mod common;

use common::{Fake, Told, data, device, error, status, tenant};
use hedgerow_core::{ImageUrl, OperationId, RequestAnswer, TransportError};
use hedgerow_engine::ports::DeviceTransport;
use serde_json::{Value, json};

const URL: &str = "https://images.example/2.0.0.bin?signature=secret&expires=1";

fn operation() -> OperationId {
    "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().expect("a UUID")
}

fn url() -> ImageUrl {
    URL.parse().expect("a URL")
}

/// The answer to an Update, if the request is answered so.
async fn update(told: impl Fn() -> Told + Send + Sync + 'static) -> (RequestAnswer, Fake) {
    let fake =
        Fake::start(
            move |asked| {
                if asked.method == "POST" { told() } else { (200, data(&status(device(1)))) }
            },
        )
        .await;
    let answer = fake.astarte().send_update(&tenant(), device(1), operation(), &url()).await;
    (answer, fake)
}

#[tokio::test]
async fn update_and_cancel_carry_the_same_uuid_and_url() {
    let fake = Fake::start(|asked| match asked.method.as_str() {
        "POST" => (200, data(&json!({}))),
        _ => (200, data(&status(device(1)))),
    })
    .await;
    let astarte = fake.astarte();
    for _ in 0..2 {
        let sent = astarte.send_update(&tenant(), device(1), operation(), &url()).await;
        assert_eq!(sent, RequestAnswer::Accepted);
    }
    let sent = astarte.send_cancel(&tenant(), device(1), operation(), &url()).await;
    assert_eq!(sent, RequestAnswer::Accepted);

    let asked = fake.asked();
    let path = format!(
        "appengine/devices/{}/interfaces/io.edgehog.devicemanager.OTARequest/request",
        device(1)
    );
    let posts: Vec<_> = asked.iter().filter(|asked| asked.method == "POST").collect();
    assert!(posts.iter().all(|post| post.path == path), "{posts:?}");
    assert!(posts.iter().all(|post| post.authorization == "Bearer aaa.bbb.ccc"));
    let body = |operation| {
        json!({"data": {
            "operation": operation, "url": URL, "uuid": "67e55044-10b1-426f-9247-bb680e5fe0c8",
        }})
    };
    let bodies: Vec<_> = posts.iter().map(|post| &post.body).collect();
    assert_eq!(bodies, [&body("Update"), &body("Update"), &body("Cancel")]);
    let reads = asked.iter().filter(|asked| asked.method == "GET").count();
    assert_eq!(reads, 1, "the introspection is read once for a device that can update");
}

#[tokio::test]
async fn answers_are_sorted_into_those_that_fail_a_target_and_those_that_do_not() {
    for (status, body) in [
        (401, error("Invalid JWT token")),
        (403, error("Unauthorized access to POST devices. Please verify your permissions")),
        (408, error("time-out")),
        (429, error("too many")),
        (500, error("Internal server error")),
        (503, error("Cannot push to device")),
        // A proxy knows nothing of the device.
        (404, json!("<html>default backend - 404</html>")),
        (400, json!("nginx: bad request")),
        (301, json!("moved")),
    ] {
        let told = body.clone();
        let (answer, _) = update(move || (status, told.clone())).await;
        assert!(matches!(answer, RequestAnswer::Temporary(_)), "{status} {body}: {answer:?}");
    }
    for (status, body) in [
        (400, error("Bad request")),
        (404, error("Device not found")),
        (404, error("Interface not found in device introspection")),
        (405, error("Cannot write to read-only resource")),
        (422, json!({"errors": {"detail": "Unexpected value type", "expected_type": "string"}})),
    ] {
        let told = body.clone();
        let (answer, _) = update(move || (status, told.clone())).await;
        let RequestAnswer::Permanent(error) = answer else { panic!("{status}: {answer:?}") };
        let detail = body["errors"]["detail"].as_str().expect("a detail");
        assert!(error.detail.contains(detail), "the detail is kept: {error}");
        assert!(error.detail.contains(&status.to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_signature_in_the_answer_does_not_get_into_the_error() {
    for body in [
        error(&format!("cannot fetch {URL}")),
        json!({"errors": {"url": ["has a bad query signature=secret&expires=1"]}}),
        json!(format!("proxy: {URL} <b>signature=secret&expires=1</b>")),
    ] {
        for status in [422, 500] {
            let told = body.clone();
            let (answer, _) = update(move || (status, told.clone())).await;
            let shown = format!("{answer:?}");
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_device_without_the_interfaces_is_refused_for_good_with_the_reason() {
    let old = json!({"io.edgehog.devicemanager.OTARequest": {"major": 0, "minor": 1}});
    for (introspection, permanent) in [(old, true), (json!({}), false)] {
        let fake = Fake::start(move |_| {
            let mut status = status(device(1));
            status["introspection"] = introspection.clone();
            (200, data(&status))
        })
        .await;
        let answer = fake.astarte().send_update(&tenant(), device(1), operation(), &url()).await;
        let (is_permanent, error) = match answer {
            RequestAnswer::Permanent(error) => (true, error),
            RequestAnswer::Temporary(error) => (false, error),
            RequestAnswer::Accepted => panic!("accepted"),
        };
        assert_eq!(is_permanent, permanent, "{error}");
        assert!(!permanent || error.detail.contains("OTARequest"), "{error}");
        assert!(fake.asked().iter().all(|asked| asked.method == "GET"), "nothing is sent");
    }
}

#[tokio::test]
async fn an_astarte_that_cannot_be_reached_is_a_temporary_error_without_our_url() {
    // A port that nobody listens on: the listener is dropped at once.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base_url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let astarte = common::astarte_at(&base_url);
    for _ in 0..8 {
        let answer = astarte.send_update(&tenant(), device(1), operation(), &url()).await;
        assert!(matches!(answer, RequestAnswer::Temporary(_)), "{answer:?}");
    }
    let answer = astarte.send_update(&tenant(), device(1), operation(), &url()).await;
    let RequestAnswer::Temporary(error) = answer else { panic!("{answer:?}") };
    assert!(error.detail.contains("was not made"), "the breaker is open: {error}");
}

async fn version(told: Told) -> Result<Option<String>, TransportError> {
    let fake = Fake::start(move |asked| {
        let is_version = asked.path.ends_with("BaseImage");
        if is_version { told.clone() } else { (200, data(&status(device(1)))) }
    })
    .await;
    fake.astarte().base_image_version(&tenant(), device(1)).await
}

#[tokio::test]
async fn the_version_is_read_alone_as_a_build_id_may_be_that_of_an_older_image() {
    let shown = |body: Value| (200, data(&body));
    for (told, expected) in [
        (shown(json!({"name": "os", "version": "1.2.3", "buildId": "77"})), Some("1.2.3")),
        (shown(json!({"version": "2.0.0", "buildId": "b1"})), Some("2.0.0")),
        (shown(json!({"version": "", "buildId": "b1"})), None),
        (shown(json!({"version": "1.2.3+a", "buildId": "b"})), Some("1.2.3+a")),
        (shown(json!({"buildId": "a"})), None),
        (shown(json!({})), None),
        ((404, error("Interface not found in device introspection")), None),
    ] {
        assert_eq!(version(told).await, Ok(expected.map(str::to_owned)));
    }
    for told in [
        (404, error("Device not found")),
        (500, error("Internal server error")),
        (200, json!("not json")),
        (200, data(&json!({"version": 5}))),
    ] {
        assert!(version(told.clone()).await.is_err(), "{told:?}");
    }
}

#[tokio::test]
async fn a_device_that_has_just_connected_is_given_time_to_show_its_version() {
    // When it connected, and what is read if it shows a version at the third look only.
    let now = chrono::Utc::now();
    let hour = chrono::TimeDelta::hours(1);
    let long_ago = now - chrono::TimeDelta::days(1);
    // Astarte's clock may be off: it counts when the connection came to be known.
    for (connected, expected) in [
        (now, Some("1.0.0")),
        (now - hour, Some("1.0.0")),
        (now + hour, Some("1.0.0")),
        (long_ago, None),
    ] {
        let looks = std::sync::atomic::AtomicU32::new(0);
        let fake = Fake::start(move |asked| {
            if !asked.path.ends_with("BaseImage") {
                let mut status = status(device(1));
                status["last_connection"] = json!(connected);
                return (200, data(&status));
            }
            let looks = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match looks {
                0 => (404, error("Interface not found in device introspection")),
                1 => (200, data(&json!({}))),
                _ => (200, data(&json!({"version": "1.0.0"}))),
            }
        })
        .await;
        let version = fake.astarte().base_image_version(&tenant(), device(1)).await;
        assert_eq!(version, Ok(expected.map(str::to_owned)), "connected at {connected}");
    }
}
