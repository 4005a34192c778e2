//! The read side: questions are answered from rows that follow the log, and wake no campaign.
//!
//! A [`Follower`] reads the log by position, folds each stream with the core's own fold, and writes
//! what changed as rows into a [`ViewStore`]; [`Views`] answers from them. Rows follow from the log
//! alone: they may be thrown away at any time, and are made anew when their form changes or when
//! they turn out to be of another log. Every page is one range of keys, however much there is beside
//! it.
//!
//! | File | What |
//! |---|---|
//! | `store`, `memory`, `layer`, `conformance` | the port, rows in memory, rows around rows, what every store of rows must do |
//! | `key` | how rows are named, and so in which order they lie |
//! | `row`, `kept` | what people are shown; what a row holds of a target |
//! | `standing` | how a million targets stand, in a few rows |
//! | `place` | which target a device is |
//! | `fold`, `update` | what changes in the rows of one campaign, of one manual update, event by event |
//! | `stream` | one stream, taken up where its rows are |
//! | `removal` | the rows of a stream that was removed |
//! | `hand` | the streams that are at hand |
//! | `follow` | the log, followed step by step |
//! | `question`, `ask` | the questions, and the answers |

mod ask;
pub mod conformance;
mod fold;
mod follow;
#[cfg(test)]
mod golden;
mod hand;
mod kept;
mod key;
mod layer;
#[cfg(test)]
mod looks;
mod memory;
mod place;
mod question;
mod removal;
mod row;
mod standing;
mod store;
mod stream;
mod update;

pub use ask::Views;
pub(crate) use follow::{FIRST_PAUSE, LONGEST_PAUSE};
pub use follow::{FollowError, Follower};
pub use layer::ViewLayer;
pub use memory::MemoryViews;
pub use question::{
    AskError, CampaignOrder, CampaignQuery, Cursor, CursorError, Page, TargetEntries, TargetQuery,
};
pub use row::{CampaignEntry, Failure, OperationEnd, OperationEntry, TargetDetails, TargetEntry};
pub use store::{Direction, Reached, Row, RowKey, Step, StepError, ViewError, ViewStore};
