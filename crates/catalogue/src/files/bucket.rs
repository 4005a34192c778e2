//! A bucket of an S3-compatible store: how it is reached, and URLs that it signs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hedgerow_core::ImageUrl;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::signer::Signer;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::{FileError, FileKey, FileSettings, ImageFiles, Kind, checked_base};

/// The longest that S3 lets a signature be valid.
const LONGEST_SIGNATURE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A bucket, and how it is reached.
#[derive(Clone)]
#[non_exhaustive]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Where the store is, as in `https://s3.example`; `None`: Amazon's.
    pub endpoint: Option<String>,
    /// The region; most stores other than Amazon's take any.
    pub region: String,
    /// The id of the key that it is entered with.
    pub access_key_id: String,
    /// The key's secret.
    pub secret_access_key: String,
    /// What the URLs of files begin with, where that is not the bucket itself: a cache in front of
    /// it, for example. Signed URLs are always the store's own.
    pub public_url: Option<String>,
}

impl Bucket {
    /// A bucket of that name, at Amazon's, in the region `us-east-1`.
    #[must_use]
    pub fn new(name: &str, access_key_id: &str, secret_access_key: &str) -> Self {
        Self {
            name: name.to_owned(),
            endpoint: None,
            region: "us-east-1".to_owned(),
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            public_url: None,
        }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("public_url", &self.public_url)
            .finish_non_exhaustive()
    }
}

impl ImageFiles {
    /// In a bucket, which exists already. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`FileError::Bucket`] if it cannot be reached with such settings, [`FileError::BaseUrl`].
    pub fn in_bucket(bucket: &Bucket, settings: FileSettings) -> Result<Self, FileError> {
        let refused = |detail: String| FileError::Bucket { detail };
        if bucket.name.is_empty() || bucket.access_key_id.is_empty() {
            return Err(refused("give its name, and the key that it is entered with".to_owned()));
        }
        let at = match &bucket.endpoint {
            Some(endpoint) => format!("{}/{}", checked_base(endpoint)?, bucket.name),
            None => format!("https://s3.{}.amazonaws.com/{}", bucket.region, bucket.name),
        };
        let base_url = match &bucket.public_url {
            Some(url) => checked_base(url)?,
            None => at,
        };
        let client = ClientOptions::new()
            .with_timeout(Duration::from_secs(120))
            .with_connect_timeout(Duration::from_secs(10));
        // A request that waits for an upload cannot wait for the three minutes of the default.
        let retry = RetryConfig {
            max_retries: 4,
            retry_timeout: Duration::from_secs(60),
            ..RetryConfig::default()
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&bucket.name)
            .with_region(&bucket.region)
            .with_access_key_id(&bucket.access_key_id)
            .with_secret_access_key(&bucket.secret_access_key)
            .with_client_options(client)
            .with_retry(retry);
        if let Some(endpoint) = &bucket.endpoint {
            let is_plain = endpoint.get(..7).is_some_and(|s| s.eq_ignore_ascii_case("http://"));
            builder =
                builder.with_endpoint(endpoint.trim_end_matches('/')).with_allow_http(is_plain);
        }
        let store = builder.build().map_err(|error| refused(error.to_string()))?;
        let kind = Kind::Bucket(Box::new(store.clone()));
        Ok(Self::new(Arc::new(store), kind, base_url, settings))
    }
}

/// A URL that works for so long.
pub(super) async fn signed(
    bucket: &AmazonS3,
    key: &FileKey,
    valid_for: Duration,
) -> Result<ImageUrl, FileError> {
    let valid_for = valid_for.min(LONGEST_SIGNATURE);
    let url = bucket.signed_url(http::Method::GET, &key.path(), valid_for).await;
    let url = url.map_err(|error| FileError::store(&error))?;
    url.as_str().parse().map_err(|_| FileError::Bucket {
        detail: "it signs URLs that are longer than 4096 bytes".to_owned(),
    })
}

/// Whether it can be read: a list of it begins.
pub(super) async fn check(bucket: &AmazonS3) -> Result<(), FileError> {
    match bucket.list(None).next().await {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(FileError::store(&error)),
    }
}
