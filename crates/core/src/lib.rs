//! The domain and the campaign state machine of Hedgerow: pure, without I/O, clock or randomness.
//!
//! An **update campaign** distributes one base image to the devices of a channel. This crate models
//! it as a state machine: what happens comes in as an [`Input`] with the time, what is decided goes
//! out as events to record, and what is to be done in the world goes out as [`Effect`]s, to be done
//! after the events are durable. The same state, input and time always give the same decision.
//!
//! ```
//! use std::num::NonZeroU32;
//! use hedgerow_core::{
//!     BaseImage, BaseImageAnswer, Campaign, CampaignDefinition, CampaignId, Channel, DeviceId,
//!     Effect, GatePolicy, Input, LiveCampaign, OperationReport, Outcome, Presence, PushRollout,
//!     ReportStatus, RequestAnswer, RolloutLimits, RolloutMechanism, Timestamp, Version,
//!     WhenRunning,
//! };
//!
//! // 1. Say what is to be done: an image, a channel, limits.
//! let limits = RolloutLimits::new(NonZeroU32::MIN, "5".parse()?);
//! let definition = CampaignDefinition {
//!     name: "Gateways to 2.0.0".parse()?,
//!     base_image: BaseImage {
//!         system_model: "gateway".parse()?,
//!         version: Version::new(2, 0, 0),
//!         url: "https://images.example/gateway/2.0.0.bin".parse()?,
//!         starting_version_requirement: Some(">= 1.0.0".parse()?),
//!     },
//!     channel: Channel::new("stable".parse()?, ["gardens".parse()?])?,
//!     rollout: RolloutMechanism::Push(PushRollout { limits, gates: GatePolicy::default(), minimum_targets: 0 }),
//!     when_running: WhenRunning::Supersede,
//! };
//!
//! // 2. Create it. The event begins a log; record it, then fold it.
//! let now = Timestamp::from_millis(0);
//! let id = CampaignId::from_uuid("5f0c7a0e-3d0b-5a7e-9f6d-8a41c2d410aa".parse()?);
//! let created = Campaign::create(definition, None, now)?;
//! let campaign = Campaign::begin("realm".parse()?, id, &created, now)?;
//! let mut live = LiveCampaign::new(campaign);
//!
//! // 3. Tell it that time passes: it asks for the snapshot of its channel.
//! let decision = live.handle(Input::Tick, now)?;
//! let [Effect::TakeSnapshot { question }] = decision.effects[..] else { panic!("a snapshot") };
//!
//! // 4. Answer: the devices, who is online, and that this was all.
//! let device: DeviceId = "f0VMRgIBAQAAAAAAAAAAAA".parse()?;
//! live.handle(Input::SnapshotChunk { question, devices: vec![device] }, now)?;
//! let presence = Presence::Online { since: now };
//! live.handle(Input::Presence { device, presence }, now)?;
//! let decision = live.handle(Input::SnapshotComplete { question }, now)?;
//!
//! // 5. The device's turn has come: its version is read for the gates.
//! let [Effect::ReadBaseImage { purpose, question, .. }] = decision.effects[..] else {
//!     panic!("a read")
//! };
//! let answer = BaseImageAnswer::Version(Some("1.4.0".to_owned()));
//! let decision = live.handle(Input::BaseImageRead { device, purpose, question, answer }, now)?;
//!
//! // 6. It passed. After `decision.events` are durable, the request may leave.
//! let [Effect::SendUpdate { operation, .. }] = decision.effects[..] else { panic!("a request") };
//! let answer = RequestAnswer::Accepted;
//! live.handle(Input::RequestAnswered { device, operation, question, answer }, now)?;
//!
//! // 7. The device reports. `next_deadline` says when to tick if it does not.
//! assert!(live.next_deadline().is_some());
//! let report = OperationReport::new(device, operation, ReportStatus::Success);
//! let decision = live.handle(Input::Report(report), now)?;
//! assert_eq!(decision.events.len(), 2, "the operation succeeded, and with it the campaign");
//! assert_eq!(live.campaign().outcome(), Some(Outcome::Success));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A crash loses nothing that was recorded: [`Campaign::begin`] and [`Campaign::apply`] fold the
//! log into the same state, [`LiveCampaign::loaded`] puts it back to work, and what may not have
//! left before the crash leaves again, after the device was looked at.
//!
//! The crate is built in floors; each is made of what is below it, and of nothing above it:
//!
//! | Floor, from the top | Modules |
//! |---|---|
//! | the two kinds of rollout, side by side | `campaign`, `manual` |
//! | the events of both | [`event`], `envelope` |
//! | what goes in and comes out, what is to be done and how it ends | `input`, `edit`, `effect`, `definition`, `status`, `reason`, `outside` |
//! | one operation, the same for both | `operation` |
//! | what they are made of | `id`, `time`, `calendar`, `version`, `fleet`, `gate`, `rollout`, `question`, `answer`, `stored_form`, … |
//!
//! The rules that the documentation cites (`D5`, `E2`) stand in `docs/rules.md` of the project,
//! with the place of each in the code.

#![warn(missing_debug_implementations)]

mod answer;
mod calendar;
mod campaign;
mod definition;
mod edit;
mod effect;
mod envelope;
pub mod event;
mod fleet;
mod gate;
mod id;
mod input;
mod manual;
mod operation;
mod outside;
mod percentage;
mod question;
mod reason;
mod request_id;
mod rollout;
mod status;
mod stored_form;
mod time;
mod version;
mod version_requirement;

pub use answer::{BaseImageAnswer, ReadPurpose, RequestAnswer, TransportError};
pub use calendar::{
    Calendar, Exclusion, Window, WindowError, WindowSet, WindowStart, WindowState, WindowZone,
    ZoneName, zone_data_version,
};
pub use campaign::{
    Campaign, CreateError, Decision, Hold, HoldReason, LiveCampaign, OpenTarget, Rejection,
    TargetCounts, TargetView, WATCHED, Why,
};
pub use definition::{CampaignDefinition, ManualUpdateDefinition, WhenRunning};
pub use edit::CampaignEdit;
pub use effect::{ClaimChange, Effect, Reaction};
pub use envelope::{ApplyError, Checksum, NewEvent, StoredEvent, StreamId, StreamIdError};
pub use fleet::{
    BaseImage, BaseImageCollection, CampaignName, Channel, ChannelName, Channels, FleetDevice,
    FleetError, GroupName, ImageUrl, SystemModelHandle, select_targets,
};
pub use gate::{GateDecision, GatePolicy, GateRefusal, evaluate as evaluate_gates};
pub use id::{CampaignId, DeviceId, IdError, OperationId, TenantId};
pub use input::{Command, Input, Presence, RunningOperations};
pub use manual::{LiveManualUpdate, ManualDecision, ManualRejection, ManualStatus, ManualUpdate};
pub use operation::at_work::SETTLING;
pub use operation::{
    Cancellation, Delivery, Heard, Operation, OperationReport, Phase, ReportStatus, StatusCode,
    UnknownStatus, Verdict,
};
pub use outside::JsonError;
pub use percentage::{Percentage, PercentageError};
pub use question::Question;
pub use reason::FailureReason;
pub use request_id::{RequestId, RequestIdError};
pub use rollout::*;
pub use semver::Version;
pub use status::{CampaignStatus, Outcome, Settlement, TargetStatus};
pub use time::Timestamp;
pub use version::{VersionError, parse_version, precedence, same_build};
pub use version_requirement::{PreReleases, RequirementError, VersionRequirement};
