//! Decides whether a bearer token permits a request, by the rules of Astarte's claims: a claim per
//! API, each a list of `METHOD:options:PATH`, method and path being anchored regular expressions.

use std::collections::HashSet;

use jsonwebtoken::{DecodingKey, Validation};
use regex::RegexBuilder;
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::keys::{KeyError, RealmKeys};

/// One of Astarte's APIs, each with a claim of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    AppEngine,
    RealmManagement,
    Pairing,
}

impl Claim {
    fn key(self) -> &'static str {
        match self {
            Self::AppEngine => "a_aea",
            Self::RealmManagement => "a_rma",
            Self::Pairing => "a_pa",
        }
    }
}

/// Why a request is not permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// There is no `Authorization: Bearer` header.
    Missing,
    /// The token is not one of this realm, or has expired.
    Invalid,
    /// The token is good, but no authorization in it matches.
    Unauthorized,
}

/// Checks the tokens of one realm.
pub(crate) struct Guard {
    key: DecodingKey,
    validation: Validation,
}

/// Longer expressions are not compiled: a token is input from outside.
const AUTHORIZATION_LENGTH_MAX: usize = 1024;
/// Later authorizations in a list are not looked at.
const AUTHORIZATIONS_MAX: usize = 256;

impl Guard {
    pub(crate) fn new(keys: &RealmKeys) -> Result<Self, KeyError> {
        let (key, algorithms) = keys.decoding()?;
        let validation = Validation {
            algorithms,
            required_spec_claims: HashSet::new(),
            // Expiry is checked by the emulator's own clock.
            validate_exp: false,
            validate_aud: false,
            ..Validation::default()
        };
        Ok(Self { key, validation })
    }

    /// Checks a request whose path, after the realm and without a leading slash, is `path`.
    pub(crate) fn check(
        &self,
        authorization: Option<&str>,
        claim: Claim,
        method: &str,
        path: &str,
        clock: &Clock,
    ) -> Result<(), Denied> {
        let token = authorization.and_then(bearer).ok_or(Denied::Missing)?;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.validation)
            .map_err(|_| Denied::Invalid)?
            .claims;
        if let Some(expiry) = claims.get("exp") {
            let expiry = expiry.as_f64().ok_or(Denied::Invalid)?;
            #[expect(clippy::cast_precision_loss, reason = "seconds of today are far below 2^52")]
            let now = clock.now().timestamp() as f64;
            if expiry <= now {
                return Err(Denied::Invalid);
            }
        }
        let Some(Value::Array(authorizations)) = claims.get(claim.key()) else {
            return Err(Denied::Unauthorized);
        };
        let permitted = authorizations
            .iter()
            .take(AUTHORIZATIONS_MAX)
            .filter_map(Value::as_str)
            .any(|authorization| permits(authorization, method, path));
        if permitted { Ok(()) } else { Err(Denied::Unauthorized) }
    }
}

/// The token of an `Authorization` header. The colon that Astarte's Elixir client writes after
/// `Bearer` is accepted as Astarte does.
pub(crate) fn bearer(authorization: &str) -> Option<&str> {
    let rest = authorization.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case("bearer"))?;
    let token = authorization[rest.len()..].trim_start_matches(':').trim();
    (!token.is_empty()).then_some(token)
}

/// What the token of an `Authorization` header claims, whoever signed it.
pub(crate) fn claims(authorization: &str) -> Option<Value> {
    let decoded = jsonwebtoken::dangerous::insecure_decode::<Value>(bearer(authorization)?);
    decoded.ok().map(|token| token.claims)
}

fn permits(authorization: &str, method: &str, path: &str) -> bool {
    if authorization.len() > AUTHORIZATION_LENGTH_MAX {
        return false;
    }
    let mut parts = authorization.splitn(3, ':');
    let (Some(methods), Some(_options), Some(paths)) = (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    matches_whole(methods, method) && matches_whole(paths, path)
}

fn matches_whole(expression: &str, text: &str) -> bool {
    RegexBuilder::new(&format!("^(?:{expression})$"))
        .size_limit(1 << 18)
        .build()
        .is_ok_and(|regex| regex.is_match(text))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;

    fn check(claims: &Value, method: &str, path: &str) -> Result<(), Denied> {
        let keys = RealmKeys::generate().expect("a key pair");
        let guard = Guard::new(&keys).expect("a guard");
        let header = format!("Bearer {}", keys.token(claims).expect("a token"));
        guard.check(Some(&header), Claim::AppEngine, method, path, &Clock::default())
    }

    #[test]
    fn an_authorization_permits_only_whole_matches_of_method_and_path() {
        let claims = json!({"a_aea": ["GET::devices/[^/]+", "POST:x:devices/a/interfaces/I/.*"]});
        assert_eq!(check(&claims, "GET", "devices/a"), Ok(()));
        assert_eq!(check(&claims, "POST", "devices/a/interfaces/I/request"), Ok(()));
        for (method, path) in [
            ("GET", "devices/a/interfaces"),
            ("GET", "devices"),
            ("DELETE", "devices/a"),
            ("GETS", "devices/a"),
        ] {
            assert_eq!(check(&claims, method, path), Err(Denied::Unauthorized), "{method} {path}");
        }
    }

    #[test]
    fn a_claim_that_is_missing_or_of_another_api_permits_nothing() {
        for claims in [json!({}), json!({"a_rma": [".*::.*"]}), json!({"a_aea": ".*::.*"})] {
            assert_eq!(check(&claims, "GET", "devices"), Err(Denied::Unauthorized), "{claims}");
        }
    }

    #[test]
    fn an_expired_token_is_invalid_by_the_emulators_clock() {
        let keys = RealmKeys::generate().expect("a key pair");
        let guard = Guard::new(&keys).expect("a guard");
        let clock = Clock::default();
        let expiry = clock.now().timestamp() + 3600;
        let token = keys.token(&json!({"a_aea": [".*::.*"], "exp": expiry})).expect("a token");
        let check =
            || guard.check(Some(&format!("bearer: {token}")), Claim::AppEngine, "GET", "x", &clock);
        assert_eq!(check(), Ok(()));
        clock.set_offset(TimeDelta::hours(2));
        assert_eq!(check(), Err(Denied::Invalid));
    }

    #[test]
    fn tokens_of_another_key_and_garbage_are_invalid() {
        let guard = Guard::new(&RealmKeys::generate().expect("a key pair")).expect("a guard");
        let other = RealmKeys::generate().expect("a key pair").all_access_token().expect("a token");
        let clock = Clock::default();
        for (header, denied) in [
            (None, Denied::Missing),
            (Some("Basic abc"), Denied::Missing),
            (Some("Bearer "), Denied::Missing),
            (Some("Bearer x.y.z"), Denied::Invalid),
            (Some(&*format!("Bearer {other}")), Denied::Invalid),
        ] {
            assert_eq!(guard.check(header, Claim::AppEngine, "GET", "x", &clock), Err(denied));
        }
    }

    #[test]
    fn an_expression_that_is_broken_or_huge_permits_nothing() {
        for expression in
            ["(", "GET", "GET:", &format!("GET::{}", "a".repeat(5000)), "GET::(a{1000}){1000}"]
        {
            assert!(!permits(expression, "GET", "a"), "{}", &expression[..4.min(expression.len())]);
        }
        // Alternatives are anchored as a whole.
        assert!(!permits("GET::a|b", "GET", "ab"));
    }
}
