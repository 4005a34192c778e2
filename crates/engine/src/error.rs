//! Why the engine did not do what it was asked.

use hedgerow_core::{
    ApplyError, CampaignId, CreateError, DeviceId, ManualRejection, OperationId, Rejection,
    StreamId, event::EventError,
};

use crate::store::StoreError;
use crate::view::AskError;

/// Why the engine did not do what it was asked. Nothing was recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The campaign refused.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The manual update refused.
    #[error(transparent)]
    ManualRejected(#[from] ManualRejection),
    /// The campaign was not created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// There is a campaign of that id, or there was one that was removed.
    #[error("there is a campaign {campaign} already: give the new one another id")]
    CampaignExists {
        /// Its id.
        campaign: CampaignId,
    },
    /// There is no such stream in this tenant.
    #[error("there is no {stream} in this tenant: look at the id and the tenant")]
    UnknownStream {
        /// What was asked for.
        stream: StreamId,
    },
    /// It was archived and removed. Whatever is told of it comes too late.
    #[error("{stream} was archived and removed: import its archive to look at it")]
    Removed {
        /// What was asked for.
        stream: StreamId,
    },
    /// A report names an operation that nobody started, or one that was removed with its campaign
    /// (D11).
    #[error("operation {operation} of device {device} is unknown: the report is refused")]
    UnknownOperation {
        /// The device that reported.
        device: DeviceId,
        /// The operation.
        operation: OperationId,
    },
    /// An older campaign for the same System Model and channel runs, and it is not to be
    /// superseded (D18).
    #[error(
        "campaign {holder} runs for the same system model and channel: wait for it, cancel it, or allow it to be superseded"
    )]
    RolloutTaken {
        /// The older campaign.
        holder: StreamId,
    },
    /// Another operation is active on the device (D14).
    #[error(
        "device {device} is busy with the operation of {holder}: wait for its end or cancel it"
    )]
    DeviceBusy {
        /// The device.
        device: DeviceId,
        /// The stream whose operation it is.
        holder: StreamId,
    },
    /// A request id was used for another manual update (D20).
    #[error(
        "the request id of manual update {id} was used for another device, image or limits: give this one an id of its own"
    )]
    RequestIdTaken {
        /// The operation of the earlier one.
        id: OperationId,
    },
    /// The stream cannot be read; others go on (D21).
    #[error("{stream} is out of service: {cause}")]
    Quarantined {
        /// The stream.
        stream: StreamId,
        /// Why.
        cause: Box<LoadError>,
    },
    /// It is being loaded. Try again in a moment.
    #[error("{stream} is still being loaded: try again in a moment")]
    NotReady {
        /// The stream.
        stream: StreamId,
    },
    /// More waits to be decided than may: whoever tells is faster than the store records.
    #[error("the engine has more to do than it can keep: send it again in a moment")]
    Busy,
    /// As many campaigns and manual updates are being loaded or begun as may be at once: callers are
    /// faster than the store.
    #[error(
        "{most} campaigns and manual updates are being loaded or begun already: try again in a moment"
    )]
    TooManyOpening {
        /// How many may be.
        most: usize,
    },
    /// As many subscriptions are open as may be.
    #[error(
        "there are {most} subscriptions already: drop one, or let the engine be built with more"
    )]
    TooManySubscribers {
        /// How many may be.
        most: usize,
    },
    /// A subscription is to begin behind a position that the log does not have yet: it is of another
    /// log, such as of one from before a backup was restored.
    #[error(
        "position {position} is behind the end of the log, {end}, so it is of another one: begin anew, with Position::Start or Position::Now"
    )]
    BehindTheLog {
        /// The position.
        position: u64,
        /// Where the log ends.
        end: u64,
    },
    /// Its log cannot be read to its end (D21).
    #[error(
        "{stream} cannot be read to its end: {detail}; Engine::campaign shows how it stood before that"
    )]
    Unreadable {
        /// The stream.
        stream: StreamId,
        /// What is wrong with it, and what can be done.
        detail: String,
    },
    /// There is nothing that lists and pages could be answered from.
    #[error(
        "this engine was put together without rows, which questions are answered from: give EngineBuilder::views a place for them"
    )]
    NoRows,
    /// The rows cannot be read, or the question was not one.
    #[error(transparent)]
    Rows(#[from] AskError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine was asked to stop.
    #[error("the engine is shutting down: try again after its restart")]
    ShuttingDown,
}

impl EngineError {
    /// Whether the same call may succeed later without anybody changing it. The sender of a report
    /// that is answered so must send it again (E8, E10).
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Quarantined { .. }
                | Self::NotReady { .. }
                | Self::Busy
                | Self::TooManyOpening { .. }
                | Self::TooManySubscribers { .. }
                | Self::Rows(AskError::Rows(_))
                | Self::Store(_)
                | Self::ShuttingDown
        )
    }
}

/// Why a stream could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// An event that cannot be read.
    #[error(transparent)]
    Event(#[from] EventError),
    /// An event that cannot follow on those before it.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A gap or a repetition in the stream.
    #[error("{stream} has event {found} where {expected} is due: restore the store from a backup")]
    Gap {
        /// The stream.
        stream: StreamId,
        /// The version that is due.
        expected: u64,
        /// The version that stands there.
        found: u64,
    },
    /// It was archived and removed.
    #[error("{stream} was archived and removed: import its archive to look at it")]
    Removed {
        /// The stream.
        stream: StreamId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its task panicked: a defect of the engine or of an adapter. Nothing recorded is lost.
    #[error(
        "its task panicked: {detail}; this is a defect, please report it; a restart of the engine loads it again"
    )]
    Panicked {
        /// What the panic said.
        detail: String,
    },
}
