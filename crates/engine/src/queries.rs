//! What users ask of campaigns at work: how one stands at this moment, what a target waits for, what
//! is out of service. No question wakes a campaign: of one that is not in memory the rows tell
//! (`lists`).

use hedgerow_core::{
    Campaign, CampaignId, CampaignStatus, DeviceId, Hold, HoldReason, ManualUpdate, OperationId,
    Outcome, Phase, RolloutLimits, StreamId, TargetCounts, TargetStatus, TenantId, Timestamp, Why,
};
use serde::Serialize;

use crate::live::Live;
use crate::registry::StreamState;
use crate::streams::Asked;
use crate::view::{CampaignEntry, TargetEntry};
use crate::{Engine, EngineError, LoadError, manual_update_at};

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

    /// Of a row, which knows of no transport.
    fn of_row(entry: &CampaignEntry) -> Self {
        let definition = &entry.definition;
        Self {
            campaign: entry.campaign,
            name: definition.name.to_string(),
            version: definition.base_image.version.to_string(),
            status: entry.status,
            outcome: entry.outcome,
            targets: entry.targets,
            contradictions: entry.contradictions,
            limits: definition.rollout.limits().clone(),
            transport_is_down: false,
            created_at: entry.created_at,
            scheduled_at: entry.scheduled_at,
            started_at: entry.started_at,
            finished_at: entry.finished_at,
            events: entry.events,
        }
    }
}

impl From<&Campaign> for Progress {
    /// As the log tells; what the transport does is in no log.
    fn from(campaign: &Campaign) -> Self {
        Self::of(campaign, false)
    }
}

/// Why a target of a campaign that is not at work stands as it does.
fn why(entry: &CampaignEntry, target: &TargetEntry) -> Why {
    match target.status {
        TargetStatus::Idle => Why::Held(Hold {
            reason: match entry.status {
                CampaignStatus::Scheduled => HoldReason::Scheduled,
                CampaignStatus::Idle => HoldReason::SelectingTargets,
                CampaignStatus::InProgress => HoldReason::Recovering,
                CampaignStatus::Pausing | CampaignStatus::Paused => HoldReason::Paused,
                CampaignStatus::Finished | CampaignStatus::Deleted => HoldReason::Ended,
            },
            until: entry.scheduled_at.filter(|_| entry.status == CampaignStatus::Scheduled),
        }),
        TargetStatus::InProgress => {
            let operation = target.details.as_ref().and_then(|details| details.operation.as_ref());
            Why::InProgress { phase: operation.map_or(Phase::Pending, |operation| operation.phase) }
        }
        _ => Why::Settled { settlement: target.settlement },
    }
}

impl Engine {
    /// How a campaign stands. One at work tells of this very moment, and whether its transport is
    /// down; of another one the [rows](crate::EngineBuilder::views) tell.
    ///
    /// # Errors
    /// [`EngineError::UnknownStream`], [`EngineError::Removed`], [`EngineError::Quarantined`];
    /// [`EngineError::NotReady`] while the rows do not show it yet; [`EngineError::NoRows`] of one that is not at work, with
    /// [`EngineError::Rows`] and [`EngineError::Store`].
    pub async fn progress(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Progress, EngineError> {
        let stream = StreamId::Campaign(id);
        let look = |live: &Live| {
            live.campaign().map(|live| Progress::of(live.campaign(), live.knows_of_outage()))
        };
        let asked = self.look_at_work(tenant, stream, look).await?;
        if let Asked::Answered(Some(progress)) = asked {
            return Ok(progress);
        }
        Ok(Progress::of_row(&self.not_at_work(tenant, id, asked).await?))
    }

    /// What a device's target does now, and if it waits, what for and until when (P2). `None`: the
    /// device is none of the campaign's targets. As for [`Engine::progress`], of a campaign that is
    /// not at work the rows tell.
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
        let look = move |live: &Live| live.campaign().map(|live| live.why(device, now));
        let asked = self.look_at_work(tenant, stream, look).await?;
        if let Asked::Answered(Some(why)) = asked {
            return Ok(why);
        }
        let entry = self.not_at_work(tenant, id, asked).await?;
        let target = self.shared.views().await?.target(tenant, id, device).await?;
        Ok(target.map(|target| why(&entry, &target)))
    }

