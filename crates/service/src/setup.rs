//! Whether a configuration can be used: every key is read, every value looked at, and everything
//! that is wrong is told at once, with where it stands and what to do.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use hedgerow_astarte::{Credentials, HttpConnections, HttpSettings, RealmClient};
use hedgerow_catalogue::files::{FileError, FileSettings, ImageFiles};
use hedgerow_core::{ImageUrl, TenantId};
use hedgerow_graphql::auth::{PublicKey, TenantAccess};
use tokio_rustls::rustls;

use crate::config::{BucketConfig, Config, TenantConfig};
use crate::listen;
use crate::paths::Files;

/// For whoever does not know which keys there are.
const HELP: &str = "`hedgerow serve --example` prints a file that has every key with what it means";
/// A configuration file is small.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Something that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where, as in `tenants[0].astarte.url`; empty: the file as a whole.
    pub place: String,
    /// What is wrong, and what to do.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => f.write_str(&self.text),
            place => write!(f, "{place}: {}", self.text),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot be used:\n{}", file.display(), problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
#[non_exhaustive]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Everything that is wrong; at least one.
    pub problems: Vec<Problem>,
}

/// Values of a configuration, ready to be used.
#[derive(Debug)]
#[non_exhaustive]
pub struct Setup {
    /// The file in which everything is recorded.
    pub store: PathBuf,
    /// The address and port of everything.
    pub listen: SocketAddr,
    /// What browsers and devices reach the service by, without a slash at its end.
    pub public_url: String,
    /// The origins whose pages may use the API.
    pub allowed_origins: Vec<String>,
    /// An address of its own for metrics.
    pub metrics_listen: Option<SocketAddr>,
    /// TLS; without it, whatever is in front brings it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// How many connections there may be at once.
    pub connections_at_once: usize,
    /// How long requests may take to end once the service is told to stop.
    pub stop_within: Duration,
    /// Where the files of base images are.
    pub images: ImagePlace,
    /// The largest file that is taken, in bytes.
    pub largest_image_bytes: u64,
    /// For how long a file that nothing names is kept.
    pub keep_unnamed: Duration,
    /// How Astarte is called.
    pub connections: HttpConnections,
    /// The header that every delivery of a trigger has.
    pub triggers_secret: Option<(HeaderName, HeaderValue)>,
    /// After how long everything that Astarte knows is compared again.
    pub round: Duration,
    /// The tenants.
    pub tenants: Vec<TenantSetup>,
}

/// Where the files of base images are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ImagePlace {
    /// In a folder, which the service serves itself.
    Folder(PathBuf),
    /// In a bucket.
    #[cfg(feature = "s3")]
    Bucket {
        /// The bucket.
        bucket: hedgerow_catalogue::files::Bucket,
        /// For how long URLs that devices are given work; `None`: they are the file's own.
        signed_for: Option<Duration>,
    },
}

impl ImagePlace {
    /// For how long URLs that devices are given work; `None`: for ever.
    pub(crate) fn signed_for(&self) -> Option<Duration> {
        match self {
            Self::Folder(_) => None,
            #[cfg(feature = "s3")]
            Self::Bucket { signed_for, .. } => *signed_for,
        }
    }
}

/// A tenant, ready to be served.
#[derive(Debug)]
#[non_exhaustive]
pub struct TenantSetup {
    /// Its name.
    pub name: TenantId,
    /// How its callers are known.
    pub access: TenantAccess,
    /// What Astarte's APIs lie below.
    pub astarte_url: String,
    /// What its realm is entered with.
    pub credentials: Credentials,
}

impl TenantSetup {
    /// A tenant.
    #[must_use]
    pub fn new(
        name: TenantId,
        access: TenantAccess,
        astarte_url: &str,
        credentials: Credentials,
    ) -> Self {
        Self { name, access, astarte_url: astarte_url.to_owned(), credentials }
    }
}

impl Setup {
    /// With everything else as a configuration file has it that leaves it out: on this machine's own
    /// address, images in a folder.
    #[must_use]
    pub fn new(
        store: PathBuf,
        listen: SocketAddr,
        images: ImagePlace,
        connections: HttpConnections,
        tenants: Vec<TenantSetup>,
    ) -> Self {
        Self {
            store,
            listen,
            public_url: own_url(false, listen),
            allowed_origins: Vec::new(),
            metrics_listen: None,
            tls: None,
            connections_at_once: half_of_all_files(),
            stop_within: Duration::from_secs(20),
            images,
            largest_image_bytes: FileSettings::default().largest_bytes,
            keep_unnamed: Duration::from_secs(24 * 3_600),
            connections,
            triggers_secret: None,
            round: Duration::from_secs(600),
            tenants,
        }
    }

