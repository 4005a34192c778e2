//! An update campaign: its folded state and how one looks at it.
//!
//! | Where | What |
//! |---|---|
//! | `targets` | the snapshot's targets, struct of arrays |
//! | `target_map` | what only few targets have at a time |
//! | `apply` | the folded state, and the fold: one event into it (E1) |
//! | `observations` | what is volatile: presence, reads and calls under way (E7) |
//! | `schedule` | what follows from both: whose turn may come, and what is due when |
//! | `outage` | whether the transport is known to be down, and who tries it (D10) |
//! | `admission` | may this target start now, and if not, why and until when (P2) |
//! | `ready` | whose turn it is (D4) |
//! | `unfinished_targets` | which targets are still to come to an end |
//! | `decide` | the rules: what an input leads to, one file per concern (E2) |
//! | `batch` | inputs that wait together, and their order (D13, D16) |
//! | `live` | a campaign at work: state and observations together; effects |
//! | `fingerprint` | what tells two campaigns apart, for model checkers |
//! | `handling` | one input being handled: record, follow up, fire timers |

mod admission;
mod apply;
mod batch;
mod decide;
mod fingerprint;
mod handling;
mod live;
mod observations;
mod outage;
mod ready;
mod schedule;
mod target_map;
mod targets;
mod unfinished_targets;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

pub use admission::{Hold, HoldReason, Why};
pub use apply::Campaign;
pub use decide::{CreateError, Rejection};
pub use live::{Decision, LiveCampaign};
pub use targets::TargetCounts;
pub use unfinished_targets::OpenTarget;

use crate::definition::CampaignDefinition;
use crate::envelope::StreamId;
use crate::fleet::ImageUrl;
use crate::id::{CampaignId, DeviceId, OperationId, TenantId};
use crate::operation::Operation;
use crate::reason::FailureReason;
use crate::rollout::RolloutLimits;
use crate::status::{CampaignStatus, Outcome, Settlement, TargetStatus};
use crate::time::Timestamp;

/// How long after a campaign's end what its devices show is still looked at (D22).
pub const WATCHED: Duration = Duration::from_secs(24 * 3600);

/// One target, as a user sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TargetView {
    /// The device.
    pub device: DeviceId,
    /// Where it stands.
    pub status: TargetStatus,
    /// How it became final.
    pub settlement: Settlement,
    /// Resends of its latest operation.
    pub retry_count: u16,
    /// Its operation, if that has not ended.
    pub operation: Option<Operation>,
    /// When it may be attempted again, if it waits.
    pub not_before: Option<Timestamp>,
    /// The version that its device first showed in contradiction to how it ended (D22).
    pub contradiction: Option<String>,
}

impl Campaign {
    /// The tenant that it belongs to (D21).
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> CampaignId {
        self.id
    }

    /// Its stream (E10).
    #[must_use]
    pub fn stream(&self) -> StreamId {
        StreamId::Campaign(self.id)
    }

    /// How many events were folded into it.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What it is to do.
    #[must_use]
    pub fn definition(&self) -> &CampaignDefinition {
        &self.definition
    }

