//! The rules: what an input leads to. Every function here is pure: the same state, input and time
//! give the same events (E2). One file per concern:
//!
//! | File | Rules |
//! |---|---|
//! | `steer` | creating, pausing, resuming, cancelling, editing (D16 to D19) |
//! | `snapshot` | the snapshot and the start (D1, D3) |
//! | `attempt` | what comes of a target's turn, and of a slot for a device that is at its update already (D4, D5, D7, D10) |
//! | `request` | what the transport said to a request (D10) and to a Cancel (D17) |
//! | `report` | what a device reports (D11, D14) |
//! | `fact` | what has become of an operation (D8, D9, D12, D24) |
//! | `reconcile` | what a device shows (D12), devices that are gone (D15) |
//! | `policy` | what people tell of targets (P15) |
//! | `finish` | outcome, pause completed (D13, D16) |
//! | `claim` | the claims that go with an event (D14, D18, E5) |
//!
//! Whatever is recorded is decided here; `handling` records it, notes what is seen, and asks. What these
//! functions are told was judged in one of these places, which decide for manual updates too:
//!
//! | Question | Where |
//! |---|---|
//! | may a target start? | `campaign/admission.rs` |
//! | what does a report mean for its operation (D11)? | `operation/report.rs` |
//! | what has become of an operation that was looked at or asked (D8, D9, D12, D24)? | `operation/at_work.rs` |
//! | what is due? | `operation/timer.rs` |
//! | is the transport down (D10)? | `campaign/outage.rs` |
//! | to which question does an answer belong (E11), and was this late report told before (D11)? | `campaign/handling/`: nothing of that is recorded |

pub(super) mod attempt;
pub(super) mod claim;
pub(super) mod fact;
pub(super) mod finish;
pub(super) mod policy;
pub(super) mod reconcile;
pub(super) mod report;
pub(super) mod request;
pub(super) mod snapshot;
pub(super) mod steer;

use crate::id::{CampaignId, DeviceId, OperationId};
use crate::rollout::RolloutError;
use crate::status::CampaignStatus;

/// Why an input was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The campaign's status does not allow the command.
    #[error("campaign {campaign} cannot be {what}: it is {}, {hint}", status.name())]
    WrongStatus {
        /// The campaign.
        campaign: CampaignId,
        /// What was wanted, as a participle.
        what: &'static str,
        /// Where the campaign stands.
        status: CampaignStatus,
        /// When it would be allowed.
        hint: &'static str,
    },
    /// Only the limits of a started campaign can be edited (D19).
    #[error(
        "the {field} of campaign {campaign} cannot be edited: the campaign is {}; only its limits can be, or cancel it and create another", status.name()
    )]
    NotEditable {
        /// The campaign.
        campaign: CampaignId,
        /// What was to change.
        field: &'static str,
        /// Where the campaign stands.
        status: CampaignStatus,
    },
    /// A limit outside its range, or something that the rollout does not go by.
    #[error(transparent)]
    Limits(#[from] RolloutError),
    /// The device is none of the campaign's targets.
    #[error("device {device} is no target of campaign {campaign}")]
    NoTarget {
        /// The campaign.
        campaign: CampaignId,
        /// The device.
        device: DeviceId,
    },
    /// The snapshot is larger than a campaign can hold.
    #[error(
        "the snapshot of campaign {campaign} has more than {most} devices: cancel it and use several channels"
    )]
    SnapshotTooLarge {
        /// The campaign.
        campaign: CampaignId,
        /// The most devices.
        most: u32,
    },
    /// A report about an operation that is none of this campaign's on that device (D11).
    #[error(
        "operation {operation} is none of device {device} in this campaign: the report is refused"
    )]
    UnknownOperation {
        /// The device that reported.
        device: DeviceId,
        /// The operation that it named.
        operation: OperationId,
    },
}

/// Why a campaign was not created. Nothing was recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// A limit outside its range.
    #[error(transparent)]
    Limits(#[from] RolloutError),
}
