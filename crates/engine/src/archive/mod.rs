//! Archives: streams that have ended, in a file beside the store, so that the store may forget them.
//!
//! An archive is gzip-compressed text, a JSON object a line: a head, and then for each stream a line
//! about it and a line for each of its events, exactly as they are stored; last comes a line with
//! counts and the SHA-256 of everything before it. What is cut off, changed or damaged is noticed:
//! by that, by the checksum of each event (E14), and by gzip's own. `zcat` and `jq` read it:
//!
//! ```text
//! {"hedgerow_archive":1,"written_at":"2026-11-30T12:00:00.000Z"}
//! {"stream":"campaign/5f0c…","tenant":"hedge","name":"spring","events":2,"checksum":"ab…","began_at":1700…,"ended_at":1700…}
//! {"version":1,"type":"campaign_created","schema":3,"recorded_at":1700…,"correlation_id":"…","causation_id":"…","checksum":"cd…","data":{…}}
//! {"version":2,…}
//! {"end":{"streams":1,"events":2,"sha256":"…"}}
//! ```
//!
//! Times are milliseconds since the Unix epoch, as in events. Data that is no JSON of one line is kept as
//! hexadecimal `bytes`.
//!
//! [`archive`] writes one, [`ArchiveIndex`] checks one and knows what is in it, [`prune`] removes from
//! a store what is in it, and [`import`] puts it back. All of them may be killed and called again.
//! Reading and writing the file blocks: call them where that may be.
//!
//! ```
//! use hedgerow_core::Timestamp;
//! use hedgerow_engine::archive::{ArchiveIndex, ArchiveSelection, archive, import, prune, Run};
//! use hedgerow_engine::store::memory::MemoryStore;
//!
//! # futures::executor::block_on(async {
//! let store = MemoryStore::new();
//! let mut file = Vec::new();
//! archive(&store, &mut file, &ArchiveSelection::default(), Timestamp::default(), &mut |_| {}).await?;
//!
//! let mut index = ArchiveIndex::default();
//! index.add(&file[..])?;
//! let run = Run { at: Timestamp::default(), id: uuid::Uuid::from_u128(1) };
//! let pruned = prune(&store, &index, Timestamp::default(), run, &mut |_| {}).await?;
//! assert_eq!(pruned.removed, 0);
//!
//! let archive = Box::new(std::io::Cursor::new(file));
//! let imported = import(&store, &index, archive, run, &mut |_| {}).await?;
//! assert_eq!(imported.imported, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod import;
mod line;
mod prune;
mod read;
mod seen;
mod write;

#[cfg(test)]
mod tests;

use hedgerow_core::{Checksum, DeviceId, StreamId, TenantId, Timestamp};
use uuid::Uuid;

use crate::store::StoreError;

pub use import::{Imported, import};
pub use prune::{ArchiveIndex, Kept, PruneError, Pruned, prune};
pub use read::ArchiveReader;
pub use write::{ArchiveSelection, Archived, LeftOut, archive};

/// The newest form of archives that this version reads and writes.
pub const FORMAT: u32 = 1;

/// What an archive says of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedStream {
    /// The tenant.
    pub tenant: TenantId,
    /// The stream.
    pub stream: StreamId,
    /// The name of a campaign, the request id of a manual update.
    pub name: Option<String>,
    /// The device of a manual update.
    pub device: Option<DeviceId>,
    /// How many events it has.
    pub events: u64,
    /// The checksum of the last one.
    pub checksum: Option<Checksum>,
    /// When its first event was recorded.
    pub began_at: Timestamp,
    /// When its last event was recorded.
    pub ended_at: Timestamp,
}

/// One call that changes a store: what its notes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// When it is.
    pub at: Timestamp,
    /// An id that no other has.
    pub id: Uuid,
}

/// Why an archive was not read or written to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It is something else.
    #[error("it is not an archive of Hedgerow: give a file that `hedgerow archive` wrote")]
    Foreign,
    /// A newer version wrote it.
    #[error(
        "it is an archive of form {found}, this version reads up to {FORMAT}: use the version of Hedgerow that wrote it"
    )]
    Newer {
        /// Its form.
        found: u64,
    },
    /// It ends before its end.
    #[error(
        "the archive ends after line {line}, before its end: it was cut off, or is still being written; use a whole copy"
    )]
    Cut {
        /// How many lines there are.
        line: u64,
    },
    /// A line has no end.
    #[error(
        "line {line} of the archive has more than {most} bytes: it is damaged; use another copy"
    )]
    TooLong {
        /// The line.
        line: u64,
        /// How many bytes a line may have.
        most: usize,
    },
    /// Something stands behind it.
    #[error(
        "something stands behind the end of the archive, such as another archive: give each as a file of its own"
    )]
    Joined,
    /// A line is not what should stand there.
    #[error("line {line} of the archive is damaged ({detail}): use another copy")]
    Damaged {
        /// The line.
        line: u64,
        /// What is wrong.
        detail: String,
    },
    /// It has a stream that the index of what is imported does not have.
    #[error(
        "the archive has {stream}, and had not when it was checked: let whoever writes it end, and call it again"
    )]
    NotIndexed {
        /// The stream.
        stream: StreamId,
    },
    /// The system failed.
    #[error(
        "the archive cannot be read after line {line} ({detail}): look at its disk, or use another copy"
    )]
    Read {
        /// The last line that was read.
        line: u64,
        /// What the system said.
        detail: String,
    },
    /// The system failed.
    #[error("the archive cannot be written ({detail}): look at the disk")]
    Write {
        /// What the system said.
        detail: String,
    },
    /// A stream was removed from the store while it was written.
    #[error("{stream} was removed from the store while it was archived: archive again")]
    Removed {
        /// The stream.
        stream: StreamId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
