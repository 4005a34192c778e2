//! The tokens that Astarte's APIs ask for: one that was given, or short-lived ones minted from the
//! realm's private key that allow what Hedgerow does and nothing else.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::header::HeaderValue;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;

/// How long a minted token is valid.
const LIFETIME: Duration = Duration::from_secs(300);
/// A token that is valid for less than this is replaced by a new one.
const REFRESH_BEFORE: Duration = Duration::from_secs(60);

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The text is no private key.
    #[error(
        "this is not a private key in PEM: give the realm's private key, an unencrypted P-256, P-384 or RSA key that begins with -----BEGIN"
    )]
    NotAKey,
    /// The key is of a kind that Astarte's tokens cannot be signed with here.
    #[error("this private key cannot sign tokens: give a P-256, P-384 or RSA key")]
    UnsupportedKey,
    /// The text is no token.
    #[error(
        "this is not a token: give the JWT alone, three parts joined by dots, without \"Bearer\" before it"
    )]
    NotAToken,
    /// Signing failed.
    #[error("a token could not be signed: {detail}")]
    Signing {
        /// What the library said.
        detail: String,
    },
}

/// What a realm is entered with.
pub struct Credentials(Kind);

enum Kind {
    Token(HeaderValue),
    Key { key: EncodingKey, algorithm: Algorithm },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Token(_) => "a token",
            Kind::Key { .. } => "a private key",
        };
        write!(f, "Credentials({kind})")
    }
}

impl Credentials {
    /// A token that was minted elsewhere. When it expires, calls fail for now (D10) until the
    /// service is given another one.
    ///
    /// # Errors
    /// [`TokenError::NotAToken`].
    pub fn token(jwt: &str) -> Result<Self, TokenError> {
        let jwt = jwt.trim();
        let is_part = |part: &str| {
            let mut bytes = part.bytes();
            !part.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b))
        };
        if jwt.split('.').count() != 3 || !jwt.split('.').all(is_part) {
            return Err(TokenError::NotAToken);
        }
        bearer(jwt).map(|header| Self(Kind::Token(header)))
    }

    /// The realm's private key, in PEM: P-256 (signs with ES256), P-384 (ES384) or RSA (RS256), as
    /// PKCS#8 or in the older forms that `astartectl` and `openssl` write.
    ///
    /// # Errors
    /// [`TokenError::NotAKey`], [`TokenError::UnsupportedKey`].
    pub fn private_key(pem: &str) -> Result<Self, TokenError> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| TokenError::NotAKey)?;
        let curves: [(Algorithm, &'static EcdsaSigningAlgorithm); 2] = [
            (Algorithm::ES256, &ECDSA_P256_SHA256_FIXED_SIGNING),
            (Algorithm::ES384, &ECDSA_P384_SHA384_FIXED_SIGNING),
        ];
        for (algorithm, curve) in curves {
            let pair = EcdsaKeyPair::from_private_key_der(curve, der.secret_der());
            if let Some(pkcs8) = pair.ok().and_then(|pair| pair.to_pkcs8v1().ok()) {
                let key = EncodingKey::from_ec_der(pkcs8.as_ref());
                return Self::signing(key, algorithm);
            }
        }
        let key = EncodingKey::from_rsa_pem(pem.as_bytes());
        Self::signing(key.map_err(|_| TokenError::UnsupportedKey)?, Algorithm::RS256)
    }

    /// Keeps the key if it really signs, so that a bad one is told at once.
    fn signing(key: EncodingKey, algorithm: Algorithm) -> Result<Self, TokenError> {
        mint(&key, algorithm, Api::AppEngine, 0).map_err(|_| TokenError::UnsupportedKey)?;
        Ok(Self(Kind::Key { key, algorithm }))
    }
}

/// One of Astarte's APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    AppEngine,
    RealmManagement,
}

