//! What `hedgerow archive`, `prune`, `import` and `backup` share: how long ago, what can go wrong, and a
//! file that is there as a whole or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hedgerow_core::Timestamp;
use hedgerow_engine::archive::{ArchiveError, Run};
use hedgerow_engine::store::StoreError;
use hedgerow_sqlite::OpenError;
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: {source}", file.display())]
    Archive { file: PathBuf, source: ArchiveError },
    #[error("{} is there already: give another name, or move it away", file.display())]
    Exists { file: PathBuf },
    #[error("{} is being written by another process: let it end", file.display())]
    Busy { file: PathBuf },
    #[error("{} cannot be written ({source}): look at its folder and its disk", file.display())]
    Place { file: PathBuf, source: std::io::Error },
    #[error(
        "what ended less than two days ago may still change, as devices that come back can contradict it: give --older-than 2d or more, or --force"
    )]
    TooRecent,
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

/// The exit status. `false`: it came to its end, and something was left out or refused.
pub(super) fn finish(result: Result<bool, KeepError>, otherwise: u8) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(otherwise),
        Err(error) => {
            eprintln!("error: {error}");
            let is_usage = matches!(error, KeepError::TooRecent | KeepError::Exists { .. });
            ExitCode::from(if is_usage { 2 } else { 3 })
        }
    }
}

pub(super) fn in_archive(file: &Path) -> impl Fn(ArchiveError) -> KeepError + '_ {
    |source| match source {
        ArchiveError::Store(error) => error.into(),
        source => KeepError::Archive { file: file.to_owned(), source },
    }
}

/// A length of time such as `90d`, `36h`, `10m` or `0s`.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is no length of time: give a number and d, h, m or s, as in 90d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// The wall clock's time.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::default() + since
}

/// So long ago.
pub(super) fn ago(now: Timestamp, age: Duration) -> Timestamp {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(age))
}

pub(super) fn run(at: Timestamp) -> Run {
    Run { at, id: Uuid::new_v4() }
}

/// A file that is being written under another name, and gets its own when it is whole and on the disk.
/// What is there already is never touched.
pub(super) struct Draft {
    path: PathBuf,
    written_to: PathBuf,
    pub(super) file: File,
}

impl Draft {
    pub(super) fn begin(path: &Path) -> Result<Self, KeepError> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(KeepError::Exists { file: path.to_owned() });
        }
        let mut draft = path.as_os_str().to_owned();
        draft.push(".writing");
        let draft = PathBuf::from(draft);
        let failed = |source| KeepError::Place { file: path.to_owned(), source };
        // What a process left that was killed is written anew.
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&draft)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(KeepError::Busy { file: path.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(failed)?;
        Ok(Self { path: path.to_owned(), written_to: draft, file })
    }

    /// Where it is written.
    pub(super) fn written_to(&self) -> &Path {
        &self.written_to
    }

    /// Brings it onto the disk, and under its name; how many bytes it has.
    pub(super) fn finish(self) -> Result<u64, KeepError> {
        let failed = |source| KeepError::Place { file: self.path.clone(), source };
        self.file.sync_all().map_err(failed)?;
        let bytes = self.file.metadata().map_err(failed)?.len();
        // Unlike a rename, a link never takes the place of what came meanwhile.
        fs::hard_link(&self.written_to, &self.path).map_err(|source| {
            if source.kind() == ErrorKind::AlreadyExists {
                KeepError::Exists { file: self.path.clone() }
            } else {
                failed(source)
            }
        })?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if cfg!(unix) {
            let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
            folder.sync_all().map_err(failed)?;
        }
        Ok(bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // The next one would write over it.
        drop(fs::remove_file(&self.written_to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_a_unit() {
        for (text, seconds) in [("90d", 7_776_000), ("36h", 129_600), ("10m", 600), ("0s", 0)] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "d", "90", "-1d", "1.5d", "90 d", "9é", "99999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_gets_its_name_as_a_whole_and_takes_nobodys_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let draft = Draft::begin(&path).expect("begun");
        assert!(matches!(Draft::begin(&path), Err(KeepError::Busy { .. })));
        assert!(!path.exists());
        drop(draft);
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0);
        let draft = Draft::begin(&path).expect("begun");
        fs::write(&path, "somebody else's").expect("written");
        assert!(matches!(draft.finish(), Err(KeepError::Exists { .. })));
        assert!(matches!(Draft::begin(&path), Err(KeepError::Exists { .. })));
        assert_eq!(fs::read_to_string(&path).expect("read"), "somebody else's");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }
}