    /// When it is to start, if it is scheduled.
    #[must_use]
    pub fn scheduled_at(&self) -> Option<Timestamp> {
        self.scheduled_at
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> CampaignStatus {
        self.status
    }

    /// How it ended, exactly when it is finished.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// When it was created.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When its snapshot was complete (D1).
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// When it got its outcome.
    #[must_use]
    pub fn finished_at(&self) -> Option<Timestamp> {
        self.finished_at
    }

    /// Its limits, as they are in force.
    #[must_use]
    pub fn limits(&self) -> &RolloutLimits {
        self.definition.rollout.limits()
    }

    /// How many targets there are of each status.
    #[must_use]
    pub fn counts(&self) -> TargetCounts {
        self.targets.counts()
    }

    /// Whether more targets have failed than the failure limit allows (D13).
    #[must_use]
    pub fn failure_limit_is_exceeded(&self) -> bool {
        let counts = self.counts();
        self.limits().max_failure_percentage.is_exceeded_by(counts.failed, counts.total)
    }

    /// Whether its snapshot is complete and has fewer targets than were asked for (D3).
    #[must_use]
    pub fn misses_minimum(&self) -> bool {
        let least = self.definition.rollout.minimum_targets();
        self.started_at.is_some() && self.counts().total < least
    }

    /// Whether nothing happens by itself any more: only a late report can still be recorded.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self.status {
            CampaignStatus::Deleted => true,
            CampaignStatus::Finished => self.counts().in_progress == 0,
            _ => false,
        }
    }

    /// The devices of the snapshot, in its order.
    #[must_use]
    pub fn devices(&self) -> &[DeviceId] {
        self.targets.devices()
    }

    /// The target of a device.
    #[must_use]
    pub fn target(&self, device: DeviceId) -> Option<TargetView> {
        self.targets.find(device).map(|target| self.view(target))
    }

    /// The place in the snapshot, from 0, of a device that is a target.
    #[must_use]
    pub fn place_of(&self, device: DeviceId) -> Option<u32> {
        self.targets.find(device)
    }

    /// How the target at a place in the snapshot stands, and how it became final.
    #[must_use]
    pub fn standing_at(&self, place: u32) -> Option<(TargetStatus, Settlement)> {
        let is_there = place < self.targets.len();
        is_there.then(|| (self.targets.status(place), self.targets.settlement(place)))
    }

    /// The target at a place in the snapshot.
    #[must_use]
    pub fn target_at(&self, place: u32) -> Option<TargetView> {
        (place < self.targets.len()).then(|| self.view(place))
    }

    /// All targets, in snapshot order.
    #[must_use]
    pub fn targets(&self) -> impl ExactSizeIterator<Item = TargetView> + '_ {
        (0..self.targets.len()).map(|target| self.view(target))
    }

    /// Operations that have not ended, with their devices.
    pub fn active_operations(&self) -> impl Iterator<Item = (DeviceId, OperationId)> + '_ {
        self.operations
            .iter()
            .map(|(target, operation)| (self.targets.device(target), operation.id))
    }

    /// The failed targets' reasons with the number of each, the most frequent first.
    #[must_use]
    pub fn failure_reasons(&self) -> Vec<(FailureReason, u32)> {
        let mut reasons = BTreeMap::new();
        for target in 0..self.targets.len() {
            if let Settlement::Failed(reason) = self.targets.settlement(target) {
                *reasons.entry(reason).or_insert(0_u32) += 1;
            }
        }
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason));
        reasons
    }

    /// How many targets have a device that showed something else than how they ended (D22).
    #[must_use]
    pub fn contradictions(&self) -> usize {
        self.contradictions.iter().len()
    }

    /// Until when what its devices show is looked at, once it is finished (D22); `None` if nothing
    /// can contradict any more.
    #[must_use]
    pub fn watched_until(&self) -> Option<Timestamp> {
        let counts = self.counts();
        let ended = counts.successful + counts.failed;
        let seen = u32::try_from(self.contradictions()).unwrap_or(u32::MAX);
        self.finished_at.filter(|_| ended > seen).map(|at| at + WATCHED)
    }

    /// Whether what the target's device shows at `now` may contradict how it ended (D22).
    fn may_be_contradicted(&self, target: u32, now: Timestamp) -> bool {
        let status = self.targets.status(target);
        matches!(status, TargetStatus::Successful | TargetStatus::Failed)
            && !self.contradictions.contains(target)
            && self.finished_at.is_none_or(|at| now <= at + WATCHED)
    }

    /// Completes a state that was read back from its serialised form. `false`: it is damaged, fold
    /// the log instead.
    #[must_use]
    pub fn restore(&mut self) -> bool {
        let targets = self.targets.rebuild();
        let within = |all: &[u32]| all.last().is_none_or(|last| *last < self.targets.len());
        targets
            && self.policies.is_of(self.targets.devices().len())
            && within(&self.operations.targets())
            && within(&self.urls.targets())
            && within(&self.not_before.targets())
            && within(&self.contradictions.targets())
    }

    /// When a policy of the rollout has something to record next, if the campaign still runs (P3).
    fn policies_due_at(&self) -> Option<Timestamp> {
        self.policies.due_at(self.started_at).filter(|_| self.status.is_running())
    }

    /// The URL that is sent for the target's operation (D23).
    fn url(&self, target: u32) -> &ImageUrl {
        self.urls.get(target).unwrap_or(&self.definition.base_image.url)
    }

    fn view(&self, target: u32) -> TargetView {
        TargetView {
            device: self.targets.device(target),
            status: self.targets.status(target),
            settlement: self.targets.settlement(target),
            retry_count: self.targets.retries(target),
            operation: self.operations.get(target).cloned(),
            not_before: self.not_before.get(target).copied(),
            contradiction: self.contradictions.get(target).cloned(),
        }
    }
}