impl Api {
    /// Its place below the base URL.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::AppEngine => "appengine",
            Self::RealmManagement => "realmmanagement",
        }
    }

    /// The claim that allows something of it.
    pub(crate) fn claim(self) -> &'static str {
        match self {
            Self::AppEngine => "a_aea",
            Self::RealmManagement => "a_rma",
        }
    }

    /// What Hedgerow does with it, as the claim says it: method, options, path behind the realm.
    fn allowed(self) -> &'static [&'static str] {
        match self {
            Self::AppEngine => &[
                "POST::devices/[^/]+/interfaces/io\\.edgehog\\.devicemanager\\.OTARequest/request",
                "GET::devices/[^/]+/interfaces/.+",
                "GET::devices/[^/]+",
                "GET::devices",
                "GET::groups/.+/devices",
            ],
            Self::RealmManagement => &[
                "GET::version",
                "(GET|POST)::interfaces",
                "(GET|PUT)::interfaces/[^/]+/[0-9]+",
                "(GET|POST)::policies",
                "(GET|DELETE)::policies/[^/]+",
                "(GET|POST)::triggers",
                "(GET|DELETE)::triggers/[^/]+",
            ],
        }
    }
}

#[derive(Serialize)]
struct Claims {
    iss: &'static str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    a_aea: &'static [&'static str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    a_rma: &'static [&'static str],
}

fn mint(key: &EncodingKey, algorithm: Algorithm, api: Api, now: u64) -> Result<String, TokenError> {
    let claims = Claims {
        iss: "hedgerow",
        iat: now,
        exp: now.saturating_add(LIFETIME.as_secs()),
        a_aea: if api == Api::AppEngine { api.allowed() } else { &[] },
        a_rma: if api == Api::RealmManagement { api.allowed() } else { &[] },
    };
    jsonwebtoken::encode(&Header::new(algorithm), &claims, key)
        .map_err(|error| TokenError::Signing { detail: error.to_string() })
}

fn bearer(jwt: &str) -> Result<HeaderValue, TokenError> {
    let mut header =
        HeaderValue::from_str(&format!("Bearer {jwt}")).map_err(|_| TokenError::NotAToken)?;
    // Kept out of the debug output of requests.
    header.set_sensitive(true);
    Ok(header)
}

/// Gives tokens for one realm, and mints a new one before the last expires.
pub(crate) struct TokenSource {
    credentials: Credentials,
    minted: Mutex<[Option<(HeaderValue, u64)>; 2]>,
}

impl TokenSource {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, minted: Mutex::new([None, None]) }
    }

