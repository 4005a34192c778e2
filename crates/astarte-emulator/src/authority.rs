//! The certificate authority: signs what devices ask for and the broker's own certificate, and
//! judges the certificates that devices show.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};
use time::OffsetDateTime;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longer certificate signing requests and certificates are not parsed.
pub(crate) const PEM_LENGTH_MAX: usize = 16 * 1024;

/// The authority could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A certificate could not be made.
    #[error("the certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS refuses the certificates.
    #[error("the TLS configuration is refused: {0}")]
    Tls(#[from] rustls::Error),
    /// The devices' certificates cannot be checked.
    #[error("the verifier of client certificates is refused: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// What the authority says about a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Valid { until: DateTime<Utc> },
    Invalid { cause: &'static str, details: String },
}

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    provider: Arc<CryptoProvider>,
    validity: TimeDelta,
}

impl Authority {
    /// A new authority whose certificates for devices live for `validity`.
    pub(crate) fn generate(validity: TimeDelta) -> Result<Self, AuthorityError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = common_name("Hedgerow's Astarte emulator");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(Self { issuer, provider, validity })
    }

    pub(crate) fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }

    /// Random bytes that nobody can guess, in a form that fits into URLs and headers.
    pub(crate) fn secret<const LENGTH: usize>(&self) -> Result<[u8; LENGTH], AuthorityError> {
        let mut bytes = [0; LENGTH];
        self.provider.secure_random.fill(&mut bytes).map_err(|_| AuthorityError::Random)?;
        Ok(bytes)
    }

    /// TLS for the broker: its certificate is good for `hosts`, and clients must show one of ours.
    pub(crate) fn broker_tls(&self, hosts: &[String]) -> Result<ServerConfig, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Astarte's broker");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = hosts
            .iter()
            .map(|host| match host.parse::<IpAddr>() {
                Ok(address) => Ok(SanType::IpAddress(address)),
                Err(_) => host.as_str().try_into().map(SanType::DnsName),
            })
            .collect::<Result<_, rcgen::Error>>()?;
        let certificate = params.signed_by(&key, &self.issuer)?;

        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![certificate.der().clone(), self.issuer.der().clone()];
        Ok(ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?)
    }

    /// Signs a request in PEM. Whatever name it asks for, the certificate is for `name`.
    pub(crate) fn sign(
        &self,
        request_pem: &str,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<String, AuthorityError> {
        if request_pem.len() > PEM_LENGTH_MAX {
            return Err(rcgen::Error::CouldNotParseCertificationRequest.into());
        }
        let mut request = CertificateSigningRequestParams::from_pem(request_pem)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A device whose clock is somewhat behind ours must not find it not yet valid.
        params.not_before = moment(now - TimeDelta::days(1))?;
        params.not_after = moment(now + self.validity)?;
        params.serial_number = Some(SerialNumber::from_slice(&self.secret::<16>()?));
        request.params = params;
        Ok(request.signed_by(&self.issuer)?.pem())
    }

    /// Judges a certificate in PEM that should be the one of `name`.
    pub(crate) fn judge(&self, certificate_pem: &str, name: &str, now: DateTime<Utc>) -> Verdict {
        let invalid =
            |cause, details: &str| Verdict::Invalid { cause, details: details.to_owned() };
        if certificate_pem.len() > PEM_LENGTH_MAX {
            return invalid("INVALID", "the certificate is too long");
        }
        let Ok((_, pem)) = parse_x509_pem(certificate_pem.as_bytes()) else {
            return invalid("INVALID", "not a certificate in PEM");
        };
        let Ok(certificate) = pem.parse_x509() else {
            return invalid("INVALID", "not an X.509 certificate");
        };
        let signed_by_us = X509Certificate::from_der(self.issuer.der())
            .is_ok_and(|(_, ours)| certificate.verify_signature(Some(ours.public_key())).is_ok());
        if !signed_by_us {
            return invalid("INVALID_ISSUER", "not signed by this authority");
        }
        if common_name_of(&certificate) != Some(name) {
            return invalid("INVALID", "the certificate is another device's");
        }
        let until = crate::clock::at_millis(certificate.validity().not_after.timestamp() * 1000);
        if until <= now {
            return invalid("EXPIRED", "the certificate has expired");
        }
        Verdict::Valid { until }
    }
}

/// The common name in the certificate that a client showed: its identity for the broker.
pub(crate) fn client_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    common_name_of(&certificate).map(str::to_owned)
}

fn common_name_of<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    certificate.subject().iter_common_name().next()?.as_str().ok()
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn moment(time: DateTime<Utc>) -> Result<OffsetDateTime, rcgen::Error> {
    OffsetDateTime::from_unix_timestamp(time.timestamp()).map_err(|_| rcgen::Error::Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "test/91JGyz9XRv5Esp6jNQFP7g";

    fn request() -> String {
        let params = CertificateParams::new(vec!["anything.example".to_owned()]).expect("params");
        let key = KeyPair::generate().expect("a key");
        params.serialize_request(&key).expect("a request").pem().expect("PEM")
    }

    #[test]
    fn a_signed_certificate_has_the_name_that_was_decided_and_is_valid_until_it_expires() {
        let authority = Authority::generate(TimeDelta::days(30)).expect("an authority");
        let now = Utc::now();
        let pem = authority.sign(&request(), NAME, now).expect("a certificate");
        assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 1);
        assert!(matches!(authority.judge(&pem, NAME, now), Verdict::Valid { .. }));
        assert!(matches!(
            authority.judge(&pem, NAME, now + TimeDelta::days(31)),
            Verdict::Invalid { cause: "EXPIRED", .. }
        ));
        assert!(matches!(authority.judge(&pem, "test/other", now), Verdict::Invalid { .. }));
    }

    #[test]
    fn certificates_of_another_authority_are_invalid() {
        let [ours, theirs] =
            [(); 2].map(|()| Authority::generate(TimeDelta::days(30)).expect("an authority"));
        let pem = theirs.sign(&request(), NAME, Utc::now()).expect("a certificate");
        assert!(matches!(
            ours.judge(&pem, NAME, Utc::now()),
            Verdict::Invalid { cause: "INVALID_ISSUER", .. }
        ));
    }

    #[test]
    fn what_is_no_request_is_not_signed() {
        let authority = Authority::generate(TimeDelta::days(30)).expect("an authority");
        let cut = &request()[..200];
        for text in ["", "garbage", cut, &"A".repeat(PEM_LENGTH_MAX + 1)] {
            assert!(authority.sign(text, NAME, Utc::now()).is_err());
            assert!(matches!(authority.judge(text, NAME, Utc::now()), Verdict::Invalid { .. }));
        }
    }
}
