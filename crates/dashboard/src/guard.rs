//! Who asks: the token of a cookie, the role that it gives, and whether a form comes from a page of
//! the service's own.
//!
//! A browser sends its cookies along whoever made it send a request. So the cookie is one that it sends
//! with nothing that another site began (`SameSite=Strict`), and a form is refused unless the browser
//! says that a page from here sent it.

use axum::extract::{Form, FromRequestParts, Path, State};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use hedgerow_core::TenantId;
use hedgerow_graphql::Origins;
use hedgerow_graphql::auth::{Caller, Origin, Refused, Role};
use maud::{Markup, html};
use serde::Deserialize;

use crate::Shared;
use crate::frame::{self, Problem};

/// Who may see a page, of which tenant.
pub(crate) struct Guest {
    pub(crate) caller: Caller,
    /// Whether it came in by a token, and may go out again.
    pub(crate) has_token: bool,
}

impl Guest {
    pub(crate) fn tenant(&self) -> &TenantId {
        &self.caller.tenant
    }

    pub(crate) fn may(&self, role: Role) -> bool {
        self.caller.role >= role
    }

    /// Refuses who may not do what takes that role.
    pub(crate) fn must(&self, role: Role) -> Result<(), Problem> {
        if self.may(role) { Ok(()) } else { Err(Problem::NotAllowed { role }) }
    }
}

/// The cookie of a tenant, told apart from those of other services on the same host. A tenant's name
/// has nothing that a cookie's may not have; what is none is looked for in vain.
fn cookie_name(tenant: &str) -> String {
    format!("hedgerow-{}", frame::encoded(tenant).replace('%', "."))
}

fn token<'a>(headers: &'a HeaderMap, tenant: &str) -> Option<&'a str> {
    let name = cookie_name(tenant);
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|all| all.split(';')).find_map(|cookie| {
        let (own, value) = cookie.trim().split_once('=')?;
        (own == name).then_some(value)
    })
}

/// Whether a browser says that a page from elsewhere sent this. What is no browser says nothing.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.to_str().unwrap_or("?"));
    site.is_some_and(|site| site != "same-origin" && site != "none")
        || !Origins::Own.allow(headers, false)
}

impl FromRequestParts<Shared> for Guest {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Response> {
        let path =
            Path::<std::collections::HashMap<String, String>>::from_request_parts(parts, shared);
        let path = path.await.map_err(IntoResponse::into_response)?;
        let tenant = path.get("tenant").map(String::as_str).unwrap_or_default();
        if parts.method != axum::http::Method::GET && is_from_elsewhere(&parts.headers) {
            return Err(Problem::FromElsewhere.into_response());
        }
        let token = token(&parts.headers, tenant);
        let caller =
            shared.access.check(tenant, token, Origin::of(&parts.headers, &parts.extensions));
        match caller {
            Ok(caller)
                if !Origins::Own.allow(&parts.headers, shared.access.is_open(&caller.tenant)) =>
            {
                Err(Problem::Unknown.into_response())
            }
            Ok(caller) => Ok(Self { caller, has_token: token.is_some() }),
            Err(Refused::NoToken) => {
                Err(Redirect::to(&format!("/t/{}/sign-in", frame::encoded(tenant))).into_response())
            }
            Err(Refused::Forbidden) if token.is_some() => {
                let to = format!("/t/{}/sign-in?expired=true", frame::encoded(tenant));
                Err(Redirect::to(&to).into_response())
            }
            Err(Refused::Forbidden) => Err(Problem::Unknown.into_response()),
        }
    }
}

/// Leads to the only tenant, or asks which one.
pub(crate) async fn tenants(State(shared): State<Shared>) -> Response {
    let open: Vec<_> = shared.access.tenants().filter(|id| shared.access.is_open(id)).collect();
    if let ([only], 1) = (&open[..], shared.access.tenants().count()) {
        return Redirect::to(&format!("/t/{}/campaigns", frame::encoded(only.as_str())))
            .into_response();
    }
    // Which tenants there are is nobody's business: who has a token knows its own.
    let content = html! {
        h1 { "Hedgerow" }
        p { "Which tenant do you work for? Its name stands in the address of its pages: "
            code { "/t/" i { "tenant" } "/campaigns" } "." }
    };
    frame::bare("Hedgerow", &content).into_response()
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    expired: bool,
}

pub(crate) async fn form(
    Path(tenant): Path<String>,
    asked: axum::extract::Query<Asked>,
) -> Response {
    let why = asked.expired.then_some(
        "Your token is not taken any more: it has expired, or it is of another tenant. Paste a newer one.",
    );
    frame::bare("Sign in", &sign_in_form(&tenant, why)).into_response()
}

fn sign_in_form(tenant: &str, why: Option<&str>) -> Markup {
    html! {
        h1 { "Sign in to " (tenant) }
        @if let Some(why) = why { p.problem role="alert" { (why) } }
        form method="post" {
            label for="token" { "Token" }
            textarea #token name="token" rows="6" required autocomplete="off" spellcheck="false"
                aria-describedby="about-token" {}
            p #about-token.hint {
                "A token is a text of three parts with dots between them, which whoever runs this service gives out."
            }
            button.primary type="submit" { "Sign in" }
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct SignIn {
    token: String,
}

pub(crate) async fn sign_in(
    State(shared): State<Shared>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    Form(sign_in): Form<SignIn>,
) -> Response {
    if is_from_elsewhere(&headers) {
        return Problem::FromElsewhere.into_response();
    }
    let token: String = sign_in.token.split_whitespace().collect();
    let checked = shared.access.check(&tenant, Some(&token), Origin::default());
    // What is in a token that was taken fits a cookie: it is letters, digits, dots and hyphens.
    let Ok(caller) = checked else {
        let why = "This token is not taken: it is of another tenant, has expired, or was not copied as a whole.";
        let page = frame::bare("Sign in", &sign_in_form(&tenant, Some(why)));
        return (StatusCode::FORBIDDEN, page).into_response();
    };
    let tenant = caller.tenant.as_str();
    let cookie = format!(
        "{}={token}; Path=/t/{}/; HttpOnly; SameSite=Strict{}",
        cookie_name(tenant),
        frame::encoded(tenant),
        secure(&headers)
    );
    let to = format!("/t/{}/campaigns", frame::encoded(tenant));
    ([(SET_COOKIE, cookie)], Redirect::to(&to)).into_response()
}

/// A cookie that came over TLS goes over nothing else again.
fn secure(headers: &HeaderMap) -> &'static str {
    let is_over_tls = |name: &str, what: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|it| it.starts_with(what))
    };
    if is_over_tls("x-forwarded-proto", "https") || is_over_tls("origin", "https:") {
        "; Secure"
    } else {
        ""
    }
}

pub(crate) async fn sign_out(Path(tenant): Path<String>, headers: HeaderMap) -> Response {
    if is_from_elsewhere(&headers) {
        return Problem::FromElsewhere.into_response();
    }
    let path = frame::encoded(&tenant);
    let cookie =
        format!("{}=; Path=/t/{path}/; HttpOnly; SameSite=Strict; Max-Age=0", cookie_name(&tenant));
    ([(SET_COOKIE, cookie)], Redirect::to(&format!("/t/{path}/sign-in"))).into_response()
}
