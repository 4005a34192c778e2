//! Why something could not be done with the files of base images.

use std::error::Error;
use std::path::PathBuf;

use super::FileKey;

/// Why something could not be done with the files of base images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// URLs of files cannot begin with that.
    #[error(
        "{text:?} cannot be what the URLs of images begin with: give an http or https URL without a query, such as https://updates.example/images, of at most 2000 bytes"
    )]
    BaseUrl {
        /// What was given, without its query, cut after 200 characters.
        text: String,
    },
    /// The folder cannot be used.
    #[error(
        "the folder {} cannot be used for images ({detail}): let this user read and write it", path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// The settings of a bucket cannot be used.
    #[error("the bucket for images cannot be used as it is set: {detail}")]
    Bucket {
        /// What is wrong.
        detail: String,
    },
    /// A tenant whose name is a place of its own.
    #[error("files cannot be kept for a tenant that is called {tenant:?}: give it another name")]
    Tenant {
        /// The tenant.
        tenant: String,
    },
    /// An upload has more bytes than a file may have. Nothing of it was kept.
    #[error("the file is larger than the {largest_bytes} bytes that an image may have")]
    TooLarge {
        /// The most that is taken.
        largest_bytes: u64,
    },
    /// An upload had no bytes at all.
    #[error("the file is empty: an image has at least one byte")]
    Empty,
    /// What was being uploaded broke off. Nothing of it was kept.
    #[error("the upload broke off ({detail}): send it again")]
    BrokeOff {
        /// What was said.
        detail: String,
    },
    /// There is no such file.
    #[error("there is no file {key} in the image store")]
    Missing {
        /// The file.
        key: FileKey,
    },
    /// A part of a file was asked for that it does not have.
    #[error("the file has {size_bytes} bytes: the range that was asked for lies outside")]
    Range {
        /// How many it has.
        size_bytes: u64,
    },
    /// The store failed; it may do what was asked of it when it is asked again.
    #[error("the image store failed: {detail}")]
    Store {
        /// What it said, cut after 400 characters.
        detail: String,
    },
}

impl FileError {
    /// Whether the same may succeed when it is tried again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Store { .. } | Self::BrokeOff { .. })
    }

    /// What the store said of a file.
    pub(super) fn of(error: object_store::Error, key: &FileKey) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Missing { key: key.clone() },
            error => Self::store(&error),
        }
    }

    /// What the store said, with its causes, which its own text leaves out in part.
    pub(super) fn store(error: &dyn Error) -> Self {
        let mut detail = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !detail.contains(&text) {
                detail.push_str(": ");
                detail.push_str(&text);
            }
            cause = inner.source();
        }
        Self::Store { detail: detail.chars().take(400).collect() }
    }
}
