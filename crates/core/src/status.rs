//! Where campaigns and their targets stand, and how they end.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::reason::FailureReason;
use crate::rollout::GivenUp;

/// Where a campaign stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CampaignStatus {
    /// It starts later.
    Scheduled,
    /// Created; its snapshot is not complete.
    Idle,
    /// Operations start.
    InProgress,
    /// No operation starts any more; some are in progress.
    Pausing,
    /// No operation starts; none is in progress.
    Paused,
    /// It has its outcome. Operations may still be in progress.
    Finished,
    /// It was deleted before it started.
    Deleted,
}

impl CampaignStatus {
    /// All statuses.
    pub const ALL: [Self; 7] = [
        Self::Scheduled,
        Self::Idle,
        Self::InProgress,
        Self::Pausing,
        Self::Paused,
        Self::Finished,
        Self::Deleted,
    ];

    /// Whether the campaign has a complete snapshot and no outcome.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Self::InProgress | Self::Pausing | Self::Paused)
    }

    /// Whether a campaign may go from here to `next`: the whole table.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use CampaignStatus::{Deleted, Finished, Idle, InProgress, Paused, Pausing, Scheduled};
        match self {
            Scheduled => matches!(next, Idle | InProgress | Finished | Deleted),
            Idle => matches!(next, InProgress | Finished),
            InProgress => matches!(next, Pausing | Finished),
            Pausing => matches!(next, InProgress | Paused | Finished),
            Paused => matches!(next, InProgress | Finished),
            Finished | Deleted => false,
        }
    }

    /// The name, in snake case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Idle => "idle",
            Self::InProgress => "in_progress",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for CampaignStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a finished campaign ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every target is final and the failure limit was not exceeded.
    Success,
    /// The failure limit was exceeded (D13).
    Failure,
    /// It was cancelled (D17).
    Cancelled,
    /// A newer campaign took its place (D18).
    Superseded,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 4] = [Self::Success, Self::Failure, Self::Cancelled, Self::Superseded];

    /// The name, in snake case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    /// Whether idle targets are cancelled with it (D17, D18).
    pub(crate) fn cancels_idle_targets(self) -> bool {
        matches!(self, Self::Cancelled | Self::Superseded)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetStatus {
    /// Nothing is in progress.
    Idle,
    /// Its operation is in progress: it holds a slot.
    InProgress,
    /// Final: it runs the image.
    Successful,
    /// Final: it failed.
    Failed,
    /// Final: the campaign ended before its turn.
    Cancelled,
}

impl TargetStatus {
    /// All statuses.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::InProgress, Self::Successful, Self::Failed, Self::Cancelled];

    /// Whether nothing changes any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Successful | Self::Failed | Self::Cancelled)
    }

    /// The name, in snake case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::InProgress => "in_progress",
            Self::Successful => "successful",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for TargetStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a target became final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// It is not final.
    Open,
    /// It ran the image before its turn came (D5).
    UpToDate,
    /// Its device reported success.
    Reported,
    /// Its device shows the image (D12).
    Confirmed,
    /// It failed.
    Failed(FailureReason),
    /// It was cancelled with its campaign (D17, D18).
    Cancelled,
    /// A policy of the rollout has cancelled it.
    GivenUp(GivenUp),
}

impl Settlement {
    /// The status of a target that ended so.
    pub(crate) fn status(self) -> Option<TargetStatus> {
        match self {
            Self::Open => None,
            Self::UpToDate | Self::Reported | Self::Confirmed => Some(TargetStatus::Successful),
            Self::Failed(_) => Some(TargetStatus::Failed),
            Self::Cancelled | Self::GivenUp(_) => Some(TargetStatus::Cancelled),
        }
    }
}
