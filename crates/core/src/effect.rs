//! What is to be done in the world and at the store, and what became of an input: what campaigns and
//! manual updates at work give out beside their events.

use crate::answer::ReadPurpose;
use crate::fleet::ImageUrl;
use crate::id::{DeviceId, OperationId};
use crate::question::Question;

/// Something to do in the world, after the events decided with it are durable (E4). Each is
/// answered by an input that carries its number: an answer to another question than the one that is
/// open is void (E11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Resolve the channel and select the targets (D1, D2). Answered by
    /// [`Input::SnapshotChunk`](crate::Input::SnapshotChunk)s and [`Input::SnapshotComplete`](crate::Input::SnapshotComplete), with the presence of each device
    /// told in between.
    TakeSnapshot {
        /// To be handed back with the answer.
        question: Question,
    },
    /// Read the version that a device reports. Answered by [`Input::BaseImageRead`](crate::Input::BaseImageRead).
    ReadBaseImage {
        /// The device.
        device: DeviceId,
        /// What for.
        purpose: ReadPurpose,
        /// To be handed back with the answer.
        question: Question,
    },
    /// A target's turn has come: ask which URL its operation is to have, then read the version that
    /// the device reports, in this order, so that the version is as new as it can be (D5, D23). Answered
    /// by [`Input::BaseImageRead`](crate::Input::BaseImageRead) for
    /// [`ReadPurpose::Gate`], with [`BaseImageAnswer::Prepared`](crate::BaseImageAnswer::Prepared) if
    /// both were had. Only of a campaign that is [asking for URLs](crate::LiveCampaign::asking_urls), and
    /// not of an operation that has its URL already.
    PrepareStart {
        /// The device.
        device: DeviceId,
        /// The operation that would start.
        operation: OperationId,
        /// To be handed back with the answer.
        question: Question,
    },
    /// Send an Update request. Answered by [`Input::RequestAnswered`](crate::Input::RequestAnswered).
    SendUpdate {
        /// The device.
        device: DeviceId,
        /// The operation's UUID.
        operation: OperationId,
        /// The operation's URL, byte for byte the same whenever it is sent (D8, D23).
        url: ImageUrl,
        /// To be handed back with the answer.
        question: Question,
    },
    /// Send a Cancel request. Answered by [`Input::CancelAnswered`](crate::Input::CancelAnswered).
    SendCancel {
        /// The device.
        device: DeviceId,
        /// The operation's UUID.
        operation: OperationId,
        /// The operation's URL, as in its Update.
        url: ImageUrl,
        /// To be handed back with the answer.
        question: Question,
    },
}

/// A claim to take or to release in the transaction that records the events (E5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimChange {
    /// An operation starts: the device becomes ours (D14).
    TakeDevice(DeviceId, OperationId),
    /// Its operation ended.
    ReleaseDevice(DeviceId),
    /// The campaign starts: its System Model and channel become ours (D18).
    TakeRollout,
    /// It has its outcome.
    ReleaseRollout,
}

/// What became of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reaction {
    /// It was taken.
    #[default]
    Taken,
    /// It changes nothing: a duplicate, a stale report, a device that is no target.
    Unchanged,
    /// A report for an operation that had ended: recorded as late (D11).
    Late,
}
