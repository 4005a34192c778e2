//! `hedgerow token`: signs a token with which somebody may ask a service.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use hedgerow_graphql::auth::{ROLE_CLAIM, Role};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

/// Sign a token with which somebody may ask a service
#[derive(Args)]
#[command(after_help = "\
Examples:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out gardens-token-key.pem
  openssl pkey -in gardens-token-key.pem -pubout -out gardens-public.pem
  hedgerow token --key gardens-token-key.pem --role admin --subject ada --days 30 > token

The public key belongs into the configuration of the service, as one of the tenant's `keys`. The
private key can make tokens for everything: keep it where the service is not.

Exit status: 0 printed, 2 wrong usage, or a key that cannot sign.")]
pub(crate) struct TokenArgs {
    /// The private key, in PEM: P-256, P-384 or RSA
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What its bearer may do: viewer, operator or admin
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
    /// Who its bearer is, for the records of who did what
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// For how many days it is valid
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: u32,
}

fn role(text: &str) -> Result<Role, String> {
    let found = Role::ALL.into_iter().find(|role| role.name() == text);
    found.ok_or_else(|| "give viewer, operator or admin".to_owned())
}

/// Runs `hedgerow token`.
pub(crate) fn token(args: &TokenArgs) -> ExitCode {
    match signed(args) {
        Ok(token) => {
            // Whoever reads may have left.
            let _ = writeln!(io::stdout(), "{token}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

fn signed(args: &TokenArgs) -> Result<String, String> {
    let pem = std::fs::read(&args.key)
        .map_err(|error| format!("{} cannot be read: {error}", args.key.display()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut claims = json!({
        ROLE_CLAIM: args.role.name(),
        "iat": now,
        "exp": now + u64::from(args.days) * 86_400,
    });
    if let Some(subject) = &args.subject {
        claims["sub"] = json!(subject);
    }
    for (algorithm, key) in keys(&pem) {
        if let Ok(token) = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key) {
            return Ok(token);
        }
    }
    Err(cannot_sign(&args.key))
}

fn cannot_sign(file: &Path) -> String {
    format!(
        "{} cannot sign tokens: give an unencrypted P-256, P-384 or RSA key in PEM that begins with -----BEGIN PRIVATE KEY-----",
        file.display()
    )
}

/// What the key might be. Signing fails with what it is not.
fn keys(pem: &[u8]) -> impl Iterator<Item = (Algorithm, EncodingKey)> {
    let curve = |algorithm| Some((algorithm, EncodingKey::from_ec_pem(pem).ok()?));
    let rsa = EncodingKey::from_rsa_pem(pem).ok().map(|key| (Algorithm::RS256, key));
    [curve(Algorithm::ES256), curve(Algorithm::ES384), rsa].into_iter().flatten()
}
