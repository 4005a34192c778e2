//! The configuration file: what may stand in it, in TOML, and what it means if something is left
//! out. Whether its values can be used is asked in `setup`.
//!
//! No secret stands in it: keys, tokens and passwords are files that it names. A path that does not
//! begin with `/` is looked for beside the configuration file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};

/// The commented example of a configuration file, which has every key with what it means.
pub const EXAMPLE: &str = include_str!("../hedgerow.example.toml");

/// What is served unless that is given.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4080);

/// A configuration file. [`EXAMPLE`] has every key with what it means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The file in which everything is recorded.
    pub store: PathBuf,
    /// What is served, and where.
    #[serde(default)]
    pub http: HttpConfig,
    /// Where the files of base images are kept.
    pub images: ImagesConfig,
    /// What is written to standard error.
    #[serde(default)]
    pub log: LogConfig,
    /// What holds for every Astarte.
    #[serde(default)]
    pub astarte: AstarteConfig,
    /// The tenants; at least one.
    #[serde(default)]
    pub tenants: Vec<TenantConfig>,
}

/// What is served, and where.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct HttpConfig {
    /// The address and port of everything.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// What browsers and devices reach this service by; `http://` and the address unless given.
    pub public_url: Option<String>,
    /// The origins whose pages may use the API, such as `https://dashboard.example`.
    pub allowed_origins: Vec<String>,
    /// An address of its own for `/metrics`, `/health` and `/ready`, without any check of who asks.
    /// Without it, `/metrics` is given to this machine only.
    #[serde(deserialize_with = "some_address")]
    pub metrics_listen: Option<SocketAddr>,
    /// The certificate for TLS, in PEM, with those that lead to its authority behind it.
    pub certificate: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    pub private_key: Option<PathBuf>,
    /// How many connections there may be at once; half of the files that the process may open, unless
    /// given.
    pub connections: Option<usize>,
    /// How long requests that are under way may take to end once the service is told to stop.
    pub stop_seconds: u64,
}

/// An address, or what to write in its place.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let read = String::deserialize(deserializer).ok().and_then(|text| text.parse().ok());
    let wrong = "give an address and a port, in quotes, such as \"127.0.0.1:4080\"";
    read.ok_or_else(|| de::Error::custom(wrong))
}

fn some_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    address(deserializer).map(Some)
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: LISTEN,
            public_url: None,
            allowed_origins: Vec::new(),
            metrics_listen: None,
            certificate: None,
            private_key: None,
            connections: None,
            stop_seconds: 20,
        }
    }
}

/// Where the files of base images are kept: in a folder or in a bucket.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ImagesConfig {
    /// The folder.
    pub folder: Option<PathBuf>,
    /// The bucket.
    pub s3: Option<BucketConfig>,
    /// The largest file that is taken, in MiB.
    #[serde(default = "largest_mib")]
    pub largest_mib: u64,
    /// For how long a file that nothing names is kept, in hours.
    #[serde(default = "keep_unnamed_hours")]
    pub keep_unnamed_hours: u64,
}

fn largest_mib() -> u64 {
    4_096
}

fn keep_unnamed_hours() -> u64 {
    24
}

/// A bucket of an S3-compatible store.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BucketConfig {
    /// Its name.
    pub bucket: String,
    /// Where the store is; Amazon's unless given.
    pub endpoint: Option<String>,
    /// The region.
    #[serde(default = "region")]
    pub region: String,
    /// The id of the key that the bucket is entered with.
    pub access_key_id: String,
    /// The file with the secret of that key.
    pub secret_access_key_file: PathBuf,
    /// What the URLs of files begin with, if that is not the bucket itself.
    pub public_url: Option<String>,
    /// For how long a URL that devices are given works, in hours; 0: it is the file's own URL, which
    /// works for ever and needs a bucket that anyone can read.
    #[serde(default = "signed_hours")]
    pub signed_hours: u64,
}

fn region() -> String {
    "us-east-1".to_owned()
}

fn signed_hours() -> u64 {
    168
}

/// What is written to standard error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LogConfig {
    /// For machines or for people.
    pub format: LogFormat,
    /// What is written: a level, or one for each part, as in `info,hedgerow_astarte=debug`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: "info".to_owned() }
    }
}

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// What holds for every Astarte.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct AstarteConfig {
    /// Certificates that are trusted beside those of the machine, in PEM.
    pub root_certificates: Vec<PathBuf>,
    /// The file with the secret that every delivery of a trigger has in a header.
    pub triggers_secret_file: Option<PathBuf>,
    /// The name of that header.
    pub triggers_secret_header: String,
    /// After how many seconds everything that Astarte knows is compared again.
    pub round_seconds: u64,
}

impl Default for AstarteConfig {
    fn default() -> Self {
        Self {
            root_certificates: Vec::new(),
            triggers_secret_file: None,
            triggers_secret_header: "X-Hedgerow-Secret".to_owned(),
            round_seconds: 600,
        }
    }
}

/// A tenant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TenantConfig {
    /// Its name, which is that of its Astarte realm and the slug in addresses.
    pub name: String,
    /// The public keys, in PEM, that tokens for this tenant are signed with.
    #[serde(default)]
    pub keys: Vec<PathBuf>,
    /// In place of keys: whoever asks from this machine may do everything, and nobody else anything.
    #[serde(default)]
    pub open_to_this_machine: bool,
    /// Whether tokens made for Edgehog, which have the claim `e_tga`, are taken as an admin's.
    #[serde(default)]
    pub edgehog_tokens: bool,
    /// How its realm is reached.
    pub astarte: TenantAstarteConfig,
}

/// How a realm is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TenantAstarteConfig {
    /// What Astarte's APIs lie below, as in `{url}/appengine/v1/{realm}`.
    pub url: String,
    /// The realm's private key, in PEM.
    pub private_key: Option<PathBuf>,
    /// A file with a token, in place of the key.
    pub token_file: Option<PathBuf>,
}
