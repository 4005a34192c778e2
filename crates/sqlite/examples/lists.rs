//! What a page of campaigns and a page of failures show, from a log and the rows beside it:
//! `cargo run -p hedgerow-sqlite --example lists -- hedgerow-demo.db demo`.

use std::sync::Arc;

use futures::executor::block_on;
use hedgerow_core::{CampaignStatus, TargetStatus, TenantId};
use hedgerow_engine::view::{CampaignQuery, Follower, TargetQuery, Views};
use hedgerow_sqlite::{SqliteStore, SqliteViews};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, tenant] = &arguments[..] else { return Err("usage: lists FILE TENANT".into()) };
    for line in block_on(lists(file, &tenant.parse()?))? {
        println!("{line}");
    }
    Ok(())
}

pub(crate) async fn lists(
    file: &str,
    tenant: &TenantId,
) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    // ANCHOR: open
    let log = Arc::new(SqliteStore::open_read_only(file)?);
    let rows = Arc::new(SqliteViews::open(SqliteViews::beside(file))?);
    Follower::new(log, rows.clone()).catch_up().await?;
    let views = Views::new(rows);
    // ANCHOR_END: open
    let mut lines = Vec::new();
    // ANCHOR: campaigns
    let status = Some(CampaignStatus::Finished);
    let mut query = CampaignQuery { status, limit: 20, ..CampaignQuery::default() };
    loop {
        let page = views.campaigns(tenant, &query).await?;
        for campaign in &page.entries {
            let (name, counts) = (&campaign.definition.name, campaign.targets);
            lines.push(format!("{name}: {} of {} successful", counts.successful, counts.total));
        }
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    // ANCHOR_END: campaigns
    let newest = CampaignQuery { limit: 1, ..CampaignQuery::default() };
    let newest = views.campaigns(tenant, &newest).await?.entries.pop();
    let Some(newest) = newest else { return Ok(lines) };
    let campaign = newest.campaign;
    // ANCHOR: failures
    let query = TargetQuery { status: Some(TargetStatus::Failed), ..TargetQuery::default() };
    let page = views.targets(tenant, campaign, &query).await?;
    for target in page.into_iter().flat_map(|page| page.targets) {
        let failure = target.details.and_then(|details| details.failure);
        let reason = failure.map_or("unknown", |failure| failure.reason().name());
        lines.push(format!("{} failed: {reason}", target.device));
    }
    // ANCHOR_END: failures
    Ok(lines)
}
