//! Who asks: tokens are checked here, for HTTP, for sockets, and for whatever else a service serves.
//!
//! A token is a JWT that is signed with a key of its tenant. What kind of key the tenant has says
//! which algorithms may be used; what the token says of itself is only compared with it. A tenant
//! without a key is open to whoever asks from this machine, and to nobody else.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{self as sign, ParsedPublicKey, VerificationAlgorithm};
use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hedgerow_core::TenantId;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The longest token that is looked at, in bytes.
const LONGEST_TOKEN: usize = 16 * 1024;

/// What somebody may do. Each may do all that those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at everything.
    Viewer,
    /// Steer campaigns and updates, name and tag devices.
    Operator,
    /// Change what campaigns are made from: images, models, groups, channels.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The name, as tokens have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Who asks, once that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its tenant.
    pub tenant: TenantId,
    /// What it may do.
    pub role: Role,
    /// The token's `sub`, if it has one: for records of who did what.
    pub subject: Option<String>,
    /// When its token expires, in seconds since 1970.
    pub expires_at: Option<u64>,
}

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not PEM.
    #[error("the key is not PEM: give a public key that begins with -----BEGIN PUBLIC KEY-----")]
    NotPem,
    /// PEM, but no key that tokens are checked with.
    #[error(
        "the key is of no kind that tokens are checked with: give RSA of 2048 to 8192 bits, or EC on P-256, P-384 or P-521"
    )]
    UnknownKind,
}

/// A public key that tokens are checked with.
pub struct PublicKey {
    /// By the name of the algorithm.
    algorithms: Vec<(&'static str, ParsedPublicKey)>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.algorithms.iter().map(|(name, _)| name)).finish()
    }
}

impl PublicKey {
    /// A key from PEM (`BEGIN PUBLIC KEY`): RSA for RS256 to PS512, P-256 for ES256, P-384 for ES384,
    /// P-521 for ES512.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| KeyError::NotPem)?;
        let all: [(&'static str, &'static dyn VerificationAlgorithm); 9] = [
            ("ES256", &sign::ECDSA_P256_SHA256_FIXED),
            ("ES384", &sign::ECDSA_P384_SHA384_FIXED),
            ("ES512", &sign::ECDSA_P521_SHA512_FIXED),
            ("RS256", &sign::RSA_PKCS1_2048_8192_SHA256),
            ("RS384", &sign::RSA_PKCS1_2048_8192_SHA384),
            ("RS512", &sign::RSA_PKCS1_2048_8192_SHA512),
            ("PS256", &sign::RSA_PSS_2048_8192_SHA256),
            ("PS384", &sign::RSA_PSS_2048_8192_SHA384),
            ("PS512", &sign::RSA_PSS_2048_8192_SHA512),
        ];
        let parsed = all.into_iter().filter_map(|(name, algorithm)| {
            Some((name, ParsedPublicKey::new(algorithm, key.as_ref()).ok()?))
        });
        let algorithms: Vec<_> = parsed.collect();
        if algorithms.is_empty() { Err(KeyError::UnknownKind) } else { Ok(Self { algorithms }) }
    }

    fn signed(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        let key = self.algorithms.iter().find(|(name, _)| *name == algorithm);
        key.is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }
}

/// How callers of one tenant are known.
#[derive(Debug, Default)]
pub struct TenantAccess {
    /// Any one of them may have signed a token. None: the tenant is open, but from this machine only.
    pub keys: Vec<PublicKey>,
    /// Whether tokens made for Edgehog, which have the claim `e_tga` and no role, are taken, as those
    /// of an [admin](Role::Admin).
    pub edgehog_tokens: bool,
}

/// The claim of a token that names its role.
pub const ROLE_CLAIM: &str = "hedgerow_role";

/// Who may ask for what, of every tenant. A tenant that is not in it does not exist.
#[derive(Debug, Default)]
pub struct Access {
    tenants: BTreeMap<TenantId, TenantAccess>,
}

