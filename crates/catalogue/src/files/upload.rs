//! One upload: bytes in as they arrive, in parts to the store, size and SHA-256 on the way, and a
//! file at the end or nothing at all. Never more than two parts of it are in memory.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use hedgerow_core::TenantId;
use object_store::{ObjectStoreExt, WriteMultipart};
use sha2::{Digest, Sha256};

use super::{FileError, FileKey, ImageFiles, Kind};

/// Bytes of a part of an upload to a folder.
const FOLDER_PART: usize = 256 * 1024;
/// Bytes of a part of an upload to a bucket: the least that S3 takes.
#[cfg(feature = "s3")]
const BUCKET_PART: usize = 5 * 1024 * 1024;

/// A file that was uploaded whole and is durable.
///
/// While it is kept, [`ImageFiles::sweep`] of the same [`ImageFiles`] takes the file for one that is
/// named: drop it when the record that names it is durable, or when there is to be none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredFile {
    /// What it is known by.
    pub key: FileKey,
    /// How large it is.
    pub size_bytes: u64,
    /// Its SHA-256, in lower case hexadecimal digits.
    pub sha256: String,
    /// As long as a clone of this is there, the file is not swept away.
    _held: Arc<Held>,
}

/// The keys of uploads under way, and of those whose file is not recorded yet.
#[derive(Clone, Default)]
pub(super) struct UnderWay(Arc<Mutex<BTreeSet<FileKey>>>);

impl UnderWay {
    fn hold(&self, key: FileKey) -> Held {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        Held { key, all: self.clone() }
    }

    pub(super) fn holds(&self, key: &FileKey) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }
}

/// A key that is under way until this is dropped.
struct Held {
    key: FileKey,
    all: UnderWay,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({})", self.key)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// An upload under way. Dropped before it is finished, it leaves nothing.
#[must_use = "an upload that is not finished leaves nothing"]
pub struct Upload {
    files: ImageFiles,
    held: Arc<Held>,
    /// Gone once it ended.
    writing: Option<WriteMultipart>,
    size_bytes: u64,
    hash: Sha256,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("key", &self.held.key)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

impl ImageFiles {
    /// Begins to upload a file of that tenant. The name is whatever the uploader calls it; the key
    /// keeps of it what may stand in a URL.
    ///
    /// # Errors
    /// [`FileError::Tenant`], [`FileError::Store`].
    pub async fn upload(&self, tenant: &TenantId, name: &str) -> Result<Upload, FileError> {
        let key = FileKey::new(tenant, name)
            .ok_or_else(|| FileError::Tenant { tenant: tenant.to_string() })?;
        let held = Arc::new(self.shared.under_way.hold(key));
        let part = match &self.shared.kind {
            Kind::Folder(_) => FOLDER_PART,
            #[cfg(feature = "s3")]
            Kind::Bucket(_) => BUCKET_PART,
        };
        let begun = self.shared.store.put_multipart(&held.key.path()).await;
        let writing = begun.map_err(|error| FileError::store(&error))?;
        let writing = Some(WriteMultipart::new_with_chunk_size(writing, part));
        Ok(Upload { files: self.clone(), held, writing, size_bytes: 0, hash: Sha256::new() })
    }

    /// Uploads what a stream gives, as one file. When it fails, nothing stays.
    ///
    /// # Errors
    /// [`FileError::BrokeOff`] with what the stream said, [`FileError::TooLarge`],
    /// [`FileError::Empty`], [`FileError::Store`].
    pub async fn store<E: fmt::Display>(
        &self,
        tenant: &TenantId,
        name: &str,
        bytes: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<StoredFile, FileError> {
        let mut upload = self.upload(tenant, name).await?;
        let mut bytes = std::pin::pin!(bytes);
        while let Some(next) = bytes.next().await {
            match next {
                Ok(bytes) => upload.write(bytes).await?,
                Err(error) => {
                    upload.abort().await;
                    return Err(FileError::BrokeOff { detail: error.to_string() });
                }
            }
        }
        upload.finish().await
    }
}

impl Upload {
    /// What the file will be known by.
    #[must_use]
    pub fn key(&self) -> &FileKey {
        &self.held.key
    }

    /// How many bytes have come so far.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Takes the next bytes, and waits while the store is behind. After an error the upload is over
    /// and leaves nothing.
    ///
    /// # Errors
    /// [`FileError::TooLarge`], [`FileError::Store`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), FileError> {
        let largest_bytes = self.files.shared.settings.largest_bytes;
        self.size_bytes = self.size_bytes.saturating_add(bytes.len() as u64);
        if self.size_bytes > largest_bytes {
            self.give_up().await;
            return Err(FileError::TooLarge { largest_bytes });
        }
        self.hash.update(&bytes);
        let Some(writing) = &mut self.writing else { return Err(over()) };
        // One part may be on its way while the next is gathered.
        if let Err(error) = writing.wait_for_capacity(1).await {
            self.give_up().await;
            return Err(FileError::store(&error));
        }
        writing.write(&bytes);
        Ok(())
    }

    /// Ends the upload: when this returns, the file is whole and durable under its key.
    ///
    /// # Errors
    /// [`FileError::Empty`], [`FileError::Store`]. Nothing stays then.
    pub async fn finish(mut self) -> Result<StoredFile, FileError> {
        if self.size_bytes == 0 {
            self.give_up().await;
            return Err(FileError::Empty);
        }
        let writing = self.writing.take().ok_or_else(over)?;
        writing.finish().await.map_err(|error| FileError::store(&error))?;
        match &self.files.shared.kind {
            Kind::Folder(folder) => {
                if let Err(error) = folder.sync(&self.held.key).await {
                    if let Err(error) = self.files.remove(&self.held.key).await {
                        tracing::warn!(key = %self.held.key, %error, "a file that nobody names stays behind");
                    }
                    return Err(error);
                }
            }
            // What a bucket acknowledges is durable.
            #[cfg(feature = "s3")]
            Kind::Bucket(_) => {}
        }
        let sha256 = self.hash.finalize_reset();
        let sha256 = hexadecimal(&sha256);
        let (key, held) = (self.held.key.clone(), Arc::clone(&self.held));
        Ok(StoredFile { key, size_bytes: self.size_bytes, sha256, _held: held })
    }

    /// Gives it up.
    pub async fn abort(mut self) {
        self.give_up().await;
    }

    async fn give_up(&mut self) {
        if let Some(writing) = self.writing.take()
            && let Err(error) = writing.abort().await
        {
            tracing::warn!(key = %self.held.key, %error, "parts of an upload stay behind");
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(writing) = self.writing.take() else { return };
        let key = self.held.key.clone();
        // Without a runtime a folder cleans up by itself, and a bucket by a rule of its own.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = writing.abort().await {
                    tracing::warn!(%key, %error, "parts of an upload stay behind");
                }
            });
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn over() -> FileError {
    FileError::BrokeOff { detail: "it is over already".to_owned() }
}
