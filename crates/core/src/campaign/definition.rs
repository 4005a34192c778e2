//! What a campaign is to do, and the names of where it stands.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BaseImage, CampaignName, Channel, RolloutMechanism};

/// What happens when the campaign starts while an older one for the same System Model and channel
/// is started and unfinished (D18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenRunning {
    /// The older one is superseded.
    #[default]
    Supersede,
    /// The newer one is refused, or, if it was scheduled, waits for the older one to finish.
    Refuse,
}

/// What a campaign is to do. Events embed it whole (E10). An unknown key is refused when it is read
/// from outside, and passed over in an event (E6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignDefinition {
    /// Its name, for people.
    pub name: CampaignName,
    /// The image that it distributes.
    pub base_image: BaseImage,
    /// The channel whose devices it targets.
    pub channel: Channel,
    /// How it proceeds.
    pub rollout: RolloutMechanism,
    /// What happens to an older one.
    #[serde(default)]
    pub when_running: WhenRunning,
}

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