impl FromIterator<(TenantId, TenantAccess)> for Access {
    fn from_iter<I: IntoIterator<Item = (TenantId, TenantAccess)>>(tenants: I) -> Self {
        Self { tenants: tenants.into_iter().collect() }
    }
}

/// Why somebody was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no token.
    #[error("Unauthorized")]
    NoToken,
    /// The tenant does not exist, or the token is none of it. It is not said which.
    #[error("Forbidden")]
    Forbidden,
}

/// From where a question comes, as far as it matters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// The address of the other end, if it is known.
    pub peer: Option<IpAddr>,
    /// Whether it was handed on by a proxy.
    pub forwarded: bool,
}

/// The headers by which a proxy says that it has handed a request on.
pub const HANDED_ON: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

impl Origin {
    /// Where a request comes from. Its peer is known where it is served with
    /// `into_make_service_with_connect_info::<SocketAddr>()`.
    #[must_use]
    pub fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        Self { peer, forwarded: HANDED_ON.iter().any(|name| headers.contains_key(*name)) }
    }

    /// Whether it comes from this machine, as far as can be seen. A proxy or a tunnel on this machine
    /// that says nothing of itself cannot be told from a program on it: whoever serves a tenant without
    /// keys takes care that there is none, and leaves the peer out of what cannot be trusted.
    #[must_use]
    pub fn is_this_machine(&self) -> bool {
        !self.forwarded && self.peer.is_some_and(|peer| peer.to_canonical().is_loopback())
    }
}

impl Access {
    /// The tenants, in the order of their names.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.tenants.keys()
    }

    /// Whether a tenant asks for no token.
    #[must_use]
    pub fn is_open(&self, tenant: &TenantId) -> bool {
        self.tenants.get(tenant).is_some_and(|access| access.keys.is_empty())
    }

    /// Who asks: with which token, from where.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(
        &self,
        tenant: &str,
        token: Option<&str>,
        origin: Origin,
    ) -> Result<Caller, Refused> {
        let known = tenant.parse::<TenantId>().ok().and_then(|id| self.tenants.get_key_value(&id));
        if let Some((tenant, access)) = known
            && access.keys.is_empty()
        {
            let caller = Caller {
                tenant: tenant.clone(),
                role: Role::Admin,
                subject: None,
                expires_at: None,
            };
            return if origin.is_this_machine() { Ok(caller) } else { Err(Refused::Forbidden) };
        }
        let token = token.ok_or(Refused::NoToken)?;
        let (tenant, access) = known.ok_or(Refused::Forbidden)?;
        let claims = claims(token, &access.keys, seconds()).ok_or(Refused::Forbidden)?;
        let role = role(&claims, access.edgehog_tokens).ok_or(Refused::Forbidden)?;
        let subject = claims.get("sub").and_then(Value::as_str).map(str::to_owned);
        let expires_at = claims.get("exp").and_then(whole_seconds);
        Ok(Caller { tenant: tenant.clone(), role, subject, expires_at })
    }
}

