//! What all pages have: the head, the way around, what a browser may do with them, and errors as pages.

use std::fmt::Write;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hedgerow_core::Timestamp;
use hedgerow_engine::EngineError;
use hedgerow_graphql::auth::Role;
use maud::{DOCTYPE, Markup, html};

use crate::assets;
use crate::guard::Guest;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// There is no such thing, or nobody is told.
    #[error("There is no such page. It may have been removed, or its address is wrong.")]
    Unknown,
    /// The role does not suffice.
    #[error("Your token lets you look, and not do this: it takes the role {}. Ask whoever gives out tokens.", role.name())]
    NotAllowed {
        /// The role that would.
        role: Role,
    },
    /// Another site sent it.
    #[error(
        "This was sent by a page of another site, and was not done. If you meant it, do it on the page here."
    )]
    FromElsewhere,
    /// The engine refused, or could not.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Too many pages are open.
    #[error(
        "So many pages are open that this one is not kept up to date: load it again now and then."
    )]
    TooMany,
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::NotAllowed { .. } | Self::FromElsewhere => StatusCode::FORBIDDEN,
            Self::Engine(error) if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Engine(_) => StatusCode::CONFLICT,
            Self::TooMany => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let content = html! {
            h1 { "That did not work" }
            p.problem role="alert" { (self) }
            p { a href="/" { "To the start" } }
        };
        (status, bare("That did not work", &content)).into_response()
    }
}

/// A text as part of an address.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // A text takes all that is written to it.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Hedgerow" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(assets::style());
                script src=(assets::script()) defer {}
            }
            body { (body) }
        }
    }
}

/// A page without a way around: for who is not known yet.
pub(crate) fn bare(title: &str, content: &Markup) -> Markup {
    document(title, &html! { main.narrow { (content) } })
}

/// A page of a tenant.
pub(crate) fn page(guest: &Guest, title: &str, content: &Markup) -> Markup {
    let base = format!("/t/{}", guest.tenant());
    document(
        title,
        &html! {
            a.skip href="#content" { "To the content" }
            header {
                a.brand href={ (base) "/campaigns" } { "Hedgerow" }
                nav aria-label="Pages" {
                    a href={ (base) "/campaigns" } { "Campaigns" }
                }
                div.who {
                    span { (guest.tenant()) " · " (guest.caller.role.name()) }
                    @if guest.has_token {
                        form method="post" action={ (base) "/sign-out" } {
                            button type="submit" { "Sign out" }
                        }
                    }
                }
            }
            main #content tabindex="-1" { (content) }
        },
    )
}

/// A moment for people, and exactly for machines.
pub(crate) fn moment(at: Timestamp) -> Markup {
    let exact = chrono::DateTime::from_timestamp_millis(at.as_millis());
    let Some(exact) = exact else { return html! { "–" } };
    html! {
        time datetime=(exact.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)) {
            (exact.format("%Y-%m-%d %H:%M:%S")) " UTC"
        }
    }
}

/// What a browser may do with whatever comes from here: load from here and nowhere else, run no script
/// but the one file, and show it in no frame of another site.
pub(crate) async fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let all = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
             img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in all {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // A page may show what only its reader may see.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
