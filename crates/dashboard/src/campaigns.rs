//! The list of campaigns, the newest first.

use axum::extract::{Query, State};
use hedgerow_core::CampaignStatus;
use hedgerow_engine::view::{CampaignEntry, CampaignOrder, CampaignQuery, Cursor};
use maud::{Markup, html};
use serde::Deserialize;

use crate::Shared;
use crate::chart;
use crate::frame::{self, Problem, moment};
use crate::guard::Guest;
use crate::words;

/// How many are on a page.
const ON_A_PAGE: usize = 25;

#[derive(Deserialize)]
pub(crate) struct Asked {
    /// How a name begins.
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
    after: Option<Cursor>,
}

pub(crate) async fn page(
    State(shared): State<Shared>,
    guest: Guest,
    Query(asked): Query<Asked>,
) -> Result<Markup, Problem> {
    let status = CampaignStatus::ALL.into_iter().find(|status| status.name() == asked.status);
    let query = CampaignQuery {
        name: Some(asked.name.clone()).filter(|name| !name.is_empty()),
        status,
        order: CampaignOrder::Newest,
        after: asked.after.clone(),
        limit: ON_A_PAGE,
        ..CampaignQuery::default()
    };
    let page = shared.engine.campaigns(guest.tenant(), &query).await?;
    let shown: Vec<_> =
        page.entries.iter().filter(|entry| entry.status != CampaignStatus::Deleted).collect();
    let next = page.next.map(|next| {
        format!(
            "?name={}&status={}&after={next}",
            frame::encoded(&asked.name),
            frame::encoded(&asked.status)
        )
    });
    let content = html! {
        h1 { "Campaigns" }
        p.hint { "A campaign brings one image to the devices of a channel." }
        form.filter method="get" role="search" {
            label { "Name begins with " input type="search" name="name" value=(asked.name) maxlength="200"; }
            label { "State "
                select name="status" {
                    option value="" { "all" }
                    @for (status, word) in STATUSES {
                        option value=(status.name()) selected[asked.status == status.name()] { (word) }
                    }
                }
            }
            button type="submit" { "Show" }
        }
        @if shown.is_empty() {
            p.empty { "No campaign is to be shown here." }
        } @else {
            div.scroll { table {
                thead { tr {
                    th scope="col" { "Campaign" } th scope="col" { "State" }
                    th scope="col" { "Devices" } th scope="col" { "Begun" }
                } }
                tbody { @for entry in shown { (row(&guest, entry)) } }
            } }
        }
        @if let Some(next) = next { p { a rel="next" href=(next) { "Older campaigns" } } }
    };
    Ok(frame::page(&guest, "Campaigns", &content))
}

/// What may be asked for; the others pass at once.
const STATUSES: [(CampaignStatus, &str); 5] = [
    (CampaignStatus::Scheduled, "scheduled"),
    (CampaignStatus::InProgress, "running"),
    (CampaignStatus::Pausing, "pausing"),
    (CampaignStatus::Paused, "paused"),
    (CampaignStatus::Finished, "finished"),
];

fn row(guest: &Guest, entry: &CampaignEntry) -> Markup {
    let image = &entry.definition.base_image;
    html! {
        tr {
            td {
                a href=(format!("/t/{}/campaigns/{}", guest.tenant(), entry.campaign)) {
                    (entry.definition.name)
                }
                div.hint { (image.system_model) " " (image.version) " for " (entry.definition.channel.name()) }
            }
            td { (words::campaign(entry).badge()) }
            td.wide {
                (chart::bar(&entry.targets))
                div.hint {
                    (entry.targets.successful) " of " (entry.targets.total) " updated"
                    @if entry.targets.failed > 0 { ", " (entry.targets.failed) " failed" }
                }
            }
            td { (moment(entry.started_at.or(entry.scheduled_at).unwrap_or(entry.created_at))) }
        }
    }
}
