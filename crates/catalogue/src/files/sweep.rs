//! Removing files that no record names: images that were deleted, and uploads whose record never
//! came because the process was killed in between.
//!
//! A round needs no memory of the last one. What it has removed is gone, and what it has not come
//! to it finds again: so it may be broken off anywhere, and several processes may do it at once.

use std::time::Duration;

use chrono::Utc;
use futures::{StreamExt, TryStreamExt};
use hedgerow_core::TenantId;
use object_store::ObjectStore;

use super::{FileError, FileKey, ImageFiles, Kind};

/// How many files are asked about at once.
const BATCH: usize = 1_000;

/// What a round found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Files that were looked at.
    pub seen: u64,
    /// Files that were removed because nothing names them.
    pub removed: u64,
    /// Bytes of these.
    pub removed_bytes: u64,
    /// Files that could not be removed; the next round tries again.
    pub failed: u64,
}

impl ImageFiles {
    /// Removes the files of a tenant that `unnamed` gives back of those it is asked about, and that
    /// were written so long ago that whoever uploaded them has given up: give at least as long as a
    /// request may take, a day for example. Files of uploads under way and [`StoredFile`]s that are
    /// kept here are not asked about.
    ///
    /// The question is put after the files were listed: a record that names one of them is there by
    /// then, or its upload is older than `untouched_for`.
    ///
    /// [`StoredFile`]: super::StoredFile
    ///
    /// # Errors
    /// [`FileError::Store`]: the files could not be listed to their end.
    pub async fn sweep<F>(
        &self,
        tenant: &TenantId,
        untouched_for: Duration,
        mut unnamed: impl FnMut(Vec<FileKey>) -> F,
    ) -> Result<Swept, FileError>
    where
        F: Future<Output = Vec<FileKey>>,
    {
        let mut swept = Swept::default();
        let prefix = Self::of_tenant(tenant);
        let now = Utc::now();
        let mut pages = self
            .shared
            .store
            .list(Some(&prefix))
            .map_err(|error| FileError::store(&error))
            .try_chunks(BATCH);
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| error.1)?;
            swept.seen += page.len() as u64;
            let is_old = |meta: &object_store::ObjectMeta| {
                (now - meta.last_modified).to_std().is_ok_and(|age| age >= untouched_for)
            };
            let old: Vec<_> = page
                .iter()
                .filter(|meta| is_old(meta))
                // What is not ours is left alone.
                .filter_map(|meta| Some((FileKey::at(&meta.location)?, meta.size)))
                .filter(|(key, _)| !self.shared.under_way.holds(key))
                .collect();
            if old.is_empty() {
                continue;
            }
            for key in unnamed(old.iter().map(|(key, _)| key.clone()).collect()).await {
                let Some((key, size)) = old.iter().find(|(asked, _)| *asked == key) else {
                    continue;
                };
                match self.remove(key).await {
                    Ok(()) => {
                        tracing::info!(%key, size, "removed a file that nothing names");
                        swept.removed += 1;
                        swept.removed_bytes += size;
                    }
                    Err(error) => {
                        tracing::warn!(%key, %error, "a file that nothing names stays for now");
                        swept.failed += 1;
                    }
                }
            }
        }
        Ok(swept)
    }

    /// Removes what uploads left that a process did not live to end and that nothing was written to
    /// for so long; how many there were. A bucket does this itself, by a rule of its life cycle that
    /// ends incomplete multipart uploads.
    ///
    /// # Errors
    /// [`FileError::Folder`].
    pub async fn remove_broken_off(&self, untouched_for: Duration) -> Result<u64, FileError> {
        match &self.shared.kind {
            Kind::Folder(folder) => folder.remove_left(untouched_for).await,
            #[cfg(feature = "s3")]
            Kind::Bucket(_) => Ok(0),
        }
    }
}
