//! What users ask of campaigns at work: how one stands at this moment, its targets, what is out of
//! service. Lists and pages come from [`view`](crate::view), which wakes no campaign.

use hedgerow_core::{
    Campaign, CampaignId, CampaignStatus, DeviceId, FailureReason, ManualUpdate, OperationId,
    Outcome, RolloutLimits, Settlement, StoredEvent, StreamId, TargetCounts, TargetStatus,
    TargetView, TenantId, Timestamp, Why, event::CampaignEvent,
};
use serde::{Deserialize, Serialize};

use crate::registry::StreamState;
use crate::store::StreamSummary;
use crate::store::checksum::Chain;
use crate::{Engine, EngineError, LoadError};

/// How a campaign stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// The campaign.
    pub campaign: CampaignId,
    /// Its name.
    pub name: String,
    /// The version of its image.
    pub version: String,
    /// Where it stands.
    pub status: CampaignStatus,
    /// How it ended, once it is finished.
    pub outcome: Option<Outcome>,
    /// Its targets by status.
    pub targets: TargetCounts,
    /// How many of its targets have a device that has shown something else than how they ended (D22).
    pub contradictions: usize,
    /// Its limits.
    pub limits: RolloutLimits,
    /// Whether the transport is known to be down (D10).
    pub transport_is_down: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it is to start, if it is scheduled.
    pub scheduled_at: Option<Timestamp>,
    /// When its snapshot was complete.
    pub started_at: Option<Timestamp>,
    /// When it got its outcome.
    pub finished_at: Option<Timestamp>,
    /// How many events it has.
    pub events: u64,
}

impl Progress {
    fn of(campaign: &Campaign, transport_is_down: bool) -> Self {
        let definition = campaign.definition();
        Self {
            campaign: campaign.id(),
            name: definition.name.to_string(),
            version: definition.base_image.version.to_string(),
            status: campaign.status(),
            outcome: campaign.outcome(),
            targets: campaign.counts(),
            contradictions: campaign.contradictions(),
            limits: campaign.limits().clone(),
            transport_is_down,
            created_at: campaign.created_at(),
            scheduled_at: campaign.scheduled_at(),
            started_at: campaign.started_at(),
            finished_at: campaign.finished_at(),
            events: campaign.version(),
        }
    }
}

/// Which targets are wanted; `None` lets everything pass. Read from outside, a key that is not
/// known is an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetFilter {
    /// Only those of this status.
    pub status: Option<TargetStatus>,
    /// Only those that failed for this reason.
    pub reason: Option<FailureReason>,
    /// Only those behind this place in the snapshot; the `next` of the page before.
    pub after: Option<u32>,
    /// At most so many; at most 10,000 are given at once.
    pub limit: usize,
}

impl Default for TargetFilter {
    fn default() -> Self {
        Self { status: None, reason: None, after: None, limit: 1_000 }
    }
}

/// A page of targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TargetPage {
    /// The targets, in snapshot order.
    pub targets: Vec<TargetView>,
    /// To be given as `after` for the next page; `None`: this is the last one.
    pub next: Option<u32>,
}

fn page(campaign: &Campaign, filter: &TargetFilter) -> TargetPage {
    let wanted = |target: &TargetView| {
        filter.status.is_none_or(|status| target.status == status)
            && filter.reason.is_none_or(|reason| target.settlement == Settlement::Failed(reason))
    };
    let limit = filter.limit.clamp(1, 10_000);
    let from = filter.after.map_or(0, |after| after.saturating_add(1));
    let mut targets = Vec::new();
    let mut next = None;
    let mut last = 0;
    for (place, target) in (0_u32..).zip(campaign.targets()).skip(from as usize) {
        if !wanted(&target) {
            continue;
        }
        if targets.len() == limit {
            next = Some(last);
            break;
        }
        targets.push(target);
        last = place;
    }
    TargetPage { targets, next }
}

