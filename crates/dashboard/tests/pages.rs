//! The pages over their router, as a browser without scripts uses them: who may see them, what is on
//! them, what their buttons do, and what another site's page cannot.

mod support;

use axum::http::StatusCode;
use hedgerow_core::{CampaignStatus, ReportStatus};
use support::{Pages, device, get, post};

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_seen_from_the_list_down_to_why_a_device_failed() {
    let pages = Pages::open().await;
    let id = pages.campaign("Spring <b>", 3, 2).await;
    let list = pages.shown(get("/t/gardens/campaigns")).await;
    assert!(list.contains("Spring &lt;b&gt;") && !list.contains("<b>Spring"), "{list}");
    assert!(list.contains("0 of 3 updated"), "{list}");
    let page = pages.shown(get(&format!("/t/gardens/campaigns/{id}"))).await;
    for said in ["running", "of at most 2", "Pause", "gateway 2.0.0"] {
        assert!(page.contains(said), "{said}: {page}");
    }
    pages.report(0, ReportStatus::Success).await;
    pages.report(1, ReportStatus::Failure).await;
    let page = pages.shown(get(&format!("/t/gardens/campaigns/{id}"))).await;
    assert!(
        page.contains("Why devices failed") && page.contains("reason=reported_failure"),
        "{page}"
    );
    let failed = format!("/t/gardens/campaigns/{id}?status=failed&reason=reported_failure");
    let page = pages.shown(get(&failed)).await;
    assert!(
        page.contains(&device(1).to_string()) && !page.contains(&device(0).to_string()),
        "{page}"
    );
    let none = pages.shown(get(&format!("/t/gardens/campaigns/{id}?reason=nonsense"))).await;
    assert!(none.contains("No device is to be shown"), "{none}");
    let of_device = format!("/t/gardens/campaigns/{id}/devices/{}", device(1));
    let page = pages.shown(get(&of_device)).await;
    assert!(page.contains("Failed because of") && page.contains("Begun"), "{page}");
    let of_device = format!("/t/gardens/campaigns/{id}/devices/{}", device(0));
    assert!(pages.shown(get(&of_device)).await.contains("It has reported success"));
}

