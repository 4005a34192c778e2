//! The files of base images: where uploads are streamed to, what each is known by afterwards, and
//! where devices fetch it.
//!
//! [`ImageFiles`] keeps them in a folder, which the service serves itself, or (feature `s3`) in a
//! bucket of an S3-compatible store. A file is written once, under a [`FileKey`] that nobody can
//! guess and nothing else ever has, and keeps its URL for life. What no record names is removed
//! later, in rounds: [`ImageFiles::sweep`].
//!
//! ```
//! use hedgerow_catalogue::files::{FileSettings, ImageFiles};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let files = ImageFiles::in_folder(folder.path(), "https://updates.example/images", FileSettings::default())?;
//! let mut upload = files.upload(&"gardens".parse()?, "gateway 2.0.0.bin").await?;
//! upload.write("what devices ".into()).await?;
//! upload.write("install".into()).await?;
//! let stored = upload.finish().await?;
//! assert_eq!(stored.size_bytes, 20);
//! let url = files.url(&stored.key)?;
//! assert!(url.as_str().starts_with("https://updates.example/images/gardens/"));
//! assert!(url.as_str().ends_with("/gateway_2.0.0.bin"));
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "s3")]
mod bucket;
mod error;
mod folder;
mod key;
mod read;
mod sweep;
mod upload;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hedgerow_core::{ImageUrl, TenantId};
use object_store::{ObjectStore, ObjectStoreExt};

#[cfg(feature = "s3")]
pub use bucket::Bucket;
pub use error::FileError;
use folder::Folder;
pub use key::{FileKey, FileKeyError};
pub use read::{ByteRange, OpenFile};
pub use sweep::Swept;
pub use upload::{StoredFile, Upload};

/// What uploads may be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSettings {
    /// The largest file, in bytes; default 4 GiB. A larger one is refused while it arrives.
    pub largest_bytes: u64,
}

impl Default for FileSettings {
    fn default() -> Self {
        Self { largest_bytes: 4 * 1024 * 1024 * 1024 }
    }
}

/// The files of base images. Clones share everything.
#[derive(Clone)]
pub struct ImageFiles {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn ObjectStore>,
    kind: Kind,
    /// What URLs of files begin with, without a slash at its end.
    base_url: String,
    settings: FileSettings,
    under_way: upload::UnderWay,
}

enum Kind {
    Folder(Folder),
    #[cfg(feature = "s3")]
    Bucket(Box<object_store::aws::AmazonS3>),
}

impl fmt::Debug for ImageFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The store's own text has no secrets, and says which folder or bucket it is.
        f.debug_struct("ImageFiles")
            .field("store", &self.shared.store.to_string())
            .field("base_url", &self.shared.base_url)
            .finish_non_exhaustive()
    }
}

impl ImageFiles {
    /// In a folder, which is made unless it exists. A service serves what is in it at `base_url`:
    /// the file of a [`FileKey`] is at `{base_url}/{key}`, and [`ImageFiles::open`] reads it.
    ///
    /// # Errors
    /// [`FileError::BaseUrl`]; [`FileError::Folder`] if it can be neither made nor written to.
    pub fn in_folder(
        folder: &Path,
        base_url: &str,
        settings: FileSettings,
    ) -> Result<Self, FileError> {
        let base_url = checked_base(base_url)?;
        let (folder, store) = Folder::open(folder)?;
        Ok(Self::new(Arc::new(store), Kind::Folder(folder), base_url, settings))
    }

    fn new(
        store: Arc<dyn ObjectStore>,
        kind: Kind,
        base_url: String,
        settings: FileSettings,
    ) -> Self {
        let under_way = upload::UnderWay::default();
        Self { shared: Arc::new(Shared { store, kind, base_url, settings, under_way }) }
    }

    /// Where devices fetch that file, for as long as it is there.
    ///
    /// # Errors
    /// [`FileError::BaseUrl`]: with a long base URL, it is longer than URLs may be.
    pub fn url(&self, key: &FileKey) -> Result<ImageUrl, FileError> {
        let text = format!("{}/{key}", self.shared.base_url);
        text.parse().map_err(|_| FileError::BaseUrl { text: self.shared.base_url.clone() })
    }

    /// The file that a URL is of; `None` if it is none of these, such as one that people entered.
    #[must_use]
    pub fn key_of(&self, url: &ImageUrl) -> Option<FileKey> {
        let rest = url.without_query().strip_prefix(&self.shared.base_url)?;
        rest.strip_prefix('/')?.parse().ok()
    }

    /// Whether [`ImageFiles::signed_url`] gives URLs: a folder's never end.
    #[must_use]
    pub fn signs(&self) -> bool {
        match &self.shared.kind {
            Kind::Folder(_) => false,
            #[cfg(feature = "s3")]
            Kind::Bucket(_) => true,
        }
    }

    /// A URL of that file that the store has signed and that works for so long, at most seven days;
    /// `None` where the store does not sign: take [`ImageFiles::url`].
    ///
    /// # Errors
    /// [`FileError::Store`], such as credentials that cannot be had.
    // A folder signs nothing, and without the feature there are only folders.
    #[cfg_attr(not(feature = "s3"), allow(clippy::unused_async))]
    pub async fn signed_url(
        &self,
        key: &FileKey,
        valid_for: Duration,
    ) -> Result<Option<ImageUrl>, FileError> {
        match &self.shared.kind {
            Kind::Folder(_) => {
                let _ = (key, valid_for);
                Ok(None)
            }
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => bucket::signed(bucket, key, valid_for).await.map(Some),
        }
    }

    /// How large that file is, in bytes.
    ///
    /// # Errors
    /// [`FileError::Missing`], [`FileError::Store`].
    pub async fn size_bytes(&self, key: &FileKey) -> Result<u64, FileError> {
        let found = self.shared.store.head(&key.path()).await;
        found.map(|meta| meta.size).map_err(|error| FileError::of(error, key))
    }

    /// Removes a file. One that is not there counts as removed.
    ///
    /// # Errors
    /// [`FileError::Store`].
    pub async fn remove(&self, key: &FileKey) -> Result<(), FileError> {
        match self.shared.store.delete(&key.path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(FileError::of(error, key)),
        }
    }

    /// Whether files can be written and read now: what a service asks to know whether it is ready.
    ///
    /// # Errors
    /// [`FileError::Store`], [`FileError::Folder`].
    pub async fn check(&self) -> Result<(), FileError> {
        match &self.shared.kind {
            Kind::Folder(folder) => folder.check().await,
            #[cfg(feature = "s3")]
            Kind::Bucket(bucket) => bucket::check(bucket).await,
        }
    }

    /// The tenant's part of the store.
    fn of_tenant(tenant: &TenantId) -> object_store::path::Path {
        object_store::path::Path::from_iter([tenant.as_str()])
    }
}

/// What is before the keys in URLs of files, without the slash at its end.
fn checked_base(base_url: &str) -> Result<String, FileError> {
    let refused = || FileError::BaseUrl {
        text: base_url.split(['?', '#']).next().unwrap_or_default().chars().take(200).collect(),
    };
    let url: ImageUrl = base_url.parse().map_err(|_| refused())?;
    if url.as_str() != url.without_query() {
        return Err(refused());
    }
    Ok(base_url.trim_end_matches('/').to_owned())
}