    /// The value of the `Authorization` header.
    pub(crate) fn bearer(&self, api: Api) -> Result<HeaderValue, TokenError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.bearer_at(api, now.map_or(0, |now| now.as_secs()))
    }

    fn bearer_at(&self, api: Api, now: u64) -> Result<HeaderValue, TokenError> {
        let (key, algorithm) = match &self.credentials.0 {
            Kind::Token(header) => return Ok(header.clone()),
            Kind::Key { key, algorithm } => (key, *algorithm),
        };
        let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut minted[api as usize];
        if let Some((header, expires)) = place {
            let left = expires.saturating_sub(now);
            // Also when the clock went back, which leaves a token valid for longer than it should.
            if left > REFRESH_BEFORE.as_secs() && left <= LIFETIME.as_secs() {
                return Ok(header.clone());
            }
        }
        let header = bearer(&mint(key, algorithm, api, now)?)?;
        *place = Some((header.clone(), now.saturating_add(LIFETIME.as_secs())));
        Ok(header)
    }

    /// Forgets what was minted: Astarte refused it.
    pub(crate) fn renew(&self, api: Api) {
        let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        minted[api as usize] = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, KeyPair as _};
    use jsonwebtoken::{DecodingKey, Validation};

    const NOW: u64 = 4_000_000_000;

    fn pem(label: &str, der: &[u8]) -> String {
        use std::fmt::Write as _;
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = format!("-----BEGIN {label}-----\n");
        for chunk in der.chunks(48) {
            for three in chunk.chunks(3) {
                let bytes = [three[0], *three.get(1).unwrap_or(&0), *three.get(2).unwrap_or(&0)];
                let bits = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
                for place in 0..4 {
                    let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
                    let shown = if place > three.len() { '=' } else { char::from(digit) };
                    text.push(shown);
                }
            }
            text.push('\n');
        }
        writeln!(text, "-----END {label}-----").expect("writing to a string");
        text
    }

    fn claims(credentials: Credentials, api: Api, verifying: &DecodingKey) -> serde_json::Value {
        let Kind::Key { algorithm, .. } = &credentials.0 else { panic!("a key") };
        let mut validation = Validation::new(*algorithm);
        // The tests' time is not that of the machine.
        validation.validate_exp = false;
        let source = TokenSource::new(credentials);
        let header = source.bearer_at(api, NOW).expect("a token");
        let jwt = header.to_str().expect("text").strip_prefix("Bearer ").expect("a bearer token");
        jsonwebtoken::decode::<serde_json::Value>(jwt, verifying, &validation)
            .expect("a signature that verifies")
            .claims
    }

    #[test]
    fn keys_of_each_kind_and_form_sign_tokens_that_verify() {
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
        for pair in [&p256, &p384] {
            let pkcs8 = pair.to_pkcs8v1().expect("a form");
            let sec1: aws_lc_rs::encoding::EcPrivateKeyRfc5915Der<'_> =
                pair.private_key().as_der().expect("a form");
            let verifying = DecodingKey::from_ec_der(pair.public_key().as_ref());
            for text in [pem("PRIVATE KEY", pkcs8.as_ref()), pem("EC PRIVATE KEY", sec1.as_ref())] {
                let credentials = Credentials::private_key(&text).expect("a usable key");
                let claims = claims(credentials, Api::AppEngine, &verifying);
                assert_eq!(claims["exp"], NOW + 300);
                assert!(claims["a_aea"].as_array().is_some_and(|a| !a.is_empty()), "{claims}");
                assert!(claims.get("a_rma").is_none(), "least privilege: {claims}");
            }
        }
        let rsa = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048);
        let rsa = rsa.expect("a key");
        let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = rsa.as_der().expect("a form");
        let verifying = DecodingKey::from_rsa_der(rsa.public_key().as_ref());
        let credentials = Credentials::private_key(&pem("PRIVATE KEY", pkcs8.as_ref()));
        let claims = claims(credentials.expect("a usable key"), Api::RealmManagement, &verifying);
        assert!(claims["a_rma"].as_array().is_some_and(|a| !a.is_empty()), "{claims}");
    }

    #[test]
    fn what_is_no_key_or_token_is_told_so_without_being_shown() {
        let p521 = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P521_SHA512_FIXED_SIGNING);
        let p521 = p521.and_then(|pair| pair.to_pkcs8v1()).expect("a key");
        for (text, expected) in [
            (String::new(), TokenError::NotAKey),
            ("secret".to_owned(), TokenError::NotAKey),
            (pem("PRIVATE KEY", b"secret"), TokenError::UnsupportedKey),
            (pem("PRIVATE KEY", p521.as_ref()), TokenError::UnsupportedKey),
        ] {
            assert_eq!(Credentials::private_key(&text).err(), Some(expected));
        }
        for text in ["", "secret", "a.b", "a.b.c.d", "Bearer a.b.c", "a..c", "a.b.c\nX: y"] {
            assert_eq!(Credentials::token(text).err(), Some(TokenError::NotAToken));
        }
        assert!(Credentials::token(" a.b-_.c\n").is_ok());
    }

    #[test]
    fn a_token_is_kept_until_it_has_a_minute_left_or_the_clock_went_back() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let text = pem("PRIVATE KEY", pair.to_pkcs8v1().expect("a form").as_ref());
        let source = TokenSource::new(Credentials::private_key(&text).expect("a usable key"));
        let at = |now| source.bearer_at(Api::AppEngine, now).expect("a token");
        let first = at(NOW);
        assert_eq!(at(NOW + 239), first);
        let second = at(NOW + 240);
        assert_ne!(second, first);
        let third = at(NOW - 10_000);
        assert_ne!(third, second);
        source.renew(Api::AppEngine);
        assert_ne!(at(NOW - 9_999), third);
    }
}