    /// As [`Engine::why`], for several targets of a page at once: their campaign is asked only once.
    ///
    /// # Errors
    /// As [`Engine::progress`].
    pub async fn whys(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        targets: &[TargetEntry],
    ) -> Result<Vec<Option<Why>>, EngineError> {
        let stream = StreamId::Campaign(id);
        let now = self.shared.now();
        let devices: Vec<_> = targets.iter().map(|target| target.device).collect();
        let look = move |live: &Live| {
            let live = live.campaign()?;
            Some(devices.iter().map(|device| live.why(*device, now)).collect())
        };
        let asked = self.look_at_work(tenant, stream, look).await?;
        if let Asked::Answered(Some(whys)) = asked {
            return Ok(whys);
        }
        let entry = self.not_at_work(tenant, id, asked).await?;
        Ok(targets.iter().map(|target| Some(why(&entry, target))).collect())
    }

    /// A copy of the state of a campaign at work, as of its last commit: to look closely at one
    /// campaign, or to compare it with the log (E1). It has every target. `None`: it is not at work.
    ///
    /// # Errors
    /// [`EngineError::Quarantined`], [`EngineError::Busy`], [`EngineError::Store`] while the store
    /// fails.
    pub async fn state(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<Campaign>, EngineError> {
        let look = |live: &Live| live.campaign().map(|live| live.campaign().clone());
        match self.look_at_work(tenant, StreamId::Campaign(id), look).await? {
            Asked::Answered(state) => Ok(state),
            Asked::Loading | Asked::NotAtWork => Ok(None),
        }
    }

    /// How a manual update stands; `None`: there is none with that operation. One that is not at work
    /// is read from the log, which has few events of it.
    ///
    /// # Errors
    /// [`EngineError::Quarantined`], [`EngineError::Store`], [`EngineError::NotReady`] while it is
    /// being loaded.
    pub async fn manual_update(
        &self,
        tenant: &TenantId,
        id: OperationId,
    ) -> Result<Option<ManualUpdate>, EngineError> {
        let stream = StreamId::ManualUpdate(id);
        let look = |live: &Live| live.manual().map(|live| live.update().clone());
        match self.look_at_work(tenant, stream, look).await? {
            Asked::Answered(update) => return Ok(update),
            Asked::Loading => return Err(EngineError::NotReady { stream }),
            Asked::NotAtWork => {}
        }
        manual_update_at(&*self.shared.store, tenant, id, None).await.map_err(|error| match error {
            LoadError::Store(error) if error.may_pass() => error.into(),
            cause => EngineError::Quarantined { stream, cause: Box::new(cause) },
        })
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

    /// A campaign that is not at work, as the rows show it.
    async fn not_at_work<T>(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        asked: Asked<T>,
    ) -> Result<CampaignEntry, EngineError> {
        let stream = StreamId::Campaign(id);
        let shown = match self.shared.views().await {
            Ok(views) => views.campaign(tenant, id).await?,
            Err(_) if matches!(asked, Asked::Loading) => {
                return Err(EngineError::NotReady { stream });
            }
            Err(no_rows) => {
                self.accepting()?;
                return Err(self.not_shown(tenant, stream, no_rows).await?);
            }
        };
        if let Some(shown) = shown {
            return match shown.unreadable {
                None => Ok(shown),
                Some(detail) => Err(EngineError::Unreadable { stream, detail }),
            };
        }
        // Rows may be behind.
        Err(self.not_shown(tenant, stream, EngineError::NotReady { stream }).await?)
    }

    /// What is to be said of a stream that nothing shows: `if_there`, if the log has it.
    ///
    /// # Errors
    /// [`EngineError::Store`].
    async fn not_shown(
        &self,
        tenant: &TenantId,
        stream: StreamId,
        if_there: EngineError,
    ) -> Result<EngineError, EngineError> {
        if self.is_there(tenant, stream).await? {
            return Ok(if_there);
        }
        Ok(match self.shared.store.removed(tenant, stream).await? {
            Some(_) => EngineError::Removed { stream },
            None => EngineError::UnknownStream { stream },
        })
    }

    /// Whether the log has a stream.
    pub(crate) async fn is_there(
        &self,
        tenant: &TenantId,
        stream: StreamId,
    ) -> Result<bool, EngineError> {
        Ok(!self.shared.store.read_stream(tenant, stream, 0, 1).await?.is_empty())
    }
}
