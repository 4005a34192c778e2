//! Why a catalogue did not do what it was asked.

use hedgerow_core::event::EventError;
use hedgerow_engine::store::StoreError;

use crate::text::TextError;

/// Why a catalogue did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// The command was refused. Nothing was recorded.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed. Unless the error says otherwise what was asked may have been recorded all
    /// the same: look before asking again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others wrote to the catalogue again and again while this was decided. Nothing was recorded.
    #[error("others change the catalogue at this moment: try again")]
    Contended,
    /// An event of the catalogue cannot be read. Until then nothing is shown or recorded.
    #[error(transparent)]
    Event(#[from] EventError),
    /// An event of the catalogue cannot follow on those before it.
    #[error(
        "event {version} of the catalogue cannot follow on the events before it: {why}; restore the store from a backup, campaigns are not touched"
    )]
    Fold {
        /// The event's place in the stream.
        version: u64,
        /// What is impossible about it.
        why: &'static str,
    },
}

impl CatalogueError {
    /// The refusal, if the command was refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        if let Self::Refused(refusal) = self { Some(refusal) } else { None }
    }

    /// The fields of the input that it is about, in snake case; empty if it is about none.
    #[must_use]
    pub fn fields(&self) -> Vec<&'static str> {
        self.refusal().map(Refusal::field).into_iter().collect()
    }
}

/// Why a command was refused. Its text reads well behind the name of the [field](Refusal::field).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is nothing with that id.
    #[error("could not be found: there is no {what} {id}")]
    NotFound {
        /// The field.
        field: &'static str,
        /// What was looked for.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// Something is missing.
    #[error("is required: give at least one")]
    Required {
        /// The field.
        field: &'static str,
    },
    /// Something is not what it should be.
    #[error("is invalid: {detail}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong, and what to give.
        detail: String,
    },
    /// Another thing has it, and only one may.
    #[error("has already been taken: {value:?} belongs to {holder}, choose another one")]
    Taken {
        /// The field.
        field: &'static str,
        /// What was given.
        value: String,
        /// Who has it.
        holder: String,
    },
    /// A group is in another channel.
    #[error(
        "is already set for the device group {group:?}: take it out of the channel {channel:?} first"
    )]
    GroupInAnotherChannel {
        /// The name of the group.
        group: String,
        /// The name of its channel.
        channel: String,
    },
    /// A campaign that has not finished uses it.
    #[error(
        "is currently in use by the following running campaigns: {}; wait for them, or cancel them",
        campaigns.join(", ")
    )]
    InUse {
        /// The field.
        field: &'static str,
        /// The names of the campaigns, at most ten.
        campaigns: Vec<String>,
    },
    /// Something belongs to it.
    #[error("still has {what}: remove that first")]
    StillHas {
        /// The field.
        field: &'static str,
        /// What belongs to it.
        what: String,
    },
    /// There would be too many.
    #[error("would be too many: there may be {most}")]
    TooMany {
        /// The field.
        field: &'static str,
        /// How many there may be.
        most: usize,
    },
}

impl Refusal {
    /// The field of the input that it is about, in snake case, as the GraphQL API names it.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::NotFound { field, .. }
            | Self::Required { field }
            | Self::Invalid { field, .. }
            | Self::Taken { field, .. }
            | Self::InUse { field, .. }
            | Self::StillHas { field, .. }
            | Self::TooMany { field, .. } => field,
            Self::GroupInAnotherChannel { .. } => "channel_id",
        }
    }

    /// The code of the GraphQL API: `not_found`, `required` or `invalid_attribute`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Required { .. } => "required",
            _ => "invalid_attribute",
        }
    }

    pub(crate) fn text(field: &'static str, error: &TextError) -> Self {
        Self::Invalid { field, detail: error.to_string() }
    }
}
