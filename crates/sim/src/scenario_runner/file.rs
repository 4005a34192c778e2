//! A scenario file, as far as running it needs.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A scenario file of the format `ota-campaign-scenario/1`.
#[derive(Clone, Debug, Deserialize)]
pub struct Scenario {
    /// Its name.
    pub id: String,
    /// The devices at the beginning.
    pub fleet: Fleet,
    /// The campaigns that stimuli create.
    pub campaigns: Vec<Campaign>,
    /// What happens.
    pub stimuli: Vec<Stimulus>,
    /// When it ends.
    pub run_until_ms: i64,
}

/// The fleet at the beginning.
#[derive(Clone, Debug, Deserialize)]
pub struct Fleet {
    /// The devices, in order.
    pub devices: Vec<Device>,
}

/// A device and its scripts.
#[derive(Clone, Debug, Deserialize)]
pub struct Device {
    /// Its name.
    pub id: String,
    /// Its System Model.
    #[serde(default)]
    pub system_model: Option<String>,
    /// Its groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The version that it reports.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether it is connected.
    #[serde(default = "yes")]
    pub online: bool,
    /// What the n-th accepted request of an operation sets off.
    #[serde(default)]
    pub on_request: Option<Vec<Script>>,
    /// The same for the m-th operation of the device.
    #[serde(default)]
    pub on_operation: Option<Vec<Vec<Script>>>,
    /// What a Cancel request sets off.
    #[serde(default)]
    pub on_cancel: Script,
    /// The answers to Update calls.
    #[serde(default)]
    pub api_update: Option<Vec<Api>>,
    /// The answer to reading the version.
    #[serde(default)]
    pub version_read: Api,
}

fn yes() -> bool {
    true
}

/// What a device does, step by step.
pub type Script = Vec<Step>;

/// One step of a script.
#[derive(Clone, Debug, Deserialize)]
pub struct Step {
    /// When, counted from the request.
    pub after_ms: i64,
    /// What it reports.
    #[serde(default)]
    pub status: Option<String>,
    /// The progress that it reports.
    #[serde(default)]
    pub progress: Option<i64>,
    /// The code that it reports.
    #[serde(default)]
    pub code: Option<String>,
    /// The message that it reports.
    #[serde(default)]
    pub message: Option<String>,
    /// The stamp of the report by the device's clock.
    #[serde(default)]
    pub stamp_ms: Option<i64>,
    /// The version that it has from now on; `null` is one too.
    #[serde(default, deserialize_with = "present")]
    pub set_version: Option<Option<String>>,
    /// Whether it is connected from now on.
    #[serde(default)]
    pub set_online: Option<bool>,
}

/// Tells a key that is `null` from one that is absent.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// How the platform answers a call.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// It takes it.
    #[default]
    Ok,
    /// It cannot be reached.
    ConnectionRefused,
    /// It does not answer in time.
    Timeout,
    /// It does not take the token.
    TokenExpired,
    /// It answers with a status.
    Http(u16),
}

/// The definition of a campaign; kept as it stands, as edits and overrides merge by key.
#[derive(Clone, Debug, Deserialize)]
pub struct Campaign {
    /// Its name in the scenario.
    pub id: String,
    /// Everything.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Something that happens from outside.
#[derive(Clone, Debug, Deserialize)]
pub struct Stimulus {
    /// When.
    pub at_ms: i64,
    /// What.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What happens from outside.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Kind {
    /// A campaign is created.
    CreateCampaign {
        /// Which.
        campaign: String,
        /// What differs from its definition.
        #[serde(default, rename = "override")]
        changes: Map<String, Value>,
        /// Whether it is refused beside a running one.
        #[serde(default)]
        refuse_if_running: bool,
    },
    /// It is paused.
    Pause {
        /// Which.
        campaign: String,
    },
    /// It is resumed.
    Resume {
        /// Which.
        campaign: String,
    },
    /// It is deleted.
    DeleteCampaign {
        /// Which.
        campaign: String,
    },
    /// It is cancelled.
    Cancel {
        /// Which.
        campaign: String,
        /// Whether operations in progress are stopped too.
        #[serde(default)]
        stop_operations: bool,
    },
    /// It is edited.
    UpdateCampaign {
        /// Which.
        campaign: String,
        /// What changes.
        set: Map<String, Value>,
    },
    /// The world changes.
    Device {
        /// Which device.
        device: String,
        /// What changes.
        set: DeviceChange,
    },
    /// A device registers.
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
        /// For which device; `*` for all.
        device: String,
        /// Update calls.
        #[serde(default)]
        update: Option<Api>,
        /// Reading the version.
        #[serde(default)]
        version_read: Option<Api>,
    },
    /// A report out of the blue.
    OtaEvent(OtaEvent),
    /// The engine dies and comes back.
    Restart {
        /// After so long.
        #[serde(default)]
        down_ms: i64,
    },
    /// The engine dies right after the first log entry with these values.
    CrashOn {
        /// The values.
        #[serde(rename = "match")]
        values: Map<String, Value>,
        /// How long it is down.
        down_ms: i64,
    },
}

/// What changes in the world.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct DeviceChange {
    /// Whether it is connected.
    #[serde(default)]
    pub online: Option<bool>,
    /// The version that it reports.
    #[serde(default, deserialize_with = "present")]
    pub version: Option<Option<String>>,
    /// Its groups.
    #[serde(default)]
    pub groups: Option<Vec<String>>,
    /// Its System Model.
    #[serde(default, deserialize_with = "present")]
    pub system_model: Option<Option<String>>,
}

/// A report out of the blue.
#[derive(Clone, Debug, Deserialize)]
pub struct OtaEvent {
    /// The device that it is about.
    pub device: String,
    /// `current` or `unknown`.
    pub operation: String,
    /// The campaign whose newest operation is meant.
    #[serde(default)]
    pub campaign: Option<String>,
    /// The device that sends it, if that is another.
    #[serde(default)]
    pub from_device: Option<String>,
    /// What it says.
    pub status: String,
    /// Why.
    #[serde(default)]
    pub code: Option<String>,
    /// Progress.
    #[serde(default)]
    pub progress: Option<i64>,
    /// The device's words.
    #[serde(default)]
    pub message: Option<String>,
    /// The stamp by the device's clock.
    #[serde(default)]
    pub stamp_ms: Option<i64>,
}
