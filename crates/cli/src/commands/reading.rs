//! What the commands that read logs share: finding a campaign in a file, and what can go wrong.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hedgerow_core::event::EventError;
use hedgerow_core::{CampaignId, DeviceId, StreamId, TenantId};
use hedgerow_engine::LoadError;
use hedgerow_engine::store::{StoreError, StreamSummary};
use hedgerow_engine::view::{AskError, FollowError, StepError, ViewError};
use hedgerow_sqlite::{OpenError, ViewsError};

use super::naming::CampaignName;

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error("the data of event {version} of {stream} is no JSON ({source}): it is damaged, restore {} from a backup", file.display())]
    Data { file: PathBuf, stream: StreamId, version: u64, source: serde_json::Error },
    #[error("there is no campaign {campaign} in {}: `hedgerow show {}` lists what there is, and `hedgerow import` brings back what was pruned", file.display(), file.display())]
    NoCampaign { file: PathBuf, campaign: CampaignName },
    #[error("{beginning} may be {}: give more of its id", either(campaigns))]
    SeveralCampaigns { beginning: CampaignName, campaigns: Vec<CampaignId> },
    #[error("campaign {campaign} exists in several tenants: give --tenant and one of {}", tenants.join(", "))]
    SeveralTenants { campaign: CampaignId, tenants: Vec<String> },
    #[error("campaign {campaign} has no event {at}, only {events}: give --at 1 to {events}")]
    NoEvent { campaign: CampaignId, at: u64, events: u64 },
    #[error("device {device} is no target of campaign {campaign}: `hedgerow show {} {campaign} --json` lists its targets", file.display())]
    NoTarget { file: PathBuf, campaign: CampaignId, device: DeviceId },
    #[error("device {device} is no target of campaign {campaign} at its event {at}: `hedgerow show {} {campaign} --at {at} --json` lists those of then; leave --at out for those of now", file.display())]
    NoTargetThen { file: PathBuf, campaign: CampaignId, device: DeviceId, at: u64 },
    #[error("{} has several tenants: give --tenant and one of {}", file.display(), tenants.join(", "))]
    WhichTenant { file: PathBuf, tenants: Vec<String> },
    #[error("{} has no campaign: none was created yet, or all were pruned, and `hedgerow import` brings them back", file.display())]
    NoTenant { file: PathBuf },
    #[error("{} has no tenant {tenant}: give one of {}", file.display(), tenants.join(", "))]
    UnknownTenant { file: PathBuf, tenant: TenantId, tenants: Vec<String> },
    #[error(transparent)]
    Views(#[from] ViewsError),
    #[error(transparent)]
    Rows(#[from] ViewError),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("what is said of campaign {campaign} is from before something that cannot be read: {detail}{}", of_others(*others))]
    Partly { campaign: CampaignId, detail: String, others: usize },
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

pub(super) fn finish(result: Result<(), ReadError>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let code = match &error {
        // Whoever reads has seen enough.
        ReadError::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        ReadError::NoCampaign { .. }
        | ReadError::NoTenant { .. }
        | ReadError::UnknownTenant { .. }
        | ReadError::NoEvent { .. }
        | ReadError::NoTarget { .. }
        | ReadError::NoTargetThen { .. } => 1,
        ReadError::SeveralTenants { .. }
        | ReadError::SeveralCampaigns { .. }
        | ReadError::WhichTenant { .. }
        | ReadError::Ask(AskError::OtherList { .. }) => 2,
        _ => 3,
    };
    eprintln!("error: {error}");
    ExitCode::from(code)
}

/// A campaign that is in a log.
pub(super) struct Found {
    pub(super) tenant: TenantId,
    pub(super) campaign: CampaignId,
    /// How many events it has.
    pub(super) events: u64,
}

impl Found {
    pub(super) fn stream(&self) -> StreamId {
        StreamId::Campaign(self.campaign)
    }
}

/// The campaign that is named so: of this tenant, or the only one that there is.
pub(super) fn find(
    streams: &[StreamSummary],
    file: &Path,
    tenant: Option<&TenantId>,
    name: &CampaignName,
) -> Result<Found, ReadError> {
    let mut found = Vec::new();
    for summary in streams {
        if let StreamId::Campaign(campaign) = summary.stream
            && name.fits(campaign)
            && tenant.is_none_or(|tenant| summary.tenant == *tenant)
        {
            let tenant = summary.tenant.clone();
            found.push(Found { tenant, campaign, events: summary.version });
        }
    }
    let mut campaigns: Vec<_> = found.iter().map(|found| found.campaign).collect();
    campaigns.sort_unstable();
    campaigns.dedup();
    if campaigns.len() > 1 {
        return Err(ReadError::SeveralCampaigns { beginning: name.clone(), campaigns });
    }
    if let ([campaign], true) = (&campaigns[..], found.len() > 1) {
        let tenants = found.iter().map(|found| found.tenant.to_string()).collect();
        return Err(ReadError::SeveralTenants { campaign: *campaign, tenants });
    }
    found
        .pop()
        .ok_or_else(|| ReadError::NoCampaign { file: file.to_owned(), campaign: name.clone() })
}

fn of_others(campaigns: usize) -> String {
    match campaigns {
        0 => String::new(),
        _ => format!("; so it is with {campaigns} others, see `unreadable` with --json"),
    }
}

/// The first few of them, for people.
fn either(campaigns: &[CampaignId]) -> String {
    let shown: Vec<_> = campaigns.iter().take(5).map(ToString::to_string).collect();
    let others = campaigns.len() - shown.len();
    let others = if others > 0 { format!(", or {others} others") } else { String::new() };
    format!("{}{others}", shown.join(" or "))
}
