//! The events of an update campaign.

use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, decode_payload, events};
use super::{Confirmation, EventError, OperationFailure, TargetFailure};
use crate::definition::CampaignDefinition;
use crate::envelope::{NewEvent, StoredEvent, StreamId};
use crate::fleet::ImageUrl;
use crate::id::{DeviceId, OperationId};
use crate::operation::{Phase, ReportStatus, StatusCode};
use crate::rollout::{PolicyFact, RolloutLimits};
use crate::status::Outcome;
use crate::stored_form;
use crate::time::Timestamp;

events! {
    /// A fact about an update campaign. A campaign's state is the fold of these, and nothing else
    /// (E1).
    CampaignEvent;

    /// The campaign exists: scheduled, or idle until its snapshot is complete.
    CampaignCreated = "campaign_created", schema 3 {
        /// Everything that it is to do.
        // Boxed: it is large, and most events are not.
        #[serde(deserialize_with = "stored_form::read")]
        definition: Box<CampaignDefinition>,
        /// When it is to start; none: at once.
        scheduled_at: Option<Timestamp>,
    }
    /// The scheduled campaign was changed (D19).
    CampaignEdited = "campaign_edited", schema 3 {
        /// Everything that it is to do now.
        #[serde(deserialize_with = "stored_form::read")]
        definition: Box<CampaignDefinition>,
        /// When it is to start now; none: at once.
        scheduled_at: Option<Timestamp>,
    }
    /// The scheduled campaign was deleted (D19).
    CampaignDeleted = "campaign_deleted", schema 1 {}
    /// More targets of the snapshot, in its order (D1, E9).
    SnapshotExtended = "snapshot_extended", schema 1 {
        /// The devices.
        devices: Vec<DeviceId>,
    }
    /// The snapshot is complete, the rollout begins (D1).
    CampaignStarted = "campaign_started", schema 1 {
        /// How many targets the snapshot has.
        targets: u32,
    }
    /// No new operation starts; those in progress go on (D16).
    CampaignPausing = "campaign_pausing", schema 1 {}
    /// Nothing is in progress any more (D16).
    CampaignPaused = "campaign_paused", schema 1 {}
    /// Operations may start again (D16).
    CampaignResumed = "campaign_resumed", schema 1 {}
    /// The limits of the running campaign were changed (D19).
    LimitsChanged = "limits_changed", schema 1 {
        /// All limits, as they are now.
        #[serde(deserialize_with = "stored_form::read")]
        limits: RolloutLimits,
    }
    /// The campaign has its outcome. Operations in progress are followed to their end (D13, D17).
    CampaignFinished = "campaign_finished", schema 1 {
        /// The outcome; idle targets of a cancelled or superseded campaign are cancelled with it.
        outcome: Outcome,
        /// Whether operations in progress are to be cancelled on their devices too (D17).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        stop_operations: bool,
    }
    /// The device ran the campaign's image already: silently successful (D5).
    TargetUpToDate = "target_up_to_date", schema 1 {
        /// The device.
        device: DeviceId,
    }
    /// The target failed without an operation.
    TargetFailed = "target_failed", schema 1 {
        /// The device.
        device: DeviceId,
        /// Why.
        reason: TargetFailure,
    }
    /// The device's version could not be read, or the operation's URL not be had: it is tried again
    /// later (D10, D23).
    AttemptDeferred = "attempt_deferred", schema 1 {
        /// The device.
        device: DeviceId,
        /// Not before then.
        not_before: Timestamp,
        /// What the transport said.
        detail: String,
    }
    /// The decision to send the request of an operation, first or again after it was deferred (D7).
    OperationStarted = "operation_started", schema 1 {
        /// The device.
        device: DeviceId,
        /// The operation.
        operation: OperationId,
        /// The version that passed the gates.
        from_version: String,
        /// The URL that is sent for it, first and again, if it is another than the base image's (D23).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<ImageUrl>,
    }
    /// The transport accepted the latest request. The device may still never see it.
    RequestAccepted = "request_accepted", schema 1 {
        /// The device.
        device: DeviceId,
    }
    /// The request failed for now: the target is idle again and keeps its operation (D10).
    OperationDeferred = "operation_deferred", schema 1 {
        /// The device.
        device: DeviceId,
        /// Not before then.
        not_before: Timestamp,
        /// What the transport said.
        detail: String,
    }
    /// The decision to send the request again: no report came (D8), or none since the device, which
    /// had reported before, connected again (D24). An idle target, whose resend was kept back, is in
    /// progress again.
    RequestResent = "request_resent", schema 1 {
        /// The device.
        device: DeviceId,
    }
    /// A resend was due in a finished campaign and the device was offline: it counts as a resend,
    /// unsent (D8).
    ResendMissed = "resend_missed", schema 1 {
        /// The device.
        device: DeviceId,
    }
    /// A resend was due and the device was offline: its target is idle again, and what leaves at its
    /// next turn is that resend (D8).
    ResendKeptBack = "resend_kept_back", schema 1 {
        /// The device.
        device: DeviceId,
    }
    /// The decision to send a request that may not have left before a restart; no resend (E4).
    RequestReissued = "request_reissued", schema 1 {
        /// The device.
        device: DeviceId,
    }
    /// A resend failed: it counts all the same (D10).
    ResendFailed = "resend_failed", schema 1 {
        /// The device.
        device: DeviceId,
        /// What the transport said.
        detail: String,
    }
    /// The operation moved on, or showed progress (D11).
    OperationReported = "operation_reported", schema 1 {
        /// The device.
        device: DeviceId,
        /// Where the operation stands now.
        phase: Phase,
        /// Progress within the phase, in per cent.
        progress: u8,
        /// Why, for an error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<StatusCode>,
        /// The device's own words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
        /// When the device sent it, by its own clock.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        observed_at: Option<Timestamp>,
    }
    /// An idle target whose device turned out to be updating takes a slot (D10).
    OperationReadmitted = "operation_readmitted", schema 1 {
        /// The device.
        device: DeviceId,
    }
    /// The device was busy with another update: a new operation follows (D14).
    OperationRefused = "operation_refused", schema 1 {
        /// The device.
        device: DeviceId,
        /// Not before then.
        not_before: Timestamp,
    }
    /// The operation and its target are successful.
    OperationSucceeded = "operation_succeeded", schema 1 {
        /// The device.
        device: DeviceId,
        /// How that is known.
        confirmation: Confirmation,
    }
    /// The operation and its target failed.
    OperationFailed = "operation_failed", schema 1 {
        /// The device.
        device: DeviceId,
        /// Why.
        reason: OperationFailure,
    }
    /// The transport answered the Cancel request of an operation (D17).
    CancelSent = "cancel_sent", schema 1 {
        /// The device.
        device: DeviceId,
        /// What the transport said, if it refused for good.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    }
    /// What a device shows contradicts the outcome of its target; it changes neither that nor any
    /// count (D22).
    ContradictionSeen = "contradiction_seen", schema 1 {
        /// The device.
        device: DeviceId,
        /// The version that it shows, cut after 256 characters.
        version: String,
    }
    /// Something that a policy of the rollout goes by: about a device, or about the campaign as a whole.
    PolicyFactRecorded = "policy_fact_recorded", schema PolicyFact::SCHEMA {
        /// The device, if it is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<DeviceId>,
        /// What.
        fact: PolicyFact,
    }
    /// A report came for an operation that had ended: it changes no count (D11).
    LateReportReceived = "late_report_received", schema 1 {
        /// The device.
        device: DeviceId,
        /// The operation.
        operation: OperationId,
        /// What the device said.
        status: ReportStatus,
        /// Why, for an error or failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<StatusCode>,
    }
}

impl CampaignEvent {
    /// The device that the event is about, if it is about one.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        Some(match self {
            Self::CampaignCreated(_)
            | Self::CampaignEdited(_)
            | Self::CampaignDeleted(_)
            | Self::SnapshotExtended(_)
            | Self::CampaignStarted(_)
            | Self::CampaignPausing(_)
            | Self::CampaignPaused(_)
            | Self::CampaignResumed(_)
            | Self::LimitsChanged(_)
            | Self::CampaignFinished(_) => return None,
            Self::TargetUpToDate(e) => e.device,
            Self::TargetFailed(e) => e.device,
            Self::AttemptDeferred(e) => e.device,
            Self::OperationStarted(e) => e.device,
            Self::RequestAccepted(e) => e.device,
            Self::OperationDeferred(e) => e.device,
            Self::RequestResent(e) => e.device,
            Self::ResendMissed(e) => e.device,
            Self::ResendKeptBack(e) => e.device,
            Self::RequestReissued(e) => e.device,
            Self::ResendFailed(e) => e.device,
            Self::OperationReported(e) => e.device,
            Self::OperationReadmitted(e) => e.device,
            Self::OperationRefused(e) => e.device,
            Self::OperationSucceeded(e) => e.device,
            Self::OperationFailed(e) => e.device,
            Self::CancelSent(e) => e.device,
            Self::ContradictionSeen(e) => e.device,
            Self::LateReportReceived(e) => e.device,
            Self::PolicyFactRecorded(e) => return e.device,
        })
    }
}