impl Engine {
    /// How a campaign stands.
    ///
    /// # Errors
    /// [`EngineError::UnknownStream`], [`EngineError::Quarantined`], [`EngineError::Store`].
    pub async fn progress(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Progress, EngineError> {
        let stream = StreamId::Campaign(id);
        let look = |live: &crate::live::Live| {
            live.campaign().map(|live| Progress::of(live.campaign(), live.knows_of_outage()))
        };
        self.look(tenant, stream, look).await?.ok_or(EngineError::UnknownStream { stream })
    }

    /// The targets of a campaign, filtered and page by page.
    ///
    /// # Errors
    /// As [`Engine::progress`].
    pub async fn targets(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        filter: TargetFilter,
    ) -> Result<TargetPage, EngineError> {
        let stream = StreamId::Campaign(id);
        let look = move |live: &crate::live::Live| {
            live.campaign().map(|live| page(live.campaign(), &filter))
        };
        self.look(tenant, stream, look).await?.ok_or(EngineError::UnknownStream { stream })
    }

    /// Why targets of a campaign failed, with the number of each reason.
    ///
    /// # Errors
    /// As [`Engine::progress`].
    pub async fn failure_reasons(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Vec<(FailureReason, u32)>, EngineError> {
        let stream = StreamId::Campaign(id);
        let look =
            |live: &crate::live::Live| live.campaign().map(|l| l.campaign().failure_reasons());
        self.look(tenant, stream, look).await?.ok_or(EngineError::UnknownStream { stream })
    }

    /// What a device's target does now, and if it waits, what for and until when (P2). `None`: the
    /// device is none of the campaign's targets.
    ///
    /// # Errors
    /// As [`Engine::progress`].
    pub async fn why(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        device: DeviceId,
    ) -> Result<Option<Why>, EngineError> {
        let stream = StreamId::Campaign(id);
        let now = self.shared.now();
        let look =
            move |live: &crate::live::Live| live.campaign().map(|live| live.why(device, now));
        self.look(tenant, stream, look).await?.ok_or(EngineError::UnknownStream { stream })
    }

    /// Everything that was recorded about one device in a campaign, in order.
    ///
    /// # Errors
    /// [`EngineError::Store`], or [`EngineError::Quarantined`] for an event that cannot be read.
    pub async fn history(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        device: DeviceId,
    ) -> Result<Vec<StoredEvent>, EngineError> {
        let stream = StreamId::Campaign(id);
        let mut history = Vec::new();
        let mut chain = Chain::default();
        loop {
            let after = chain.version();
            let page = self.shared.store.read_stream(tenant, stream, after, 10_000).await?;
            if page.is_empty() {
                return Ok(history);
            }
            for stored in page {
                chain.check(&stored).map_err(|error| EngineError::Quarantined {
                    stream,
                    cause: Box::new(LoadError::Store(error)),
                })?;
                let event = CampaignEvent::from_stored(&stored).map_err(|error| {
                    EngineError::Quarantined { stream, cause: Box::new(LoadError::Event(error)) }
                })?;
                if event.device() == Some(device) {
                    history.push(stored);
                }
            }
        }
    }

    /// How a manual update stands; `None`: there is none with that operation.
    ///
    /// # Errors
    /// [`EngineError::Quarantined`], [`EngineError::Store`].
    pub async fn manual_update(
        &self,
        tenant: &TenantId,
        id: OperationId,
    ) -> Result<Option<ManualUpdate>, EngineError> {
        let look = |live: &crate::live::Live| live.manual().map(|live| live.update().clone());
        match self.look(tenant, StreamId::ManualUpdate(id), look).await {
            Err(EngineError::UnknownStream { .. }) => Ok(None),
            other => other,
        }
    }

    /// The streams of a tenant, in the order in which they were created.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    pub async fn streams(&self, tenant: &TenantId) -> Result<Vec<StreamSummary>, EngineError> {
        let streams = self.shared.store.streams().await?;
        Ok(streams.into_iter().filter(|stream| stream.tenant == *tenant).collect())
    }

    /// The streams of a tenant that are out of service, and why (D21).
    #[must_use]
    pub fn quarantined(&self, tenant: &TenantId) -> Vec<(StreamId, LoadError)> {
        self.shared
            .registry()
            .streams
            .iter()
            .filter(|((of, _), _)| of == tenant)
            .filter_map(|((_, stream), state)| match state {
                StreamState::Quarantined(error) => Some((*stream, error.clone())),
                _ => None,
            })
            .collect()
    }
}
