//! The transport of the guide, run as it stands, and against gateways that answer badly.

#![cfg(feature = "tokio")]

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use hedgerow_core::{DeviceId, ImageUrl, OperationId, RequestAnswer, TenantId};
use hedgerow_engine::ports::DeviceTransport;

#[path = "../examples/http_transport.rs"]
mod http_transport;

use http_transport::{HttpTransport, Request};

fn tenant() -> TenantId {
    "realm".parse().expect("a tenant")
}

fn device() -> DeviceId {
    DeviceId::from_bytes([7; 16])
}

fn operation() -> OperationId {
    "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().expect("an id")
}

fn url() -> ImageUrl {
    "https://images.example/2.0.0.bin?signature=a%2Fb".parse().expect("a URL")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// A transport to a gateway that is this router.
async fn to(router: Router) -> HttpTransport {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async { axum::serve(listener, router).await });
    HttpTransport::new(format!("http://{address}"))
}

#[test]
fn the_campaign_of_the_guide_comes_to_its_end_over_http() {
    http_transport::main().expect("it runs");
}

#[test]
fn a_request_carries_uuid_and_url_byte_for_byte() {
    block_on(async {
        let (heard, mut requests) = tokio::sync::mpsc::unbounded_channel::<Request>();
        let take = async move |axum::Json(request): axum::Json<Request>| drop(heard.send(request));
        let path = format!("/realm/devices/{}/requests", device());
        let transport = to(Router::new().route(&path, post(take))).await;
        let sent = transport.send_update(&tenant(), device(), operation(), &url()).await;
        assert_eq!(sent, RequestAnswer::Accepted);
        let sent = transport.send_cancel(&tenant(), device(), operation(), &url()).await;
        assert_eq!(sent, RequestAnswer::Accepted);
        for action in ["update", "cancel"] {
            let (action, url) = (action.to_owned(), url().as_str().to_owned());
            assert_eq!(
                requests.recv().await,
                Some(Request { action, operation: operation(), url })
            );
        }
    });
}

// ANCHOR: answers
#[test]
fn only_a_refusal_for_good_fails_a_target() {
    block_on(async {
        for (status, temporary) in [(503, true), (401, true), (429, true), (404, false)] {
            let status = StatusCode::from_u16(status).expect("a status");
            let transport = to(Router::new().fallback(async move || status)).await;
            let answer = transport.send_update(&tenant(), device(), operation(), &url()).await;
            match answer {
                RequestAnswer::Temporary(_) => assert!(temporary, "{status}"),
                RequestAnswer::Permanent(_) => assert!(!temporary, "{status}"),
                RequestAnswer::Accepted => panic!("{status} is no success"),
            }
        }
        let nobody = HttpTransport::new("http://127.0.0.1:1".to_owned());
        let answer = nobody.send_update(&tenant(), device(), operation(), &url()).await;
        assert!(matches!(answer, RequestAnswer::Temporary(_)), "{answer:?}");
    });
}

#[test]
fn a_version_that_cannot_be_read_is_an_error_and_not_no_version() {
    block_on(async {
        let path = "/realm/devices/{device}/base-image";
        for (body, expected) in [
            (r#"{"version":"1.4.0"}"#, Some(Some("1.4.0".to_owned()))),
            (r#"{"version":null}"#, Some(None)),
            ("no JSON", None),
        ] {
            let transport = to(Router::new().route(path, get(async move || body))).await;
            let shown = transport.base_image_version(&tenant(), device()).await;
            assert_eq!(shown.ok(), expected, "{body}");
        }
        let endless = to(Router::new().fallback(async || "1".repeat(100_000))).await;
        assert!(endless.base_image_version(&tenant(), device()).await.is_err());
        let failing = to(Router::new().fallback(async || StatusCode::NOT_FOUND)).await;
        assert!(failing.base_image_version(&tenant(), device()).await.is_err());
    });
}
// ANCHOR_END: answers
