//! What people are shown: campaigns, targets, operations, each as one row holds it.

use std::collections::BTreeMap;

use hedgerow_core::event::{Confirmation, OperationFailure, TargetFailure};
use hedgerow_core::{
    Campaign, CampaignDefinition, CampaignId, CampaignStatus, DeviceId, FailureReason, Operation,
    OperationId, Outcome, Phase, ReportStatus, Settlement, StreamId, TargetCounts, TargetStatus,
    Timestamp,
};
use serde::{Deserialize, Serialize};

use super::fold::json;
use super::store::ViewError;
use super::stream::read;

/// A campaign as a list shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CampaignEntry {
    /// The campaign.
    pub campaign: CampaignId,
    /// How many events it has.
    pub events: u64,
    /// What it is to do.
    pub definition: CampaignDefinition,
    /// Where it stands.
    pub status: CampaignStatus,
    /// How it ended, once it is finished.
    pub outcome: Option<Outcome>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it is to start, if it is scheduled.
    pub scheduled_at: Option<Timestamp>,
    /// When its snapshot was complete.
    pub started_at: Option<Timestamp>,
    /// When it got its outcome.
    pub finished_at: Option<Timestamp>,
    /// Its targets by status.
    pub targets: TargetCounts,
    /// How many targets failed for which reason.
    pub failures: BTreeMap<FailureReason, u32>,
    /// How many targets have a device that has shown something else than how they ended (D22).
    pub contradictions: usize,
    /// What is wrong with its log, if it could not be followed to its end: what is shown is from
    /// before (D21).
    pub unreadable: Option<String>,
}

impl CampaignEntry {
    pub(super) fn of(campaign: &Campaign, failures: BTreeMap<FailureReason, u32>) -> Self {
        Self {
            campaign: campaign.id(),
            events: campaign.version(),
            definition: campaign.definition().clone(),
            status: campaign.status(),
            outcome: campaign.outcome(),
            created_at: campaign.created_at(),
            scheduled_at: campaign.scheduled_at(),
            started_at: campaign.started_at(),
            finished_at: campaign.finished_at(),
            targets: campaign.counts(),
            failures,
            contradictions: campaign.contradictions(),
            unreadable: None,
        }
    }

    /// Whether its snapshot is complete and has fewer targets than were asked for (D3).
    #[must_use]
    pub fn misses_minimum(&self) -> bool {
        self.started_at.is_some() && self.targets.total < self.definition.rollout.minimum_targets()
    }
}

impl From<&Campaign> for CampaignEntry {
    /// What a list shows of a campaign that is at hand.
    fn from(campaign: &Campaign) -> Self {
        Self::of(campaign, campaign.failure_reasons().into_iter().collect())
    }
}

/// Why a target or an operation failed, with the values that belong to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Failure {
    /// Before an operation was started.
    Target(TargetFailure),
    /// The operation failed.
    Operation(OperationFailure),
}

impl Failure {
    /// The reason, without its values.
    #[must_use]
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::Target(failure) => failure.reason(),
            Self::Operation(failure) => failure.reason(),
        }
    }
}

/// What is known of a target that something has happened to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TargetDetails {
    /// When anything was last recorded of it.
    pub changed_at: Timestamp,
    /// Resends of its latest operation.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_count: u16,
    /// Its operation, if that has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// When it may be attempted again, if it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The version that passed the gates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_version: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What the transport said when something last failed for now (D10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The version that its device first showed in contradiction to how it ended (D22).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contradiction: Option<String>,
    /// All operations that it had in its campaign, the latest last; at most the latest 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<OperationEntry>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde hands it over")]
fn is_zero(count: &u16) -> bool {
    *count == 0
}

/// A target of a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TargetEntry {
    /// Its place in the snapshot, from 0.
    pub place: u32,
    /// Its device.
    pub device: DeviceId,
    /// Where it stands.
    pub status: TargetStatus,
    /// How it became final.
    pub settlement: Settlement,
    /// More of it, once something has happened to it alone.
    pub details: Option<TargetDetails>,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OperationEnd {
    /// With success, known in this way.
    Succeeded(Confirmation),
    /// With a failure.
    Failed(OperationFailure),
    /// The device was busy with another update: another operation may follow (D14).
    Refused,
    /// Its campaign ended while it waited to be sent again.
    Abandoned,
}

/// An OTA operation, of a campaign or of a manual update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OperationEntry {
    /// The operation.
    pub operation: OperationId,
    /// The campaign or manual update that it belongs to.
    pub stream: StreamId,
    /// The device.
    pub device: DeviceId,
    /// The version that the device is to run afterwards, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version that the device showed before, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_version: Option<String>,
    /// When it was started.
    pub began_at: Timestamp,
    /// The latest phase before its end.
    pub phase: Phase,
    /// The progress within the phase, in per cent, as last recorded.
    pub progress: u8,
    /// How often its request was sent again.
    pub resends: u16,
    /// When its latest report was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<Timestamp>,
    /// When and how it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<(Timestamp, OperationEnd)>,
    /// What its device reported last after its end (D11).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_report: Option<(Timestamp, ReportStatus)>,
}

impl OperationEntry {
    /// Takes over how the operation stands.
    pub(super) fn follow(&mut self, operation: &Operation) {
        self.phase = operation.phase;
        self.progress = operation.progress;
        self.resends = operation.resends;
        self.reported_at = operation.reported_at;
    }
}

/// Where an operation is found: in what its target has been through, or, of a manual update, here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OperationPlace {
    /// A campaign, and the target's place in its snapshot.
    Target(CampaignId, u32),
    /// The operation itself.
    Manual(OperationEntry),
}

/// What the row of a place among targets begins with; that of a manual update is JSON.
const AMONG_TARGETS: u8 = 1;

impl OperationPlace {
    /// Its row. There are as many as operations, all over the store, so those of targets are short.
    pub(super) fn row(&self) -> Vec<u8> {
        match self {
            Self::Target(id, place) => {
                [&[AMONG_TARGETS][..], id.as_uuid().as_bytes(), &place.to_be_bytes()].concat()
            }
            Self::Manual(entry) => json(entry),
        }
    }

    /// What a row says.
    pub(super) fn read(row: &[u8]) -> Result<Self, ViewError> {
        let Some((&AMONG_TARGETS, rest)) = row.split_first() else {
            return read(row).map(Self::Manual);
        };
        let place = rest.split_first_chunk::<16>().and_then(|(id, place)| {
            let id = CampaignId::from_uuid(uuid::Uuid::from_bytes(*id));
            Some(Self::Target(id, u32::from_be_bytes(place.try_into().ok()?)))
        });
        place.ok_or_else(|| ViewError::Damaged { detail: "a place has another length".to_owned() })
    }
}
