//! The port of the read side: rows in the order of their keys, beside the log.
//!
//! What is kept here follows from the log and nothing else, so it may be thrown away at any time and
//! made anew. A store of rows knows how far in the log its rows are made, and moves on only from
//! there: two that follow the log into one store cannot undo each other's work.
//! Every implementation runs the suite in [`conformance`](super::conformance).

use std::ops::Range;

use hedgerow_core::{Checksum, StoredEvent};

use crate::ports::BoxFuture;

/// The key of a row. Rows are in the order of the bytes of their keys.
pub type RowKey = Vec<u8>;

/// A row: its key and what it holds.
pub type Row = (RowKey, Vec<u8>);

/// How far the rows are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The form of keys and rows; those of another form are made anew.
    pub format: u32,
    /// Every event up to this position is in the rows, and none beyond it.
    pub position: u64,
    /// The checksum of the event at that position: with another event there, it is another log.
    pub checksum: Option<Checksum>,
}

impl Reached {
    /// As far as that event.
    #[must_use]
    pub fn event(format: u32, event: &StoredEvent) -> Self {
        Self { format, position: event.position, checksum: event.checksum }
    }
}

/// One step along the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How far the rows must be made for this to follow; `None`: there are none yet.
    pub from: Option<Reached>,
    /// How far they are made with this.
    pub to: Reached,
    /// Rows by key, each in place of the one that was there; `None` removes it. A key occurs once.
    pub rows: Vec<(RowKey, Option<Vec<u8>>)>,
}

/// Rows that cannot do what they were asked. What they hold follows from the log: no event is lost
/// with them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// They failed, and may work again later.
    #[error("the rows that questions are answered from failed: {detail}")]
    Unavailable {
        /// What was said, and what can be done.
        detail: String,
    },
    /// There is no room for more of them.
    #[error(
        "there is no room for the rows that questions are answered from: {detail}; free some space"
    )]
    Full {
        /// What was said.
        detail: String,
    },
    /// They may only be read.
    #[error("the rows that questions are answered from can only be read: {detail}")]
    ReadOnly {
        /// What was said.
        detail: String,
    },
    /// They are damaged.
    #[error(
        "the rows that questions are answered from are damaged: {detail}; throw them away (`hedgerow views FILE --rebuild`), they are made anew from the log"
    )]
    Damaged {
        /// What is damaged.
        detail: String,
    },
    /// They were closed.
    #[error("the rows that questions are answered from are closed: open them again")]
    Closed,
}

/// Why a step changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// Somebody else moved the rows on, or threw them away: look how far they are, and go on there.
    #[error(
        "the rows are made as far as {reached:?}, not {expected:?}: somebody else makes them too; go on from there"
    )]
    Moved {
        /// Where the step was to begin.
        expected: Option<Reached>,
        /// How far they are.
        reached: Option<Reached>,
    },
    /// The rows failed. The step may have been written all the same.
    #[error(transparent)]
    Rows(#[from] ViewError),
}

/// In which order rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the lowest key of the range.
    Forwards,
    /// From the highest key of the range.
    Backwards,
}

/// A store of rows. See the module's documentation.
pub trait ViewStore: Send + Sync + 'static {
    /// How far the rows are made; `None`: there are none.
    fn reached(&self) -> BoxFuture<'_, Result<Option<Reached>, ViewError>>;

    /// Writes a step as a whole, or nothing of it. Not necessarily durable when it returns: after a
    /// crash the rows may be those of an earlier step, but never those of half a step.
    ///
    /// # Errors
    /// [`StepError::Moved`] if the rows are not made exactly as far as the step begins.
    fn write(&self, step: Step) -> BoxFuture<'_, Result<(), StepError>>;

    /// What the rows of these keys hold, in their order; `None` where there is no row.
    fn get(&self, keys: Vec<RowKey>) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ViewError>>;

    /// At most `limit` rows of a range of keys (its end is not in it), in that direction. Costs what
    /// it gives, however many rows there are.
    fn scan(
        &self,
        range: Range<RowKey>,
        direction: Direction,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, ViewError>>;

    /// Throws all rows away, if they are made exactly so far.
    ///
    /// # Errors
    /// [`StepError::Moved`] if they are not.
    fn clear(&self, from: Option<Reached>) -> BoxFuture<'_, Result<(), StepError>>;
}
