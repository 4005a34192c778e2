//! The files that a configuration names: where they are, and what is in them.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Files with keys, tokens, certificates and secrets are small.
const LARGEST_FILE: u64 = 256 * 1024;

/// Where the files are that a configuration names.
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Beside that file, unless they say otherwise.
    pub(crate) fn beside(file: &Path) -> Self {
        Self { folder: file.parent().unwrap_or(Path::new("")).to_owned() }
    }

    /// Where that is.
    pub(crate) fn place(&self, path: &Path) -> PathBuf {
        let path = self.folder.join(path);
        // A bare name has an empty folder, which nothing is found in.
        std::path::absolute(&path).unwrap_or(path)
    }

    /// What is in that file, or what to do about it.
    pub(crate) fn text(&self, path: &Path) -> Result<String, String> {
        read_text(&self.place(path), LARGEST_FILE)
    }
}

/// What is in a file, or what to do about it.
pub(crate) fn read_text(path: &Path, largest: u64) -> Result<String, String> {
    let shown = path.display();
    let unread = |error: std::io::Error| {
        format!("{shown} cannot be read ({error}): look at the path and its permissions")
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unread)?;
    file.take(largest + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > largest {
        return Err(format!("{shown} is larger than such a file can be: is it the right one?"));
    }
    String::from_utf8(bytes)
        .map_err(|_| format!("{shown} is not text: give keys and certificates in PEM, not in DER"))
}

/// Whether a file can be written that may be there already, and others beside it. What is in it stays
/// as it is.
pub(crate) fn check_writable(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let refused = |error: std::io::Error| {
        format!("{shown} cannot be written ({error}): let this user write it, and its folder")
    };
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(format!("{shown} is a folder: name a file")),
        Ok(_) => drop(OpenOptions::new().write(true).open(path).map_err(refused)?),
        Err(_) => {}
    }
    let beside = PathBuf::from(format!("{shown}.{}.probe", std::process::id()));
    File::create_new(&beside).and_then(|_| fs::remove_file(&beside)).map_err(refused)
}
