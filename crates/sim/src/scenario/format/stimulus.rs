//! What happens from outside during a scenario.

use hedgerow_core::ConsentAnswer;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{ApiAnswers, Device, or_default};

/// Something that happens from outside.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Stimulus {
    /// When.
    pub at_ms: i64,
    /// What.
    #[serde(flatten)]
    pub action: Action,
}

/// What happens from outside.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// A campaign is created.
    CreateCampaign {
        /// Which of the file's definitions.
        campaign: String,
        /// What differs from the definition; merged by key, so kept as it stands.
        #[serde(default, rename = "override", deserialize_with = "or_default")]
        changes: Map<String, Value>,
        /// Whether it is refused, instead of superseding a campaign of the same channel.
        #[serde(default, deserialize_with = "or_default")]
        refuse_if_running: bool,
    },
    /// A campaign is paused.
    Pause {
        /// Which.
        campaign: String,
    },
    /// A campaign is resumed.
    Resume {
        /// Which.
        campaign: String,
    },
    /// A campaign is deleted.
    DeleteCampaign {
        /// Which.
        campaign: String,
    },
    /// A campaign is cancelled.
    Cancel {
        /// Which.
        campaign: String,
        /// Whether operations in progress are asked to stop.
        #[serde(default, deserialize_with = "or_default")]
        stop_operations: bool,
    },
    /// A campaign is edited.
    UpdateCampaign {
        /// Which.
        campaign: String,
        /// Rollout keys, `schedule_at_ms`, `base_image`, `channel`, `name`; kept as they stand,
        /// since values that no campaign can have are for the engine to refuse.
        set: Map<String, Value>,
    },
    /// The user of a device answers.
    Consent {
        /// To which campaign.
        campaign: String,
        /// Of which device.
        device: String,
        /// What.
        answer: ConsentAnswer,
        /// Who it is.
        #[serde(default)]
        by: Option<String>,
    },
    /// The world changes.
    Device {
        /// Which device.
        device: String,
        /// `online`, `version`, `groups`, `system_model`; `null` differs from absent here.
        set: Map<String, Value>,
    },
    /// A new device registers.
    AddDevice {
        /// The device.
        device: Box<Device>,
    },
    /// A device ceases to exist.
    RemoveDevice {
        /// Which.
        device: String,
    },
    /// Calls are answered otherwise from now on.
    Api {
        /// About which device; `*` for all.
        device: String,
        /// The answers to Update calls, if they change.
        #[serde(default)]
        update: Option<ApiAnswers>,
        /// The answers to reading the version, if they change.
        #[serde(default)]
        version_read: Option<ApiAnswers>,
    },
    /// An event of a device out of the blue.
    OtaEvent(OtaEvent),
    /// The engine dies and comes back from its durable store.
    Restart {
        /// After so long.
        #[serde(default, deserialize_with = "or_default")]
        down_ms: i64,
    },
    /// The engine dies, once, right after the first log entry with these values is durable.
    CrashOn {
        /// The values, by key of a log entry.
        #[serde(rename = "match")]
        values: Map<String, Value>,
        /// It comes back after so long.
        #[serde(default, deserialize_with = "or_default")]
        down_ms: i64,
    },
}

impl Action {
    /// Its name in the file; also the name of a command in the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateCampaign { .. } => "create_campaign",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::DeleteCampaign { .. } => "delete_campaign",
            Self::Cancel { .. } => "cancel",
            Self::UpdateCampaign { .. } => "update_campaign",
            Self::Consent { .. } => "consent",
            Self::Device { .. } => "device",
            Self::AddDevice { .. } => "add_device",
            Self::RemoveDevice { .. } => "remove_device",
            Self::Api { .. } => "api",
            Self::OtaEvent(_) => "ota_event",
            Self::Restart { .. } => "restart",
            Self::CrashOn { .. } => "crash_on",
        }
    }

    /// The campaign that a user's command is about; none for what is no command.
    #[must_use]
    pub fn commanded_campaign(&self) -> Option<&str> {
        match self {
            Self::CreateCampaign { campaign, .. }
            | Self::Pause { campaign }
            | Self::Resume { campaign }
            | Self::DeleteCampaign { campaign }
            | Self::Cancel { campaign, .. }
            | Self::UpdateCampaign { campaign, .. }
            | Self::Consent { campaign, .. } => Some(campaign),
            _ => None,
        }
    }
}

/// An event of a device out of the blue.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct OtaEvent {
    /// The device that the operation is for.
    pub device: String,
    /// `current`: the newest operation for the device; `unknown`: an id that nobody has.
    pub operation: String,
    /// The campaign whose newest operation is meant; of all if absent.
    #[serde(default)]
    pub campaign: Option<String>,
    /// The device that sends it, if that is another one.
    #[serde(default)]
    pub from_device: Option<String>,
    /// The status that it reports.
    pub status: String,
    /// The status code that it reports.
    #[serde(default)]
    pub code: Option<String>,
    /// The progress that it reports.
    #[serde(default)]
    pub progress: Option<i64>,
    /// The message that it reports.
    #[serde(default)]
    pub message: Option<String>,
    /// Its time by the device's clock; the time of sending if absent.
    #[serde(default)]
    pub stamp_ms: Option<i64>,
}
