//! One OTA operation: the update of one device. Campaigns and manual OTA updates share it.
//!
//! | File | What |
//! |---|---|
//! | this one | the state of an operation that has not ended, and its one deadline (D8, D9) |
//! | `at_work` | how one lives: answers, reports, what the device shows |
//! | `timer` | what is due when, and what it leads to |
//! | `phase` | the table of phases |
//! | `report` | what a report does to an operation (D11) |
//! | `backoff` | the delays before another attempt |
//! | `status_code` | the codes that devices send |

pub(crate) mod at_work;
pub(crate) mod backoff;
mod phase;
mod report;
mod status_code;
pub(crate) mod timer;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use phase::{Phase, ReportStatus, UnknownStatus};
pub use report::{Heard, OperationReport, Verdict};
pub use status_code::StatusCode;

use crate::id::OperationId;
use crate::rollout::OperationLimits;
use crate::time::Timestamp;

/// What is known of the sending of an operation's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Delivery {
    /// A call was recorded and its answer is not yet known: it may not even have left (E4).
    Unanswered,
    /// The transport accepted a call.
    Accepted,
    /// Every call so far failed; one may have been delivered all the same (D10).
    Failed,
}

/// Whether an operation is to be cancelled on the device (D17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cancellation {
    /// Nobody asked for it.
    NotWanted,
    /// Recorded; the Cancel request may not have left. The Update is never sent again.
    Wanted,
    /// The transport answered the Cancel request.
    Sent,
}

/// The state of an operation that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[non_exhaustive]
pub struct Operation {
    /// The UUID that its requests and reports carry.
    pub id: OperationId,
    /// Where it stands. Never a final phase: an operation that ended is forgotten.
    pub phase: Phase,
    /// The progress within the phase, in per cent, as last recorded.
    pub progress: u8,
    /// Resends, counted against `request_retries` (D8).
    pub resends: u16,
    /// Calls that were recorded, of every kind: beyond one, "update already in progress" means
    /// that the update is running (D11).
    pub sends: u16,
    /// What is known of its latest call.
    pub delivery: Delivery,
    /// Whether the transport ever accepted a call: before that, each is a first request.
    pub accepted: bool,
    /// Whether a call of it was sent again after a restart without knowing the first one's answer.
    pub reissued: bool,
    /// Whether a resend was due while the device was offline, and is what leaves next (D8).
    pub kept_back: bool,
    /// Whether it was sent again after its latest report, as the device may have forgotten it (D24).
    pub asked_again: bool,
    /// Whether it is to be cancelled.
    pub cancellation: Cancellation,
    /// The newest stamp of the reports of its present phase, by the device's own clock (D11).
    pub newest_stamp: Option<Timestamp>,
    /// When its latest report was recorded.
    pub reported_at: Option<Timestamp>,
    /// When something is due if nothing happens: a resend before the first report (D8), the stall
    /// time-out after it (D9).
    pub deadline: Option<Timestamp>,
}

impl Operation {
    /// An operation whose first request was recorded at `at`.
    #[must_use]
    pub fn started(id: OperationId, at: Timestamp, limits: &OperationLimits) -> Self {
        Self {
            id,
            phase: Phase::Pending,
            progress: 0,
            resends: 0,
            sends: 1,
            delivery: Delivery::Unanswered,
            accepted: false,
            reissued: false,
            kept_back: false,
            asked_again: false,
            cancellation: Cancellation::NotWanted,
            newest_stamp: None,
            reported_at: None,
            deadline: Some(at + limits.request_timeout),
        }
    }

    /// Whether the device has reported anything of it.
    #[must_use]
    pub fn is_reported(&self) -> bool {
        self.phase != Phase::Pending
    }

    /// Whether its request may not have left before a restart, and is still to leave (E4).
    pub(crate) fn may_not_have_left(&self) -> bool {
        self.delivery == Delivery::Unanswered
            && (!self.is_reported() || self.asked_again)
            && self.cancellation == Cancellation::NotWanted
    }

    /// Whether its device may have forgotten it by losing its power: it was at it, and not about to
    /// restart (D24).
    pub(crate) fn may_be_forgotten(&self) -> bool {
        use Phase::{Acknowledged, Deployed, Deploying, Downloading};
        matches!(self.phase, Acknowledged | Downloading | Deploying | Deployed)
            && self.cancellation == Cancellation::NotWanted
    }

    /// Records another call of the same request at `at`. After a report the stall goes on (D9).
    pub(crate) fn sent_again(&mut self, at: Timestamp, limits: &OperationLimits) {
        self.sends = self.sends.saturating_add(1);
        self.delivery = Delivery::Unanswered;
        self.kept_back = false;
        if self.is_reported() {
            self.asked_again = true;
        } else {
            self.deadline = Some(at + limits.request_timeout);
        }
    }

    /// Its resend waits until its device is back.
    pub(crate) fn keep_back(&mut self) {
        self.deadline = None;
        self.kept_back = true;
    }

    /// Takes a recorded report into the state.
    pub(crate) fn reported(&mut self, report: &RecordedReport, stall: Option<Duration>) {
        let earlier = self.newest_stamp.filter(|_| report.phase == self.phase);
        self.newest_stamp = earlier.max(report.observed_at);
        self.phase = report.phase;
        self.progress = report.progress;
        self.kept_back = false;
        self.asked_again = false;
        self.reported_at = Some(report.at);
        self.deadline = stall.map(|stall| report.at + stall);
    }
}

/// What a recorded report changes.
pub(crate) struct RecordedReport {
    pub(crate) phase: Phase,
    pub(crate) progress: u8,
    pub(crate) observed_at: Option<Timestamp>,
    pub(crate) at: Timestamp,
}
