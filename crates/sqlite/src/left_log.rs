//! Whether what lies beside a file is its own: SQLite believes any write-ahead log of the right name,
//! also that of a file that was removed or replaced, and folds it into whatever it finds.
//!
//! So each file has a mark, in a table of one row, and every commit writes it anew: who runs on the
//! file (another number each time it is opened to write) and how many commits there were. When a file
//! is opened to write, its log is folded in and the mark is written in a commit of its own, which
//! is folded in before anything else is written, unless somebody reads or writes meanwhile. A log belongs to
//! the file if its commits follow each other, whoever made them, and either the first one follows on
//! the file or the file ends with one of them; any other does not, such as one of a file that was
//! removed, of another store, or of a time before a backup was put back.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::OpenError;
use crate::open::{beside, immutable};

/// Begins every mark, so that it is found in a page.
const MAGIC: [u8; 16] = *b"Hedgerow's mark\x01";
const LENGTH: usize = 56;
/// How often file and log are compared while a writer may be folding one into the other.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// The mark of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    /// Who ran on the file before; only in the commit that begins a session is it looked at.
    previous: [u8; 16],
    /// Who runs on the file now.
    session: [u8; 16],
    /// How many commits there were.
    commits: u64,
}

impl Mark {
    fn next(self) -> Self {
        Self { commits: self.commits.wrapping_add(1), ..self }
    }

    /// Whether it is the mark of the commit right behind that with the mark `before`: by who ran then, or
    /// by who began after that.
    fn follows(&self, before: &Self) -> bool {
        let begins = self.previous == before.session;
        self.commits == before.commits.wrapping_add(1) && (self.session == before.session || begins)
    }

    /// Whether it is that of the same commit.
    fn is(&self, other: &Self) -> bool {
        (self.session, self.commits) == (other.session, other.commits)
    }

    fn bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..16].copy_from_slice(&MAGIC);
        bytes[16..32].copy_from_slice(&self.previous);
        bytes[32..48].copy_from_slice(&self.session);
        bytes[48..].copy_from_slice(&self.commits.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<16>()?;
        let (previous, rest) = rest.split_first_chunk()?;
        let (session, rest) = rest.split_first_chunk()?;
        let (commits, _) = rest.split_first_chunk()?;
        let commits = u64::from_be_bytes(*commits);
        (*magic == MAGIC).then_some(Self { previous: *previous, session: *session, commits })
    }

    /// The mark in a page of a log.
    fn in_page(page: &[u8]) -> Option<Self> {
        let at = page.windows(MAGIC.len()).position(|window| window == MAGIC)?;
        Self::read(&page[at..])
    }

    /// Writes the mark in a transaction.
    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let changed = connection
            .prepare_cached("UPDATE session SET mark = ?1 WHERE id = 1")?
            .execute(params![self.bytes()])?;
        if changed == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
    }
}

/// Marks a commit: part of every transaction that writes. It goes on from what stands in the file, not
/// from what this writer knows: where somebody removed the lock, there are two.
pub(crate) fn mark(transaction: &Connection) -> rusqlite::Result<()> {
    let found = transaction
        .prepare_cached("SELECT mark FROM session WHERE id = 1")?
        .query_row([], |row| row.get::<_, Vec<u8>>(0))?;
    let found = Mark::read(&found).ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    found.next().write(transaction)
}

/// Begins to run on a file: `migrate` and the new mark are one commit.
pub(crate) fn begin_session(
    connection: &mut Connection,
    migrate: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    migrate(&transaction)?;
    let found = transaction
        .query_row("SELECT mark FROM session WHERE id = 1", [], |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    let found = if let Some(bytes) = &found {
        Mark::read(bytes).ok_or(rusqlite::Error::QueryReturnedNoRows)?
    } else {
        let first = Mark::default().bytes();
        transaction.execute("INSERT INTO session (id, mark) VALUES (1, ?1)", [first])?;
        Mark::default()
    };
    let session = transaction.query_row("SELECT randomblob(16)", [], |row| row.get(0))?;
    Mark { previous: found.session, session, ..found.next() }.write(&transaction)?;
    transaction.commit()
}

/// Folds the log in and leaves it empty. `false`: somebody else reads, so that it cannot be emptied.
pub(crate) fn fold_in(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get(0).map(|busy: i64| busy == 0)
    })
}

/// Whether something lies beside a file that does not exist, or is empty: it never was the file's.
pub(crate) fn of_no_file(path: &Path) -> Result<(), OpenError> {
    let log = beside(path, "-wal");
    match std::fs::metadata(&log) {
        Ok(found) if found.len() > 0 => Err(OpenError::LeftLog { path: path.to_owned(), log }),
        _ => Ok(()),
    }
}

/// Refuses what lies beside a store's file and is not its own. Also right while a writer runs.
pub(crate) fn of_file(path: &Path) -> Result<(), OpenError> {
    let journal = beside(path, "-journal");
    if is_journal(&journal) {
        // A store never has one under its own name.
        return Err(OpenError::LeftLog { path: path.to_owned(), log: journal });
    }
    let log = beside(path, "-wal");
    if std::fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        of_log(path, &log)
    } else {
        Ok(())
    }
}

