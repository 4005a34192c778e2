//! Which pages of browsers may ask. A browser says which page sends a request; what is no browser says
//! nothing, and is held to its token alone.

use axum::http::{HeaderMap, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// Which pages of browsers may ask.
#[derive(Clone, Debug, Default)]
pub enum Origins {
    /// Those that come from where the API is.
    #[default]
    Own,
    /// Those and these, such as `https://dashboard.example`.
    These(Vec<String>),
    /// All. A tenant without keys is nevertheless open to the pages of this machine only.
    Any,
}

/// A host that surely is this machine, with or without a port.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

impl Origins {
    fn has(&self, origin: &str, host: Option<&str>) -> bool {
        let is_own = host.is_some_and(|host| {
            origin.split_once("://").is_some_and(|(_, own)| own.eq_ignore_ascii_case(host))
        });
        match self {
            Self::Any => true,
            Self::Own => is_own,
            Self::These(all) => is_own || all.iter().any(|one| one.eq_ignore_ascii_case(origin)),
        }
    }

    /// Whether the page that sends a request may. `open`: its tenant asks for no token, so that every
    /// page that a browser on this machine shows could speak for whoever sits there.
    #[must_use]
    pub fn allow(&self, headers: &HeaderMap, open: bool) -> bool {
        let host = text(headers, header::HOST);
        // A name that leads here and is not this machine's is one that somebody else has made up.
        if open && !host.is_some_and(is_this_machine) {
            return false;
        }
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        match self {
            Self::Any if open => {
                origin.split_once("://").is_some_and(|(_, host)| is_this_machine(host))
            }
            origins => origins.has(origin, host),
        }
    }

    /// What browsers are told before they send a request.
    pub(crate) fn layer(&self) -> CorsLayer {
        let origins = match self {
            Self::Any => AllowOrigin::any(),
            Self::Own => AllowOrigin::list([]),
            Self::These(all) => {
                AllowOrigin::list(all.iter().filter_map(|one| HeaderValue::from_str(one).ok()))
            }
        };
        let headers = [header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT_LANGUAGE];
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::OPTIONS])
            .allow_headers(AllowHeaders::list(headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        headers
    }

    #[test]
    fn a_page_may_ask_if_it_is_listed_or_comes_from_the_same_place() {
        let listed = Origins::These(vec!["https://dashboard.example".to_owned()]);
        let host = "api.example:8080";
        let allow = |origins: &Origins, origin| origins.allow(&headers(host, origin), false);
        assert!(allow(&listed, Some("https://dashboard.example")));
        assert!(allow(&listed, Some("http://api.example:8080")));
        assert!(allow(&listed, None), "what is no browser");
        assert!(!allow(&listed, Some("https://evil.example")));
        assert!(!allow(&listed, Some("null")));
        assert!(!allow(&Origins::Own, Some("https://dashboard.example")));
        assert!(allow(&Origins::Any, Some("https://evil.example")));
    }

    #[test]
    fn where_no_token_is_needed_only_pages_of_this_machine_may_ask() {
        for own in ["localhost:4080", "127.0.0.1:4080", "[::1]:4080", "localhost"] {
            assert!(Origins::Any.allow(&headers(own, None), true), "{own}");
            assert!(
                Origins::Any.allow(&headers(own, Some("http://localhost:8000")), true),
                "{own}"
            );
            assert!(
                !Origins::Any.allow(&headers(own, Some("https://evil.example")), true),
                "{own}"
            );
        }
        let rebound = headers("evil.example", Some("http://evil.example"));
        assert!(!Origins::Own.allow(&rebound, true), "a name that was made to lead here");
    }
}
