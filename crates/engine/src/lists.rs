//! Lists and pages, answered from the rows that the engine keeps: no question loads or wakes a
//! campaign, and each is one range of keys.

use std::collections::BTreeMap;

use hedgerow_core::{
    CampaignDefinition, CampaignId, DeviceId, FailureReason, StreamId, TargetCounts, TenantId,
    Timestamp,
};

use crate::view::{
    CampaignEntry, CampaignQuery, Cursor, OperationEntry, Page, TargetEntries, TargetEntry,
    TargetQuery,
};
use crate::{Engine, EngineError};

/// # Questions that rows answer
///
/// They show all that this engine had recorded when it was asked: who asks after a command sees what
/// came of it. For that a question waits, for a second at most; where rows are behind by more, such
/// as while they are made for the first time, it shows what there is
/// ([`EngineStats::rows`](crate::EngineStats::rows) says how far they are). What other engines and
/// programs write shows a moment later ([`EngineBuilder::look_for_others`]).
///
/// [`EngineBuilder::look_for_others`]: crate::EngineBuilder::look_for_others
impl Engine {
    /// The campaigns of a tenant, filtered, sorted and page by page.
    ///
    /// # Errors
    /// [`EngineError::NoRows`], [`EngineError::Rows`]; as for every question here. Those about one
    /// campaign also [`EngineError::NotReady`], while rows are being made and do not show it yet, and
    /// [`EngineError::Store`].
    pub async fn campaigns(
        &self,
        tenant: &TenantId,
        query: &CampaignQuery,
    ) -> Result<Page<CampaignEntry>, EngineError> {
        Ok(self.shared.views().await?.campaigns(tenant, query).await?)
    }

    /// A campaign: its definition, its counts, its failures by reason; `None`: there is none. How one
    /// at work stands at this very moment says [`Engine::progress`].
    ///
    /// # Errors
    /// As [`Engine::campaigns`].
    pub async fn campaign(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<CampaignEntry>, EngineError> {
        let campaign = self.shared.views().await?.campaign(tenant, id).await?;
        self.shown_or_unknown(tenant, id, campaign).await
    }

    /// What a campaign is to do, with the edits that were made; `None`: there is no such campaign.
    ///
    /// # Errors
    /// As [`Engine::campaigns`].
    pub async fn definition(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<CampaignDefinition>, EngineError> {
        Ok(self.campaign(tenant, id).await?.map(|campaign| campaign.definition))
    }

    /// How many targets of a campaign failed for which reason; `None`: there is no such campaign.
    ///
    /// # Errors
    /// As [`Engine::campaigns`].
    pub async fn failure_reasons(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<BTreeMap<FailureReason, u32>>, EngineError> {
        Ok(self.campaign(tenant, id).await?.map(|campaign| campaign.failures))
    }

    /// The targets of a campaign, filtered and page by page; `None`: there is no such campaign.
    ///
    /// # Errors
    /// As [`Engine::campaigns`].
    pub async fn targets(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        query: &TargetQuery,
    ) -> Result<Option<TargetEntries>, EngineError> {
        let targets = self.shared.views().await?.targets(tenant, id, query).await?;
        self.shown_or_unknown(tenant, id, targets).await
    }

    /// The target that a device is of a campaign; `None`: it is none.
    ///
    /// # Errors
    /// As [`Engine::campaigns`].
    pub async fn target(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        device: DeviceId,
    ) -> Result<Option<TargetEntry>, EngineError> {
        let target = self.shared.views().await?.target(tenant, id, device).await?;
        if target.is_none() {
            // Of a campaign that is not shown yet it may be one.
            self.campaign(tenant, id).await?;
        }
        Ok(target)
    }

    /// The operations of a device, of all campaigns and manual updates, the latest first, page by
    /// page.
    ///
    /// # Errors
    /// As [`Engine::campaigns`].
    pub async fn device_history(
        &self,
        tenant: &TenantId,
        device: DeviceId,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<OperationEntry>, EngineError> {
        Ok(self.shared.views().await?.operations(tenant, device, after, limit).await?)
    }

    /// How the targets of a campaign stood at so many points in time: for a chart; see
    /// [`Views::counts_over_time`](crate::view::Views::counts_over_time).
    ///
    /// # Errors
    /// As [`Engine::campaigns`].
    pub async fn counts_over_time(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        within: (Timestamp, Timestamp),
        points: u32,
    ) -> Result<Vec<(Timestamp, TargetCounts)>, EngineError> {
        Ok(self.shared.views().await?.counts_over_time(tenant, id, within, points).await?)
    }

    /// What rows show of a campaign. One that they do not show, though the log has it, is not unknown:
    /// they are still being made.
    async fn shown_or_unknown<T>(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        shown: Option<T>,
    ) -> Result<Option<T>, EngineError> {
        let stream = StreamId::Campaign(id);
        if shown.is_none() && self.is_there(tenant, stream).await? {
            return Err(EngineError::NotReady { stream });
        }
        Ok(shown)
    }
}
