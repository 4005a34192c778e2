//! What is asked for, and the pages that answer.

use std::fmt;

use hedgerow_core::{CampaignStatus, FailureReason, Outcome, Settlement, TargetStatus};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::row::TargetEntry;
use super::standing::Standing;
use super::store::{RowKey, ViewError};

/// A place in a list: to be given back as it is for the page behind it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub(super) RowKey);

/// A text that is no place in a list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no place in a list: give the `next` of a page, as it was printed")]
#[non_exhaustive]
pub struct CursorError {
    /// What was given, cut after 64 characters.
    pub text: String,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The rows cannot be read.
    #[error(transparent)]
    Rows(#[from] ViewError),
    /// The place to begin behind is of another list.
    #[error("{cursor} is a place in another list: give the `next` of a page of the same question")]
    OtherList {
        /// The place.
        cursor: Cursor,
    },
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
    }
}

impl std::str::FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let refused = || CursorError { text: text.chars().take(64).collect() };
        if !text.len().is_multiple_of(2) || text.len() > 2_048 || !text.is_ascii() {
            return Err(refused());
        }
        let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
        bytes.collect::<Result<_, _>>().map(Self).map_err(|_| refused())
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// In which order campaigns are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CampaignOrder {
    /// Those that were created last come first.
    #[default]
    Newest,
    /// Those that were created first come first.
    Oldest,
    /// By their names, without regard to capital letters.
    Name,
}

/// Which campaigns are wanted; `None` lets everything pass. Read from outside, such as from a query in
/// a URL, a key that is not known is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CampaignQuery {
    /// Only those of this status.
    pub status: Option<CampaignStatus>,
    /// Only those that ended so.
    pub outcome: Option<Outcome>,
    /// Only those of the channel with this name.
    pub channel: Option<String>,
    /// Only those for devices of this System Model.
    pub system_model: Option<String>,
    /// Only those whose names begin so, without regard to capital letters. Sorted by name, they are
    /// found at once; in another order all others are passed over.
    pub name: Option<String>,
    /// Their order.
    pub order: CampaignOrder,
    /// Only those behind this place; the `next` of the page before.
    pub after: Option<Cursor>,
    /// At most so many; 0 stands for 50, and at most 1,000 are given at once.
    pub limit: usize,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Page<T> {
    /// What is on it.
    pub entries: Vec<T>,
    /// To be given as `after` for the page behind it; `None`: this is the last one. A page that is
    /// not full need not be the last: so much is looked at for one page, and no more.
    pub next: Option<Cursor>,
}

/// Which targets are wanted; `None` lets everything pass. Read from outside, a key that is not known
/// is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetQuery {
    /// Only those of this status.
    pub status: Option<TargetStatus>,
    /// Only those that failed for this reason.
    pub reason: Option<FailureReason>,
    /// Only those behind this place in the snapshot; the `next` of the page before.
    pub after: Option<u32>,
    /// At most so many; 0 stands for 50, and at most 1,000 are given at once.
    pub limit: usize,
}

impl TargetQuery {
    pub(super) fn wants(&self, standing: Standing) -> bool {
        standing.read().is_some_and(|(status, settlement)| {
            self.status.is_none_or(|wanted| status == wanted)
                && self.reason.is_none_or(|wanted| settlement == Settlement::Failed(wanted))
        })
    }
}

/// A page of targets, in the order of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TargetEntries {
    /// The targets.
    pub targets: Vec<TargetEntry>,
    /// To be given as `after` for the page behind it; `None`: this is the last one.
    pub next: Option<u32>,
}
