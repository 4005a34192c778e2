//! A realm's keys: the pair whose private half mints the tokens that its public half checks.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

/// The keys of a realm.
///
/// Without a private key (only the public one was given) the realm checks tokens, but the emulator
/// cannot mint any.
#[derive(Clone)]
pub struct RealmKeys {
    public_key_pem: String,
    private_key_pem: Option<String>,
}

/// A key cannot be used for a realm.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No key could be made.
    #[error("no key pair could be generated: {0}")]
    Generate(#[source] rcgen::Error),
    /// The text is no private key in PKCS#8 PEM; for another form convert it with `openssl pkcs8`.
    #[error("not a private key in PKCS#8 PEM (EC P-256 or P-384, or RSA): {0}")]
    Private(#[source] rcgen::Error),
    /// The text is no public key in PEM.
    #[error("not a public key in PEM (EC P-256 or P-384, or RSA)")]
    Public,
    /// A token was asked for, but the realm was made with its public key alone.
    #[error("the realm has no private key: give RealmKeys::from_private_key_pem one")]
    NoPrivateKey,
    /// Signing failed.
    #[error("the token could not be signed: {0}")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

impl RealmKeys {
    /// A new pair on the curve P-256 (tokens are ES256).
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(KeyError::Generate)?;
        Ok(Self {
            public_key_pem: pair.public_key_pem(),
            private_key_pem: Some(pair.serialize_pem()),
        })
    }

    /// The pair of this private key (PKCS#8 PEM; EC P-256 or P-384, or RSA).
    ///
    /// # Errors
    ///
    /// When the text is no such key.
    pub fn from_private_key_pem(pem: &str) -> Result<Self, KeyError> {
        let pair = KeyPair::from_pem(pem).map_err(KeyError::Private)?;
        let keys =
            Self { public_key_pem: pair.public_key_pem(), private_key_pem: Some(pem.to_owned()) };
        keys.decoding()?;
        Ok(keys)
    }

    /// The public key alone: tokens come from elsewhere.
    ///
    /// # Errors
    ///
    /// When the text is no public key in PEM.
    pub fn from_public_key_pem(pem: &str) -> Result<Self, KeyError> {
        let keys = Self { public_key_pem: pem.to_owned(), private_key_pem: None };
        keys.decoding()?;
        Ok(keys)
    }

    /// The public key as PEM.
    #[must_use]
    pub fn public_key_pem(&self) -> &str {
        &self.public_key_pem
    }

    /// The private key as PKCS#8 PEM, if there is one: the means to mint tokens.
    #[must_use]
    pub fn private_key_pem(&self) -> Option<&str> {
        self.private_key_pem.as_deref()
    }

    /// A token with exactly these claims, a JSON object such as
    /// `{"a_aea": ["GET::devices/.*"], "exp": 1800000000}`.
    ///
    /// # Errors
    ///
    /// When there is no private key, or signing fails.
    pub fn token(&self, claims: &Value) -> Result<String, KeyError> {
        let pem = self.private_key_pem.as_ref().ok_or(KeyError::NoPrivateKey)?;
        let (algorithm, key) = signing(pem).map_err(KeyError::Sign)?;
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).map_err(KeyError::Sign)
    }

    /// A token without end that may do everything in all of Astarte's APIs.
    ///
    /// # Errors
    ///
    /// As [`RealmKeys::token`].
    pub fn all_access_token(&self) -> Result<String, KeyError> {
        let all = [".*::.*"];
        self.token(
            &json!({"a_aea": all, "a_rma": all, "a_pa": all, "a_ch": ["JOIN::.*", "WATCH::.*"]}),
        )
    }

    /// The key to check tokens with, and the algorithms that fit it.
    pub(crate) fn decoding(&self) -> Result<(DecodingKey, Vec<Algorithm>), KeyError> {
        let pem = self.public_key_pem.as_bytes();
        if let Ok(key) = DecodingKey::from_ec_pem(pem) {
            return Ok((key, vec![Algorithm::ES256, Algorithm::ES384]));
        }
        let key = DecodingKey::from_rsa_pem(pem).map_err(|_| KeyError::Public)?;
        Ok((
            key,
            vec![
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
        ))
    }
}

fn signing(pem: &str) -> Result<(Algorithm, EncodingKey), jsonwebtoken::errors::Error> {
    let pair =
        KeyPair::from_pem(pem).map_err(|_| jsonwebtoken::errors::ErrorKind::InvalidKeyFormat)?;
    let algorithm = pair.algorithm();
    if algorithm == &PKCS_ECDSA_P256_SHA256 {
        Ok((Algorithm::ES256, EncodingKey::from_ec_pem(pem.as_bytes())?))
    } else if algorithm == &rcgen::PKCS_ECDSA_P384_SHA384 {
        Ok((Algorithm::ES384, EncodingKey::from_ec_pem(pem.as_bytes())?))
    } else {
        Ok((Algorithm::RS256, EncodingKey::from_rsa_pem(pem.as_bytes())?))
    }
}

impl fmt::Debug for RealmKeys {
    /// Without the private key, so that it does not end in a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RealmKeys")
            .field("public_key_pem", &self.public_key_pem)
            .field("has_private_key", &self.private_key_pem.is_some())
            .finish()
    }
}
