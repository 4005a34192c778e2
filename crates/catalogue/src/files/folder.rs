//! A folder as an image store: what it takes beside `object_store`'s own work so that a file that
//! was acknowledged is still there after the machine lost its power, and so that nothing of uploads
//! that broke off stays behind.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use object_store::local::LocalFileSystem;

use super::{FileError, FileKey};

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Makes the folder unless it exists.
    pub(super) fn open(path: &Path) -> Result<(Self, LocalFileSystem), FileError> {
        let refused = |error: &dyn std::fmt::Display| FileError::Folder {
            path: path.to_owned(),
            detail: error.to_string(),
        };
        std::fs::create_dir_all(path).map_err(|error| refused(&error))?;
        let root = std::fs::canonicalize(path).map_err(|error| refused(&error))?;
        try_it(&root).map_err(|error| refused(&error))?;
        let store = LocalFileSystem::new_with_prefix(&root).map_err(|error| refused(&error))?;
        Ok((Self { root }, store.with_automatic_cleanup(true)))
    }

    /// Whether it can be written to now.
    pub(super) async fn check(&self) -> Result<(), FileError> {
        let root = self.root.clone();
        self.blocking(move || try_it(&root)).await
    }

    /// Makes a file durable that was just written, and the names that lead to it.
    pub(super) async fn sync(&self, key: &FileKey) -> Result<(), FileError> {
        let path = self.root.join(key.path().as_ref());
        let root = self.root.clone();
        self.blocking(move || {
            File::open(&path)?.sync_all()?;
            // Where a folder cannot be opened, as on Windows, its entries are durable with it.
            if cfg!(unix) {
                for folder in path.ancestors().skip(1).take_while(|at| at.starts_with(&root)) {
                    File::open(folder)?.sync_all()?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Removes what uploads left that a process did not live to end, once nothing was written to it
    /// for so long; how many there were.
    pub(super) async fn remove_left(&self, untouched_for: Duration) -> Result<u64, FileError> {
        let root = self.root.clone();
        self.blocking(move || remove_left(&root, 0, untouched_for)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, FileError> {
        let refused = |detail: String| FileError::Folder { path: self.root.clone(), detail };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done.map_err(|error| refused(error.to_string())),
            Err(error) => Err(refused(error.to_string())),
        }
    }
}

/// Writes something there and takes it away again.
fn try_it(root: &Path) -> io::Result<()> {
    let probe = root.join(format!(".writable-{}", uuid::Uuid::new_v4()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
}

/// Whether `object_store` writes to a file of that name while it is uploaded: `name#1`.
fn is_under_way(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn remove_left(folder: &Path, depth: usize, untouched_for: Duration) -> io::Result<u64> {
    /// Tenant, UUID, and the file.
    const DEEPEST: usize = 2;
    let mut removed = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && depth < DEEPEST {
            removed += remove_left(&entry.path(), depth + 1, untouched_for)?;
        } else if kind.is_file() && is_under_way(&entry.file_name().to_string_lossy()) {
            let touched = entry.metadata()?.modified()?;
            let age = SystemTime::now().duration_since(touched).unwrap_or_default();
            if age >= untouched_for {
                std::fs::remove_file(entry.path())?;
                // Its own folder goes with it, if nothing else is in it.
                let _ = std::fs::remove_dir(folder);
                removed += 1;
            }
        }
    }
    Ok(removed)
}
