//! Streams that leave a store, and come back: what a store is asked, and what it answers.
//!
//! A stream is removed as a whole, and only as it is in an archive. What stays is a [`Note`] in the
//! log, for whoever follows it, and the stream's id, which is never used again. What is imported is
//! put back with the times and checksums that it had. The archive itself is not the store's business.

pub mod conformance;
mod note;

use std::fmt;

use hedgerow_core::{Checksum, NewEvent, OperationId, StreamId, TenantId};

use super::StoreError;

pub(crate) use note::parse_checksum;
pub use note::{IMPORTED, Note, NoteKind, REMOVED};

/// A stream that is to be removed, if it is exactly as whoever asks has it elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRemoval {
    /// The tenant.
    pub tenant: TenantId,
    /// The stream.
    pub stream: StreamId,
    /// The version of its last event.
    pub version: u64,
    /// The checksum of that event.
    pub checksum: Option<Checksum>,
    /// What is put in its place, of [`Note::event`]. The store records it no earlier than what it has
    /// recorded so far.
    pub note: NewEvent,
}

/// Why a stream was not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotRemoved {
    /// There is no such stream, or it was removed before.
    #[error("it is not in the store")]
    Absent,
    /// It has gone on since.
    #[error("it has {actual} events, not {expected}: archive it again")]
    Changed {
        /// How many events it was to have.
        expected: u64,
        /// How many it has.
        actual: u64,
    },
    /// Its last event is another one, or one of those that have no checksum.
    #[error("its events are others than those in the archive: keep both, and find out why")]
    Differs,
    /// Something may still happen in it by itself.
    #[error("it has not ended")]
    Active,
    /// It has a device or a rollout still.
    #[error("it holds a claim: audit the store")]
    HoldsClaim,
}

/// A stream that is to be put into a store, whole.
pub struct StreamImport {
    /// The tenant.
    pub tenant: TenantId,
    /// The stream.
    pub stream: StreamId,
    /// How many events it has.
    pub version: u64,
    /// The checksum of the last of them.
    pub checksum: Option<Checksum>,
    /// What is put before them, of [`Note::event`], as in [`StreamRemoval::note`].
    pub note: NewEvent,
    /// The events, from the first one. The store takes them one by one, while it writes: a stream of
    /// millions is never in memory as a whole. An error ends it, and nothing is written.
    pub events: Box<dyn Iterator<Item = Result<ImportedEvent, String>> + Send>,
}

impl fmt::Debug for StreamImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamImport")
            .field("tenant", &self.tenant)
            .field("stream", &self.stream)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// An event that is put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedEvent {
    /// The event, with the time that it had.
    pub event: NewEvent,
    /// The checksum that it had; the store checks it.
    pub checksum: Option<Checksum>,
    /// The operation that started with it, for the index (E10).
    pub operation: Option<OperationId>,
}

/// Why a stream was not imported. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The store has all of it.
    #[error("it is in the store already")]
    Present,
    /// The store has another stream of that id, or removed another one.
    #[error(
        "the store has, or had, other events under the same id: import into another store, and compare"
    )]
    Differs,
    /// What was handed over is not the stream that it was said to be.
    #[error("its events do not fit: {detail}")]
    Damaged {
        /// What does not fit.
        detail: String,
    },
    /// The store failed. The stream may be there all the same.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be said of an import whose last event is there, with its checksum: [`ImportError::Present`],
/// if those events of which no checksum tells are there as well. `stored` looks up an event by its
/// version.
///
/// # Errors
/// That of `stored`.
pub fn there_already<E>(
    events: impl Iterator<Item = Result<ImportedEvent, String>>,
    mut stored: impl FnMut(u64) -> Result<Option<NewEvent>, E>,
) -> Result<ImportError, E> {
    for (version, event) in (1..).zip(events) {
        match event {
            Err(detail) => return Ok(ImportError::Damaged { detail }),
            // The checksums that follow are over this one, and none is over those before.
            Ok(ImportedEvent { checksum: Some(_), .. }) => break,
            Ok(ImportedEvent { event, .. }) => {
                if stored(version)? != Some(event) {
                    return Ok(ImportError::Differs);
                }
            }
        }
    }
    Ok(ImportError::Present)
}

/// What is wrong with an import of a stream that starts an operation of another one.
#[must_use]
pub fn taken(operation: OperationId, holder: StreamId) -> String {
    format!("operation {operation}, which they start, is one of {holder}")
}

/// What is wrong with events that end elsewhere than they were said to.
#[must_use]
pub fn other_end(reached: &super::checksum::Chain) -> String {
    format!("they end after event {}, and not with the last one that was named", reached.version())
}