    /// With port 0 the system has chosen one: what is reached by the address alone is reached there.
    pub(crate) fn listens_on(&mut self, address: SocketAddr) {
        let own = |at: SocketAddr| own_url(self.tls.is_some(), at);
        if self.public_url == own(self.listen) {
            self.public_url = own(address);
        }
        self.listen = address;
    }

    /// The image files that this says.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn image_files(&self) -> Result<ImageFiles, FileError> {
        let mut settings = FileSettings::default();
        settings.largest_bytes = self.largest_image_bytes;
        match &self.images {
            ImagePlace::Folder(folder) => {
                ImageFiles::in_folder(folder, &format!("{}/images", self.public_url), settings)
            }
            #[cfg(feature = "s3")]
            ImagePlace::Bucket { bucket, .. } => ImageFiles::in_bucket(bucket, settings),
        }
    }
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`] with one problem: it cannot be read, or is no TOML that means something here.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let refused = |text: String| {
            let problems = vec![Problem { place: String::new(), text }];
            ConfigError { file: file.to_owned(), problems }
        };
        let text = crate::paths::read_text(file, LARGEST_FILE).map_err(refused)?;
        toml::from_str(&text).map_err(|error| {
            // What the library says has the line, and marks the place.
            let said = error.to_string().trim_end().replace('\n', "\n  ");
            refused(format!("{said}\n  {HELP}"))
        })
    }

    /// Looks at every value, reads every file that is named, and makes the folder of images.
    ///
    /// # Errors
    /// [`ConfigError`] with everything that is wrong.
    pub fn check(&self, file: &Path) -> Result<Setup, ConfigError> {
        let mut checking = Checking { files: Files::beside(file), problems: Vec::new() };
        let setup = checking.setup(self);
        match setup {
            Some(setup) if checking.problems.is_empty() => Ok(setup),
            _ => Err(ConfigError { file: file.to_owned(), problems: checking.problems }),
        }
    }
}

/// What a service is reached by that nothing stands in front of.
fn own_url(has_tls: bool, listen: SocketAddr) -> String {
    let scheme = if has_tls { "https" } else { "http" };
    format!("{scheme}://{listen}")
}

/// Half of the files that this process may open: the store and images need some, too.
fn half_of_all_files() -> usize {
    /// Where the system does not say.
    const ELSEWHERE: usize = 512;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let most = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    most.map_or(ELSEWHERE, |most| (most / 2).clamp(16, 65_536))
}

/// A look at a configuration, and what was found.
struct Checking {
    files: Files,
    problems: Vec<Problem>,
}

impl Checking {
    fn problem(&mut self, place: impl Into<String>, text: impl fmt::Display) {
        self.problems.push(Problem { place: place.into(), text: text.to_string() });
    }

    /// The value, or the problem noted.
    fn taken<T, E: fmt::Display>(&mut self, place: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(place, error)).ok()
    }

    /// Everything is looked at, also when something before it is wrong.
    fn setup(&mut self, config: &Config) -> Option<Setup> {
        let store = self.store(&config.store);
        let public_url = self.public_url(config);
        let allowed_origins = self.origins(&config.http.allowed_origins);
        let tls = self.tls(config);
        if config.http.metrics_listen.is_some_and(|at| at == config.http.listen) {
            let text = "this is http.listen: give another port, or leave it out";
            self.problem("http.metrics_listen", text);
        }
        if config.http.connections == Some(0) {
            self.problem("http.connections", "give at least 1");
        }
        let images = self.images(config);
        let connections = self.connections(config);
        let triggers_secret = self.triggers_secret(config);
        self.taken("log.filter", crate::logs::check(&config.log));
        if config.astarte.round_seconds == 0 {
            self.problem("astarte.round_seconds", "give at least 1");
        }
        let tenants = self.tenants(config, connections.as_ref());
        let setup = Setup {
            public_url: public_url?,
            allowed_origins,
            metrics_listen: config.http.metrics_listen,
            tls: tls?,
            connections_at_once: config.http.connections.unwrap_or_else(half_of_all_files),
            stop_within: Duration::from_secs(config.http.stop_seconds),
            largest_image_bytes: config.images.largest_mib.saturating_mul(1024 * 1024),
            keep_unnamed: Duration::from_secs(
                config.images.keep_unnamed_hours.saturating_mul(3_600),
            ),
            triggers_secret: triggers_secret?,
            round: Duration::from_secs(config.astarte.round_seconds),
            ..Setup::new(store?, config.http.listen, images?, connections?, tenants)
        };
        // Only now is the public URL known that the files of a folder have.
        self.taken("images", setup.image_files())?;
        Some(setup)
    }

    fn store(&mut self, path: &Path) -> Option<PathBuf> {
        let path = self.files.place(path);
        let folder = path.parent().unwrap_or(Path::new("/"));
        if !folder.is_dir() {
            let text = format!("its folder {} does not exist: create it", folder.display());
            self.problem("store", text);
            return None;
        }
        self.taken("store", crate::paths::check_writable(&path))?;
        Some(path)
    }

    fn public_url(&mut self, config: &Config) -> Option<String> {
        let http = &config.http;
        let Some(url) = &http.public_url else {
            if http.listen.ip().is_unspecified() {
                let text = "give what browsers and devices reach this service by, such as https://updates.example: http.listen does not say";
                self.problem("http.public_url", text);
                return None;
            }
            return Some(own_url(http.certificate.is_some(), http.listen));
        };
        let is_plain = url.parse::<ImageUrl>().is_ok_and(|parsed| parsed.without_query() == url);
        if !is_plain {
            let text = format!(
                "{url:?} is not an address: give one such as https://updates.example, without a query"
            );
            self.problem("http.public_url", text);
            return None;
        }
        Some(url.trim_end_matches('/').to_owned())
    }

    fn origins(&mut self, origins: &[String]) -> Vec<String> {
        let mut taken = Vec::new();
        for (index, origin) in origins.iter().enumerate() {
            let rest = origin.split_once("://").map(|(_, rest)| rest);
            let is_origin = origin.parse::<ImageUrl>().is_ok()
                && rest.is_some_and(|rest| !rest.contains(['/', '?', '#', '@']));
            if is_origin {
                taken.push(origin.clone());
            } else {
                let text = format!(
                    "{origin:?} is not an origin: give scheme, host and port alone, such as https://dashboard.example"
                );
                self.problem(format!("http.allowed_origins[{index}]"), text);
            }
        }
        taken
    }

    /// `Some(None)`: no TLS is wanted.
    #[allow(clippy::option_option)]
    fn tls(&mut self, config: &Config) -> Option<Option<Arc<rustls::ServerConfig>>> {
        let (certificate, key) = match (&config.http.certificate, &config.http.private_key) {
            (None, None) => return Some(None),
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(_), None) => {
                self.problem("http.private_key", "give the key of http.certificate");
                return None;
            }
            (None, Some(_)) => {
                self.problem("http.certificate", "give the certificate of http.private_key");
                return None;
            }
        };
        let certificate = self.taken("http.certificate", self.files.text(certificate));
        let key = self.taken("http.private_key", self.files.text(key));
        let (certificate, key) = (certificate?, key?);
        self.taken("http.certificate", listen::tls(&certificate, &key)).map(Some)
    }

    fn images(&mut self, config: &Config) -> Option<ImagePlace> {
        if config.images.largest_mib == 0 {
            self.problem("images.largest_mib", "give at least 1");
        }
        if config.images.keep_unnamed_hours == 0 {
            let text =
                "give at least 1: an upload that is not recorded yet is named by nothing either";
            self.problem("images.keep_unnamed_hours", text);
        }
        match (&config.images.folder, &config.images.s3) {
            (Some(folder), None) => Some(ImagePlace::Folder(self.files.place(folder))),
            (None, Some(bucket)) => self.bucket(bucket),
            (None, None) => {
                self.problem("images", "give images.folder, or images.s3");
                None
            }
            (Some(_), Some(_)) => {
                self.problem("images", "give images.folder or images.s3, and not both");
                None
            }
        }
    }

    #[cfg(feature = "s3")]
    fn bucket(&mut self, config: &BucketConfig) -> Option<ImagePlace> {
        let place = "images.s3.secret_access_key_file";
        let secret = self.taken(place, self.files.text(&config.secret_access_key_file))?;
        let mut bucket = hedgerow_catalogue::files::Bucket::new(
            &config.bucket,
            &config.access_key_id,
            secret.trim(),
        );
        bucket.endpoint.clone_from(&config.endpoint);
        bucket.region.clone_from(&config.region);
        bucket.public_url.clone_from(&config.public_url);
        if config.signed_hours > 168 {
            let text =
                "S3 signs for at most 168 hours: give less, or 0 for URLs that are not signed";
            self.problem("images.s3.signed_hours", text);
        }
        let signed_for = Some(config.signed_hours).filter(|hours| *hours > 0);
        let signed_for = signed_for.map(|hours| Duration::from_secs(hours.saturating_mul(3_600)));
        Some(ImagePlace::Bucket { bucket, signed_for })
    }

    #[cfg(not(feature = "s3"))]
    fn bucket(&mut self, _: &BucketConfig) -> Option<ImagePlace> {
        let text = "this build has no S3: give images.folder, or build with --features s3";
        self.problem("images.s3", text);
        None
    }

    fn connections(&mut self, config: &Config) -> Option<HttpConnections> {
        let mut settings = HttpSettings::default();
        for (index, path) in config.astarte.root_certificates.iter().enumerate() {
            let place = format!("astarte.root_certificates[{index}]");
            if let Some(text) = self.taken(&place, self.files.text(path)) {
                settings.root_certificates.push(text);
            }
        }
        self.taken("astarte.root_certificates", HttpConnections::new(&settings))
    }

    /// `Some(None)`: none is wanted.
    #[allow(clippy::option_option)]
    fn triggers_secret(&mut self, config: &Config) -> Option<Option<(HeaderName, HeaderValue)>> {
        let Some(path) = &config.astarte.triggers_secret_file else { return Some(None) };
        let secret = self.taken("astarte.triggers_secret_file", self.files.text(path));
        let name = &config.astarte.triggers_secret_header;
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| "this is no name of a header: give one such as X-Hedgerow-Secret");
        let name = self.taken("astarte.triggers_secret_header", name);
        let secret = secret?;
        let secret = secret.trim();
        let is_plain = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::from_str(secret).ok().filter(|_| is_plain);
        let value = value.ok_or("a secret is one line of visible ASCII characters");
        let value = self.taken("astarte.triggers_secret_file", value)?;
        Some(Some((name?, value)))
    }

    fn tenants(
        &mut self,
        config: &Config,
        connections: Option<&HttpConnections>,
    ) -> Vec<TenantSetup> {
        if config.tenants.is_empty() {
            let text =
                "give at least one tenant: a table [[tenants]] with its name and its Astarte";
            self.problem("tenants", text);
        }
        let (mut names, mut setups) = (BTreeSet::new(), Vec::new());
        for (index, tenant) in config.tenants.iter().enumerate() {
            let place = format!("tenants[{index}]");
            if !names.insert(&tenant.name) {
                self.problem(format!("{place}.name"), format!("{:?} is there twice", tenant.name));
            }
            let (keys, is_open) = (tenant.keys.len(), tenant.open_to_this_machine);
            let text = match (keys, is_open, config.http.listen.ip().is_loopback()) {
                (0, false, _) => {
                    "name the public keys that tokens are signed with; or set open_to_this_machine = true, and let nothing hand requests on to this service"
                }
                (0, true, false) => {
                    "without a key only this machine may ask, and http.listen is open to others: name the public keys that tokens are signed with, or listen on 127.0.0.1"
                }
                (1.., true, _) => "give keys or open_to_this_machine, and not both",
                _ => "",
            };
            if !text.is_empty() {
                self.problem(format!("{place}.keys"), text);
            }
            setups.extend(self.tenant(&place, tenant, connections));
        }
        setups
    }

    fn tenant(
        &mut self,
        place: &str,
        tenant: &TenantConfig,
        connections: Option<&HttpConnections>,
    ) -> Option<TenantSetup> {
        let name: Option<TenantId> = self.taken(&format!("{place}.name"), tenant.name.parse());
        let mut access = TenantAccess { keys: Vec::new(), edgehog_tokens: tenant.edgehog_tokens };
        for (index, path) in tenant.keys.iter().enumerate() {
            let place = format!("{place}.keys[{index}]");
            let Some(text) = self.taken(&place, self.files.text(path)) else { continue };
            let key =
                PublicKey::from_pem(&text).map_err(|error| format!("{}: {error}", path.display()));
            access.keys.extend(self.taken(&place, key));
        }
        let credentials = self.credentials(place, tenant)?;
        // The client says what is wrong with the URL, or that no realm has such a name.
        let probe = self.credentials(place, tenant)?;
        let (name, url) = (name?, &tenant.astarte.url);
        if let Some(connections) = connections {
            let client = RealmClient::new(connections, url, name.as_str(), probe);
            self.taken(&format!("{place}.astarte"), client)?;
        }
        Some(TenantSetup::new(name, access, url, credentials))
    }

    fn credentials(&mut self, tenant_place: &str, tenant: &TenantConfig) -> Option<Credentials> {
        let astarte = &tenant.astarte;
        let (place, path, read): (_, _, fn(&str) -> _) =
            match (&astarte.private_key, &astarte.token_file) {
                (Some(path), None) => ("private_key", path, Credentials::private_key),
                (None, Some(path)) => ("token_file", path, Credentials::token),
                _ => {
                    let text = "give the realm's private_key, or a token_file";
                    self.problem(format!("{tenant_place}.astarte"), text);
                    return None;
                }
            };
        let place = format!("{tenant_place}.astarte.{place}");
        let text = self.taken(&place, self.files.text(path))?;
        let read = read(&text).map_err(|error| format!("{}: {error}", path.display()));
        self.taken(&place, read)
    }
}