#[tokio::test(flavor = "multi_thread")]
async fn buttons_pause_resume_and_cancel_and_lead_back_to_the_page() {
    let pages = Pages::open().await;
    let id = pages.campaign("Spring", 3, 1).await;
    let base = format!("/t/gardens/campaigns/{id}");
    for (act, status) in [
        ("pause", CampaignStatus::Pausing),
        ("resume", CampaignStatus::InProgress),
        ("cancel", CampaignStatus::Finished),
    ] {
        let (answered, headers, _) = pages.ask(post(&format!("{base}/{act}"), "")).await;
        assert_eq!(
            (answered, &headers["location"]),
            (StatusCode::SEE_OTHER, &base.parse().unwrap())
        );
        assert_eq!(pages.status(id).await, status, "{act}");
    }
    let (refused, _, page) = pages.ask(post(&format!("{base}/pause"), "")).await;
    assert_eq!(refused, StatusCode::CONFLICT, "it has ended");
    assert!(page.contains("That did not work"), "{page}");
    let page = pages.shown(get(&base)).await;
    assert!(page.contains("cancelled") && !page.contains(">Pause<"), "{page}");
    assert_eq!(pages.ask(post(&format!("{base}/explode"), "")).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_sites_page_sends_is_refused_and_changes_nothing() {
    let pages = Pages::open().await;
    let id = pages.campaign("Spring", 2, 1).await;
    let pause = || post(&format!("/t/gardens/campaigns/{id}/pause"), "");
    let sent = [
        pause().header("origin", "https://evil.example"),
        pause().header("sec-fetch-site", "cross-site"),
        pause().header("sec-fetch-site", "same-site").header("origin", "http://localhost"),
        pause().header("origin", "null"),
    ];
    for request in sent {
        let (status, _, page) = pages.ask(request).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(page.contains("another site"), "{page}");
    }
    assert_eq!(pages.status(id).await, CampaignStatus::InProgress);
    let own = pause().header("origin", "http://localhost").header("sec-fetch-site", "same-origin");
    assert_eq!(pages.ask(own).await.0, StatusCode::SEE_OTHER);
    // A name that somebody else has made to lead here.
    let rebound = get("/t/gardens/campaigns").header("host", "evil.example");
    assert_eq!(pages.ask(rebound).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_pasted_once_and_says_what_may_be_done() {
    let pages = Pages::open().await;
    let (status, headers, _) = pages.ask(get("/t/guarded/campaigns")).await;
    assert_eq!(
        (status, &headers["location"]),
        (StatusCode::SEE_OTHER, &"/t/guarded/sign-in".parse().unwrap())
    );
    let form = pages.shown(get("/t/guarded/sign-in")).await;
    assert!(form.contains("<textarea"), "{form}");
    let (refused, headers, page) = pages.ask(post("/t/guarded/sign-in", "token=x.y.z")).await;
    assert_eq!(refused, StatusCode::FORBIDDEN);
    assert!(
        page.contains("This token is not taken") && !headers.contains_key("set-cookie"),
        "{page}"
    );
    let viewer = pages.signed_in("viewer").await;
    assert!(
        viewer.1.contains("HttpOnly; SameSite=Strict") && viewer.1.contains("Path=/t/guarded/")
    );
    let seen = get("/t/guarded/campaigns").header("cookie", &viewer.0);
    let list = pages.shown(seen).await;
    assert!(list.contains("guarded · viewer") && list.contains("Sign out"), "{list}");
    let id = pages.guarded_campaign().await;
    let page =
        pages.shown(get(&format!("/t/guarded/campaigns/{id}")).header("cookie", &viewer.0)).await;
    assert!(!page.contains(">Pause<"), "{page}");
    let pause = || post(&format!("/t/guarded/campaigns/{id}/pause"), "");
    let (status, _, page) = pages.ask(pause().header("cookie", &viewer.0)).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(page.contains("takes the role operator"), "{page}");
    assert_eq!(pages.ask(pause()).await.0, StatusCode::SEE_OTHER, "to sign in");
    let operator = pages.signed_in("operator").await;
    let (status, headers, _) = pages.ask(pause().header("cookie", &operator.0)).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(headers["location"], format!("/t/guarded/campaigns/{id}"));
    let out = post("/t/guarded/sign-out", "").header("cookie", &operator.0);
    let (_, headers, _) = pages.ask(out).await;
    assert!(headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    // A token of one tenant opens no other, and a stale one leads to the form.
    let elsewhere = get("/t/nowhere/campaigns").header("cookie", &viewer.0);
    assert_ne!(pages.ask(elsewhere).await.0, StatusCode::OK);
    let stale = get("/t/guarded/campaigns").header("cookie", "hedgerow-guarded=a.b.c");
    let (_, headers, _) = pages.ask(stale).await;
    assert_eq!(headers["location"], "/t/guarded/sign-in?expired=true");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_makes_no_sense_is_a_page_that_says_so() {
    let pages = Pages::open().await;
    let id = pages.campaign("Spring", 1, 1).await;
    let long = "x".repeat(5_000);
    for path in [
        "/t/gardens/campaigns/not-an-id".to_owned(),
        format!("/t/gardens/campaigns/{}", uuid::Uuid::from_u128(9)),
        format!("/t/gardens/campaigns/{id}/devices/{}", device(77)),
        format!("/t/gardens/campaigns/{id}/devices/%00%3Cscript%3E"),
        format!("/t/gardens/campaigns/{long}"),
    ] {
        let (status, headers, page) = pages.ask(get(&path)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(page.contains("There is no such page") && !page.contains("<script>"), "{page}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    assert_eq!(pages.ask(get("/t/gardens/campaigns?after=zz")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(pages.ask(get("/assets/none.js")).await.0, StatusCode::NOT_FOUND);
    let huge = post("/t/guarded/sign-in", &format!("token={}", "x".repeat(100_000)));
    assert_eq!(pages.ask(huge).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_names_its_files_and_a_browser_may_keep_them() {
    let pages = Pages::open().await;
    let (status, headers, _) = pages.ask(get("/")).await;
    assert_eq!(status, StatusCode::OK, "two tenants: nobody is told which");
    assert_eq!(headers["cache-control"], "no-store");
    let list = pages.shown(get("/t/gardens/campaigns")).await;
    let named: Vec<_> = list.split('"').filter(|text| text.starts_with("/assets/")).collect();
    assert_eq!(named.len(), 2, "{list}");
    for name in named {
        let (status, headers, _) = pages.ask(get(name)).await;
        assert_eq!(status, StatusCode::OK);
        assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_is_sent_what_has_changed() {
    let pages = Pages::open().await;
    let id = pages.campaign("Spring", 1, 1).await;
    let mut feed = pages.feed(&format!("/t/gardens/campaigns/{id}/live")).await;
    pages.report(0, ReportStatus::Success).await;
    let told = feed.until("succeeded").await;
    assert!(told.contains("event: parts"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_holds_up_no_service_that_stops() {
    let pages = Pages::open().await;
    let id = pages.campaign("Spring", 1, 1).await;
    let mut feed = pages.feed(&format!("/t/gardens/campaigns/{id}/live")).await;
    pages.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
    feed.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_hands_on_is_nobody_of_this_machine() {
    let pages = Pages::open().await;
    for name in hedgerow_graphql::auth::HANDED_ON {
        let handed_on = get("/t/gardens/campaigns").header(name, "https");
        assert_ne!(pages.ask(handed_on).await.0, StatusCode::OK, "{name}");
    }
}