fn of_log(path: &Path, log: &Path) -> Result<(), OpenError> {
    let mut tried = 0;
    loop {
        let error = match compared(path, log) {
            Ok(true) => return Ok(()),
            Ok(false) => OpenError::LeftLog { path: path.to_owned(), log: log.to_owned() },
            Err(error) => error,
        };
        tried += 1;
        if tried == TRIES {
            return Err(error);
        }
        // A writer may be folding it in.
        std::thread::sleep(PAUSE);
    }
}

/// Whether a log goes on from the file.
fn compared(path: &Path, log: &Path) -> Result<bool, OpenError> {
    let (mark, page) = mark_in_file(path).map_err(|error| OpenError::of_sqlite(path, &error))?;
    match commits(log, mark, page) {
        Ok(commits) => Ok(commits.is_none_or(|commits| commits.follow_on(mark))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(OpenError::of_system(log, &error)),
    }
}

/// Whether there is a journal that SQLite would play back into the file.
fn is_journal(path: &Path) -> bool {
    const BEGINS: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let mut begins = [0; 8];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut begins));
    read.is_ok() && begins == BEGINS
}

/// The mark that stands in the file itself, without its log, and the page that it is on; none in a
/// file of the first schema.
fn mark_in_file(path: &Path) -> rusqlite::Result<(Option<Mark>, Option<u32>)> {
    let connection = immutable(path)?;
    // As in [`look_at`](crate::open::look_at).
    connection.pragma_update(None, "writable_schema", "ON")?;
    let page = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'session'", [], |row| {
            row.get(0)
        })
        .optional()?;
    if page.is_none() {
        return Ok((None, None));
    }
    let bytes: Vec<u8> =
        connection.query_row("SELECT mark FROM session WHERE id = 1", [], |row| row.get(0))?;
    let mark = Mark::read(&bytes).ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok((Some(mark), page))
}

/// What a log holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Commits {
    count: u64,
    /// The last mark so far.
    last: Option<Mark>,
    /// Whether the first mark follows on that of the file, or one of them is the same.
    reaches_file: bool,
    /// Whether a mark does not follow on the one before it.
    is_broken: bool,
}

impl Commits {
    /// Whether they go on from a file with this mark.
    fn follow_on(&self, file: Option<Mark>) -> bool {
        if self.last.is_none() {
            // A log of the first schema, which had no marks.
            return file.is_none();
        }
        self.reaches_file && !self.is_broken
    }

    /// Adds the mark of the next commit. `file`: that of the file.
    fn add(&mut self, mark: Mark, file: &Mark) {
        match &self.last {
            None => self.reaches_file = mark.follows(file),
            Some(last) => self.is_broken |= !mark.follows(last),
        }
        self.reaches_file |= mark.is(file);
        self.last = Some(mark);
    }
}

/// What SQLite would take from a log: whole commits whose frames have the salt of its header and
/// the right sums. `None`: nothing. `of_file`: the mark of the file, and `page`: where it is.
fn commits(
    log: &Path,
    of_file: Option<Mark>,
    page: Option<u32>,
) -> std::io::Result<Option<Commits>> {
    let of_file = of_file.unwrap_or_default();
    let mut file = BufReader::with_capacity(1 << 18, File::open(log)?);
    let mut header = [0; 32];
    if !filled(&mut file, &mut header)? {
        return Ok(None);
    }
    let magic = number(&header, 0);
    if magic & !1 != 0x377f_0682 {
        return Ok(None);
    }
    let mut sum = Sum { first: 0, second: 0, big_endian: magic & 1 == 1 };
    sum.add(&header[..24]);
    let size = number(&header, 8);
    let whole = sum.is(&header[24..]) && size.is_power_of_two() && (512..=65_536).contains(&size);
    if !whole {
        return Ok(None);
    }
    let mut contents = vec![0; size as usize];
    let mut frame = [0; 24];
    let (mut found, mut pending) = (Commits::default(), None);
    while filled(&mut file, &mut frame)? && filled(&mut file, &mut contents)? {
        sum.add(&frame[..8]);
        sum.add(&contents);
        if frame[8..16] != header[16..24] || !sum.is(&frame[16..]) {
            break;
        }
        if page.is_none_or(|page| page == number(&frame, 0)) {
            pending = Mark::in_page(&contents).or(pending);
        }
        if number(&frame, 4) != 0 {
            found.count += 1;
            if let Some(mark) = pending.take() {
                found.add(mark, &of_file);
            }
        }
    }
    Ok((found.count > 0).then_some(found))
}

/// Fills `bytes`. `false`: the file ends before.
fn filled(file: &mut impl Read, bytes: &mut [u8]) -> std::io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The running sum of a log, as SQLite's file format has it.
struct Sum {
    first: u32,
    second: u32,
    big_endian: bool,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let word = |bytes: &[u8; 4]| {
            if self.big_endian { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) }
        };
        let (mut first, mut second) = (self.first, self.second);
        let (words, _) = bytes.as_chunks::<4>();
        for pair in words.chunks_exact(2) {
            first = first.wrapping_add(word(&pair[0])).wrapping_add(second);
            second = second.wrapping_add(word(&pair[1])).wrapping_add(first);
        }
        (self.first, self.second) = (first, second);
    }

    fn is(&self, bytes: &[u8]) -> bool {
        self.first == number(bytes, 0) && self.second == number(bytes, 4)
    }
}
