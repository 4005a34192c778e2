//! What `hedgerow archive`, `prune`, `import` and `backup` share: how long ago, what can go wrong, and a
//! file that is there as a whole or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Seek};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hedgerow_core::Timestamp;
use hedgerow_engine::archive::{ArchiveError, ArchiveIndex, PruneError, Run};
use hedgerow_engine::store::StoreError;
use hedgerow_sqlite::OpenError;
use uuid::Uuid;

/// How often a file is begun while others come and go under its first name.
const TRIES: u32 = 10;

#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Pruned(#[from] PruneError),
    #[error("{}: {source}", file.display())]
    Archive { file: PathBuf, source: ArchiveError },
    #[error("{} is there already: give another name, or move it away", file.display())]
    Exists { file: PathBuf },
    #[error("{} is being written by another process: let it end", file.display())]
    Busy { file: PathBuf },
    #[error("{} cannot be written ({source}): look at its folder and its disk", file.display())]
    Place { file: PathBuf, source: io::Error },
    #[error(
        "{} is whole, and could not be named {} ({source}): rename it", written_to.display(), file.display()
    )]
    Unnamed { file: PathBuf, written_to: PathBuf, source: io::Error },
    #[error("{} cannot be read ({source}): give the path of an archive", file.display())]
    Unopened { file: PathBuf, source: io::Error },
    #[error(
        "{} cannot be brought onto its disk ({source}), and nothing was removed: look at that disk, or copy it to another", file.display()
    )]
    Unkept { file: PathBuf, source: io::Error },
    #[error(
        "what ended less than two days ago may still change, as devices that come back can contradict it: give --older-than 2d or more, or --force"
    )]
    TooRecent,
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
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
    /// Whoever has its lock may take its first name away, and nobody else.
    pub(super) file: File,
    /// Nothing is to be removed any more: it is kept, or has its name alone.
    is_done: bool,
}

impl Draft {
    /// Begins a file that may be read by those who may read `store`.
    pub(super) fn begin(path: &Path, store: &Path) -> Result<Self, KeepError> {
        let written_to = beside(path, ".writing");
        for _ in 0..TRIES {
            // Also in later rounds: whoever wrote it may have come to the end.
            if fs::symlink_metadata(path).is_ok() {
                return Err(KeepError::Exists { file: path.to_owned() });
            }
            let file = Self::file(&written_to, store);
            let file = file.map_err(|source| KeepError::Place { file: path.to_owned(), source })?;
            if let Some(file) = file {
                let path = path.to_owned();
                return Ok(Self { path, written_to, file, is_done: false });
            }
        }
        Err(KeepError::Busy { file: path.to_owned() })
    }

    /// A new file with its lock. `None`: somebody else writes there, or has just ended.
    fn file(written_to: &Path, store: &Path) -> io::Result<Option<File>> {
        match OpenOptions::new().write(true).open(written_to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            // What is under that name may have its own name too: it is never written to.
            Ok(left) if is_taken(&left, written_to)? => discard(written_to)?,
            Ok(_) => return Ok(None),
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = match options.open(written_to) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
            file => file?,
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;

            let mode = fs::metadata(store)?.permissions().mode() & 0o777 | 0o600;
            // Where there are no permissions it keeps those that everything has there.
            drop(file.set_permissions(fs::Permissions::from_mode(mode)));
        }
        #[cfg(not(unix))]
        let _ = store;
        Ok(is_taken(&file, written_to)?.then_some(file))
    }

    /// Where it is written.
    pub(super) fn written_to(&self) -> &Path {
        &self.written_to
    }

    /// Forgets what was written.
    pub(super) fn begin_again(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        (&self.file).rewind()
    }

    /// Brings it onto the disk, and under its name; how many bytes it has.
    pub(super) fn finish(self) -> Result<u64, KeepError> {
        self.finish_by(|from, to| fs::hard_link(from, to))
    }

