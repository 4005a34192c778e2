//! The domain and the campaign state machine of Hedgerow.

mod campaign;
mod envelope;
pub mod event;
mod fleet;
mod gate;
mod id;
mod manual;
mod operation;
mod percentage;
mod rollout;
mod time;
mod version;
mod version_requirement;

pub use campaign::{
    ApplyError, BaseImageAnswer, Campaign, CampaignDefinition, CampaignEdit, CampaignStatus,
    ClaimChange, Command, CreateError, Decision, Effect, FailureReason, Input, LimitsEdit,
    LiveCampaign, Outcome, Presence, Reaction, ReadPurpose, Rejection, RequestAnswer,
    RunningOperations, SETTLING, Settlement, TargetCounts, TargetStatus, TargetView,
    TransportError, WhenRunning,
};
pub use envelope::{NewEvent, StoredEvent, StreamId, StreamIdError};
pub use fleet::{
    BaseImage, BaseImageCollection, CampaignName, Channel, ChannelName, Channels, FleetDevice,
    FleetError, GroupName, ImageUrl, SystemModelHandle, select_targets,
};
pub use gate::{GateDecision, GatePolicy, GateRefusal, evaluate as evaluate_gates};
pub use id::{CampaignId, DeviceId, IdError, OperationId, TenantId};
pub use manual::{
    LiveManualUpdate, ManualDecision, ManualRejection, ManualStatus, ManualUpdate,
    ManualUpdateDefinition, RequestId, RequestIdError,
};
pub use operation::{
    Cancellation, Delivery, Operation, OperationReport, Phase, ReportStatus, StatusCode,
    UnknownStatus, Verdict,
};
pub use percentage::{Percentage, PercentageError};
pub use rollout::{OperationLimits, PushRollout, RolloutError, RolloutLimits, RolloutMechanism};
pub use semver::Version;
pub use time::Timestamp;
pub use version::{VersionError, parse_version, precedence, same_build};
pub use version_requirement::{PreReleases, RequirementError, VersionRequirement};
