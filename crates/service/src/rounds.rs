//! Rounds over the files of base images: what nothing names is removed, and what is named and not
//! there is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hedgerow_catalogue::files::{FileError, FileKey, ImageFiles};
use hedgerow_catalogue::{Catalogue, CatalogueError};
use hedgerow_core::{CampaignStatus, ImageUrl, StreamId, TenantId};
use hedgerow_engine::view::CampaignQuery;
use hedgerow_engine::{Engine, EngineError};

use crate::metrics::Counters;

/// The longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// What rounds are made over.
pub(crate) struct Rounds {
    pub(crate) files: ImageFiles,
    pub(crate) catalogue: Catalogue,
    pub(crate) engine: Engine,
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) counters: Arc<Counters>,
    /// For how long a file that nothing names is kept.
    pub(crate) keep_unnamed: Duration,
}

/// Why a round did not come to its end. The next one begins anew.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Files(#[from] FileError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Rounds {
    /// Makes rounds for ever.
    pub(crate) async fn run(self) {
        let pause = (self.keep_unnamed / 4).clamp(Duration::from_secs(1), LONGEST_PAUSE);
        loop {
            // Not at once: what is at work is still being loaded.
            tokio::time::sleep(pause).await;
            match self.files.remove_broken_off(self.keep_unnamed).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "removed what was left of uploads"),
                Err(error) => self.failed(&error),
            }
            let mut missing = 0;
            for tenant in &self.tenants {
                match self.round(tenant).await {
                    Ok(count) => missing += count,
                    Err(error) => self.failed(&error),
                }
            }
            self.counters.files_missing.store(missing, Ordering::Relaxed);
        }
    }

    fn failed(&self, error: &dyn std::error::Error) {
        self.counters.file_rounds_failed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%error, "a round over image files was broken off");
    }

    /// One round over the files of a tenant; how many are named and not there.
    async fn round(&self, tenant: &TenantId) -> Result<u64, RoundError> {
        let unnamed = async |keys: Vec<FileKey>| match self.needed(tenant).await {
            Ok(named) => keys.into_iter().filter(|key| !named.contains(key)).collect(),
            Err(error) => {
                // What is named is not known: nothing is removed.
                self.failed(&error);
                Vec::new()
            }
        };
        let swept = self.files.sweep(tenant, self.keep_unnamed, unnamed).await?;
        self.counters.files_removed.fetch_add(swept.removed, Ordering::Relaxed);
        let mut missing = 0;
        for key in self.named(tenant).await? {
            match self.files.size_bytes(&key).await {
                Ok(_) => {}
                Err(FileError::Missing { .. }) => {
                    missing += 1;
                    tracing::error!(%tenant, %key, "a base image names a file that is not there: restore it, or upload the image again");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(missing)
    }

    /// The files that the catalogue names now.
    async fn named(&self, tenant: &TenantId) -> Result<BTreeSet<FileKey>, CatalogueError> {
        let fleet = self.catalogue.tenant(tenant).await?;
        // A key that is none of ours cannot be one of the files that are asked about.
        Ok(fleet.file_keys().filter_map(|key| key.parse().ok()).collect())
    }

    /// The files that something needs now: those that the catalogue names, and those that devices are
    /// told to fetch or may be told to, whatever became of their images.
    async fn needed(&self, tenant: &TenantId) -> Result<BTreeSet<FileKey>, RoundError> {
        let mut needed = self.named(tenant).await?;
        let mut take = |url: &ImageUrl| needed.extend(self.files.key_of(url));
        for status in UNFINISHED {
            let mut query =
                CampaignQuery { status: Some(status), limit: PAGE, ..CampaignQuery::default() };
            loop {
                let page = self.engine.campaigns(tenant, &query).await?;
                for entry in &page.entries {
                    take(&entry.definition.base_image.url);
                }
                match page.next {
                    Some(next) => query.after = Some(next),
                    None => break,
                }
            }
        }
        // Also of campaigns that have ended, and of manual updates.
        let in_progress = self.engine.operations_in_progress(tenant).await?;
        let streams: BTreeSet<_> = in_progress.iter().map(|operation| operation.stream).collect();
        for stream in streams {
            match stream {
                StreamId::Campaign(id) => {
                    let definition = self.engine.definition(tenant, id).await?;
                    if let Some(definition) = &definition {
                        take(&definition.base_image.url);
                    }
                }
                StreamId::ManualUpdate(id) => {
                    let update = self.engine.manual_update(tenant, id).await?;
                    if let Some(update) = &update {
                        take(&update.definition().url);
                    }
                }
                StreamId::Catalogue => {}
            }
        }
        Ok(needed)
    }
}

/// Campaigns that may still send requests.
const UNFINISHED: [CampaignStatus; 5] = [
    CampaignStatus::Scheduled,
    CampaignStatus::Idle,
    CampaignStatus::InProgress,
    CampaignStatus::Pausing,
    CampaignStatus::Paused,
];
/// Campaigns that are asked for at once.
const PAGE: usize = 500;