    fn finish_by(
        mut self,
        link: impl FnOnce(&Path, &Path) -> io::Result<()>,
    ) -> Result<u64, KeepError> {
        let failed = |source| KeepError::Place { file: self.path.clone(), source };
        self.file.sync_all().map_err(failed)?;
        let bytes = self.file.metadata().map_err(failed)?.len();
        // Unlike a rename, a link never takes the place of what came meanwhile. Not every file system
        // has links.
        if let Err(error) = link(&self.written_to, &self.path) {
            if error.kind() == ErrorKind::AlreadyExists || fs::symlink_metadata(&self.path).is_ok()
            {
                return Err(KeepError::Exists { file: self.path.clone() });
            }
            // From here on the first name may be another's.
            self.is_done = true;
            fs::rename(&self.written_to, &self.path).map_err(|source| KeepError::Unnamed {
                file: self.path.clone(),
                written_to: self.written_to.clone(),
                source,
            })?;
        }
        sync_folder(&self.path)
            .map_err(|source| KeepError::Place { file: self.path.clone(), source })?;
        Ok(bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_done {
            // The next one would remove it.
            drop(discard(&self.written_to));
        }
    }
}

/// Removes what was left of a file, and of what a database has beside it.
fn discard(written_to: &Path) -> io::Result<()> {
    for suffix in ["-journal", "-wal", "-shm", ""] {
        match fs::remove_file(beside(written_to, suffix)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Brings the name of a file onto the disk.
fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if cfg!(unix) { File::open(folder.unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}

/// Whether the lock of a file was taken while the file had that name.
fn is_taken(file: &File, path: &Path) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => is_named(file, path),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(unix)]
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        found => found?,
    };
    let file = file.metadata()?;
    Ok((file.dev(), file.ino()) == (found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn is_named(_: &File, path: &Path) -> io::Result<bool> {
    fs::exists(path)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// An archive that is to be read.
pub(super) fn opened(archive: &Path) -> io::Result<File> {
    let file = File::open(archive)?;
    if file.metadata()?.is_dir() { Err(ErrorKind::IsADirectory.into()) } else { Ok(file) }
}

/// Reads an archive through, and notes what it holds.
pub(super) fn add(index: &mut ArchiveIndex, archive: &Path) -> Result<File, KeepError> {
    let unopened = |source| KeepError::Unopened { file: archive.to_owned(), source };
    let file = opened(archive).map_err(unopened)?;
    index.add(&file).map_err(in_archive(archive))?;
    Ok(file)
}

/// Brings an archive that was read onto the disk, before it is the only one that has what it holds.
pub(super) fn keep(file: &File, archive: &Path) -> Result<(), KeepError> {
    let synced = match file.metadata() {
        // A pipe is on no disk.
        Ok(metadata) if !metadata.is_file() || !cfg!(unix) => return Ok(()),
        _ => file.sync_all().and_then(|()| sync_folder(archive)),
    };
    synced.map_err(|source| KeepError::Unkept { file: archive.to_owned(), source })
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

    fn begun(path: &Path) -> Result<Draft, KeepError> {
        Draft::begin(path, path.parent().expect("it has a folder"))
    }

    fn count(folder: &Path) -> usize {
        fs::read_dir(folder).expect("listed").count()
    }

    #[test]
    fn a_file_gets_its_name_as_a_whole_and_takes_nobodys_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let draft = begun(&path).expect("begun");
        assert!(matches!(begun(&path), Err(KeepError::Busy { .. })));
        assert!(!path.exists());
        drop(draft);
        assert_eq!(count(folder.path()), 0);
        let draft = begun(&path).expect("begun");
        fs::write(&path, "somebody else's").expect("written");
        assert!(matches!(draft.finish(), Err(KeepError::Exists { .. })));
        assert!(matches!(begun(&path), Err(KeepError::Exists { .. })));
        assert_eq!(fs::read_to_string(&path).expect("read"), "somebody else's");
        assert_eq!(count(folder.path()), 1);
    }

    #[test]
    fn a_file_is_named_also_where_there_are_no_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let refused = |_: &Path, _: &Path| Err(ErrorKind::Unsupported.into());
        let draft = begun(&path).expect("begun");
        fs::write(draft.written_to(), "whole").expect("written");
        assert_eq!(draft.finish_by(refused).expect("named"), 5);
        assert_eq!(fs::read_to_string(&path).expect("read"), "whole");
        assert_eq!(count(folder.path()), 1);
        fs::remove_file(&path).expect("removed");
        let draft = begun(&path).expect("begun");
        fs::write(&path, "somebody else's").expect("written");
        assert!(matches!(draft.finish_by(refused), Err(KeepError::Exists { .. })));
        assert_eq!(fs::read_to_string(&path).expect("read"), "somebody else's");
        assert_eq!(count(folder.path()), 1);
    }

    #[test]
    fn what_is_whole_and_cannot_be_named_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let draft = begun(&path).expect("begun");
        let elsewhere = folder.path().join("b");
        let taken = |from: &Path, _: &Path| {
            fs::rename(from, &elsewhere)?;
            Err(ErrorKind::Unsupported.into())
        };
        let error = draft.finish_by(taken).expect_err("it is not there any more");
        assert!(matches!(error, KeepError::Unnamed { .. }), "{error}");
        assert_eq!(count(folder.path()), 1);
    }

    #[test]
    fn whoever_waits_for_a_lock_of_what_got_its_name_meanwhile_does_not_touch_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let draft = begun(&path).expect("begun");
        let first = draft.written_to().to_owned();
        let opened = File::open(&first).expect("opened");
        fs::write(&first, "whole").expect("written");
        draft.finish().expect("named");
        assert!(!is_taken(&opened, &first).expect("looked at"));
        // Another process has begun the next one.
        fs::write(&first, "the next").expect("written");
        assert_eq!(is_taken(&opened, &first).expect("looked at"), cfg!(not(unix)));
    }
}