fn role(claims: &Map<String, Value>, edgehog_tokens: bool) -> Option<Role> {
    match claims.get(ROLE_CLAIM) {
        Some(Value::String(name)) => Role::ALL.into_iter().find(|role| role.name() == name),
        Some(_) => None,
        None => (edgehog_tokens && claims.contains_key("e_tga")).then_some(Role::Admin),
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    crit: Option<Value>,
}

/// A time of a token (RFC 7519, section 2), without the parts of a second that it may have.
fn whole_seconds(time: &Value) -> Option<u64> {
    let Value::Number(number) = time else { return None };
    let text = number.to_string();
    let whole = text.split_once('.').map_or(text.as_str(), |(whole, _)| whole);
    whole.parse().ok()
}

/// What a token claims, if one of the keys has signed it and it is valid at that time, in seconds
/// since 1970.
fn claims(token: &str, keys: &[PublicKey], now: u64) -> Option<Map<String, Value>> {
    if token.len() > LONGEST_TOKEN {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
    // An extension that must be understood is none that is (RFC 7515, 4.1.11).
    if header.crit.is_some() {
        return None;
    }
    let signature = decode(signature)?;
    if !keys.iter().any(|key| key.signed(&header.alg, message.as_bytes(), &signature)) {
        return None;
    }
    let claims: Map<String, Value> = serde_json::from_slice(&decode(payload)?).ok()?;
    let is_past = |time: &Value| whole_seconds(time).map(|time| time <= now);
    // A time that is none makes the token invalid, whichever of the two it is.
    let has_ended = claims.get("exp").map_or(Some(false), is_past)?;
    let has_begun = claims.get("nbf").map_or(Some(true), is_past)?;
    (!has_ended && has_begun).then_some(claims)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, RsaKeyPair};
    use jsonwebtoken::Algorithm::{ES256, ES384, PS256, PS384, PS512, RS256, RS384, RS512};
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use serde_json::json;

    use super::*;

    fn pem(der: &[u8]) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> (EcdsaKeyPair, PublicKey) {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let public = pem(pair.public_key().as_der().unwrap().as_ref());
        (pair, PublicKey::from_pem(&public).unwrap())
    }

    fn access(key: PublicKey, edgehog_tokens: bool) -> Access {
        let access = TenantAccess { keys: vec![key], edgehog_tokens };
        Access::from_iter([("demo".parse().unwrap(), access)])
    }

    /// Signed by a library that knows nothing of this one.
    fn token(algorithm: Algorithm, der: &[u8], claims: &Value) -> String {
        let key = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_der(der),
            _ => EncodingKey::from_rsa_der(der),
        };
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    fn es256(claims: &Value) -> (String, PublicKey) {
        let (pair, public) = ec(&sign::ECDSA_P256_SHA256_FIXED_SIGNING);
        let der = pair.to_pkcs8v1().unwrap();
        (token(Algorithm::ES256, der.as_ref(), claims), public)
    }

    fn checked(claims: &Value) -> Result<Caller, Refused> {
        let (token, public) = es256(claims);
        access(public, true).check("demo", Some(&token), Origin::default())
    }

    #[test]
    fn a_token_has_the_role_that_it_claims() {
        for role in Role::ALL {
            let caller = checked(&json!({ROLE_CLAIM: role.name(), "sub": "ada"})).unwrap();
            assert_eq!(caller.role, role);
            assert_eq!(caller.subject.as_deref(), Some("ada"));
        }
        assert_eq!(checked(&json!({ROLE_CLAIM: "root"})), Err(Refused::Forbidden));
        assert_eq!(checked(&json!({ROLE_CLAIM: 1, "e_tga": []})), Err(Refused::Forbidden));
        assert_eq!(checked(&json!({})), Err(Refused::Forbidden));
    }

    #[test]
    fn a_token_made_for_edgehog_is_taken_where_that_is_wanted() {
        let claims = json!({"e_tga": ".*::.*"});
        assert_eq!(checked(&claims).map(|caller| caller.role), Ok(Role::Admin));
        let (token, public) = es256(&claims);
        let refused = access(public, false).check("demo", Some(&token), Origin::default());
        assert_eq!(refused, Err(Refused::Forbidden));
    }

    #[test]
    fn a_token_is_valid_from_its_beginning_until_its_end() {
        let role = |exp: Value, nbf: Value| {
            checked(&json!({ROLE_CLAIM: "viewer", "exp": exp, "nbf": nbf})).is_ok()
        };
        let (past, future) = (json!(1_000_000), json!(seconds() + 1_000));
        assert!(role(future.clone(), past.clone()));
        assert!(!role(past.clone(), past.clone()));
        assert!(!role(future.clone(), future.clone()));
        assert!(!role(json!("soon"), past), "a time that is none");
    }

    #[test]
    fn every_algorithm_is_understood_and_no_key_takes_the_token_of_another_kind() {
        let claims = json!({ROLE_CLAIM: "viewer"});
        let mut signed = Vec::new();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let private =
            aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa);
        let private = private.unwrap();
        // The library takes PKCS#1, which is what is inside.
        let inside = private.as_ref().get(26..).unwrap();
        let public =
            pem(AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(rsa.public_key())
                .unwrap()
                .as_ref());
        for algorithm in [RS256, RS384, RS512, PS256, PS384, PS512] {
            let key = PublicKey::from_pem(&public).unwrap();
            signed.push((token(algorithm, inside, &claims), key));
        }
        for (algorithm, signing) in [
            (ES256, &sign::ECDSA_P256_SHA256_FIXED_SIGNING),
            (ES384, &sign::ECDSA_P384_SHA384_FIXED_SIGNING),
        ] {
            let (pair, public) = ec(signing);
            signed.push((token(algorithm, pair.to_pkcs8v1().unwrap().as_ref(), &claims), public));
        }
        // That library does not know ES512.
        let (pair, public) = ec(&sign::ECDSA_P521_SHA512_FIXED_SIGNING);
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&json!({"alg": "ES512"})), part(&claims));
        let signature = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), message.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(signature.unwrap());
        signed.push((format!("{message}.{signature}"), public));
        assert_eq!(signed.len(), 9);
        for (own, (token, _)) in signed.iter().enumerate() {
            for (other, (_, key)) in signed.iter().enumerate() {
                let is_same_key = own == other || (own < 6 && other < 6);
                let claims = claims_of(token, key);
                assert_eq!(claims, is_same_key, "token {own}, key {other}: {key:?}");
            }
        }
    }

    fn claims_of(token: &str, key: &PublicKey) -> bool {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let header: super::Header =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        key.signed(&header.alg, message.as_bytes(), &signature)
    }

    #[test]
    fn what_is_not_signed_or_was_changed_is_refused() {
        let (token, public) = es256(&json!({ROLE_CLAIM: "viewer"}));
        let access = access(public, false);
        let check = |token: &str| access.check("demo", Some(token), Origin::default());
        assert!(check(&token).is_ok());
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let (_, rest) = token.split_once('.').unwrap();
        let (payload, signature) = rest.split_once('.').unwrap();
        let none = part(&json!({"alg": "none"}));
        let hs = part(&json!({"alg": "HS256"}));
        let header = token.split_once('.').unwrap().0;
        let admin = part(&json!({ROLE_CLAIM: "admin"}));
        for bad in [
            String::new(),
            "...".to_owned(),
            token[..token.len() - 2].to_owned(),
            format!("{none}.{payload}."),
            format!("{hs}.{payload}.{signature}"),
            format!("{header}.{admin}.{signature}"),
            "x".repeat(LONGEST_TOKEN + 1),
        ] {
            assert_eq!(check(&bad), Err(Refused::Forbidden), "{bad:.80}");
        }
        let none = access.check("demo", None, Origin::default());
        assert_eq!(none, Err(Refused::NoToken));
        let unknown = access.check("other", Some(&token), Origin::default());
        assert_eq!(unknown, Err(Refused::Forbidden));
        let malformed = access.check("../demo", Some(&token), Origin::default());
        assert_eq!(malformed, Err(Refused::Forbidden));
    }

    #[test]
    fn a_tenant_without_keys_is_open_from_this_machine_alone() {
        let access = Access::from_iter([("demo".parse().unwrap(), TenantAccess::default())]);
        let from = |peer: &str, forwarded| {
            let origin = Origin { peer: Some(peer.parse().unwrap()), forwarded };
            access.check("demo", None, origin).map(|caller| caller.role)
        };
        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(from(own, false), Ok(Role::Admin), "{own}");
            assert_eq!(from(own, true), Err(Refused::Forbidden), "{own} through a proxy");
        }
        for foreign in ["10.0.0.1", "192.168.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert_eq!(from(foreign, false), Err(Refused::Forbidden), "{foreign}");
        }
        let unknown = access.check("demo", None, Origin::default());
        assert_eq!(unknown, Err(Refused::Forbidden), "nobody knows from where");
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_to_give() {
        assert_eq!(PublicKey::from_pem("key").unwrap_err(), KeyError::NotPem);
        let ed = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        assert_eq!(PublicKey::from_pem(ed).unwrap_err(), KeyError::UnknownKind);
    }
}
